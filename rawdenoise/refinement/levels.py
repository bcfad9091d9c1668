"""Levels that stay: what a network takes away has no low frequencies, for noise has none that can be told.

Denoised in the stabilised domain, texture becomes darker (the mean of roots is below the root of the mean),
and a network has biases of its own. The local mean of what was taken away, over a Gaussian of hundreds of
pixels, is given back; noise has a mean, too, but of so many that it is a thousandth of the variance.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Shaped

from rawdenoise.noise.model import NoiseModel

SIGMA = 8.0  # packed pixels: the widest by which 64 x 64 of them keep their mean to their own noise
CELL = 4  # packed pixels; levels are found for cells, between which they are interpolated
# What is taken away beyond this many sigmas and electrons is no noise: of a hot pixel nobody knew of, say.
MAXIMUM_SIGMAS = 8.0
LARGEST_SIGNAL = 1e9  # beyond it a value is no signal
MINIMUM_WEIGHT = 0.05  # of pixels around, below which they give back less: few say little of a level
STRIP_CELLS = 16  # rows of cells in memory at a time

Planes = Float32[np.ndarray, "4 h w"]
Cells = Float32[np.ndarray, "4 rows columns"]


def find_lost_levels(
    planes: Planes, clean: Planes, noise: NoiseModel, *, valid: Bool[np.ndarray, "4 h w"]
) -> Cells:
    """Find the local mean of what was taken away, for cells; pixels outside `valid` have no say."""
    sums = [
        _sum_lost(*arrays)
        for arrays in zip(planes, clean, valid, noise.shot, noise.read_variance, strict=True)
    ]
    return _average_around(np.stack([lost for lost, _ in sums]), np.stack([count for _, count in sums]))


def add_levels(planes: Planes, cells: Cells) -> None:
    """Add what was found for cells to the planes, in place."""
    height, width = planes.shape[1:]
    for plane, own in zip(planes, cells, strict=True):
        for top in range(0, height, STRIP_CELLS * CELL):
            rows = slice(top, min(top + STRIP_CELLS * CELL, height))
            plane[rows] += find_levels(own[None], rows, slice(0, width))[0]


def find_levels(
    cells: Float32[np.ndarray, "p rows columns"], rows: slice, columns: slice
) -> Float32[np.ndarray, "p h w"]:
    """Give what cells say for a window of the planes, between their centres by interpolation."""
    spans = [(span.start // CELL - 1, -(-span.stop // CELL) + 1) for span in (rows, columns)]
    down, across = (
        np.arange(first, last).clip(0, length - 1)
        for (first, last), length in zip(spans, cells.shape[1:], strict=True)
    )
    part = torch.from_numpy(cells[:, down[:, None], across])
    fine = F.interpolate(part[None], scale_factor=float(CELL), mode="bilinear", align_corners=False)[
        0
    ].numpy()
    top, left = (span.start - first * CELL for span, (first, _) in zip((rows, columns), spans, strict=True))
    return fine[:, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]


def average_levels(values: Planes, valid: Bool[np.ndarray, "4 h w"]) -> Planes:
    """Give the local mean of any planes as `find_lost_levels` and `add_levels` take it."""
    sums, counts = (
        np.stack([_sum_cells(plane) for plane in part]) for part in (values * valid, valid.astype(np.float32))
    )
    return find_levels(_average_around(sums, counts), slice(0, values.shape[1]), slice(0, values.shape[2]))


def _sum_lost(
    plane: Float32[np.ndarray, "h w"],
    clean: Float32[np.ndarray, "h w"],
    valid: Bool[np.ndarray, "h w"],
    shot: float,
    read: float,
) -> tuple[Float32[np.ndarray, "rows columns"], Float32[np.ndarray, "rows columns"]]:
    """Sum what was taken from the sound pixels of each cell of a plane, and count them."""
    height, width = plane.shape
    shape = (-(-height // CELL), -(-width // CELL))
    sums, counts = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for top in range(0, shape[0], STRIP_CELLS):
        rows = slice(top * CELL, (top + STRIP_CELLS) * CELL)
        lost, sound = _find_lost(plane[rows], clean[rows], valid[rows], shot, read)
        cells = slice(top, top + STRIP_CELLS)
        sums[cells], counts[cells] = _sum_cells(lost), _sum_cells(sound.view(np.uint8))
    return sums, counts


def _find_lost(
    plane: Float32[np.ndarray, "h w"],
    clean: Float32[np.ndarray, "h w"],
    valid: Bool[np.ndarray, "h w"],
    shot: float,
    read: float,
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """What was taken away, nothing where it is no noise or no number, and where it is."""
    # (a + b)^2 is at most 2 a^2 + 2 b^2
    factor = 2 * MAXIMUM_SIGMAS**2
    limit = np.maximum(clean, 0)
    limit *= np.float32(factor * shot)
    limit += np.float32(factor * (read + shot**2))
    lost = plane - clean
    square = lost * lost
    sound = square <= limit
    sound &= valid
    sound &= square < LARGEST_SIGNAL
    if not np.isfinite(square.sum()):
        lost = np.where(sound, lost, np.float32(0))
    lost *= sound
    return lost, sound


def _sum_cells(values: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "rows columns"]:
    """Sum over cells; those at the lower and right edges may be parts of one."""
    down, across = (-length % CELL for length in values.shape)
    if down or across:
        values = np.pad(values, ((0, down), (0, across)))
    rows = values[0::CELL] + values[1::CELL]
    for row in range(2, CELL):
        rows += values[row::CELL]
    cells: Shaped[np.ndarray, "rows columns"] = rows[:, 0::CELL] + rows[:, 1::CELL]
    for column in range(2, CELL):
        cells += rows[:, column::CELL]
    return cells


def _average_around(
    sums: Shaped[np.ndarray, "p rows columns"], counts: Shaped[np.ndarray, "p rows columns"]
) -> Cells:
    """Divide what a Gaussian sees of the sums by what it sees of the pixels."""
    averages = _blur(sums)
    averages /= np.maximum(_blur(counts), np.float32(MINIMUM_WEIGHT * CELL**2))
    return averages


def _blur(cells: Cells) -> Cells:
    """Blur cells so that with cells and interpolation it is the Gaussian; nothing lies beyond the edges."""
    kernel = _find_kernel()
    for axis in (1, 2):
        middle = np.moveaxis(cells, axis, 0)
        blurred = np.zeros_like(cells)
        out = np.moveaxis(blurred, axis, 0)
        out += kernel[0] * middle
        for step, weight in enumerate(kernel[1 : len(middle)], 1):
            part = weight * middle
            out[step:] += part[:-step]
            out[:-step] += part[step:]
        cells = blurred
    return cells


def _find_kernel() -> Float32[np.ndarray, " n"]:
    """The Gaussian in cells from its middle, narrower by a cell's box and the triangle that interpolates."""
    variance = SIGMA**2 - (CELL**2 - 1) / 12 - CELL**2 / 6
    steps = np.arange(math.ceil(3.5 * math.sqrt(variance) / CELL) + 1)
    kernel = np.exp(-0.5 * (CELL * steps) ** 2 / variance)
    return (kernel / (2 * kernel.sum() - 1)).astype(np.float32)
