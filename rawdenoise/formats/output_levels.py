"""A finer scale for results: what lies between two DN of a low-bit sensor is lost where DN stay whole."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np
from jaxtyping import Float64

from rawdenoise.capture.raw import RawImage
from rawdenoise.formats.dng.level_tags import drop_levels
from rawdenoise.formats.dng.opcodes import OpcodeId, read_whole_list
from rawdenoise.formats.tiff.tags import Code

FULL_SCALE = 65535  # of a 16-bit mosaic
# Of 12 bits, whose white some write so: a sensor of no more loses to rounding what its pictures gained.
MAXIMUM_COARSE_WHITE = 4096
# Opcodes for stored values that mean the same whatever these are multiplied by.
_SCALE_FREE_OPCODES = {
    *(OpcodeId.WarpRectilinear, OpcodeId.WarpFisheye, OpcodeId.WarpRectilinear2, OpcodeId.FixVignetteRadial),
    *(OpcodeId.FixBadPixelsList, OpcodeId.TrimBounds, OpcodeId.GainMap),
    *(OpcodeId.ScalePerRow, OpcodeId.ScalePerColumn),
}


class OutputLevels(StrEnum):
    """In which scale results are written: the finer one for sensors of 12 bits or less, or always one."""

    AUTO = "auto"
    SENSOR = "sensor"
    FINE = "fine"


def find_output_scale(raw: RawImage, levels: OutputLevels, *, strength: float) -> int:
    """Find what the DN of a result are multiplied by."""
    return find_fine_scale(raw) if _wants_fine(raw, levels, strength) else 1


def find_fine_scale(raw: RawImage) -> int:
    """Find the largest power of two by which a mosaic and its white fit into 16 bits.

    It is 1 where OpcodeList1 of the file has constants of stored values, which would no longer fit.
    """
    if _has_stored_constants(raw):
        return 1
    highest = max(raw.levels.white, float(raw.mosaic.max(initial=0)))
    scale = 1
    while 2 * scale * highest <= FULL_SCALE:
        scale *= 2
    return scale


def scale_levels(raw: RawImage, scale: int) -> RawImage:
    """Multiply the mosaic, margins included, and its levels; the source's tags of levels go."""
    if scale == 1:
        return raw
    levels = raw.levels
    red, green1, green2, blue = (scale * black for black in levels.black)
    return replace(
        raw,
        mosaic=raw.mosaic * np.uint16(scale),
        levels=replace(
            levels,
            black=(red, green1, green2, blue),
            white=scale * levels.white,
            black_delta_rows=_multiply(levels.black_delta_rows, scale),
            black_delta_columns=_multiply(levels.black_delta_columns, scale),
            black_repeat=_multiply(levels.black_repeat, scale),
        ),
        metadata=drop_levels(raw.metadata),
    )


def level_notes(raw: RawImage, levels: OutputLevels, *, strength: float) -> tuple[str, ...]:
    """What to tell a user whose result is not in the finer scale that it would have otherwise."""
    if not _wants_fine(raw, levels, strength) or not _has_stored_constants(raw):
        return ()
    return ("the sensor's levels are kept: OpcodeList1 of the file refers to stored values",)


def _wants_fine(raw: RawImage, levels: OutputLevels, strength: float) -> bool:
    """Whether the finer scale is meant; of what is not denoised `auto` takes the pixels as they are."""
    if levels is OutputLevels.AUTO:
        return strength > 0 and raw.levels.white <= MAXIMUM_COARSE_WHITE
    return levels is OutputLevels.FINE


def _has_stored_constants(raw: RawImage) -> bool:
    """Whether OpcodeList1, which is for the pixels as stored, has an opcode that names values of theirs."""
    opcodes = read_whole_list(
        raw.metadata.raw.get(Code.OpcodeList1) or raw.metadata.root.get(Code.OpcodeList1)
    )
    return opcodes is None or any(opcode.number not in _SCALE_FREE_OPCODES for opcode in opcodes)


def _multiply(offsets: Float64[np.ndarray, "*n"] | None, scale: int) -> Float64[np.ndarray, "*n"] | None:
    return None if offsets is None else offsets * scale
