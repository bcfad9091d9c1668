"""Two frames of equal exposure: their mean, and the temporal variance their difference shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from rawdenoise.calibration.points import to_four
from rawdenoise.calibration.quantization import average_variance
from rawdenoise.capture.raw import Levels
from rawdenoise.noise.model import FourFloats

BLOCK_SIDE = 16  # packed pixels
MINIMUM_FILLED = 0.75  # share of usable pixels a block needs to count
MINIMUM_BLOCKS = 8
OUTLIER_SIGMAS = 6.0  # robust standard deviations

Planes = Float32[np.ndarray, "4 h w"]
Mask = Bool[np.ndarray, "4 h w"]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """What two frames of equal exposure tell, on the packed scale, per plane where there are four values.

    `error` is the standard error of `variance`, from its scatter over the frame. `row_profile` is the offset
    of every mosaic row in the difference, scaled to one frame; `row_white` its variance were there no row
    noise. `drift` is how far the two means differ, relative to the signal; `structure` what stands still on
    the scale of single pixels, relative to the signal (the sensor's response, or a texture). `usable` is the
    share of the frame below the limit.
    """

    signal: FourFloats
    variance: FourFloats
    error: FourFloats
    row_profile: Float64[np.ndarray, " rows"]
    row_white: float
    drift: float
    structure: float
    usable: float

    @property
    def row_variance(self) -> float:
        """Variance of the offset that the pixels of a row share, 0 where it does not show."""
        seen, count = float(self.row_profile.var(ddof=1)), self.row_profile.size
        excess = seen - self.row_white
        return excess if excess > 2 * self.row_white * np.sqrt(2 / count) else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _PlanePair:
    signal: float
    variance: float
    error: float
    rows: Float64[np.ndarray, " h"]
    row_white: float
    structure: float
    usable: float


def measure_pair(
    first: Planes,
    second: Planes,
    usable: Mask,
    levels: Levels,
    *,
    zero: FourFloats = (0.0, 0.0, 0.0, 0.0),
    limit: float = np.inf,
    step: float = 0.0,
) -> Pair:
    """Measure the mean and temporal variance of two frames of equal exposure.

    The second frame is scaled to the mean of the first, so that a flicker of the lamp does not show the
    vignetting as noise; then the mean of every row is taken off (row noise is a figure of its own) and the
    variance of blocks of 16x16 averaged, without those that stick out. `usable` leaves out faulty and
    saturated pixels, `limit` the blocks whose signal above `zero` is larger. `step` is the quantisation step
    in DN.
    """
    mean_first, mean_second = _mean_signals(first, usable, zero), _mean_signals(second, usable, zero)
    gain = mean_first.sum() / mean_second.sum() if min(mean_first.sum(), mean_second.sum()) > 0.02 else 1.0
    planes = []
    for plane in range(4):
        span = levels.white - levels.black[plane]
        planes.append(
            _measure_plane(
                first[plane] - np.float32(zero[plane]),
                (second[plane] - np.float32(zero[plane])) * np.float32(gain),
                usable[plane],
                gain,
                limit,
                offset=levels.black[plane] / span + zero[plane],
                step=step / span,
            )
        )
    even, odd = (planes[0].rows + planes[1].rows) / 2, (planes[2].rows + planes[3].rows) / 2
    lit = max(plane.signal for plane in planes)
    return Pair(
        signal=to_four(plane.signal for plane in planes),
        variance=to_four(plane.variance for plane in planes),
        error=to_four(plane.error for plane in planes),
        row_profile=np.stack([even, odd], axis=1).reshape(-1),
        row_white=sum(plane.row_white for plane in planes) / 8,
        drift=abs(gain - 1),
        structure=max(plane.structure for plane in planes if plane.signal > lit / 2) if lit > 0.02 else 0.0,
        usable=min(plane.usable for plane in planes),
    )


def _mean_signals(planes: Planes, usable: Mask, zero: FourFloats) -> Float64[np.ndarray, "4"]:
    sums = [
        float(plane.sum(where=mask, dtype=np.float64)) for plane, mask in zip(planes, usable, strict=True)
    ]
    counts = [max(int(np.count_nonzero(mask)), 1) for mask in usable]
    return np.array(sums) / counts - zero


def _measure_plane(
    first: Float32[np.ndarray, "h w"],
    second: Float32[np.ndarray, "h w"],
    usable: Bool[np.ndarray, "h w"],
    gain: float,
    limit: float,
    *,
    offset: float,
    step: float,
) -> _PlanePair:
    """Measure one plane; `second` is scaled by `gain` already."""
    scale = 1 / (1 + gain**2)  # the variance of one frame in that of the difference
    difference = np.where(usable, first - second, 0)
    in_row = usable.sum(axis=1)
    rows = difference.sum(axis=1, dtype=np.float64) / np.maximum(in_row, 1)
    difference -= np.where(usable, rows[:, None], 0).astype(np.float32)

    count = _sum_blocks(usable.astype(np.float32))
    share = np.maximum(count, 2)
    level_first = _sum_blocks(np.where(usable, first, 0)) / share
    level_second = _sum_blocks(np.where(usable, second, 0)) / share
    sums, squares = _sum_blocks(difference), _sum_blocks(difference**2)
    variances = (squares - sums**2 / share) / (share - 1) * scale
    below = np.maximum(level_first, level_second) < limit
    kept = (count >= MINIMUM_FILLED * BLOCK_SIDE**2) & below
    part = float(below.mean()) if below.size else 0.0
    if np.count_nonzero(kept) < MINIMUM_BLOCKS:
        level = float(first.mean(dtype=np.float64, where=usable)) if usable.any() else limit
        return _PlanePair(level, 0.0, 0.0, rows, 0.0, 0.0, 0.0)
    low, high, variances = level_first[kept], level_second[kept] / gain, variances[kept]
    sound, error = _select_sound_blocks(variances, low)
    in_a_row = max(float(np.median(in_row)), 2.0)
    seen = float(variances[sound].mean()) * in_a_row / (in_a_row - 1)  # a row's mean takes some along
    signal = float((low[sound] + high[sound]).mean() / 2)
    return _PlanePair(
        signal=signal,
        variance=average_variance(seen, np.concatenate([low[sound], high[sound]]) + offset, step),
        error=error,
        rows=(rows - rows.mean())
        * np.sqrt(scale),  # black that drifts by itself in one plane is no row noise
        row_white=seen / in_a_row,
        structure=_measure_structure(first, second, usable) / max(signal, 1e-6),
        usable=part,
    )


def _sum_blocks(values: Float32[np.ndarray, "h w"]) -> Float64[np.ndarray, " blocks"]:
    rows, columns = (length // BLOCK_SIDE for length in values.shape)
    blocks = values[: rows * BLOCK_SIDE, : columns * BLOCK_SIDE].reshape(
        rows, BLOCK_SIDE, columns, BLOCK_SIDE
    )
    sums: Float64[np.ndarray, " blocks"] = blocks.sum(axis=(1, 3), dtype=np.float64).reshape(-1)
    return sums


def _select_sound_blocks(
    variances: Float64[np.ndarray, " n"], levels: Float64[np.ndarray, " n"]
) -> tuple[Bool[np.ndarray, " n"], float]:
    """Tell the blocks that do not stick out among those of about their level; and the error of their mean."""
    sound = np.ones(variances.size, bool)
    scatter = 0.0
    for group in np.array_split(np.argsort(levels), max(1, min(16, variances.size // 32))):
        middle = np.median(variances[group])
        spread = 1.4826 * np.median(np.abs(variances[group] - middle))
        sound[group] = np.abs(variances[group] - middle) <= OUTLIER_SIGMAS * max(spread, 1e-3 * middle)
        inside = variances[group][sound[group]]
        scatter += float(((inside - inside.mean()) ** 2).sum()) * inside.size / max(inside.size - 1, 1)
    count = np.count_nonzero(sound)
    return sound, float(np.sqrt(scatter) / count)


def _measure_structure(
    first: Float32[np.ndarray, "h w"], second: Float32[np.ndarray, "h w"], usable: Bool[np.ndarray, "h w"]
) -> float:
    """Standard deviation of what both frames show alike from pixel to pixel: noise has no part in it."""
    both = usable[:, 1:] & usable[:, :-1]
    product = np.where(both, np.diff(first) * np.diff(second) / 2, 0)
    means = _sum_blocks(product) / np.maximum(_sum_blocks(both.astype(np.float32)), 1)
    return float(np.sqrt(max(float(np.median(means)), 0.0))) if means.size else 0.0
