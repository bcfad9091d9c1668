"""The ledger: every state and transition, several watchers, and what must survive."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rawdenoise.watching.ledger import NAME, Job, Ledger, LedgerError, State
from rawdenoise.watching.tracker import Signature

OUT, OTHER = Path("/photos/out"), Path("/photos/other")
A, B = Path("/photos/in/a.dng"), Path("/photos/in/b.dng")
LEASE_S = 60.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as ledger:
        yield ledger


def signature(number: int = 1) -> Signature:
    return Signature(100 + number, number, number, 1)


def settle(ledger: Ledger, path: Path = A, content: str = "aa", now: float = 10.0, root: Path = OUT) -> Job:
    return ledger.settle(path, root, signature(hash(content) % 99), content, "recipe", now)


def lease(ledger: Ledger, now: float = 20.0) -> Job:
    job = ledger.lease([OUT, OTHER], now, LEASE_S)
    assert job is not None
    return job


def state(ledger: Ledger, job: Job) -> Job:
    (found,) = ledger.jobs(ids=(job.id,))
    return found


def finish(ledger: Ledger, output: Path = OUT / "a.dng", now: float = 30.0, model: str = "base-1") -> Job:
    job = lease(ledger)
    assert ledger.claim(job, output)
    assert ledger.done(job, now, output=output, camera="Cam", model_id=model, gain_db=3.0)
    return state(ledger, job)


# On the way


def test_from_seen_to_done(ledger: Ledger) -> None:
    ledger.see([(A, signature()), (B, signature())], OUT, 5.0)
    assert {path for path, _ in ledger.seen()} == {A, B}
    assert list(ledger.known(OUT)) == []
    job = settle(ledger)
    assert (job.state, job.attempts, job.paths, job.ready_at) == (State.READY, 0, (A,), 10.0)
    assert [path for path, _ in ledger.seen()] == [B]
    running = lease(ledger)
    assert (running.id, running.state, running.attempts) == (job.id, State.RUNNING, 1)
    assert ledger.lease([OUT], 20.0, LEASE_S) is None
    assert ledger.claim(running, OUT / "a.dng")
    assert ledger.done(running, 30.0, output=OUT / "a.dng", camera="Cam", model_id="base-1", gain_db=3.5)
    done = state(ledger, job)
    assert (done.state, done.output, done.camera, done.gain_db, done.finished_at) == (
        State.DONE, OUT / "a.dng", "Cam", 3.5, 30.0,
    )  # fmt: skip
    assert [path for path, _ in ledger.known(OUT)] == [A]
    assert ledger.counts() == {**dict.fromkeys(State, 0), State.SEEN: 1, State.DONE: 1}


def test_the_longest_waiting_first_and_only_of_these_outputs(ledger: Ledger) -> None:
    settle(ledger, A, "late", 11.0)
    settle(ledger, B, "early", 10.0)
    settle(ledger, A, "elsewhere", 9.0, OTHER)
    leased = [ledger.lease([OUT], 20.0, LEASE_S) for _ in range(3)]
    assert [job.digest if job else None for job in leased] == ["early", "late", None]


def test_the_same_content_again_is_the_same_job(ledger: Ledger) -> None:
    settle(ledger)
    finish(ledger)
    again = settle(ledger, B)
    assert again.state is State.DONE
    assert set(again.paths) == {A, B}
    assert ledger.lease([OUT], 99.0, LEASE_S) is None
    assert settle(ledger, A, root=OTHER).state is State.READY  # for another output it is another job


def test_what_failed_is_due_again_later(ledger: Ledger) -> None:
    settle(ledger)
    job = lease(ledger)
    assert ledger.fail(job, 21.0, "no", retry_at=50.0)
    assert (state(ledger, job).state, state(ledger, job).reason) == (State.FAILED, "no")
    assert ledger.lease([OUT], 49.0, LEASE_S) is None
    assert lease(ledger, 50.0).attempts == 2


def test_what_is_given_up_stays_so_until_it_is_asked_for(ledger: Ledger) -> None:
    settle(ledger)
    job = lease(ledger)
    assert ledger.fail(job, 21.0, "broken", retry_at=None)
    assert settle(ledger).state is State.QUARANTINED
    assert ledger.lease([OUT], 1e9, LEASE_S) is None
    ledger.forget([A], OUT)
    assert state(ledger, job).state is State.QUARANTINED
    assert ledger.retry(60.0) == 1
    assert lease(ledger, 60.0).attempts == 1


def test_a_release_does_not_count(ledger: Ledger) -> None:
    settle(ledger)
    job = lease(ledger)
    assert ledger.release(job, 21.0, 40.0, "disk full")
    assert (state(ledger, job).attempts, state(ledger, job).state) == (0, State.READY)
    assert ledger.lease([OUT], 39.0, LEASE_S) is None
    assert lease(ledger, 40.0).attempts == 1


# Files that change


def test_content_that_changes_before_it_is_begun_drops_its_job(ledger: Ledger) -> None:
    old = settle(ledger)
    new = settle(ledger, A, "bb")
    assert ledger.jobs(ids=(old.id,)) == []
    assert new.replaces is None


def test_content_that_changes_after_it_was_done_replaces_its_output(ledger: Ledger) -> None:
    settle(ledger)
    old = finish(ledger)
    new = settle(ledger, A, "bb")
    assert new.replaces == OUT / "a.dng"
    job = lease(ledger)
    assert ledger.claim(job, OUT / "a.dng")  # the name passes on
    assert state(ledger, old).output is None
    assert ledger.done(job, 40.0, output=OUT / "a.dng")
    assert state(ledger, job).replaces is None


def test_content_that_is_also_elsewhere_replaces_nothing(ledger: Ledger) -> None:
    settle(ledger)
    settle(ledger, B)
    finish(ledger)
    assert settle(ledger, A, "bb").replaces is None


def test_what_vanishes_is_forgotten_unless_it_was_done(ledger: Ledger) -> None:
    waiting, done = settle(ledger, A, "aa"), settle(ledger, B, "bb", 5.0)
    assert finish(ledger, OUT / "b.dng").id == done.id
    ledger.forget([A, B, Path("/never/seen.dng")], OUT)
    assert ledger.jobs(ids=(waiting.id,)) == []
    assert state(ledger, done).state is State.DONE
    assert list(ledger.known(OUT)) == []


def test_the_files_of_a_job_are_as_they_settled(ledger: Ledger) -> None:
    job = ledger.settle(A, OUT, signature(4), "aa", "recipe", 1.0)
    assert ledger.files_of(job) == [(A, signature(4))]
    assert ledger.job_of(A, OUT) == job
    assert ledger.job_of(B, OUT) is None


# Names of outputs


def test_a_name_belongs_to_one_job(ledger: Ledger) -> None:
    settle(ledger, A, "aa", 1.0)
    settle(ledger, B, "bb", 2.0)
    first, second = lease(ledger), lease(ledger)
    assert ledger.claim(first, OUT / "Ü.dng")
    assert ledger.claim(first, OUT / "Ü.dng")
    assert not ledger.claim(second, OUT / "ü.DNG")  # the same, on many file systems
    assert ledger.claim(second, OUT / "u.dng")
    assert ledger.done(first, 3.0, output=None, reason="not wanted")
    assert ledger.claim(second, OUT / "ü.dng")  # free again


# Several watchers


def test_two_watchers_never_get_the_same_job(tmp_path: Path) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        for number in range(60):
            settle(one, Path(f"/in/{number}.dng"), f"{number}")
        taken: dict[str, list[int]] = {one.owner: [], other.owner: []}

        def work(ledger: Ledger) -> None:
            while (job := ledger.lease([OUT], 20.0, LEASE_S)) is not None:
                taken[ledger.owner].append(job.id)

        threads = [threading.Thread(target=work, args=(each,)) for each in (one, other, one)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        both = [*taken[one.owner], *taken[other.owner]]
        assert len(both) == len(set(both)) == 60
        assert one.reclaim(21.0) == []  # both are alive


def test_a_lease_that_is_over_is_lost(tmp_path: Path) -> None:
    with Ledger(tmp_path) as hung, Ledger(tmp_path) as other:
        settle(hung)
        job = lease(hung)
        hung.renew(70.0, LEASE_S)
        assert other.reclaim(129.0) == []
        (again,) = other.reclaim(131.0)
        assert (again.id, again.attempts, again.state) == (job.id, 1, State.READY)
        assert lease(other, 140.0).id == job.id
        assert not hung.done(job, 141.0, output=OUT / "a.dng")
        assert not hung.fail(job, 141.0, "late", retry_at=None)
        assert not hung.release(job, 141.0, 141.0)
        assert other.done(job, 142.0, output=OUT / "a.dng")


KILLED = """
import os, signal, sys
from pathlib import Path
from rawdenoise.watching.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
job = ledger.lease([Path("/photos/out")], 20.0, 1e9)
ledger.claim(job, Path("/photos/out/a.dng"))
print(ledger.owner, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_watcher_that_was_killed_is_known_to_be_dead(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        job = settle(ledger)
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, check=False
        )
        owner = killed.stdout.decode().strip()
        assert killed.returncode == -9
        assert state(ledger, job).owner == owner
        (reclaimed,) = ledger.reclaim(21.0)
        assert (reclaimed.id, reclaimed.output) == (job.id, OUT / "a.dng")
        assert not (tmp_path / "owners" / f"{owner}.lock").exists()
        assert lease(ledger, 21.0).attempts == 2


def test_one_that_is_killed_again_and_again_waits_longer(ledger: Ledger, tmp_path: Path) -> None:
    settle(ledger)
    dues, now = [], 20.0
    for _ in range(4):
        with Ledger(tmp_path) as other:
            job = other.lease([OUT], now, 1.0)
            assert job is not None
        (again,) = ledger.reclaim(now + 2)
        dues.append(again.due_at - now - 2)
        now = again.due_at + 1
    assert dues == sorted(dues)
    assert dues[0] == 0 < dues[-1]


# By request


def test_redo_makes_due_what_another_recipe_or_model_did(ledger: Ledger) -> None:
    settle(ledger)
    job = finish(ledger)
    assert ledger.redo(OUT, "recipe", 50.0, lambda job: True) == 0
    assert ledger.redo(OTHER, "other", 50.0, lambda job: False) == 0
    assert ledger.redo(OUT, "recipe", 50.0, lambda job: job.model_id != "base-1") == 1
    again = state(ledger, job)
    assert (again.state, again.redo, again.attempts, again.model_id) == (State.READY, True, 0, "base-1")
    assert ledger.claim(lease(ledger, 60.0), OUT / "a.dng")
    assert ledger.done(job, 61.0, output=OUT / "a.dng", model_id="own")
    assert (state(ledger, job).redo, state(ledger, job).model_id) == (False, "own")
    assert ledger.redo(OUT, "new recipe", 70.0, lambda job: True) == 1
    assert state(ledger, job).recipe == "new recipe"


def test_clear_forgets_all_but_what_runs(ledger: Ledger) -> None:
    running, waiting = settle(ledger, A, "aa", 1.0), settle(ledger, B, "bb", 2.0)
    lease(ledger)
    assert ledger.clear([State.READY, State.RUNNING]) == 1
    assert [job.id for job in ledger.jobs()] == [running.id]
    assert settle(ledger, B, "bb").id != waiting.id
    assert ledger.get_fact("cleared") == "1"


def test_figures(ledger: Ledger) -> None:
    for number in range(10):
        settle(ledger, Path(f"/in/{number}.dng"), f"{number}", now=10.0)
        finish(ledger, OUT / f"{number}.dng", now=11.0 + number, model=("base-1", "own")[number % 2])
    settle(ledger, A, "waiting", now=15.0)
    stats = ledger.stats(200.0)
    assert (stats.done_last_hour, stats.done_last_day, stats.attempts) == (10, 10, 10)
    assert (stats.latency_p50_s, stats.latency_p95_s, stats.oldest_waiting_s) == (6.0, 10.0, 185.0)
    assert ledger.stats(1e6).done_last_day == 0
    assert ledger.cameras("base-") == {"Cam": 5}
    assert ledger.captures_of("Cam", "base-") == [Path(f"/in/{number}.dng") for number in (8, 6, 4, 2, 0)]
    assert ledger.has_ready(1)
    assert not ledger.has_ready(2)


def test_what_is_still_to_come_is_counted(ledger: Ledger) -> None:
    settle(ledger, A, "aa", 1.0)
    job = lease(ledger)
    ledger.release(job, 21.0, 30.0)
    assert ledger.due([OUT], 21.0) == 1  # within a minute
    assert ledger.due([OTHER], 21.0) == 0
    ledger.fail(lease(ledger, 30.0), 31.0, "no", retry_at=40.0)
    assert ledger.due([OUT], 31.0) == 0
    assert ledger.due([OUT], 40.0) == 1


# What it survives


def test_names_need_not_be_unicode(ledger: Ledger) -> None:
    path = Path(os.fsdecode(b"/in/\xff\n.dng")) if os.name == "posix" else Path("C:/in/ü.dng")
    assert settle(ledger, path).paths == (path,)


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        job = settle(ledger)
        ledger.set_fact("output /x", "marked")
        ledger.set_fact("output /x", "again")
    assert list((tmp_path / "owners").iterdir()) == []
    with Ledger(tmp_path, owner=False) as ledger:
        assert ledger.jobs() == [job]
        assert ledger.get_fact("output /x") == "again"
        assert ledger.get_fact("never") is None
        assert ledger.note == ""


@pytest.mark.parametrize("damage", ["no database at all" * 500, ""])
def test_a_damaged_ledger_is_moved_aside(tmp_path: Path, damage: str) -> None:
    with Ledger(tmp_path) as ledger:
        for number in range(300):
            settle(ledger, Path(f"/in/{number}.dng"), f"{number}")
    file = tmp_path / NAME
    if damage:
        file.write_text(damage)
    else:  # a hole in the middle
        with file.open("r+b") as damaged:
            damaged.seek(8192)
            damaged.write(b"\xa5" * 16384)
    with Ledger(tmp_path) as ledger:
        assert "damaged" in ledger.note
        assert ledger.jobs() == []
        settle(ledger)
    (aside,) = [
        path for path in tmp_path.glob(f"{NAME}.damaged-*") if not path.name.endswith(("-wal", "-shm"))
    ]
    assert aside.stat().st_size > 0


def test_a_newer_ledger_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="newer rawdenoise"):
        Ledger(tmp_path)


def test_a_full_disk_is_one_clear_line_and_changes_nothing(ledger: Ledger) -> None:
    settle(ledger)
    job = lease(ledger)
    pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="full") as caught:
        for number in range(10_000):
            settle(ledger, Path(f"/in/{number}.dng"), f"{number}")
    assert "\n" not in str(caught.value)
    ledger._connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.done(job, 30.0, output=None)
    assert len(list(ledger.known(OUT))) == len(ledger.jobs())


def test_a_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(tmp_path / "file")
