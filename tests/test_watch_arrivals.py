"""What arrives: names, the stability tracker by a clock of the test's own, scans, mounts and events."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.watching import events
from rawdenoise.watching.events import Events, Hint
from rawdenoise.watching.mounts import polling_reason, reason_in
from rawdenoise.watching.names import (
    captures_of,
    is_capture,
    is_ignored,
    is_ignored_folder,
    sidecar_name,
    sidecars_of,
)
from rawdenoise.watching.scan import RootGoneError, scan
from rawdenoise.watching.tracker import EMPTY_S, Signature, StabilityTracker, signature_of

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
        "IMG_1.JPG",
        "IMG_1.txt",
        "IMG_10.JPG",
        "._IMG_1.JPG",
    ):
        (tmp_path / name).touch()
    capture, output = tmp_path / "IMG_1.CR2", tmp_path / "out" / "IMG_1-2.dng"
    found = sidecars_of(capture)
    assert {path.name for path in found} == {"img_1.XMP", "IMG_1.CR2.xmp", "IMG_1.JPG"}
    assert {sidecar_name(path, capture, output) for path in found} == {
        "IMG_1-2.XMP",
        "IMG_1-2.dng.xmp",
        "IMG_1-2.JPG",
    }
    assert all(captures_of(path) == [capture] for path in found)
    assert sidecars_of(tmp_path / "gone" / "IMG.dng") == []


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
    return [path for path, _ in tracker.settled(now)]


def test_a_file_left_alone_settles_once(disk: Disk) -> None:
    tracker = StabilityTracker(3, disk)
    tracker.note(A, 10)
    assert tracker.next_due() == 13
    assert settled(tracker, 12.9) == []
    assert tracker.settled(13) == [(A, disk.files[A])]
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
        tracker.seen(A, disk.files[A], now)
    assert settled(tracker, 3) == [A]
    tracker.seen(A, disk.files[A], 4)
    disk.write(size=5)
    tracker.seen(A, disk.files[A], 5)
    assert settled(tracker, 7.5) == []
    assert settled(tracker, 8) == [A]


def test_a_remount_changes_no_file() -> None:
    assert Signature(1, 2, 3, 4) == Signature(1, 2, 3, 5)


def test_renamed_into_place_is_whole_at_once(disk: Disk) -> None:
    tracker = StabilityTracker(3, disk)
    tracker.note(A, 0)
    tracker.moved_in(A, 1)
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
    tracker.moved_in(A, 0)
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
        assert tracker.settled(now / 100) == []
    assert disk.looks == looks
    assert settled(tracker, 3) == paths
    assert disk.looks == looks + 10_000


Action = tuple[str, int, float]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "silent", "moved", "remove"]), st.integers(0, 2), st.floats(0.1, 4)
        ),
        max_size=30,
    )
)
def test_the_law_of_settling(actions: list[Action]) -> None:
    """Whatever happens: what settles is as it was for the settle time, and nothing that stays is missed."""
    disk, now, last = Disk(), 0.0, dict[Path, float]()
    tracker = StabilityTracker(3, disk)
    given_out: dict[Path, Signature] = {}

    def step() -> None:
        for path, signature in tracker.settled(now):
            assert disk.files[path] == signature
            assert now - last[path] >= 3
            given_out[path] = signature

    for serial, (action, number, wait) in enumerate(actions):
        path = Path(f"{number}.dng")
        if action == "remove":
            disk.files.pop(path, None)
        elif action != "moved":
            disk.write(path, size=1 + serial, mtime=serial)
            last[path] = now
        if action == "write":
            tracker.note(path, now)
        elif action == "silent":
            tracker.seen(path, disk.files[path], now)
        now += wait
        step()
    for _ in range(3):
        now += 3.0
        step()
    assert {path: given_out.get(path) for path in disk.files} == disk.files


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


def test_what_vanishes_during_a_scan_is_left_out(tmp_path: Path) -> None:
    for name in ("a.dng", "b.dng"):
        (tmp_path / name).write_bytes(b"x")
    each = scan(tmp_path)
    first, _ = next(each)
    for path in tmp_path.iterdir():
        path.unlink()
    assert [path for path, _ in each if path == first] == []


# Mounts

MOUNTINFO = rb"""22 1 254:0 / / rw,relatime - ext4 /dev/root rw
23 22 0:20 / /proc rw,nosuid - proc proc rw
40 22 0:40 / /mnt/nas rw - nfs4 nas:/photos rw,vers=4.2
41 22 0:41 / /mnt/with\040space rw shared:1 - cifs //server/share rw
42 22 0:42 / /home/me/remote rw - fuse.sshfs me@host: rw
43 22 0:43 / /media/card rw - fuseblk /dev/sdb1 rw
44 40 8:1 / /mnt/nas/local rw - xfs /dev/sda1 rw
45 22 0:45 / /wsl rw - 9p drvfs rw
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
    ],
)
def test_where_no_events_come_from(path: str, reason: str) -> None:
    assert reason_in(MOUNTINFO, Path(path)) == reason


def test_a_local_folder_needs_no_polling(tmp_path: Path) -> None:
    assert polling_reason(tmp_path) == ""
    assert reason_in(b"nonsense\n\n1 2 3 - \n", tmp_path) == ""


# Events


@contextmanager
def watching(root: Path) -> Iterator[tuple[Events, Callable[[Callable[[Hint], bool]], bool]]]:
    """Real events of a folder, and a function that waits for one."""
    hints: queue.SimpleQueue[Hint] = queue.SimpleQueue()
    source = Events(root, hints.put)
    assert source.start() == ""

    def came(wanted: Callable[[Hint], bool]) -> bool:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                if wanted(hints.get(timeout=1)):
                    return True
            except queue.Empty:
                continue
        return False

    try:
        yield source, came
    finally:
        source.stop()


def test_events_are_hints(tmp_path: Path) -> None:
    with watching(tmp_path) as (source, came):
        assert source.alive()
        capture = tmp_path / "a b.dng"
        capture.write_bytes(b"x")
        assert came(lambda hint: hint == Hint(capture))
        hidden = tmp_path / ".a.dng.Xq3"
        hidden.write_bytes(b"x")
        hidden.replace(tmp_path / "c.dng")
        assert came(lambda hint: hint == Hint(tmp_path / "c.dng", moved_in=True))
        capture.unlink()
        assert came(lambda hint: hint == Hint(capture, gone=True))
        (tmp_path / "new").mkdir()
        assert came(lambda hint: hint == Hint(tmp_path / "new", folder=True))
        assert not came_hidden(source, hidden)
    assert not source.alive()


def came_hidden(source: Events, hidden: Path) -> bool:
    """Whether a name that is ignored would be told."""
    told: list[Hint] = []
    handler = events._Handler(told.append)
    handler.on_any_event(events.FileDeletedEvent(str(hidden)))
    return bool(told)


def test_events_end_with_their_folder(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    with watching(root) as (source, _):
        shutil.rmtree(root)
        root.mkdir()
        assert not source.alive()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "max_user_watches"), (errno.EMFILE, "max_user_instances")]
)
def test_limits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    source = Events(tmp_path, lambda hint: None)

    def schedule(*arguments: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(source._observer, "schedule", schedule)
    assert words in source.start()
    assert not source.alive()


def test_a_folder_that_is_not_there_gives_no_events(tmp_path: Path) -> None:
    assert Events(tmp_path / "gone", lambda hint: None).start() == "the folder is not there"
