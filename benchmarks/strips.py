"""What each method makes of one test image, side by side: noisy, denoised, clean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from experiments import Experiment, Results, denoiser, network
from jaxtyping import Float32, UInt8
from methods import METHODS
from PIL import Image, ImageDraw, ImageFont
from simulated import Planes, Sources, simulate

from rawdenoise.capture.raw import Color
from rawdenoise.capture.srgb import encoded_srgb
from rawdenoise.formats.preview import camera_to_srgb
from rawdenoise.quality.metrics import psnr

SIDE = 96  # packed pixels
ZOOM = 2
ACROSS = 6  # pictures in a row
BAND = 16  # pixels above a picture, for its name


def write_strip(
    experiments: Sequence[Experiment], results: Results, sources: Sources, folder: Path, *, image: int
) -> None:
    """Show one test image of a camera at its highest ISO, by every method that has a result."""
    done = [each for each in experiments if results.find(each) is not None]
    if not done:
        return
    data = simulate(done[0].conditions, sources)
    iso = max(data.tests)
    shot, noise = data.tests[iso][image], data.noise[iso]
    window = busiest(shot.clean)
    pictures = []
    for each in done:
        clean = denoiser(each, network(each, results), data, "cpu")(shot, noise)
        name = f"{METHODS[each.method].title.split(' (')[0]} {psnr(clean, shot.clean):.1f}"
        pictures.append(titled(rendered(clean[:, *window], shot.raw.color), name))
    pictures.append(titled(rendered(shot.clean[:, *window], shot.raw.color), "clean"))
    folder.mkdir(parents=True, exist_ok=True)
    camera = done[0].conditions.camera
    Image.fromarray(laid_out(pictures)).save(folder / f"{camera}-iso{iso}-{image}.png", optimize=True)


def busiest(planes: Planes) -> tuple[slice, slice]:
    """The square with most detail, in steps of half a side."""
    green = np.sqrt(np.maximum(planes[1], 0))
    detail = np.abs(np.diff(green, axis=0))[:, 1:] + np.abs(np.diff(green, axis=1))[1:]
    height, width = planes.shape[1:]
    windows = [
        (slice(top, top + SIDE), slice(left, left + SIDE))
        for top in range(0, height - SIDE + 1, SIDE // 2)
        for left in range(0, width - SIDE + 1, SIDE // 2)
    ]
    return max(windows, key=lambda window: float(detail[window].mean()))


def rendered(planes: Float32[np.ndarray, "4 h w"], color: Color) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Packed planes as sRGB, a cell of the mosaic for `ZOOM` pixels."""
    camera = np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]], axis=-1)
    balanced = np.clip(camera / np.array(color.neutral, np.float32), 0, 1)
    linear = np.clip(balanced @ camera_to_srgb(color).T.astype(np.float32), 0, 1)
    return np.rint(255 * encoded_srgb(linear)).astype(np.uint8).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def titled(picture: UInt8[np.ndarray, "h w 3"], name: str) -> UInt8[np.ndarray, "h2 w 3"]:
    """Write a line above a picture."""
    band = Image.new("RGB", (picture.shape[1], BAND), (24, 24, 24))
    ImageDraw.Draw(band).text((3, 2), name, fill=(235, 235, 235), font=ImageFont.load_default(10))
    return np.concatenate([np.asarray(band), picture], axis=0)


def laid_out(pictures: Sequence[UInt8[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Lay pictures out in rows, the last one filled up with black."""
    empty = np.zeros_like(pictures[0])
    full = [*pictures, *[empty] * (-len(pictures) % ACROSS)]
    rows = [np.concatenate(full[at : at + ACROSS], axis=1) for at in range(0, len(full), ACROSS)]
    return np.concatenate(rows, axis=0)
