from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import make_raw

from rawdenoise.capture.raw import Provenance
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.tiff.pictures import write_mosaic_tiff, write_tiff
from rawdenoise.formats.truncation import find_missing

MADE = Provenance("1", "gr2r", 1.0, source_digest="0" * 64, recipe="1" * 16)


@pytest.mark.parametrize("write", [write_dng, write_tiff, write_mosaic_tiff])
@pytest.mark.parametrize("shape", [(96, 128), (300, 330)])
def test_an_output_is_whole_and_a_cut_one_is_not(
    tmp_path: Path, write: Callable[..., None], shape: tuple[int, int]
) -> None:
    output, cut = tmp_path / "whole.dng", tmp_path / "cut.dng"
    write(make_raw(*shape), output, provenance=MADE)
    assert find_missing(output) == ""
    data = output.read_bytes()
    places = {0, 1, 8, 100, 1000, len(data) // 2, len(data) - 1, *range(7, len(data), len(data) // 150)}
    for place in places:
        cut.write_bytes(data[:place])
        assert find_missing(cut), f"cut at {place} of {len(data)}"


def test_zeros_where_its_end_should_be_are_seen(tmp_path: Path) -> None:
    """So a file looks whose length was written and whose last blocks were not, when the power went."""
    output = tmp_path / "a.dng"
    write_dng(make_raw(300, 330), output, provenance=MADE)
    data = output.read_bytes()
    for lost in (2, 100, len(data) - 8, len(data)):
        output.write_bytes(data[: len(data) - lost] + bytes(lost))
        assert find_missing(output), lost


def test_what_is_none_or_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(b"not a raw file")
    assert find_missing(tmp_path / "a.dng") == "it is no TIFF"
    assert "cannot be read" in find_missing(tmp_path / "b.dng")
    (tmp_path / "a.dng").write_bytes(b"")
    assert find_missing(tmp_path / "a.dng") == "it is empty"
