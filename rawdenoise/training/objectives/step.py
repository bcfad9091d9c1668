"""What an objective is given, and what all of them count with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

Denoiser = Callable[[Tensor], Tensor]  # Float32[Tensor, "b 4 h w"] to the same, stabilised planes


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One training step.

    `denoise` is the network in training, `teacher` its running average (no gradients). `noisy` are stabilised
    crops: noise of unit variance. Where `valid` is false the sensor was saturated. `done` runs from 0 to 1
    over the training. All randomness comes from `generator`.
    """

    denoise: Denoiser
    teacher: Denoiser
    noisy: Float32[Tensor, "b 4 h w"]
    valid: Bool[Tensor, "b 4 h w"]
    done: float
    gamma: float
    generator: torch.Generator


Objective = Callable[[Step], Tensor]  # the loss, a scalar


def squared_error(
    one: Float32[Tensor, "b 4 h w"], other: Float32[Tensor, "b 4 h w"], valid: Bool[Tensor, "b 4 h w"]
) -> Float32[Tensor, ""]:
    """Mean squared difference over the valid pixels; 0 where there are none."""
    return ((one - other).square() * valid).sum() / valid.sum().clamp_min(1)


def gaussian(like: Float32[Tensor, "b 4 h w"], generator: torch.Generator) -> Float32[Tensor, "b 4 h w"]:
    """Independent noise of the kind the stabilised planes have: unit variance."""
    return torch.randn(like.shape, generator=generator).to(like)


def signs(like: Float32[Tensor, "b 4 h w"], generator: torch.Generator) -> Float32[Tensor, "b 4 h w"]:
    """Plus and minus one, evenly."""
    return (2 * torch.randint(0, 2, like.shape, generator=generator) - 1).to(like)
