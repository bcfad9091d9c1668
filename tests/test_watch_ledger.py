"""The ledger: every transition by a clock of the test's own, several watchers, and what goes wrong."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.files.sources import Signature
from rawdenoise.watching.ledger import NAME, Ledger
from rawdenoise.watching.ledger.database import _JOBS, VERSION, LedgerBrokenError, LedgerError
from rawdenoise.watching.ledger.job_queue import LONGEST_WAIT_S
from rawdenoise.watching.ledger.records import UNWANTED, Fingerprint, JobResult, QueuedJob, State, Wait
from rawdenoise.watching.moments import Moment

OUT = Path("/out")
PHOTO = Path("/in/IMG_0001.CR2")
LEASE_S = 60.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as opened:
        yield opened


def at(seconds: float) -> Moment:
    """A moment by two clocks that have nothing to do with each other."""
    return Moment(1e9 + seconds, seconds)


def wall(seconds: float) -> float:
    return at(seconds).wall


def signature(content: str) -> Signature:
    return Signature(len(content), hash(content) % 2**62, 7, 1)


def settle(
    ledger: Ledger, content: str, now: float = 0.0, path: Path = PHOTO, out: Path = OUT, recipe: str = "r1"
) -> QueuedJob:
    return ledger.files.settle(path, out, signature(content), content, recipe, at(now))


def lease(ledger: Ledger, now: float = 0.0) -> QueuedJob:
    job = ledger.jobs.lease([OUT], at(now), LEASE_S)
    assert isinstance(job, QueuedJob)
    return job


def do(ledger: Ledger, content: str, output: Path = OUT / "IMG_0001.dng", path: Path = PHOTO) -> QueuedJob:
    settle(ledger, content, path=path)
    job = lease(ledger)
    assert ledger.jobs.claim(job, output)
    assert ledger.jobs.finish(
        job, at(1.0), JobResult(output=output, camera="Canon", model_id="base-1", gain_db=6.0)
    )
    return the(ledger, job)


def the(ledger: Ledger, job: QueuedJob) -> QueuedJob:
    (found,) = ledger.jobs.select(ids=(job.id,))
    return found


# From seen to done


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


# Contents and files


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


# Several watchers


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
        "from rawdenoise.watching.moments import Moment\n"
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


# What goes wrong


def test_all_is_there_after_it_was_closed(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        job = do(ledger, "a")
        ledger.facts.set("answer", "42")
    with Ledger(tmp_path) as ledger:
        assert ledger.note == ""
        assert ledger.jobs.select() == [job]
        assert ledger.facts.get("answer") == "42"
        assert ledger.facts.get("question") is None


def test_on_a_full_disk_nothing_is_half_done(tmp_path: Path, ledger: Ledger) -> None:
    settle(ledger, "a")
    job = lease(ledger)
    before = ledger.jobs.select()
    files = [(PHOTO.with_name(f"{number:0200}"), signature("x")) for number in range(500)]
    (pages,) = ledger.database.connection.execute("PRAGMA page_count").fetchone()
    ledger.database.connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(LedgerError, match="full") as caught:
        ledger.files.see(files, OUT, 1.0)

    assert "\n" not in str(caught.value)
    assert str(tmp_path / NAME) in str(caught.value)
    assert caught.value.exit_code == 3
    assert ledger.files.list_unsettled() == []
    assert ledger.jobs.select() == before
    ledger.database.connection.execute("PRAGMA max_page_count = 1000000")
    ledger.files.see(files, OUT, 2.0)
    assert len(ledger.files.list_unsettled()) == 500
    assert ledger.jobs.finish(job, at(2.0), JobResult(output=None))


def test_what_fails_inside_is_undone(ledger: Ledger) -> None:
    with pytest.raises(TypeError):
        ledger.files.see([(PHOTO, signature("a")), (None, signature("b"))], OUT, 1.0)  # type: ignore[list-item]
    assert ledger.files.list_unsettled() == []
    ledger.files.see([(PHOTO, signature("a"))], OUT, 1.0)
    assert len(ledger.files.list_unsettled()) == 1


@pytest.mark.parametrize("damage", [b"no database at all " * 500, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_ledger_is_put_aside(tmp_path: Path, damage: bytes) -> None:
    Ledger(tmp_path).close()
    (tmp_path / NAME).write_bytes(damage)
    with pytest.raises(LedgerBrokenError, match="puts it aside"):
        Ledger(tmp_path, owner=False)  # whoever only looks changes nothing
    assert (tmp_path / NAME).read_bytes() == damage
    with Ledger(tmp_path) as ledger:
        (aside,) = tmp_path.glob(f"{NAME}.damaged-*")
        assert str(aside) in ledger.note
        assert aside.read_bytes() == damage
        assert settle(ledger, "a").state is State.READY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (f"PRAGMA user_version = {VERSION + 1}", "newer"),
        ("ALTER TABLE jobs DROP COLUMN crashes", "not those of a ledger"),
        ("DROP TABLE facts", "not those of a ledger"),
        ("PRAGMA user_version = 0", "not those of a ledger"),
        ("PRAGMA user_version = -4", "not those of a ledger"),
    ],
)
def test_a_ledger_of_another_kind_is_put_aside(tmp_path: Path, change: str, said: str) -> None:
    with Ledger(tmp_path) as ledger:
        settle(ledger, "a")
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        db.execute(change)
    with Ledger(tmp_path) as ledger:
        assert said in ledger.note
        assert ledger.jobs.select() == []
        assert settle(ledger, "a").state is State.READY
        assert len(list(tmp_path.glob(f"{NAME}.damaged-*"))) == 1


def test_a_ledger_that_somebody_has_is_not_taken_from_him(tmp_path: Path) -> None:
    with Ledger(tmp_path):
        with closing(sqlite3.connect(tmp_path / NAME)) as db:
            db.execute(f"PRAGMA user_version = {VERSION + 1}")
        with pytest.raises(LedgerBrokenError, match=r"newer.*stop that first"):
            Ledger(tmp_path)
    assert not list(tmp_path.glob(f"{NAME}.damaged-*"))
    Ledger(tmp_path).close()
    assert len(list(tmp_path.glob(f"{NAME}.damaged-*"))) == 1


def test_a_ledger_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    Ledger(tmp_path / "new").close()
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        db.executescript(f"{_JOBS} PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO jobs (digest, output_root, recipe, state, ready_at, due_at) VALUES ('a', ?, 'r1',"
            " 'failed', 1.7e9, 1.7e9)",
            (os.fsencode(OUT),),
        )
        db.commit()
    with Ledger(tmp_path) as ledger, Ledger(tmp_path / "new", owner=False) as new:
        assert ledger.note == ""
        assert lease(ledger, 5.0).digest == "a", "its times were by the other clock"
        schema = "SELECT name FROM pragma_table_info('jobs') ORDER BY name"
        assert ledger.database.rows(schema) == new.database.rows(schema)


def test_damage_inside_is_found_on_opening(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.files.see([(PHOTO.with_name(f"{n:0100}"), signature("x")) for n in range(2000)], OUT, 1.0)
    data = bytearray((tmp_path / NAME).read_bytes())
    for start in range(8 * 4096, len(data), 4096):
        data[start : start + 64] = b"\xaa" * 64
    (tmp_path / NAME).write_bytes(data)
    with Ledger(tmp_path) as ledger:
        assert "damaged" in ledger.note
        assert ledger.figures.count_states()[State.SEEN] == 0


def test_damage_that_shows_later_is_told_from_a_full_disk(tmp_path: Path, ledger: Ledger) -> None:
    ledger.files.see([(PHOTO.with_name(f"{n:0100}"), signature("x")) for n in range(2000)], OUT, 1.0)
    ledger.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.database.connection.execute("PRAGMA cache_size = 0")
    with (tmp_path / NAME).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (8 * 4096))
    with pytest.raises(LedgerBrokenError):
        ledger.figures.count_states()


def test_a_folder_that_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be used") as caught:
        Ledger(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_closed_ledger_refuses(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.close()
    with pytest.raises(LedgerError):
        ledger.figures.count_states()


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


# Outputs


WRITTEN = Fingerprint(7, 8, "picture")


def make(ledger: Ledger, content: str, now: float = 1.0) -> QueuedJob:
    path = PHOTO.with_name(content)
    settle(ledger, content, path=path)
    job = lease(ledger)
    assert ledger.jobs.claim(job, OUT / f"{content}.dng")
    assert ledger.jobs.finish(
        job, at(now), JobResult(output=OUT / f"{content}.dng", written=WRITTEN, pixels=f"p{content}")
    )
    return job


def test_outputs_are_listed_with_how_they_were_made(ledger: Ledger) -> None:
    jobs = [make(ledger, content) for content in "abc"]
    found = ledger.outputs.list_page(OUT, limit=2)
    assert [(each.job, each.output.name, each.source, each.written) for each in found] == [
        (job.id, f"{job.digest}.dng", PHOTO.with_name(job.digest), WRITTEN) for job in jobs[:2]
    ]
    assert [each.job for each in ledger.outputs.list_page(OUT, after=jobs[1].id)] == [jobs[2].id]
    assert ledger.outputs.list_page(Path("/elsewhere")) == []
    ledger.files.forget([PHOTO.with_name("c")], OUT)
    assert len(ledger.outputs.list_page(OUT)) == 2, "without its capture it cannot be made again"
    maker = ledger.outputs.find_maker(OUT / "A.DNG")
    assert maker is not None
    assert (maker.id, maker.pixels) == (jobs[0].id, "pa")
    assert ledger.outputs.find_maker(OUT / "x.dng") is None
    assert ledger.outputs.find_fingerprint(jobs[0], OUT / "a.dng") == WRITTEN
    assert ledger.outputs.find_fingerprint(jobs[0], OUT / "b.dng") is None


def test_a_lost_output_is_made_again_once(ledger: Ledger) -> None:
    job = make(ledger, "a")
    (kept,) = ledger.outputs.list_page(OUT)
    assert ledger.outputs.make_again(kept, at(5.0), "gone")
    assert not ledger.outputs.make_again(kept, at(5.0), "gone"), "another watcher was quicker"
    again = the(ledger, job)
    assert (again.state, again.reason, again.attempts, again.output) == (
        State.READY, "gone", 0, OUT / "a.dng"
    )  # fmt: skip
    assert ledger.jobs.finish(
        lease(ledger, 5.0), at(6.0), JobResult(output=kept.output, written=Fingerprint(7, 9, "picture"))
    )
    assert not ledger.outputs.make_again(kept, at(7.0), "gone"), "it was made anew since it was looked at"


def test_outputs_are_read_again_when_a_day_has_passed_by_either_clock(ledger: Ledger) -> None:
    for content, now in (("a", 0.0), ("b", 50.0), ("c", 2000.0)):
        make(ledger, content, now)
    found = ledger.outputs.list_unread(OUT, wall(1000.0), wall(40.0), 9)
    assert [each.output.name for each in found] == ["a.dng", "c.dng"], "c was, in the future"
    for each in found:
        ledger.outputs.note_look(each, WRITTEN, wall(1000.0))
    assert ledger.outputs.list_unread(OUT, wall(1000.0), wall(40.0), 9) == []


def test_what_is_dismissed_is_not_made_and_not_made_again(ledger: Ledger) -> None:
    done = make(ledger, "a")
    settle(ledger, "b", path=PHOTO.with_name("b"))
    running = lease(ledger)
    settle(ledger, "c", path=PHOTO.with_name("c"))
    assert ledger.requests.dismiss([job.id for job in ledger.jobs.select()]) == 2
    assert the(ledger, running).state is State.RUNNING
    assert (the(ledger, done).reason, the(ledger, done).output) == (UNWANTED, None)
    assert ledger.outputs.list_page(OUT) == []
    assert ledger.requests.redo(OUT, "r2", at(9.0), lambda job: False) == 0
    assert ledger.jobs.lease([OUT], at(99.0), LEASE_S) is None
    assert settle(ledger, "a", 9.0, PHOTO.with_name("copy")).state is State.DONE


# Figures


def test_what_can_be_done_now_is_counted(ledger: Ledger) -> None:
    assert ledger.jobs.count_due([OUT], at(9.0)) == 0
    for content in ("a", "b"):
        settle(ledger, content, path=PHOTO.with_name(content))
    assert (
        ledger.jobs.count_due([OUT], at(9.0)),
        ledger.jobs.count_due([Path("/elsewhere")], at(9.0)),
        ledger.jobs.count_due([], at(9.0)),
    ) == (2, 0, 0)
    assert ledger.jobs.count_due([OUT], at(9.0), source=PHOTO.parent) == 2
    assert ledger.jobs.count_due([OUT], at(9.0), source=PHOTO.parent.with_name(PHOTO.parent.name[:-1])) == 0
    assert ledger.jobs.lease([OUT], at(9.0), 60.0, source=Path("/elsewhere")) is None
    assert ledger.jobs.fail(lease(ledger), at(9.0), "busy", retry_in_s=500.0)
    assert (ledger.jobs.count_due([OUT], at(9.0)), ledger.jobs.count_due([OUT], at(1000.0))) == (1, 2)


def test_stats_sum_up(ledger: Ledger) -> None:
    empty = ledger.figures.sum_up(wall(0.0))
    assert (empty.latency_p50_s, empty.latency_p95_s, empty.oldest_waiting_s) == (None, None, None)
    for number in range(100):
        settle(ledger, f"{number}", path=PHOTO.with_name(f"{number}"))
    for number in range(100):
        assert ledger.jobs.finish(lease(ledger, 0.0), at(number + 1.0), JobResult(output=None))
    settle(ledger, "waits", 100.0, PHOTO.with_name("waits"))
    stats = ledger.figures.sum_up(wall(3650.0))
    assert (stats.counts[State.DONE], stats.counts[State.READY], stats.attempts) == (100, 1, 100)
    assert (stats.done_last_hour, stats.done_last_day) == (50, 100)
    assert (stats.latency_p50_s, stats.latency_p95_s, stats.oldest_waiting_s) == (51.0, 96.0, 3550.0)


def test_captures_are_counted_by_camera_and_model(ledger: Ledger) -> None:
    do(ledger, "a")
    newest = do(ledger, "b", OUT / "b.dng", PHOTO.with_name("b"))
    assert ledger.figures.count_cameras("base") == {"Canon": 2}
    assert ledger.figures.count_cameras("own") == {}
    assert ledger.figures.list_captures("Canon", "base") == [*newest.paths, PHOTO]
    assert ledger.figures.list_captures("Nikon", "base") == []
    assert ledger.figures.list_captures("Canon", "%") == [], "a prefix, not a pattern"
    ledger.files.forget([PHOTO], OUT)
    assert ledger.figures.list_captures("Canon", "base") == list(newest.paths)


def test_jobs_come_newest_first_and_no_more_than_asked_for(ledger: Ledger) -> None:
    ids = [settle(ledger, f"{n}", path=PHOTO.with_name(f"{n}")).id for n in range(5)]
    assert [job.id for job in ledger.jobs.select()] == ids[::-1]
    assert [job.id for job in ledger.jobs.select(limit=2)] == ids[:2:-1]
    assert ledger.jobs.select(states=()) == ledger.jobs.select(states=(State.DONE,)) == []


def test_a_hundred_thousand_files_are_found_by_index(ledger: Ledger) -> None:
    files = ((Path(f"/in/{number}"), Signature(1, number, number, 1)) for number in range(100_000))
    ledger.files.see(files, OUT, 1.0)
    assert ledger.figures.count_states()[State.SEEN] == 100_000
    assert ledger.files.list_unsettled(limit=1)[0][1] == 1.0
    settle(ledger, "a")
    plans = {
        "files by path": "SELECT job FROM files WHERE path = x'00' AND output_root = x'00'",
        "files by job": "SELECT path FROM files WHERE job = 1",
        "jobs by content": "SELECT id FROM jobs WHERE digest = 'a' AND output_root = x'00'",
        "jobs by name": "SELECT id FROM jobs WHERE output_key = 'a' AND id != 1",
        "jobs due": "SELECT id FROM jobs WHERE state IN ('ready', 'failed') AND due_at <= 1",
    }
    for what, query in plans.items():
        steps = ledger.database.connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert all("SCAN" not in step[-1] for step in steps), (what, steps)


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
    (tmp_path / f"{NAME}.opening").mkdir()
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
