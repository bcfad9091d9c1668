"""Tukey's lambda law: what read noise follows where it has longer tails than a Gaussian."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64


def tukey_lambda(
    probability: Float64[np.ndarray, "*shape"], shape_parameter: float
) -> Float64[np.ndarray, "*shape"]:
    """Quantile function of Tukey's lambda law: (p^l - (1-p)^l) / l, the logit at l = 0."""
    if shape_parameter == 0:
        return np.asarray(np.log(probability / (1 - probability)))
    spread = probability**shape_parameter - (1 - probability) ** shape_parameter
    return np.asarray(spread / shape_parameter)


def tukey_lambda_deviation(shape_parameter: float) -> float:
    """Standard deviation of Tukey's lambda law of scale 1, which exists above a shape of -1/2."""
    if abs(shape_parameter) < 1e-4:  # the formula loses its digits there; the logistic law's
        return math.pi / math.sqrt(3)
    shape = shape_parameter
    mixed = math.gamma(1 + shape) ** 2 / math.gamma(2 + 2 * shape)
    return math.sqrt(2 * (1 / (1 + 2 * shape) - mixed)) / abs(shape)
