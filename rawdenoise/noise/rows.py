"""Row noise: the offset that the pixels of a mosaic row share, found and taken off.

A row's offset shows in the difference of its pixels to those of the rows around it. So does the scene; but an
offset is the same all along the row, follows no structure, and is as large as the camera's row noise. What is
otherwise is taken for the scene: stretches of the row that disagree, and rows whose neighbourhood differs by
more than row noise can. What is left is solved for in the least-squares sense, offsets being drawn towards 0
in proportion to what is uncertain about them (Wiener), so that a row which shows nothing stays as it is. The
differences are blind to gradients: the mean level of a picture and its tilt do not move.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64

from rawdenoise.noise.model import NoiseModel

STRETCH_COLUMNS = 32  # columns of a plane that are taken together
STRIP_ROWS = 256  # rows in memory at a time
DIFFERENCE_KERNEL = np.array([-0.25, -0.25, 1.0, -0.25, -0.25])
MINIMUM_GAIN = 0.2  # share of the row noise that must be expected to go, for any to be taken off
MINIMUM_WEIGHT = 1e-30
PLANE_PAIRS = ((0, 1), (2, 3))  # the planes that a mosaic row runs through: R and G1, G2 and B


def estimate_row_offsets(
    planes: Float32[np.ndarray, "4 h w"],
    noise: NoiseModel,
    *,
    valid: Bool[np.ndarray, "4 h w"] | None = None,
) -> Float32[np.ndarray, "2 h"]:
    """Estimate the offset of each mosaic row, those through R first; all 0 where row noise does not show.

    Stretches with a pixel outside `valid` (clipped, defect) have no say.
    """
    height, width = planes.shape[1:]
    offsets = np.zeros((2, height), np.float32)
    if noise.row_variance <= 0 or height < 8 or width < STRETCH_COLUMNS:
        return offsets
    for row, pair in enumerate(PLANE_PAIRS):
        stretches = [_measure_stretches(planes[p], None if valid is None else valid[p]) for p in pair]
        means, powers = zip(*stretches, strict=True)
        power = np.maximum(np.concatenate(powers, axis=1), 1e-3 * noise.row_variance)
        difference, variance = _average_stretches(np.concatenate(means, axis=1), power)
        variance = variance + _structure_variance(difference, variance, noise.row_variance)
        gain = noise.row_variance / (noise.row_variance + variance)
        if gain.mean() >= MINIMUM_GAIN:
            offset = _solve(difference, variance, noise.row_variance)
            # Waves of many rows differ little from row to row, but add up to more than row noise.
            variance = variance + _variance_unlike_row_noise(offset, noise.row_variance)
            offsets[row] = _solve(difference, variance, noise.row_variance)
    return offsets


def add_rows(
    planes: Float32[np.ndarray, "4 h w"], offsets: Float32[np.ndarray, "2 h"]
) -> Float32[np.ndarray, "4 h w"]:
    """Put offsets on the rows of all four planes."""
    if not offsets.any():
        return planes
    return planes + offsets.repeat(2, axis=0)[:, :, None]


def _measure_stretches(
    plane: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"] | None
) -> tuple[Float64[np.ndarray, "r s"], Float64[np.ndarray, "r s"]]:
    """Mean and power of the difference to the rows around, per row (but the first and last two) and stretch.

    The power is that of five rows, those the difference is made of: noise and the texture of the place. It is
    infinite where a pixel is not valid.
    """
    height, width = plane.shape
    count = width // STRETCH_COLUMNS
    # Stretches lie in the middle: a mirrored picture has the same.
    left = (width - count * STRETCH_COLUMNS) // 2
    means = np.empty((height - 4, count))
    powers = np.empty((height - 4, count))
    for top in range(0, height - 4, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, height - 4)
        strip = plane[top : bottom + 4, left : left + count * STRETCH_COLUMNS]
        rows = bottom - top
        difference = strip[2 : 2 + rows] - 0.25 * (
            strip[:rows] + strip[1 : 1 + rows] + strip[3 : 3 + rows] + strip[4 : 4 + rows]
        )
        difference = difference.reshape(rows, count, STRETCH_COLUMNS)
        means[top:bottom] = difference.mean(axis=2)
        powers[top:bottom] = np.einsum("rsc,rsc->rs", difference, difference) / STRETCH_COLUMNS
        if valid is not None:
            good = valid[top : bottom + 4, left : left + count * STRETCH_COLUMNS]
            bad = good.reshape(rows + 4, count, STRETCH_COLUMNS).min(axis=2) == 0
            for shift in range(5):
                powers[top:bottom][bad[shift : shift + rows]] = np.inf
    return means, _mean_of_rows(powers, 2)


def _average_stretches(
    means: Float64[np.ndarray, "r s"], powers: Float64[np.ndarray, "r s"]
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """What the stretches of each row agree on, and its variance; stretches that disagree count for little."""
    weight = STRETCH_COLUMNS / powers
    trust = weight
    for _ in range(4):
        total = np.maximum(trust.sum(axis=1), MINIMUM_WEIGHT)
        agreed = (trust * means).sum(axis=1) / total
        misfit = (means - agreed[:, None]) ** 2 * weight
        trust = weight / (1 + misfit / 9) ** 2  # redescending (Geman & McClure), at three sigmas
    return agreed, 1 / total


def _structure_variance(
    difference: Float64[np.ndarray, " r"], variance: Float64[np.ndarray, " r"], row_variance: float
) -> Float64[np.ndarray, " r"]:
    """How much more the rows around differ than by row noise and by what is uncertain: a scene's variance."""
    expected = float(DIFFERENCE_KERNEL @ DIFFERENCE_KERNEL) * row_variance + variance
    around = _mean_of_rows(difference**2 / expected, 4)
    alone = difference**2 / expected / 9  # a single row of more than three sigmas
    return 4 * expected * np.maximum(np.maximum(around - 2, alone - 1), 0)


