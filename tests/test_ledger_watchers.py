"""Several watchers of one ledger, of which some die or hang, and clocks that are set."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ledgers import LEASE_S, OUT, PHOTO, at, lease, settle, the
from ledgers import ledger as ledger

from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.job_queue import LONGEST_WAIT_S
from rawdenoise.watching.ledger.records import JobResult, QueuedJob, State, Wait


def test_two_watchers_share_the_work_and_do_nothing_twice(tmp_path: Path) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        assert one.owner != other.owner
        for number in range(40):
            settle(one, f"{number}", path=PHOTO.with_name(f"{number}"))
        taken: list[int] = []

        def work(ledger: Ledger) -> None:
            while isinstance(job := ledger.jobs.lease([OUT], at(1.0), LEASE_S), QueuedJob):
                taken.append(job.id)
                assert ledger.jobs.finish(job, at(2.0), JobResult(output=None))

        threads = [threading.Thread(target=work, args=(each,)) for each in (one, one, other, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == sorted(job.id for job in one.jobs.select())
        assert one.figures.count_states()[State.DONE] == 40


def test_a_living_watcher_keeps_its_jobs(tmp_path: Path) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        settle(one, "a")
        job = lease(one)
        assert other.jobs.reclaim(at(LEASE_S - 1)) == []
        one.jobs.renew(at(LEASE_S - 1), LEASE_S)
        assert other.jobs.reclaim(at(LEASE_S + 1)) == []
        assert not other.jobs.finish(job, at(1.0), JobResult(output=None))
        assert one.jobs.finish(job, at(1.0), JobResult(output=None))


def test_a_watcher_that_hangs_loses_its_jobs(tmp_path: Path) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        settle(one, "a")
        job = lease(one)
        assert one.jobs.reclaim(at(LEASE_S + 1)) == [], "its own"
        (back,) = other.jobs.reclaim(at(LEASE_S + 1))
        assert (back.id, back.state, back.attempts) == (job.id, State.READY, 0)
        assert lease(other, LEASE_S + 10).attempts == 1
        assert not one.jobs.finish(job, at(LEASE_S + 2), JobResult(output=None))


def test_a_killed_watcheris_dead_at_once(tmp_path: Path, ledger: Ledger) -> None:
    settle(ledger, "a")
    code = (
        "import sys, time; from pathlib import Path; from rawdenoise.watching.ledger import Ledger\n"
        "from rawdenoise.watching.clocks import Moment\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        f"print(ledger.jobs.lease([Path({str(OUT)!r})], Moment(1.0, 1.0), 1e9).owner, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as watcher:
        try:
            assert watcher.stdout is not None
            owner = watcher.stdout.readline().strip()
            assert ledger.jobs.select()[0].owner == owner
            assert ledger.jobs.reclaim(at(2.0)) == [], "it lives"
        finally:
            watcher.kill()  # SIGKILL, or what Windows has for it
    (back,) = ledger.jobs.reclaim(at(2.0))
    assert (back.state, back.attempts, back.owner) == (State.READY, 0, "")
    assert not (tmp_path / "owners" / f"{owner}.lock").exists()
    assert ledger.jobs.reclaim(at(3.0)) == []


def test_closing_gives_the_jobs_to_others(tmp_path: Path, ledger: Ledger) -> None:
    settle(ledger, "a")
    with Ledger(tmp_path) as other:
        lease(other)
    assert len(ledger.jobs.reclaim(at(1.0))) == 1
    assert [path.stem for path in (tmp_path / "owners").iterdir()] == [ledger.owner]


def test_looking_on_needs_no_owner(tmp_path: Path) -> None:
    with Ledger(tmp_path, owner=False) as ledger:
        assert ledger.owner == ""
        assert ledger.figures.count_states() == dict.fromkeys(State, 0)
        assert list((tmp_path / "owners").iterdir()) == []


# Crashes


def died(tmp_path: Path, contents: str, now: float = 0.0) -> None:
    """A watcher that died while it had these under way."""
    with Ledger(tmp_path) as watcher:
        for content in contents:
            settle(watcher, content, path=PHOTO.with_name(content))
        for _ in contents:
            lease(watcher, now)


def test_what_was_under_way_together_is_suspect_and_innocent(tmp_path: Path, ledger: Ledger) -> None:
    died(tmp_path, "ab")
    jobs = ledger.jobs.reclaim(at(1.0))
    assert [(job.suspect, job.crashes, job.attempts, job.due_at) for job in jobs] == [(True, 0, 0, 1.0)] * 2


def test_what_was_under_way_alone_has_the_crash_to_itself(tmp_path: Path, ledger: Ledger) -> None:
    due = []
    for crashes in range(1, 4):
        died(tmp_path, "a", 100.0 * crashes)
        (job,) = ledger.jobs.reclaim(at(100.0 * crashes))
        assert (job.suspect, job.crashes, job.attempts) == (True, crashes, 0)
        due.append(job.due_at - 100.0 * crashes)
    assert due == [0.0, 2.0, 4.0]


def test_a_suspect_is_run_alone(tmp_path: Path, ledger: Ledger) -> None:
    died(tmp_path, "ab")
    ledger.jobs.reclaim(at(0.0))
    settle(ledger, "c", 1.0, PHOTO.with_name("c"))
    assert ledger.jobs.lease([OUT], at(2.0), LEASE_S, alone=False) is Wait.ALONE
    suspect = lease(ledger, 2.0)
    assert (suspect.digest, suspect.suspect) == ("a", True)
    assert ledger.jobs.finish(suspect, at(3.0), JobResult(output=None))
    assert not the(ledger, suspect).suspect
    assert ledger.jobs.fail(lease(ledger, 3.0), at(4.0), "no picture", retry_in_s=5.0)
    assert [job.suspect for job in ledger.jobs.select()] == [False] * 3, "what failed has not killed"
    other = ledger.jobs.lease([OUT], at(4.0), LEASE_S, alone=False)
    assert isinstance(other, QueuedJob)
    assert other.digest == "c"


def test_what_is_given_back_untried_stays_suspect(tmp_path: Path, ledger: Ledger) -> None:
    died(tmp_path, "a")
    ledger.jobs.reclaim(at(0.0))
    ledger.jobs.release(lease(ledger, 0.0), at(1.0), "the disk is full")
    assert [(job.suspect, job.crashes) for job in ledger.jobs.select()] == [(True, 1)]
    assert ledger.jobs.fail(lease(ledger, 2.0), at(2.0), "given up", retry_in_s=None)
    assert ledger.requests.retry(at(3.0)) == 1
    assert [job.crashes for job in ledger.jobs.select()] == [0]


# Clocks


def test_the_wall_clock_moves_nothing_that_waits(ledger: Ledger) -> None:
    """Two days forward, two days back: leases and retries are by the clock that nobody sets."""
    settle(ledger, "a")
    for set_by in (0.0, 2e5, -2e5):
        job = ledger.jobs.lease([OUT], Moment(1e9 + set_by, 10.0), LEASE_S)
        assert isinstance(job, QueuedJob)
        ledger.jobs.renew(Moment(1e9 - set_by, 10.0), LEASE_S)
        assert ledger.jobs.fail(job, Moment(1e9 - set_by, 0.0), "busy", retry_in_s=10.0)
        assert ledger.jobs.lease([OUT], Moment(1e9 + 4 * set_by, 9.0), LEASE_S) is None


def test_a_lease_lasts_as_long_whatever_the_wall_clock_says(tmp_path: Path) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        settle(one, "a")
        lease(one)
        for set_by in (0.0, 2e5, -2e5):
            assert other.jobs.reclaim(Moment(1e9 + set_by, LEASE_S - 1)) == []


@pytest.mark.parametrize("state", [State.READY, State.FAILED])
def test_after_a_restart_of_the_machine_nothing_waits_for_the_old_clock(tmp_path: Path, state: State) -> None:
    with Ledger(tmp_path) as ledger:
        settle(ledger, "a", 5e6)
        if state is State.FAILED:
            assert ledger.jobs.fail(lease(ledger, 5e6), at(5e6), "busy", retry_in_s=LONGEST_WAIT_S)
    with Ledger(tmp_path) as ledger:
        assert ledger.jobs.reclaim(at(1.0)) == []
        assert lease(ledger, 1.0).digest == "a"


def test_what_waits_as_long_as_anything_may_goes_on_waiting(ledger: Ledger) -> None:
    settle(ledger, "a")
    assert ledger.jobs.fail(lease(ledger), at(1.0), "busy", retry_in_s=LONGEST_WAIT_S)
    ledger.jobs.reclaim(at(1.0))
    assert ledger.jobs.lease([OUT], at(LONGEST_WAIT_S), LEASE_S) is None
