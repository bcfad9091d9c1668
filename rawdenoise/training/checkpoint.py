"""Where an interrupted training goes on: one file, written whole or not at all, nothing pickled in it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from rawdenoise.atomic import atomic_output
from rawdenoise.errors import TrainingError, guard
from rawdenoise.formats.json_records import make_record
from rawdenoise.training.risk import RiskFigures

log = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Look:
    """What the averaged network was worth, in held-out crops, after so many crops and seconds."""

    crops: int
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
    crops: int = 0
    elapsed_s: float = 0.0
    loss: float = 0.0
    learning_rate_scale: float = 1.0
    flat_since: float = 0.0
    best: int = 0
    history: tuple[Look, ...] = ()


def save_checkpoint(folder: Path, counters: Counters, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors and, in the same file, the counters and the digest of both."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    recorded = json.dumps(_record(counters))
    with atomic_output(folder / CHECKPOINT_FILE) as temporary:
        # Written by us, not by safetensors, whose errors do not tell a full disk from a defect.
        metadata = {"counters": recorded, "sha256": _digest(recorded, contiguous)}
        temporary.write_bytes(safetensors.torch.save(contiguous, metadata))


def load_checkpoint(folder: Path, run: str) -> tuple[Counters, dict[str, Tensor]] | None:
    """Read the checkpoint of this very run; None where there is none, or it is of another run or damaged."""
    file = folder / CHECKPOINT_FILE
    try:
        with guard(lambda reason: TrainingError(f"{file}: {reason}")):
            return _load(file, run)
    except TrainingError as error:
        log.debug("%s", error)
        return None


def _load(path: Path, run: str) -> tuple[Counters, dict[str, Tensor]] | None:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            recorded = metadata.get("counters", "")
            counters = make_record(_read_record(json.loads(recorded)), Counters, finite=False)
            if counters.run != run:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: is damaged ({error})") from error
    if metadata.get("sha256") != _digest(recorded, tensors):
        raise TrainingError(f"{path}: is damaged: it is not what was written")
    return counters, tensors


# Counters are recorded with the name that crops had first, so that checkpoints can be read by all versions.


def _record(counters: Counters) -> dict[str, Any]:
    fields = asdict(counters)
    for counted in (fields, *fields["history"]):
        counted["images"] = counted.pop("crops")
    return fields


def _read_record(fields: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of counters back.

    Raises:
        ValueError: these are none.
    """
    try:
        for counted in (fields, *fields["history"]):
            counted["crops"] = counted.pop("images")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("these are no counters") from error
    return fields


def _digest(counters: str, tensors: Mapping[str, Tensor]) -> str:
    """Tell by 64 digits whether a bit has changed: a network with one wrong weight trains on, worse."""
    whole = hashlib.sha256(counters.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()
