"""GR2R: the camera's own residual, signs drawn at random, recorrupts its captures.

`paper` is the objective as published. Left to itself it drifts towards the identity: with f(y) = x + a n the
term L_g pulls `a` to 1, and as the residual is uncorrelated with the noise but not independent of it, L_u
does not hold it back. `calibrated`, the default, keeps the idea and mends it: the recorruption is an
independent draw of the calibrated variance, and the pseudo-supervised term exposes the denoised capture anew,
with the noise that the camera was calibrated to have.
"""

from __future__ import annotations

from jaxtyping import Float32
from torch import Tensor

from rawdenoise.training.objectives.r2r import recorruption_loss as independent_recorruption_loss
from rawdenoise.training.objectives.step import (
    Denoiser,
    Mask,
    Planes,
    Step,
    draw_gaussian,
    draw_signs,
    squared_error,
)
from rawdenoise.training.redrawn_noise import measure_gaussianity, redraw

TEACHER_START = 0.5  # share of the training before there is a teacher worth listening to


def paper(step: Step) -> Float32[Tensor, ""]:
    """The objective of the paper: L_u + L_g + gamma L_s with n = (y - f(y)) m, m = +-1 evenly."""
    y, valid = step.noisy, step.valid
    denoised = step.denoise(y)
    n = (y - denoised).detach() * draw_signs(y, step.generator)
    loss = recorruption_loss(step.denoise, y, n, valid) + fidelity_loss(denoised, y, valid)
    if step.gamma:
        loss = loss + step.gamma * pseudo_supervised_loss(step.denoise, denoised.detach(), n, valid)
    return loss


def calibrated(step: Step) -> Float32[Tensor, ""]:
    """Recorruption with an independent draw w; later, pseudo-supervision by the averaged network.

    Four fifths of the target's variance are w's own. At first a draw and its opposite cancel most of what
    that does to the gradient; pseudo-supervision, whose targets have no noise, then takes the place of the
    opposite, at once where there is a trained network to listen to.

    At a few electrons noise is skewed, so that y + tau w still knows something of the noise in y - w/tau, and
    recorruption would teach to leave it in. It has no say there: pseudo-supervision has, whose noise is as
    skewed as the camera's.
    """
    y, valid = step.noisy, step.valid
    w = draw_gaussian(y, step.generator)
    if not step.gamma or (step.done < TEACHER_START and not step.taught):
        return 0.5 * (
            independent_recorruption_loss(step.denoise, y, w, valid)
            + independent_recorruption_loss(step.denoise, y, -w, valid)
        )
    target = step.teacher(y)
    trusted = measure_gaussianity(target, step.noise) * valid
    n = redraw(target, step.noise, step.generator) - target
    pseudo = pseudo_supervised_loss(step.denoise, target, n, valid)
    share = trusted.sum() / valid.sum().clamp_min(1)
    loss = share * independent_recorruption_loss(step.denoise, y, w, trusted)
    return loss + step.gamma * pseudo


def recorruption_loss(denoise: Denoiser, y: Planes, n: Planes, valid: Mask) -> Float32[Tensor, ""]:
    """L_u = |f(y + n) - (y - n)|^2 (GR2R)."""
    return squared_error(denoise(y + n), y - n, valid)


def fidelity_loss(denoised: Planes, y: Planes, valid: Mask) -> Float32[Tensor, ""]:
    """L_g = |f(y) - y|^2 (GR2R)."""
    return squared_error(denoised, y, valid)


def pseudo_supervised_loss(denoise: Denoiser, target: Planes, n: Planes, valid: Mask) -> Float32[Tensor, ""]:
    """L_s = |f(t + n) - t|^2 with t the denoised capture, no gradient through it (GR2R)."""
    return squared_error(denoise(target + n), target, valid)
