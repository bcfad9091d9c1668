"""Black levels of any repeat: subtracted, put back and restated whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rawpy
from conftest import make_raw
from hypothesis import given
from hypothesis import strategies as st
from odd_dngs import LONG, RATIONAL, SHORT, Odd, rationals, write_odd

from rawdenoise.capture.black_levels import black_offsets, split_black
from rawdenoise.capture.packing import pack, unpack
from rawdenoise.capture.raw import Cfa, Levels, Provenance
from rawdenoise.errors import LayoutError
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.output_levels import scale_levels
from rawdenoise.formats.rendering.picture import render
from rawdenoise.formats.rendering.preview import render_preview
from rawdenoise.formats.tiff.pictures import write_mosaic_tiff
from rawdenoise.formats.tiff.reading import numbers
from rawdenoise.formats.tiff.tags import Code

PROVENANCE = Provenance("1.2.3", "gr2r", 0.0)
GRID = np.array(
    [[200, 210, 230, 250], [260, 280, 300, 310], [220, 240, 190, 270], [320, 205, 215, 225]], float
)


def write_grid(path: Path, grid: np.ndarray, *, area: tuple[int, int, int, int] = (0, 0, 64, 96)) -> Path:
    """A flat capture of 1000 DN above a black level that repeats from the active area's top-left."""
    top, left, bottom, right = area
    black = np.tile(grid, (64, 96))[: bottom - top, : right - left]
    mosaic = np.full((64, 96), 77, np.uint16)
    mosaic[top:bottom, left:right] = np.rint(1000 + black)
    tags = {
        Code.BlackLevelRepeatDim: (SHORT, list(grid.shape)),
        Code.BlackLevel: (RATIONAL, rationals(*grid.ravel().tolist())),
        Code.ActiveArea: (LONG, list(area)),
    }
    return write_odd(path, mosaic, Odd(tags=tags))


@pytest.mark.parametrize("area", [(0, 0, 64, 96), (3, 5, 62, 95)])
@pytest.mark.parametrize("shape", [(4, 4), (1, 4), (4, 1), (3, 3), (2, 2), (1, 3), (1, 1), (2, 3)])
def test_a_repeat_of_any_size_is_taken_off_whole(
    shape: tuple[int, int], area: tuple[int, int, int, int], tmp_path: Path
) -> None:
    raw = read_raw(write_grid(tmp_path / "a.dng", GRID[: shape[0], : shape[1]], area=area))
    signal = pack(raw) * (4095 - np.array(raw.levels.black))[:, None, None]
    assert np.abs(signal - 1000).max() < 1e-2
    assert np.array_equal(unpack(pack(raw), like=raw).mosaic, raw.mosaic)
    assert (raw.levels.black_repeat is not None) == (shape not in {(2, 2), (1, 1)})


def test_one_black_level_for_a_larger_repeat_is_that_of_all(tmp_path: Path) -> None:
    tags = {Code.BlackLevelRepeatDim: (SHORT, [2, 2]), Code.BlackLevel: (RATIONAL, rationals(200.0))}
    mosaic = np.full((64, 96), 1200, np.uint16)
    assert read_raw(write_odd(tmp_path / "a.dng", mosaic, Odd(tags=tags))).levels.black == (200.0,) * 4


@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    cfa=st.sampled_from(list(Cfa)),
    seed=st.integers(0, 999),
)
def test_the_parts_of_a_repeat_make_the_whole(rows: int, columns: int, cfa: Cfa, seed: int) -> None:
    grid = np.random.default_rng(seed).uniform(0, 500, (rows, columns))
    black, repeat = split_black(grid, cfa)
    raw = make_raw(30, 42, cfa=cfa)
    raw = replace(raw, levels=Levels(black, 4095.0, black_repeat=repeat))
    offsets = black_offsets(raw)
    whole = np.zeros((30, 42)) if offsets is None else offsets.astype(float)
    row, column = cfa.red
    for (y, x), level in zip(
        ((row, column), (row, 1 - column), (1 - row, column), (1 - row, 1 - column)), black, strict=True
    ):
        whole[y::2, x::2] += level
    assert np.allclose(whole, np.tile(grid, (30, 42))[:30, :42], atol=1e-3)


def test_a_source_s_tags_of_a_repeat_are_kept(tmp_path: Path) -> None:
    raw = read_raw(write_grid(tmp_path / "a.dng", GRID))
    write_dng(raw, tmp_path / "out.dng", provenance=PROVENANCE)
    tags = read_metadata(tmp_path / "out.dng").raw
    assert tags[Code.BlackLevel] == raw.metadata.raw[Code.BlackLevel]
    assert numbers(tags[Code.BlackLevelRepeatDim]) == (4, 4)


