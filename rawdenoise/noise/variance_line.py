"""The line of variance over signal that samples lie on, fitted from below, for texture only adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rawdenoise.noise.model import MINIMUM_VARIANCE
from rawdenoise.noise.samples import (
    FINE_FREEDOM,
    NoiseSamples,
    join_samples,
    remove_gain,
    subtract_texture,
    weighted_median,
    weighted_quantile,
)

# How much fine variance comes with the coarse variance of texture: on photographs a tenth, give or take half.
LEAKAGE, LEAKAGE_SIGMA, MAXIMUM_LEAKAGE = 0.1, 0.04, 0.3
# The intervals are so much wider than by chance alone, because blocks share their texture; the leakage may be
# off by so much, and as much again for every unit of texture; and no camera keeps to the model better than
# so. The first two are set so that the intervals hold what they promise on simulated captures.
CHANCE_FACTOR, LEAKAGE_ERROR, CAMERA_ERROR = 2.0, 0.035, 0.025
# Read noise in electrons, and relative error of its variance: what is believed where the pixels tell nothing.
LIKELY_READ_ELECTRONS, READ_SPREAD = 3.0, 4.0
MINIMUM_SAMPLE_ERROR = 0.02  # relative: no group of blocks is taken for surer
# A fit with more read noise than this, in electrons, and unsure of its shot noise, is of no sensor: it has
# come down to nothing, or taken texture for read noise. Old sensors have up to 50 and are sure of both.
MAXIMUM_READ_ELECTRONS = 40.0
# Times a shot noise that there may be beside it: what was found is as good as none.
MAXIMUM_SHOT_UNCERTAINTY = 10.0
MINIMUM_LIGHT = 10.0  # times the likely read variance: light whose shot noise is more than that would be seen
FLAT_SHARE = 0.1  # share of the blocks that have the say where the fit has failed
# A twentieth of a normal law lies so many sigmas below its middle.
TAIL_SHARE, TAIL_SIGMAS = 0.05, 1.645


@dataclass(frozen=True, slots=True, eq=False)
class Line:
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

    def scale(self, share: float) -> Line:
        """A line of less noise, and the less sure."""
        more = 1 / max(share, MINIMUM_VARIANCE) - 1
        errors = (math.hypot(error, more) for error in (self.shot_error, self.read_error))
        return Line(self.shot * share, self.read * share, self.leakage, *errors)


def fit_line(samples: NoiseSamples, *, learn_leakage: bool = True, least: bool = False) -> Line:
    """Fit the line and the leakage by reweighted least squares, from below: texture only ever adds.

    One more sample, of hardly any weight, says that sensors read out with a few electrons of noise. With
    `least` as much texture is taken off as may well have leaked: of one textured capture what is left is more
    often too much noise than too little, and too much costs detail.
    """
    x, floor = np.maximum(samples.level, 0), samples.floor
    y = np.maximum(samples.variance, floor)
    lit = x > 0
    shot = float(np.quantile(y[lit] / x[lit], 0.05)) / 2 if lit.any() else 0.0
    read, leakage = max(float(np.quantile(y, 0.05)) / 2, floor), LEAKAGE
    for _ in range(40):
        expected = shot * x + read
        weight = _weights(samples, expected, leakage)
        likely = max((LIKELY_READ_ELECTRONS * shot) ** 2, floor)
        spread = READ_SPREAD * max(likely, read)  # a dark's shot noise tells nothing of its read noise
        shot, read = _fit_nonnegative_line(
            np.append(x, 0.0),
            np.append(subtract_texture(samples, leakage), likely),
            np.append(weight / expected**2, spread**-2),
            floor,
        )
        if learn_leakage:
            leakage = _fit_leakage(samples, expected, weight)
    likely_line, least_line = _find_ends(samples, max(shot, MINIMUM_VARIANCE), max(read, floor), leakage)
    return least_line if least else likely_line


def is_of_no_sensor(line: Line, samples: NoiseSamples) -> bool:
    """Whether a fit has light without shot noise, or, unsure, more read noise than sensors have.

    Where there is no light to speak of, or one level only, they cannot be told apart, and nothing is wrong.
    """
    dim, bright = (float(level) for level in np.quantile(samples.level, (0.1, 0.9)))
    if bright <= max(MINIMUM_LIGHT * fit_flattest_line(samples).shot * LIKELY_READ_ELECTRONS**2, 2 * dim):
        return False
    read = max(line.read - samples.step**2 / 12, 0.0)
    unsure = 1.96 * line.shot_error
    none = line.shot <= MINIMUM_VARIANCE or unsure > MAXIMUM_SHOT_UNCERTAINTY
    return none or (math.sqrt(read) > MAXIMUM_READ_ELECTRONS * line.shot and unsure >= 1)


def measure_least_shown(line: Line, gains: Sequence[float], planes: Sequence[NoiseSamples]) -> float:
    """How many times the noise of a line the flattest blocks show: 1 or more where the line is true.

    Noise is everywhere and texture only adds: a twentieth of the blocks lies as far below a true line as
    chance has it, and no farther. What a line has more than that was texture.
    """
    samples = join_samples(remove_gain(*plane_and_gain) for plane_and_gain in zip(planes, gains, strict=True))
    chance = 1 - TAIL_SIGMAS * np.sqrt(2 / (FINE_FREEDOM * samples.blocks))
    shown = samples.variance / np.maximum(line.variance(samples.level), samples.floor) / chance
    return weighted_quantile(shown, samples.blocks, TAIL_SHARE)


def fit_flattest_line(samples: NoiseSamples) -> Line:
    """The line of a likely sensor that the flattest blocks of all levels lie on.

    A group's variance gives the gain K of a sensor of K level + (3 K)^2, three electrons being the likely
    read noise; the tenth of the blocks with the lowest gain are taken for flat.
    """
    x, beyond = np.maximum(samples.level, 0), np.maximum(samples.variance - samples.floor, 0)
    gains = (np.sqrt(x**2 + 4 * LIKELY_READ_ELECTRONS**2 * beyond) - x) / (2 * LIKELY_READ_ELECTRONS**2)
    gain = max(weighted_quantile(gains, samples.blocks, FLAT_SHARE), MINIMUM_VARIANCE)
    return Line(gain, (LIKELY_READ_ELECTRONS * gain) ** 2 + samples.floor, LEAKAGE, math.inf, math.inf)


def _fit_leakage(
    samples: NoiseSamples, expected: Float64[np.ndarray, " n"], weight: Float64[np.ndarray, " n"]
) -> float:
    """How much of the texture's coarse variance shows in the fine one: what is seen, and what is likely."""
    texture = samples.coarse / expected - 1
    near = weight * (np.abs(texture) < 4)
    seen, sure = near @ (texture * (samples.variance / expected - 1)), near @ texture**2
    leakage = (seen + LEAKAGE / LEAKAGE_SIGMA**2) / (sure + LEAKAGE_SIGMA**-2)
    return min(max(float(leakage), 0.0), MAXIMUM_LEAKAGE)


