"""What an objective is given, and what all of them count with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from rawdenoise.nets.gaussians import Prediction
from rawdenoise.noise.model import NoiseModel

Planes = Float32[Tensor, "b 4 h w"]
Mask = Bool[Tensor, "b 4 h w"]


@runtime_checkable
class Denoiser(Protocol):
    """A network on stabilised planes."""

    def __call__(self, noisy: Tensor, sigma: float = 1.0) -> Tensor:
        """Denoise planes whose noise has a standard deviation of `sigma`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One training step.

    `denoise` is the network in training, `teacher` its running average (no gradients). `noisy` are stabilised
    crops: noise of unit variance. Where `valid` is false the sensor was saturated. `target` is what
    objectives for pairs learn from, None where captures are all there is. `done` runs from 0 to 1 over the
    training. All randomness comes from `generator`. `taught` says that the training began with a trained
    network. `noise` holds the model of each crop's noise; where there is none, it is taken to be Gaussian.
    `predict` is what a blind-spot network expects at each pixel without looking at it; others have none.
    """

    denoise: Denoiser
    teacher: Denoiser
    noisy: Float32[Tensor, "b 4 h w"]
    valid: Bool[Tensor, "b 4 h w"]
    target: Float32[Tensor, "b 4 h w"] | None
    done: float
    gamma: float
    generator: torch.Generator
    taught: bool = False
    noise: tuple[NoiseModel, ...] = ()
    predict: Callable[[Tensor], Prediction] | None = None


@runtime_checkable
class Objective(Protocol):
    """What a training minimises.

    It gets a `Step`: a batch of stabilised crops, float32 of (b, 4, h, w), whose noise has unit variance,
    with the mask of what is valid, the network in training and its running average. It returns the loss: a
    scalar tensor with a gradient to the network's weights, a mean over what is valid, so that it does not
    grow with the crops. Pixels that are not valid must have no say. The same step with a generator of the
    same state gives the same loss. The loop clips the gradient, and goes back from a loss that is no number.
    """

    def __call__(self, step: Step, /) -> Tensor:
        """The loss of a step."""
        ...


def squared_error(one: Planes, other: Planes, valid: Mask | Planes) -> Float32[Tensor, ""]:
    """Mean squared difference over the valid pixels, or by weights of 0 to 1; 0 where there are none."""
    return ((one - other).square() * valid).sum() / valid.sum().clamp_min(1)


def draw_gaussian(like: Planes, generator: torch.Generator) -> Planes:
    """Draw standard normal noise; on the CPU, so that all devices train on the same."""
    return torch.randn(like.shape, generator=generator).to(like)


def draw_signs(like: Planes, generator: torch.Generator) -> Planes:
    """Draw -1 or +1, evenly and independently."""
    return (2 * torch.randint(0, 2, like.shape, generator=generator) - 1).to(like)
