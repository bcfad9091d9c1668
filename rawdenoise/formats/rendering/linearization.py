"""Linear light from a mosaic's DN: black taken off, white at 1, the lens shading taken away.

DNG 1.7, chapter 5 (Mapping Raw Values to Linear Reference Values), and the gain maps of OpcodeList2.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float32

from rawdenoise.capture.black_levels import black_offsets
from rawdenoise.capture.raw import Area, RawImage
from rawdenoise.capture.saturation import saturation_level
from rawdenoise.formats.dng.gain_maps import GainMap, apply_gains, read_gain_maps

Band = Float32[np.ndarray, "h w"]
_THREADS = min(8, os.cpu_count() or 1)


def visit_linear_bands(image: RawImage, area: Area, use: Callable[[int, Band], None], *, rows: int) -> None:
    """Call `use` with every band of so many rows of an area in linear light, and the row where it begins.

    That row counts from the area's top. Bands come from several threads in any order; one a thread is in
    memory. Values below black are negative, those above white greater than 1.
    """
    maps, offsets, white = read_gain_maps(image), black_offsets(image), _white(image)

    def convert(top: int) -> None:
        use(
            top - area.top,
            _linearize(image, white, maps, offsets, area, range(top, min(top + rows, area.bottom))),
        )

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(convert, range(area.top, area.bottom, rows)):
            pass


def _white(image: RawImage) -> float:
    """A DNG's WhiteLevel; of another raw the DN where it is seen to be saturated, if that is less.

    What LibRaw knows of other cameras' white is often too high, and clipped lights would be magenta.
    """
    return image.levels.white if image.metadata.is_dng else saturation_level(image)


def _linearize(
    image: RawImage,
    white: float,
    maps: tuple[GainMap, ...],
    offsets: Band | None,
    area: Area,
    rows: range,
) -> Band:
    """Some rows, computed for the whole width of the active area; `offsets` are what it adds to black."""
    active, start = image.active, rows.start - image.active.top
    band = image.mosaic[rows.start : rows.stop, active.left : active.right].astype(np.float32)
    if offsets is not None:  # what is saturated stays so
        np.subtract(band, offsets[start : start + len(rows)], out=band, where=band < white)
    row, column = image.cfa.shift(rows.start, active.left).red
    sites = ((row, column), (row, 1 - column), (1 - row, column), (1 - row, 1 - column))
    for (y, x), black in zip(sites, image.levels.black, strict=True):
        site = band[y::2, x::2]
        site -= np.float32(black)
        site *= np.float32(1 / (white - black))
    apply_gains(band, start, maps, (active.height, active.width))
    return band[:, area.left - active.left : area.right - active.left]
