from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_raw, raw_images
from hypothesis import given
from test_dng import make_capture, write_source

from rawdenoise.capture.raw import Area, Cfa, Levels, Metadata, RawImage
from rawdenoise.formats import read_raw
from rawdenoise.formats.output_levels import scale_levels
from rawdenoise.formats.rendering import picture as rendering
from rawdenoise.formats.rendering.framing import picture_shape, turn_upright
from rawdenoise.formats.rendering.picture import render
from rawdenoise.formats.rendering.preview import render_preview
from rawdenoise.formats.tiff.reading import read_directory, read_header


def soft(height: int, width: int, cfa: Cfa = Cfa.RGGB, **more: int) -> RawImage:
    """A coloured scene without edges."""
    y, x = np.mgrid[:height, :width]
    scene = np.stack([0.3 + 0.2 * np.sin(x / 17), 0.5 + 0.3 * np.cos(y / 23), 0.4 + 0.2 * np.sin(x / 29)], -1)
    mosaic = np.empty((height, width), np.uint16)
    row, column = cfa.red
    for site, color in (((row, column), 0), ((row, 1 - column), 1), ((1 - row, column), 1),
                        ((1 - row, 1 - column), 2)):  # fmt: skip
        plane = scene[site[0] :: 2, site[1] :: 2, color]
        mosaic[site[0] :: 2, site[1] :: 2] = 512 + np.rint(9000 * plane * (0.5, 1, 0.625)[color])
    return make_capture(height, width, mosaic=mosaic, cfa=cfa, **more)


@given(raw_images())
def test_a_picture_is_as_large_as_it_is_meant(image: RawImage) -> None:
    assert render(image).shape == (*picture_shape(image), 3)


@pytest.mark.parametrize("margins", [(0, 0), (3, 5), (2, 1)])
def test_the_four_patterns_give_the_same_picture(margins: tuple[int, int]) -> None:
    top, left = margins
    whole = (render(soft(90, 121, cfa)).astype(int)[4:-4, 4:-4] for cfa in Cfa)
    first, *others = whole
    for other in others:
        assert np.abs(other - first).mean() < 60
    image = soft(90 + top, 121 + left)
    image = replace(image, active=Area(top, left, 90 + top, 121 + left))
    uncut = render(soft(90 + top, 121 + left)).astype(int)[top:, left:]
    assert np.abs(render(image).astype(int) - uncut)[4:, 4:].max() < 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_and_mirrored(orientation: int) -> None:
    image = soft(60, 80)
    assert np.array_equal(
        render(replace(image, orientation=orientation)), turn_upright(render(image), orientation)
    )


def test_a_crop_is_a_part_of_the_whole_picture() -> None:
    image = soft(90, 120)
    crop = Area(11, 20, 70, 101)
    assert np.array_equal(render(replace(image, crop=crop)), render(image)[crop.slices])


