from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import make_raw, raw_images
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.capture.raw import Area, Cfa, Color, Levels, Metadata, Provenance, RawImage
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.rendering.demosaicing import demosaic
from rawdenoise.formats.rendering.preview import encode_preview, render_preview
from rawdenoise.formats.tiff.reading import numbers
from rawdenoise.formats.tiff.tags import Code

NEUTRAL = (0.4, 1.0, 0.7)
BLACK, WHITE = 512, 16383


def seen(scene: np.ndarray, cfa: Cfa, **more: object) -> RawImage:
    """A grey scene (h, w), 0..1, as a camera of this pattern and white balance sees it."""
    height, width = scene.shape
    mosaic = np.empty(scene.shape, np.uint16)
    row, column = cfa.red
    for y in (0, 1):
        for x in (0, 1):
            color = 0 if (y, x) == (row, column) else 2 if (y, x) == (1 - row, 1 - column) else 1
            mosaic[y::2, x::2] = np.rint(BLACK + (WHITE - BLACK) * NEUTRAL[color] * scene[y::2, x::2])
    return make_raw(height, width, cfa=cfa, mosaic=mosaic, color=Color((), NEUTRAL), **more)


@given(raw_images(max_side=40), st.integers(4, 60))
def test_a_preview_is_as_long_as_the_picture_or_as_is_allowed(image: RawImage, long_side: int) -> None:
    height, width, _ = render_preview(image, long_side=long_side).shape
    longest = max(image.active.height, image.active.width)
    assert max(height, width) == min(long_side, longest)
    share = min(1, long_side / longest)
    assert (height, width) == (
        max(1, round(image.active.height * share)),
        max(1, round(image.active.width * share)),
    )


def test_a_preview_is_2048_pixels_long_if_the_picture_is() -> None:
    for width, long_side in ((1000, 1000), (2048, 2048), (2060, 2048), (4500, 2048)):
        assert render_preview(make_raw(16, width)).shape[1] == long_side


@pytest.mark.parametrize("cfa", list(Cfa))
@pytest.mark.parametrize("long_side", [240, 170, 125, 120, 100, 60, 40, 25])
def test_every_colour_of_a_preview_lies_where_the_scene_has_it(cfa: Cfa, long_side: int) -> None:
    """A soft bright spot off the middle: its centre, in all three colours, whatever a pixel stands for."""
    height, width, centre = 180, 240, (71.3, 97.6)
    y, x = np.mgrid[:height, :width] + 0.5
    scene = 0.9 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * 18**2))
    linear = (render_preview(seen(scene, cfa), long_side=long_side) / 255.0) ** 2.2
    rows, columns = np.mgrid[: linear.shape[0], : linear.shape[1]] + 0.5
    for color in range(3):
        weight = linear[..., color] * (linear[..., color] > 0.02)
        assert (weight * rows).sum() / weight.sum() * height / linear.shape[0] == pytest.approx(71.3, abs=0.4)
        assert (weight * columns).sum() / weight.sum() * width / linear.shape[1] == pytest.approx(
            97.6, abs=0.4
        )


@pytest.mark.parametrize("cfa", list(Cfa))
@pytest.mark.parametrize("long_side", [160, 80, 50, 27])
def test_the_edges_of_a_preview_have_no_colour(cfa: Cfa, long_side: int) -> None:
    y, x = np.mgrid[:120, :160] / 8.0
    scene = 0.4 + 0.35 * np.sin(y) * np.cos(x)
    shown = render_preview(seen(scene, cfa), long_side=long_side).astype(int)
    assert np.ptp(shown, axis=2).max() <= 8
    assert np.ptp(shown, axis=2).mean() < 1.5


@pytest.mark.parametrize("crop", [Area(10, 20, 91, 141), Area(11, 21, 90, 140), Area(0, 0, 120, 160)])
@pytest.mark.parametrize("long_side", [200, 40, 20])
def test_a_preview_shows_the_crop(crop: Area, long_side: int) -> None:
    y, x = np.mgrid[:120, :160]
    image = seen(0.05 + 0.9 * (x / 160 + y / 120) / 2, Cfa.GBRG)
    whole, part = (render_preview(replace(image, crop=area), long_side=long_side) for area in (None, crop))
    share = min(1, long_side / max(crop.height, crop.width))
    assert part.shape[:2] == (round(crop.height * share), round(crop.width * share))
    # The lightest corner says where the crop ends: (x / 160 + y / 120) / 2 there.
    ends = (crop.right / 160 + crop.bottom / 120) / (crop.left / 160 + crop.top / 120 + 1e-9)
    if ends < 100:
        low, high = ((part[corner].mean() / 255) ** 2.2 for corner in ((0, 0), (-1, -1)))
        low_linear = 0.05 + 0.45 * (crop.left / 160 + crop.top / 120)
        high_linear = 0.05 + 0.45 * (crop.right / 160 + crop.bottom / 120)
        assert high / low == pytest.approx(high_linear / low_linear, rel=0.25)
    assert whole.shape[0] == max(1, round(120 * min(1, long_side / 160)))


