"""Done means that the output is there and whole: what becomes of outputs that are lost, cut, or edited."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_raw, soon
from watched import (
    QUICK,
    Told,
    a_capture,
    config_of,
    once,
    outputs,
    retag,
    states,
    watching,
)
from watched import _quickly as _quickly
from watched import root as root

from rawdenoise.capture.raw import Provenance
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.output_format import Format
from rawdenoise.watching.clocks import Moment, is_within
from rawdenoise.watching.config import Root
from rawdenoise.watching.inspector import Inspector
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import Fingerprint, JobResult, KeptOutput, State
from rawdenoise.watching.output_mark import MARKER
from rawdenoise.watching.output_rounds import DAY_S, NOTHING_TO_READ_S, Round, Rounds


def cut(path: Path) -> None:
    os.truncate(path, 100)


def cut_last(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def cut_tiles(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 3 // 4)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def overwrite_tile(path: Path) -> None:
    """Zeros amid the pixels, written a while ago."""
    data = bytearray(path.read_bytes())
    middle = len(data) - len(data) // 8
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)


DAMAGE: list[Callable[[Path], None]] = [cut, cut_last, cut_tiles, empty, zero, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_output_that_is_lost_or_damaged_is_made_again_and_said(
    root: Root, damage: Callable[[Path], None]
) -> None:
    a_capture(root.source / "a.dng")
    once(root)
    output = root.output / "a.dng"
    pixels = read_raw(output).mosaic
    damage(output)
    code, told = once(root)
    assert code == 0
    (lost,) = told.all("lost")
    assert (lost["source"], lost["output"]) == (str(root.source / "a.dng"), str(output))
    assert ("gone" in lost["reason"]) == (damage is Path.unlink)
    assert len(told.all("done")) == 1
    assert outputs(root) == {"a.dng"}
    assert np.array_equal(read_raw(output).mosaic, pixels)
    code, told = once(root)
    assert (code, told.all("lost"), told.all("done")) == (0, [], [])


@pytest.mark.parametrize("format", ["tiff", "mosaic-tiff"])
def test_so_are_other_formats(root: Root, format: str) -> None:
    root = replace(root, recipe=replace(QUICK, format=Format(format)))
    for number in range(2):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    (first, second) = sorted(root.output.glob("*.tif"))
    cut_tiles(first)
    second.unlink()
    code, told = once(root)
    assert (code, len(told.all("lost")), len(outputs(root))) == (0, 2, 2)
    assert once(root)[1].all("lost") == []


def test_bits_that_turned_are_found_by_reading(root: Root) -> None:
    """As a disk forgets: neither size nor time say so."""
    a_capture(root.source / "a.dng")
    once(root)
    output = root.output / "a.dng"
    status = output.stat()
    overwrite_tile(output)
    os.utime(output, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert once(root)[1].all("lost") == []
    code, told = once(root, verify=True)
    assert code == 0
    assert "damaged" in told.all("lost")[0]["reason"]
    assert len(told.all("done")) == 1


def test_an_output_whose_tags_were_edited_is_left(root: Root) -> None:
    a_capture(root.source / "a.dng", taken="2026:01:01 10:00:00")
    once(root)
    output = root.output / "a.dng"
    retag(output, "2026:01:01 12:00:00")
    edited = output.read_bytes()
    for verify in (False, True, False):
        code, told = once(root, verify=verify)
        assert (code, told.all("lost"), told.all("done")) == (0, [], [])
    assert output.read_bytes() == edited


def test_pixels_that_somebody_changed_are_left_and_the_output_made_beside_them(root: Root) -> None:
    """It is whole and says that it is ours: who knows."""
    a_capture(root.source / "a.dng")
    once(root)
    output = root.output / "a.dng"
    pixels = read_raw(output).mosaic
    overwrite_tile(output)
    changed = output.read_bytes()
    code, told = once(root)
    assert code == 0
    assert "another picture" in told.all("lost")[0]["reason"]
    assert output.read_bytes() == changed
    assert outputs(root) == {"a.dng", "a.dng.dng"}
    assert np.array_equal(read_raw(root.output / "a.dng.dng").mosaic, pixels)
    assert once(root)[1].all("lost") == []


def test_a_file_that_took_an_outputs_name_is_left_and_the_output_made_beside_it(root: Root) -> None:
    a_capture(root.source / "a.dng")
    once(root)
    shutil.copy(a_capture(root.source.parent / "theirs.dng", 5), root.output / "a.dng")
    theirs = (root.output / "a.dng").read_bytes()
    code, told = once(root)
    assert code == 0
    assert "is left as it is" in told.all("lost")[0]["reason"]
    assert (root.output / "a.dng").read_bytes() == theirs
    assert outputs(root) == {"a.dng", "a.dng.dng"}
    assert once(root)[1].all("lost") == []


def test_what_another_program_has_put_there_is_left_though_it_is_not_whole(root: Root) -> None:
    """As a card that failed leaves it: that may be all there is of it."""
    a_capture(root.source / "a.dng")
    once(root)
    theirs = root.output / "a.dng"
    write_dng(make_raw(48, 64), theirs, provenance=Provenance("0", "simulated", 0.0))
    theirs.write_bytes(theirs.read_bytes().replace(b"rawdenoise 0", b"Camera 1.0.0")[:-100])
    before = theirs.read_bytes()
    code, told = once(root)
    assert code == 0
    assert "is left as it is" in told.all("lost")[0]["reason"]
    assert theirs.read_bytes() == before
    assert outputs(root) == {"a.dng", "a.dng.dng"}


def test_an_output_folder_is_begun_anew(root: Root) -> None:
    for number in range(3):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    shutil.rmtree(root.output)
    code, told = once(root)
    assert (code, told.all("lost"), len(told.all("waiting"))) == (1, [], 1)
    assert states(root) == {"done": 3}  # its disk may only not be mounted
    root.output.mkdir()
    (root.output / MARKER).touch()
    code, told = once(root)
    assert (code, len(told.all("lost")), len(told.all("done"))) == (0, 3, 3)
    assert len(outputs(root)) == 3


def test_what_is_deleted_while_it_runs_comes_again(root: Root) -> None:
    a_capture(root.source / "a.dng")
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
        (root.output / "a.dng").unlink()
        assert soon(lambda: len(told.all("done")) == 2)
        assert soon(lambda: outputs(root) == {"a.dng"})
    assert len(told.all("lost")) == 1


def test_what_is_taken_away_is_left_at_that_where_it_is_said(root: Root) -> None:
    root = replace(root, lost="leave")
    for number in range(2):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    (root.output / "0.dng").unlink()
    cut(root.output / "1.dng")
    code, told = once(root)
    assert code == 0
    assert [each["output"] for each in told.all("lost")] == [str(root.output / "1.dng")]
    assert outputs(root) == {"1.dng"}
    assert once(root)[1].all("lost") == []
    for asked in ({"redo": True}, {"verify": True}):
        (root.output / "1.dng").unlink()
        assert len(once(root, **asked)[1].all("done")) >= 1
        assert outputs(root) == {"0.dng", "1.dng"}


def test_what_is_not_wanted_or_has_no_source_does_not_come_again(root: Root) -> None:
    for number in range(2):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    with Ledger(config_of(root).state, owner=False) as ledger:
        wanted = {job.output.name: job.id for job in ledger.jobs.select() if job.output is not None}
        assert ledger.requests.dismiss([wanted["0.dng"]]) == 1
    for path in root.output.glob("*.dng"):
        path.unlink()
    (root.source / "1.dng").unlink()
    code, told = once(root, redo=True)
    assert (code, told.all("done"), outputs(root)) == (0, [], set())


def test_a_lost_ledger_and_an_output_that_was_cut(root: Root) -> None:
    """What says of which content it is, is made again in its place; what says nothing may be anybody's."""
    for number in range(2):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    cut_last(root.output / "0.dng")
    cut(root.output / "1.dng")
    shutil.rmtree(config_of(root).state)
    code, told = once(root)
    assert (code, len(told.all("done")), told.all("found")) == (0, 2, [])
    assert outputs(root) == {"0.dng", "1.dng", "1.dng.dng"}
    read_raw(root.output / "0.dng")


