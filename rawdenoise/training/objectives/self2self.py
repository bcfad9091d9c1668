"""Self2Self (Quan, Chen, Pang and Ji, CVPR 2020): a single capture, some of its pixels hidden at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.training.objectives.step import Denoiser, Mask, Planes, Step, squared_error

HIDDEN_SHARE = 0.3  # share of the pixels, as in the paper
PASSES = 16  # at inference, each with other pixels hidden; theirs are 100
FILLED_FROM = 4  # pixels around a hidden one, at most


def self2self(step: Step) -> Float32[Tensor, ""]:
    """|f(b y) - y|^2 where b, drawn by Bernoulli, is 0 (equation 5 there).

    As hidden pixels have noise of their own, it differs from the error itself by their noise's variance
    alone (proposition 1). The paper fills the gaps by partial convolutions, here the kept neighbours do; its
    dropout, which makes the passes at inference differ the more, our networks do not have.
    """
    filled, hidden = hide_pixels(step.noisy, step.valid, step.generator)
    return squared_error(step.denoise(filled), step.noisy, hidden & step.valid)


@torch.no_grad()
def average_passes(denoise: Denoiser, y: Planes, valid: Mask, generator: torch.Generator) -> Planes:
    """Denoise with other pixels hidden in each pass, and average (equation 8 there)."""
    passes = [denoise(hide_pixels(y, valid, generator)[0]) for _ in range(PASSES)]
    return torch.stack(passes).mean(dim=0)


def hide_pixels(y: Planes, valid: Mask, generator: torch.Generator) -> tuple[Planes, Mask]:
    """Hide some pixels and put what is kept around them in their place; the mask tells which."""
    hidden = (torch.rand(y.shape, generator=generator) < HIDDEN_SHARE).to(y.device)
    kept = (valid & ~hidden).to(y)
    filled, reach = y, 1
    missing = hidden
    while bool(missing.any()) and reach <= FILLED_FROM:
        ring = torch.ones(4, 1, 2 * reach + 1, 2 * reach + 1, device=y.device, dtype=y.dtype)
        count = F.conv2d(kept, ring, padding=reach, groups=4)
        mean = F.conv2d(y * kept, ring, padding=reach, groups=4) / count.clamp_min(1)
        filled = torch.where(missing & (count > 0), mean, filled)
        missing = missing & (count == 0)
        reach += 1
    return torch.where(missing, 0.0, filled), hidden
