"""Denoise raw captures with models trained on the camera's own noisy captures.

    raw = rawdenoise.read_raw("IMG_1.CR2")
    clean = rawdenoise.denoise(raw)
    print(clean.quality.gain_db)
    rawdenoise.write(clean, "IMG_1.dng")

All names are loaded when they are first used: importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rawdenoise.app.inspect import CaptureFacts as CaptureFacts
    from rawdenoise.app.public import calibrate as calibrate
    from rawdenoise.app.public import denoise as denoise
    from rawdenoise.app.public import inspect as inspect
    from rawdenoise.app.public import load_model as load_model
    from rawdenoise.app.public import read_raw as read_raw
    from rawdenoise.app.public import train as train
    from rawdenoise.app.public import write as write
    from rawdenoise.app.stores import Stores as Stores
    from rawdenoise.capture.raw import Cfa as Cfa
    from rawdenoise.capture.raw import RawImage as RawImage
    from rawdenoise.errors import RawDenoiseError as RawDenoiseError
    from rawdenoise.errors import Stopped as Stopped
    from rawdenoise.formats.headerless import PlainLayout as PlainLayout
    from rawdenoise.formats.output_format import Format as Format
    from rawdenoise.formats.output_levels import OutputLevels as OutputLevels
    from rawdenoise.inference.stages import Stage as Stage
    from rawdenoise.models.method import Method as Method
    from rawdenoise.models.model import Model as Model
    from rawdenoise.noise.model import NoiseModel as NoiseModel
    from rawdenoise.noise.profiles.profile import CameraProfile as CameraProfile
    from rawdenoise.pipeline import Denoised as Denoised
    from rawdenoise.recipe import Recipe as Recipe

_PLACES = {
    "CameraProfile": "noise.profiles.profile",
    "CaptureFacts": "app.inspect",
    "Cfa": "capture.raw",
    "Denoised": "pipeline",
    "Format": "formats.output_format",
    "Method": "models.method",
    "Model": "models.model",
    "NoiseModel": "noise.model",
    "OutputLevels": "formats.output_levels",
    "PlainLayout": "formats.headerless",
    "RawDenoiseError": "errors",
    "RawImage": "capture.raw",
    "Recipe": "recipe",
    "Stage": "inference.stages",
    "Stopped": "errors",
    "Stores": "app.stores",
    "calibrate": "app.public",
    "denoise": "app.public",
    "inspect": "app.public",
    "load_model": "app.public",
    "read_raw": "app.public",
    "train": "app.public",
    "write": "app.public",
}

__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
