"""What is drawn with a pen: lines of made-up glyphs, and wires."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from numpy.random import Generator
from PIL import Image, ImageDraw

from rawdenoise.simulation.canvas import Canvas, Plane, Window, draw_color

SUPERSAMPLING = 4


def draw_text(
    window: Window, half_u: float, half_v: float, center: tuple[float, float], angle: float, rng: Generator
) -> Plane:
    """Draw lines of made-up glyphs: strokes between the points of a small grid, as in any script."""
    size = rng.uniform(7.0, 30.0)
    step_u, step_v = 0.8 * size, 1.6 * size
    alphabet = [_draw_glyph(rng) for _ in range(20)]
    cosine, sine = np.cos(angle), np.sin(angle)
    strokes: list[list[tuple[float, float]]] = []
    for base_v in np.arange(-half_v + 0.4 * size, half_v - size, step_v):
        for base_u in np.arange(-half_u + 0.4 * size, half_u - size, step_u):
            if rng.random() < 0.15:  # a space between words
                continue
            for stroke in alphabet[rng.integers(len(alphabet))]:
                places = stroke * size * (0.55, 1.0) + (base_u, base_v)
                columns = places[:, 0] * cosine - places[:, 1] * sine + center[1] - window.left
                rows = places[:, 0] * sine + places[:, 1] * cosine + center[0] - window.top
                strokes.append(list(zip(columns.tolist(), rows.tolist(), strict=True)))
    height, width = window.u.shape
    return _rasterize_strokes(height, width, strokes, max(0.8, size * rng.uniform(0.06, 0.16)))


def _draw_glyph(rng: Generator) -> tuple[Float32[np.ndarray, "points 2"], ...]:
    """Draw 1 to 3 strokes of 2 to 4 points each, on a 3 x 4 grid scaled to the unit square."""
    return tuple(
        (rng.integers(0, (3, 4), size=(int(rng.integers(2, 5)), 2)) / (2.0, 3.0)).astype(np.float32)
        for _ in range(int(rng.integers(1, 4)))
    )


def draw_wires(canvas: Canvas, rng: Generator) -> None:
    """Draw a few long bent lines, 0.6 to 3 pixels thick: wires, twigs, masts."""
    height, width = canvas.shape[1:]
    along = np.linspace(0.0, 1.0, 24)
    for _ in range(int(rng.integers(0, 4))):
        count = int(rng.integers(1, 5))
        strokes = []
        for _ in range(count):
            start, end = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
            sag = rng.normal(0.0, 0.08) * np.hypot(*(end - start)) * np.sin(np.pi * along)
            points = start + along[:, None] * (end - start)
            strokes.append(list(zip(points[:, 0].tolist(), (points[:, 1] + sag).tolist(), strict=True)))
        thickness = float(np.exp(rng.uniform(np.log(0.6), np.log(3.0))))
        coverage = _rasterize_strokes(height, width, strokes, thickness)
        canvas += coverage * (draw_color(rng)[:, None, None] - canvas)


def _rasterize_strokes(
    height: int, width: int, strokes: list[list[tuple[float, float]]], thickness: float
) -> Plane:
    """Rasterise polylines (column, row) of one thickness to coverage 0..1, by 4 x 4 supersampling."""
    mask = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    pen = ImageDraw.Draw(mask)
    for stroke in strokes:
        points = [((x + 0.5) * SUPERSAMPLING, (y + 0.5) * SUPERSAMPLING) for x, y in stroke]
        pen.line(points, fill=255, width=max(1, round(thickness * SUPERSAMPLING)), joint="curve")
    return np.asarray(mask.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)
