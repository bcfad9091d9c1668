"""Captures of every kind, read, denoised, written and read back; golden digests of what is read of them."""

from __future__ import annotations

import json
from pathlib import Path

import captures
import numpy as np
import pytest

from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.formats import read_raw
from rawdenoise.formats.output_format import Format
from rawdenoise.models.bundled import load_bundled
from rawdenoise.pipeline import denoise, write
from rawdenoise.recipe import Recipe

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())


@pytest.mark.parametrize("name", captures.ALL)
def test_a_capture_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    raw = captures.read(name, tmp_path)
    assert np.array_equal(raw.mosaic, captures.written(name))
    mosaic, metadata = captures.digests(raw)
    assert mosaic == GOLDEN[name][0]
    assert metadata == GOLDEN[name][1], json.dumps(captures.facts(raw), indent=1)  # what it is now


def test_the_table_is_of_these_captures() -> None:
    assert tuple(GOLDEN) == captures.ALL


@pytest.mark.parametrize(
    "alike", [("classic.dng", "big-endian.dng", "bigtiff.dng"), ("subifd.dng", "subifd-big-endian.dng")]
)
def test_how_a_file_is_laid_out_changes_nothing(alike: tuple[str, ...]) -> None:
    assert len({tuple(GOLDEN[name]) for name in alike}) == 1


@pytest.mark.parametrize("name", captures.ALL)
def test_at_strength_0_a_capture_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    raw = captures.read(name, tmp_path)
    output = write(denoise(raw, None, Recipe(strength=0)), tmp_path / "out.dng", format=Format.DNG)
    again = read_raw(output)
    assert again.levels.white % raw.levels.white == 0  # fine levels are a multiple
    scale = again.levels.white / raw.levels.white
    assert np.array_equal(_active(again), scale * _active(raw))
    assert again.levels.black == pytest.approx(tuple(scale * black for black in raw.levels.black), abs=0.01)
    np.testing.assert_allclose(pack(again), pack(raw), atol=1e-6)
    assert (again.camera.make, again.camera.model) == (raw.camera.make, raw.camera.model)
    assert again.exposure.iso == raw.exposure.iso
    assert again.orientation == raw.orientation


@pytest.mark.parametrize("name", ["nikon.nef", "subifd-big-endian.dng", f"v5/{captures.SCENE}"])
def test_a_capture_is_denoised_and_read_back(tmp_path: Path, name: str) -> None:
    raw = captures.read(name, tmp_path)
    options = Recipe(estimate=False)
    denoised = denoise(raw, load_bundled("fast"), options)
    again = read_raw(write(denoised, tmp_path / "out.dng"))
    assert np.array_equal(again.mosaic, denoised.image.mosaic)
    before, after = (_roughness(pack(each)) for each in (raw, again))
    assert after < 0.7 * before
    assert pack(again).mean() == pytest.approx(pack(raw).mean(), rel=0.01)


def _active(raw: RawImage) -> np.ndarray:
    area = raw.active
    return raw.mosaic[area.top : area.bottom, area.left : area.right].astype(np.float64)


def _roughness(planes: np.ndarray) -> float:
    return float(np.diff(planes, n=2, axis=2).std())
