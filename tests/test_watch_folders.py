"""Folders that come and go, by events and by polling; processes that share, die and are cleared away."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from conftest import soon
from watched import Told, a_capture, config_of, once, outputs, states, watching
from watched import _quickly as _quickly
from watched import root as root

from rawdenoise.app.stores import user_stores
from rawdenoise.atomic import TEMPORARY_MARK
from rawdenoise.watching import denoise_worker as worker
from rawdenoise.watching import root_watcher as watcher
from rawdenoise.watching import service
from rawdenoise.watching.clocks import now
from rawdenoise.watching.config import Root
from rawdenoise.watching.heartbeat import heartbeats
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.database import LedgerError
from rawdenoise.watching.ledger.file_index import FileIndex
from rawdenoise.watching.ledger.job_queue import JobQueue
from rawdenoise.watching.ledger.records import JobResult, QueuedJob, State
from rawdenoise.watching.names import ShotIndex
from rawdenoise.watching.reports import describe_event
from rawdenoise.watching.service import RunOptions, Service

# Folders


def test_a_folder_that_is_unmounted_and_comes_back(root: Root) -> None:
    a_capture(root.source / "a.dng", 0)
    once(root)
    away = root.source.rename(root.source.with_name("away"))
    a_capture(away / "b.dng", 1)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("waiting"))
        away.rename(root.source)
        assert soon(lambda: told.all("done"))
    assert [each["source"] for each in told.all("done")] == [str(root.source / "b.dng")]
    assert states(root) == {"done": 2}


@pytest.mark.parametrize("poll_s", [None, 0.1])
def test_by_events_and_by_polling(root: Root, poll_s: float | None) -> None:
    root = replace(root, poll_s=poll_s, settle_s=0.1, rescan_s=300.0)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("started"))
        time.sleep(0.3)
        a_capture(root.source / "new" / "folder" / "a.dng")
        assert soon(lambda: told.all("done"))
    assert outputs(root) == {"new/folder/a.dng"}
    assert bool(told.all("polling")) == (poll_s is not None)


def test_no_watches_left_is_polling(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher.Events, "start", lambda self: "the system's limit is reached")
    monkeypatch.setattr(watcher, "POLL_S", 0.1)
    with watching(replace(root, rescan_s=300.0)) as (_, told):
        assert soon(lambda: told.all("polling"))
        a_capture(root.source / "a.dng")
        assert soon(lambda: told.all("done"))
    assert len(told.all("polling")) == 1


def test_a_reload_takes_on_new_folders_and_drops_old_ones(root: Root) -> None:
    other = replace(root, source=root.source.with_name("in2"), output=root.output.with_name("out2"))
    other.source.mkdir()
    with watching(root) as (running, told):
        a_capture(root.source / "a.dng", 0)
        assert soon(lambda: told.all("done"))
        running.reload(config_of(other))
        assert soon(lambda: told.all("reloaded"))
        a_capture(root.source / "ignored.dng", 1)
        a_capture(other.source / "b.dng", 2)
        assert soon(lambda: len(told.all("done")) == 2)
    assert outputs(other) == {"b.dng"}
    assert outputs(root) == {"a.dng"}


@pytest.mark.parametrize("number", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_at_once(root: Root, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    root = replace(root, rescan_s=300.0)
    for each in range(number):
        (root.source / f"{each}.dng").write_bytes(each.to_bytes(4, "big"))
    seen: list[int] = []

    def work(self: worker.Worker, job: QueuedJob, *more: Any) -> worker.JobOutcome:
        seen.append(job.id)
        self._ledger.jobs.finish(job, now(), JobResult(output=None))
        return worker.JobOutcome()

    monkeypatch.setattr(worker.Worker, "work", work)
    assert once(root)[0] == 0
    assert len(seen) == len(set(seen)) == number
    assert states(root) == {"done": number}


# Processes


def test_two_watchers_share_the_work(root: Root) -> None:
    for number in range(20):
        a_capture(root.source / f"{number}.dng", number)
    with watching(root) as (_, one), watching(root) as (_, other):
        assert soon(lambda: len(one.all("done")) + len(other.all("done")) == 20)
        time.sleep(0.5)
        done = [each["source"] for each in one.all("done") + other.all("done")]
    assert len(done) == len(set(done)) == 20


KILLED = """
import os, signal, sys
from pathlib import Path
from rawdenoise.app.stores import user_stores
from rawdenoise.watching import denoise_worker as worker
from rawdenoise.recipe import Recipe
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.service import RunOptions, Service
class Silent:
    def say(self, event, **fields): pass
