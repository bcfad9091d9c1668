"""Neighbor2Neighbor (Huang, Li, Jia, Lu and Liu, CVPR 2021): two pictures of half the size from one."""

from __future__ import annotations

import torch
from jaxtyping import Float32, Int
from torch import Tensor

from rawdenoise.training.objectives.step import Planes, Step, squared_error

LARGEST_WEIGHT = 2.0  # of the regulariser, reached at the end of the training
# Ordered pairs of neighbours in a 2x2 cell, corners counted 0 1 / 2 3.
PAIRS = torch.tensor([(0, 1), (0, 2), (1, 3), (2, 3), (1, 0), (2, 0), (3, 1), (3, 2)])


def neighbor2neighbor(step: Step) -> Float32[Tensor, ""]:
    """|f(g1(y)) - g2(y)|^2 + weight |f(g1(y)) - g2(y) - (g1(f(y)) - g2(f(y)))|^2 (equation 7 there).

    g1 and g2 take neighbours in each 2x2 cell of a plane; no gradient through f(y). Needs no noise model, but
    that neighbours show the same.
    """
    choice = _choose(step.noisy, step.generator)
    one, other = _take(step.noisy, choice)
    valid_one, valid_other = _take(step.valid, choice)
    valid = valid_one & valid_other
    with torch.no_grad():
        whole_one, whole_other = _take(step.denoise(step.noisy), choice)
    denoised = step.denoise(one)
    loss = squared_error(denoised, other, valid)
    difference = squared_error(denoised - other, whole_one - whole_other, valid)
    return loss + LARGEST_WEIGHT * step.done * difference


def _choose(planes: Planes, generator: torch.Generator) -> Int[Tensor, "2 b 1 h2 w2"]:
    """Draw an ordered pair of neighbours for every cell, the same for the four planes."""
    batch, _, height, width = planes.shape
    which = torch.randint(0, len(PAIRS), (batch, 1, height // 2, width // 2), generator=generator)
    return PAIRS[which].movedim(-1, 0).to(planes.device)


def _take(planes: Tensor, choice: Int[Tensor, "2 b 1 h2 w2"]) -> tuple[Tensor, Tensor]:
    cells = torch.stack([planes[..., row::2, column::2] for row in (0, 1) for column in (0, 1)])
    shape = cells.shape[1:]
    one, other = (cells.gather(0, at.expand(shape)[None])[0] for at in choice)
    return one, other
