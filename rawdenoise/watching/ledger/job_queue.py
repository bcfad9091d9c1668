"""Jobs on their way through the hands of watchers: leased, ended, taken back from the dead."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rawdenoise.files.names import key_of
from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.ledger.database import Database, encode_path, encode_text
from rawdenoise.watching.ledger.owners import Owners
from rawdenoise.watching.ledger.records import JobResult, QueuedJob, State, Wait
from rawdenoise.watching.ledger.rows import (
    COLUMNS,
    HAS_FILE_BELOW,
    drop_if_without_files,
    list_below_values,
    list_output_values,
    make_job,
    read_job,
)

LONGEST_WAIT_S = 600.0  # nothing is due later than that
CRASH_S = 2.0  # times the crashes a job was at before: so long it waits after another


class JobQueue:
    """The jobs of a ledger, for the watcher that has it open; others may be at them at the same time."""

    def __init__(self, database: Database, owners: Owners) -> None:
        self._database, self._owners = database, owners

    def lease(
        self, output_roots: Sequence[Path], now: Moment, lease_s: float, *, source: Path | None = None,
        alone: bool = True,
    ) -> QueuedJob | Wait | None:  # fmt: skip
        """Take the job that has been due for longest, if there is one: no other watcher gets it meanwhile.

        With a `source` only those that have a file below it. A suspect is given only to whom is `alone`.
        """
        marks = ", ".join("?" for _ in output_roots)
        wanted = [encode_path(root) for root in output_roots]
        with self._database.transaction() as db:
            firsts = [  # of each state for itself: so each is found by the index, without sorting
                db.execute(
                    "SELECT due_at, id, suspect FROM jobs WHERE state = ? AND due_at <= ?"
                    f" AND output_root IN ({marks}){HAS_FILE_BELOW} ORDER BY due_at, id LIMIT 1",
                    (state, now.steady, *wanted, *list_below_values(source)),
                ).fetchone()
                for state in (State.READY, State.FAILED)
            ]
            first = min((row for row in firsts if row is not None), default=None)
            if first is None:
                return None
            _, id, suspect = first
            if suspect and not alone:
                return Wait.ALONE
            db.execute(
                "UPDATE jobs SET state = ?, owner = ?, lease_until = ?, started_at = ?,"
                " attempts = attempts + 1 WHERE id = ?",
                (State.RUNNING, self._owners.own, now.steady + lease_s, now.wall, id),
            )
            return read_job(db, id)

    def renew(self, now: Moment, lease_s: float) -> None:
        """Go on holding what this watcher has leased."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE jobs SET lease_until = ? WHERE state = ? AND owner = ?",
                (now.steady + lease_s, State.RUNNING, self._owners.own),
            )

    def claim(self, job: QueuedJob, output: Path, *, take_over: bool = False) -> bool:
        """Reserve an output name for a leased job, in place of an earlier one; false if another job has it.

        To `take_over` is for a later version of the same capture: who had the name is forgotten, so that its
        content, should it come back, is a new one.
        """
        key = encode_text(key_of(output))
        with self._database.transaction() as db:
            other = db.execute(
                "SELECT id FROM jobs WHERE output_key = ? AND id != ?", (key, job.id)
            ).fetchone()
            if other is not None:
                if not take_over:
                    return False
                db.execute("UPDATE jobs SET output = NULL, output_key = NULL WHERE id = ?", other)
                db.execute(
                    "DELETE FROM jobs WHERE id = ? AND state = ?"
                    " AND NOT EXISTS (SELECT 1 FROM files WHERE job = jobs.id)",
                    (*other, State.DONE),
                )
            db.execute(
                "UPDATE jobs SET output = ?, output_key = ? WHERE id = ?", (encode_path(output), key, job.id)
            )
            return True

    def finish(self, job: QueuedJob, now: Moment, result: JobResult) -> bool:
        """Say that a job is done, and what was made; false if it was lost."""
        with self._database.transaction() as db:
            ended = self._end(
                db, job, "state = ?, finished_at = ?, reason = ?, redo = 0, replaces = NULL, suspect = 0,"
                " crashes = 0, output_size = ?, output_mtime_ns = ?, output_picture = ?,"
                " output_pixels = ?, output_edited = ?, checked_at = ?,"
                " camera = coalesce(nullif(?, ''), camera), model_id = coalesce(nullif(?, ''), model_id),"
                " gain_db = coalesce(?, gain_db), pixels = coalesce(nullif(?, ''), pixels)",
                (State.DONE, now.wall, encode_text(result.reason), *list_output_values(result.written),
                 now.wall, encode_text(result.camera), encode_text(result.model_id), result.gain_db,
                 result.pixels),
            )  # fmt: skip
            if ended and result.output is None:
                db.execute("UPDATE jobs SET output = NULL, output_key = NULL WHERE id = ?", (job.id,))
            return ended

    def fail(self, job: QueuedJob, now: Moment, reason: str, *, retry_in_s: float | None) -> bool:
        """Say that a job failed: it is due again in so many seconds, or given up where that is None."""
        state = State.QUARANTINED if retry_in_s is None else State.FAILED
        with self._database.transaction() as db:
            return self._end(
                db, job, "state = ?, finished_at = ?, reason = ?, due_at = ?, suspect = 0",
                (state, now.wall, encode_text(reason), now.steady + (retry_in_s or 0.0)),
            )  # fmt: skip

    def release(self, job: QueuedJob, now: Moment, reason: str = "", *, due_in_s: float = 0.0) -> bool:
        """Give a job back, due in so many seconds; the attempt does not count."""
        with self._database.transaction() as db:
            return self._end(
                db, job, "state = ?, reason = ?, due_at = ?, attempts = max(attempts - 1, 0)",
                (State.READY, encode_text(reason), now.steady + due_in_s),
            )  # fmt: skip

    def _end(self, db: sqlite3.Connection, job: QueuedJob, change: str, values: tuple[Any, ...]) -> bool:
        """Change a job that this watcher still holds, and hold it no longer."""
        cursor = db.execute(
            f"UPDATE jobs SET {change}, owner = '', lease_until = 0 WHERE id = ? AND state = ? AND owner = ?",
            (*values, job.id, State.RUNNING, self._owners.own),
        )
        drop_if_without_files(db, job.id)
        return cursor.rowcount == 1

    def reclaim(self, now: Moment) -> list[QueuedJob]:
        """Make due again what watchers that are dead, or hang, have held; the attempts do not count.

        Each of them is a suspect from now on. One that was under way alone has the crash to itself. And what
        waits for longer than anything should, because the machine was started anew, waits no longer.
        """
        self._shorten_waits(now)
        held = self._database.rows(
            "SELECT id, owner, lease_until FROM jobs WHERE state = ? AND owner != ?",
            (State.RUNNING, self._owners.own),
        )
        beside = Counter(owner for _, owner, _ in held)
        dead = {owner for owner in beside if self._owners.is_dead(owner)}
        lost = [(id, owner, until) for id, owner, until in held if owner in dead or until < now.steady]
        if not lost:
            return []
        reclaimed = []
        with self._database.transaction() as db:
            for id, owner, until in lost:
                alone = int(beside[owner] == 1)
                changed = db.execute(
                    "UPDATE jobs SET state = ?, owner = '', lease_until = 0, suspect = 1,"
                    " crashes = crashes + ?, attempts = max(attempts - 1, 0),"
                    " due_at = ? + min(?, ? * crashes), reason = 'its watcher died'"
                    " WHERE id = ? AND state = ? AND owner = ? AND lease_until = ?",
                    (State.READY, alone, now.steady, LONGEST_WAIT_S, CRASH_S,
                     id, State.RUNNING, owner, until),
                )  # fmt: skip
                if changed.rowcount:  # else another watcher was quicker, or it was renewed
                    reclaimed.append(read_job(db, id))
                    drop_if_without_files(db, id)
        return reclaimed

    def _shorten_waits(self, now: Moment) -> None:
        where = "state IN (?, ?) AND due_at > ?"
        values = (State.READY, State.FAILED, now.steady + LONGEST_WAIT_S)
        if self._database.rows(f"SELECT 1 FROM jobs WHERE {where} LIMIT 1", values):
            with self._database.transaction() as db:
                db.execute(f"UPDATE jobs SET due_at = ? WHERE {where}", (now.steady, *values))

    def select(
        self, states: Sequence[State] | None = None, limit: int | None = None,
        ids: Collection[int] | None = None,
    ) -> list[QueuedJob]:  # fmt: skip
        """Give jobs, the newest first."""
        wanted = tuple(states) if states is not None else tuple(State)
        where = f"state IN ({', '.join('?' for _ in wanted)})"
        if ids is not None:
            where += f" AND id IN ({', '.join(str(int(id)) for id in ids)})"
        with self._database.transaction() as db:
            rows = db.execute(
                f"SELECT {COLUMNS} FROM jobs WHERE {where} ORDER BY id DESC LIMIT ?",
                (*wanted, -1 if limit is None else limit),
            ).fetchall()
            return [make_job(db, row) for row in rows]

    def count_due(
        self, output_roots: Collection[Path], now: Moment, *, source: Path | None = None,
        most: int = 1_000_000,
    ) -> int:  # fmt: skip
        """How many jobs of these output folders, up to `most`, are due, or ready and will be within a minute.

        With a `source` only those that have a file below it.
        """
        marks = ", ".join("?" for _ in output_roots)
        roots = [encode_path(root) for root in output_roots]
        due = 0
        for state, until in ((State.READY, now.steady + 60), (State.FAILED, now.steady)):
            ((count,),) = self._database.rows(
                "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state = ? AND due_at <= ?"
                f" AND output_root IN ({marks}){HAS_FILE_BELOW} LIMIT ?)",
                (state, until, *roots, *list_below_values(source), most),
            )
            due += int(count)
        return min(due, most)

    def count_unfinished(self, output_roots: Collection[Path]) -> int:
        """How many jobs of these output folders are not done."""
        marks = ", ".join("?" for _ in output_roots)
        rows = self._database.rows(
            f"SELECT count(*) FROM jobs WHERE state IN (?, ?, ?) AND output_root IN ({marks})",
            (State.READY, State.FAILED, State.QUARANTINED, *(encode_path(root) for root in output_roots)),
        )
        return int(rows[0][0])
