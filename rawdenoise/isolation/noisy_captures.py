"""Captures that show their camera's noise: as the camera left them, and of the one that is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import FileError
from rawdenoise.formats.metadata.provenance import is_output
from rawdenoise.formats.sidd import is_reference
from rawdenoise.isolation.isolated_reader import read_isolated

if TYPE_CHECKING:
    from rawdenoise.formats.headerless import PlainLayout


def read_untouched(path: Path, layout: PlainLayout | None, camera_name: str | None = None) -> RawImage:
    """Read a capture, one of many, that nothing has been done to; where it names no camera, of `camera_name`.

    Raises:
        RawDenoiseError: it cannot be read, is one of our outputs or of SIDD's references, or is of
        another camera.
    """
    if is_reference(path):
        raise FileError(path, "is a clean reference of SIDD's: only captures show a camera's noise")
    raw = read_isolated(path, layout=layout)
    if is_output(raw.metadata, path):
        raise FileError(path, "was made by rawdenoise: only untouched captures show a camera's noise")
    return raw if camera_name is None else assign_camera(raw, camera_name)


def assign_camera(raw: RawImage, camera_name: str) -> RawImage:
    """Take a capture that names no camera to be of this one.

    Raises:
        FileError: it is of another camera.
    """
    if not (raw.camera.make or raw.camera.model):
        raw = replace(raw, camera=replace(raw.camera, model=camera_name))
    if raw.camera.name.lower() != camera_name.lower():
        raise FileError(raw.source, f"is of another camera ({raw.camera.name})")
    return raw
