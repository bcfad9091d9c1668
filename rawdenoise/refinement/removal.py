"""How much of the noise is taken away, of luminance and of colour apart.

Green is what luminance is made of: all that was taken from the two green planes is luminance. What red and
blue lose is luminance as far as it follows the green around them, as it does for a grey: then their colour
difference to green, which a developer interpolates, keeps nothing of it. The rest of it is colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from rawdenoise.noise.model import NoiseModel

Planes = Float32[np.ndarray, "4 h w"]
VARIANCE_OF_GREEN_MEAN = 0.25  # of the mean of four greens


@dataclass(frozen=True, slots=True)
class Removal:
    """How much of what was found to be noise is taken away: 0 nothing, 1 all.

    `chroma` is of colour, None for as much as of `luminance`; `neutral` is what red and blue are of a grey,
    green at 1.
    """

    luminance: float = 1.0
    chroma: float | None = None
    neutral: tuple[float, float] = (1.0, 1.0)

    @property
    def is_even(self) -> bool:
        """Whether colour needs nothing of its own."""
        return self.chroma is None or self.chroma == self.luminance

    @property
    def leaves_any(self) -> bool:
        """Whether any of what was found to be noise stays."""
        return self.luminance < 1 or not self.is_even

    def scale(self, share: float) -> Removal:
        """Take away a share of it, of luminance and of colour alike."""
        chroma = None if self.chroma is None else share * self.chroma
        return Removal(share * self.luminance, chroma, self.neutral)

    def take(self, residual: Planes, *, sound: Bool[np.ndarray, "4 h w"] | None = None) -> Planes:
        """Say what of a residual is taken away; luminance follows greens that are `sound` alone."""
        if self.is_even:
            return residual * np.float32(self.luminance)
        chroma, luminance = np.float32(self.chroma), np.float32(self.luminance)
        taken = np.empty_like(residual)
        taken[1:3] = luminance * residual[1:3]
        greens = residual[1:3] if sound is None else residual[1:3] * sound[1:3]
        for plane, neutral, around in zip((0, 3), self.neutral, _average_greens(greens), strict=True):
            np.multiply(residual[plane], chroma, out=taken[plane])
            around *= (luminance - chroma) * np.float32(neutral)
            taken[plane] += around
        return taken

    def leave(self, noise: NoiseModel) -> tuple[tuple[float, float], ...]:
        """The noise that is left of a grey, (shot, read_variance) per plane, where all of it was found."""
        left = (1 - self.luminance) ** 2
        if self.is_even or self.chroma is None:
            return tuple((left * s, left * r) for s, r in zip(noise.shot, noise.read_variance, strict=True))
        own, followed = (1 - self.chroma) ** 2, (self.luminance - self.chroma) ** 2 * VARIANCE_OF_GREEN_MEAN
        shot, read = (sum(pair[1:3]) / 2 for pair in (noise.shot, noise.read_variance))
        pairs = [(left * s, left * r) for s, r in zip(noise.shot, noise.read_variance, strict=True)]
        for plane, neutral in zip((0, 3), self.neutral, strict=True):
            # A grey whose red is x has a green of x / neutral, whose noise red follows neutral times.
            pairs[plane] = (
                own * noise.shot[plane] + followed * neutral * shot,
                own * noise.read_variance[plane] + followed * neutral**2 * read,
            )
        return tuple(pairs)


def blend(
    planes: Planes,
    clean: Planes,
    removal: Removal,
    *,
    sound: Bool[np.ndarray, "4 h w"] | None = None,
) -> Planes:
    """Mix the capture and its denoised version; of luminance, `1 - strength` of what it was is left.

    Where colour is taken away more or less than luminance, only `sound` greens say what luminance is.
    """
    if not removal.is_even:
        return planes - removal.take(planes - clean, sound=sound)
    if removal.luminance == 1:
        return clean
    mixed = clean - planes
    mixed *= np.float32(removal.luminance)
    mixed += planes
    return mixed


def _average_greens(greens: Float32[np.ndarray, "2 h w"]) -> Iterator[Float32[np.ndarray, "h w"]]:
    """The mean of the four greens next to each red, then of those next to each blue."""
    first, second = greens  # to the right of red and above blue; below red and to the left of blue
    for across, down, step in ((first, second, 1), (second, first, -1)):
        around = across + down
        around[:, _beside(step)] += across[:, _beside(-step)]
        around[:, _edge(step)] += across[:, _edge(step)]
        around[_beside(step)] += down[_beside(-step)]
        around[_edge(step)] += down[_edge(step)]
        around *= np.float32(0.25)
        yield around


def _beside(step: int) -> slice:
    """Where the pixel a step before is within the picture; with the step's sign turned, these pixels."""
    return slice(1, None) if step > 0 else slice(None, -1)


def _edge(step: int) -> int:
    return 0 if step > 0 else -1
