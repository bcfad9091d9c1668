"""What the tags of a raw say of the camera and of the exposure."""

from __future__ import annotations

import math

from rawdenoise.formats.tags import Code
from rawdenoise.formats.tiff_container import numbers, text
from rawdenoise.raw import UNKNOWN_CAMERA, Camera, Exposure, Metadata

_ISO_IS_ELSEWHERE = 65535  # the tag is 16 bits wide


def stated_camera(metadata: Metadata, mode: str) -> Camera:
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


def stated_exposure(metadata: Metadata) -> Exposure:
    """How the picture was taken; zeros, infinities and blanks count as nothing said."""
    iso = _first_number(metadata, Code.ISOSpeedRatings)
    if iso is None or iso >= _ISO_IS_ELSEWHERE:
        others = (Code.RecommendedExposureIndex, Code.ISOSpeed, Code.StandardOutputSensitivity)
        iso = _first_number(metadata, *others) or iso
    taken = text(metadata.exif.get(Code.DateTimeOriginal)) or text(metadata.root.get(Code.DateTime))
    return Exposure(
        iso=round(iso) if iso else None,
        exposure_s=_first_number(metadata, Code.ExposureTime),
        f_number=_first_number(metadata, Code.FNumber),
        focal_length_mm=_first_number(metadata, Code.FocalLength),
        taken_at=taken or None,
    )


def _first_number(metadata: Metadata, *codes: Code) -> float | None:
    """The first positive value of these tags; some cameras put EXIF's tags into IFD0."""
    for code in codes:
        for directory in (metadata.exif, metadata.root):
            value = next(iter(numbers(directory.get(code))), 0.0)
            if value > 0 and math.isfinite(value):
                return float(value)
    return None
