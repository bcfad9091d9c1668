"""One bad file among good ones costs one line, in every command that takes folders."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import make_raw

from rawdenoise.app import denoise
from rawdenoise.capture.raw import Camera, Provenance, Tag
from rawdenoise.cli import main
from rawdenoise.errors import UNFORESEEN
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.tiff.reading import DOUBLE, RATIONAL, SHORT, numbers_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, Pixels, write_tree
from rawdenoise.isolation.isolated_reader import IsolatedReader
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture
from rawdenoise.training.camera_training import CameraTraining

UNTOUCHED = Provenance("0", "none", 0.0)
CAMERA = SIMULATED_IMX385.resize(128, 96)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def a_capture(path: Path, seed: int, camera: Camera | None = None) -> None:
    rng = np.random.default_rng(seed)
    raw = capture(make_scene(96, 128, rng), CAMERA, 6400, rng)[0]
    write_dng(raw if camera is None else replace(raw, camera=camera), path, provenance=UNTOUCHED)


def with_tag(path: Path, code: int, tag: Tag) -> None:
    """An uncompressed DNG in one directory, with one tag that is nonsense."""
    raw = make_raw(64, 96, black=(64.0,) * 4, white=1023.0)
    write_dng(raw, path, provenance=UNTOUCHED)
    found = read_metadata(path)
    gone = {
        Code.SubIFDs,
        Code.ExifIFD,
        Code.TileWidth,
        Code.TileLength,
        Code.TileOffsets,
        Code.TileByteCounts,
    }
    tags = {each: found_tag for each, found_tag in {**found.root, **found.raw}.items() if each not in gone}
    tags |= {Code.Compression: numbers_tag(SHORT, 1), Code.RowsPerStrip: numbers_tag(SHORT, 64), code: tag}
    pixels = Pixels(Code.StripOffsets, Code.StripByteCounts, 1, [raw.mosaic.tobytes()])
    with path.open("wb") as file:
        write_tree(file, Node(tags, pixels=pixels))


NONSENSE: dict[str, Callable[[Path], None]] = {
    "active area": lambda path: with_tag(path, Code.ActiveArea, numbers_tag(SHORT, *range(16))),
    "repeat": lambda path: with_tag(path, Code.BlackLevelRepeatDim, numbers_tag(SHORT, 2, 2, 2)),
    "crop": lambda path: with_tag(path, Code.DefaultCropSize, Tag(RATIONAL, 1, struct.pack("<II", 1, 0))),
    "GPS": lambda path: with_tag(path, Code.GPSInfo, Tag(RATIONAL, 1, struct.pack("<II", 1, 0))),
    "pointer": lambda path: with_tag(path, Code.SubIFDs, numbers_tag(DOUBLE, float("nan"))),
    "no white": lambda path: with_tag(path, Code.WhiteLevel, numbers_tag(SHORT, 0)),
    "white below": lambda path: with_tag(path, Code.WhiteLevel, Tag(8, 1, struct.pack("<h", -1))),
    "cut": lambda path: path.write_bytes(b"II*\0" + bytes(100)),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four good captures and one of each kind of nonsense, some of which can be read all the same."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        a_capture(folder / f"good{number}.dng", number)
    for name, spoil in NONSENSE.items():
        spoil(folder / f"bad {name}.dng")
    return folder


def test_denoise_does_the_others(folder: Path, tmp_path: Path) -> None:
    result = run("denoise", folder, "-o", tmp_path / "out", "--strength", 0, "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    files = {Path(line["source"]).stem: line for line in lines if "source" in line}
    assert len(files) == 4 + len(NONSENSE)
    assert {name for name, line in files.items() if line["status"] == "done"} >= {
        f"good{n}" for n in range(4)
    }
    reasons = [line["reason"] for line in files.values() if line["status"] == "failed"]
    assert reasons
    assert not [reason for reason in reasons if "unexpected" in reason or UNFORESEEN in reason]


def test_inspect_shows_the_others(folder: Path) -> None:
    result = run("inspect", *sorted(folder.iterdir()))
    assert result.exit_code == 1
    assert all(f"good{number}.dng" in result.stdout for number in range(4))
    assert "unexpected" not in result.output
    assert UNFORESEEN not in result.output


def test_calibrate_measures_the_others(folder: Path, own_profiles: Path) -> None:
    result = run("calibrate", folder)
    assert result.exit_code == 1
    assert any("simulated-imx385" in path.name for path in own_profiles.iterdir()), result.output
    assert "unexpected" not in result.output
    assert UNFORESEEN not in result.output


def test_train_trains_the_others(folder: Path, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def note(training: CameraTraining, *others: object, **more: object) -> None:
        seen.append(sorted(capture.path.stem for capture in training.captures.captures))
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("rawdenoise.app.train.train_and_keep", note)
    for number in range(3):
        a_capture(folder / f"other{number}.dng", number + 9, Camera("Other", "Other 2"))
    result = run("train", folder, "--images", 8, "--min-captures", 3, "--device", "cpu")
    assert result.exit_code == 1
    assert ["good0", "good1", "good2", "good3"] in seen, result.output
    assert ["other0", "other1", "other2"] in seen
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert failed == ["failed: unexpected ZeroDivisionError: a bug"] * len(seen)
    assert UNFORESEEN not in result.output


def test_denoise_reads_one_file_here_and_several_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what crashes its decoder is one of several: the others are done."""
    reader = IsolatedReader(worker="misbehaving_decoder")
    monkeypatch.setattr(denoise, "shared_reader", lambda: reader)
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("good", "segfault", "well"):
        (folder / f"{name}.dng").write_text(name)
    try:
        several = run("denoise", folder, "-o", tmp_path / "out", "--strength", 0)
        alone = run("denoise", folder / "good.dng", "-o", tmp_path / "alone", "--strength", 0)
    finally:
        reader.close()
    assert several.exit_code == 1
    assert "its decoder crashed (SIGSEGV)" in several.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.dng", "well.dng"}
    assert alone.exit_code == 1
    assert "is a text" in alone.output  # the real reader's answer


def test_a_matlab_file_is_read_apart_even_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = IsolatedReader(worker="misbehaving_decoder")
    monkeypatch.setattr("rawdenoise.isolation.isolated_reader.shared_reader", lambda: reader)
    (tmp_path / "frame.mat").write_text("segfault")
    try:
        result = run("inspect", tmp_path / "frame.mat")
    finally:
        reader.close()
    assert result.exit_code == 1
    assert "its decoder crashed (SIGSEGV): the file is damaged" in result.stderr


def test_a_watched_folder_outlives_what_crashes_a_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = IsolatedReader(worker="misbehaving_decoder")
    monkeypatch.setattr("rawdenoise.watching.denoise_worker.shared_reader", lambda: reader)
    folder, state = tmp_path / "in", tmp_path / "state"
    folder.mkdir()
    for name in ("good", "segfault", "well"):
        (folder / f"{name}.dng").write_text(name)
    options = ("--once", "--settle", 0, "--attempts", 1, "--strength", 0, "--state", state, "--device", "cpu")
    try:
        result = run("watch", folder, "-o", tmp_path / "out", *options)
    finally:
        reader.close()
    assert result.exit_code == 1
    assert {path.name for path in (tmp_path / "out").glob("*.dng")} == {"good.dng", "well.dng"}
    (note,) = (state / "quarantine").glob("*.json")
    assert json.loads(note.read_text())["reason"] == "its decoder crashed (SIGSEGV): the file is damaged"
