from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_raw, write_bayer_dng
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from rawdenoise.capture.raw import Area, Provenance, Tag
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.headerless import read_plain
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.rendering.framing import (
    default_crop,
    libraw_scale,
    makers_crop,
    picture_shape,
    pixel_scale,
    turn_upright,
    user_crop,
)
from rawdenoise.formats.rendering.picture import render
from rawdenoise.formats.rendering.preview import render_preview
from rawdenoise.formats.tiff.mosaic_layout import format_layout, parse_layout
from rawdenoise.formats.tiff.pictures import write_mosaic_tiff
from rawdenoise.formats.tiff.reading import RATIONAL, SHORT, numbers, numbers_tag
from rawdenoise.formats.tiff.tags import Code

ACTIVE = Area(10, 20, 110, 220)
UNTOUCHED = Provenance("1.2.3", "none", 0.0)


def crop_tags(left: float, top: float, width: float, height: float, *user: float) -> dict[int, Tag]:
    tags: dict[int, Tag] = {
        Code.DefaultCropOrigin: numbers_tag(RATIONAL, left, top),
        Code.DefaultCropSize: numbers_tag(RATIONAL, width, height),
    }
    return tags | ({Code.DefaultUserCrop: numbers_tag(RATIONAL, *user)} if user else {})


@pytest.mark.parametrize(
    ("tags", "area"),
    [
        ({}, ACTIVE),
        (crop_tags(4, 6, 180, 90), Area(16, 24, 106, 204)),
        (crop_tags(4.5, 6.4, 180.5, 89.6), Area(16, 25, 106, 206)),
        (crop_tags(4, 6, 500, 500), Area(16, 24, 110, 220)),  # no further than the active area
        (crop_tags(500, 6, 10, 10), ACTIVE),  # outside of it
        (crop_tags(4, 6, 0, 0), ACTIVE),
        ({Code.DefaultCropSize: Tag(RATIONAL, 2, bytes(16))}, ACTIVE),  # 0/0
        (crop_tags(0, 0, 200, 100, 0.25, 0.1, 0.75, 0.5), Area(35, 40, 85, 120)),
        (crop_tags(10, 20, 100, 40, 0.5, 0, 1, 0.25), Area(50, 30, 70, 55)),  # within the default crop
        (crop_tags(10, 20, 100, 40, 0.5, 0, 0.5, 1), Area(30, 30, 70, 130)),  # an empty one is none
        ({Code.DefaultUserCrop: numbers_tag(RATIONAL, 0, 0.5, 1, 1)}, Area(10, 120, 110, 220)),
    ],
)  # fmt: skip
def test_what_is_shown_is_what_the_tags_say(tags: dict[int, Tag], area: Area) -> None:
    assert user_crop(tags, default_crop(tags, ACTIVE)) == area


@given(st.lists(st.floats(allow_nan=True), min_size=0, max_size=5), st.sampled_from([11, 12]))
def test_whatever_is_stated_the_picture_lies_in_the_active_area(values: list[float], kind: int) -> None:
    with np.errstate(over="ignore"):
        tag = numbers_tag(kind, *values)
    for code in (Code.DefaultCropOrigin, Code.DefaultCropSize, Code.DefaultUserCrop, Code.DefaultScale):
        tags = {**crop_tags(10, 20, 100, 40, 0.1, 0.2, 0.9, 0.8), code: tag}
        area = user_crop(tags, default_crop(tags, ACTIVE))
        assert ACTIVE.top <= area.top < area.bottom <= ACTIVE.bottom
        assert ACTIVE.left <= area.left < area.right <= ACTIVE.right
        assert all(0.25 <= scale <= 4 for scale in pixel_scale(tags))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_exif_means(orientation: int) -> None:
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    stored = Image.fromarray(picture)
    stored.getexif()[Code.Orientation] = orientation
    assert np.array_equal(turn_upright(picture, orientation), np.asarray(ImageOps.exif_transpose(stored)))


def test_a_scale_of_pixels_that_are_not_square_is_across_and_down() -> None:
    tags = {Code.DefaultScale: numbers_tag(RATIONAL, 1, 2)}
    assert pixel_scale(tags) == (2, 1)
    raw = make_raw(40, 60, crop=Area(4, 6, 34, 50), pixel_scale=(2.0, 1.0))
    assert picture_shape(raw) == (60, 44)
    assert render(raw).shape == render_preview(raw).shape == (60, 44, 3)


