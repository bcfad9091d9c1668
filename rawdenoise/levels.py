"""A finer scale for results: what lies between two DN of a low-bit sensor is lost where DN stay whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from rawdenoise.formats.black_levels import without_levels
from rawdenoise.formats.tags import Code
from rawdenoise.raw import RawImage

FULL_SCALE = 65535  # of a 16-bit mosaic


def fine_scale(raw: RawImage) -> int:
    """Find the largest power of two by which a mosaic and its white fit into 16 bits.

    It is 1 where the file has OpcodeList1: the constants of its opcodes may refer to stored values.
    """
    if _has_opcodes(raw):
        return 1
    highest = max(raw.levels.white, float(raw.mosaic.max(initial=0)))
    scale = 1
    while 2 * scale * highest <= FULL_SCALE:
        scale *= 2
    return scale


def scaled(raw: RawImage, scale: int) -> RawImage:
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
            black_delta_rows=_times(levels.black_delta_rows, scale),
            black_delta_columns=_times(levels.black_delta_columns, scale),
            black_repeat=_times(levels.black_repeat, scale),
        ),
        metadata=without_levels(raw.metadata),
    )


def fine_notes(raw: RawImage) -> tuple[str, ...]:
    """What to tell whoever asked for fine levels."""
    if not _has_opcodes(raw):
        return ()
    return ("the sensor's levels are kept: OpcodeList1 of the file may refer to stored values",)


def _has_opcodes(raw: RawImage) -> bool:
    return any(Code.OpcodeList1 in tags for tags in (raw.metadata.raw, raw.metadata.root))


def _times(offsets: Float64[np.ndarray, "*n"] | None, scale: int) -> Float64[np.ndarray, "*n"] | None:
    return None if offsets is None else offsets * scale
