"""What a model does to one place of a capture, as pictures to look at."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Float32
from PIL import Image

from rawdenoise.capture.srgb import encode_srgb
from rawdenoise.quality.held_out import Crop

BRIGHTEST_SHOWN = 0.9  # of white, where the brightest hundredth of a crop is shown
MAXIMUM_LIGHT = 64.0  # times the light that a dark crop is shown with


def render_crop(crop: Crop) -> tuple[bytes, bytes]:
    """Render a place before and after, both in the same light and with grey as the average, as PNGs."""
    bright = float(np.quantile(crop.after / crop.neutral, 0.99))
    light = BRIGHTEST_SHOWN / max(bright, BRIGHTEST_SHOWN / MAXIMUM_LIGHT)
    before, after = (_encode_png(rgb / crop.neutral * np.float32(light)) for rgb in (crop.before, crop.after))
    return before, after


def _encode_png(linear: Float32[np.ndarray, "h w 3"]) -> bytes:
    """Encode linear RGB with the tone curve of sRGB."""
    pixels = np.asarray(np.rint(255 * encode_srgb(np.clip(linear, 0, 1))), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()