def test_unequal_blacks_and_deltas_are_taken_off() -> None:
    image = seen(np.full((60, 80), 0.3), Cfa.RGGB)
    blacks, rows, columns = (100.0, 200.0, 300.0, 400.0), np.linspace(-50, 50, 60), np.linspace(0, 90, 80)
    signal = (image.mosaic.astype(float) - BLACK) / (WHITE - BLACK)
    grid = np.tile(np.reshape(blacks, (2, 2)), (30, 40))
    mosaic = np.rint(grid + signal * (WHITE - grid) + rows[:, None] + columns[None]).astype(np.uint16)
    spoilt = replace(image, mosaic=mosaic, levels=Levels(blacks, WHITE, rows, columns))
    for long_side in (80, 20):
        difference = render_preview(spoilt, long_side=long_side).astype(int) - render_preview(
            image, long_side=long_side
        )
        assert np.abs(difference).max() <= 1


def test_a_dark_picture_is_made_brighter_by_two_stops_at_most() -> None:
    dng = Metadata(is_dng=True)
    levels = {
        level: render_preview(seen(np.full((40, 60), level), Cfa.RGGB, metadata=dng)).mean()
        for level in (0.01, 0.1, 0.9)
    }
    assert levels[0.1] == pytest.approx(255 * (1.055 * 0.4 ** (1 / 2.4) - 0.055), abs=1)
    assert levels[0.01] == pytest.approx(255 * (1.055 * 0.04 ** (1 / 2.4) - 0.055), abs=1)
    assert levels[0.9] == pytest.approx(255 * (1.055 * 0.95 ** (1 / 2.4) - 0.055), abs=1)


def test_the_noise_of_a_black_frame_does_not_lift_it() -> None:
    """Values below black are kept until they are averaged."""
    noise = np.random.default_rng(0).normal(0, 0.01, (400, 600))
    mosaic = np.rint(BLACK + (WHITE - BLACK) * noise).clip(0).astype(np.uint16)
    assert render_preview(make_raw(400, 600, mosaic=mosaic), long_side=30).mean() < 5


def test_a_preview_is_a_baseline_jpeg_in_srgb(tmp_path: Path) -> None:
    image = make_raw(300, 420)
    jpeg, width, height = encode_preview(image)
    assert (width, height) == (420, 300)
    assert b"\xff\xc0" in jpeg
    assert b"\xff\xc2" not in jpeg  # progressive
    write_dng(image, tmp_path / "a.dng", provenance=Provenance("1", "none", 0.0))
    root = read_metadata(tmp_path / "a.dng").root
    assert numbers(root[Code.PreviewColorSpace]) == (2,)
    assert numbers(root[Code.YCbCrSubSampling]) == (2, 2)
    with tifffile.TiffFile(tmp_path / "a.dng") as tif:
        assert tif.pages[0].shape == (300, 420, 3)


@pytest.mark.parametrize("cfa", list(Cfa))
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (40, 61)])
def test_what_changes_evenly_is_demosaiced_exactly(cfa: Cfa, size: tuple[int, int]) -> None:
    """A grey ramp, and pixels keep the colour that they have."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    mosaic = 0.1 + 0.004 * y + 0.003 * x
    rgb = demosaic(mosaic, cfa)
    assert rgb.shape == (*size, 3)
    np.testing.assert_allclose(rgb[2:-2, 2:-2], np.repeat(mosaic[..., None], 3, 2)[2:-2, 2:-2], atol=1e-6)
    row, column = cfa.red
    own = np.random.default_rng(0).random(size, np.float32)
    rgb = demosaic(own, cfa)
    assert np.array_equal(rgb[row::2, column::2, 0], own[row::2, column::2])
    assert np.array_equal(rgb[row::2, 1 - column :: 2, 1], own[row::2, 1 - column :: 2])
    assert np.array_equal(rgb[1 - row :: 2, 1 - column :: 2, 2], own[1 - row :: 2, 1 - column :: 2])


def test_demosaicing_is_better_than_taking_colours_by_themselves() -> None:
    """A zone plate: Malvar's filters against bilinear interpolation of green."""
    y, x = np.mgrid[:128, :128].astype(np.float32)
    scene = 0.5 + 0.4 * np.sin(np.hypot(y - 64, x - 64)).astype(np.float32)
    green = scene.copy()
    cross = (scene[:-2, 1:-1] + scene[2:, 1:-1] + scene[1:-1, :-2] + scene[1:-1, 2:]) / 4
    missing = np.indices((126, 126)).sum(axis=0) % 2 == 0
    green[1:-1, 1:-1][missing] = cross[missing]
    rgb = demosaic(scene, Cfa.RGGB)
    *ours, bilinear = (
        math.sqrt(float(np.square((plane - scene)[4:-4, 4:-4]).mean()))
        for plane in (*rgb.transpose(2, 0, 1), green)
    )
    assert max(ours) < 0.75 * bilinear
