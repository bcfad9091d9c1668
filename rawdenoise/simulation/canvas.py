"""What a scene is painted on: a canvas in linear sRGB, windows of it that objects touch, and its colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.random import Generator

Plane = Float32[np.ndarray, "h w"]
Planar = Float32[np.ndarray, "3 h w"]
Canvas = Float32[np.ndarray, "3 height width"]
Rgb = Float32[np.ndarray, "3"]

# Axes in ln(RGB). Colours spread most in lightness, less from orange to blue (the daylight locus), least from
# green to magenta. The spreads are ours, wide enough for things made by people.
OPPONENT_AXES = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3.0], [2.0], [6.0]])
OPPONENT_SPREAD = np.array([1.3, 0.42, 0.14])


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the canvas an object may touch, and each pixel's place on the object.

    `u` and `v` are pixels from the object's centre along its own axes.
    """

    top: int
    left: int
    u: Plane
    v: Plane

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas."""
        height, width = self.u.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def cut_window(
    frame: tuple[int, int], center: tuple[float, float], reach: float, angle: float
) -> Window | None:
    """Cut the square of half side `reach` around `center` (row, column) out of the frame; None if outside."""
    top, bottom = max(0, int(center[0] - reach)), min(frame[0], int(center[0] + reach) + 2)
    left, right = max(0, int(center[1] - reach)), min(frame[1], int(center[1] + reach) + 2)
    if top >= bottom or left >= right:
        return None
    rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(center[0])
    columns = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(center[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return Window(top, left, columns * cosine + rows * sine, rows * cosine - columns * sine)


def blend(canvas: Canvas, window: Window, coverage: Plane, fill: Planar) -> None:
    """Paint a fill where it covers, over what is there."""
    region = canvas[(slice(None), *window.slices)]
    region += coverage * (fill - region)


def draw_color(rng: Generator) -> Rgb:
    """Draw a linear sRGB colour, mid-grey in the median; one in seven is as vivid as paint or petals."""
    vividness = 2.5 if rng.random() < 1 / 7 else 1.0
    opponent = rng.normal(size=3) * OPPONENT_SPREAD * (1.0, vividness, vividness)
    return np.asarray(0.18 * np.exp(opponent @ OPPONENT_AXES), np.float32)


def mix_colors(first: Rgb, second: Rgb, share: Plane) -> Planar:
    """Go from one colour (share 0) to another (share 1)."""
    return np.asarray(first[:, None, None] + share * (second - first)[:, None, None])


def blur(canvas: Planar, sigma: float) -> Planar:
    """Blur by a Gaussian of `sigma` pixels (in the frequency domain, edges mirrored over 4 sigma)."""
    margin = int(np.ceil(4 * sigma))
    padded = np.pad(canvas, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    height, width = padded.shape[1:]
    rows = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(height)) ** 2).astype(np.float32)
    columns = np.exp(-2 * (np.pi * sigma * np.fft.rfftfreq(width)) ** 2).astype(np.float32)
    blurred = np.empty_like(canvas)
    inside = slice(margin, height - margin), slice(margin, width - margin)
    for plane, output in zip(padded, blurred, strict=True):
        spectrum = np.fft.rfft2(plane) * rows[:, None] * columns
        output[...] = np.fft.irfft2(spectrum, s=(height, width))[inside]
    return blurred
