"""Black levels that are not one per plane: larger repeats, and what rows and columns add."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64

from rawdenoise.capture.raw import Cfa, RawImage

_ROUNDING = 1e-6  # DN; what sums of floats are off by


def split_black(
    grid: Float64[np.ndarray, "rows columns"], cfa: Cfa
) -> tuple[tuple[float, float, float, float], Float64[np.ndarray, "rows2 columns2"] | None]:
    """Black per plane (the mean of its sites), and what the sites of a larger repeat add to it."""
    rows, columns = grid.shape
    grid = np.tile(grid, (2 if rows % 2 else 1, 2 if columns % 2 else 1))
    row, column = cfa.red
    sites = ((row, column), (row, 1 - column), (1 - row, column), (1 - row, 1 - column))
    r, g1, g2, b = (float(grid[y::2, x::2].mean()) for y, x in sites)
    offsets = grid.copy()
    for (y, x), mean in zip(sites, (r, g1, g2, b), strict=True):
        offsets[y::2, x::2] -= mean
    return (r, g1, g2, b), offsets if np.abs(offsets).max() > _ROUNDING else None


def black_offsets(raw: RawImage) -> Float32[np.ndarray, "h w"] | None:
    """What rows, columns and larger patterns add to the black of the planes, of the active area; or None."""
    levels, (height, width) = raw.levels, (raw.active.height, raw.active.width)
    offsets = np.zeros((height, width), np.float32)
    if levels.black_delta_rows is not None:
        offsets += levels.black_delta_rows.astype(np.float32)[:, None]
    if levels.black_delta_columns is not None:
        offsets += levels.black_delta_columns.astype(np.float32)
    if levels.black_repeat is not None:
        rows, columns = levels.black_repeat.shape
        times = (-(-height // rows), -(-width // columns))
        offsets += np.tile(levels.black_repeat.astype(np.float32), times)[:height, :width]
    return offsets if offsets.any() else None
