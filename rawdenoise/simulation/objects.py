"""Objects that hide each other: shapes of one material each, with antialiased edges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from rawdenoise.simulation.canvas import Canvas, Plane, blend, cut_window
from rawdenoise.simulation.textures import Material


def _distance_to_ellipse(u: Plane, v: Plane, radius: float, rng: Generator) -> Plane:
    """Signed distance to an ellipse, to first order (exact for a circle), negative inside."""
    aspect = rng.uniform(0.35, 1.0)
    reach = np.hypot(u, v / np.float32(aspect)) / np.float32(radius)
    slope = np.hypot(u, v / np.float32(aspect**2)) / np.maximum(reach * np.float32(radius**2), 1e-6)
    return np.asarray((reach - 1) / np.maximum(slope, 1e-6))


def _distance_to_ring(u: Plane, v: Plane, radius: float, rng: Generator) -> Plane:
    """Signed distance to a ring."""
    half = np.float32(radius * rng.uniform(0.08, 0.25))
    return np.asarray(np.abs(np.hypot(u, v) - (np.float32(radius) - half)) - half)


def _distance_to_polygon(u: Plane, v: Plane, radius: float, rng: Generator) -> Plane:
    """Signed distance to a convex polygon of 3 to 6 sides (outside, to its nearest side's line)."""
    sides = int(rng.integers(3, 7))
    turns = (np.arange(sides) + rng.uniform(0.0, 0.5, sides)) * (2 * np.pi / sides)
    distance = np.full_like(u, -np.inf)
    for turn, offset in zip(turns, rng.uniform(0.45, 0.7, sides), strict=True):
        line = u * np.float32(np.cos(turn)) + v * np.float32(np.sin(turn)) - np.float32(offset * radius)
        np.maximum(distance, line, out=distance)
    return np.asarray(np.maximum(distance, np.hypot(u, v) - np.float32(radius)))


def _distance_to_leaf(u: Plane, v: Plane, radius: float, rng: Generator) -> Plane:
    """Signed distance to the common part of two discs: a pointed leaf."""
    shift = np.float32(radius * rng.uniform(0.2, 0.75))
    across = np.abs(v) + shift
    return np.asarray(np.hypot(u, across) - np.hypot(np.float32(radius), shift))


Shape = Callable[[Plane, Plane, float, Generator], Plane]
SHAPES: tuple[Shape, ...] = (
    _distance_to_ellipse,
    _distance_to_ellipse,
    _distance_to_polygon,
    _distance_to_polygon,
    _distance_to_leaf,
    _distance_to_ring,
)


def scatter_objects(
    canvas: Canvas,
    materials: tuple[Material, ...],
    rng: Generator,
    *,
    smallest: float,
    largest: float,
    layers: float,
) -> None:
    """Paint objects over each other, back to front, until their areas add up to `layers` canvases.

    Radii follow r^-3 between the bounds: the law that makes the picture look alike at every scale.
    """
    height, width = canvas.shape[1:]
    painted, wanted = 0.0, layers * height * width
    while painted < wanted:
        radius = (smallest**-2 - rng.random() * (smallest**-2 - largest**-2)) ** -0.5
        center = (rng.uniform(0, height), rng.uniform(0, width))
        shape = SHAPES[rng.integers(len(SHAPES))]
        _paint(canvas, center, radius, shape, materials[rng.integers(len(materials))], rng)
        painted += 2.0 * radius**2


def grow_thickets(canvas: Canvas, materials: tuple[Material, ...], rng: Generator) -> None:
    """Heap up many small objects of one shape and material in a few places: foliage, gravel, a crowd."""
    height, width = canvas.shape[1:]
    for _ in range(int(rng.integers(2, 6))):
        center = rng.uniform(0, (height, width))
        spread = min(height, width) * rng.uniform(0.04, 0.14) * np.exp(rng.normal(0, 0.4, 2))
        radius = float(np.exp(rng.uniform(np.log(2.5), np.log(12.0))))
        shape = SHAPES[rng.integers(len(SHAPES))]
        material = materials[rng.integers(len(materials))]
        count = int(min(500, 4 * spread[0] * spread[1] / radius**2))
        for row, column in center + spread * rng.normal(size=(count, 2)):
            _paint(canvas, (row, column), radius * rng.uniform(0.6, 1.4), shape, material, rng)


def _paint(
    canvas: Canvas,
    center: tuple[float, float],
    radius: float,
    shape: Shape,
    material: Material,
    rng: Generator,
) -> None:
    window = cut_window(canvas.shape[1:], center, radius, rng.uniform(0, 2 * np.pi))
    if window is not None:
        coverage = np.clip(np.float32(0.5) - shape(window.u, window.v, radius, rng), 0, 1)
        blend(canvas, window, coverage, material.fill(window, radius, rng))
