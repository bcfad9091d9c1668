from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rawdenoise.atomic import atomic_output, check_output, is_temporary_of, write_bytes
from rawdenoise.errors import DiskFullError, OutputError, OutputExistsError


def test_an_output_appears_whole(tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "out.dng"
    with atomic_output(output) as temporary:
        temporary.write_bytes(b"half")
        assert not output.exists()
        temporary.write_bytes(b"whole")
    assert output.read_bytes() == b"whole"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1)])
def test_what_goes_wrong_leaves_the_old_output_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    output = tmp_path / "out.dng"
    output.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_output(output) as temporary:
        temporary.write_bytes(b"new")
        raise error
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_an_output_is_tried_before_the_work(tmp_path: Path) -> None:
    check_output(tmp_path / "new folder" / "out.csv")
    assert not list((tmp_path / "new folder").iterdir())
    (tmp_path / "old.csv").write_bytes(b"old")
    check_output(tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_bytes() == b"old"
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path / "new folder")
    with pytest.raises(OutputError, match="cannot be written"):
        check_output(tmp_path / "old.csv" / "out.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"new folder", "old.csv"}


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError, match="no space left"),
        atomic_output(tmp_path / "out.dng") as temporary,
    ):
        temporary.write_bytes(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_an_output_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "out.dng"
    with (
        pytest.raises(OutputExistsError, match="left alone"),
        atomic_output(output, replace=False) as temporary,
    ):
        temporary.write_bytes(b"ours")
        output.write_bytes(b"theirs")
    assert output.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [output]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / "out" / "a.json", b"{}")


@pytest.mark.parametrize("stem", ["n" * 251, "写" * 83, "é" * 125, "n" + "写" * 80])
def test_a_long_name_still_gets_a_temporary_one(tmp_path: Path, stem: str) -> None:
    output = tmp_path / f"{stem}.dng"
    with atomic_output(output) as temporary:
        temporary.write_bytes(b"x")
        assert is_temporary_of(temporary, output)
        assert not is_temporary_of(temporary, tmp_path / "other.dng")
        assert not is_temporary_of(output, output)
    assert output.read_bytes() == b"x"
