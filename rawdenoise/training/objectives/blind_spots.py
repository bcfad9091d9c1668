"""What blind-spot networks learn by: how likely each pixel is, told from all others."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.nets.gaussians import (
    Map,
    Prediction,
    cholesky,
    constrained_negative_log_likelihood,
    diagonal_factor,
    log_determinant,
    negative_log_likelihood,
    outer,
)
from rawdenoise.training.objectives.step import Step, squared_error

MEAN_SHARE = 0.1  # share of the training in which the mean is learned first
LEVEL_GROUPS, FLATTEST_SHARE = (
    8,
    0.05,
)  # groups of pixels by their signal, and the share of each that tells its noise
NOISE_LEVEL_SHARE = 0.25  # share until which the noise estimator is, then, to explain all there is


def unpaired(step: Step) -> Float32[Tensor, ""]:
    """The first stage of unpaired learning: D-BSN and CNN_est by likelihood (Wu et al. 2020, equations 8, 9).

    The noise estimator learns by the constrained likelihood of the paper, in which signal that need not be
    explained is noise; but only where there is least of it at each level, by weights of (|N| / |S + N|)^2.
    Where much is unpredictable that bound has texture taken for noise, and ever more of it, until none is
    left to the signal. It begins as if there were no such signal: from above, flat areas bring the level down
    to theirs. Mean and covariance learn by the likelihood itself, the noise given: the bound would have them
    too sure of themselves where the signal is less predictable than its noise.
    """
    prediction = _predict(step)
    if step.done < MEAN_SHARE:
        return squared_error(prediction.mean, step.noisy, step.valid)
    given = replace(prediction, noise=prediction.noise.detach())
    known = replace(prediction, mean=prediction.mean.detach(), signal=prediction.signal.detach())
    if step.done < NOISE_LEVEL_SHARE:
        alone = replace(known, signal=torch.zeros_like(known.signal))
        level = negative_log_likelihood(alone, step.noisy, step.valid)
        return _average(level, step) + squared_error(prediction.mean, step.noisy, step.valid)
    bound = _weigh_flatness(prediction) * constrained_negative_log_likelihood(known, step.noisy, step.valid)
    return _average(bound + negative_log_likelihood(given, step.noisy, step.valid), step)


def unpaired_paper(step: Step) -> Float32[Tensor, ""]:
    """The same by the constrained likelihood alone, as published (equation 9)."""
    prediction = _predict(step)
    if step.done < MEAN_SHARE:
        return squared_error(prediction.mean, step.noisy, step.valid)
    return _average(constrained_negative_log_likelihood(prediction, step.noisy, step.valid), step)


def laine19(step: Step) -> Float32[Tensor, ""]:
    """-log N(y; mean, S + N), the noise known (Laine et al. 2019, equation 8).

    Stabilised noise is that of their Gaussian case, with a deviation of 1; their Poisson case is what the
    stabilisation turns into it.
    """
    prediction = _predict(step)
    if step.done < MEAN_SHARE:
        return squared_error(prediction.mean, step.noisy, step.valid)
    known = replace(prediction, noise=diagonal_factor(torch.ones_like(step.noisy)))
    return _average(negative_log_likelihood(known, step.noisy, step.valid), step)


def _predict(step: Step) -> Prediction:
    if step.predict is None:
        raise ValueError("this objective needs a blind-spot network")
    return step.predict(step.noisy)


def _weigh_flatness(prediction: Prediction) -> Map:
    """(|N| / |S + N|)^2 against that of the flattest pixels of about the same level, which weigh 1.

    Against them, since a noise level that is too low leaves signal to be explained everywhere, in flat areas
    too.
    """
    noise = outer(prediction.noise.detach())
    total = outer(prediction.signal.detach()) + noise
    ratio = 2 * (log_determinant(cholesky(noise)) - log_determinant(cholesky(total)))
    order = prediction.mean.detach().mean(dim=1).flatten().argsort()
    weights = torch.empty_like(ratio.flatten())
    for group in order.tensor_split(LEVEL_GROUPS):
        alike = ratio.flatten()[group]
        weights[group] = (alike - alike.quantile(1 - FLATTEST_SHARE)).clamp_max(0).exp()
    return weights.reshape(ratio.shape)


def _average(values: Map, step: Step) -> Float32[Tensor, ""]:
    """Per value, over all pixels of which any plane is valid."""
    return (values * step.valid.any(dim=1)).sum() / step.valid.sum().clamp_min(1)
