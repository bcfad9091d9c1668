"""How noisy a camera is: the record, and an estimate of it from ordinary captures, textured or not.

Noise is white, scenes are not: texture is strongest in coarse detail and fades towards the finest. So the
variance is measured in the finest detail, where texture is weak, and coarse detail tells how much of it is
texture nevertheless: places with little of it have the say, and what is left is taken off in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

BLOCK = 8  # packed pixels
MOST_BLOCKS = 40_000  # per plane: more tell little more
LEVELS = 24  # groups of blocks of about one level
FLATNESS = (0.0, 0.01, 0.04, 0.12, 0.3, 0.6)  # shares of a group, flattest first, that are averaged
LEAST_TOGETHER = 4  # blocks
CUT_OFF = 0.3  # share of pixels at the lowest value from which the noise is cut off there
FLOOR = 1e-12  # variance: nothing is free of noise, and the transforms divide by it
FINE_FREEDOM = BLOCK**2 / (1 + 2 * (4 / 6) ** 2 + 2 * (1 / 6) ** 2) ** 2  # of a block's fine variance
# How much fine variance comes with the coarse variance of texture: on photographs a tenth, give or take half.
LEAKAGE, LEAKAGE_SIGMA, MOST_LEAKAGE = 0.1, 0.04, 0.3
# The intervals are so much wider than by chance alone, because blocks share their texture; the leakage may be
# off by so much, and as much again for every unit of texture; and no camera keeps to the model better than
# so. The first two are set so that the intervals hold what they promise on simulated captures.
CHANCE, LEAKAGE_ERROR, CAMERA_ERROR = 2.0, 0.035, 0.025
# Read noise in electrons, and relative error of its variance: what is believed where the pixels tell nothing.
LIKELY_READ, READ_SPREAD = 3.0, 4.0
SAMPLE_ERROR = 0.02  # relative: no group of blocks is taken for surer
# A fit with more read noise than this, in electrons, and unsure of its shot noise, is of no sensor: it has
# come down to nothing, or taken texture for read noise. Old sensors have up to 50 and are sure of both.
MOST_READ = 40.0
MOST_UNSURE = 10.0  # times a shot noise that there may be beside it: what was found is as good as none
LIT = 10.0  # times the likely read variance: light whose shot noise is more than that would be seen
FLATTEST = 0.1  # share of the blocks that have the say where the fit has failed
# A twentieth of a normal law lies so many sigmas below its middle.
FLATTEST_SHARE, FLATTEST_SIGMAS = 0.05, 1.645
# How many times the noise of a line the flattest blocks show where it is one of noise, however strange.
CONTRADICTION, CONFIRMED = 0.8, 1.25
FAILED_INTERVAL = (0.0, 2.0)  # of such an estimate: texture only adds to it

FourFloats = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Poisson-Gaussian noise per plane (R, G1, G2, B): variance = shot * signal + read_variance.

    On the packed scale. `read_variance` is all that does not depend on the signal, quantisation by `step`
    included; `row_variance` is that of the offset which the pixels of a mosaic row share, and comes on top.
    `tail` is the shape of Tukey's lambda law where the read noise is known to follow it, long-tailed below
    0.14; without it the read noise is taken for Gaussian.
    """

    shot: FourFloats
    read_variance: FourFloats
    row_variance: float = 0.0
    step: float = 0.0
    tail: float | None = None

    def variance(self, signal: Float32[np.ndarray, "4 h w"]) -> Float32[np.ndarray, "4 h w"]:
        """The variance at a signal; below black it is that of black."""
        shot = np.asarray(self.shot, np.float32)[:, None, None]
        read = np.asarray(self.read_variance, np.float32)[:, None, None]
        variance: Float32[np.ndarray, "4 h w"] = shot * np.maximum(signal, 0) + read
        return variance


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSamples:
    """What groups of blocks of one plane show: their level, the variance of fine and of coarse detail.

    `coarse` equals `variance` where there is nothing but white noise; what it has more is texture. `blocks`
    is how many blocks a group has, `floor` the least variance there can be (quantisation), `step` the
    quantisation step. `row_variance` is that of the offsets which the pixels of a row share, negative by
    chance where there are none, and `row_error` its standard error, infinite where nothing tells.
    """

    level: Float64[np.ndarray, " n"]
    variance: Float64[np.ndarray, " n"]
    coarse: Float64[np.ndarray, " n"]
    blocks: Float64[np.ndarray, " n"]
    floor: float
    step: float = 0.0
    row_variance: float = 0.0
    row_error: float = math.inf


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """A noise model and how sure of it we are.

    The intervals hold 95 % and are relative: of the shot noise, and of the standard deviation of the read
    noise; (0.9, 1.2) says that the truth is between 0.9 and 1.2 times the estimate. `samples` is how many
    groups of blocks had a say. `failed`: noise cannot be told from texture; what the flattest tenth of the
    blocks show stands for it, which is hardly less than the noise but may be many times as much.
    """

    noise: NoiseModel
    shot_interval: tuple[float, float]
    read_interval: tuple[float, float]
    samples: int
    failed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """Blocks of 8x8 without clipped pixels: mean level, fine and coarse variance, row and column of blocks.

    `rows` is the second difference down a plane, averaged over the width of a block, for each of its rows.
    """

    level: Float32[np.ndarray, "4 n"]
    fine: Float32[np.ndarray, "4 n"]
    coarse: Float32[np.ndarray, "4 n"]
    rows: Float32[np.ndarray, "4 n 8"]
    place: Int[np.ndarray, "n 2"]


