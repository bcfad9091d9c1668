"""How much better one picture became, told without its clean version.

With g(y) the denoised capture, V the noise's variance and D the mean of V dg/dy, Stein's unbiased estimate of
the mean squared error is |y - g|^2 - V + 2 D, D by a Monte-Carlo probe (Ramani, Blu & Unser, IEEE TIP 2008).
Taken on the signal every pixel weighs as in its PSNR, and the first two terms are exact for any noise of
that variance; the probe is of unit size in the stabilised domain. It is as right as V: a variance wrong by
1 % moves it by nearly 1 % of V, which is a fifth of what is left after a gain of 13 dB.

D alone is a second estimate, which knows nothing of |y - g|^2: the error of a network that has learnt how
much noise to take away is uncorrelated with what it takes away, and then their equality follows from Stein's
lemma (for the posterior mean it is Tweedie's formula). That holds on average over a training, and for one
picture give or take `DIVERGENCE_ERROR`. The two are weighed by their errors; where the first is larger than
those explain, it is kept. Their difference, |y - g|^2 + D - V, also tells in flat parts how far the noise
model is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Bool

from rawdenoise.inference.stages import OnShare, unheard
from rawdenoise.noise.model import NoiseModel
from rawdenoise.quality.block_sums import BlockSums, Planes, sum_blocks, trim_to_blocks
from rawdenoise.quality.divergence import (
    ALL_REMOVED,
    Left,
    LocalDenoiser,
    find_even_left,
    find_signals,
    probe_blocks,
    spread_divergence,
)
from rawdenoise.quality.flags import ResidualFit, fit_residual, raise_flags
from rawdenoise.quality.picture_quality import Flag, PictureQuality
from rawdenoise.refinement.refine import Refinement
from rawdenoise.refinement.removal import Removal

MINIMUM_PIXELS = 1024  # sound ones, below which nothing is said
DIVERGENCE_ERROR = 0.2  # relative standard error of D as an estimate; 0.11 on pictures like those learnt from
UNKNOWN_VARIANCE_ERROR = 1.0  # relative standard error of the variance from which it is no knowledge
DECIBELS = 10 / math.log(10)  # of a ratio, from its natural logarithm


@dataclass(frozen=True, slots=True)
class ClaimedNoise:
    """A noise model, the relative standard error of its variance, and whether something speaks against it."""

    model: NoiseModel
    variance_error: float = 0.0
    doubted: bool = False


def assess(
    planes: Planes,
    clean: Planes,
    noise: ClaimedNoise,
    denoiser: LocalDenoiser,
    *,
    valid: Bool[np.ndarray, "4 h w"],
    refinement: Refinement | None = None,
    removal: Removal = ALL_REMOVED,
    rounding: float = 0.0,
    safely: bool = False,
    on_share: OnShare = unheard,
) -> PictureQuality | None:
    """Estimate the PSNR of a denoised capture; None where it has too few sound pixels to tell.

    `clean` is the answer of `denoiser` to `planes`, with what `refinement` gave back to it. Of what it took
    away `removal` says how much is, and the result is written in whole steps of `rounding`. Pixels outside
    `valid` (clipped, repaired), and those that are no numbers, are left out. A noise model that is doubted is
    flagged, and nothing told in dB. The same picture has the same estimate. With `safely`, where all that is
    to be taken away is, but might be a loss, the estimate is of the share that is best in the worst case.
    """
    model = noise.model
    if not all(0 < value < math.inf for value in (*model.shot, *model.read_variance)):
        return None
    height, width = trim_to_blocks(planes.shape)
    sound = find_signals(planes) & find_signals(clean)
    if not sound.all():
        planes, clean = (np.where(sound, values, np.float32(0)) for values in (planes, clean))
        valid = valid & sound
    if np.count_nonzero(valid[:, :height, :width]) < MINIMUM_PIXELS:
        return None
    sums = sum_blocks(planes, clean, model, valid)
    strata = sums.rank_by_structure()
    probed = probe_blocks(
        planes, clean, model, denoiser, valid, refinement=refinement, removal=removal, on_share=on_share
    )
    shares, divergence_error = spread_divergence(sums, strata, probed)
    divergence = float((sums.variance * shares[strata]).sum())
    residual_fit = fit_residual(sums, strata, shares)
    estimate = partial(
        _estimate, sums, divergence, divergence_error, residual_fit,
        variance_error=residual_fit.confirm(noise.variance_error), rounding=rounding,
    )  # fmt: skip
    quality = estimate(left=probed.left)
    if noise.doubted:
        return _distrust(quality)
    share = quality.safe_strength
    if not safely or removal.leaves_any or quality.loses or share == 1:
        return quality
    return replace(estimate(left=find_even_left(share)), share=share)


def _estimate(
    sums: BlockSums,
    divergence: float,
    divergence_error: float,
    residual_fit: ResidualFit,
    *,
    left: Left,
    variance_error: float,
    rounding: float,
) -> PictureQuality:
    """Weigh the two estimates of the error that is left, and say it in dB."""
    before = sums.total
    residual = float(sums.residual.sum())

    stein = residual - before + 2 * divergence
    # By chance and, if the noise's variance is another, for that.
    unsure = math.hypot(sums.chance, 2 * divergence_error, variance_error * abs(before - 2 * divergence))
    own = max(divergence, 1e-4 * before)
    # What Stein's estimate has more than its error explains is true: a network that errs in its own way. No
    # network does so well that the truth is far below D.
    own_error = math.sqrt(max((DIVERGENCE_ERROR * own) ** 2, max(stein - own, 0) ** 2 - unsure**2))
    weight = own_error**2 / (own_error**2 + unsure**2)
    error = max(weight * stein + (1 - weight) * own, own / 4)
    error_error = math.sqrt(weight) * unsure

    known = max(left.noise * before + 2 * left.product * divergence, 0.0)
    after = known + left.error * error + sums.pixels * rounding**2 / 12
    after_error = math.hypot(left.error * error_error, known * variance_error)
    gain = DECIBELS * math.log(before / after)
    reach = 1.96 * DECIBELS * (after_error / after + variance_error)
    quality = PictureQuality(
        psnr_before=-DECIBELS * math.log(before / sums.pixels),
        psnr_after=-DECIBELS * math.log(after / sums.pixels),
        interval=(float(gain - reach), float(gain + reach)),
        flags=(),
        chi2=float(residual / before),
        divergence=float(divergence / before),
        fit=residual_fit.fit,
        level_fit=residual_fit.level_fit,
        structure=residual_fit.structure,
        correlation=residual_fit.correlation,
    )
    quality = replace(quality, flags=tuple(raise_flags(quality, residual_fit)))
    return _distrust(quality) if variance_error >= UNKNOWN_VARIANCE_ERROR else quality


def _distrust(quality: PictureQuality) -> PictureQuality:
    """Say of an estimate that the noise it stands on is not known."""
    return replace(quality, flags=tuple(dict.fromkeys((Flag.NOISE, *quality.flags))), told=False)
