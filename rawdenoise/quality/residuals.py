"""What a denoiser takes away from captures it was not trained on, and whether that is noise.

There is no clean capture to compare with, so the residual r = z - f(z) has to tell, z being a stabilised
capture, whose noise is white and of unit variance where the noise model is right. The residual of a perfect
denoiser is neither: it lacks the noise that is left in. But what it lacks is known. For the mean of the
posterior, E[r_i r_j] = E[z's noise]_ij - E[d f_i / d z_j] (Tweedie's formula, Efron 2011), and a mean that
depends on nothing but other planes is uncorrelated with it. So everything here is the residual's statistic
plus the derivative of the denoiser that belongs to it, which random probes tell (Ramani, Blu & Unser 2008).
Both formulae want a denoiser that is the best there is for this noise: an unfinished one fails as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32
from torch import Tensor

from rawdenoise.quality.stein import MINIMUM_RISK

Stabilized = Float32[Tensor, "1 4 h w"]

INDEPENDENT_SIDE = 32  # packed pixels; blocks of this side are taken for independent
DETAIL_RADII = (1, 4)  # of the boxes between which detail is looked for, in packed pixels


@dataclass(frozen=True, slots=True)
class ResidualTests:
    """The statistics of a residual, over the valid pixels of all planes, in sigmas of the noise.

    `mean` should be 0. `chi2` is the mean square and `divergence` the mean of the denoiser's own derivative:
    together 1 where the noise is as strong as the model says. `autocorrelation` is that of the noise with its
    next neighbour in the plane, across and down, what the denoiser adds taken off: 0 for white noise.
    `structure` is the correlation of the residual with the detail that the other planes have: 0 where none of
    the scene was taken away.
    """

    mean: float
    chi2: float
    divergence: float
    autocorrelation: tuple[float, float]
    structure: float


def read_residual_tests(figures: Mapping[str, Any]) -> ResidualTests:
    """Take the statistics out of the figures that a card keeps."""
    across, down = figures["autocorrelation"]
    mean, chi2, divergence, structure = (
        figures[name] for name in ("mean", "chi2", "divergence", "structure")
    )
    return ResidualTests(mean, chi2, divergence, (across, down), structure)


class ResidualSums:
    """Sums over tiles, from which the statistics are made."""

    def __init__(self) -> None:
        self.total = np.zeros(4)  # pixels, residual, its square, divergence
        self.lagged = np.zeros((2, 2))  # across and down: pairs, their product with the denoiser's share
        self.detail = np.zeros(3)  # residual by detail, squares of the two
        self.risks: list[Tensor] = []  # of each block, with its pixels
        self.shares: list[Tensor] = []

    @property
    def pixels(self) -> int:
        """How many values had a say, all planes together."""
        return int(self.total[0])

    def add(
        self,
        noisy: Stabilized,
        clean: Stabilized,
        probe: Stabilized,
        slope: Stabilized,
        valid: Bool[Tensor, "1 4 h w"],
    ) -> None:
        """Count a tile in; `slope` is how the denoiser follows the capture moved along `probe`."""
        weight, residual, ones = valid.to(noisy), noisy - clean, torch.ones_like(noisy)
        own = probe * slope
        self.total += _sum_terms(weight, ones, residual, residual.square(), own)

        for place, axis in enumerate((3, 2)):
            missing = (_pair_up(probe, slope, axis) + _pair_up(slope, probe, axis)) / 2
            pairs = _pair_up(residual, residual, axis) + missing
            self.lagged[place] += _sum_terms(_pair_up(weight, weight, axis), torch.ones_like(pairs), pairs)

        # Strong edges, of which there are few, must not have all the say.
        others = (noisy.sum(dim=1, keepdim=True) - noisy) / 3
        detail = torch.asinh(_average_box(others, DETAIL_RADII[0]) - _average_box(others, DETAIL_RADII[1]))
        sound = weight.amin(dim=1, keepdim=True).expand_as(weight)
        self.detail += _sum_terms(sound, residual * detail, residual.square(), detail.square())

        side = min(INDEPENDENT_SIDE, *noisy.shape[2:])
        share = F.avg_pool2d(weight, side).mean(dim=1)
        risk = F.avg_pool2d(weight * (residual.square() - 1 + 2 * own), side).mean(dim=1)
        self.risks.append(risk.reshape(-1))
        self.shares.append(share.reshape(-1))

    def run_tests(self) -> ResidualTests:
        """The statistics, 0 where nothing can be told."""
        _, mean, chi2, divergence = (float(value) for value in self.total / max(self.total[0], 1))
        across, down = (float(product) / max(float(pairs), 1) for pairs, product in self.lagged)
        variance = max(chi2 + divergence, MINIMUM_RISK)
        product, square, detail = (float(value) for value in self.detail)
        return ResidualTests(
            mean=mean,
            chi2=chi2,
            divergence=divergence,
            autocorrelation=(across / variance, down / variance),
            structure=product / math.sqrt(max(square * detail, 1e-12)),
        )

    def measure_gain(self) -> tuple[float, float]:
        """Decibels gained, and their standard error from how the blocks of the tiles differ."""
        risk, share = torch.cat(self.risks).double(), torch.cat(self.shares).double()
        mean = float(risk.sum() / share.sum())
        spread = float((risk - mean * share).square().sum().sqrt() / share.sum())
        floored = max(mean, MINIMUM_RISK)
        return -10 * math.log10(floored), 10 / math.log(10) * spread / floored


def _sum_terms(weight: Tensor, *terms: Tensor) -> list[float]:
    """Sum each of the terms over the pixels that count."""
    return [float((weight * term).sum(dtype=torch.float64)) for term in terms]


def _pair_up(one: Tensor, other: Tensor, axis: int) -> Tensor:
    """Multiply each pixel of one with the next of the other along an axis."""
    length = one.shape[axis] - 1
    return one.narrow(axis, 0, length) * other.narrow(axis, 1, length)


def _average_box(planes: Float32[Tensor, "b 4 h w"], radius: int) -> Float32[Tensor, "b 4 h w"]:
    """Mean over a square, of what there is of it at the edges."""
    return F.avg_pool2d(planes, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
