"""What arrived and what became of it, in a SQLite file that any number of watchers share.

A job is one content (SHA-256) for one output folder; files point to jobs, so that a capture that is copied
again, or linked, is not done again. Whatever a process does, it says so here first; where it dies, what it
was at is found in state `running` with an owner whose lock is free, and is done again.

A commit is on the disk at the next checkpoint only (`synchronous=NORMAL`): a power failure may take the last
ones back, never half of one. That costs nothing: a file that was settled is found by the next scan, and one
that was done by the provenance in its output.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from rawdenoise.app.jobs import OURS
from rawdenoise.files.names import key_of
from rawdenoise.files.sources import Signature
from rawdenoise.watching.database import LedgerBrokenError, LedgerError, is_damage, open_database
from rawdenoise.watching.moments import Moment

NAME = "ledger.sqlite3"
LONGEST_WAIT_S = 600.0  # nothing is due later than that
CRASH_S = 2.0  # times the crashes a job was at before: so long it waits after another
CLEARED = "cleared"  # a fact: how often files were cleared, so that services look again
_MOST_JUDGED = 10_000  # newest jobs, for latencies

UNWANTED = "not wanted: no output is made of it"
_COLUMNS = (
    "id, digest, output_root, recipe, state, attempts, reason, redo, output, replaces, camera, model_id,"
    " gain_db, ready_at, started_at, finished_at, due_at, owner, suspect, crashes, pixels"
)
_OUTPUT = "output_size, output_mtime_ns, output_picture, output_pixels, output_edited"
_PATHS = ("output_root", "output", "replaces")
_BELOW = (
    " AND (? = 0 OR EXISTS (SELECT 1 FROM files WHERE files.job = jobs.id AND substr(files.path, 1, ?) = ?))"
)


class Wait(Enum):
    """Why there is nothing to lease though something is due."""

    ALONE = "the next may be what a process died of, and is to be run with nothing beside it"


class State(StrEnum):
    """Where a file is on its way."""

    SEEN = "seen"  # a file that has not settled, or was not digested yet; all others are of jobs
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # to be tried again
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Job:
    """One content to denoise into one output folder; times in seconds since 1970, but see `due_at`.

    That is by the steady clock. A `suspect` was under way when its process died, `crashes` times alone;
    `pixels` is a digest of its mosaic, where that was read. `replaces` is the output of what stood at this
    capture's place before; `redo` says that it was done and is to be done again; `output` is the name
    reserved for it, and once DONE where its result is (None: there is none).
    """

    id: int
    digest: str
    output_root: Path
    recipe: str
    state: State
    attempts: int
    reason: str
    redo: bool
    output: Path | None
    replaces: Path | None
    camera: str
    model_id: str
    gain_db: float | None
    ready_at: float
    started_at: float | None
    finished_at: float | None
    due_at: float
    owner: str
    suspect: bool
    crashes: int
    pixels: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """An output as it was made, or `edited` since: its bytes, and when it was written to, in ns.

    Digests: of its `picture` as it is encoded in the file, and of the mosaic's `pixels`, where that is known.
    """

    size: int
    mtime_ns: int
    picture: str
    pixels: str = ""
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """The output of a job that is done; `written` is None where an earlier version has not noted it."""

    job: int
    digest: str
    output: Path
    source: Path
    written: Written | None


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """Figures of a ledger; latencies in seconds from settled to done, None where nothing is done."""

    counts: dict[State, int]
    done_last_hour: int
    done_last_day: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    oldest_waiting_s: float | None
    attempts: int


class Ledger:
    """An open ledger; for any number of threads and processes. As a context manager it closes itself.

    Every call raises LedgerError where SQLite refuses (a full disk, a file held for seconds); then
    nothing of it has happened.
    """

    def __init__(self, folder: Path, *, owner: bool = True) -> None:
        """Open the ledger in a state folder, or begin one; an `owner` holds a lock, and may lease jobs.

        For an owner a file that is damaged, or of another version, is moved aside, and `note` says so.

        Raises:
            LedgerError: the folder cannot be used. LedgerBrokenError: the file cannot, and stays where it is.
        """
        self.folder, self.note, self.owner = folder, "", ""
        self._lock = threading.RLock()
        self._owners = folder / "owners"
        self._own_lock: FileLock | None = None
        try:
            self._owners.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{NAME}.opening"):  # else two might move the same damaged file aside
                self._connection, self.note = open_database(
                    folder / NAME, in_use=self._is_watched, put_aside=owner
                )
                if owner:
                    self._become_owner()
        except OSError as error:
            raise LedgerError(
                f"{folder}: cannot be used for the ledger ({error.strerror or error})"
            ) from error

    def __enter__(self) -> Ledger:
        """Use it as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file and free the lock."""
        with self._lock:
            self._connection.close()
        if self._own_lock is not None:
            self._own_lock.release()
            with suppress(OSError):
                Path(self._own_lock.lock_file).unlink()
            self._own_lock = None

    # ------------------------------------------------------------ files

    def known(self, output_root: Path) -> Iterator[tuple[Path, Signature]]:
        """Give the files that were settled, and how they were then."""
        rows = self._rows(
            "SELECT path, size, mtime_ns, inode, device FROM files WHERE output_root = ? AND job IS NOT NULL",
            (_blob(output_root),),
        )
        for path, *signature in rows:
            yield _path(path), Signature(*signature)

    def see(self, files: Iterable[tuple[Path, Signature]], output_root: Path, now: float) -> None:
        """Note files that have not settled yet; those that are of a job stay with it until then."""
        rows = [
            (_blob(path), _blob(output_root), each.size, each.mtime_ns, each.inode, each.device, now)
            for path, each in files
        ]
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO files (path, output_root, size, mtime_ns, inode, device, seen_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                rows,
            )

    def settle(
        self, path: Path, output_root: Path, signature: Signature, digest: str, recipe: str, now: Moment
    ) -> Job:
        """Say what a settled file holds, and give its job: a new one, or the one there is for this content.

        Where the file has held something else, it leaves that job: one not begun is dropped with its last
        file, and the output of one that is done is what the new job `replaces`.
        """
        root = _blob(output_root)
        with self._transaction() as db:
            before = db.execute(
                "SELECT job FROM files WHERE path = ? AND output_root = ?", (_blob(path), root)
            ).fetchone()
            db.execute(
                "INSERT INTO jobs (digest, output_root, recipe, state, ready_at, due_at) VALUES (?, ?, ?,"
                " ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (digest, root, recipe, State.READY, now.wall, now.steady),
            )
            (job,) = db.execute(
                "SELECT id FROM jobs WHERE digest = ? AND output_root = ?", (digest, root)
            ).fetchone()
            db.execute(
                "INSERT OR REPLACE INTO files (path, output_root, size, mtime_ns, inode, device, job,"
                " seen_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    _blob(path),
                    root,
                    signature.size,
                    signature.mtime_ns,
                    signature.inode,
                    signature.device,
                    job,
                    now.wall,
                ),
            )
            if before and before[0] not in (None, job):
                self._leave(db, before[0], job)
            return self._job(db, job)

    def _leave(self, db: sqlite3.Connection, old: int, new: int) -> None:
        if db.execute("SELECT 1 FROM files WHERE job = ?", (old,)).fetchone():
            return
        state, redo, output, replaces = db.execute(
            "SELECT state, redo, output, replaces FROM jobs WHERE id = ?", (old,)
        ).fetchone()
        if replaces is None and (redo or state in (State.DONE, State.RUNNING)):
            replaces = output
        if replaces is not None:  # a job that was to replace an output and never did passes that on
            db.execute(
                "UPDATE jobs SET replaces = ? WHERE id = ? AND state = ?", (replaces, new, State.READY)
            )
        if state not in (State.RUNNING, State.DONE):
            db.execute("DELETE FROM jobs WHERE id = ?", (old,))

    def forget(self, paths: Iterable[Path], output_root: Path, *, of: Job | None = None) -> None:
        """Say that files have vanished; jobs that wait and have no other file are dropped.

        With `of` only those that are still files of that job: others hold something else by now.
        """
        root = _blob(output_root)
        with self._transaction() as db:
            for path in paths:
                where = (_blob(path), root)
                found = db.execute(
                    "SELECT job FROM files WHERE path = ? AND output_root = ?", where
                ).fetchone()
                if found and (of is None or found[0] == of.id):
                    db.execute("DELETE FROM files WHERE path = ? AND output_root = ?", where)
                    _drop_empty(db, found[0])

    def files_of(self, job: Job) -> list[tuple[Path, Signature]]:
        """The files that hold a job's content, as they were when they settled."""
        rows = self._rows("SELECT path, size, mtime_ns, inode, device FROM files WHERE job = ?", (job.id,))
        return [(_path(path), Signature(*signature)) for path, *signature in rows]

    def job_of(self, path: Path, output_root: Path) -> Job | None:
        """The job that a file is of, if it has settled."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT job FROM files WHERE path = ? AND output_root = ? AND job IS NOT NULL",
                (_blob(path), _blob(output_root)),
            ).fetchone()
            return self._job(db, row[0]) if row else None

    # ------------------------------------------------------------ jobs

    def lease(
        self, output_roots: Sequence[Path], now: Moment, lease_s: float, *, source: Path | None = None,
        alone: bool = True,
    ) -> Job | Wait | None:  # fmt: skip
        """Take the job that has been due for longest, if there is one: no other watcher gets it meanwhile.

        With a `source` only those that have a file below it. A suspect is given only to whom is `alone`.
        """
        marks = ", ".join("?" for _ in output_roots)
        wanted = [_blob(root) for root in output_roots]
        with self._transaction() as db:
            firsts = [  # of each state for itself: so each is found by the index, without sorting
                db.execute(
                    "SELECT due_at, id, suspect FROM jobs WHERE state = ? AND due_at <= ?"
                    f" AND output_root IN ({marks}){_BELOW} ORDER BY due_at, id LIMIT 1",
                    (state, now.steady, *wanted, *_below(source)),
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
                (State.RUNNING, self.owner, now.steady + lease_s, now.wall, id),
            )
            return self._job(db, id)

    def renew(self, now: Moment, lease_s: float) -> None:
        """Go on holding what this watcher has leased."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET lease_until = ? WHERE state = ? AND owner = ?",
                (now.steady + lease_s, State.RUNNING, self.owner),
            )

    def claim(self, job: Job, output: Path, *, take_over: bool = False) -> bool:
        """Reserve an output name for a leased job, in place of an earlier one; false if another job has it.

        To `take_over` is for a later version of the same capture: who had the name is forgotten, so that its
        content, should it come back, is a new one.
        """
        key = _text(key_of(output))
        with self._transaction() as db:
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
                "UPDATE jobs SET output = ?, output_key = ? WHERE id = ?", (_blob(output), key, job.id)
            )
            return True

    def done(
        self, job: Job, now: Moment, *, output: Path | None, written: Written | None = None,
        camera: str = "", model_id: str = "", gain_db: float | None = None, pixels: str = "",
        reason: str = "",
    ) -> bool:  # fmt: skip
        """Say that a job is done, and where its output is (None: nowhere); false if it was lost."""
        with self._transaction() as db:
            ended = self._end(
                db, job, "state = ?, finished_at = ?, reason = ?, redo = 0, replaces = NULL, suspect = 0,"
                " crashes = 0, output_size = ?, output_mtime_ns = ?, output_picture = ?,"
                " output_pixels = ?, output_edited = ?, checked_at = ?,"
                " camera = coalesce(nullif(?, ''), camera), model_id = coalesce(nullif(?, ''), model_id),"
                " gain_db = coalesce(?, gain_db), pixels = coalesce(nullif(?, ''), pixels)",
                (State.DONE, now.wall, _text(reason), *_columns_of(written), now.wall, _text(camera),
                 _text(model_id), gain_db, pixels),
            )  # fmt: skip
            if ended and output is None:
                db.execute("UPDATE jobs SET output = NULL, output_key = NULL WHERE id = ?", (job.id,))
            return ended

    def fail(self, job: Job, now: Moment, reason: str, *, retry_in_s: float | None) -> bool:
        """Say that a job failed: it is due again in so many seconds, or given up where that is None."""
        state = State.QUARANTINED if retry_in_s is None else State.FAILED
        with self._transaction() as db:
            return self._end(
                db, job, "state = ?, finished_at = ?, reason = ?, due_at = ?, suspect = 0",
                (state, now.wall, _text(reason), now.steady + (retry_in_s or 0.0)),
            )  # fmt: skip

    def release(self, job: Job, now: Moment, reason: str = "", *, due_in_s: float = 0.0) -> bool:
        """Give a job back, due in so many seconds; the attempt does not count."""
        with self._transaction() as db:
            return self._end(
                db, job, "state = ?, reason = ?, due_at = ?, attempts = max(attempts - 1, 0)",
                (State.READY, _text(reason), now.steady + due_in_s),
            )  # fmt: skip

    def _end(self, db: sqlite3.Connection, job: Job, change: str, values: tuple[Any, ...]) -> bool:
        """Change a job that this watcher still holds, and hold it no longer."""
        cursor = db.execute(
            f"UPDATE jobs SET {change}, owner = '', lease_until = 0 WHERE id = ? AND state = ? AND owner = ?",
            (*values, job.id, State.RUNNING, self.owner),
        )
        _drop_empty(db, job.id)
        return cursor.rowcount == 1

    def reclaim(self, now: Moment) -> list[Job]:
        """Make due again what watchers that are dead, or hang, have held; the attempts do not count.

        Each of them is a suspect from now on. One that was under way alone has the crash to itself. And what
        waits for longer than anything should, because the machine was started anew, waits no longer.
        """
        self._shorten_waits(now)
        held = self._rows(
            "SELECT id, owner, lease_until FROM jobs WHERE state = ? AND owner != ?",
            (State.RUNNING, self.owner),
        )
        beside = Counter(owner for _, owner, _ in held)
        dead = {owner for owner in beside if self.is_dead(owner)}
        lost = [(id, owner, until) for id, owner, until in held if owner in dead or until < now.steady]
        if not lost:
            return []
        reclaimed = []
        with self._transaction() as db:
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
                    reclaimed.append(self._job(db, id))
                    _drop_empty(db, id)
        return reclaimed

    def _shorten_waits(self, now: Moment) -> None:
        where = "state IN (?, ?) AND due_at > ?"
        values = (State.READY, State.FAILED, now.steady + LONGEST_WAIT_S)
        if self._rows(f"SELECT 1 FROM jobs WHERE {where} LIMIT 1", values):
            with self._transaction() as db:
                db.execute(f"UPDATE jobs SET due_at = ? WHERE {where}", (now.steady, *values))

    def redo(self, output_root: Path, recipe: str, now: Moment, is_current: Callable[[Job], bool]) -> int:
        """Make due again what was done by another recipe, or is not current; tells how many."""
        done = [
            job for job in self.jobs(states=(State.DONE,)) if job.output_root == output_root and job.paths
        ]
        again = [
            job.id
            for job in done
            if job.reason not in (OURS, UNWANTED)
            and not (job.recipe == recipe and (is_current(job) or job.output is None))
        ]
        with self._transaction() as db:
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
        jobs = self.jobs(states=states, ids=ids)
        with self._transaction() as db:
            db.executemany(
                "UPDATE jobs SET state = ?, attempts = 0, crashes = 0, due_at = ?, ready_at = ?"
                " WHERE id = ? AND state = ?",
                [(State.READY, now.steady, now.wall, job.id, job.state) for job in jobs],
            )
        return len(jobs)

    def dismiss(self, ids: Collection[int]) -> int:
        """Make no outputs of these captures, nor again those that are deleted; tells how many.

        What runs is left.
        """
        jobs = [job for job in self.jobs(ids=ids) if job.state is not State.RUNNING]
        with self._transaction() as db:
            changed = [
                db.execute(
                    "UPDATE jobs SET state = ?, reason = ?, output = NULL, output_key = NULL,"
                    " replaces = NULL, redo = 0, suspect = 0 WHERE id = ? AND state = ?",
                    (State.DONE, UNWANTED, job.id, job.state),
                ).rowcount
                for job in jobs
            ]
        return sum(changed)

    def clear(self, states: Sequence[State], ids: Collection[int] | None = None) -> int:
        """Forget jobs and their files, except those that run: what is there will be seen anew."""
        jobs = [job for job in self.jobs(states=states, ids=ids) if job.state is not State.RUNNING]
        cleared = 0
        with self._transaction() as db:
            for job in jobs:  # but for those that were leased since
                where = (job.id, job.state)
                if db.execute("DELETE FROM jobs WHERE id = ? AND state = ?", where).rowcount:
                    db.execute("DELETE FROM files WHERE job = ?", (job.id,))
                    cleared += 1
            if cleared:
                db.execute(
                    "INSERT INTO facts VALUES (?, '1') ON CONFLICT (key) DO UPDATE SET value = value + 1",
                    (CLEARED,),
                )
        return cleared

    def jobs(
        self,
        states: Sequence[State] | None = None,
        limit: int | None = None,
        ids: Collection[int] | None = None,
    ) -> list[Job]:
        """Give jobs, the newest first."""
        wanted = tuple(states) if states is not None else tuple(State)
        where = f"state IN ({', '.join('?' for _ in wanted)})"
        if ids is not None:
            where += f" AND id IN ({', '.join(str(int(id)) for id in ids)})"
        with self._transaction() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE {where} ORDER BY id DESC LIMIT ?",
                (*wanted, -1 if limit is None else limit),
            ).fetchall()
            return [_job_of(row, self._paths(db, row[0])) for row in rows]

    # ------------------------------------------------------------ outputs

    def outputs(self, output_root: Path, *, after: int = 0, limit: int = 1000) -> list[Kept]:
        """Give outputs whose sources are there, by the numbers of their jobs, from behind `after` on."""
        # By no index: each would have all of the folder sorted again for every page.
        where = " AND id > ? ORDER BY id LIMIT ?"
        return self._kept(output_root, where, (after, limit), jobs="jobs NOT INDEXED")

    def outputs_to_read(self, output_root: Path, now: float, since: float, limit: int) -> list[Kept]:
        """Give outputs that were last read before `since`, or in the future: the clock was set back."""
        where = " AND NOT coalesce(checked_at BETWEEN ? AND ?, 0) ORDER BY checked_at LIMIT ?"
        return self._kept(output_root, where, (since, now, limit))

    def _kept(
        self, output_root: Path, where: str, values: tuple[Any, ...], *, jobs: str = "jobs"
    ) -> list[Kept]:
        rows = self._rows(
            "SELECT id, digest, output, (SELECT min(path) FROM files WHERE job = jobs.id) AS source,"
            f" {_OUTPUT} FROM {jobs}"
            f" WHERE output_root = ? AND state = ? AND output IS NOT NULL AND source IS NOT NULL{where}",
            (_blob(output_root), State.DONE, *values),
        )
        return [
            Kept(id, digest, _path(output), _path(source), _written(size, *written))
            for id, digest, output, source, size, *written in rows
        ]

    def written_of(self, job: Job, output: Path) -> Written | None:
        """Tell how an output of a job was, when it was made or last looked at."""
        rows = self._rows(
            f"SELECT {_OUTPUT} FROM jobs WHERE id = ? AND output = ?",
            (job.id, _blob(output)),
        )
        return _written(*rows[0]) if rows else None

    def maker_of(self, output: Path) -> Job | None:
        """Give the job that has the name of an output."""
        with self._transaction() as db:
            row = db.execute("SELECT id FROM jobs WHERE output_key = ?", (_text(key_of(output)),)).fetchone()
            return None if row is None else self._job(db, row[0])

    def note_look(self, kept: Kept, found: Written | None, now: float) -> None:
        """Say that an output was looked at, and how it is."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET output_size = ?, output_mtime_ns = ?, output_picture = ?,"
                " output_pixels = ?, output_edited = ?, checked_at = ?"
                " WHERE id = ? AND state = ? AND output = ?",
                (*_columns_of(found), now, kept.job, State.DONE, _blob(kept.output)),
            )

    def make_again(self, kept: Kept, now: Moment, reason: str) -> bool:
        """Make due a job whose output is lost; false if it was made anew meanwhile, by another watcher."""
        mtime_ns = None if kept.written is None else kept.written.mtime_ns
        with self._transaction() as db:
            cursor = db.execute(
                "UPDATE jobs SET state = ?, attempts = 0, reason = ?, ready_at = ?, due_at = ?"
                " WHERE id = ? AND state = ? AND output = ? AND output_mtime_ns IS ?",
                (State.READY, _text(reason), now.wall, now.steady, kept.job, State.DONE,
                 _blob(kept.output), mtime_ns),
            )  # fmt: skip
            return cursor.rowcount == 1

    # ------------------------------------------------------------ figures

    def seen(self, limit: int | None = None, output_root: Path | None = None) -> list[tuple[Path, float]]:
        """Files that have not settled, and since when they have been known, the newest first."""
        root = None if output_root is None else _blob(output_root)
        rows = self._rows(
            "SELECT path, seen_at FROM files WHERE job IS NULL AND (? IS NULL OR output_root = ?)"
            " ORDER BY seen_at DESC LIMIT ?",
            (root, root, -1 if limit is None else limit),
        )
        return [(_path(path), seen_at) for path, seen_at in rows]

    def due(
        self, output_roots: Collection[Path], now: Moment, *, source: Path | None = None,
        most: int = 1_000_000,
    ) -> int:  # fmt: skip
        """How many jobs of these output folders, up to `most`, are due, or ready and will be within a minute.

        With a `source` only those that have a file below it.
        """
        marks = ", ".join("?" for _ in output_roots)
        roots = [_blob(root) for root in output_roots]
        found = 0
        for state, until in ((State.READY, now.steady + 60), (State.FAILED, now.steady)):
            ((count,),) = self._rows(
                "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state = ? AND due_at <= ?"
                f" AND output_root IN ({marks}){_BELOW} LIMIT ?)",
                (state, until, *roots, *_below(source), most),
            )
            found += int(count)
        return min(found, most)

    def left(self, output_roots: Collection[Path]) -> int:
        """How many jobs of these output folders are not done."""
        marks = ", ".join("?" for _ in output_roots)
        rows = self._rows(
            f"SELECT count(*) FROM jobs WHERE state IN (?, ?, ?) AND output_root IN ({marks})",
            (State.READY, State.FAILED, State.QUARANTINED, *(_blob(root) for root in output_roots)),
        )
        return int(rows[0][0])

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state, and files seen."""
        found = {
            State(state): count for state, count in self._rows("SELECT state, count(*) FROM jobs GROUP BY 1")
        }
        (seen,) = self._rows("SELECT count(*) FROM files WHERE job IS NULL")[0]
        return {state: seen if state is State.SEEN else found.get(state, 0) for state in State}

    def stats(self, now: float) -> LedgerStats:
        """Sum up what was done, how long it took, and what waits."""
        done = "SELECT count(*) FROM jobs WHERE state = ? AND finished_at > ?"
        hour, day = (self._rows(done, (State.DONE, now - s))[0][0] for s in (3600, 86400))
        rows = self._rows(
            "SELECT finished_at - ready_at FROM jobs WHERE state = ? AND finished_at IS NOT NULL"
            " ORDER BY finished_at DESC LIMIT ?",
            (State.DONE, _MOST_JUDGED),
        )
        latencies = sorted(max(0.0, each) for (each,) in rows)
        (oldest,) = self._rows(
            "SELECT min(ready_at) FROM jobs WHERE state IN (?, ?, ?)",
            (State.READY, State.RUNNING, State.FAILED),
        )[0]
        (attempts,) = self._rows("SELECT coalesce(sum(attempts), 0) FROM jobs")[0]
        return LedgerStats(
            self.counts(), hour, day, _quantile(latencies, 0.5), _quantile(latencies, 0.95),
            None if oldest is None else now - oldest, attempts,
        )  # fmt: skip

    def cameras(self, model_prefix: str, output_root: Path | None = None) -> dict[str, int]:
        """How many captures of each camera were done (for a folder) by models whose id begins so."""
        root = None if output_root is None else _blob(output_root)
        rows = self._rows(
            "SELECT camera, count(*) FROM jobs WHERE state = ? AND substr(model_id, 1, ?) = ?"
            " AND (? IS NULL OR output_root = ?) GROUP BY camera",
            (State.DONE, len(model_prefix), model_prefix, root, root),
        )
        return dict(rows)

    def captures_of(self, camera: str, model_prefix: str, output_root: Path | None = None) -> list[Path]:
        """A file of each of those captures, the newest first."""
        root = None if output_root is None else _blob(output_root)
        rows = self._rows(
            "SELECT min(files.path) FROM jobs JOIN files ON files.job = jobs.id"
            " WHERE state = ? AND camera = ? AND substr(model_id, 1, ?) = ?"
            " AND (? IS NULL OR jobs.output_root = ?) GROUP BY jobs.id ORDER BY jobs.id DESC",
            (State.DONE, camera, len(model_prefix), model_prefix, root, root),
        )
        return [_path(path) for (path,) in rows]

    def get_fact(self, key: str) -> str | None:
        """Something small that is to be remembered."""
        rows = self._rows("SELECT value FROM facts WHERE key = ?", (_text(key),))
        return str(rows[0][0]) if rows else None

    def set_fact(self, key: str, value: str) -> None:
        """Remember it."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_text(key), _text(value)))

    # ------------------------------------------------------------ inside

    def _is_watched(self) -> bool:
        """Whether a watcher that lives has the ledger."""
        return any(not self.is_dead(path.stem) for path in self._owners.glob("*.lock"))

    def _become_owner(self) -> None:
        """Hold a lock that is free as soon as this process is no more; sweep those of the dead."""
        try:
            for path in self._owners.glob("*.lock"):
                self.is_dead(path.stem)
            self.owner = secrets.token_hex(8)
            lock = FileLock(self._lock_of(self.owner))
            lock.acquire()
        except BaseException:
            self._connection.close()
            raise
        self._own_lock = lock

    def _lock_of(self, owner: str) -> Path:
        return self._owners / f"{owner}.lock"

    def is_dead(self, owner: str) -> bool:
        """Whether a watcher is no more; what is left of its lock is removed."""
        path = self._lock_of(owner)
        if not path.exists():
            return True
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        lock.release()
        with suppress(OSError):
            path.unlink()
        return True

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._refusal(error) from error

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.Error) -> LedgerError:
        kind = LedgerBrokenError if is_damage(error) else LedgerError
        return kind(f"{self.folder / NAME}: {error}")

    def _job(self, db: sqlite3.Connection, id: int) -> Job:
        row = db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (id,)).fetchone()
        return _job_of(row, self._paths(db, id))

    def _paths(self, db: sqlite3.Connection, id: int) -> tuple[Path, ...]:
        return tuple(_path(path) for (path,) in db.execute("SELECT path FROM files WHERE job = ?", (id,)))


def existing_ledger(folder: Path) -> Ledger:
    """Open a ledger to look into, not to work by.

    Raises:
        LedgerError: there is none, or it cannot be read.
    """
    if not (folder / NAME).exists():
        raise LedgerError(f"{folder}: no ledger there; --state says where `rawdenoise watch` has put it")
    return Ledger(folder, owner=False)


def _drop_empty(db: sqlite3.Connection, id: int | None) -> None:
    """Drop a job that waits for files that are there no more, or hold something else.

    One that is to be done again stays: its files may only be on a disk that is not there now.
    """
    db.execute(
        "DELETE FROM jobs WHERE id = ? AND state IN (?, ?) AND NOT redo"
        " AND NOT EXISTS (SELECT 1 FROM files WHERE job = jobs.id)",
        (id, State.READY, State.FAILED),
    )


def _job_of(row: tuple[Any, ...], paths: tuple[Path, ...]) -> Job:
    told: dict[str, Any] = dict(zip(_COLUMNS.split(", "), row, strict=True))
    told |= {name: _path(told[name]) for name in _PATHS if told[name] is not None}
    told |= {name: bool(told[name]) for name in ("redo", "suspect")}
    return Job(**{**told, "state": State(told["state"]), "paths": paths})


def _columns_of(written: Written | None) -> tuple[int | None, int | None, str, str, bool]:
    if written is None:
        return None, None, "", "", False
    return written.size, written.mtime_ns, written.picture, written.pixels, written.edited


def _written(
    size: int | None, mtime_ns: int | None, picture: str, pixels: str, edited: int
) -> Written | None:
    if size is None or mtime_ns is None:
        return None
    return Written(size, mtime_ns, picture, pixels, bool(edited))


def _quantile(values: list[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def _below(source: Path | None) -> tuple[int, int, bytes]:
    """What `_BELOW` asks for: a file below a folder, or any at all."""
    start = b"" if source is None else _blob(source).rstrip(os.sep.encode()) + os.sep.encode()
    return int(source is not None), len(start), start


def _blob(path: Path) -> bytes:
    return os.fsencode(path)  # names need not be Unicode


def _text(words: str) -> str:
    """Spell bytes that are no Unicode, of a path that is named, as SQLite can keep them."""
    return words.encode(errors="backslashreplace").decode()


def _path(blob: bytes) -> Path:
    return Path(os.fsdecode(blob))