@pytest.mark.parametrize("shape", [(4, 4), (3, 3), (1, 4)])
@pytest.mark.parametrize("area", [(0, 0, 64, 96), (3, 5, 62, 95)])
def test_a_finer_scale_restates_a_repeat_whole(
    shape: tuple[int, int], area: tuple[int, int, int, int], tmp_path: Path
) -> None:
    raw = read_raw(write_grid(tmp_path / "a.dng", GRID[: shape[0], : shape[1]], area=area))
    write_dng(scale_levels(raw, 8), tmp_path / "fine.dng", provenance=PROVENANCE)
    fine = read_raw(tmp_path / "fine.dng")
    assert fine.levels.white == 8 * 4095
    assert np.abs(pack(fine) - pack(raw)).max() < 1e-6


def test_a_mosaic_tiff_carries_a_repeat_and_a_dng_of_it_too(tmp_path: Path) -> None:
    raw = read_raw(write_grid(tmp_path / "a.dng", GRID, area=(3, 5, 62, 95)))
    write_mosaic_tiff(raw, tmp_path / "a.tif", provenance=PROVENANCE)
    told = read_raw(tmp_path / "a.tif")
    assert np.array_equal(pack(told), pack(raw))
    write_dng(told, tmp_path / "b.dng", provenance=PROVENANCE)  # trims odd margins, and turns the repeat
    again = read_raw(tmp_path / "b.dng")
    assert (again.active.top, again.active.left) == (4, 6)
    signal = pack(again) * (4095 - np.array(again.levels.black))[:, None, None]
    assert np.abs(signal - 1000).max() < 1e-2


def test_a_mosaic_tiff_with_a_senseless_repeat_is_refused(tmp_path: Path) -> None:
    raw = make_raw()
    for repeat in (np.zeros((3, 2)), np.full((2, 2), 70000.0), np.full((2, 2), np.nan)):
        broken = replace(raw, levels=replace(raw.levels, black_repeat=repeat))
        write_mosaic_tiff(broken, tmp_path / "a.tif", provenance=PROVENANCE)
        with pytest.raises(LayoutError, match=r"pattern of black levels|finite number, got nan"):
            read_raw(tmp_path / "a.tif")


def test_preview_and_rendering_show_no_pattern(tmp_path: Path) -> None:
    raw = read_raw(write_grid(tmp_path / "a.dng", GRID))
    even = render_preview(raw)
    assert even.reshape(-1, 3).std(axis=0).max() < 0.5
    rows = 100.0 * (np.arange(64) % 5)  # LibRaw takes the mean of these off
    levels = Levels((256.0,) * 4, 4095.0, black_delta_rows=rows)
    striped = make_raw(64, 96, mosaic=np.repeat(1256 + rows, 96).reshape(64, 96).astype(np.uint16))
    for image in (raw, replace(striped, levels=levels)):
        rendered = render(image)[4:-4, 4:-4].reshape(-1, 3)
        assert (rendered.std(axis=0) / rendered.mean(axis=0)).max() < 2e-3


def test_what_is_saturated_is_white_whatever_is_added_to_black_there() -> None:
    mosaic = np.full((40, 48), 4095, np.uint16)
    levels = Levels((200.0,) * 4, 4095.0, black_delta_rows=np.full(40, 300.0))
    raw = replace(make_raw(40, 48, mosaic=mosaic), levels=levels)
    assert (render(raw) == 65535).all()
    assert (render_preview(raw) == 255).all()


def test_libraw_finds_the_repeat_that_we_state(tmp_path: Path) -> None:
    raw = read_raw(write_grid(tmp_path / "a.dng", GRID))
    write_dng(scale_levels(raw, 2), tmp_path / "out.dng", provenance=PROVENANCE)
    with rawpy.imread(str(tmp_path / "out.dng")) as libraw:
        picture = libraw.postprocess(
            gamma=(1, 1), no_auto_bright=True, output_bps=16, user_wb=[1, 1, 1, 1],
            demosaic_algorithm=rawpy.DemosaicAlgorithm.LINEAR,
            output_color=rawpy.ColorSpace.raw,
        )  # fmt: skip
    inner = picture[2:-2, 2:-2].reshape(-1, 3).astype(float)
    assert (inner.std(axis=0) / inner.mean(axis=0)).max() < 2e-3
