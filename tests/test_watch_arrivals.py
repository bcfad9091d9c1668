"""What arrives: names, the stability tracker by a clock of the test's own, scans, mounts and events."""

from __future__ import annotations

import ctypes
import errno
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.files.sources import Signature, signature_of
from rawdenoise.watching import events
from rawdenoise.watching.events import Events, Hint
from rawdenoise.watching.mounts import MountChanges, polling_reason, reason_in
from rawdenoise.watching.names import (
    ShotIndex,
    index_folder,
    is_capture,
    is_ignored,
    is_ignored_folder,
)
from rawdenoise.watching.scan import RootGoneError, scan
from rawdenoise.watching.tracker import EMPTY_S, StabilityTracker

A = Path("a.dng")


# Names


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


# The tracker


class Disk:
    """Files as the tracker sees them."""

    def __init__(self) -> None:
        self.files: dict[Path, Signature] = {}
        self.looks = 0

    def write(self, path: Path = A, size: int = 1, mtime: int = 0, inode: int = 1) -> None:
        self.files[path] = Signature(size, mtime, inode, 0)

    def __call__(self, path: Path) -> Signature | None:
        self.looks += 1
        return self.files.get(path)


@pytest.fixture
def disk() -> Disk:
    disk = Disk()
    disk.write()
    return disk


def settled(tracker: StabilityTracker, now: float) -> list[Path]:
    return [path for path, _ in tracker.take_settled(now)]


def test_a_file_left_alone_settles_once(disk: Disk) -> None:
    tracker = StabilityTracker(3, disk)
    tracker.note(A, 10)
    assert tracker.next_due() == 13
    assert settled(tracker, 12.9) == []
    assert tracker.take_settled(13) == [(A, disk.files[A])]
    assert settled(tracker, 100) == []
    assert len(tracker) == 0
    assert tracker.next_due() is None


def test_what_happens_again_begins_again(disk: Disk) -> None:
    tracker = StabilityTracker(3, disk)
    tracker.note(A, 0)
    tracker.note(A, 2)
    assert settled(tracker, 4) == []
    assert settled(tracker, 5) == [A]


@pytest.mark.parametrize("change", [{"size": 2}, {"mtime": -5}, {"mtime": 9}, {"inode": 7}])
def test_what_changes_without_an_event_begins_again(disk: Disk, change: dict[str, int]) -> None:
    tracker = StabilityTracker(3, disk)
    tracker.note(A, 0)
    disk.write(**change)
    assert settled(tracker, 3) == []
    assert tracker.restless == 1
    assert settled(tracker, 5.9) == []
    assert settled(tracker, 6) == [A]
    assert tracker.restless == 0


def test_scans_do_not_begin_it_again(disk: Disk) -> None:
    tracker = StabilityTracker(3, disk)
    for now in (0, 1, 2):
        tracker.note_scan(A, disk.files[A], now)
    assert settled(tracker, 3) == [A]
    tracker.note_scan(A, disk.files[A], 4)
    disk.write(size=5)
    tracker.note_scan(A, disk.files[A], 5)
    assert settled(tracker, 7.5) == []
    assert settled(tracker, 8) == [A]


def test_a_remount_changes_no_file() -> None:
    assert Signature(1, 2, 3, 4) == Signature(1, 2, 3, 5)


def test_renamed_into_place_is_whole_at_once(disk: Disk) -> None:
    tracker = StabilityTracker(3, disk)
    tracker.note(A, 0)
    tracker.note_move(A, 1)
    assert settled(tracker, 1) == [A]


def test_what_is_gone_drops_out(disk: Disk) -> None:
    tracker = StabilityTracker(3, disk)
    tracker.note(A, 0)
    del disk.files[A]
    assert settled(tracker, 3) == []
    assert A not in tracker
    tracker.note(A, 4)
    assert len(tracker) == 0


