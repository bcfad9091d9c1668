"""Noise finer than the quantisation step, from values that were rounded."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

COARSEST_SIGMA = 1.0  # steps: above it, rounding adds step^2 / 12 wherever the mean lies, to 1 in 10^7
FINEST_SIGMA = 0.1  # steps: a smaller sigma is told by next to no pixel

_erf = np.vectorize(math.erf, otypes=[float])


def average_variance(variance: float, levels: Float64[np.ndarray, " n"], step: float) -> float:
    """Correct a variance of rounded values for where their means lie between two steps.

    Noise well below a step is rounded away where the mean lies on a step and doubled between two. What
    counts at an unknown level is the average over all positions: sigma^2 + step^2 / 12, with the sigma of
    Gaussian noise that explains `variance` at these `levels` (means of rounded values, in units of `step`
    from one of its multiples).
    """
    if step <= 0 or variance >= (COARSEST_SIGMA * step) ** 2:
        return variance
    low, high = FINEST_SIGMA, COARSEST_SIGMA
    fractions = np.mod(levels / step, 1.0)
    wanted = variance / step**2
    for _ in range(24):
        sigma = (low + high) / 2
        means, variances = _round_moments(sigma)
        if float(np.interp(fractions, means, variances).mean()) < wanted:
            low = sigma
        else:
            high = sigma
    return (((low + high) / 2) ** 2 + 1 / 12) * step**2


def _round_moments(sigma: float) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Mean and variance of rounded Gaussian values, for true means from 0 to 1 step."""
    mean = np.linspace(0, 1, 65)
    reach = math.ceil(6 * sigma) + 1
    values = np.arange(-reach, reach + 2)
    edges = np.arange(-reach - 0.5, reach + 2)
    cumulative = 0.5 * (1 + _erf((edges[:, None] - mean) / (sigma * math.sqrt(2))))
    share = np.diff(cumulative, axis=0)
    first = values @ share
    return first, values**2 @ share - first**2
