"""Crops of RGGB mosaics: packed, turned and mirrored as a camera turned that way would have captured them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from numpy.random import Generator

_SITES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of R, G1, G2, B in an RGGB mosaic


def crop_rggb(
    mosaics: Sequence[Shaped[np.ndarray, "h w"]], rng: Generator, size: int
) -> list[Shaped[np.ndarray, "4 {size} {size}"]]:
    """Cut the same crop of `size` packed pixels from mosaics of one size, turned or mirrored at random."""
    side = 2 * size + 2  # two more than needed: a mirrored mosaic is cut back to its phase
    top, left = (2 * int(rng.integers((length - side) // 2 + 1)) for length in mosaics[0].shape)
    window, way = (slice(top, top + side), slice(left, left + side)), int(rng.integers(8))
    return [pack_rggb(turn(mosaic[window], way)) for mosaic in mosaics]


def turn(mosaic: Shaped[np.ndarray, "h w"], way: int) -> Shaped[np.ndarray, "h2 w2"]:
    """Mirror or turn an even-sized RGGB mosaic in one of eight ways (0..7); it stays RGGB.

    The mosaic itself is transformed, then cut by two pixels along each axis, one on each side where red has
    left the first row or column: what is left is what a camera turned that way would have captured. Mirroring
    the planes would move red and blue against green.
    """
    if way & 4:
        mosaic = mosaic.T
    for axis, flip in enumerate((way & 2, way & 1)):
        length = mosaic.shape[axis]
        kept = range(length - 2, 0, -1) if flip else range(length - 2)
        mosaic = mosaic.take(kept, axis)
    return mosaic


def pack_rggb(mosaic: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "4 h2 w2"]:
    """Take the four planes of an RGGB mosaic."""
    return np.stack([mosaic[row::2, column::2] for row, column in _SITES])


def mosaic_rggb(planes: Shaped[np.ndarray, "4 h w"]) -> Shaped[np.ndarray, "h2 w2"]:
    """Put four planes back into an RGGB mosaic."""
    mosaic = np.empty((2 * planes.shape[1], 2 * planes.shape[2]), planes.dtype)
    for plane, (row, column) in zip(planes, _SITES, strict=True):
        mosaic[row::2, column::2] = plane
    return mosaic