def test_an_empty_file_waits_with_growing_patience(disk: Disk) -> None:
    disk.write(size=0)
    tracker = StabilityTracker(3, disk)
    tracker.note_move(A, 0)
    dues = []
    while (due := tracker.next_due()) is not None and due < 1000:
        assert settled(tracker, due) == []
        dues.append(due)
    steps = [after - before for before, after in pairwise(dues)]
    assert steps == sorted(steps)
    assert steps[-1] == EMPTY_S
    disk.write(size=9)
    assert settled(tracker, 2000) == []
    assert settled(tracker, 2003) == [A]


def test_ten_thousand_at_once_cost_no_more_than_a_look_each(disk: Disk) -> None:
    paths = [Path(f"{index}.dng") for index in range(10_000)]
    for path in paths:
        disk.write(path)
    tracker = StabilityTracker(3, disk)
    for path in paths:
        tracker.note(path, 0)
    looks = disk.looks
    for now in range(100):
        assert tracker.take_settled(now / 100) == []
    assert disk.looks == looks
    assert settled(tracker, 3) == paths
    assert disk.looks == looks + 10_000


def test_without_a_settle_time_one_look_is_enough_for_a_turn() -> None:
    sizes = iter(range(1, 100))
    tracker = StabilityTracker(0, lambda path: Signature(next(sizes), 0, 0, 0))  # it never stands still
    tracker.note(A, 0)
    assert [settled(tracker, now) for now in (0, 0, 1)] == [[], [], []]
    assert next(sizes) == 5


def test_many_at_once_settle_in_parts(disk: Disk) -> None:
    tracker = StabilityTracker(3, disk)
    paths = [Path(f"{index}.dng") for index in range(5)]
    for path in paths:
        disk.write(path)
        tracker.note(path, 0)
    found = [[path for path, _ in tracker.take_settled(3, 2)] for _ in range(3)]
    assert found == [paths[:2], paths[2:4], paths[4:]]
    assert tracker.next_due() is None


Action = tuple[str, int, float]
ACTIONS = ["written", "written unnoticed", "scanned", "moved in", "emptied", "removed"]


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2), st.floats(0.1, 4)), max_size=30))
def test_the_law_of_settling(actions: list[Action]) -> None:
    """What settles is as it was for the settle time, unless it was moved in; nothing that stays is missed."""
    disk, now, written = Disk(), 0.0, dict[Path, float]()
    tracker = StabilityTracker(3, disk)
    given_out: dict[Path, Signature] = {}
    moved_in: set[Path] = set()

    def turn() -> None:
        for path, signature in tracker.take_settled(now):
            assert disk.files[path] == signature
            assert signature.size > 0
            assert path in moved_in or now - written[path] >= 3
            assert path not in tracker
            given_out[path] = signature
        moved_in.clear()
        due = tracker.next_due()
        assert (due is None) == (len(tracker) == 0)
        assert due is None or due > now

    disk.files.clear()
    for serial, (action, number, wait) in enumerate(actions):
        path = Path(f"{number}.dng")
        if action == "removed":
            disk.files.pop(path, None)
        elif action != "written unnoticed" or path in tracker:
            disk.write(path, size=0 if action == "emptied" else 1 + serial, mtime=serial)
            written[path] = now
        if action in ("written", "emptied"):
            tracker.note(path, now)
            moved_in.discard(path)
        elif action == "scanned":
            tracker.note_scan(path, disk.files[path], now)
        elif action == "moved in":
            tracker.note_move(path, now)
            moved_in.add(path)
        now += wait
        turn()
    for _ in range(4):
        now += EMPTY_S
        turn()
    full = {path: signature for path, signature in disk.files.items() if signature.size}
    assert {path: given_out.get(path) for path in full} == full
    assert len(tracker) == len(disk.files) - len(full)


