"""How noisy a camera is: Poisson-Gaussian noise per plane, and what captures of one ISO showed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

MINIMUM_VARIANCE = 1e-12  # variance: nothing is free of noise, and the transforms divide by it
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
