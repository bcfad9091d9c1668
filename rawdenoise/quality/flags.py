"""What the residual of a picture shows of noise model and network, and what of it raises a flag."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from rawdenoise.quality.block_sums import STRATA_COUNT, Blocks, BlockSums, Strata
from rawdenoise.quality.picture_quality import Flag, PictureQuality

LEVEL_COUNT = 6  # groups of blocks by signal
FLAT_FIT_ERROR = 0.02  # standard error of the variance that flat parts show


@dataclass(frozen=True, slots=True)
class FlagLimits:
    """What raises a flag; see `raise_flags` for where the numbers come from.

    `fit` and `level_fit` are factors, either way, by which flat parts, and those of one level, may miss the
    noise model. From `structure` or `correlation` on more than white noise was taken away; a fit from
    `explainable_fit` on, in multiples of the noise, is no structure that leaks into flat parts. Below `chi2`
    hardly anything was taken away.
    """

    fit: float
    level_fit: float
    structure: float
    correlation: float
    explainable_fit: float
    chi2: float


FLAG_LIMITS = FlagLimits(
    fit=1.08, level_fit=1.25, structure=0.4, correlation=0.1, explainable_fit=4.0, chi2=0.15
)


@dataclass(frozen=True, slots=True)
class ResidualFit:
    """What the residual shows; see `PictureQuality`. `flat_divergence` is that of flat parts."""

    fit: float
    level_fit: float
    structure: float
    correlation: float
    flat_divergence: float

    @property
    def is_structured(self) -> bool:
        """Whether more than white noise was taken away."""
        return self.structure > FLAG_LIMITS.structure or self.correlation > FLAG_LIMITS.correlation

    @property
    def is_misfit(self) -> bool:
        """Whether flat parts show another noise than the model's.

        A residual that holds structure makes flat parts, too, show more than the noise, so that only what
        they lack is then put down to the noise model, or what no structure explains.
        """
        fit, level_fit = (math.log(max(ratio, 1e-3)) for ratio in (self.fit, self.level_fit))
        if self.is_structured and self.fit < FLAG_LIMITS.explainable_fit:
            fit, level_fit = min(fit, 0.0), min(level_fit, 0.0)
        return abs(fit) > math.log(FLAG_LIMITS.fit) or abs(level_fit) > math.log(FLAG_LIMITS.level_fit)

    def confirm(self, variance_error: float) -> float:
        """The standard error of the noise model's variance, now that the residual has been seen.

        Where that is white, flat parts show the variance itself, as far as their noise is taken away: less
        error than was claimed where they agree, and more where they do not.
        """
        off = abs(self.fit - 1)
        sensitivity = max(1 - self.flat_divergence, 0.05)
        if self.is_misfit:
            return max(variance_error, off / sensitivity)
        if self.is_structured:
            return variance_error
        return min(variance_error, math.hypot(off, FLAT_FIT_ERROR) / sensitivity)


def fit_residual(sums: BlockSums, strata: Strata, shares: Float64[np.ndarray, " strata"]) -> ResidualFit:
    """Look at chi2 plus divergence in flat and structured parts, dark and bright ones."""
    left = shares[strata] * sums.variance
    explained = sums.residual + left

    def ratio(of: Bool[np.ndarray, "rows columns"], part: Blocks = explained) -> float:
        return float(part[of].sum() / max(float(sums.variance[of].sum()), 1e-30))

    flat = (strata < STRATA_COUNT // 2) & (sums.variance > 0)
    fit = ratio(flat)
    bounds = np.quantile(sums.level[flat], np.arange(1, LEVEL_COUNT) / LEVEL_COUNT)
    level = np.searchsorted(bounds, sums.level, side="left")
    groups = [flat & (level == number) for number in range(LEVEL_COUNT)]
    level_fits = [ratio(group) for group in groups if group.any()]
    return ResidualFit(
        fit=fit,
        level_fit=max(level_fits, key=lambda value: abs(math.log(max(value, 1e-30)))),
        structure=ratio(strata >= STRATA_COUNT - STRATA_COUNT // 6) - fit,
        correlation=sums.correlation,
        flat_divergence=ratio(flat, left),
    )


def raise_flags(quality: PictureQuality, seen: ResidualFit) -> Iterator[Flag]:
    """Tell what may be wrong.

    The thresholds were set with `benchmarks/run.py risk`: 14 pictures of three cameras, a network of 95 000
    crops and noise models from calibration. Where all is right, flat parts fit to 3 % (their worst level to
    13 %), structure is below 0.1, the correlation between -0.1 and 0, and chi2 above 0.27; a network that was
    trained on few captures had a structure of 0.23 where it still gained 4 dB. A variance that is wrong by
    25 % moves the fit by 4 to 22 %, the less the more of the noise is left. Networks that take all detail
    have a structure or correlation far above the thresholds, those that take nothing a chi2 below 0.14.
    """
    collapsed = quality.chi2 < FLAG_LIMITS.chi2
    if seen.is_misfit:
        yield Flag.NOISE
    if seen.is_structured and not collapsed:
        yield Flag.STRUCTURE
    if collapsed:
        yield Flag.COLLAPSED
    elif quality.interval[1] < 0:
        yield Flag.OVERSMOOTHED
