"""GR2R: the camera's own residual, signs drawn at random, recorrupts its captures.

`paper` is the objective as published. Left to itself it drifts towards the identity: with f(y) = x + a n the
term L_g pulls `a` to 1, and as the residual is uncorrelated with the noise but not independent of it, L_u
does not hold it back. `calibrated`, the default, keeps the idea and mends both: the recorruption is an
independent draw of the calibrated variance, and the residual takes part in the pseudo-supervised term alone,
held to that variance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.training.objectives.r2r import recorruption_loss as independent_recorruption_loss
from rawdenoise.training.objectives.step import Denoiser, Mask, Planes, Step, gaussian, signs, squared_error

ALONE = 0.5  # share of the training before there is a teacher worth listening to


def paper(step: Step) -> Float32[Tensor, ""]:
    """The objective of the paper: L_u + L_g + gamma L_s with n = (y - f(y)) m, m = +-1 evenly."""
    y, valid = step.noisy, step.valid
    denoised = step.denoise(y)
    n = (y - denoised).detach() * signs(y, step.generator)
    loss = recorruption_loss(step.denoise, y, n, valid) + fidelity_loss(denoised, y, valid)
    if step.gamma:
        loss = loss + step.gamma * pseudo_supervised_loss(step.denoise, denoised.detach(), n, valid)
    return loss


def calibrated(step: Step) -> Float32[Tensor, ""]:
    """Recorruption with an independent draw w; later, pseudo-supervision by the averaged network.

    Four fifths of the target's variance are w's own. At first a draw and its opposite cancel most of what
    that does to the gradient; pseudo-supervision, whose targets have no noise, then takes the place of the
    opposite.
    """
    y, valid = step.noisy, step.valid
    w = gaussian(y, step.generator)
    loss = independent_recorruption_loss(step.denoise, y, w, valid)
    if not step.gamma or step.done < ALONE:
        return 0.5 * (loss + independent_recorruption_loss(step.denoise, y, -w, valid))
    target = step.teacher(y)
    n = held_to_unit_variance(y - target, valid) * signs(y, step.generator)
    return loss + step.gamma * pseudo_supervised_loss(step.denoise, target, n, valid)


def recorruption_loss(denoise: Denoiser, y: Planes, n: Planes, valid: Mask) -> Float32[Tensor, ""]:
    """L_u = |f(y + n) - (y - n)|^2 (GR2R)."""
    return squared_error(denoise(y + n), y - n, valid)


def fidelity_loss(denoised: Planes, y: Planes, valid: Mask) -> Float32[Tensor, ""]:
    """L_g = |f(y) - y|^2 (GR2R)."""
    return squared_error(denoised, y, valid)


def pseudo_supervised_loss(denoise: Denoiser, target: Planes, n: Planes, valid: Mask) -> Float32[Tensor, ""]:
    """L_s = |f(t + n) - t|^2 with t the denoised capture, no gradient through it (GR2R)."""
    return squared_error(denoise(target + n), target, valid)


def held_to_unit_variance(residual: Planes, valid: Mask) -> Planes:
    """Scale a residual so that its local power (15x15) is 1, the calibrated variance of the noise.

    The residual of a denoiser that leaves noise in, or takes texture out, would be too weak or too strong to
    train with: this is what keeps pseudo-supervision from feeding on its own errors.
    """
    weight = valid.to(residual)
    power = F.avg_pool2d(residual.square() * weight, 15, stride=1, padding=7)
    share = F.avg_pool2d(weight, 15, stride=1, padding=7)
    return residual * weight * torch.rsqrt((power / share.clamp_min(1e-3)).clamp_min(0.05))
