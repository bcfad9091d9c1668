"""Processes that die or hang, clocks that are set, files that are none of ours: nothing is lost by them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import PATIENCE_S, soon
from watched import Told, a_capture, config_of, once, outputs, states, watching
from watched import _quickly as _quickly
from watched import root as root

from rawdenoise.app.stores import user_stores
from rawdenoise.atomic import TEMPORARY_MARK
from rawdenoise.cli import main
from rawdenoise.watching import denoise_worker as worker
from rawdenoise.watching import late_sidecars
from rawdenoise.watching import root_watcher as watcher
from rawdenoise.watching.clocks import Moment, now
from rawdenoise.watching.config import Root
from rawdenoise.watching.heartbeat import HEARTBEATS_FOLDER, Heartbeat, heartbeats
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.database import LedgerBrokenError
from rawdenoise.watching.ledger.job_queue import JobQueue
from rawdenoise.watching.ledger.records import State
from rawdenoise.watching.service import RunOptions, Service
from rawdenoise.watching.trainer import Trainer

SERVICE = """
import os, signal, sys, time
from pathlib import Path
from rawdenoise.watching import service
from rawdenoise.watching import denoise_worker as worker
from rawdenoise.cli import main
real = worker.run_file
def run_file(job, *more):
    if job.source.name.startswith("kills"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.source.name.startswith("hangs"):
        Path("hanging").touch()
        time.sleep(3600)
    return real(job, *more)
worker.run_file = run_file
service.STOP_S = float(sys.argv[1])
words = "watch in -o out --state state --strength 0 --settle 0 --train never --log-json".split()
main([*words, *sys.argv[2:]])
"""


def start(folder: Path, *more: str, stop_s: float = 0.5) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SERVICE, str(stop_s), *more]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_what_kills_the_process_is_given_up_and_nothing_beside_it(root: Root) -> None:
    """Good ones are under way with it each time, and older ones wait behind it."""
    for name in ("a", "kills", "m", "z"):
        a_capture(root.source / f"{name}.dng", ord(name[0]))
    codes = []
    while len(codes) < 9 and (not codes or codes[-1] == -signal.SIGKILL):
        with start(root.source.parent, "--once", "--attempts", "2", "-j", "3") as process:
            process.communicate()
            codes.append(process.returncode)
    assert codes[-1] == 1  # one was given up
    assert len(codes) <= 4, "it had company once, and died alone twice"
    assert outputs(root) == {"a.dng", "m.dng", "z.dng"}
    assert states(root) == {"done": 3, "quarantined": 1}
    with Ledger(config_of(root).state, owner=False) as ledger:
        (bad,) = ledger.jobs.select(states=(State.QUARANTINED,))
    assert bad.paths == (root.source / "kills.dng",)
    assert "died at it 2 times, with nothing else under way" in bad.reason


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_sigterm_ends_it_though_a_decoder_hangs(root: Root) -> None:
    a_capture(root.source / "hangs.dng")
    folder = root.source.parent
    with start(folder) as process:
        try:
            assert soon((folder / "hanging").exists)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE_S)  # else it waits for its thread, for ever
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(said.splitlines()[-1])["event"] == "stopped"
    assert states(root) == {"ready": 1}
    with Ledger(config_of(root).state, owner=False) as ledger:
        (job,) = ledger.jobs.select()
    assert (job.attempts, job.crashes, job.suspect) == (0, 0, False)
    assert not any(TEMPORARY_MARK in name for name in outputs(root))
    assert list((folder / "state" / HEARTBEATS_FOLDER).iterdir()) == []


def test_a_stop_is_heard_amid_a_scan(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (root.source / f"{number}.dng").write_bytes(b"x")
    root = replace(root, settle_s=300.0)
    monkeypatch.setattr(watcher, "FILES_AT_ONCE", 10)
    looks = itertools.count()
    with Ledger(config_of(root).state) as ledger:
        watch = Service(config_of(root), user_stores(), ledger, Told())
        watch.run(lambda: next(looks) > 2)
        assert 0 < len(watch._watchers[0].tracker) < 50


def test_a_suspect_has_the_process_to_itself(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        a_capture(root.source / f"{number}.dng", number)
    with Ledger(config_of(root).state) as ledger:  # which dies while it has both of them
        watch = Service(config_of(root), user_stores(), ledger, Told(), RunOptions(once=True))
        monkeypatch.setattr(watch._scheduler, "hand_out", lambda watchers: None)
        stop = threading.Event()
        thread = threading.Thread(target=watch.run, args=(stop.is_set,))
        thread.start()
        assert soon(lambda: ledger.figures.count_states()[State.READY] == 2)
        stop.set()
        thread.join()
        for _ in range(2):
            ledger.jobs.lease([root.output], now(), 60.0)
    for number in range(2, 6):  # behind them in the queue
        a_capture(root.source / f"{number}.dng", number)
    real, under_way, beside = worker.run_file, set[str](), dict[str, set[str]]()

    def run_file(job: Any, *more: Any) -> Any:
        name = job.source.name
        under_way.add(name)
        for each in under_way:
            beside.setdefault(each, set()).update(under_way)
        time.sleep(0.05)
        try:
            return real(job, *more)
        finally:
            under_way.discard(name)

    monkeypatch.setattr(worker, "run_file", run_file)
    code, told = once(root)
    suspects = {Path(each["source"]).name for each in told.all("reclaimed")}
    assert (code, len(suspects), states(root)) == (0, 2, {"done": 6})
    assert all(beside[name] == {name} for name in suspects)


# Clocks


def test_a_clock_that_is_set_all_the_time_disturbs_nothing(root: Root) -> None:
    """Two days forward and back at every look: captures are done, garbage is given up, nothing waits."""
    a_capture(root.source / "a.dng")
    (root.source / "bad.dng").write_bytes(b"no raw" * 99)
    os.utime(root.source / "a.dng", (4e9, 4e9))  # and a camera whose clock is ahead
    jumps = itertools.cycle([0.0, 2e5, -2e5])
    config, told, stop = config_of(root), Told(), threading.Event()

    def clock() -> Moment:
        return Moment(time.time() + next(jumps), time.monotonic())

    with Ledger(config.state) as ledger:
        thread = threading.Thread(
            target=Service(config, user_stores(), ledger, told, clock=clock).run, args=(stop.is_set,)
        )
        thread.start()
        try:
            assert soon(lambda: told.all("done") and told.all("quarantined"))
            (beat,) = heartbeats(config.state, Moment(0.0, time.monotonic()))
        finally:
            stop.set()
            thread.join()
    assert 0 <= beat.silent_s < 600
    assert [each["attempts"] for each in told.all("failed")] == [1, 2]
    assert told.all("reclaimed") == []


def test_a_training_is_due_by_the_clock_that_nobody_sets(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    monkeypatch.setattr(Trainer, "step", lambda self, now, *, idle: times.append(now))
    with Ledger(config_of(root).state) as ledger:
        Service(config_of(root), user_stores(), ledger, Told(), clock=lambda: Moment(1e9, 77.0)).run(
            lambda: bool(times)
        )
    assert times == [77.0]


# What is none of ours


NO_HEARTBEATS = [
    b"", b"{", b"[]", b"42", b"null", b'"x"', b"\xff\xfe", b"{}", b"[" * 100_000,
    b'{"pid": 1, "steady": "x", "time": 0, "running_s": 0}',
    b'{"pid": 1, "steady": 0, "time": 0, "running_s": 0, "roots": [7]}',
    b'{"pid": null, "steady": 0, "time": 0, "running_s": 0}',
]  # fmt: skip


def test_heartbeats_that_are_none_are_passed_over(root: Root) -> None:
    state = config_of(root).state
    with Ledger(state) as ledger:
        beat = Heartbeat(state, ledger.owner)
        beat.beat(lambda: {"roots": [{"source": "in", "output": "out", "mode": "events", "files": 3}]})
        for number, data in enumerate(NO_HEARTBEATS):
            (state / HEARTBEATS_FOLDER / f"{number:016x}.json").write_bytes(data)
        (state / HEARTBEATS_FOLDER / "folder.json").mkdir()
        assert [each.owner for each in heartbeats(state, now())] == [ledger.owner]
        shown = CliRunner().invoke(main, ["watch", "--status", "--state", str(state)])
    assert shown.exit_code == 0
    assert "in -> out (events, 3 files)" in " ".join(shown.stdout.split())


def test_how_long_a_service_has_been_silent_is_by_the_clock_that_nobody_sets(tmp_path: Path) -> None:
    at = Moment(1e9, 100.0)
    beat = Heartbeat(tmp_path, "x", lambda: at)
    at = Moment(1e9 - 2e5, 130.0)
    beat.beat(dict)
    (told,) = heartbeats(tmp_path, Moment(1e9 + 2e5, 150.0))
    assert (told.silent_s, told.age_s) == (20.0, 50.0)
    (told,) = heartbeats(tmp_path, Moment(1e9 - 2e5 + 7, 3.0))  # the machine was started since
    assert told.silent_s == 7.0


def test_only_what_the_dead_left_is_swept(root: Root) -> None:
    root = replace(root, failed_dir=root.source.parent / "failed")
    a_capture(root.source / "a.dng")
    once(root)
    state = config_of(root).state
    mine = [
        root.output / f"{TEMPORARY_MARK}notes.txt",
        root.output / "deep" / f"{TEMPORARY_MARK}12345678-a.dng",
    ]
    code = "import os, sys; from rawdenoise.atomic import _name_temporary; from pathlib import Path\n" + (
        "for name in sys.argv[1:]: _name_temporary(Path(name)).write_bytes(b'half')"
    )
    for folder in (root.output / "deep", root.source.parent / "failed"):
        folder.mkdir()
    left = [
        root.output / "a.dng",
        root.output / "deep" / "b.dng",
        state / "x.json",
        root.source / "../failed/c",
    ]
    subprocess.run([sys.executable, "-c", code, *map(str, left)], check=True)
    for path in mine:
        path.write_bytes(b"mine")
        os.utime(path, (0, 0))
    assert once(root)[0] == 0
    assert set(root.source.parent.rglob(f"{TEMPORARY_MARK}*")) == set(mine)


def test_a_ledger_that_breaks_while_it_runs_ends_the_run_so_that_it_is_begun_anew(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    real, calls = JobQueue.lease, itertools.count()

    def lease(self: JobQueue, *arguments: Any, **more: Any) -> Any:
        if next(calls) == 1:
            (config_of(root).state / "ledger.sqlite3").write_bytes(b"nonsense" * 99)
            raise LedgerBrokenError("database disk image is malformed")
        return real(self, *arguments, **more)

    monkeypatch.setattr(JobQueue, "lease", lease)
    folder = root.source.parent
    words = [
        "--state",
        str(folder / "state"),
        "--once",
        "--settle",
        "0",
        "--strength",
        "0",
        "--train",
        "never",
    ]
    run = CliRunner().invoke(main, ["watch", str(root.source), "-o", str(root.output), *words])
    assert run.exit_code == 0, run.stderr
    assert "malformed" in run.stderr
    assert "a new one was begun" in run.stderr
    assert run.stderr.count("(was done already)") == 3
    assert len(outputs(root)) == 3


# Many


def test_pairs_cost_one_look_at_their_folder_a_scan(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root = replace(root, sidecars=True, rescan_s=300.0)
    for number in range(10):
        a_capture(root.source / f"{number}.dng", number)
        (root.source / f"{number}.JPG").write_bytes(b"a camera's")
    real, looks = os.scandir, list[str]()

    def scandir(path: Any) -> Any:
        looks.append(os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert once(root)[0] == 0
    assert len([path for path in outputs(root) if path.endswith(".JPG")]) == 10
    for number in range(10):
        (root.source / f"{number}.dng.xmp").write_bytes(b"later")
    assert once(root)[0] == 0
    assert len(outputs(root)) == 30
    assert looks.count(str(root.source)) == 2


def test_a_sidecar_is_copied_without_holding_up_the_rest(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that hangs while a sound is copied: captures are done, and the service lives."""
    root = replace(root, sidecars=True)
    a_capture(root.source / "a.dng", 0)
    once(root)
    (root.source / "a.wav").write_bytes(b"sound")
    release, copying = threading.Event(), threading.Event()

    def copy(*arguments: Any) -> list[Path]:
        copying.set()
        release.wait(300)
        return []

    monkeypatch.setattr(late_sidecars, "copy_sidecars", copy)
    with watching(root) as (_, told):
        try:
            assert soon(copying.is_set)
            a_capture(root.source / "b.dng", 1)
            assert soon(lambda: told.all("done"))
        finally:
            release.set()
