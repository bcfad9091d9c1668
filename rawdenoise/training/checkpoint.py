"""Where an interrupted training goes on: one file, written whole or not at all, nothing pickled in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from rawdenoise.atomic import atomic_output
from rawdenoise.training.risk import RiskFigures

FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Check:
    """What the averaged network was worth, in held-out crops, after so many images and seconds."""

    images: int
    elapsed_s: float
    loss: float
    figures: RiskFigures


@dataclass(frozen=True, slots=True)
class Counters:
    """How far a training is; `run` identifies captures and options, `loss` is a running average.

    `flat_since` is how much of the budget was used when nothing more was gained at the full learning rate, 0
    until then. `best` counts in `history`.
    """

    run: str
    step: int = 0
    images: int = 0
    elapsed_s: float = 0.0
    loss: float = 0.0
    learning_rate_scale: float = 1.0
    flat_since: float = 0.0
    best: int = 0
    history: tuple[Check, ...] = ()


def save_checkpoint(folder: Path, counters: Counters, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors and, in the same file, the counters."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_output(folder / FILE) as temporary:
        # Written by us, not by safetensors, whose errors do not tell a full disk from a defect.
        data = safetensors.torch.save(contiguous, {"counters": json.dumps(asdict(counters))})
        temporary.write_bytes(data)


def load_checkpoint(folder: Path, run: str) -> tuple[Counters, dict[str, Tensor]] | None:
    """Read the checkpoint of this very run; None where there is none, or it is of another run or damaged."""
    try:
        with safetensors.safe_open(folder / FILE, "pt") as file:
            counters = _counters(json.loads(file.metadata()["counters"]))
            if counters.run != run:
                return None
            return counters, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _counters(fields: dict[str, Any]) -> Counters:
    history = [Check(**{**check, "figures": RiskFigures(**check["figures"])}) for check in fields["history"]]
    return Counters(**{**fields, "history": tuple(history)})