# ---------------------------------------------------------------- entry points


def estimate_noise(
    planes: Float32[np.ndarray, "4 h w"], *, valid: Bool[np.ndarray, "4 h w"] | None = None
) -> NoiseModel:
    """Estimate the noise of one capture, textured or not; pixels outside `valid` (clipped) are left out."""
    return fit_noise([sample_noise(planes, valid=valid)])


def sample_noise(
    planes: Float32[np.ndarray, "4 h w"],
    *,
    valid: Bool[np.ndarray, "4 h w"] | None = None,
    most_blocks: int | None = None,
) -> tuple[NoiseSamples, ...]:
    """Measure the noise variance against the signal, per plane, on about `most_blocks` of it.

    Fine detail is the second difference in both directions (Immerkaer 1996), blind to gradients and to edges
    along an axis; coarse detail the second differences of pixels averaged two by two. Their powers are taken
    over blocks of 8x8, grouped by level and, within a level, by the coarse detail of all planes. White noise
    is independent in the two, so that this choice does not favour blocks with little noise.
    """
    steps = [_step(plane) for plane in planes]
    floors = [max(step**2 / 12, FLOOR) for step in steps]
    measured = _measure_blocks(planes, valid, most_blocks or MOST_BLOCKS)
    if measured.level.shape[1] < LEAST_TOGETHER:
        nothing = np.empty(0)
        return tuple(
            NoiseSamples(nothing, nothing, nothing, nothing, floor, step)
            for floor, step in zip(floors, steps, strict=True)
        )
    limits = [math.inf] * 4
    if valid is not None:
        limits = [_saturation(plane, mask) for plane, mask in zip(planes, valid, strict=True)]
    groups = [_groups_of_one_level(levels) for levels in measured.level]
    expected = np.ones_like(measured.coarse)
    for plane, members in enumerate(groups):
        for group in members:
            expected[plane, group] = max(float(np.quantile(measured.coarse[plane, group], 0.25)), FLOOR)
    for _ in range(2):  # how coarse detail compares with noise is known only once noise is
        texture = measured.coarse / expected
        texture = texture.sum(axis=0) - texture  # of the other three planes
        samples = [
            _grouped(measured, plane, groups[plane], texture[plane], floors[plane], limits[plane])
            for plane in range(4)
        ]
        expected = _expected(fit_noise([samples]), measured.level)
    rows = [_row_variance(measured, expected, pair) for pair in ((0, 1), (2, 3))]
    return tuple(
        replace(each, step=steps[plane], row_variance=rows[plane // 2][0], row_error=rows[plane // 2][1])
        for plane, each in enumerate(samples)
    )


def fit_noise(captures: Iterable[Sequence[NoiseSamples]]) -> NoiseModel:
    """Fit one noise model to the samples of captures that share camera and ISO."""
    return estimate_with_interval(captures).noise


def estimate_with_interval(captures: Iterable[Sequence[NoiseSamples]]) -> NoiseEstimate:
    """Fit one noise model to the samples of captures that share camera and ISO, and say how sure it is.

    One line for all planes, which read out of one sensor, and one digital gain per plane beside it: a plane
    that is dark all over has no slope of its own to show.
    """
    listed = list(captures)
    per_plane = [_joined(samples) for samples in zip(*listed, strict=True)]
    both = _joined(per_plane)
    row_variance = _pooled_row_variance([plane for samples in listed for plane in samples])
    if not both.level.size:  # everything clipped, or smaller than a few blocks: assume quantisation alone
        floor = max(both.floor, FLOOR)
        nothing = NoiseModel((floor,) * 4, (floor,) * 4, row_variance, both.step)
        return NoiseEstimate(nothing, (0.0, math.inf), (0.0, math.inf), 0, failed=True)
    line = _fit_line(both, learn_leakage=False)  # a gain looks like texture: more of fine and of coarse
    gains = [_gain(samples, line) for samples in per_plane]
    line = _fit_line(_joined(_scaled(*each) for each in zip(per_plane, gains, strict=True)))
    share = _shown_at_least(line, gains, per_plane)
    if failed := share > CONFIRMED and _is_of_no_sensor(line, both):
        line, gains = _flattest_line(both), [1.0] * 4
        share = _shown_at_least(line, gains, per_plane)
    failed |= share < CONTRADICTION
    line = line.scaled(min(share, 1.0))
    a, b, c, d = (max(line.shot * gain, FLOOR) for gain in gains)
    e, f, g, h = (
        max(line.read * gain, samples.floor) for gain, samples in zip(gains, per_plane, strict=True)
    )
    noise = NoiseModel((a, b, c, d), (e, f, g, h), row_variance, both.step)
    intervals = (FAILED_INTERVAL, FAILED_INTERVAL) if failed else _intervals(line)
    return NoiseEstimate(noise, *intervals, samples=both.level.size, failed=failed)


# ---------------------------------------------------------------- blocks


def _measure_blocks(
    planes: Float32[np.ndarray, "4 h w"], valid: Bool[np.ndarray, "4 h w"] | None, most: int
) -> _Blocks:
    """Measure blocks all over a capture, at most about so many, one row of them at a time."""
    down, across = ((length - 2) // BLOCK for length in planes.shape[1:])
    lowest = planes.min(axis=(1, 2), keepdims=True, initial=np.inf)
    measured = [_no_blocks()]
    for row in range(0, down if across > 0 else 0, -(-max(down * across, 1) // most)):
        reach = np.s_[:, row * BLOCK : (row + 1) * BLOCK + 2, : across * BLOCK + 2]
        strip = planes[reach]
        at_lowest = (strip[:, 1:-1, 1:-1] == lowest).reshape(4, BLOCK, across, BLOCK).mean(axis=(1, 3))
        good = (at_lowest < CUT_OFF).all(axis=0)
        if valid is not None:
            column = np.asarray(valid[reach].all(axis=(0, 1)))
            good &= column[:-2].reshape(across, BLOCK).all(axis=1) & column[8::8] & column[9::8]
        measured.append(_measure_strip(strip, good, row))
    return _Blocks(
        level=np.concatenate([each.level for each in measured], axis=1),
        fine=np.concatenate([each.fine for each in measured], axis=1),
        coarse=np.concatenate([each.coarse for each in measured], axis=1),
        rows=np.concatenate([each.rows for each in measured], axis=1),
        place=np.concatenate([each.place for each in measured]),
    )


def _no_blocks() -> _Blocks:
    nothing = np.empty((4, 0), np.float32)
    return _Blocks(nothing, nothing, nothing, np.empty((4, 0, BLOCK), np.float32), np.empty((0, 2), int))


def _measure_strip(
    strip: Float32[np.ndarray, "4 10 w"], good: Bool[np.ndarray, " across"], row: int
) -> _Blocks:
    """Measure one row of blocks; the strip reaches a pixel further on every side."""
    count = good.size
    over = strip[:, :-2] - 2 * strip[:, 1:-1] + strip[:, 2:]
    fine = (over[:, :, :-2] - 2 * over[:, :, 1:-1] + over[:, :, 2:]) / 6  # keeps the variance of white noise
    halves = strip[:, ::2] + strip[:, 1::2]
    halves = (halves[:, :, ::2] + halves[:, :, 1::2]) / 2  # keeps it too
    across = halves[:, :, :-2] - 2 * halves[:, :, 1:-1] + halves[:, :, 2:]
    across = np.pad(across, ((0, 0), (0, 0), (0, 1))).reshape(4, 5, count, 4)[..., :3]
    down = halves[:, :-2, :-1] - 2 * halves[:, 1:-1, :-1] + halves[:, 2:, :-1]
    power_across = (across**2).mean(axis=(1, 3))
    power_down = (down**2).reshape(4, 3, count, 4).mean(axis=(1, 3))
    level = strip[:, 1:-1, 1:-1].reshape(4, BLOCK, count, BLOCK).mean(axis=(1, 3))
    rows = over[:, :, 1:-1].reshape(4, BLOCK, count, BLOCK).mean(axis=3).transpose(0, 2, 1)
    (columns,) = np.nonzero(good)
    return _Blocks(
        level=level[:, good],
        fine=(fine**2).reshape(4, BLOCK, count, BLOCK).mean(axis=(1, 3))[:, good],
        coarse=((power_across + power_down) / 12)[:, good],
        rows=rows[:, good],
        place=np.stack([np.full_like(columns, row), columns], axis=1),
    )


def _groups_of_one_level(level: Float32[np.ndarray, " n"]) -> list[Int[np.ndarray, " _"]]:
    """Blocks by rising level in groups of one size, but finer at the dark end, where read noise shows."""
    order = np.argsort(level)
    groups = np.array_split(order, max(1, min(LEVELS, order.size // 32)))
    dark = np.array_split(groups[0], max(1, min(4, groups[0].size // 32)))
    return [group for group in [*dark, *groups[1:]] if group.size >= LEAST_TOGETHER]


def _grouped(
    blocks: _Blocks,
    plane: int,
    groups: Sequence[Int[np.ndarray, " _"]],
    texture: Float32[np.ndarray, " n"],
    floor: float,
    limit: float,
) -> NoiseSamples:
    """Average the blocks of a plane that are of one level and about equally textured.

    Levels whose noise reaches up to `limit` are left out: there it is cut off.
    """
    rows = []
    for group in groups:
        by_texture = group[np.argsort(texture[group])]
        bounds = [max(round(share * group.size), LEAST_TOGETHER * i) for i, share in enumerate(FLATNESS)]
        for first, last in pairwise(bounds):
            part = by_texture[first:last]
            if part.size < LEAST_TOGETHER:
                break
            mean, power, coarse_power = (
                float(each[plane, part].mean(dtype=np.float64))
                for each in (blocks.level, blocks.fine, blocks.coarse)
            )
            if mean + 4 * math.sqrt(power) < limit:
                rows.append((mean, power, coarse_power, part.size))
    level, fine, coarse, count = np.array(rows, np.float64).reshape(-1, 4).T
    return NoiseSamples(level, fine, coarse, count, floor)


def _expected(noise: NoiseModel, level: Float32[np.ndarray, "4 n"]) -> Float32[np.ndarray, "4 n"]:
    return noise.variance(level[:, :, None])[:, :, 0]


def _step(plane: Float32[np.ndarray, "h w"]) -> float:
    """The quantisation step: the smallest difference between two values that occur."""
    sample = plane.reshape(-1)[:: max(1, plane.size // 65536)]
    values = np.unique(sample)
    return float(np.diff(values).min()) if values.size > 1 else 0.0


def _saturation(plane: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> float:
    """The least value that is not valid; infinite where all are."""
    return float(plane.min(initial=np.inf, where=~valid))


# ---------------------------------------------------------------- rows


def _row_variance(
    blocks: _Blocks, expected: Float32[np.ndarray, "4 n"], planes: tuple[int, int]
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
        total, weight = np.zeros((row.max(initial=0) + 1, BLOCK)), np.zeros(row.max(initial=0) + 1)
        for plane in planes:
            noise = expected[plane, side]
            trust = 1 / noise / np.maximum(blocks.coarse[plane, side] / noise, 1) ** 2
            weight += np.bincount(row[side], trust, weight.size)
            for line in range(BLOCK):
                shown = trust * blocks.rows[plane, side, line]
                total[:, line] += np.bincount(row[side], shown, weight.size)
        halves.append((total, weight))
    (left, weight_left), (right, weight_right) = halves
    both = (weight_left > 0) & (weight_right > 0)
    if np.count_nonzero(both) * BLOCK < 32:
        return 0.0, math.inf
    left, right = left[both] / weight_left[both, None], right[both] / weight_right[both, None]
    together, apart = _robust_variance(left + right), _robust_variance(left - right)
    lines = left.size / 1.94  # neighbouring second differences share pixels
    error = math.hypot(together, apart) * math.sqrt(5.44 / lines)  # of a variance by the median deviation
    return (together - apart) / 24, error / 24  # a second difference has 6 times the variance, a sum 4


def _robust_variance(values: Float64[np.ndarray, "n 8"]) -> float:
    return float((1.4826 * np.median(np.abs(values))) ** 2)


def _pooled_row_variance(samples: Sequence[NoiseSamples]) -> float:
    """The row noise that captures agree on, those that stick out pulled in; 0 where it is not significant."""
    told = [each for each in samples if 0 < each.row_error < math.inf]
    if not told:
        return 0.0
    variance, error = np.array([(each.row_variance, each.row_error) for each in told]).T
    middle = weighted_median(variance, 1 / error)
    pulled = np.clip(variance, middle - 3 * error, middle + 3 * error)
    mean = float(np.average(pulled, weights=error**-2))
    # Two planes share a row and what it shows, so that only half of the samples are independent.
    return mean if mean > 2.5 * math.sqrt(2 / float((error**-2).sum())) else 0.0


def weighted_median(values: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"]) -> float:
    """The value that half of the weight lies below."""
    return weighted_quantile(values, weights, 0.5)


def weighted_quantile(
    values: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"], share: float
) -> float:
    """The value that a share of the weight lies below."""
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, cumulated[-1] * share)])


# ---------------------------------------------------------------- the line


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """Variance = shot * level + read, with relative standard errors.

    `leakage` is how much of the texture's coarse variance shows in the fine one.
    """

    shot: float
    read: float
    leakage: float
    shot_error: float
    read_error: float

    def variance(self, level: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The variance at a level; below black it is that of black."""
        return self.shot * np.maximum(level, 0) + self.read

    def scaled(self, share: float) -> _Line:
        """A line of less noise, and the less sure."""
        more = 1 / max(share, FLOOR) - 1
        errors = (math.hypot(error, more) for error in (self.shot_error, self.read_error))
        return _Line(self.shot * share, self.read * share, self.leakage, *errors)


def _joined(samples: Iterable[NoiseSamples]) -> NoiseSamples:
    listed = list(samples)
    return NoiseSamples(
        np.concatenate([s.level for s in listed]),
        np.concatenate([s.variance for s in listed]),
        np.concatenate([s.coarse for s in listed]),
        np.concatenate([s.blocks for s in listed]),
        max(s.floor for s in listed),
        max(s.step for s in listed),
    )


def without_texture(samples: NoiseSamples, leakage: float) -> Float64[np.ndarray, " n"]:
    """The fine variance less what texture adds to it.

    It is never negative: where more would be taken off than there is, less has leaked. Without that, scenes
    with texture all over draw the fit to no noise at all, or not, as chance has it.
    """
    return np.maximum(samples.variance - leakage * samples.coarse, 0) / (1 - leakage)


def _scaled(samples: NoiseSamples, gain: float) -> NoiseSamples:
    """The samples as they were before a digital gain that raised their variance."""
    return replace(samples, variance=samples.variance / gain, coarse=samples.coarse / gain)


def _fit_line(samples: NoiseSamples, *, learn_leakage: bool = True) -> _Line:
    """Fit the line and the leakage by reweighted least squares, from below: texture only ever adds.

    One more sample, of hardly any weight, says that sensors read out with a few electrons of noise.
    """
    x, floor = np.maximum(samples.level, 0), samples.floor
    y = np.maximum(samples.variance, floor)
    lit = x > 0
    shot = float(np.quantile(y[lit] / x[lit], 0.05)) / 2 if lit.any() else 0.0
    read, leakage = max(float(np.quantile(y, 0.05)) / 2, floor), LEAKAGE
    for _ in range(40):
        expected = shot * x + read
        weight = _weights(samples, expected, leakage)
        likely = max((LIKELY_READ * shot) ** 2, floor)
        spread = READ_SPREAD * max(likely, read)  # a dark's shot noise tells nothing of its read noise
        shot, read = _nonnegative_line(
            np.append(x, 0.0),
            np.append(without_texture(samples, leakage), likely),
            np.append(weight / expected**2, spread**-2),
            floor,
        )
        if learn_leakage:
            leakage = _leakage(samples, expected, weight)
    return _with_errors(samples, max(shot, FLOOR), max(read, floor), leakage)


def _is_of_no_sensor(line: _Line, samples: NoiseSamples) -> bool:
    """Whether a fit has light without shot noise, or, unsure, more read noise than sensors have.

    Where there is no light to speak of, or one level only, they cannot be told apart, and nothing is wrong.
    """
    dim, bright = (float(level) for level in np.quantile(samples.level, (0.1, 0.9)))
    if bright <= max(LIT * _flattest_line(samples).shot * LIKELY_READ**2, 2 * dim):
        return False
    read = max(line.read - samples.step**2 / 12, 0.0)
    unsure = 1.96 * line.shot_error
    none = line.shot <= FLOOR or unsure > MOST_UNSURE
    return none or (math.sqrt(read) > MOST_READ * line.shot and unsure >= 1)


def _shown_at_least(line: _Line, gains: Sequence[float], planes: Sequence[NoiseSamples]) -> float:
    """How many times the noise of a line the flattest blocks show: 1 or more where the line is true.

    Noise is everywhere and texture only adds: a twentieth of the blocks lies as far below a true line as
    chance has it, and no farther. What a line has more than that was texture.
    """
    samples = _joined(_scaled(*each) for each in zip(planes, gains, strict=True))
    chance = 1 - FLATTEST_SIGMAS * np.sqrt(2 / (FINE_FREEDOM * samples.blocks))
    shown = samples.variance / np.maximum(line.variance(samples.level), samples.floor) / chance
    return weighted_quantile(shown, samples.blocks, FLATTEST_SHARE)


def _flattest_line(samples: NoiseSamples) -> _Line:
    """The line of a likely sensor that the flattest blocks of all levels lie on.

    A group's variance gives the gain K of a sensor of K level + (3 K)^2, three electrons being the likely
    read noise; the tenth of the blocks with the lowest gain are taken for flat.
    """
    x, beyond = np.maximum(samples.level, 0), np.maximum(samples.variance - samples.floor, 0)
    gains = (np.sqrt(x**2 + 4 * LIKELY_READ**2 * beyond) - x) / (2 * LIKELY_READ**2)
    gain = max(weighted_quantile(gains, samples.blocks, FLATTEST), FLOOR)
    return _Line(gain, (LIKELY_READ * gain) ** 2 + samples.floor, LEAKAGE, math.inf, math.inf)


def _leakage(
    samples: NoiseSamples, expected: Float64[np.ndarray, " n"], weight: Float64[np.ndarray, " n"]
) -> float:
    """How much of the texture's coarse variance shows in the fine one: what is seen, and what is likely."""
    texture = samples.coarse / expected - 1
    near = weight * (np.abs(texture) < 4)
    seen, sure = near @ (texture * (samples.variance / expected - 1)), near @ texture**2
    leakage = (seen + LEAKAGE / LEAKAGE_SIGMA**2) / (sure + LEAKAGE_SIGMA**-2)
    return min(max(float(leakage), 0.0), MOST_LEAKAGE)


def _weights(
    samples: NoiseSamples, expected: Float64[np.ndarray, " n"], leakage: float
) -> Float64[np.ndarray, " n"]:
    """How much each sample has to say of the relative variance: one over the square of its error.

    That is chance, what the model leaves out, and the texture, of which we do not know how much leaks. What
    sticks out nevertheless counts for less (Cauchy's weights).
    """
    texture = samples.coarse / expected - 1
    error = np.sqrt(
        2 / (FINE_FREEDOM * samples.blocks) + SAMPLE_ERROR**2 + (LEAKAGE_SIGMA * np.maximum(texture, 0)) ** 2
    )
    excess = samples.variance / expected - 1 - leakage * texture
    return 1 / (error**2 + (excess / 2) ** 2)


def _with_errors(samples: NoiseSamples, shot: float, read: float, leakage: float) -> _Line:
    """Tell how far shot and read noise may be off: by chance, and by a leakage that is another."""
    x, floor = np.maximum(samples.level, 0), samples.floor
    expected = shot * x + read
    weight = _weights(samples, expected, leakage)
    terms = np.stack([shot * x / expected, read / expected])  # so that the errors are relative
    covariance = np.linalg.pinv(terms * weight @ terms.T)
    chance = np.sqrt(np.diag(covariance)) * CHANCE
    texture = float(np.average(np.maximum(samples.coarse / expected - 1, 0), weights=weight))
    less = without_texture(samples, leakage + LEAKAGE_ERROR * (1 + texture))
    other = _nonnegative_line(x, less, weight / expected**2, floor)
    shift = np.abs(np.array(other) / (shot, read) - 1)
    shot_error, read_error = (float(each) for each in np.sqrt(chance**2 + shift**2 + CAMERA_ERROR**2))
    return _Line(shot, read, leakage, shot_error, read_error)


def _nonnegative_line(
    x: Float64[np.ndarray, " n"],
    y: Float64[np.ndarray, " n"],
    weight: Float64[np.ndarray, " n"],
    floor: float,
) -> tuple[float, float]:
    total, mean_x, mean_y = weight.sum(), np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float(weight @ (x - mean_x) ** 2)
    # One level only (a flat field, a dark frame) has no slope to show: then all of it is read noise.
    if spread <= 1e-6 * total * max(mean_x, 1e-3) ** 2:
        return 0.0, max(float(mean_y), floor)
    shot = float(weight @ ((x - mean_x) * (y - mean_y))) / spread
    read = float(mean_y - shot * mean_x)
    if read < floor:
        read = floor
        shot = float(weight @ (x * (y - floor)) / (weight @ x**2))
    if shot < 0:
        shot, read = 0.0, max(float(mean_y), floor)
    return shot, read


def _gain(samples: NoiseSamples, line: _Line) -> float:
    """How much noisier this plane is than the line (a digital gain per plane); 1 where nothing tells."""
    if not samples.level.size:
        return 1.0
    expected = line.variance(samples.level)
    weight = _weights(samples, expected, line.leakage)
    ratio = weighted_median(without_texture(samples, line.leakage) / expected, weight)
    return min(max(ratio, 0.25), 4.0) if abs(ratio - 1) > max(0.05, 6 / math.sqrt(weight.sum())) else 1.0


def _intervals(line: _Line) -> tuple[tuple[float, float], tuple[float, float]]:
    """The intervals of shot noise and read sigma."""
    shot, read = 1.96 * line.shot_error, 1.96 * line.read_error
    return (max(1 - shot, 0.0), 1 + shot), (math.sqrt(max(1 - read, 0.0)), math.sqrt(1 + read))