def test_a_broken_ledger_makes_nothing_twice(root: Root) -> None:
    for number in range(3):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    (config_of(root).state / "ledger.sqlite3").write_bytes(b"nonsense" * 99)
    code, told = once(root)
    assert (code, told.all("done"), len(told.all("found"))) == (0, [], 3)
    assert once(root)[1].all("lost") == []


def test_a_disk_that_goes_away_while_it_is_looked_at_has_lost_nothing(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_capture(root.source / "a.dng")
    once(root)
    real = Inspector._judge

    def judge(self: Inspector, root: Root, kept: list[KeptOutput], **more: Any) -> int:
        root.output.rename(root.output.with_name("away"))
        return real(self, root, kept, **more)

    monkeypatch.setattr(Inspector, "_judge", judge)
    (root.output / "a.dng").rename(root.output / "b.dng")
    assert once(root)[1].all("lost") == []
    assert states(root) == {"done": 1}


def test_reading_ends_where_the_disk_went_away(root: Root) -> None:
    a_capture(root.source / "a.dng")
    once(root)
    (root.output / "a.dng").unlink()
    (root.output / MARKER).unlink()
    asked = count()
    with Ledger(config_of(root).state, owner=False) as ledger:
        inspector = Inspector(ledger, Told(), lambda: next(asked) > 100)
        assert inspector.read(root, inspector.clock().wall, again=True, all=True) == 0
    assert next(asked) < 10, "it looks at the same again and again"
    assert states(root) == {"done": 1}


def test_an_output_that_is_just_being_saved_is_not_judged(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_capture(root.source / "a.dng")
    once(root)
    output = root.output / "a.dng"
    whole = output.read_bytes()

    def go_on_saving(self: Inspector, seconds: float) -> bool:
        output.write_bytes(whole[:200])
        return True

    monkeypatch.setattr(Inspector, "_rest", go_on_saving)
    cut(output)
    assert once(root)[1].all("lost") == []
    assert output.read_bytes() == whole[:200]
    monkeypatch.undo()
    assert len(once(root)[1].all("lost")) == 1, "it was left at that"


# When contents are looked at


class AtOnce(Executor):
    """A pool that does it while it is asked."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*arguments, **more))
        return future


class Recorder:
    """What an inspector was asked for, and how many outputs it says there were to read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: int) -> None:
        self.found, self.asked = found, list[str]()
        monkeypatch.setattr(Inspector, "inspect", self._inspect)
        monkeypatch.setattr(Inspector, "read", self._read)

    def _inspect(self, root: Root, *, again: bool) -> int:
        self.asked.append(f"inspect {again}")
        return 0

    def _read(self, root: Root, since: float, *, again: bool, all: bool = False) -> int:
        self.asked.append(f"read {since:g} {again} {all}")
        return self.found


def rounds_of(root: Root, clock: Callable[[], Moment]) -> Rounds:
    with Ledger(config_of(root).state, owner=False) as ledger:
        inspector = Inspector(ledger, Told(), lambda: False, clock)
    return Rounds(inspector, root.source, AtOnce(), lambda: None, clock)


def test_contents_are_read_when_nothing_else_is_to_be_done(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, made, round = Moment(1e6, 50.0), Recorder(monkeypatch, 1), Round()
    rounds = rounds_of(root, lambda: at)
    rounds.step([(root, round)], idle=False)
    assert made.asked == []
    round.inspect = True
    rounds.step([(root, round)], idle=True)
    rounds.step([(replace(root, lost="leave"), round)], idle=True)
    assert made.asked == ["inspect True", f"read {1e6 - DAY_S:g} False False"]
    rounds.step([(root, round)], idle=False)
    made.found, made.asked = 0, []
    rounds.step([(root, round)], idle=True)
    rounds.step([(root, round)], idle=True)
    assert len(made.asked) == 1, "nothing was to be read: it rests"
    at = Moment(1e6, 50.0 + NOTHING_TO_READ_S)
    rounds.step([(root, round)], idle=True)
    assert len(made.asked) == 2


def test_a_look_that_fails_where_nobody_expects_it_stops_nothing(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Inspector, "inspect", fail)
    a_capture(root.source / "a.dng")
    code, told = once(root)
    assert (code, outputs(root)) == (0, {"a.dng"})
    assert "a bug" in told.all("refused")[0]["reason"]


def test_asked_for_everything_is_read_after_it_was_looked_at(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, round = Recorder(monkeypatch, 9), Round(inspect=True, verify=True, again=True)
    rounds = rounds_of(root, lambda: Moment(1e6, 5.0))
    root = replace(root, lost="leave")
    for _ in range(3):
        rounds.step([(root, round)], idle=False)
    assert made.asked == ["inspect True", "read 1e+06 True True"]
    assert not round.is_due
    assert not round.again


def test_a_days_reading_survives_a_clock_that_is_set(root: Root, tmp_path: Path) -> None:
    """Two days forward, and back again: each is read once more, none for ever or never."""
    with Ledger(config_of(root).state) as ledger:
        output = root.output / "a.dng"
        source = a_capture(root.source / "a.dng")
        found = Fingerprint(1, 1, "x")
        from rawdenoise.files.sources import signature_of

        signature = signature_of(source)
        assert signature is not None
        ledger.files.settle(source, root.output, signature, "ab", "r", Moment(1e6, 1.0))
        job = ledger.jobs.lease([root.output], Moment(1e6, 1.0), 60.0)
        assert job is not None
        ledger.jobs.claim(job, output)  # type: ignore[arg-type]
        ledger.jobs.finish(job, Moment(1e6, 1.0), JobResult(output=output, written=found))  # type: ignore[arg-type]

        def due(wall: float) -> int:
            some = ledger.outputs.list_unread(root.output, wall, wall - DAY_S, 9)
            for kept in some:
                ledger.outputs.note_look(kept, found, wall)
            return len(some)

        walls = [1e6 + 60, 1e6 + 2 * DAY_S, 1e6 + 60, 1e6 + 120]
        assert [due(wall) for wall in walls] == [0, 1, 1, 0]
        assert ledger.figures.count_states()[State.DONE] == 1


def test_what_lies_in_the_future_tells_nothing() -> None:
    assert [is_within(then, 100.0, 10.0) for then in (None, 89.0, 90.0, 100.0, 101.0)] == [
        False, False, True, True, False,
    ]  # fmt: skip
