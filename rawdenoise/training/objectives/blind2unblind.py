"""Blind2Unblind (Wang, Liu, Li and Han, CVPR 2022): blind spots, made visible again little by little."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.training.objectives.step import Denoiser, Mask, Planes, Step, squared_error

CELL = 4  # one pixel in a square of this side is hidden at a time, so that each step takes 16 passes and one
FIRST_WEIGHT, LAST_WEIGHT = 2.0, 20.0  # weight of the visible branch, as in the authors' code
WEIGHT_RISE_START = (
    0.4  # share of the training from which that weight rises; theirs for noise of several levels
)
BLIND_WEIGHT = 1.0  # eta, the weight of the regulariser
NEIGHBORS = torch.tensor([[0.5, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]])


def blind2unblind(step: Step) -> Float32[Tensor, ""]:
    """|h + lambda f(y) - (lambda + 1) y|^2 + eta |h - y|^2, over lambda + 1; no gradient through f(y).

    h is what the network answers at each pixel while that one is hidden (the global mask mapper), so that it
    cannot learn to repeat it; f(y), which sees everything, has its say in what h is drawn to (the re-visible
    loss). Needs no noise model, but noise of mean 0, independent from pixel to pixel. At inference the answer
    is f(y); what the authors submitted to SIDD is (h + lambda f(y)) / (lambda + 1), another 16 passes.

    The division by lambda + 1 is ours: the gradient, which the loop clips, does not grow with lambda.
    """
    y = step.noisy
    smooth, seen = fill_from_neighbors(y, step.valid)
    blind = denoise_blind_spots(step.denoise, y, smooth)
    with torch.no_grad():
        visible = step.denoise(y)
    weight = compute_visibility(step.done)
    together = (blind + weight * visible) / (weight + 1)
    loss = (weight + 1) * squared_error(together, y, seen)
    return loss + BLIND_WEIGHT / (weight + 1) * squared_error(blind, y, seen)


def denoise_blind_spots(denoise: Denoiser, y: Planes, smooth: Planes) -> Planes:
    """Denoise each pixel while `smooth` is in its place, all cells at once, one pixel of each at a time.

    The authors hide the same pixel of the four planes. But these are four photosites, whose noise is
    independent, so that hiding one of them is enough: each plane's spots lie half a cell off the others'.
    """
    blind = torch.zeros_like(y)
    for row, column in product(range(CELL), repeat=2):
        spots = torch.zeros(y.shape[1:], dtype=torch.bool, device=y.device)
        for plane in range(4):
            down, right = (half * CELL // 2 for half in divmod(plane, 2))
            spots[plane, (row + down) % CELL :: CELL, (column + right) % CELL :: CELL] = True
        blind = torch.where(spots, denoise(torch.where(spots, smooth, y)), blind)
    return blind


def fill_from_neighbors(y: Planes, valid: Mask) -> tuple[Planes, Mask]:
    """Average the valid ones of a pixel's eight neighbours in its plane; the mask tells where there are any.

    They lie closer than the next spot, so that none of them is hidden. The mask is false where the pixel
    itself is not valid, too.
    """
    kernel = NEIGHBORS.to(y).expand(4, 1, 3, 3)
    around = F.conv2d(valid.to(y), kernel, padding=1, groups=4)
    total = F.conv2d(y * valid, kernel, padding=1, groups=4)
    return total / around.clamp_min(0.5), valid & (around > 0)


def compute_visibility(done: float) -> float:
    """Weigh the visible branch: lambda, which rises over the training."""
    return FIRST_WEIGHT + (LAST_WEIGHT - FIRST_WEIGHT) * max(0.0, done - WEIGHT_RISE_START) / (
        1 - WEIGHT_RISE_START
    )
