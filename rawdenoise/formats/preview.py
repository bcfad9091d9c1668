"""A quick rendering of a mosaic, for the preview that a DNG carries."""

from __future__ import annotations

import io
import math

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from rawdenoise.formats.black_levels import flat_black
from rawdenoise.raw import Color, RawImage
from rawdenoise.srgb import SRGB_TO_XYZ, encoded_srgb


def preview_jpeg(image: RawImage, *, long_side: int = 1024) -> tuple[bytes, int, int]:
    """Encode `preview` as a baseline JPEG (4:2:0); its bytes, width and height."""
    pixels = preview(image, long_side=long_side)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90, subsampling="4:2:0")
    return stream.getvalue(), pixels.shape[1], pixels.shape[0]


def preview(image: RawImage, *, long_side: int = 1024) -> UInt8[np.ndarray, "h w 3"]:
    """Render the active area as sRGB, at most `long_side` pixels, without turning it upright.

    Every pixel is the mean of a square of the mosaic with whole CFA cells, so nothing is interpolated. The
    brightness is raised where the capture is dark, by two stops at most.
    """
    camera = _binned(flat_black(image), long_side)
    camera = np.clip(camera / np.array(image.color.neutral, np.float32), 0, 1)
    linear = camera @ camera_to_srgb(image.color).T.astype(np.float32)
    bright = float(np.quantile(linear.max(axis=2), 0.995))
    linear = np.clip(linear * np.clip(0.95 / max(bright, 1e-6), 1, 4), 0, 1)
    finished: UInt8[np.ndarray, "h w 3"] = np.rint(encoded_srgb(linear) * 255).astype(np.uint8)
    return finished


def camera_to_srgb(color: Color) -> Float64[np.ndarray, "3 3"]:
    """White-balanced camera RGB to linear sRGB, keeping white white; the identity where no matrix is known.

    Of several matrices the one for D65 (EXIF light source 21) is taken, else the last one.
    """
    if not color.matrices:
        return np.eye(3)
    best = next((entry for entry in color.matrices if entry.illuminant == 21), color.matrices[-1])
    srgb_to_camera = np.array(best.matrix) @ SRGB_TO_XYZ
    try:
        return np.linalg.inv(srgb_to_camera / srgb_to_camera.sum(axis=1, keepdims=True))
    except np.linalg.LinAlgError:
        return np.eye(3)


def _binned(image: RawImage, long_side: int) -> Float32[np.ndarray, "h w 3"]:
    """Camera RGB of the active area, 0 black 1 white, one pixel for every square of CFA cells."""
    active = image.mosaic[image.active.slices]
    height, width = active.shape[0] // 2, active.shape[1] // 2
    step = max(1, math.ceil(max(height, width) / long_side))
    step = min(step, height, width)
    height, width = height // step, width // step
    row, column = image.cfa.shifted(image.active.top, image.active.left).red
    sites = ((row, column), (row, 1 - column), (1 - row, column), (1 - row, 1 - column))
    planes = []
    for (y, x), black in zip(sites, image.levels.black, strict=True):
        site = active[y : 2 * height * step : 2, x : 2 * width * step : 2]
        total = np.zeros((height, width), np.uint64)
        for down in range(step):
            for across in range(step):
                total += site[down::step, across::step]
        planes.append((total / step**2 - black) / (image.levels.white - black))
    red, green1, green2, blue = planes
    return np.stack([red, (green1 + green2) / 2, blue], axis=-1).astype(np.float32)
