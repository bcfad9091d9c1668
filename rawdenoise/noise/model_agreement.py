"""How a noise model agrees with the pixels it is said to be of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64

from rawdenoise.noise.model import MINIMUM_VARIANCE, NoiseModel
from rawdenoise.noise.samples import NoiseSamples, subtract_texture, weighted_median, weighted_quantile
from rawdenoise.noise.variance_line import FLAT_SHARE, LEAKAGE, LEAKAGE_SIGMA


def agreement(samples: Sequence[NoiseSamples], noise: NoiseModel) -> float:
    """How many times the variance that a model promises the pixels show: the median over levels and planes.

    Texture is taken off; NaN where the pixels show nothing.
    """
    planes = list(_compare_planes(samples, noise, LEAKAGE))
    ratio = np.concatenate([ratios for ratios, _ in planes])
    return (
        weighted_median(ratio, np.concatenate([weights for _, weights in planes])) if ratio.size else math.nan
    )


def agreement_by_plane(samples: Sequence[NoiseSamples], noise: NoiseModel) -> tuple[tuple[float, float], ...]:
    """Between what the pixels of each plane show for sure, in times the variance that a model promises.

    An interval is the median over levels, give or take twice its standard error by chance and what is not
    known of the texture's leakage; from 0 to infinity where a plane shows nothing.
    """
    more, less = (LEAKAGE + sign * 2 * LEAKAGE_SIGMA for sign in (1, -1))
    low = [_median_with_error(*plane) for plane in _compare_planes(samples, noise, more)]
    high = [_median_with_error(*plane) for plane in _compare_planes(samples, noise, less)]
    return tuple(
        (max(least - 2 * least_error, 0.0), most + 2 * most_error)
        for (least, least_error), (most, most_error) in zip(low, high, strict=True)
    )


def least_agreement(samples: Sequence[NoiseSamples], noise: NoiseModel) -> float:
    """How many times the variance that a model promises even the flattest blocks show.

    Texture only ever adds, so that this may be large for a true model where there is texture all over, but
    never small. NaN where the pixels show nothing.
    """
    ratios, blocks = [np.empty(0)], [np.empty(0)]
    for plane, shot, read in zip(samples, noise.shot, noise.read_variance, strict=True):
        ratios.append(plane.variance / (shot * np.maximum(plane.level, 0) + max(read, plane.floor)))
        blocks.append(plane.blocks)
    ratio = np.concatenate(ratios)
    return weighted_quantile(ratio, np.concatenate(blocks), FLAT_SHARE / 2) if ratio.size else math.nan


def _compare_planes(
    samples: Sequence[NoiseSamples], noise: NoiseModel, leakage: float
) -> Iterator[tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]]:
    """How many times the promised variance the groups of each plane show, and what each has to say."""
    for plane, shot, read in zip(samples, noise.shot, noise.read_variance, strict=True):
        promised = shot * np.maximum(plane.level, 0) + max(read, plane.floor)
        texture = np.maximum(plane.coarse / np.maximum(plane.variance, MINIMUM_VARIANCE) - 1, 0)
        yield subtract_texture(plane, leakage) / promised, plane.blocks / (1 + texture) ** 2


def _median_with_error(
    ratios: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"]
) -> tuple[float, float]:
    """A weighted median and its standard error, by the spread of what it is the median of."""
    if not ratios.size:
        return 0.0, math.inf
    median = weighted_median(ratios, weights)
    spread = 1.4826 * weighted_median(np.abs(ratios - median), weights)
    count = float(weights.sum() ** 2 / (weights**2).sum())
    return median, 1.2533 * spread / math.sqrt(count)
