"""How far a denoiser is from the truth, told from noisy captures alone.

Stein's unbiased risk estimate of the mean squared error, in the stabilised domain, where the noise is
Gaussian of unit variance: E|f(y) - x|^2 = E|y - f(y)|^2 - 1 + 2 E div f(y) (Stein 1981), the divergence by
Monte Carlo: b . (f(y + eps b) - f(y)) / eps with b standard normal (Ramani, Blu & Unser, IEEE TIP 2008).

What the divergence stands for is the covariance of the answer with the noise, and it does so for Gaussian
noise alone. At a few electrons noise is skewed, and a network that has learnt from skewed noise as if it were
Gaussian leaves the more of it in than its divergence shows. So the denoised capture is exposed anew, where
noise and covariance are known (the covariance penalty of Efron, JASA 2004), and what the covariance is there
beyond the divergence there is added.

A noise variance that is wrong by a share delta moves it by about delta (1 - 2 div): the risk itself is as
right as the noise model, but not the difference between two denoisers on the same captures, where that share
counts only as delta times twice the difference of their divergences. So it is trusted to choose, and believed
only with the noise model's own uncertainty where it is quoted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from rawdenoise.nets import Network
from rawdenoise.quality.stein import MINIMUM_RISK, probe_network
from rawdenoise.training.batches import Batch
from rawdenoise.training.redrawn_noise import redraw


@dataclass(frozen=True, slots=True)
class RiskFigures:
    """Means over the valid pixels, in units of the noise's variance (its deviation, for `bias`).

    `risk` = `chi2` - 1 + 2 `divergence` estimates the mean squared error: 1 for the capture itself. `chi2` is
    the mean squared residual and `bias` the mean residual; `divergence` is the denoiser's, and what noise
    that is not Gaussian adds to it. `error` is the standard error of `risk`, by the spread over crops.
    """

    risk: float
    chi2: float
    bias: float
    divergence: float
    error: float

    @property
    def gain_db(self) -> float:
        """The risk as a gain over the capture."""
        return -10 * math.log10(max(self.risk, MINIMUM_RISK))


def estimate_risk(net: Network, batches: Sequence[Batch], seed: int) -> RiskFigures:
    """Estimate a denoiser's risk on crops it was not trained on; the same seed gives the same figures."""
    return summarize(sum_crops(net, batches, seed))


@torch.no_grad()
def sum_crops(net: Network, batches: Sequence[Batch], seed: int) -> Float64[Tensor, "n 4"]:
    """Sum, for every crop, what a risk is made of: pixels, squared residual, residual, divergence."""
    generator, rows = torch.Generator().manual_seed(seed), []
    device = next(net.parameters()).device
    for batch in batches:
        here = batch.to(device)
        clean, probe, slope = probe_network(net, here.noisy, here.white, generator)
        residual = here.noisy - clean
        follows = probe * slope
        if here.noise:
            follows = follows + _measure_beyond_gaussian(net, clean, here, generator)
        terms = torch.stack([torch.ones_like(residual), residual.square(), residual, follows])
        rows.append((terms * here.valid).sum(dim=(2, 3, 4), dtype=torch.float32).T.cpu().double())
    return torch.cat(rows)


def _measure_beyond_gaussian(
    net: Network, scene: Float32[Tensor, "b 4 h w"], batch: Batch, generator: torch.Generator
) -> Float32[Tensor, "b 4 h w"]:
    """What the answer's covariance with the noise is beyond its divergence, where the scene is known."""
    noisy = redraw(scene, batch.noise, generator)
    clean, probe, slope = probe_network(net, noisy, batch.white, generator)
    return (noisy - scene) * (clean - scene) - probe * slope


def summarize(sums: Float64[Tensor, "n 4"]) -> RiskFigures:
    """Turn the sums of crops into means, and their spread into a standard error.

    Where no pixel is valid nothing is known: the risk is the capture's own, with an infinite error.
    """
    pixels = sums[:, 0].sum()
    if not pixels:
        return RiskFigures(1.0, 0.0, 0.0, 1.0, math.inf)
    chi2, bias, divergence = (float(total / pixels) for total in sums[:, 1:].sum(dim=0))
    risk = chi2 - 1 + 2 * divergence
    return RiskFigures(risk, chi2, bias, divergence, _estimate_error(_sum_excess(sums), risk, sums[:, 0]))


def compare_risks(one: Float64[Tensor, "n 4"], other: Float64[Tensor, "n 4"]) -> tuple[float, float]:
    """How much more the first denoiser risks than the second on the same crops, and its standard error."""
    pixels = one[:, 0]
    excess = _sum_excess(one) - _sum_excess(other)
    mean = float(excess.sum() / pixels.sum().clamp_min(1))
    return mean, _estimate_error(excess, mean, pixels)


def _sum_excess(sums: Float64[Tensor, "n 4"]) -> Float64[Tensor, " n"]:
    return sums[:, 1] - sums[:, 0] + 2 * sums[:, 3]


def _estimate_error(totals: Float64[Tensor, " n"], mean: float, pixels: Float64[Tensor, " n"]) -> float:
    """Standard error of a ratio of sums over crops."""
    count = len(totals)
    if count < 2:
        return math.inf
    spread = (totals - mean * pixels).square().sum() / (count - 1)
    return float(math.sqrt(spread * count) / pixels.sum().clamp_min(1))