def test_the_edges_are_nearly_as_good_as_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that ends where another one goes on: with mirrored pixels beyond its edges, and without."""
    y, x = np.mgrid[:140, :180]
    texture = 4000 + 2500 * np.sin(0.9 * x + 0.4 * y) * np.cos(0.5 * x - 0.7 * y)
    beyond = make_capture(140, 180, mosaic=texture.astype(np.uint16))
    ends = replace(beyond, mosaic=beyond.mosaic[20:120, 20:160], active=Area(0, 0, 100, 140))
    whole = render(beyond).astype(int)[20:120, 20:160]
    ring = np.ones((100, 140), bool)
    ring[5:-5, 5:-5] = False
    mirrored = np.abs(render(ends) - whole)
    assert mirrored[~ring].mean() < 0.05 * mirrored[ring].mean()
    monkeypatch.setattr(rendering, "_MARGIN", 0)
    assert mirrored[ring].mean() < 0.6 * np.abs(render(ends) - whole)[ring].mean()


def test_pixels_that_are_not_square_are_stretched_in_linear_light() -> None:
    mosaic = np.full((40, 60), 512, np.uint16)
    mosaic[:, ::4] = mosaic[:, 1::4] = 8512
    image = make_raw(40, 60, mosaic=mosaic)
    plain, stretched = render(image), render(replace(image, pixel_scale=(2.0, 1.0)))
    assert stretched.shape == (80, 60, 3)
    inner = slice(20, 21), slice(10, -10)
    assert np.abs(stretched[2 * 20, 10:-10].astype(int) - plain[inner][0]).max() < 0.01 * 65535
    narrow = render(replace(image, pixel_scale=(1.0, 0.25)))
    grey = (plain[20, 10:-10] / 65535.0) ** 2.2
    assert ((narrow[20, 4:-4] / 65535.0) ** 2.2).mean() == pytest.approx(grey.mean(), rel=0.05)


def test_brightness_does_not_depend_on_the_brightest_pixel() -> None:
    image = soft(60, 80)
    mosaic = image.mosaic.copy()
    mosaic[0, :8] = 14000 + np.arange(8)
    assert np.array_equal(render(image)[20:, 20:], render(replace(image, mosaic=mosaic))[20:, 20:])


@pytest.mark.parametrize("is_dng", [False, True])
def test_clipped_lights_are_white_though_white_is_not_known_exactly(is_dng: bool) -> None:
    """A sensor that is full at 15,000 while its file says 16,383; a DNG means what it says."""
    image = soft(120, 160)
    mosaic = image.mosaic.copy()
    mosaic[30:90, 40:120] = 15000
    spoilt = replace(image, mosaic=mosaic, metadata=Metadata(is_dng=is_dng))
    for scale in (1, 4):  # with gaps between the values, too
        light = render(scale_levels(spoilt, scale))[50:70, 70:90]
        assert light.min() == 65535 if not is_dng else light[..., 1].max() < 64500
        shown = render_preview(scale_levels(spoilt, scale))[50:70, 70:90]
        assert (np.ptp(shown, axis=2).max() == 0) is not is_dng


def test_the_scale_of_the_levels_does_not_show() -> None:
    mosaic = make_raw(60, 80).mosaic // 8
    coarse = make_capture(60, 80, mosaic=mosaic, white=2047.0, black=(60.25, 61.5, 62.0, 60.75))
    assert np.abs(render(scale_levels(coarse, 32)).astype(int) - render(coarse)).max() <= 1


def test_levels_are_taken_as_they_are_said() -> None:
    """Unequal blacks with fractions, and what rows and columns add, are gone before LibRaw sees it."""
    image, blacks = soft(60, 80), (100.5, 200.25, 300.0, 400.75)
    rows, columns = np.linspace(-50, 50, 60), np.linspace(0, 90, 80)
    signal = (image.mosaic.astype(float) - 512) / (16383 - 512)
    grid = np.tile(np.reshape(blacks, (2, 2)), (30, 40))
    mosaic = np.rint(grid + signal * (16383 - grid) + rows[:, None] + columns[None]).astype(np.uint16)
    spoilt = replace(image, mosaic=mosaic, levels=Levels(blacks, 16383.0, rows, columns))
    difference = np.abs(render(spoilt).astype(int) - render(image))
    assert difference.mean() < 20
    assert np.quantile(difference, 0.999) < 200


def test_no_tag_of_a_stranger_reaches_libraw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(tmp_path / "source.dng")
    image = read_raw(tmp_path / "source.dng")
    given_files: list[bytes] = []
    imread = rendering.rawpy.imread

    def watched(file: io.BytesIO) -> object:
        given_files.append(file.getvalue())
        return imread(file)

    monkeypatch.setattr(rendering.rawpy, "imread", watched)
    render(image)
    (data,) = given_files
    file = io.BytesIO(data)
    header = read_header(file)
    assert header is not None
    directory = read_directory(file, header, header.first)
    assert directory.following == 0
    assert set(directory.tags) == {
        *(254, 256, 257, 258, 259, 262, 271, 272, 273, 274, 277, 278, 279, 284, 33421, 33422, 50706, 50707),
        *(50708, 50714, 50717, 50721, 50728, 50778),
    }
    assert b"ACME" not in data
