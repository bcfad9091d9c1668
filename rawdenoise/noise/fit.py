"""One noise model for captures that share camera and ISO, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rawdenoise.noise.model import MINIMUM_VARIANCE, NoiseModel
from rawdenoise.noise.row_variance import pool_row_variance
from rawdenoise.noise.samples import NoiseSamples, join_samples, remove_gain
from rawdenoise.noise.variance_line import (
    fit_flattest_line,
    fit_line,
    intervals_of,
    is_of_no_sensor,
    measure_least_shown,
    plane_gain,
)

# How many times the noise of a line the flattest blocks show where it is one of noise, however strange.
MINIMUM_SHOWN_NOISE, MAXIMUM_SHOWN_NOISE = 0.8, 1.25
FAILED_INTERVAL = (0.0, 2.0)  # of such an estimate: texture only adds to it


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


def fit_noise(captures: Iterable[Sequence[NoiseSamples]]) -> NoiseModel:
    """Fit one noise model to the samples of captures that share camera and ISO."""
    return estimate_with_interval(captures).noise


def estimate_with_interval(
    captures: Iterable[Sequence[NoiseSamples]], *, least: bool = False
) -> NoiseEstimate:
    """Fit one noise model to the samples of captures that share camera and ISO, and say how sure it is.

    One line for all planes, which read out of one sensor, and one digital gain per plane beside it: a plane
    that is dark all over has no slope of its own to show. With `least` it is the least noise that there may
    be beside the texture, by which one capture is better denoised.
    """
    listed = list(captures)
    per_plane = [join_samples(samples) for samples in zip(*listed, strict=True)]
    both = join_samples(per_plane)
    row_variance = pool_row_variance([plane for samples in listed for plane in samples])
    if not both.level.size:  # everything clipped, or smaller than a few blocks: assume quantisation alone
        floor = max(both.floor, MINIMUM_VARIANCE)
        nothing = NoiseModel((floor,) * 4, (floor,) * 4, row_variance, both.step)
        return NoiseEstimate(nothing, (0.0, math.inf), (0.0, math.inf), 0, failed=True)
    line = fit_line(both, learn_leakage=False)  # a gain looks like texture: more of fine and of coarse
    gains = [plane_gain(samples, line) for samples in per_plane]
    leveled = join_samples(
        remove_gain(*plane_and_gain) for plane_and_gain in zip(per_plane, gains, strict=True)
    )
    line = fit_line(leveled, least=least)
    share = measure_least_shown(line, gains, per_plane)
    if failed := share > MAXIMUM_SHOWN_NOISE and is_of_no_sensor(line, both):
        line, gains = fit_flattest_line(both), [1.0] * 4
        share = measure_least_shown(line, gains, per_plane)
    failed |= share < MINIMUM_SHOWN_NOISE
    line = line.scale(min(share, 1.0))
    a, b, c, d = (max(line.shot * gain, MINIMUM_VARIANCE) for gain in gains)
    e, f, g, h = (
        max(line.read * gain, samples.floor) for gain, samples in zip(gains, per_plane, strict=True)
    )
    noise = NoiseModel((a, b, c, d), (e, f, g, h), row_variance, both.step)
    intervals = (FAILED_INTERVAL, FAILED_INTERVAL) if failed else intervals_of(line)
    return NoiseEstimate(noise, *intervals, samples=both.level.size, failed=failed)
