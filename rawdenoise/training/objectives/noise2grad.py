"""Noise taken from one capture and put on another, after Noise2Grad (Lin et al., IJCAI 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.training.objectives.gr2r import TEACHER_START
from rawdenoise.training.objectives.step import Mask, Planes, Step, squared_error
from rawdenoise.training.redrawn_noise import redraw


def noise2grad(step: Step) -> Float32[Tensor, ""]:
    """|f(t + n) - t|^2 with t the denoised capture and n what was taken off another one.

    The paper extracts the noise with a network of its own, guided by gradients, where clean pictures have
    few; here the averaged teacher does. Put on another capture, its residual is independent of what is shown
    there, as GR2R's, with its signs drawn at random but in its place, is not; structure that it holds is
    noise there. It is of that capture's levels, though, and of no known variance. Where there is none to
    take, and until there is a teacher worth listening to, noise is drawn by the camera's model.
    """
    target = step.teacher(step.noisy)
    noise = redraw(target, step.noise, step.generator) - target
    if step.done >= TEACHER_START or step.taught:
        moved, known = transfer(step.noisy - target, step.valid, step.generator)
        noise = torch.where(known, moved, noise)
    return squared_error(step.denoise(target + noise), target, step.valid)


def transfer(residual: Planes, valid: Mask, generator: torch.Generator) -> tuple[Planes, Mask]:
    """Give each crop the residual of another one, turned over at random, and where that is known.

    Turned over alone, where there is but one crop; its mean is taken off.
    """
    known = valid.to(residual)
    count = known.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    centered = (residual - (residual * known).sum(dim=(2, 3), keepdim=True) / count) * known
    flips = [axis for axis in (2, 3) if len(residual) == 1 or torch.rand((), generator=generator) < 0.5]
    shift = int(torch.randint(1, max(2, len(residual)), (), generator=generator))
    noise, where = (planes.roll(shift, dims=0).flip(flips) for planes in (centered, valid))
    return noise, where
