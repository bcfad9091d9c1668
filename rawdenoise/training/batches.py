"""What a training sees at each step, and where it comes from."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.random import Generator
from torch import Tensor

from rawdenoise.noise.model import NoiseModel


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Crops in the stabilised domain; `valid` is false where the sensor was saturated or defect.

    `white` is `stabilized_white` of each crop's noise. `target` is there for objectives that learn from pairs
    alone: another capture of the same scene, or the scene itself (`stabilized_mean`). `noise` holds the model
    of each crop; without, noise is taken to be Gaussian.
    """

    noisy: Float32[Tensor, "b 4 h w"]
    valid: Bool[Tensor, "b 4 h w"]
    white: Float32[Tensor, "b 4"]
    target: Float32[Tensor, "b 4 h w"] | None = None
    noise: tuple[NoiseModel, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        target = None if self.target is None else self.target.to(device)
        white = self.white.to(device)
        return Batch(self.noisy.to(device), self.valid.to(device), white, target, self.noise)


@runtime_checkable
class Source(Protocol):
    """Where crops come from; the same generator state gives the same crops."""

    @property
    def largest_crop(self) -> int:
        """The largest `size` there is room for, in packed pixels."""
        ...

    def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
        """Draw random crops of `size` packed pixels; `held_out` ones are never trained on."""
        ...


class Prefetch:
    """Draws the crops of the next step while this one runs; what a step gets depends on its number alone."""

    def __init__(self, source: Source, *, seed: int, count: int, size: int) -> None:
        self._source, self._seed, self._count, self._size = source, seed, count, size
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Batch]] | None = None

    def batch(self, step: int) -> Batch:
        """The crops of a step."""
        waiting, self._next = self._next, None
        ready = waiting[1] if waiting and waiting[0] == step else self._pool.submit(self._draw, step)
        batch = ready.result()
        self._next = step + 1, self._pool.submit(self._draw, step + 1)
        return batch

    def close(self) -> None:
        """Let go of the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _draw(self, step: int) -> Batch:
        return self._source.draw(np.random.default_rng([self._seed, step]), self._count, self._size)