where = sys.argv[2]
def die(*arguments, **more): os.kill(os.getpid(), signal.SIGKILL)
if where == "written": worker.Worker._finish = die
if where == "reading": worker.run_file = die
if where == "writing":
    from rawdenoise.atomic import atomic_output
    def write(denoised, output, **more):
        with atomic_output(output) as temporary:
            temporary.write_bytes(b"half")
            die()
    worker.write = write
here = Path(sys.argv[1])
root = Root(here / "in", here / "out", Recipe(strength=0.0), settle_s=0.0, train="never")
with Ledger(here / "state") as ledger:
    config = WatchConfig((root,), here / "state")
    Service(config, user_stores(), ledger, Silent(), RunOptions(once=True)).run(lambda: False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("where", ["reading", "writing", "written"])
def test_killed_anywhere_nothing_is_lost_and_nothing_is_left(root: Root, where: str) -> None:
    import subprocess

    a_capture(root.source / "a.dng")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root.source.parent), where], check=False)
    assert killed.returncode == -9
    assert states(root) == {"running": 1}
    assert any(TEMPORARY_MARK in name for name in outputs(root)) == (where == "writing")
    code, told = once(root)
    assert (code, states(root), outputs(root)) == (0, {"done": 1}, {"a.dng"})
    assert len(told.all("found")) == (where == "written")
    assert len(told.all("reclaimed")) == 1


def test_a_capture_that_kills_its_process_is_given_up(root: Root) -> None:
    a_capture(root.source / "a.dng")
    with Ledger(config_of(root).state) as ledger:
        made = Service(config_of(root), user_stores(), ledger, Told(), RunOptions(once=True))
        made.run(lambda: False)
        (job,) = ledger.jobs.select()
        again = replace(job, crashes=root.attempts)
        with ThreadPoolExecutor(1) as network:
            outcome = made._scheduler._worker.work(again, root, network, ShotIndex())
    assert outcome.event == "quarantined"
    assert "died at it 3 times, with nothing else under way" in outcome.fields["reason"]


def test_what_was_cleared_arrives_anew_while_the_service_runs(root: Root) -> None:
    a_capture(root.source / "a.dng")
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
        with Ledger(config_of(root).state, owner=False) as ledger:
            assert ledger.requests.clear([State.DONE]) == 1
        assert soon(lambda: told.all("found"))
    assert outputs(root) == {"a.dng"}


def test_what_vanishes_before_it_settles_is_forgotten(root: Root) -> None:
    root = replace(root, settle_s=300.0)
    source = a_capture(root.source / "a.dng")
    with watching(root):
        assert soon(lambda: states(root) == {"seen": 1})
        source.unlink()
        assert soon(lambda: states(root) == {})


def test_a_heartbeat_is_there_as_long_as_the_service(root: Root) -> None:
    with watching(root):
        state = config_of(root).state
        assert soon(lambda: heartbeats(state, now()))
        (beat,) = heartbeats(state, now())
        assert beat.pid == os.getpid()
        assert [each.source for each in beat.roots] == [str(root.source)]
    assert heartbeats(state, now()) == []


def test_a_ledger_that_refuses_for_a_while_stops_nothing(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LEDGER_S", 0.05)
    monkeypatch.setattr(service, "LEDGER_S", 0.05)
    real, refusals = JobQueue.finish, iter([True] * 3)
    leases, lease = iter([True] * 3), JobQueue.lease

    def finish(self: JobQueue, *arguments: Any, **more: Any) -> bool:
        if next(refusals, False):
            raise LedgerError("database or disk is full")
        return real(self, *arguments, **more)

    def leased(self: JobQueue, *arguments: Any, **more: Any) -> Any:
        if next(leases, False):
            raise LedgerError("database or disk is full")
        return lease(self, *arguments, **more)

    monkeypatch.setattr(JobQueue, "finish", finish)
    monkeypatch.setattr(JobQueue, "lease", leased)
    a_capture(root.source / "a.dng")
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
    assert states(root) == {"done": 1}
    (waiting,) = told.all("waiting")
    assert describe_event("waiting", waiting) == "waiting: database or disk is full"


def test_sidecars_that_the_ledger_refuses_come_again(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root = replace(root, sidecars=True, poll_s=0.1)
    monkeypatch.setattr(service, "LEDGER_S", 0.05)
    real, refusals = FileIndex.find_job, iter([True])

    def find_job(self: FileIndex, *arguments: Any) -> QueuedJob | None:
        if next(refusals, False):
            raise LedgerError("database or disk is full")
        return real(self, *arguments)

    a_capture(root.source / "a.dng")
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
        monkeypatch.setattr(FileIndex, "find_job", find_job)
        (root.source / "a.xmp").write_text("an edit")
        assert soon(lambda: told.all("sidecar"))
    assert (root.output / "a.xmp").read_text() == "an edit"
    assert next(refusals, None) is None
