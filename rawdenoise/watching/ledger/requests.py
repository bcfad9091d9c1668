"""What people ask of jobs: to be done again, not at all, or forgotten."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from rawdenoise.app.planning import MADE_BY_US
from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.ledger.database import Database
from rawdenoise.watching.ledger.job_queue import JobQueue
from rawdenoise.watching.ledger.records import UNWANTED_REASON, QueuedJob, State

CLEARED_FACT = "cleared"  # a fact: how often files were cleared, so that services look again


class Requests:
    """Changes of jobs that are not under way; each tells how many it has changed."""

    def __init__(self, database: Database, jobs: JobQueue) -> None:
        self._database, self._jobs = database, jobs

    def redo(
        self, output_root: Path, recipe: str, now: Moment, is_current: Callable[[QueuedJob], bool]
    ) -> int:
        """Make due again what was done by another recipe, or is not current."""
        done = [
            job
            for job in self._jobs.select(states=(State.DONE,))
            if job.output_root == output_root and job.paths
        ]
        again = [
            job.id
            for job in done
            if job.reason not in (MADE_BY_US, UNWANTED_REASON)
            and not (job.recipe == recipe and (is_current(job) or job.output is None))
        ]
        with self._database.transaction() as db:
            db.executemany(
                "UPDATE jobs SET state = ?, redo = 1, recipe = ?, attempts = 0, reason = '', ready_at ="
                " ?, due_at = ?"
                " WHERE id = ? AND state = ?",
                [(State.READY, recipe, now.wall, now.steady, id, State.DONE) for id in again],
            )
        return len(again)

    def retry(
        self, now: Moment, ids: Collection[int] | None = None,
        states: Sequence[State] = (State.FAILED, State.QUARANTINED),
    ) -> int:  # fmt: skip
        """Make due at once what failed or was given up, as if it had never been tried."""
        jobs = self._jobs.select(states=states, ids=ids)
        with self._database.transaction() as db:
            db.executemany(
                "UPDATE jobs SET state = ?, attempts = 0, crashes = 0, due_at = ?, ready_at = ?"
                " WHERE id = ? AND state = ?",
                [(State.READY, now.steady, now.wall, job.id, job.state) for job in jobs],
            )
        return len(jobs)

    def dismiss(self, ids: Collection[int]) -> int:
        """Make no outputs of these captures, nor again those that are deleted; what runs is left."""
        jobs = [job for job in self._jobs.select(ids=ids) if job.state is not State.RUNNING]
        with self._database.transaction() as db:
            changed = [
                db.execute(
                    "UPDATE jobs SET state = ?, reason = ?, output = NULL, output_key = NULL,"
                    " replaces = NULL, redo = 0, suspect = 0 WHERE id = ? AND state = ?",
                    (State.DONE, UNWANTED_REASON, job.id, job.state),
                ).rowcount
                for job in jobs
            ]
        return sum(changed)

    def clear(self, states: Sequence[State], ids: Collection[int] | None = None) -> int:
        """Forget jobs and their files, except those that run: what is there will be seen anew."""
        jobs = [job for job in self._jobs.select(states=states, ids=ids) if job.state is not State.RUNNING]
        cleared = 0
        with self._database.transaction() as db:
            for job in jobs:  # but for those that were leased since
                where = (job.id, job.state)
                if db.execute("DELETE FROM jobs WHERE id = ? AND state = ?", where).rowcount:
                    db.execute("DELETE FROM files WHERE job = ?", (job.id,))
                    cleared += 1
            if cleared:
                db.execute(
                    "INSERT INTO facts VALUES (?, '1') ON CONFLICT (key) DO UPDATE SET value = value + 1",
                    (CLEARED_FACT,),
                )
        return cleared
