"""The stability tracker, by a clock of the tests."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.files.sources import Signature, signature_of
from rawdenoise.watching.stability import EMPTY_S, StabilityTracker

A = Path("a.dng")


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
