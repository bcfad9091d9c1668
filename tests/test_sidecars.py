"""What lies beside a capture and belongs to it goes beside its output."""

from __future__ import annotations

from pathlib import Path

import pytest

from rawdenoise.files.sidecars import Sidecars, copy_missing, sidecar_beside

BESIDE = {
    "IMG.xmp": "out.xmp",  # Adobe
    "IMG.NEF.xmp": "out.dng.xmp",  # darktable
    "IMG.NEF.pp3": "out.dng.pp3",  # RawTherapee
    "IMG.NEF.dop": "out.dng.dop",  # DxO
    "IMG.on1": "out.on1",
    "img.JPG": "out.JPG",
    "IMG.WAV": "out.WAV",
    "CaptureOne/Settings153/IMG.NEF.cos": "CaptureOne/Settings153/out.dng.cos",
    "CaptureOne/Settings/IMG.NEF.cos": "CaptureOne/Settings/out.dng.cos",
}
OTHERS = ["IMG2.xmp", "IMG.NEF", "IMG.txt", "IMG.DNG.xmp", ".IMG.xmp", "CaptureOne/Cache/IMG.NEF.cos"]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    for name in (*BESIDE, *OTHERS):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "in" / "IMG.jpg").mkdir()
    return tmp_path / "in" / "IMG.NEF"


def test_sidecars_of_every_developer_are_found_and_renamed(capture: Path, tmp_path: Path) -> None:
    found = Sidecars().find(capture)
    assert {path.relative_to(capture.parent).as_posix() for path in found} == set(BESIDE)
    output = tmp_path / "out" / "out.dng"
    told = {
        path.relative_to(capture.parent).as_posix(): sidecar_beside(path, capture, output) for path in found
    }
    assert told == {name: output.parent / target for name, target in BESIDE.items()}


def test_they_are_copied_once_and_edits_are_left_alone(capture: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "out.dng"
    found = Sidecars().find(capture)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "out.xmp").write_text("my edits")
    assert {path.name for path in copy_missing(found, capture, output)} == {
        Path(target).name for target in BESIDE.values()
    } - {"out.xmp"}
    assert (tmp_path / "out" / "out.xmp").read_text() == "my edits"
    for name, target in BESIDE.items():
        if target != "out.xmp":
            assert (tmp_path / "out" / target).read_text() == name
    assert copy_missing(found, capture, output) == []


def test_beside_their_source_pictures_are_not_doubled(capture: Path) -> None:
    output = capture.with_name("IMG_dn.dng")
    copied = copy_missing(Sidecars().find(capture), capture, output)
    assert {path.suffix for path in copied} == {".xmp", ".pp3", ".dop", ".on1", ".cos"}
    at_home = copy_missing(Sidecars().find(capture), capture, capture.with_name("IMG.dng"))
    assert {path.name for path in at_home} == {"IMG.dng.xmp", "IMG.dng.pp3", "IMG.dng.dop", "IMG.dng.cos"}


def test_a_folder_is_listed_once(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecars = Sidecars()
    first = sidecars.find(capture)
    monkeypatch.setattr("os.scandir", lambda folder: pytest.fail("listed again"))
    assert sidecars.find(capture) == first
    assert [path.name for path in sidecars.find(capture.with_name("IMG2.NEF"))] == ["IMG2.xmp"]
