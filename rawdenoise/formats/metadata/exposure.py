"""What the tags of a raw say of the camera and of the exposure."""

from __future__ import annotations

import math
import re
from pathlib import Path

from rawdenoise.capture.raw import UNKNOWN_CAMERA, Camera, Exposure, Metadata
from rawdenoise.formats.tiff.reading import numbers, text
from rawdenoise.formats.tiff.tags import Code

_ISO_IS_ELSEWHERE = 65535  # the tag is 16 bits wide


def read_camera(metadata: Metadata, mode: str) -> Camera:
    """The camera as the tags name it, nameless where they do not."""
    root, exif = metadata.root, metadata.exif
    make = text(root.get(Code.Make))
    model = text(root.get(Code.Model)) or text(root.get(Code.UniqueCameraModel))
    if model == UNKNOWN_CAMERA:  # what our own DNGs say where readers need a name
        make, model = "", ""
    return Camera(
        make=make,
        model=model,
        serial=text(exif.get(Code.BodySerialNumber)) or text(root.get(Code.CameraSerialNumber)),
        mode=mode,
    )


def read_exposure(metadata: Metadata) -> Exposure:
    """How the picture was taken; zeros, infinities and blanks count as nothing said."""
    iso = _first_number(metadata, Code.ISOSpeedRatings)
    if iso is None or iso >= _ISO_IS_ELSEWHERE:
        others = (Code.RecommendedExposureIndex, Code.ISOSpeed, Code.StandardOutputSensitivity)
        iso = _first_number(metadata, *others) or iso
    taken_at = text(metadata.exif.get(Code.DateTimeOriginal)) or text(metadata.root.get(Code.DateTime))
    return Exposure(
        iso=round(iso) if iso else None,
        exposure_s=_first_number(metadata, Code.ExposureTime),
        f_number=_first_number(metadata, Code.FNumber),
        focal_length_mm=_first_number(metadata, Code.FocalLength),
        taken_at=taken_at or None,
    )


def _first_number(metadata: Metadata, *codes: Code) -> float | None:
    """The first positive value of these tags; some cameras put EXIF's tags into IFD0."""
    for code in codes:
        for directory in (metadata.exif, metadata.root):
            value = next(iter(numbers(directory.get(code))), 0.0)
            if value > 0 and math.isfinite(value):
                return float(value)
    return None


def find_camera_by_signature(path: Path) -> tuple[str, str]:
    """Make and model of the few raws without tags, as LibRaw tells them; rawpy does not pass those on."""
    return _ciff_owner(path) or _quicktake(path) or ("", "")


def _ciff_owner(path: Path) -> tuple[str, str] | None:
    """Make and model of a Canon CRW, which no library names: the strings of its CIFF record 0x080a."""
    if path.suffix.lower() != ".crw":
        return None
    match = re.search(rb"(Canon)\0(Canon [ -~]{2,40})\0", path.read_bytes())
    return (match[1].decode(), match[2].decode().strip()) if match else ("Canon", "")


def _quicktake(path: Path) -> tuple[str, str] | None:
    """The model of an Apple QuickTake by its first bytes."""
    with path.open("rb") as file:
        start = file.read(6)
    model = {b"qktk": "QuickTake 100", b"qktn": "QuickTake 150"}.get(start[:4])
    if model is None:
        return None
    return "Apple", "QuickTake 200" if start[5:] != b"\0" else model
