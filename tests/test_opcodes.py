"""Bad pixels that a DNG names itself: repaired for the network, and left for the DNG's own opcodes."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_raw
from hypothesis import given
from hypothesis import strategies as st
from odd_dngs import LONG, SHORT, Entry, Odd, noisy, opcode_list, write_odd

from rawdenoise.capture.raw import Metadata, Provenance, Tag
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.opcodes import find_named_bad_pixels, read_opcodes
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.models.bundled import load_bundled
from rawdenoise.noise.defects import find_named_defects
from rawdenoise.pipeline import denoise, find_known_defects
from rawdenoise.recipe import Recipe

CONSTANT, LIST = 4, 5
PLACES = [(10, 20), (11, 47), (40, 61), (41, 90), (63, 95)]


def constant(value: int) -> tuple[int, bytes]:
    return CONSTANT, struct.pack(">II", value, 0)


def bad_list(points: list[tuple[int, int]], rectangles: list[tuple[int, int, int, int]]) -> tuple[int, bytes]:
    words = [0, len(points), len(rectangles)]
    words += [value for part in (*points, *rectangles) for value in part]
    return LIST, struct.pack(f">{len(words)}I", *words)


def write_named(
    path: Path, opcodes: Entry, *, code: int = Code.OpcodeList1, shape: tuple[int, int] = (64, 96)
) -> np.ndarray:
    height, width = shape
    mosaic = np.random.default_rng(0).normal(1000, 20, shape).astype(np.uint16)
    for row, column in PLACES:
        mosaic[row, column] = 0
    write_odd(path, mosaic, Odd(tags={code: opcodes, Code.ActiveArea: (LONG, [1, 2, height, width])}))
    return mosaic


def test_pixels_named_by_value_are_known(tmp_path: Path) -> None:
    write_named(tmp_path / "a.dng", opcode_list(constant(0)))
    bad = find_named_bad_pixels(read_raw(tmp_path / "a.dng"))
    assert bad is not None
    assert [tuple(place) for place in np.argwhere(bad).tolist()] == PLACES


@pytest.mark.parametrize(("code", "origin"), [(Code.OpcodeList1, (0, 0)), (Code.OpcodeList2, (1, 2))])
def test_pixels_named_by_place_are_known(code: int, origin: tuple[int, int], tmp_path: Path) -> None:
    """OpcodeList1 counts from the corner of the mosaic, OpcodeList2 from that of its active area."""
    opcodes = opcode_list(
        (1, bytes(8)), bad_list([(10, 20), (900, 5)], [(30, 40, 32, 43), (60, 90, 99, 999)])
    )
    write_named(tmp_path / "a.dng", opcodes, code=code)
    bad = find_named_bad_pixels(read_raw(tmp_path / "a.dng"))
    assert bad is not None
    top, left = origin
    expected = np.zeros((64, 96), bool)
    expected[10 + top, 20 + left] = expected[30 + top : 32 + top, 40 + left : 43 + left] = True
    expected[60 + top :, 90 + left :] = True
    assert np.array_equal(bad, expected)


def test_named_pixels_are_repaired_for_the_network_and_stay_as_they_were(tmp_path: Path) -> None:
    """Otherwise they come out of the network neither bad nor good, and their opcode finds them no more."""
    mosaic = write_named(tmp_path / "a.dng", opcode_list(constant(0)), shape=(128, 160))
    raw = read_raw(tmp_path / "a.dng")
    known = find_known_defects(raw)
    assert known is not None
    assert np.count_nonzero(known) == len(PLACES)
    clean = denoise(raw, load_bundled("fast"), Recipe(estimate=False)).image
    bad = mosaic == 0
    assert np.array_equal(clean.mosaic[bad], mosaic[bad])
    beside = np.zeros_like(bad)
    for row, column in PLACES:
        beside[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = True
    around = clean.mosaic[1:, 2:][(beside & ~bad)[1:, 2:]]
    assert np.abs(around.astype(float) - 1000).max() < 80  # nothing dark has spread
    write_dng(clean, tmp_path / "out.dng", provenance=Provenance("0", "x", 1.0))
    assert np.array_equal(find_named_bad_pixels(read_raw(tmp_path / "out.dng")), bad)


def test_a_value_is_named_as_it_is_once_the_values_are_linear(tmp_path: Path) -> None:
    stored = noisy(64, 96, low=20, high=250)
    for row, column in PLACES:
        stored[row, column] = 7
    table = [100 + 4 * value for value in range(256)]
    tags = {Code.LinearizationTable: (SHORT, table), Code.OpcodeList1: opcode_list(constant(7))}
    raw = read_raw(write_odd(tmp_path / "a.dng", stored, Odd(bits=8, tags=tags)))
    bad = find_named_bad_pixels(raw)
    assert np.array_equal(bad, stored == 7)
    write_dng(raw, tmp_path / "out.dng", provenance=Provenance("0", "x", 0.0))
    out = read_raw(tmp_path / "out.dng")
    assert Code.LinearizationTable not in out.metadata.raw
    assert np.array_equal(find_named_bad_pixels(out), bad)


def test_a_file_without_such_opcodes_names_no_pixels(tmp_path: Path) -> None:
    raw = read_raw(write_odd(tmp_path / "a.dng", noisy(64, 96)))
    assert find_named_bad_pixels(raw) is None
    assert find_named_defects(raw) is None
    write_named(tmp_path / "b.dng", opcode_list(constant(9)))
    assert find_named_bad_pixels(read_raw(tmp_path / "b.dng")) is None


@given(st.binary(max_size=80), st.sampled_from([CONSTANT, LIST, 9]))
def test_no_opcode_list_breaks_its_reader(data: bytes, number: int) -> None:
    list(read_opcodes(data))
    kind, whole = opcode_list((number, data))
    assert isinstance(whole, bytes)
    assert [opcode.number for opcode in read_opcodes(whole)] == [number]
    raw = make_raw(8, 8)
    tags = {Code.OpcodeList1: Tag(kind, len(whole), whole), Code.OpcodeList2: Tag(kind, len(whole), whole)}
    find_named_bad_pixels(replace(raw, metadata=Metadata(is_dng=True, raw=tags)))


def test_rectangles_that_lie_on_each_other_cost_no_time() -> None:
    _, whole = opcode_list(bad_list([], [(0, 0, 2000, 2000)] * 100_000))
    assert isinstance(whole, bytes)
    raw = replace(
        make_raw(2000, 2000),
        metadata=Metadata(is_dng=True, raw={Code.OpcodeList1: Tag(7, len(whole), whole)}),
    )
    bad = find_named_bad_pixels(raw)
    assert bad is not None
    assert bad.all()
