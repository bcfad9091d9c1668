from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rawdenoise.atomic import (
    TEMPORARY_MARK,
    atomic_output,
    check_output,
    is_abandoned,
    is_temporary,
    is_temporary_of,
    remove_abandoned,
    write_bytes,
)
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


KILLED = """
import os, sys
from pathlib import Path
from rawdenoise.atomic import atomic_output
with atomic_output(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os._exit(9)
"""


def test_what_a_killed_process_left_is_known_from_what_is_being_written(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "deep" / "a.dng")], check=False)
    (left,) = (tmp_path / "deep").iterdir()
    with atomic_output(tmp_path / "b.dng") as temporary:
        temporary.write_bytes(b"x")
        assert is_temporary(left)
        assert remove_abandoned(tmp_path) == []  # not that deep
        assert remove_abandoned(tmp_path, recursive=True) == [left]
        assert temporary.exists()


def test_a_file_that_only_begins_like_ours_is_its_owners(tmp_path: Path) -> None:
    """Names of people, and of earlier versions of us, are not of the form that only we give."""
    for name in ("notes.txt", "12345678-IMG.dng", "old", "12345678-1f-2e-IMG.dng", "x"):
        path = tmp_path / f"{TEMPORARY_MARK}{name}"
        path.write_bytes(b"mine")
        os.utime(path, (0, 0))
    assert remove_abandoned(tmp_path, recursive=True) == []
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize(("age_s", "abandoned"), [(60.0, False), (1e5, True), (-60.0, False), (-1e5, True)])
def test_files_of_another_machine_are_its_own_for_a_day(
    tmp_path: Path, age_s: float, abandoned: bool
) -> None:
    path = tmp_path / f"{TEMPORARY_MARK}0123abcd-1f-2e-89abcdef-a.dng"
    path.write_bytes(b"x")
    os.utime(path, (1e9, 1e9))
    assert is_abandoned(path, 1e9 + age_s) is abandoned


def test_a_number_that_another_process_has_now_is_not_its_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the service has the same number each time."""
    with atomic_output(tmp_path / "a.dng") as temporary:
        temporary.write_bytes(b"x")
        assert not is_abandoned(temporary, 0.0)
        monkeypatch.setattr("rawdenoise.atomic._find_birth", lambda process: 4)
        assert is_abandoned(temporary, 0.0)
        monkeypatch.setattr("rawdenoise.atomic._find_birth", lambda process: None)
        assert not is_abandoned(temporary, 0.0)


def test_without_hard_links_no_name_is_taken_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    output, both = tmp_path / "out.dng", threading.Barrier(2)
    refused = []

    def write(content: bytes) -> None:
        try:
            with atomic_output(output, replace=False) as temporary:
                temporary.write_bytes(content)
                both.wait()
        except OutputExistsError:
            refused.append(content)

    threads = [threading.Thread(target=write, args=(content,)) for content in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert output.read_bytes() == (b"two" if refused == [b"one"] else b"one")
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("replace", [True, False])
def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    """A power cut must leave the old file, or the new one whole: never a name without its bytes."""
    output, events = tmp_path / "out.dng", []
    real_sync, real_replace, real_link = os.fsync, Path.replace, Path.hardlink_to

    def sync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        folder = status.st_ino == tmp_path.stat().st_ino
        events.append("folder synced" if folder else f"{status.st_size} bytes synced")
        real_sync(descriptor)

    def named(rename: object) -> object:
        def call(self: Path, target: Path) -> object:
            events.append("named")
            return rename(self, target)  # type: ignore[operator]

        return call

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", named(real_replace))
    monkeypatch.setattr(Path, "hardlink_to", named(real_link))
    with atomic_output(output, replace=replace) as temporary:
        temporary.write_bytes(b"whole")
    assert events == ["5 bytes synced", "named", "folder synced"]
