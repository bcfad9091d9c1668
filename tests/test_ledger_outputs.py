"""Outputs that the ledger knows, and its figures."""

from __future__ import annotations

from pathlib import Path

from ledgers import LEASE_S, OUT, PHOTO, at, do, lease, settle, the, wall
from ledgers import ledger as ledger

from rawdenoise.files.sources import Signature
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import UNWANTED_REASON, Fingerprint, JobResult, QueuedJob, State

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
    assert (the(ledger, done).reason, the(ledger, done).output) == (UNWANTED_REASON, None)
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
