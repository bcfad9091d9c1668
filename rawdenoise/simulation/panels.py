"""Panels that stand among the objects: gratings, zone plates and printed text."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from rawdenoise.simulation.canvas import Canvas, Plane, Window, blend, cut_window, draw_color, mix_colors
from rawdenoise.simulation.strokes import draw_text


def scatter_panels(canvas: Canvas, rng: Generator) -> None:
    """Stand a few panels among the objects: gratings, zone plates and printed text."""
    height, width = canvas.shape[1:]
    for _ in range(int(rng.integers(2, 6))):
        half = min(height, width) * rng.uniform(0.07, 0.2)
        half_u, half_v = half, half * rng.uniform(0.4, 1.0)
        angle = rng.normal(0.0, 0.25)
        center = (rng.uniform(0, height), rng.uniform(0, width))
        window = cut_window((height, width), center, float(np.hypot(half_u, half_v)), angle)
        if window is None:
            continue
        edge = np.maximum(np.abs(window.u) - np.float32(half_u), np.abs(window.v) - np.float32(half_v))
        coverage = np.clip(np.float32(0.5) - edge, 0, 1)
        ink = _draw_ink(window, half_u, half_v, center, angle, rng)
        blend(canvas, window, coverage, mix_colors(draw_color(rng), draw_color(rng), ink))


def _draw_ink(
    window: Window, half_u: float, half_v: float, center: tuple[float, float], angle: float, rng: Generator
) -> Plane:
    """Draw a panel's pattern: 0 is paper, 1 is ink."""
    kind = rng.integers(4)
    if kind == 0:
        return _draw_grating(window.u, rng)
    if kind == 1:
        return _draw_zone_plate(window.u, window.v, float(np.hypot(half_u, half_v)), rng)
    return draw_text(window, half_u, half_v, center, angle, rng)


def _draw_grating(u: Plane, rng: Generator) -> Plane:
    """Stripes, soft or hard; hard ones antialiased: an edge is sin(phase) / (2 pi frequency) away."""
    turn = np.float32(2 * np.pi / np.exp(rng.uniform(np.log(3.0), np.log(40.0))))
    wave = np.sin(turn * u + np.float32(rng.uniform(0, 2 * np.pi)))
    steepness = np.float32(0.5) if rng.random() < 0.5 else 1 / turn
    return np.asarray(np.clip(np.float32(0.5) + steepness * wave, 0, 1))


def _draw_zone_plate(u: Plane, v: Plane, reach: float, rng: Generator) -> Plane:
    """Rings that grow finer outwards, to at most 0.35 cycles per pixel, so that none is aliased."""
    finest = rng.uniform(0.12, 0.35)
    rings = np.cos(np.float32(np.pi * finest / reach) * (u * u + v * v))
    return np.asarray(np.float32(0.5) + np.float32(0.5) * rings)
