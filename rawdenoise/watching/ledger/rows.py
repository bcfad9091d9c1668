"""Rows of the table of jobs as records, and records as rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rawdenoise.watching.ledger.database import decode_path, encode_path
from rawdenoise.watching.ledger.records import Fingerprint, QueuedJob, State

COLUMNS = (
    "id, digest, output_root, recipe, state, attempts, reason, redo, output, replaces, camera, model_id,"
    " gain_db, ready_at, started_at, finished_at, due_at, owner, suspect, crashes, pixels"
)
OUTPUT_COLUMNS = "output_size, output_mtime_ns, output_picture, output_pixels, output_edited"
HAS_FILE_BELOW = (
    " AND (? = 0 OR EXISTS (SELECT 1 FROM files WHERE files.job = jobs.id AND substr(files.path, 1, ?) = ?))"
)
_PATHS = ("output_root", "output", "replaces")


def read_job(db: sqlite3.Connection, id: int) -> QueuedJob:
    """Read a job that is there."""
    return make_job(db, db.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (id,)).fetchone())


def make_job(db: sqlite3.Connection, row: Sequence[Any]) -> QueuedJob:
    """Make a job of its COLUMNS, with the files that it is of."""
    fields: dict[str, Any] = dict(zip(COLUMNS.split(", "), row, strict=True))
    fields |= {name: decode_path(fields[name]) for name in _PATHS if fields[name] is not None}
    fields |= {name: bool(fields[name]) for name in ("redo", "suspect")}
    files = db.execute("SELECT path FROM files WHERE job = ?", (fields["id"],))
    paths = tuple(decode_path(path) for (path,) in files)
    return QueuedJob(**{**fields, "state": State(fields["state"]), "paths": paths})


def drop_if_without_files(db: sqlite3.Connection, id: int | None) -> None:
    """Drop a job that waits for files that are there no more, or hold something else.

    One that is to be done again stays: its files may only be on a disk that is not there now.
    """
    db.execute(
        "DELETE FROM jobs WHERE id = ? AND state IN (?, ?) AND NOT redo"
        " AND NOT EXISTS (SELECT 1 FROM files WHERE job = jobs.id)",
        (id, State.READY, State.FAILED),
    )


def list_below_values(source: Path | None) -> tuple[int, int, bytes]:
    """Give the values of HAS_FILE_BELOW: a file below a folder, or any at all."""
    start = b"" if source is None else encode_path(source).rstrip(os.sep.encode()) + os.sep.encode()
    return int(source is not None), len(start), start


def list_output_values(written: Fingerprint | None) -> tuple[int | None, int | None, str, str, bool]:
    """Give the values of OUTPUT_COLUMNS."""
    if written is None:
        return None, None, "", "", False
    return written.size, written.mtime_ns, written.picture, written.pixels, written.edited


def make_fingerprint(
    size: int | None, mtime_ns: int | None, picture: str, pixels: str, edited: int
) -> Fingerprint | None:
    """Make a record of OUTPUT_COLUMNS."""
    if size is None or mtime_ns is None:
        return None
    return Fingerprint(size, mtime_ns, picture, pixels, bool(edited))
