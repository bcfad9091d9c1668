"""The system's events of watched folders."""

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
from itertools import count
from pathlib import Path

import pytest

from rawdenoise.watching import events
from rawdenoise.watching.events import Events, Hint
from rawdenoise.watching.mounts import MountChanges


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
    assert not source.is_alive()


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_events_are_hints(tmp_path: Path) -> None:
    with watching(tmp_path) as (source, until):
        assert source.is_alive()
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
        assert source.is_alive()
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
        assert not source.is_alive()


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
        assert eventually(lambda: not source.is_alive())
        source.stop()
        assert source.start() == ""
        assert source.is_alive()


def test_events_end_when_their_folder_is_moved_away(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    with watching(root) as (source, _):
        root.rename(tmp_path / "away")
        assert not source.is_alive()
        root.mkdir()
        assert not source.is_alive()


def test_events_begin_anew_when_a_disk_came_or_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watching(tmp_path) as (source, _):
        assert source.is_alive()
        monkeypatch.setattr(MountChanges, "any", lambda self: True)
        assert not source.is_alive()


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
    assert not source.is_alive()
    assert set(threading.enumerate()) <= before


def test_watches_that_run_out_later_end_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with watching(tmp_path) as (source, _):
        monkeypatch.setattr(Events, "_is_short_of_watches", lambda self: True)
        assert not source.is_alive()


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
    assert not source.is_alive()
    source.stop()


def test_watchdogs_own_polling_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "Observer", events.PollingObserver)
    assert "no changes" in Events(tmp_path, lambda hint: None).start()


def test_a_folder_that_is_not_there_gives_no_events(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert Events(tmp_path / "gone", lambda hint: None).start() == "the folder is not there"
    assert Events(tmp_path / "loop", lambda hint: None).start() != ""
