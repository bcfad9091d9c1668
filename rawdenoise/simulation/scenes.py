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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.random import Generator
from PIL import Image, ImageDraw

Plane = Float32[np.ndarray, "h w"]
Planar = Float32[np.ndarray, "3 h w"]
Canvas = Float32[np.ndarray, "3 height width"]
Rgb = Float32[np.ndarray, "3"]

TEXTURE_SIZE = 512
SUPERSAMPLING = 4

# Axes in ln(RGB). Colours spread most in lightness, less from orange to blue (the daylight locus), least from
# green to magenta. The spreads are ours, wide enough for things made by people.
OPPONENT_AXES = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3.0], [2.0], [6.0]])
OPPONENT_SPREAD = np.array([1.3, 0.42, 0.14])


def make_scene(height: int, width: int, rng: Generator) -> Float32[np.ndarray, "{height} {width} 3"]:
    """Paint one scene in linear sRGB, 0 dark to 1 (the clipping point of a camera exposed for it)."""
    materials = _draw_materials(rng)
    canvas = _backdrop(height, width, rng)
    span = float(min(height, width))
    _scatter_objects(canvas, materials, rng, smallest=12.0, largest=0.45 * span, layers=1.6)
    if rng.random() < 0.4:  # a background out of focus, as behind a portrait
        canvas = _blur(canvas, rng.uniform(2.0, 6.0))
    _scatter_panels(canvas, rng)
    _grow_thickets(canvas, materials, rng)
    _scatter_objects(canvas, materials, rng, smallest=4.0, largest=0.2 * span, layers=rng.uniform(0.2, 0.5))
    _draw_wires(canvas, rng)
    canvas *= _illumination(height, width, rng)
    canvas = _blur(canvas, rng.uniform(0.35, 0.7))  # a good lens and the pixel's aperture
    return np.ascontiguousarray(_expose(canvas, rng).transpose(1, 2, 0))


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of the canvas an object may touch, and each pixel's place on the object.

    `u` and `v` are pixels from the object's centre along its own axes.
    """

    top: int
    left: int
    u: Plane
    v: Plane

    @property
    def slices(self) -> tuple[slice, slice]:
        height, width = self.u.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def _random_color(rng: Generator) -> Rgb:
    """Draw a linear sRGB colour, mid-grey in the median; one in seven is as vivid as paint or petals."""
    vividness = 2.5 if rng.random() < 1 / 7 else 1.0
    opponent = rng.normal(size=3) * OPPONENT_SPREAD * (1.0, vividness, vividness)
    return np.asarray(0.18 * np.exp(opponent @ OPPONENT_AXES), np.float32)


def _spectral_noise(
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


@dataclass(frozen=True, slots=True)
class _Material:
    """What surfaces are made of: a colour and, unless plain, a texture with its contrast in each colour."""

    log_color: Rgb
    contrast: Rgb
    texture: Plane | None

    def fill(self, window: _Window, radius: float, rng: Generator) -> Planar:
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


def _draw_materials(rng: Generator) -> tuple[_Material, ...]:
    """Choose what this scene is made of: a few colours and textures that come back all over it."""
    textures = [_texture(rng) for _ in range(6)]
    palette = [np.log(_random_color(rng)) for _ in range(12)]
    return tuple(_draw_material(palette, textures, rng) for _ in range(48))


def _draw_material(palette: list[Rgb], textures: list[Plane], rng: Generator) -> _Material:
    color = palette[int(len(palette) * rng.random() ** 2)] + rng.normal(0, 0.08, 3).astype(np.float32)
    contrast = (np.exp(rng.normal(-1.5, 0.7)) * (1 + rng.normal(0, 0.15, 3))).astype(np.float32)
    plain = rng.random() < 0.25  # painted metal, a clear sky, a distant thing
    return _Material(color, contrast, None if plain else textures[rng.integers(len(textures))])


def _texture(rng: Generator) -> Plane:
    stretch = rng.uniform(3.0, 12.0) if rng.random() < 0.35 else 1.0
    field = _spectral_noise(
        TEXTURE_SIZE, TEXTURE_SIZE, rng.uniform(0.6, 1.5), rng, stretch=stretch, angle=rng.uniform(0, np.pi)
    )
    if rng.random() < 0.3:
        ridges = 1.0 - np.abs(field)
        return np.asarray((ridges - ridges.mean()) / ridges.std(), np.float32)
    return field


def _backdrop(height: int, width: int, rng: Generator) -> Planar:
    """Paint clouds between two colours over a gradient, so that no pixel is ever left empty."""
    clouds = _spectral_noise(height, width, rng.uniform(1.0, 1.6), rng)
    fall = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None] * rng.normal(0.0, 1.0)
    mix = 1.0 / (1.0 + np.exp(-(rng.uniform(0.3, 1.5) * clouds + fall)))
    return _mixed(_random_color(rng), _random_color(rng), np.asarray(mix, np.float32))


def _mixed(first: Rgb, second: Rgb, share: Plane) -> Planar:
    """Go from one colour (share 0) to another (share 1)."""
    return np.asarray(first[:, None, None] + share * (second - first)[:, None, None])


def _window(
    frame: tuple[int, int], center: tuple[float, float], reach: float, angle: float
) -> _Window | None:
    """Cut the square of half side `reach` around `center` (row, column) out of the frame; None if outside."""
    top, bottom = max(0, int(center[0] - reach)), min(frame[0], int(center[0] + reach) + 2)
    left, right = max(0, int(center[1] - reach)), min(frame[1], int(center[1] + reach) + 2)
    if top >= bottom or left >= right:
        return None
    rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(center[0])
    columns = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(center[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return _Window(top, left, columns * cosine + rows * sine, rows * cosine - columns * sine)


def _ellipse(u: Plane, v: Plane, radius: float, rng: Generator) -> Plane:
    """Signed distance to an ellipse, to first order (exact for a circle), negative inside."""
    aspect = rng.uniform(0.35, 1.0)
    reach = np.hypot(u, v / np.float32(aspect)) / np.float32(radius)
    slope = np.hypot(u, v / np.float32(aspect**2)) / np.maximum(reach * np.float32(radius**2), 1e-6)
    return np.asarray((reach - 1) / np.maximum(slope, 1e-6))


def _ring(u: Plane, v: Plane, radius: float, rng: Generator) -> Plane:
    """Signed distance to a ring."""
    half = np.float32(radius * rng.uniform(0.08, 0.25))
    return np.asarray(np.abs(np.hypot(u, v) - (np.float32(radius) - half)) - half)


def _polygon(u: Plane, v: Plane, radius: float, rng: Generator) -> Plane:
    """Signed distance to a convex polygon of 3 to 6 sides (outside, to its nearest side's line)."""
    sides = int(rng.integers(3, 7))
    turns = (np.arange(sides) + rng.uniform(0.0, 0.5, sides)) * (2 * np.pi / sides)
    distance = np.full_like(u, -np.inf)
    for turn, offset in zip(turns, rng.uniform(0.45, 0.7, sides), strict=True):
        line = u * np.float32(np.cos(turn)) + v * np.float32(np.sin(turn)) - np.float32(offset * radius)
        np.maximum(distance, line, out=distance)
    return np.asarray(np.maximum(distance, np.hypot(u, v) - np.float32(radius)))


def _leaf(u: Plane, v: Plane, radius: float, rng: Generator) -> Plane:
    """Signed distance to the common part of two discs: a pointed leaf."""
    shift = np.float32(radius * rng.uniform(0.2, 0.75))
    across = np.abs(v) + shift
    return np.asarray(np.hypot(u, across) - np.hypot(np.float32(radius), shift))


Shape = Callable[[Plane, Plane, float, Generator], Plane]
SHAPES: tuple[Shape, ...] = (_ellipse, _ellipse, _polygon, _polygon, _leaf, _ring)


def _scatter_objects(
    canvas: Canvas,
    materials: tuple[_Material, ...],
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


def _grow_thickets(canvas: Canvas, materials: tuple[_Material, ...], rng: Generator) -> None:
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
    material: _Material,
    rng: Generator,
) -> None:
    window = _window(canvas.shape[1:], center, radius, rng.uniform(0, 2 * np.pi))
    if window is not None:
        coverage = np.clip(np.float32(0.5) - shape(window.u, window.v, radius, rng), 0, 1)
        _blend(canvas, window, coverage, material.fill(window, radius, rng))


def _blend(canvas: Canvas, window: _Window, coverage: Plane, fill: Planar) -> None:
    region = canvas[(slice(None), *window.slices)]
    region += coverage * (fill - region)


def _scatter_panels(canvas: Canvas, rng: Generator) -> None:
    """Stand a few panels among the objects: gratings, zone plates and printed text."""
    height, width = canvas.shape[1:]
    for _ in range(int(rng.integers(2, 6))):
        half = min(height, width) * rng.uniform(0.07, 0.2)
        half_u, half_v = half, half * rng.uniform(0.4, 1.0)
        angle = rng.normal(0.0, 0.25)
        center = (rng.uniform(0, height), rng.uniform(0, width))
        window = _window((height, width), center, float(np.hypot(half_u, half_v)), angle)
        if window is None:
            continue
        edge = np.maximum(np.abs(window.u) - np.float32(half_u), np.abs(window.v) - np.float32(half_v))
        coverage = np.clip(np.float32(0.5) - edge, 0, 1)
        ink = _panel_ink(window, half_u, half_v, center, angle, rng)
        _blend(canvas, window, coverage, _mixed(_random_color(rng), _random_color(rng), ink))


def _panel_ink(
    window: _Window, half_u: float, half_v: float, center: tuple[float, float], angle: float, rng: Generator
) -> Plane:
    """Draw a panel's pattern: 0 is paper, 1 is ink."""
    kind = rng.integers(4)
    if kind == 0:
        return _grating(window.u, rng)
    if kind == 1:
        return _zone_plate(window.u, window.v, float(np.hypot(half_u, half_v)), rng)
    return _text(window, half_u, half_v, center, angle, rng)


def _grating(u: Plane, rng: Generator) -> Plane:
    """Stripes, soft or hard; hard ones antialiased: an edge is sin(phase) / (2 pi frequency) away."""
    turn = np.float32(2 * np.pi / np.exp(rng.uniform(np.log(3.0), np.log(40.0))))
    wave = np.sin(turn * u + np.float32(rng.uniform(0, 2 * np.pi)))
    steepness = np.float32(0.5) if rng.random() < 0.5 else 1 / turn
    return np.asarray(np.clip(np.float32(0.5) + steepness * wave, 0, 1))


def _zone_plate(u: Plane, v: Plane, reach: float, rng: Generator) -> Plane:
    """Rings that grow finer outwards, to at most 0.35 cycles per pixel, so that none is aliased."""
    finest = rng.uniform(0.12, 0.35)
    rings = np.cos(np.float32(np.pi * finest / reach) * (u * u + v * v))
    return np.asarray(np.float32(0.5) + np.float32(0.5) * rings)


def _text(
    window: _Window, half_u: float, half_v: float, center: tuple[float, float], angle: float, rng: Generator
) -> Plane:
    """Lines of made-up glyphs: strokes between the points of a small grid, as in any script."""
    size = rng.uniform(7.0, 30.0)
    step_u, step_v = 0.8 * size, 1.6 * size
    alphabet = [_glyph(rng) for _ in range(20)]
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
    return _stroke_mask(height, width, strokes, max(0.8, size * rng.uniform(0.06, 0.16)))


def _glyph(rng: Generator) -> tuple[Float32[np.ndarray, "points 2"], ...]:
    """Draw 1 to 3 strokes of 2 to 4 points each, on a 3 x 4 grid scaled to the unit square."""
    return tuple(
        (rng.integers(0, (3, 4), size=(int(rng.integers(2, 5)), 2)) / (2.0, 3.0)).astype(np.float32)
        for _ in range(int(rng.integers(1, 4)))
    )


def _stroke_mask(
    height: int, width: int, strokes: list[list[tuple[float, float]]], thickness: float
) -> Plane:
    """Rasterise polylines (column, row) of one thickness to coverage 0..1, by 4 x 4 supersampling."""
    mask = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    pen = ImageDraw.Draw(mask)
    for stroke in strokes:
        points = [((x + 0.5) * SUPERSAMPLING, (y + 0.5) * SUPERSAMPLING) for x, y in stroke]
        pen.line(points, fill=255, width=max(1, round(thickness * SUPERSAMPLING)), joint="curve")
    return np.asarray(mask.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)


def _draw_wires(canvas: Canvas, rng: Generator) -> None:
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
        coverage = _stroke_mask(height, width, strokes, float(np.exp(rng.uniform(np.log(0.6), np.log(3.0)))))
        canvas += coverage * (_random_color(rng)[:, None, None] - canvas)


def _illumination(height: int, width: int, rng: Generator) -> Plane:
    """Light the scene: a slow field over it, and in half of the scenes a shadow with a soft edge."""
    coarse = Image.fromarray(_spectral_noise(16, 16, 2.0, rng))
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


def _blur(canvas: Planar, sigma: float) -> Planar:
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


def _expose(canvas: Planar, rng: Generator) -> Planar:
    """Expose as a photographer would: some highlights clip; one scene in four is kept dark (low key)."""
    brightest = np.quantile(canvas.max(axis=0)[::2, ::2], rng.uniform(0.97, 0.998))
    target = rng.uniform(0.25, 0.5) if rng.random() < 0.25 else rng.uniform(0.7, 1.1)
    return np.clip(canvas * np.float32(target / max(float(brightest), 1e-6)), 0, 1)