@pytest.mark.parametrize("end", ["mtime in the future", "mtime in the past"])
def test_what_time_a_file_says_it_is_of_does_not_matter(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(b"x")
    stamp = 4_000_000_000 if "future" in end else 1
    os.utime(path, (stamp, stamp))
    tracker = StabilityTracker(3)
    tracker.note(path, 100)
    assert tracker.take_settled(102.9) == []
    assert tracker.take_settled(103) == [(path, signature_of(path))]


# Scans


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
    assert reason_in(MOUNTINFO, Path(path)) == reason


def test_a_local_folder_needs_no_polling(tmp_path: Path) -> None:
    assert polling_reason(tmp_path) == ""
    assert reason_in(b"nonsense\n\n1 2 3 - \n", tmp_path) == ""


def test_a_folder_is_where_its_links_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nas").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nas")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "mountinfo").write_text(
        f"1 0 8:1 / / rw - ext4 x rw\n2 1 0:2 / {(tmp_path / 'nas').resolve()} rw - nfs x rw\n"
    )
    monkeypatch.setattr("rawdenoise.watching.mounts.MOUNTS", tmp_path / "mountinfo")
    assert polling_reason(tmp_path / "link" / "2026") == "on NFS"
    assert polling_reason(tmp_path / "loop") == ""
    monkeypatch.setattr("rawdenoise.watching.mounts.MOUNTS", tmp_path / "not-linux")
    assert polling_reason(tmp_path / "link") == ""


# Events


