"""The ledger's file: its tables, and what is done with a file that is damaged or of another kind."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rawdenoise.errors import RawDenoiseError

SCHEMA_VERSION = 2
BUSY_S = 6.0  # so that a stop is heard in time

_JOBS = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    output_root BLOB NOT NULL,
    recipe TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    redo INTEGER NOT NULL DEFAULT 0,
    output BLOB,
    output_key TEXT UNIQUE,
    replaces BLOB,
    camera TEXT NOT NULL DEFAULT '',
    model_id TEXT NOT NULL DEFAULT '',
    gain_db REAL,
    ready_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    due_at REAL NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    lease_until REAL NOT NULL DEFAULT 0,
    UNIQUE (digest, output_root)
);
CREATE INDEX jobs_by_state ON jobs (state, due_at);
CREATE INDEX jobs_by_camera ON jobs (camera, model_id);
CREATE TABLE files (
    path BLOB NOT NULL,
    output_root BLOB NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    device INTEGER NOT NULL,
    job INTEGER REFERENCES jobs (id),
    seen_at REAL NOT NULL,
    PRIMARY KEY (path, output_root)
) WITHOUT ROWID;
CREATE INDEX files_by_job ON files (job);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
# Since version 2: `due_at` and `lease_until` are by the steady clock, others by the wall clock.
_SINCE_2 = """
ALTER TABLE jobs ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN pixels TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN output_size INTEGER;
ALTER TABLE jobs ADD COLUMN output_mtime_ns INTEGER;
ALTER TABLE jobs ADD COLUMN output_picture TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN output_pixels TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN output_edited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN checked_at REAL;
CREATE INDEX jobs_by_check ON jobs (output_root, checked_at) WHERE output IS NOT NULL;
UPDATE jobs SET due_at = 0, lease_until = 0;
"""
_STEPS = (_JOBS, _SINCE_2)  # to version 1, from that to version 2
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_OF_THE_FILE = _DAMAGE | {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT}  # of which a file is no ledger


class LedgerError(RawDenoiseError):
    """The ledger cannot be read or written at present."""

    exit_code = 3


class LedgerMissingError(LedgerError):
    """There is no ledger where one was looked for."""


class LedgerBrokenError(LedgerError):
    """The ledger's file is damaged, or not one that this version knows: opened anew, it is put aside."""


class _NoLedgerError(Exception):
    """A database, but not one to go by."""


class Database:
    """An open ledger's file, for any number of threads.

    Every call raises LedgerError where SQLite refuses (a full disk, a file held for seconds); then
    nothing of it has happened.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self.connection = path, connection
        self._lock = threading.RLock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do several things, all of them or none."""
        with self._lock:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self.connection
                    self.connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        self.connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._refusal(error) from error

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Give what a query finds."""
        with self._lock:
            try:
                return self.connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._refusal(error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self.connection.close()

    def _refusal(self, error: sqlite3.Error) -> LedgerError:
        kind = LedgerBrokenError if _is_damage(error) else LedgerError
        return kind(f"{self.path}: {error}")


def encode_path(path: Path) -> bytes:
    """Spell a path as the ledger keeps it: names need not be Unicode."""
    return os.fsencode(path)


def decode_path(blob: bytes) -> Path:
    """Read a path that the ledger keeps."""
    return Path(os.fsdecode(blob))


def encode_text(words: str) -> str:
    """Spell bytes that are no Unicode, of a path that is named, as SQLite can keep them."""
    return words.encode(errors="backslashreplace").decode()


def open_database(path: Path, *, in_use: Callable[[], bool], put_aside: bool) -> tuple[Database, str]:
    """Open a ledger's file, or begin one; the text says that one was put aside, and where it is now.

    That is done with what is damaged, no database, of a newer version or of nobody knows whom, unless another
    process has it `in_use`, or it is not to be `put_aside` at all.

    Raises:
        LedgerError: the disk refuses. LedgerBrokenError: it is left as it is.
    """
    try:
        return Database(path, _connect(path)), ""
    except _NoLedgerError as error:
        reason = str(error)
    except sqlite3.Error as error:
        if _code_of(error) not in _OF_THE_FILE:
            raise LedgerError(f"{path}: {error}") from error
        reason = str(error)
    if not put_aside or in_use():
        who = "a watcher still has it; stop that first" if put_aside else "`rawdenoise watch` puts it aside"
        raise LedgerBrokenError(f"{path}: {reason}; {who}")
    aside = _put_aside(path)
    try:
        note = f"the ledger cannot be used ({reason}): it is now {aside}, and a new one was begun"
        return Database(path, _connect(path)), note
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: {error}") from error


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged; else the disk refuses, or somebody else has it."""
    return _code_of(error) in _DAMAGE


def _code_of(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)  # none where it is not SQLite that says it
    return None if code is None else code & 0xFF


def _put_aside(path: Path) -> Path:
    stamp = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    aside, number = path.with_name(stamp), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{stamp}-{number}")
    for suffix in ("-wal", "-shm", ""):  # an old log beside a new ledger would be played into it
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    return aside


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise _NoLedgerError("it is damaged")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise _NoLedgerError("it was written by a newer rawdenoise")
        if version or _tables(db):
            _check(db, version)
        for step in range(version, SCHEMA_VERSION):
            db.executescript(f"BEGIN IMMEDIATE; {_STEPS[step]} PRAGMA user_version = {step + 1}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, version: int) -> None:
    """Make sure that a file has the tables and columns that its version says."""
    with sqlite3.connect(":memory:") as meant:
        for step in _STEPS[: max(version, 0)]:
            meant.executescript(step)
        wanted = _tables(meant)
    meant.close()
    present = _tables(db)
    if version <= 0 or any(not columns <= present.get(name, set()) for name, columns in wanted.items()):
        raise _NoLedgerError("its tables are not those of a ledger")


def _tables(db: sqlite3.Connection) -> dict[str, set[str]]:
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: {column for _, column, *_ in db.execute("SELECT * FROM pragma_table_info(?)", (name,))}
        for name in names
        if not name.startswith("sqlite_")
    }
