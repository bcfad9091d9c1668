"""How far the pixels of a mosaic row are off together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int

from rawdenoise.noise.samples import BLOCK_SIDE, NoiseSamples, weighted_median


@dataclass(frozen=True, slots=True, eq=False)
class BlockStatistics:
    """Blocks of 8x8 without clipped pixels: mean level, fine and coarse variance, row and column of blocks.

    `rows` is the second difference down a plane, averaged over the width of a block, for each of its rows.
    """

    level: Float32[np.ndarray, "4 n"]
    fine: Float32[np.ndarray, "4 n"]
    coarse: Float32[np.ndarray, "4 n"]
    rows: Float32[np.ndarray, "4 n 8"]
    place: Int[np.ndarray, "n 2"]


def measure_row_variance(
    blocks: BlockStatistics, expected: Float32[np.ndarray, "4 n"], planes: tuple[int, int]
) -> tuple[float, float]:
    """Variance of the offsets that the mosaic rows through two planes carry, and its standard error.

    An offset is the same in the left and the right half of a row, what noise and most texture do is not: the
    variance is what the second differences of the halves' means share, measured robustly (Gnanadesikan and
    Kettenring 1972) because the horizontals of a scene are shared too.
    """
    row, column = blocks.place.T
    middle = np.median(column) if column.size else 0
    halves = []
    for side in (column < middle, column >= middle):
        total, weight = np.zeros((row.max(initial=0) + 1, BLOCK_SIDE)), np.zeros(row.max(initial=0) + 1)
        for plane in planes:
            noise = expected[plane, side]
            trust = 1 / noise / np.maximum(blocks.coarse[plane, side] / noise, 1) ** 2
            weight += np.bincount(row[side], trust, weight.size)
            for line in range(BLOCK_SIDE):
                shown = trust * blocks.rows[plane, side, line]
                total[:, line] += np.bincount(row[side], shown, weight.size)
        halves.append((total, weight))
    (left, weight_left), (right, weight_right) = halves
    both = (weight_left > 0) & (weight_right > 0)
    if np.count_nonzero(both) * BLOCK_SIDE < 32:
        return 0.0, math.inf
    left, right = left[both] / weight_left[both, None], right[both] / weight_right[both, None]
    together, apart = _robust_variance(left + right), _robust_variance(left - right)
    lines = left.size / 1.94  # neighbouring second differences share pixels
    error = math.hypot(together, apart) * math.sqrt(5.44 / lines)  # of a variance by the median deviation
    return (together - apart) / 24, error / 24  # a second difference has 6 times the variance, a sum 4


def _robust_variance(values: Float64[np.ndarray, "n 8"]) -> float:
    return float((1.4826 * np.median(np.abs(values))) ** 2)


def pool_row_variance(samples: Sequence[NoiseSamples]) -> float:
    """The row noise that captures agree on, those that stick out pulled in; 0 where it is not significant."""
    informative = [sample for sample in samples if 0 < sample.row_error < math.inf]
    if not informative:
        return 0.0
    variance, error = np.array([(sample.row_variance, sample.row_error) for sample in informative]).T
    middle = weighted_median(variance, 1 / error)
    pulled = np.clip(variance, middle - 3 * error, middle + 3 * error)
    mean = float(np.average(pulled, weights=error**-2))
    # Two planes share a row and what it shows, so that only half of the samples are independent.
    return mean if mean > 2.5 * math.sqrt(2 / float((error**-2).sum())) else 0.0