def stepped(height: int, width: int) -> np.ndarray:
    """Grey steps of 10 pixels that no two places share, in an RGGB mosaic with black 512."""
    y, x = np.mgrid[:height, :width] // 10
    return (1000 + 800 * y + 100 * x).astype(np.uint16)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_dng_is_shown_as_its_tags_say(tmp_path: Path, orientation: int) -> None:
    mosaic = stepped(140, 240)
    active = {Code.ActiveArea: numbers_tag(SHORT, 10, 20, 130, 230)}
    root = {Code.Orientation: numbers_tag(SHORT, orientation)}
    tags = crop_tags(10, 20, 180, 80, 0.25, 0, 1, 0.5)
    write_bayer_dng(tmp_path / "whole.dng", mosaic, raw=active, root=root)
    write_bayer_dng(tmp_path / "crop.dng", mosaic, raw={**active, **tags}, root=root)
    whole, cropped = (read_raw(tmp_path / name) for name in ("whole.dng", "crop.dng"))
    assert cropped.crop == Area(50, 30, 110, 120)
    inside = slice(40, 100), slice(10, 100)
    assert np.array_equal(
        render(cropped),
        turn_upright(turn_upright(render(whole), {1: 1, 6: 8}[orientation])[inside], orientation),
    )
    # A preview may be brighter: this is that of the same pixels.
    assert render_preview(cropped).shape == (60, 90, 3)
    steps = render_preview(cropped).mean(axis=2)[5::10, 5::10]
    assert (np.diff(steps, axis=0) > 0).all()
    assert (np.diff(steps, axis=1) > 0).all()


def sizes(top: int, left: int, height: int, width: int) -> SimpleNamespace:
    return SimpleNamespace(crop_top_margin=top, crop_left_margin=left, crop_height=height, crop_width=width)


@pytest.mark.parametrize(
    ("told", "crop"),
    [
        (sizes(12, 24, 96, 190), Area(12, 24, 108, 214)),
        (sizes(0, 0, 0, 0), None),  # not known
        (sizes(0, 0, 100, 200), None),  # not in the active area
        (sizes(12, 24, 40, 190), None),  # less than about half of it
        (SimpleNamespace(), None),  # an old rawpy
    ],
)
def test_of_another_raw_the_maker_s_crop_is_shown(told: SimpleNamespace, crop: Area | None) -> None:
    assert makers_crop(told, ACTIVE) == crop


@pytest.mark.parametrize(
    ("aspect", "scale"), [(1, (1, 1)), (0.5, (2, 1)), (1.25, (1, 1.25)), (0, (1, 1)), (99, (1, 1))]
)
def test_of_another_raw_libraw_knows_the_shape_of_pixels(aspect: float, scale: tuple[float, float]) -> None:
    assert libraw_scale(aspect) == scale


def test_the_maker_s_crop_is_stated_in_the_dng(tmp_path: Path) -> None:
    """Wherever the picture is shown, it is the same part of it."""
    raw = make_raw(100, 200, margins=(10, 20, 4, 4), crop=Area(16, 26, 106, 212), pixel_scale=(2.0, 1.0))
    write_dng(raw, tmp_path / "a.dng", provenance=UNTOUCHED)
    tags = read_metadata(tmp_path / "a.dng").raw
    assert numbers(tags[Code.DefaultCropOrigin]) == (6, 6)
    assert numbers(tags[Code.DefaultCropSize]) == (186, 90)
    assert numbers(tags[Code.DefaultScale]) == (1, 2)
    back = read_raw(tmp_path / "a.dng")
    assert (back.crop, back.pixel_scale) == (raw.crop, raw.pixel_scale)


def test_fractions_of_a_crop_are_made_whole_as_they_are_shown(tmp_path: Path) -> None:
    write_bayer_dng(tmp_path / "a.dng", stepped(60, 80), raw=crop_tags(4.5, 6.25, 60.75, 40.5, 0, 0, 1, 0.5))
    image = read_raw(tmp_path / "a.dng")
    write_dng(image, tmp_path / "out.dng", provenance=UNTOUCHED)
    tags = read_metadata(tmp_path / "out.dng").raw
    assert numbers(tags[Code.DefaultCropOrigin]) == (5, 6)
    assert numbers(tags[Code.DefaultCropSize]) == (61, 41)
    assert tags[Code.DefaultUserCrop] == image.metadata.raw[Code.DefaultUserCrop]
    assert read_raw(tmp_path / "out.dng").crop == image.crop


def test_a_mosaic_tiff_keeps_what_is_shown(tmp_path: Path) -> None:
    raw = make_raw(40, 60, margins=(2, 4, 0, 0), crop=Area(6, 8, 36, 60), pixel_scale=(1.0, 1.25))
    write_mosaic_tiff(raw, tmp_path / "a.tif", provenance=UNTOUCHED)
    back = read_plain(tmp_path / "a.tif", None)
    assert (back.crop, back.pixel_scale) == (raw.crop, raw.pixel_scale)
    assert render(back).shape == render(raw).shape == (30, 65, 3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"crop": null', '"crop": {"top": 0, "left": 0, "bottom": 99, "right": 4}'),
        ("[1.0, 1.0]", "[1e9, 1.0]"),
    ],
)
def test_a_layout_with_an_impossible_picture_is_refused(old: str, new: str) -> None:
    told = format_layout(make_raw(40, 60))
    assert old in told
    with pytest.raises(ValueError):
        parse_layout(told.replace(old, new))
