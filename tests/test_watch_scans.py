"""Scans of watched folders, and on what file systems they are needed."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest

from rawdenoise.files.sources import signature_of
from rawdenoise.watching.mounts import find_polling_reason, find_polling_reason_in
from rawdenoise.watching.scan import RootGoneError, scan


def found(root: Path, **more: object) -> set[str]:
    return {str(path.relative_to(root)) for path, _ in scan(root, **more)}  # type: ignore[arg-type]


def test_a_scan_finds_captures_by_whatever_name(tmp_path: Path) -> None:
    names = ["a b.dng", "ü.nef", "deep/er/x.CR2", "two\nlines.arw"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"not-unicode-\xff.dng"))
    for name in [*names, "a.txt", ".hidden/x.dng", "@eaDir/x.dng", "x.dng.part", ".x.dng"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert found(tmp_path) == set(names)
    assert found(tmp_path, recursive=False) == set(names) - {"deep/er/x.CR2"}
    assert found(tmp_path, suffixes=frozenset({".txt"})) == {"a.txt"}
    for path, signature in scan(tmp_path):
        assert signature == signature_of(path)


def test_outputs_inside_are_skipped_by_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "in" / "out").mkdir(parents=True)
    for name in ("a.dng", "out/a.dng"):
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "in" / "out")
    assert found(tmp_path / "in", skip=[tmp_path / "elsewhere"]) == {"a.dng"}


def test_links_lead_to_files_and_not_around_in_circles(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.dng").write_bytes(b"x")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.dng").symlink_to(tmp_path / "real" / "a.dng")
    (tmp_path / "dangling.dng").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.dng").symlink_to(tmp_path / "self.dng")
    assert found(tmp_path) == {"real/a.dng", "link.dng"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_no_capture_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dng")
    (tmp_path / "folder.dng").mkdir()
    (tmp_path / "folder.dng" / "a.dng").write_bytes(b"x")
    assert found(tmp_path) == {"folder.dng/a.dng"}
    assert signature_of(tmp_path / "pipe.dng") is None


def test_a_root_that_is_gone_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(RootGoneError, match="cannot be read"):
        list(scan(tmp_path / "unmounted"))


def test_a_folder_that_refuses_is_told_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open/a.dng", "shut/b.dng"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr("rawdenoise.watching.scan.os.scandir", scandir)
    refused: list[Path] = []
    assert found(tmp_path, on_refused=lambda path, error: refused.append(path)) == {"open/a.dng"}
    assert refused == [tmp_path / "shut"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing refuses root")
def test_folders_without_permission(tmp_path: Path) -> None:
    for name in ("a.dng", "shut/b.dng", "listed/c.dng"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    refused: list[Path] = []
    (tmp_path / "shut").chmod(0)
    (tmp_path / "listed").chmod(0o400)
    try:
        assert found(tmp_path, on_refused=lambda path, error: refused.append(path)) == {"a.dng"}
    finally:
        for name in ("shut", "listed"):
            (tmp_path / name).chmod(0o700)
    assert set(refused) == {tmp_path / "shut", tmp_path / "listed" / "c.dng"}


@pytest.mark.parametrize(("number", "told"), [(errno.EACCES, True), (errno.EIO, True), (errno.ENOENT, False)])
def test_a_file_that_cannot_be_looked_at_is_not_one_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    (tmp_path / "a.dng").write_bytes(b"x")

    def refuse(status: os.stat_result) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("rawdenoise.watching.scan.signature_from", refuse)
    refused: list[Path] = []
    assert found(tmp_path, on_refused=lambda path, error: refused.append(path)) == set()
    assert refused == ([tmp_path / "a.dng"] if told else [])


def test_what_vanishes_during_a_scan_is_left_out(tmp_path: Path) -> None:
    for name in ("a.dng", "b.dng", "deep/c.dng"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    refused: list[Path] = []
    each = scan(tmp_path, on_refused=lambda path, error: refused.append(path))
    next(each)
    for path in tmp_path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert list(each) == []
    assert refused == []


def test_ten_thousand_files_at_once(tmp_path: Path) -> None:
    for index in range(10_000):
        (tmp_path / f"{index:05}.dng").touch()
    assert found(tmp_path) == {f"{index:05}.dng" for index in range(10_000)}


# Mounts


MOUNTINFO = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/root rw
23 22 0:20 / /proc rw,nosuid - proc proc rw
40 22 0:40 / /mnt/nas rw - nfs4 nas:/photos rw,vers=4.2
41 22 0:41 / /mnt/with\040space rw shared:1 - cifs //server/share rw
42 22 0:42 / /home/me/remote rw - fuse.sshfs me@host: rw
43 22 0:43 / /media/card rw - fuseblk /dev/sdb1 rw
44 40 8:1 / /mnt/nas/local rw - xfs /dev/sda1 rw
45 22 0:45 / /wsl rw - 9p drvfs rw
46 22 0:46 / /net/asked rw - autofs systemd-1 rw
47 22 0:47 / /net/there rw - autofs systemd-1 rw
48 47 8:2 / /net/there rw - ext4 /dev/sda2 rw
49 22 0:49 / /mnt/\134back\012line\377 rw - nfs nas:/odd rw
"""


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/home/me/photos", ""),
        ("/mnt/nas", "on NFS"),
        ("/mnt/nas/2026/a", "on NFS"),
        ("/mnt/nasty", ""),
        ("/mnt/nas/local/x", ""),
        ("/mnt/with space/x", "on SMB"),
        ("/home/me/remote", "on FUSE (sshfs)"),
        ("/media/card/DCIM", ""),
        ("/wsl/c", "on 9P"),
        ("/net/asked/a", "on a folder mounted on demand"),
        ("/net/there/a", ""),
        (os.fsdecode(b"/mnt/\\back\nline\xff/a"), "on NFS"),
    ],
)
def test_where_no_events_come_from(path: str, reason: str) -> None:
    assert find_polling_reason_in(MOUNTINFO, Path(path)) == reason


def test_a_local_folder_needs_no_polling(tmp_path: Path) -> None:
    assert find_polling_reason(tmp_path) == ""
    assert find_polling_reason_in(b"nonsense\n\n1 2 3 - \n", tmp_path) == ""


def test_a_folder_is_where_its_links_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nas").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nas")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "mountinfo").write_text(
        f"1 0 8:1 / / rw - ext4 x rw\n2 1 0:2 / {(tmp_path / 'nas').resolve()} rw - nfs x rw\n"
    )
    monkeypatch.setattr("rawdenoise.watching.mounts.MOUNTS", tmp_path / "mountinfo")
    assert find_polling_reason(tmp_path / "link" / "2026") == "on NFS"
    assert find_polling_reason(tmp_path / "loop") == ""
    monkeypatch.setattr("rawdenoise.watching.mounts.MOUNTS", tmp_path / "not-linux")
    assert find_polling_reason(tmp_path / "link") == ""
