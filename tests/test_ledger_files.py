"""Files of the ledger: which there are, and the jobs that they are of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import LEASE_S, OUT, PHOTO, at, do, lease, settle, signature, the
from ledgers import ledger as ledger

from rawdenoise.files.sources import Signature
from rawdenoise.watching.ledger import LEDGER_NAME, Ledger
from rawdenoise.watching.ledger.database import LedgerError
from rawdenoise.watching.ledger.records import JobResult, QueuedJob, State


def test_a_copy_of_what_is_done_is_not_done_again(ledger: Ledger) -> None:
    done = do(ledger, "a")
    copy = settle(ledger, "a", 9.0, PHOTO.with_name("copy.CR2"), recipe="another")
    assert (copy.id, copy.state, copy.recipe) == (done.id, State.DONE, "r1")
    assert set(copy.paths) == {PHOTO, PHOTO.with_name("copy.CR2")}


def test_the_same_content_for_another_output_folder_is_another_job(ledger: Ledger) -> None:
    assert settle(ledger, "a").id != settle(ledger, "a", out=Path("/other")).id


def test_new_content_in_place_of_what_is_done_replaces_its_output(ledger: Ledger) -> None:
    old = do(ledger, "a")
    new = settle(ledger, "b", 9.0)
    assert (new.state, new.replaces, new.paths) == (State.READY, old.output, (PHOTO,))
    assert (the(ledger, old).state, the(ledger, old).paths) == (State.DONE, ())
    assert old.output is not None
    job = lease(ledger, 9.0)
    assert not ledger.jobs.claim(job, old.output), "until it is known that it is the same capture"
    assert ledger.jobs.claim(job, old.output, take_over=True)
    assert ledger.jobs.select(ids=(old.id,)) == []
    again = settle(ledger, "a", 10.0)
    assert (again.state, again.id) == (State.READY, ledger.jobs.select()[0].id), (
        "its output is gone, so it is new"
    )


def test_an_output_that_another_file_still_has_is_not_replaced(ledger: Ledger) -> None:
    old = do(ledger, "a")
    settle(ledger, "a", 2.0, PHOTO.with_name("copy.CR2"))
    assert settle(ledger, "b", 9.0).replaces is None
    assert the(ledger, old).output == old.output


def test_new_content_drops_a_job_that_was_not_begun(ledger: Ledger) -> None:
    settle(ledger, "a")
    new = settle(ledger, "b", 1.0)
    assert [job.id for job in ledger.jobs.select()] == [new.id]


def test_forgetting_drops_what_waits_and_keeps_what_is_done(ledger: Ledger) -> None:
    done = do(ledger, "a")
    waits = PHOTO.with_name("b")
    settle(ledger, "b", path=waits)
    ledger.files.forget([PHOTO, waits, Path("/in/never seen")], OUT)
    assert [(job.id, job.state, job.paths) for job in ledger.jobs.select()] == [(done.id, State.DONE, ())]
    assert list(ledger.files.list_settled(OUT)) == []


def test_forgetting_one_of_two_copies_drops_nothing(ledger: Ledger) -> None:
    settle(ledger, "a")
    settle(ledger, "a", path=PHOTO.with_name("copy"))
    ledger.files.forget([PHOTO], OUT)
    (job,) = ledger.jobs.select()
    assert job.paths == (PHOTO.with_name("copy"),)


def test_what_runs_is_not_forgotten_under_its_worker(ledger: Ledger) -> None:
    settle(ledger, "a")
    job = lease(ledger)
    ledger.files.forget([PHOTO], OUT)
    assert ledger.jobs.finish(job, at(1.0), JobResult(output=None))


def test_a_file_and_its_job_find_each_other(ledger: Ledger) -> None:
    job = settle(ledger, "a")
    assert ledger.files.find_files(job) == [(PHOTO, signature("a"))]
    assert ledger.files.find_job(PHOTO, OUT) == job
    ledger.files.see([(PHOTO.with_name("new"), signature("n"))], OUT, 1.0)
    assert ledger.files.find_job(PHOTO.with_name("new"), OUT) is None
    assert ledger.files.find_job(PHOTO.with_name("none"), OUT) is None


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name and b"/" not in name))
def test_any_name_of_a_file_comes_back(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    path = Path("/in") / os.fsdecode(name)
    with Ledger(tmp_path_factory.mktemp("state"), owner=False) as ledger:
        settle(ledger, "a", path=path)
        assert [known for known, _ in ledger.files.list_settled(OUT)] == [path]
        assert ledger.jobs.select()[0].paths == (path,)


# What several things at once have brought to light


def test_a_job_whose_last_file_goes_while_it_runs_does_not_come_back(ledger: Ledger) -> None:
    settle(ledger, "a")
    job = lease(ledger)
    ledger.files.forget([PHOTO], OUT)
    assert ledger.jobs.release(job, at(1.0))
    assert ledger.jobs.select() == []


def test_a_killed_watchers_job_without_a_file_does_not_come_back(tmp_path: Path, ledger: Ledger) -> None:
    settle(ledger, "a")
    with Ledger(tmp_path) as other:
        job = lease(other)
    ledger.files.forget([PHOTO], OUT)
    assert [each.id for each in ledger.jobs.reclaim(at(1.0))] == [job.id], (
        "its temporary files are to be swept"
    )
    assert ledger.jobs.select() == []


@pytest.mark.parametrize("between", ["ready", "failed", "quarantined", "running", "redo"])
def test_the_output_to_replace_is_passed_on(ledger: Ledger, between: str) -> None:
    """A capture that grows in steps longer than the settle time has one output in the end."""
    output = do(ledger, "a").output
    if between == "redo":
        assert ledger.requests.redo(OUT, "r2", at(2.0), lambda job: False) == 1
    else:
        settle(ledger, "b", 2.0)
    if between in ("failed", "quarantined", "running"):
        job = lease(ledger, 2.0)
        if between != "running":
            assert ledger.jobs.fail(job, at(3.0), "short", retry_in_s=6.0 if between == "failed" else None)
    assert settle(ledger, "c", 4.0).replaces == output


def test_a_watcher_too_late_takes_nothing_from_the_next(tmp_path: Path) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        settle(one, "a")
        late = lease(one)
        other.jobs.reclaim(at(LEASE_S + 1))
        job = lease(other, LEASE_S + 1)
        assert other.jobs.claim(job, OUT / "a.dng")
        assert not one.jobs.finish(late, at(LEASE_S + 2), JobResult(output=None))
        assert the(other, job).output == OUT / "a.dng"


def test_two_watchers_do_not_reclaim_from_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        settle(one, "a")
        with Ledger(tmp_path) as third:
            lease(third)
        is_dead = one.owners.is_dead

        def other_is_quicker(owner: str) -> bool:
            dead = is_dead(owner)
            other.jobs.reclaim(at(2.0))
            lease(other, 2.0)
            return dead

        monkeypatch.setattr(one.owners, "is_dead", other_is_quicker)
        assert one.jobs.reclaim(at(2.0)) == []
        assert one.jobs.select()[0].owner == other.owner


def test_what_was_leased_meanwhile_is_not_cleared(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(ledger, "a")
    with Ledger(tmp_path, owner=False) as looking:
        before = looking.jobs.select()
        job = lease(ledger)
        monkeypatch.setattr(looking.jobs, "select", lambda **_: before)
        assert looking.requests.clear(tuple(State)) == 0
    assert the(ledger, job).state is State.RUNNING
    assert ledger.files.find_files(job)


def test_names_that_are_no_unicode_are_names_everywhere(ledger: Ledger) -> None:
    name = os.fsdecode(b"b\xfcro")
    settle(ledger, "a", path=Path("/in") / name)
    job = lease(ledger)
    assert ledger.jobs.claim(job, OUT / name)
    ledger.facts.set("\ud800", "a lone half, as Windows allows")
    assert the(ledger, job).output == OUT / name
    ledger.facts.set(f"output {OUT / name}", name)
    assert ledger.facts.get(f"output {OUT / name}") is not None
    assert ledger.facts.get(f"output {OUT / os.fsdecode(bytes([0xFD]))}") is None
    assert ledger.jobs.fail(job, at(1.0), f"{name}: no picture", retry_in_s=None)
    assert "no picture" in the(ledger, job).reason


def test_locks_of_the_dead_are_swept(tmp_path: Path) -> None:
    (tmp_path / "owners").mkdir()
    (tmp_path / "owners" / "0123456789abcdef.lock").touch()
    with Ledger(tmp_path) as living, Ledger(tmp_path) as ledger:
        assert {path.stem for path in (tmp_path / "owners").iterdir()} == {living.owner, ledger.owner}


def test_a_state_folder_without_room_for_locks_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / f"{LEDGER_NAME}.opening").mkdir()
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(tmp_path)


def test_listing_outputs_costs_the_same_for_each(ledger: Ledger) -> None:
    """Not a sorting of all of them for every page: there may be a hundred thousand."""
    files = [Path(f"/in/{number}.CR2") for number in range(400)]
    for number, path in enumerate(files):
        ledger.files.settle(path, OUT, Signature(1, 1, number, 1), f"{number}", "recipe", at(0))
        job = ledger.jobs.lease([OUT], at(1), LEASE_S)
        assert isinstance(job, QueuedJob)
        assert ledger.jobs.claim(job, OUT / f"{number}.dng")
        ledger.jobs.finish(job, at(2), JobResult(output=OUT / f"{number}.dng"))
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    ledger.database.connection.set_progress_handler(count, 10)
    last, listed = 0, list[Path]()
    while page := ledger.outputs.list_page(OUT, after=last, limit=5):
        listed += [each.source for each in page]
        last = page[-1].job
    ledger.database.connection.set_progress_handler(None, 0)
    assert listed == files
    assert steps[0] < 40 * len(files)
