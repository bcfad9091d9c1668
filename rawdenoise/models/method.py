"""A way to denoise that is no network of ours: somebody else's function of planes and their noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from rawdenoise.noise.model import NoiseModel


@runtime_checkable
class Denoiser(Protocol):
    """Takes the noise out of packed planes: R, G1, G2, B, 0 is black and 1 white.

    It is given a piece of a capture at a time. An output pixel may depend on inputs up to `halo` packed
    pixels away, and the sides of a piece are multiples of `multiple`.
    """

    halo: int
    multiple: int

    def __call__(
        self, planes: Float32[np.ndarray, "4 h w"], noise: NoiseModel
    ) -> Float32[np.ndarray, "4 h w"]:
        """Give the planes without the noise of this model: variance = shot * signal + read_variance."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A foreign denoiser under its name and the version of the package it comes from."""

    name: str
    version: str
    denoiser: Denoiser

    @property
    def id(self) -> str:
        """What outputs say they were made by."""
        return f"{self.name}-{self.version}"
