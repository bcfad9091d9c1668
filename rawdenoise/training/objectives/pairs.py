"""What needs more than captures: a second one of the same scene, or the scene itself. For comparison."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.training.objectives.step import Planes, Step, squared_error

MINIMUM_ERROR = 1e-3  # in units of the noise's variance: crops denoised better than so have no more say


def noise2noise(step: Step) -> Float32[Tensor, ""]:
    """|f(y) - y'|^2 with y' another capture of the scene (Lehtinen et al., Noise2Noise, ICML 2018)."""
    return squared_error(step.denoise(step.noisy), _target(step), step.valid)


def supervised(step: Step) -> Float32[Tensor, ""]:
    """|f(y) - x|^2 with x the clean scene."""
    return squared_error(step.denoise(step.noisy), _target(step), step.valid)


def supervised_decibels(step: Step) -> Float32[Tensor, ""]:
    """Mean over the crops of log |f(y) - x|^2: all noise levels count alike, as they do in decibels.

    With the error itself crops with hardly any noise, where little can be gained, would have most of the say.
    """
    error = (step.denoise(step.noisy) - _target(step)).square() * step.valid
    per_crop = error.sum(dim=(1, 2, 3)) / step.valid.sum(dim=(1, 2, 3)).clamp_min(1)
    return torch.log(per_crop + MINIMUM_ERROR).mean()


def _target(step: Step) -> Planes:
    if step.target is None:
        raise ValueError("this objective needs pairs, and a camera's captures are none")
    return step.target
