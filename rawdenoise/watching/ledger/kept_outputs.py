"""The outputs that jobs have made, how they were, and when they were last looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rawdenoise.files.names import key_of
from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.ledger.database import Database, decode_path, encode_path, encode_text
from rawdenoise.watching.ledger.records import Fingerprint, KeptOutput, QueuedJob, State
from rawdenoise.watching.ledger.rows import OUTPUT_COLUMNS, list_output_values, make_fingerprint, read_job


class KeptOutputs:
    """The outputs of jobs that are done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_page(self, output_root: Path, *, after: int = 0, limit: int = 1000) -> list[KeptOutput]:
        """Give outputs whose sources are there, by the numbers of their jobs, from behind `after` on."""
        # By no index: each would have all of the folder sorted again for every page.
        where = " AND id > ? ORDER BY id LIMIT ?"
        return self._list(output_root, where, (after, limit), jobs="jobs NOT INDEXED")

    def list_unread(self, output_root: Path, now: float, since: float, limit: int) -> list[KeptOutput]:
        """Give outputs that were last read before `since`, or in the future: the clock was set back."""
        where = " AND NOT coalesce(checked_at BETWEEN ? AND ?, 0) ORDER BY checked_at LIMIT ?"
        return self._list(output_root, where, (since, now, limit))

    def _list(
        self, output_root: Path, where: str, values: tuple[Any, ...], *, jobs: str = "jobs"
    ) -> list[KeptOutput]:
        rows = self._database.rows(
            "SELECT id, digest, output, (SELECT min(path) FROM files WHERE job = jobs.id) AS source,"
            f" {OUTPUT_COLUMNS} FROM {jobs}"
            f" WHERE output_root = ? AND state = ? AND output IS NOT NULL AND source IS NOT NULL{where}",
            (encode_path(output_root), State.DONE, *values),
        )
        return [
            KeptOutput(id, digest, decode_path(output), decode_path(source), make_fingerprint(size, *written))
            for id, digest, output, source, size, *written in rows
        ]

    def find_fingerprint(self, job: QueuedJob, output: Path) -> Fingerprint | None:
        """Tell how an output of a job was, when it was made or last looked at."""
        rows = self._database.rows(
            f"SELECT {OUTPUT_COLUMNS} FROM jobs WHERE id = ? AND output = ?", (job.id, encode_path(output))
        )
        return make_fingerprint(*rows[0]) if rows else None

    def find_maker(self, output: Path) -> QueuedJob | None:
        """Give the job that has the name of an output."""
        with self._database.transaction() as db:
            row = db.execute(
                "SELECT id FROM jobs WHERE output_key = ?", (encode_text(key_of(output)),)
            ).fetchone()
            return None if row is None else read_job(db, row[0])

    def note_look(self, kept: KeptOutput, present: Fingerprint | None, now: float) -> None:
        """Say that an output was looked at, and how it is."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE jobs SET output_size = ?, output_mtime_ns = ?, output_picture = ?,"
                " output_pixels = ?, output_edited = ?, checked_at = ?"
                " WHERE id = ? AND state = ? AND output = ?",
                (*list_output_values(present), now, kept.job, State.DONE, encode_path(kept.output)),
            )

    def make_again(self, kept: KeptOutput, now: Moment, reason: str) -> bool:
        """Make due a job whose output is lost; false if it was made anew meanwhile, by another watcher."""
        mtime_ns = None if kept.written is None else kept.written.mtime_ns
        with self._database.transaction() as db:
            cursor = db.execute(
                "UPDATE jobs SET state = ?, attempts = 0, reason = ?, ready_at = ?, due_at = ?"
                " WHERE id = ? AND state = ? AND output = ? AND output_mtime_ns IS ?",
                (State.READY, encode_text(reason), now.wall, now.steady, kept.job, State.DONE,
                 encode_path(kept.output), mtime_ns),
            )  # fmt: skip
            return cursor.rowcount == 1
