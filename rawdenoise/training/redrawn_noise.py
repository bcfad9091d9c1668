"""What a camera would have captured of a scene: noise as it really is at a few electrons, not Gaussian.

Stabilised noise has unit variance at every level, but below some ten electrons it is still skewed and comes
in steps. What rests on Gaussian noise, as recorruption and Stein's lemma do, is wrong there; a scene that is
exposed anew is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, unstabilize
from rawdenoise.noise.tukey import tukey_lambda, tukey_lambda_deviation

# Variance of the noise, in electrons squared: below the first it is far from Gaussian, above the second near.
FAR, NEAR = 4.0, 12.0
BRIGHTEST_DRAWN = 4.0  # white is 1; what a network that diverges may answer cannot be drawn

Planes = Float32[Tensor, "b 4 h w"]


def redraw(scene: Planes, noise: Sequence[NoiseModel], generator: torch.Generator) -> Planes:
    """Expose a (stabilised) scene anew: Poisson noise and read noise of each crop's own model.

    Without models noise is Gaussian of unit variance. All is drawn on the CPU, so that all devices see the
    same.
    """
    if not noise:
        return scene + torch.randn(scene.shape, generator=generator).to(scene)
    exposed = torch.empty_like(scene, device="cpu")
    for crops, model in _group_alike(noise):
        signal = unstabilize(scene[crops].float().cpu(), model).nan_to_num(0).clamp(0, BRIGHTEST_DRAWN)
        shot = torch.tensor(model.shot, dtype=torch.float32)[:, None, None]
        read = torch.tensor(model.read_variance, dtype=torch.float32)[:, None, None].sqrt()
        exposure = torch.poisson(signal / shot.clamp_min(1e-12), generator=generator) * shot
        exposure = torch.where(shot > 0, exposure, signal) + read * _draw_read_noise(
            signal, model.tail, generator
        )
        exposed[crops] = stabilize(exposure, model)
    return exposed.to(scene)


def measure_gaussianity(scene: Planes, noise: Sequence[NoiseModel]) -> Planes:
    """Tell how far the noise of a (stabilised) scene may be taken for Gaussian, from 0 to 1."""
    share = torch.ones_like(scene)
    for crops, model in _group_alike(noise):
        signal = unstabilize(scene[crops].float(), model).clamp_min(0)
        shot = torch.tensor(model.shot).to(signal)[:, None, None]
        read = torch.tensor(model.read_variance).to(signal)[:, None, None]
        variance = (shot * signal + read) / shot.square().clamp_min(1e-12)
        share[crops] = ((variance - FAR) / (NEAR - FAR)).clamp(0, 1)
    return share


def _group_alike(noise: Sequence[NoiseModel]) -> Iterator[tuple[slice, NoiseModel]]:
    """Give runs of crops that share a model."""
    start = 0
    for model, members in groupby(noise):
        end = start + sum(1 for _ in members)
        yield slice(start, end), model
        start = end


def _draw_read_noise(like: Tensor, tail: float | None, generator: torch.Generator) -> Tensor:
    if tail is None:
        return torch.randn(like.shape, generator=generator)
    uniform = torch.rand(like.shape, generator=generator, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    drawn = tukey_lambda(uniform.numpy(), tail) / tukey_lambda_deviation(tail)
    return torch.from_numpy(drawn.astype(np.float32))
