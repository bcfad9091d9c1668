"""Which files there are, how they were when they settled, and what they hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from rawdenoise.files.sources import Signature
from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.ledger.database import Database, decode_path, encode_path
from rawdenoise.watching.ledger.records import QueuedJob, State
from rawdenoise.watching.ledger.rows import drop_if_without_files, read_job


class FileIndex:
    """The files of a ledger, each by its path and the folder its output is to go to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_settled(self, output_root: Path) -> Iterator[tuple[Path, Signature]]:
        """Give the files that were settled, and how they were then."""
        rows = self._database.rows(
            "SELECT path, size, mtime_ns, inode, device FROM files WHERE output_root = ? AND job IS NOT NULL",
            (encode_path(output_root),),
        )
        for path, *signature in rows:
            yield decode_path(path), Signature(*signature)

    def list_unsettled(
        self, limit: int | None = None, output_root: Path | None = None
    ) -> list[tuple[Path, float]]:
        """Give the files that have not settled, and since when they have been known, the newest first."""
        root = None if output_root is None else encode_path(output_root)
        rows = self._database.rows(
            "SELECT path, seen_at FROM files WHERE job IS NULL AND (? IS NULL OR output_root = ?)"
            " ORDER BY seen_at DESC LIMIT ?",
            (root, root, -1 if limit is None else limit),
        )
        return [(decode_path(path), seen_at) for path, seen_at in rows]

    def see(self, files: Iterable[tuple[Path, Signature]], output_root: Path, now: float) -> None:
        """Note files that have not settled yet; those that are of a job stay with it until then."""
        root = encode_path(output_root)
        rows = [(encode_path(path), root, *_columns(signature), now) for path, signature in files]
        with self._database.transaction() as db:
            db.executemany(
                "INSERT INTO files (path, output_root, size, mtime_ns, inode, device, seen_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                rows,
            )

    def settle(
        self, path: Path, output_root: Path, signature: Signature, digest: str, recipe: str, now: Moment
    ) -> QueuedJob:
        """Say what a settled file holds, and give its job: a new one, or the one there is for this content.

        Where the file has held something else, it leaves that job: one not begun is dropped with its last
        file, and the output of one that is done is what the new job `replaces`.
        """
        blob, root = encode_path(path), encode_path(output_root)
        with self._database.transaction() as db:
            before = db.execute(
                "SELECT job FROM files WHERE path = ? AND output_root = ?", (blob, root)
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
                (blob, root, *_columns(signature), job, now.wall),
            )
            if before and before[0] not in (None, job):
                _leave(db, before[0], job)
            return read_job(db, job)

    def forget(self, paths: Iterable[Path], output_root: Path, *, of: QueuedJob | None = None) -> None:
        """Say that files have vanished; jobs that wait and have no other file are dropped.

        With `of` only those that are still files of that job: others hold something else by now.
        """
        root = encode_path(output_root)
        with self._database.transaction() as db:
            for path in paths:
                where = (encode_path(path), root)
                row = db.execute("SELECT job FROM files WHERE path = ? AND output_root = ?", where).fetchone()
                if row and (of is None or row[0] == of.id):
                    db.execute("DELETE FROM files WHERE path = ? AND output_root = ?", where)
                    drop_if_without_files(db, row[0])

    def find_files(self, job: QueuedJob) -> list[tuple[Path, Signature]]:
        """Give the files that hold a job's content, as they were when they settled."""
        rows = self._database.rows(
            "SELECT path, size, mtime_ns, inode, device FROM files WHERE job = ?", (job.id,)
        )
        return [(decode_path(path), Signature(*signature)) for path, *signature in rows]

    def find_job(self, path: Path, output_root: Path) -> QueuedJob | None:
        """Give the job that a file is of, if it has settled."""
        with self._database.transaction() as db:
            row = db.execute(
                "SELECT job FROM files WHERE path = ? AND output_root = ? AND job IS NOT NULL",
                (encode_path(path), encode_path(output_root)),
            ).fetchone()
            return read_job(db, row[0]) if row else None


def _leave(db: sqlite3.Connection, old: int, new: int) -> None:
    """Have a file leave the job it was of, which may have been its last."""
    if db.execute("SELECT 1 FROM files WHERE job = ?", (old,)).fetchone():
        return
    state, redo, output, replaces = db.execute(
        "SELECT state, redo, output, replaces FROM jobs WHERE id = ?", (old,)
    ).fetchone()
    if replaces is None and (redo or state in (State.DONE, State.RUNNING)):
        replaces = output
    if replaces is not None:  # a job that was to replace an output and never did passes that on
        db.execute("UPDATE jobs SET replaces = ? WHERE id = ? AND state = ?", (replaces, new, State.READY))
    if state not in (State.RUNNING, State.DONE):
        db.execute("DELETE FROM jobs WHERE id = ?", (old,))


def _columns(signature: Signature) -> tuple[int, int, int, int]:
    return signature.size, signature.mtime_ns, signature.inode, signature.device
