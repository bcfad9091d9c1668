"""What blind-spot networks learn by: how likely each pixel is, told from all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.nets.gaussians import (
    Map,
    Mask,
    Planes,
    Prediction,
    constrained_negative_log_likelihood,
    diagonal_factor,
    negative_log_likelihood,
)
from rawdenoise.training.objectives.step import Step, squared_error

WARM_UP = 0.1  # share of the training in which the mean is learned first


def unpaired(step: Step) -> Float32[Tensor, ""]:
    """The first stage of unpaired learning: D-BSN and CNN_est by likelihood (Wu et al. 2020, equations 8, 9).

    The noise estimator learns by the constrained likelihood of the paper, in which signal that need not be
    explained is noise. The mean and its covariance learn by the likelihood itself, the noise given: the
    bound would have them too sure of themselves wherever the signal is less predictable than its noise.
    """
    prediction = _predicted(step)
    if step.done < WARM_UP:
        return squared_error(prediction.mean, step.noisy, step.valid)
    given = replace(prediction, noise=prediction.noise.detach())
    signal = Prediction(prediction.mean.detach(), prediction.signal.detach(), prediction.noise)
    likelihood = _mean(negative_log_likelihood, given, step)
    return likelihood + _mean(constrained_negative_log_likelihood, signal, step)


def unpaired_paper(step: Step) -> Float32[Tensor, ""]:
    """The same by the constrained likelihood alone, as published (equation 9)."""
    prediction = _predicted(step)
    if step.done < WARM_UP:
        return squared_error(prediction.mean, step.noisy, step.valid)
    return _mean(constrained_negative_log_likelihood, prediction, step)


def laine19(step: Step) -> Float32[Tensor, ""]:
    """-log N(y; mean, S + N), the noise known (Laine et al. 2019, equation 8).

    Stabilised noise is that of their Gaussian case, with a deviation of 1; their Poisson case is what the
    stabilisation turns into it.
    """
    prediction = _predicted(step)
    if step.done < WARM_UP:
        return squared_error(prediction.mean, step.noisy, step.valid)
    known = replace(prediction, noise=diagonal_factor(torch.ones_like(step.noisy)))
    return _mean(negative_log_likelihood, known, step)


def _predicted(step: Step) -> Prediction:
    if step.predict is None:
        raise ValueError("this objective needs a blind-spot network")
    return step.predict(step.noisy)


def _mean(
    likelihood: Callable[[Prediction, Planes, Mask], Map], prediction: Prediction, step: Step
) -> Float32[Tensor, ""]:
    """Per value, over all pixels of which any plane is valid."""
    seen = step.valid.any(dim=1)
    each = likelihood(prediction, step.noisy, step.valid)
    return (each * seen).sum() / step.valid.sum().clamp_min(1)
