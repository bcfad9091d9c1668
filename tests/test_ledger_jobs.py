"""Jobs on their way from seen to done, and what people ask of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import LEASE_S, OUT, PHOTO, at, do, lease, settle, signature, the, wall
from ledgers import ledger as ledger

from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import JobResult, State


def test_a_file_is_seen_until_it_settles(ledger: Ledger) -> None:
    ledger.files.see([(PHOTO, signature("a"))], OUT, 5.0)
    assert ledger.files.list_unsettled() == [(PHOTO, 5.0)]
    assert ledger.figures.count_states()[State.SEEN] == 1
    assert list(ledger.files.list_settled(OUT)) == []

    job = settle(ledger, "a", 6.0)

    assert (job.state, job.paths, job.ready_at, job.attempts) == (State.READY, (PHOTO,), wall(6.0), 0)
    assert ledger.files.list_unsettled() == []
    assert ledger.figures.count_states()[State.SEEN] == 0
    assert list(ledger.files.list_settled(OUT)) == [(PHOTO, signature("a"))]
    assert list(ledger.files.list_settled(Path("/elsewhere"))) == []


def test_seeing_a_settled_file_again_changes_nothing(ledger: Ledger) -> None:
    settle(ledger, "a")
    ledger.files.see([(PHOTO, signature("b"))], OUT, 9.0)
    assert list(ledger.files.list_settled(OUT)) == [(PHOTO, signature("a"))]


def test_a_lease_makes_running_and_counts_the_attempt(ledger: Ledger) -> None:
    settle(ledger, "a")
    job = lease(ledger, 3.0)
    assert (job.state, job.attempts, job.started_at, job.owner) == (State.RUNNING, 1, wall(3.0), ledger.owner)
    assert ledger.jobs.lease([OUT], at(4.0), LEASE_S) is None


def test_only_asked_for_output_folders_are_leased(ledger: Ledger) -> None:
    settle(ledger, "a")
    assert ledger.jobs.lease([Path("/elsewhere")], at(1.0), LEASE_S) is None
    assert ledger.jobs.lease([], at(1.0), LEASE_S) is None


def test_the_longest_due_goes_first(ledger: Ledger) -> None:
    for content, now in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        settle(ledger, content, now, PHOTO.with_name(content))
    assert [lease(ledger, 5.0).digest for _ in range(3)] == ["early", "middle", "late"]


def test_done_says_what_was_made(ledger: Ledger) -> None:
    job = do(ledger, "a")
    assert (job.state, job.finished_at, job.output) == (State.DONE, wall(1.0), OUT / "IMG_0001.dng")
    assert (job.camera, job.model_id, job.gain_db, job.owner) == ("Canon", "base-1", 6.0, "")
    assert ledger.jobs.lease([OUT], at(1e9), LEASE_S) is None


def test_done_without_an_output_leaves_its_name_to_others(ledger: Ledger) -> None:
    settle(ledger, "ours")
    job = lease(ledger)
    assert ledger.jobs.claim(job, OUT / "x.dng")
    assert ledger.jobs.finish(job, at(1.0), JobResult(output=None, reason="was made by us"))
    assert (the(ledger, job).output, the(ledger, job).reason) == (None, "was made by us")
    settle(ledger, "b", path=PHOTO.with_name("b"))
    assert ledger.jobs.claim(lease(ledger), OUT / "x.dng")


def test_a_failure_is_tried_again_when_its_time_has_come(ledger: Ledger) -> None:
    settle(ledger, "a")
    assert ledger.jobs.fail(lease(ledger), at(1.0), "busy", retry_in_s=10.0)
    (job,) = ledger.jobs.select()
    assert (job.state, job.reason, job.due_at, job.attempts) == (State.FAILED, "busy", 11.0, 1)
    assert ledger.jobs.lease([OUT], at(10.9), LEASE_S) is None
    assert lease(ledger, 11.0).attempts == 2


def test_what_is_given_up_stays_so_until_it_is_asked_for(ledger: Ledger) -> None:
    settle(ledger, "a")
    assert ledger.jobs.fail(lease(ledger), at(1.0), "no picture", retry_in_s=None)
    assert settle(ledger, "a", 2.0).state is State.QUARANTINED
    assert ledger.jobs.lease([OUT], at(1e9), LEASE_S) is None

    assert ledger.requests.retry(at(20.0)) == 1

    job = lease(ledger, 20.0)
    assert job.attempts == 1


def test_what_is_given_back_has_not_been_tried(ledger: Ledger) -> None:
    settle(ledger, "a")
    assert ledger.jobs.release(lease(ledger), at(1.0), "disk full", due_in_s=30.0)
    (job,) = ledger.jobs.select()
    assert (job.state, job.attempts, job.reason, job.due_at) == (State.READY, 0, "disk full", 31.0)
    assert ledger.jobs.lease([OUT], at(30.0), LEASE_S) is None


@pytest.mark.parametrize("end", ["done", "fail", "release"])
def test_only_what_is_still_held_can_be_ended(ledger: Ledger, end: str) -> None:
    settle(ledger, "a")
    job = lease(ledger)
    ends = {
        "done": lambda: ledger.jobs.finish(job, at(2.0), JobResult(output=None)),
        "fail": lambda: ledger.jobs.fail(job, at(2.0), "late", retry_in_s=None),
        "release": lambda: ledger.jobs.release(job, at(2.0)),
    }
    assert ledger.jobs.release(job, at(1.0))
    before = ledger.jobs.select()
    assert not ends[end]()
    assert ledger.jobs.select() == before


# Names of outputs


def test_an_output_is_one_jobs_only_however_it_is_spelled(ledger: Ledger) -> None:
    first, second = (settle(ledger, content, path=PHOTO.with_name(content)) for content in ("a", "b"))
    assert ledger.jobs.claim(first, OUT / "Ünï.dng")
    assert not ledger.jobs.claim(second, OUT / "ÜNÏ.DNG")
    assert not ledger.jobs.claim(second, OUT / "U\u0308ni\u0308.dng")
    assert ledger.jobs.claim(second, OUT / "other.dng")
    assert ledger.jobs.claim(first, OUT / "third.dng")
    assert ledger.jobs.claim(second, OUT / "Ünï.dng"), "an earlier claim is given up"


# Asking for it again


def test_redo_is_for_what_was_made_otherwise(ledger: Ledger) -> None:
    current, stale = do(ledger, "a"), do(ledger, "b", OUT / "b.dng", PHOTO.with_name("b"))
    assert ledger.requests.redo(OUT, "r1", at(9.0), lambda job: True) == 0
    assert ledger.requests.redo(Path("/elsewhere"), "r2", at(9.0), lambda job: False) == 0
    assert ledger.requests.redo(OUT, "r1", at(9.0), lambda job: job.id == current.id) == 1
    again = the(ledger, stale)
    assert (again.state, again.redo, again.attempts, again.output) == (State.READY, True, 0, OUT / "b.dng")
    assert ledger.jobs.finish(lease(ledger, 9.0), at(10.0), JobResult(output=again.output))
    assert not the(ledger, stale).redo


def test_redo_by_another_recipe_takes_all_that_are_there(ledger: Ledger) -> None:
    do(ledger, "a")
    gone = do(ledger, "b", OUT / "b.dng", PHOTO.with_name("b"))
    ledger.files.forget(gone.paths, OUT)
    assert ledger.requests.redo(OUT, "r2", at(9.0), lambda job: True) == 1
    assert lease(ledger, 9.0).recipe == "r2"


def test_retry_takes_only_those_asked_for(ledger: Ledger) -> None:
    ids = []
    for content in ("a", "b"):
        settle(ledger, content, path=PHOTO.with_name(content))
        job = lease(ledger)
        assert ledger.jobs.fail(job, at(1.0), "no", retry_in_s=None)
        ids.append(job.id)
    assert ledger.requests.retry(at(5.0), ids[:1]) == 1
    assert ledger.requests.retry(at(5.0), ()) == 0
    assert [job.state for job in ledger.jobs.select(ids=ids)] == [State.QUARANTINED, State.READY]


def test_what_is_cleared_is_seen_anew_but_not_what_runs(ledger: Ledger) -> None:
    do(ledger, "a")
    settle(ledger, "b", path=PHOTO.with_name("b"))
    running = lease(ledger)
    assert ledger.requests.clear(tuple(State)) == 1
    assert [job.id for job in ledger.jobs.select()] == [running.id]
    assert [path for path, _ in ledger.files.list_settled(OUT)] == [PHOTO.with_name("b")]
    assert settle(ledger, "a", 9.0).state is State.READY
