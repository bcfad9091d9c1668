"""A model for all cameras, as the bundled ones were made: procedural scenes in, one file out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rawdenoise.app.stores import Stores
from rawdenoise.app.training_events import OnEvent, ignore
from rawdenoise.errors import NothingMatchedError, Stop, never
from rawdenoise.inference.devices import pick_device
from rawdenoise.models.archive import export_halved, read_model
from rawdenoise.models.card import ModelCard
from rawdenoise.training import train_bundled as bundled
from rawdenoise.training.options import TrainingOptions

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True, slots=True)
class TrainBundledRequest:
    """A model for all cameras, and the file it is written to, in half precision.

    It learns from so many procedural `scenes`, and from the JPEG and PNG files below the folder `pictures`.
    """

    output: Path
    options: TrainingOptions
    scenes: int = 400
    pictures: Path | None = None
    scratch: Path | None = None


def train_bundled(
    request: TrainBundledRequest, stores: Stores, *, on_event: OnEvent = ignore, stop: Stop = never
) -> ModelCard:
    """Train a model for all cameras and write it to a file; returns its card.

    The same request goes on where one was stopped, or, with a larger budget, where it ended.

    Raises:
        NothingMatchedError: there are no pictures. SetupError: the device is absent.
        TrainingStopped, RawDenoiseError: as `training.train_bundled.train_bundled`.
    """
    pick_device(request.options.device)
    pictures: list[Path] = []
    if request.pictures is not None:
        paths = request.pictures.rglob("*")
        pictures = sorted(path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES)
        if not pictures:
            raise NothingMatchedError(f"no JPEG or PNG pictures in {request.pictures}")
    model = bundled.train_bundled(
        request.options, folder=request.scratch or stores.scratch / "base", scenes=request.scenes,
        pictures=pictures, on_progress=on_event, stop=stop,
    )  # fmt: skip
    export_halved(model, request.output)
    return read_model(request.output).card
