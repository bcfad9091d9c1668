"""What blocks of a capture show of its noise, and medians that weigh them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

BLOCK_SIDE = 8  # packed pixels
FINE_FREEDOM = BLOCK_SIDE**2 / (1 + 2 * (4 / 6) ** 2 + 2 * (1 / 6) ** 2) ** 2  # of a block's fine variance


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


def join_samples(samples: Iterable[NoiseSamples]) -> NoiseSamples:
    """Put the samples of several planes or captures together."""
    listed = list(samples)
    return NoiseSamples(
        np.concatenate([s.level for s in listed]),
        np.concatenate([s.variance for s in listed]),
        np.concatenate([s.coarse for s in listed]),
        np.concatenate([s.blocks for s in listed]),
        max(s.floor for s in listed),
        max(s.step for s in listed),
    )


def subtract_texture(samples: NoiseSamples, leakage: float) -> Float64[np.ndarray, " n"]:
    """The fine variance less what texture adds to it.

    It is never negative: where more would be taken off than there is, less has leaked. Without that, scenes
    with texture all over draw the fit to no noise at all, or not, as chance has it.
    """
    return np.maximum(samples.variance - leakage * samples.coarse, 0) / (1 - leakage)


def remove_gain(samples: NoiseSamples, gain: float) -> NoiseSamples:
    """The samples as they were before a digital gain that raised their variance."""
    return replace(samples, variance=samples.variance / gain, coarse=samples.coarse / gain)
