"""Procedural colour scenes: pictures with the statistics of photographs, without a photograph.

A scene is painted like a dead-leaves picture (Lee, Mumford and Huang, "Occlusion models for natural images",
IJCV 2001): objects of power-law sizes hide each other, each with its own colour, shading and texture; panels
with gratings, zone plates and text stand among them, wires run across, light and shadow fall on all of it.
Edges are antialiased analytically from signed distances. Colours are log-normal along opponent axes, which
are nearly independent in natural scenes (Ruderman, Cronin and Chiao, JOSA A 1998). The same generator state
gives the same scene.

What it does not know: perspective, faces, and the correlation of shape with colour that real objects have.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numpy.random import Generator
from PIL import Image

from rawdenoise.simulation.canvas import Planar, Plane, blur, draw_color, mix_colors
from rawdenoise.simulation.objects import grow_thickets, scatter_objects
from rawdenoise.simulation.panels import scatter_panels
from rawdenoise.simulation.strokes import draw_wires
from rawdenoise.simulation.textures import draw_materials, make_spectral_noise


def make_scene(height: int, width: int, rng: Generator) -> Float32[np.ndarray, "{height} {width} 3"]:
    """Paint one scene in linear sRGB, 0 dark to 1 (the clipping point of a camera exposed for it)."""
    materials = draw_materials(rng)
    canvas = _paint_backdrop(height, width, rng)
    span = float(min(height, width))
    scatter_objects(canvas, materials, rng, smallest=12.0, largest=0.45 * span, layers=1.6)
    if rng.random() < 0.4:  # a background out of focus, as behind a portrait
        canvas = blur(canvas, rng.uniform(2.0, 6.0))
    scatter_panels(canvas, rng)
    grow_thickets(canvas, materials, rng)
    scatter_objects(canvas, materials, rng, smallest=4.0, largest=0.2 * span, layers=rng.uniform(0.2, 0.5))
    draw_wires(canvas, rng)
    canvas *= _draw_light(height, width, rng)
    canvas = blur(canvas, rng.uniform(0.35, 0.7))  # a good lens and the pixel's aperture
    return np.ascontiguousarray(_expose(canvas, rng).transpose(1, 2, 0))


def _paint_backdrop(height: int, width: int, rng: Generator) -> Planar:
    """Paint clouds between two colours over a gradient, so that no pixel is ever left empty."""
    clouds = make_spectral_noise(height, width, rng.uniform(1.0, 1.6), rng)
    fall = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None] * rng.normal(0.0, 1.0)
    share = 1.0 / (1.0 + np.exp(-(rng.uniform(0.3, 1.5) * clouds + fall)))
    return mix_colors(draw_color(rng), draw_color(rng), np.asarray(share, np.float32))


def _draw_light(height: int, width: int, rng: Generator) -> Plane:
    """Light the scene: a slow field over it, and in half of the scenes a shadow with a soft edge."""
    coarse = Image.fromarray(make_spectral_noise(16, 16, 2.0, rng))
    slow = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    light = np.asarray(np.exp(np.float32(rng.uniform(0.1, 0.6)) * slow))
    if rng.random() < 0.5:
        center = (rng.uniform(0.2, 0.8) * height, rng.uniform(0.2, 0.8) * width)
        turn, softness = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(np.log(2.0), np.log(60.0)))
        rows = np.arange(height, dtype=np.float32)[:, None] - np.float32(center[0])
        columns = np.arange(width, dtype=np.float32)[None, :] - np.float32(center[1])
        distance = (columns * np.float32(np.cos(turn)) + rows * np.float32(np.sin(turn))) / np.float32(
            softness
        )
        lit = np.float32(0.5) + np.float32(0.5) * np.tanh(distance)
        depth = np.float32(rng.uniform(0.08, 0.4))
        light *= depth + (1 - depth) * lit
    return light


def _expose(canvas: Planar, rng: Generator) -> Planar:
    """Expose as a photographer would: some highlights clip; one scene in four is kept dark (low key)."""
    brightest = np.quantile(canvas.max(axis=0)[::2, ::2], rng.uniform(0.97, 0.998))
    target = rng.uniform(0.25, 0.5) if rng.random() < 0.25 else rng.uniform(0.7, 1.1)
    return np.clip(canvas * np.float32(target / max(float(brightest), 1e-6)), 0, 1)