def _variance_unlike_row_noise(
    offset: Float64[np.ndarray, " h"], row_variance: float
) -> Float64[np.ndarray, " r"]:
    """The variance to add where the offsets around are stronger or smoother than row noise."""
    strength = _mean_of_rows(offset**2, 8) / row_variance
    smoothness = 7 * _mean_of_rows(_mean_of_rows(offset, 3) ** 2, 16) / row_variance
    return 100 * row_variance * np.maximum(np.maximum(strength, smoothness) - 2, 0)[2:-2]


def _solve(
    difference: Float64[np.ndarray, " r"], variance: Float64[np.ndarray, " r"], row_variance: float
) -> Float64[np.ndarray, " h"]:
    """The most probable offsets: (A' V^-1 A + 1 / row_variance) o = A' V^-1 d, by conjugate gradients."""
    precision = row_variance / variance

    def apply_normal_equations(offset: Float64[np.ndarray, " h"]) -> Float64[np.ndarray, " h"]:
        return offset + np.convolve(
            precision * np.convolve(offset, DIFFERENCE_KERNEL, "valid"), DIFFERENCE_KERNEL
        )

    residual = np.convolve(precision * difference, DIFFERENCE_KERNEL)
    offset = np.zeros_like(residual)
    direction, power = residual, float(residual @ residual)
    target = 1e-8 * power
    for _ in range(500):
        if power <= target:
            break
        image = apply_normal_equations(direction)
        step = power / float(direction @ image)
        offset = offset + step * direction
        residual = residual - step * image
        power, before = float(residual @ residual), power
        direction = residual + power / before * direction
    return offset


def _mean_of_rows(
    values: Float64[np.ndarray, " rows *rest"], reach: int
) -> Float64[np.ndarray, " rows *rest"]:
    """Mean over the rows up to `reach` away; fewer at the ends."""
    summed = np.zeros_like(values)
    count = np.zeros(len(values))
    for shift in range(-reach, reach + 1):
        to = slice(max(0, -shift), len(values) - max(0, shift))
        source = slice(max(0, shift), len(values) - max(0, -shift))
        summed[to] += values[source]
        count[to] += 1
    return summed / count.reshape(-1, *(1,) * (values.ndim - 1))
