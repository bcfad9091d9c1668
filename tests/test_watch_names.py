"""Which names are captures, and which files go with one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rawdenoise.watching.names import (
    ShotIndex,
    index_folder,
    is_capture,
    is_ignored,
    is_ignored_folder,
)


@pytest.mark.parametrize(
    "name",
    """.hidden.dng ._IMG.dng .DS_Store IMG.dng.part IMG.PART IMG.tmp IMG.crdownload IMG.dng.filepart IMG.dng~
    .syncthing.IMG.dng.tmp ~syncthing~IMG.dng.tmp IMG.sync-conflict-20260101-1200.dng
    .rawdenoise-12345678-IMG.dng .IMG.dng.Xq3Zr7""".split(),
)
def test_what_is_nobodys_business(name: str) -> None:
    assert is_ignored(name)
    assert not is_capture(Path("/photos") / name)


@pytest.mark.parametrize(
    "name", ["IMG_0001.CR2", "a b.dng", "ü.nef", "two\nlines.arw", "part.dng", "x.tmp.dng", "NOISY_RAW.MAT"]
)
def test_captures(name: str) -> None:
    assert is_capture(Path(name))


def test_folders_of_systems_are_not_looked_into() -> None:
    names = ".stfolder .stversions @eaDir #recycle $RECYCLE.BIN .git".split()
    assert all(is_ignored_folder(name) for name in [*names, "System Volume Information"])
    assert not any(is_ignored_folder(name) for name in ("2026-11", "100CANON", "@me"))


def test_what_belongs_to_one_shot(tmp_path: Path) -> None:
    for name in (
        "IMG_1.CR2",
        "img_1.XMP",
        "IMG_1.CR2.xmp",
        "IMG_1.CR2.pp3",
        "IMG_1.JPG",
        "IMG_1.txt",
        "IMG_10.JPG",
        "._IMG_1.JPG",
    ):
        (tmp_path / name).touch()
    capture = tmp_path / "IMG_1.CR2"
    shots = index_folder(tmp_path)
    found = shots.find_sidecars(capture)
    assert {path.name for path in found} == {"img_1.XMP", "IMG_1.CR2.xmp", "IMG_1.CR2.pp3", "IMG_1.JPG"}
    assert all(shots.find_captures(path) == [capture] for path in found)
    assert index_folder(tmp_path / "gone").find_sidecars(tmp_path / "gone" / "IMG.dng") == []


def test_what_capture_one_keeps_lies_further_in(tmp_path: Path) -> None:
    capture, settings = tmp_path / "a.CR2", tmp_path / "CaptureOne" / "Settings153" / "a.CR2.cos"
    settings.parent.mkdir(parents=True)
    for path in (capture, settings, tmp_path / "CaptureOne" / "a.CR2"):
        path.touch()
    shots = ShotIndex([capture, settings])
    assert shots.find_sidecars(capture) == [settings]
    assert shots.find_captures(settings) == [capture]
    assert shots.find_sidecars(tmp_path / "CaptureOne" / "a.CR2") == []


def test_only_files_go_with_a_capture(tmp_path: Path) -> None:
    capture = tmp_path / "IMG_1.CR2"
    (tmp_path / "IMG_1.JPG").mkdir()
    (tmp_path / "IMG_1.wav").symlink_to(tmp_path / "nothing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "IMG_1.xmp")  # whoever opened it would wait for ever
    assert index_folder(tmp_path).find_sidecars(capture) == []


def test_the_index_follows_what_comes_and_goes(tmp_path: Path) -> None:
    capture, sidecar = tmp_path / "a.dng", tmp_path / "a.jpg"
    for path in (capture, sidecar):
        path.touch()
    shots = ShotIndex([capture])
    assert shots.find_sidecars(capture) == []
    shots.add(sidecar)
    shots.add(sidecar)
    shots.add(tmp_path / "deep" / "a.jpg")
    assert shots.find_sidecars(capture) == [sidecar]
    shots.discard(sidecar)
    shots.discard(tmp_path / "never.jpg")
    assert shots.find_sidecars(capture) == []
    shots.add(sidecar)
    sidecar.unlink()
    assert shots.find_sidecars(capture) == []


def test_pairs_are_found_without_listing_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        (tmp_path / f"{number}.dng").touch()
        (tmp_path / f"{number}.JPG").touch()
    shots = index_folder(tmp_path)
    monkeypatch.setattr(os, "scandir", None)
    monkeypatch.setattr(os, "listdir", None)
    looks = []
    real = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda self: looks.append(self) or real(self))  # type: ignore[func-returns-value]
    for number in range(1000):
        assert shots.find_sidecars(tmp_path / f"{number}.dng") == [tmp_path / f"{number}.JPG"]
        assert shots.find_captures(tmp_path / f"{number}.JPG") == [tmp_path / f"{number}.dng"]
    assert len(looks) == 2000
