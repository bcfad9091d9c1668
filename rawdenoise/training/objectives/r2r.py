"""Recorrupted-to-Recorrupted (Pang, Zheng, Quan and Ji, CVPR 2021): one capture made into two."""

from __future__ import annotations

import math

from jaxtyping import Float32
from torch import Tensor

from rawdenoise.training.objectives.step import Denoiser, Mask, Planes, Step, draw_gaussian, squared_error

TAU = 0.5  # how much noise is added to the input, in sigmas; the target gets 1/TAU


def r2r(step: Step) -> Float32[Tensor, ""]:
    """Recorrupt with one independent draw of the calibrated noise."""
    w = draw_gaussian(step.noisy, step.generator)
    return recorruption_loss(step.denoise, step.noisy, w, step.valid)


def recorruption_loss(denoise: Denoiser, y: Planes, w: Planes, valid: Mask | Planes) -> Float32[Tensor, ""]:
    """|f(y + tau w) - (y - w / tau)|^2 with w independent of y and of the noise's variance.

    The two sides have independent noise, so the minimum is that of supervised training with noise
    sqrt(1 + tau^2) times as strong. The network is told so: for it, noise is always of unit variance, and the
    scene is as much fainter.
    """
    return squared_error(denoise(y + TAU * w, math.sqrt(1 + TAU**2)), y - w / TAU, valid)
