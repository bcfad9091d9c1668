"""Noisier2Noise (Moran, Schmidt, Zhong and Coady, CVPR 2020): from a noisier capture to the noisy one."""

from __future__ import annotations

import math

from jaxtyping import Float32
from torch import Tensor

from rawdenoise.training.objectives.step import Step, draw_gaussian, squared_error

ALPHA = 1.0  # how much noise is added, in sigmas: as much as there is


def noisier2noise(step: Step) -> Float32[Tensor, ""]:
    """|g(z) - y|^2 with z = y + alpha w, w an independent draw of the calibrated noise.

    The best g is E[y|z], half-way to the scene: E[x|z] = ((1 + alpha^2) E[y|z] - z) / alpha^2 (the paper's
    correction for Gaussian noise; 2 E[y|z] - z for alpha = 1). There it is applied at inference. Here it is
    turned round and lies in the loss, g(z) = (z + alpha^2 f(z)) / (1 + alpha^2), so that the network f is the
    denoiser itself. As our networks take from z what they find to be noise, g takes alpha^2 / (1 + alpha^2)
    of it.

    With z put in, this is R2R's loss with tau = alpha, times (alpha^2 / (1 + alpha^2))^2: corrected, the two
    methods are one, and differ here by alpha alone (R2R's is 0.5). As there, the network is told that the
    noise of z is sqrt(1 + alpha^2) times as strong; at inference it sees y, where the paper has z.
    """
    z = step.noisy + ALPHA * draw_gaussian(step.noisy, step.generator)
    denoised = step.denoise(z, math.sqrt(1 + ALPHA**2))
    return squared_error((z + ALPHA**2 * denoised) / (1 + ALPHA**2), step.noisy, step.valid)