def _weights(
    samples: NoiseSamples, expected: Float64[np.ndarray, " n"], leakage: float
) -> Float64[np.ndarray, " n"]:
    """How much each sample has to say of the relative variance: one over the square of its error.

    That is chance, what the model leaves out, and the texture, of which we do not know how much leaks. What
    sticks out nevertheless counts for less (Cauchy's weights).
    """
    texture = samples.coarse / expected - 1
    error = np.sqrt(
        2 / (FINE_FREEDOM * samples.blocks)
        + MINIMUM_SAMPLE_ERROR**2
        + (LEAKAGE_SIGMA * np.maximum(texture, 0)) ** 2
    )
    excess = samples.variance / expected - 1 - leakage * texture
    return 1 / (error**2 + (excess / 2) ** 2)


def _find_ends(samples: NoiseSamples, shot: float, read: float, leakage: float) -> tuple[Line, Line]:
    """Tell how far shot and read noise may be off, by chance and by a leakage that is another.

    Gives the likely line and the one of the least noise, which of plain captures is the same.
    """
    x, floor = np.maximum(samples.level, 0), samples.floor
    expected = shot * x + read
    weight = _weights(samples, expected, leakage)
    terms = np.stack([shot * x / expected, read / expected])  # so that the errors are relative
    covariance = np.linalg.pinv(terms * weight @ terms.T)
    chance = np.sqrt(np.diag(covariance)) * CHANCE_FACTOR
    texture = float(np.average(np.maximum(samples.coarse / expected - 1, 0), weights=weight))
    less = subtract_texture(samples, leakage + LEAKAGE_ERROR * (1 + texture))
    least = _fit_nonnegative_line(x, less, weight / expected**2, floor)
    shift = np.abs(np.array(least) / (shot, read) - 1)
    shot_error, read_error = (float(error) for error in np.sqrt(chance**2 + shift**2 + CAMERA_ERROR**2))
    return (
        Line(shot, read, leakage, shot_error, read_error),
        Line(max(least[0], MINIMUM_VARIANCE), max(least[1], floor), leakage, shot_error, read_error),
    )


def _fit_nonnegative_line(
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


def plane_gain(samples: NoiseSamples, line: Line) -> float:
    """How much noisier this plane is than the line (a digital gain per plane); 1 where nothing tells."""
    if not samples.level.size:
        return 1.0
    expected = line.variance(samples.level)
    weight = _weights(samples, expected, line.leakage)
    ratio = weighted_median(subtract_texture(samples, line.leakage) / expected, weight)
    return min(max(ratio, 0.25), 4.0) if abs(ratio - 1) > max(0.05, 6 / math.sqrt(weight.sum())) else 1.0


def intervals_of(line: Line) -> tuple[tuple[float, float], tuple[float, float]]:
    """The intervals of shot noise and read sigma."""
    shot, read = 1.96 * line.shot_error, 1.96 * line.read_error
    return (max(1 - shot, 0.0), 1 + shot), (math.sqrt(max(1 - read, 0.0)), math.sqrt(1 + read))
