"""What the surfaces of a scene are made of: colours, and textures of noise with a falling spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from rawdenoise.simulation.canvas import Planar, Plane, Rgb, Window, draw_color

TEXTURE_SIZE = 512


@dataclass(frozen=True, slots=True)
class Material:
    """What surfaces are made of: a colour and, unless plain, a texture with its contrast in each colour."""

    log_color: Rgb
    contrast: Rgb
    texture: Plane | None

    def fill(self, window: Window, radius: float, rng: Generator) -> Planar:
        """Colour one object made of it: shading across, texture, and a lightness of its own."""
        base = self.log_color + np.float32(rng.normal(0.0, 0.3))
        fill = np.float32(rng.normal(0.0, 0.35) / radius) * window.u + base[:, None, None]
        if self.texture is not None and radius >= 3.0:
            height, width = window.u.shape
            row, column = rng.integers(0, TEXTURE_SIZE, 2)
            grain = self.texture.take(np.arange(row, row + height), axis=0, mode="wrap")
            grain = grain.take(np.arange(column, column + width), axis=1, mode="wrap")
            fill += self.contrast[:, None, None] * grain
        return np.asarray(np.exp(fill, out=fill))


def draw_materials(rng: Generator) -> tuple[Material, ...]:
    """Choose what this scene is made of: a few colours and textures that come back all over it."""
    textures = [_draw_texture(rng) for _ in range(6)]
    palette = [np.log(draw_color(rng)) for _ in range(12)]
    return tuple(_draw_material(palette, textures, rng) for _ in range(48))


def _draw_material(palette: list[Rgb], textures: list[Plane], rng: Generator) -> Material:
    color = palette[int(len(palette) * rng.random() ** 2)] + rng.normal(0, 0.08, 3).astype(np.float32)
    contrast = (np.exp(rng.normal(-1.5, 0.7)) * (1 + rng.normal(0, 0.15, 3))).astype(np.float32)
    plain = rng.random() < 0.25  # painted metal, a clear sky, a distant thing
    return Material(color, contrast, None if plain else textures[rng.integers(len(textures))])


def _draw_texture(rng: Generator) -> Plane:
    stretch = rng.uniform(3.0, 12.0) if rng.random() < 0.35 else 1.0
    field = make_spectral_noise(
        TEXTURE_SIZE, TEXTURE_SIZE, rng.uniform(0.6, 1.5), rng, stretch=stretch, angle=rng.uniform(0, np.pi)
    )
    if rng.random() < 0.3:
        ridges = 1.0 - np.abs(field)
        return np.asarray((ridges - ridges.mean()) / ridges.std(), np.float32)
    return field


def make_spectral_noise(
    height: int, width: int, exponent: float, rng: Generator, *, stretch: float = 1.0, angle: float = 0.0
) -> Plane:
    """Draw a periodic field of mean 0 and variance 1 whose amplitude spectrum falls as frequency^-exponent.

    `stretch` above 1 draws the field out along `angle` (wood, hair, grass).
    """
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None, :]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    frequency = np.hypot(along * stretch, across)
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(rng.standard_normal((height, width), dtype=np.float32))
    field = np.fft.irfft2(white * frequency**-exponent, s=(height, width))
    return np.asarray((field - field.mean()) / field.std(), np.float32)
