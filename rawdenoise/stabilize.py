"""Make the noise of any camera at any ISO Gaussian of unit variance, and undo it without bias.

The generalised Anscombe transform, shifted so that black is 0 and written so that it stays exact as the shot
noise vanishes (it then becomes a division by the read noise).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.noise import NoiseModel


def stabilize(planes: Float32[Tensor, "*b 4 h w"], noise: NoiseModel) -> Float32[Tensor, "*b 4 h w"]:
    """Transform packed planes so that their noise has unit variance; black goes to 0.

    z = (2/a) (sqrt(a y + c) - sqrt(c)) with c = 3/8 a^2 + s^2 (Murtagh, Starck & Bijaoui 1995). Values below
    the transform's domain, several sigmas under black, stay at its end.
    """
    shot, at_black = _constants(noise, planes)
    root = (shot * planes + at_black**2).clamp_min(0).sqrt()
    return 2 * (planes.clamp_min(-(at_black**2) / shot)) / (root + at_black)


def unstabilize(stabilized: Float32[Tensor, "*b 4 h w"], noise: NoiseModel) -> Float32[Tensor, "*b 4 h w"]:
    """Invert `stabilize` without bias: from the mean of stabilised values to the mean of the values.

    Closed form of Makitalo & Foi (IEEE TIP 2013, eq. 10) in D = 2/a sqrt(a y + c). Below black, where a mean
    can only come from an offset, the correction is that of black, so that the inverse is monotone everywhere.
    """
    shot, at_black = _constants(noise, stabilized)
    z = torch.maximum(stabilized, -2 * at_black / shot)
    algebraic = z * at_black + shot * z**2 / 4
    inverse = 1 / (z.clamp_min(0) + 2 * at_black / shot)
    a, b = math.sqrt(3 / 2) / 4, 5 / 8 * math.sqrt(3 / 2)
    return algebraic + shot * (1 / 4 + inverse * (a + inverse * (-11 / 8 + inverse * b)))


def stabilized_white(noise: NoiseModel) -> Float32[Tensor, "4"]:
    """Where white lies after `stabilize`, per plane: the range in sigmas, the same for every tile."""
    return stabilize(torch.ones(4, 1, 1), noise).reshape(4)


def _constants(noise: NoiseModel, like: Tensor) -> tuple[Float32[Tensor, "4 1 1"], Float32[Tensor, "4 1 1"]]:
    """`a` and `sqrt(c)` per plane; taken in double, for c sums squares of small numbers."""
    shot = torch.tensor(noise.shot, dtype=torch.float64)
    read = torch.tensor(noise.read_variance, dtype=torch.float64)
    root = (3 / 8 * shot**2 + read).sqrt()
    return tuple(t.to(like).reshape(4, 1, 1) for t in (shot, root))  # type: ignore[return-value]
