from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_raw, raw_images
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.capture.packing import find_clipped, pack, saturation_level, unpack
from rawdenoise.capture.raw import Area, Cfa, Levels, RawImage


def mirrored(raw: RawImage, *, rows: bool, columns: bool) -> RawImage:
    """The same scene taken by a camera whose mosaic runs the other way."""
    height, width = raw.mosaic.shape
    step = (-1 if rows else 1, -1 if columns else 1)
    red_row, red_column = raw.cfa.red
    area = raw.active
    top, bottom = (height - area.bottom, height - area.top) if rows else (area.top, area.bottom)
    left, right = (width - area.right, width - area.left) if columns else (area.left, area.right)
    return replace(
        raw,
        mosaic=np.ascontiguousarray(raw.mosaic[:: step[0], :: step[1]]),
        cfa=Cfa.with_red_at(
            height - 1 - red_row if rows else red_row, width - 1 - red_column if columns else red_column
        ),
        active=Area(top, left, bottom, right),
    )


@given(raw_images())
def test_unpack_inverts_pack_bit_for_bit(raw: RawImage) -> None:
    assert np.array_equal(unpack(pack(raw), like=raw).mosaic, raw.mosaic)


@given(raw_images())
def test_each_plane_holds_its_own_colour(raw: RawImage) -> None:
    rows, columns = np.indices(raw.mosaic.shape)
    red_row, red_column = raw.cfa.red
    on_red_row, on_red_column = (rows - red_row) % 2 == 0, (columns - red_column) % 2 == 0
    site = np.where(on_red_row, np.where(on_red_column, 0, 1), np.where(on_red_column, 2, 3))
    marked = replace(
        raw, mosaic=(site + 100).astype(np.uint16), levels=Levels((100.0, 100.0, 100.0, 100.0), 1100.0)
    )
    for number, plane in enumerate(pack(marked)):
        np.testing.assert_allclose(plane, number / 1000, atol=1e-6)


@given(raw_images(), st.booleans(), st.booleans())
def test_a_mirrored_mosaic_gives_the_same_planes(raw: RawImage, rows: bool, columns: bool) -> None:
    even = replace(raw, active=replace(raw.active, bottom=raw.active.top + raw.active.height // 2 * 2,
                                       right=raw.active.left + raw.active.width // 2 * 2))  # fmt: skip
    assert np.array_equal(pack(mirrored(even, rows=rows, columns=columns)), pack(even))


def test_pixels_below_black_stay_negative_and_white_is_one() -> None:
    raw = make_raw(mosaic=np.array([[0, 16383], [512, 600]], np.uint16), height=2, width=2)
    red, green1, green2, blue = pack(raw)[:, 0, 0]
    assert red < 0
    assert green1 == 1
    assert green2 == 0
    assert blue == pytest.approx(88 / 15871)


def test_black_deltas_are_taken_off_and_put_back() -> None:
    raw = make_raw(6, 8, margins=(1, 1, 0, 0), cfa=Cfa.GBRG)
    rows, columns = np.arange(6) * 3.25, np.arange(8) * -1.5
    tilted = replace(raw, levels=replace(raw.levels, black_delta_rows=rows, black_delta_columns=columns))
    flat = np.full_like(raw.mosaic, 512)
    flat[raw.active.slices] = np.rint(512 + rows[:, None] + columns[None, :])
    planes = pack(replace(tilted, mosaic=flat))
    assert np.abs(planes).max() < 0.501 / (16383 - 512)
    assert np.array_equal(unpack(pack(tilted), like=tilted).mosaic, raw.mosaic)


def test_margins_and_saturated_pixels_are_left_alone() -> None:
    raw = make_raw(16, 16, margins=(3, 1, 2, 5))
    raw.mosaic[10, 10] = 16383
    out = unpack(np.full_like(pack(raw), 0.25), like=raw).mosaic
    changed = out != raw.mosaic
    inside = np.zeros_like(changed)
    inside[raw.active.slices] = True
    assert not changed[~inside].any()
    assert out[10, 10] == 16383
    assert changed[inside].mean() > 0.99
    assert find_clipped(raw).sum() == (raw.mosaic[raw.active.slices] == 16383).sum()


def test_values_are_rounded_and_end_at_0_and_65535() -> None:
    raw = make_raw(4, 4, white=60000.0, mosaic=np.full((4, 4), 1000, np.uint16))
    planes = pack(raw)
    for signal, dn in ((-1.0, 0), (1.2, 65535), (0.0, 512), (100.49 / 59488, 612), (100.51 / 59488, 613)):
        out = unpack(np.full_like(planes, signal), like=raw).mosaic
        assert (out == dn).all(), (signal, out)


def test_saturation_below_the_promised_white_level_is_seen() -> None:
    rng = np.random.default_rng(1)
    mosaic = np.minimum(rng.normal(13000, 4000, (200, 200)).clip(0), 15280).astype(np.uint16)
    assert saturation_level(make_raw(200, 200, mosaic=mosaic)) == 15280
    unsaturated = rng.normal(8000, 1500, (200, 200)).clip(0, 16383).astype(np.uint16)
    assert saturation_level(make_raw(200, 200, mosaic=unsaturated)) == 16383
    # Values that lie apart, as in a finer scale than the sensor's, pile up nowhere.
    apart = (rng.uniform(9000, 14000, (200, 200)) // 64 * 64).astype(np.uint16)
    assert saturation_level(make_raw(200, 200, mosaic=apart)) == 16383


@pytest.mark.parametrize(
    ("crowd", "just_below", "saturated"),
    [(110, 0, True), (90, 0, False), (600, 400, True), (400, 400, False)],
)
def test_one_pixel_in_ten_thousand_is_a_crowd_and_ten_times_what_is_below(
    crowd: int, just_below: int, saturated: bool
) -> None:
    """A lamp in a night picture is enough, a few bright pixels are not, nor is the end of a smooth slope."""
    mosaic = np.full((1000, 1000), 3000, np.uint16)
    mosaic.flat[:crowd] = 15280
    mosaic.flat[crowd : crowd + just_below] = 15279 - np.arange(just_below) % 8
    raw = make_raw(1000, 1000, mosaic=mosaic)
    assert saturation_level(raw) == (15280 if saturated else 16383)
    assert find_clipped(raw).sum() == (crowd if saturated else 0)


def test_one_scene_in_four_orders_packs_alike(shared_data: Path) -> None:
    means = []
    for cfa in Cfa:
        file = shared_data / "raws" / "four-cfa" / f"DSC_1339_768x512_{cfa.lower()}.raw"
        mosaic = np.fromfile(file, "<u2").reshape(512, 768)
        raw = make_raw(512, 768, mosaic=mosaic, cfa=cfa, black=(600.0,) * 4)
        means.append(pack(raw).mean((1, 2)))
    np.testing.assert_allclose(means, np.broadcast_to(means[0], (4, 4)), rtol=0.005)
