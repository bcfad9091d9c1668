"""Photographs as scenes: in linear light and at half size, which does away with most of JPEG's traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from rawdenoise.capture.srgb import linear_srgb

SUFFIXES = (".jpg", ".jpeg", ".png")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by name."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"{folder}: no pictures ({', '.join(SUFFIXES)}) here")
    return found


def linear_half(path: Path) -> Float32[np.ndarray, "h w 3"]:
    """A picture in linear sRGB at half size, both sides even."""
    with Image.open(path) as image:
        encoded = np.asarray(image.convert("RGB"), np.float32) / 255
    linear = linear_srgb(encoded)
    height, width = (length // 4 * 2 for length in linear.shape[:2])
    halves = linear[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
    return halves.mean(axis=(1, 3)).astype(np.float32)


def landscape(
    scene: Float32[np.ndarray, "h w 3"], height: int, width: int
) -> Float32[np.ndarray, "{height} {width} 3"]:
    """Lay a picture on its side if it stands upright, and cut it to a size."""
    if scene.shape[0] > scene.shape[1]:
        scene = scene.transpose(1, 0, 2)
    return scene[:height, :width]


def side_by_side(
    pictures: list[Float32[np.ndarray, "h w 3"]], columns: int
) -> Float32[np.ndarray, "height width 3"]:
    """Lay pictures of one size out in rows of so many."""
    rows = [np.concatenate(pictures[at : at + columns], axis=1) for at in range(0, len(pictures), columns)]
    return np.concatenate(rows, axis=0)
