"""The picture of the demo: captures it has not trained on, noisy, denoised and clean, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from rawdenoise.atomic import atomic_output
from rawdenoise.capture.raw import Color
from rawdenoise.capture.srgb import encode_srgb
from rawdenoise.formats.rendering.preview import camera_to_srgb

Planes = Float32[np.ndarray, "4 h w"]
Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An unseen capture in three versions, with what stands over the first two."""

    noisy: Planes
    denoised: Planes
    clean: Planes
    color: Color
    labels: tuple[str, str]


def draw_examples(examples: Sequence[Example], path: Path, *, side: int = 192, zoom: int = 2) -> None:
    """Write a PNG of a row per capture: noisy, denoised and clean, at the place with most detail."""
    picture = np.concatenate([_row(example, side, zoom) for example in examples], axis=0)
    with atomic_output(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _row(example: Example, side: int, zoom: int) -> Picture:
    window = _find_busiest(example.clean, side)
    versions = (example.noisy, example.denoised, example.clean)
    scale = 0.9 / max(float(np.quantile(example.clean[:, *window], 0.99)), 1e-3)
    crops = [_render(planes[:, *window], example.color, scale) for planes in versions]
    wide = np.concatenate(crops, axis=1).repeat(zoom, axis=0).repeat(zoom, axis=1)
    return _label(wide, (*example.labels, "clean"))


def _find_busiest(planes: Planes, side: int) -> tuple[slice, slice]:
    """Find the square of `side` packed pixels (or all there is) with most detail, in steps of half a side."""
    green = np.sqrt(np.maximum(planes[1], 0))
    detail = np.abs(green[1:, 1:] - green[:-1, :-1])
    height, width = planes.shape[1:]
    rows = range(0, max(1, height - side + 1), max(1, side // 2))
    columns = range(0, max(1, width - side + 1), max(1, side // 2))
    windows = [(slice(row, row + side), slice(column, column + side)) for row in rows for column in columns]
    return max(windows, key=lambda window: float(detail[window].mean()))


def _render(planes: Planes, color: Color, scale: float) -> Picture:
    """Render packed planes, a pixel for every CFA cell: white balance, colour matrix, sRGB's tone curve."""
    camera = np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]], axis=-1)
    balanced = np.minimum(camera / np.array(color.neutral, np.float32), 1 / scale) * np.float32(scale)
    linear = np.clip(balanced @ camera_to_srgb(color).T.astype(np.float32), 0, 1)
    return np.asarray(np.rint(255 * encode_srgb(linear)), dtype=np.uint8)


def _label(row: Picture, labels: tuple[str, ...]) -> UInt8[np.ndarray, "h2 w 3"]:
    """Write a line over each of the pictures that stand side by side."""
    band = Image.new("RGB", (row.shape[1], 22), (24, 24, 24))
    pen = ImageDraw.Draw(band)
    for index, label in enumerate(labels):
        place = (index * row.shape[1] // len(labels) + 6, 4)
        pen.text(place, label, fill=(235, 235, 235), font=ImageFont.load_default(13))
    return np.concatenate([np.asarray(band), row], axis=0)
