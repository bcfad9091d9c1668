"""Where an interrupted training goes on: one file, written whole or not at all, nothing pickled in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from rawdenoise.atomic import atomic_output

FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Counters:
    """How far a training is; `run` identifies captures and options, `loss` is a running average."""

    run: str
    step: int = 0
    images: int = 0
    elapsed_s: float = 0.0
    loss: float = 0.0
    learning_rate_scale: float = 1.0


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
            counters = Counters(**json.loads(file.metadata()["counters"]))
            if counters.run != run:
                return None
            return counters, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