@contextmanager
def watching(root: Path, *, recursive: bool = True) -> Iterator[tuple[Events, Callable[[Hint], list[Hint]]]]:
    """Real events of a folder, and a function that gives all hints that come until a certain one does."""
    hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()
    source = Events(root, hints.put, recursive=recursive)
    assert source.start() == ""

    def until(wanted: Hint) -> list[Hint]:
        came: list[Hint] = []
        end = time.monotonic() + 30
        while came[-1:] != [wanted]:
            try:
                came.append(hints.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                pytest.fail(f"no {wanted}, only {came}")
        return came

    try:
        yield source, until
    finally:
        source.stop()
    assert not source.alive()


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_events_are_hints(tmp_path: Path) -> None:
    with watching(tmp_path) as (source, until):
        assert source.alive()
        capture = tmp_path / "a b.dng"
        capture.write_bytes(b"x")
        until(Hint(capture))
        hidden, inside = tmp_path / ".a.dng.Xq3", tmp_path / "new" / "d.dng"
        hidden.write_bytes(b"x")
        hidden.replace(tmp_path / "c.dng")
        came = until(Hint(tmp_path / "c.dng", moved_in=True))
        assert {hint.path for hint in came} <= {capture, tmp_path / "c.dng"}
        (tmp_path / "c.dng").replace(tmp_path / "e.dng")
        assert Hint(tmp_path / "c.dng", gone=True) in until(Hint(tmp_path / "e.dng", moved_in=True))
        capture.unlink()
        until(Hint(capture, gone=True))
        inside.parent.mkdir()
        until(Hint(inside.parent, folder=True))
        inside.write_bytes(b"x")
        until(Hint(inside))


NAMES = ["ü 日本.dng", "two\nlines.dng"] + [os.fsdecode(b"not-unicode-\xff.dng")] * (sys.platform == "linux")


@pytest.mark.parametrize("name", NAMES)
def test_events_of_whatever_name(tmp_path: Path, name: str) -> None:
    with watching(tmp_path) as (_, until):
        (tmp_path / name).write_bytes(b"x")
        until(Hint(tmp_path / name))


def test_events_of_ten_thousand_files_at_once(tmp_path: Path) -> None:
    """Some may be lost, which is the scan's business, but none of what comes after the flood."""
    hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()
    source, last = Events(tmp_path, hints.put), tmp_path / "last.dng"

    def came() -> bool:
        last.write_bytes(b"x")
        return any(hints.get() == Hint(last) for _ in range(hints.qsize()))

    assert source.start() == ""
    try:
        for index in range(10_000):
            (tmp_path / f"{index:05}.dng").write_bytes(b"x")
        assert eventually(came)
        assert source.alive()
    finally:
        source.stop()


def test_reading_is_no_event(tmp_path: Path) -> None:
    capture, later = tmp_path / "a.dng", tmp_path / "b.dng"
    capture.write_bytes(b"x")
    with watching(tmp_path) as (_, until):
        assert capture.read_bytes() == b"x"
        later.write_bytes(b"x")
        assert {hint.path for hint in until(Hint(later))} == {later}


def test_a_root_by_another_name_is_told_by_that_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with watching(tmp_path / "link") as (source, until):
        (tmp_path / "real" / "a.dng").write_bytes(b"x")
        until(Hint(tmp_path / "link" / "a.dng"))
        (tmp_path / "other").mkdir()
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to(tmp_path / "other")
        assert not source.alive()


def test_no_hints_of_where_no_scan_looks(tmp_path: Path) -> None:
    root = tmp_path / ".hidden-itself"
    last = root / "last.dng"
    for name in (".stversions/deep", "@eaDir/a.dng", "sub"):
        (root / name).mkdir(parents=True)
    with watching(root) as (_, until):
        for name in (".stversions/deep/a.dng", "@eaDir/a.dng/a.dng", ".a.dng", "a.dng.part"):
            (root / name).write_bytes(b"x")
        (root / ".stversions" / "new").mkdir()
        last.write_bytes(b"x")
        assert {hint.path for hint in until(Hint(last))} == {last}
    with watching(root, recursive=False) as (_, until):
        (root / "sub" / "a.dng").write_bytes(b"x")
        (root / "new").mkdir()
        (last := root / "last2.dng").write_bytes(b"x")
        assert {hint.path for hint in until(Hint(last))} == {last}


def test_a_renamed_folder_does_not_say_that_its_files_are_whole(tmp_path: Path) -> None:
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload" / "a.dng").write_bytes(b"x")
    with watching(tmp_path) as (_, until):
        (tmp_path / "upload").rename(tmp_path / "done")
        came = until(Hint(tmp_path / "done" / "a.dng"))
    assert Hint(tmp_path / "done", folder=True) in came
    assert Hint(tmp_path / "upload" / "a.dng", gone=True) in came
    assert not any(hint.moved_in for hint in came)


def test_events_end_with_their_folder(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    with watching(root) as (source, _):
        shutil.rmtree(root)
        root.mkdir()  # perhaps with the number that the other had
        assert eventually(lambda: not source.alive())
        source.stop()
        assert source.start() == ""
        assert source.alive()


def test_events_end_when_their_folder_is_moved_away(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    with watching(root) as (source, _):
        root.rename(tmp_path / "away")
        assert not source.alive()
        root.mkdir()
        assert not source.alive()


def test_events_begin_anew_when_a_disk_came_or_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watching(tmp_path) as (source, _):
        assert source.alive()
        monkeypatch.setattr(MountChanges, "any", lambda self: True)
        assert not source.alive()


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
@pytest.mark.parametrize("room", [0, 1, 4])
def test_too_few_watches_are_told_wherever_they_run_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    from watchdog.observers import inotify_c

    for index in range(5):
        (tmp_path / f"{index}").mkdir()
    real, watches = inotify_c.inotify_add_watch, count()

    def add_watch(descriptor: int, path: bytes, mask: int) -> int:
        if next(watches) < room:
            return real(descriptor, path, mask)  # type: ignore[return-value]
        ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr(inotify_c, "inotify_add_watch", add_watch)
    before = set(threading.enumerate())
    source = Events(tmp_path, lambda hint: None)
    assert "max_user_watches" in source.start()
    assert not source.alive()
    assert set(threading.enumerate()) <= before


def test_watches_that_run_out_later_end_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watching(tmp_path) as (source, _):
        monkeypatch.setattr(Events, "_is_short_of_watches", lambda self: True)
        assert not source.alive()


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "max_user_watches"), (errno.EMFILE, "max_user_instances"), (errno.EIO, "error")],
)
def test_limits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(events, "Observer", refuse)
    source = Events(tmp_path, lambda hint: None)
    assert words in source.start()
    assert not source.alive()
    source.stop()


def test_watchdogs_own_polling_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "Observer", events.PollingObserver)
    assert "no changes" in Events(tmp_path, lambda hint: None).start()


def test_a_folder_that_is_not_there_gives_no_events(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert Events(tmp_path / "gone", lambda hint: None).start() == "the folder is not there"
    assert Events(tmp_path / "loop", lambda hint: None).start() != ""
