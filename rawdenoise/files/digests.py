"""Digests of files that were digested before and have not changed since, so that they need not be read."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from rawdenoise.errors import UnreadableError
from rawdenoise.files.sources import digest_of, signature_of

_FILE_NAME = "digests.sqlite"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS digests (file TEXT PRIMARY KEY, digest TEXT NOT NULL, day INTEGER NOT NULL)"
)
# A file may change again within the tick of its clock; FAT counts by two seconds.
_MINIMUM_AGE_NS = 3_000_000_000
_MAXIMUM_AGE_DAYS = 400
_DAY_S = 86400


class Digests:
    """SHA-256 of files by what a change of content changes: inode, size and both times, to the nanosecond.

    No name is kept. What cannot be kept, for want of a folder or of space, is digested again.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        with suppress(OSError, sqlite3.Error):
            self._db = _open(folder / _FILE_NAME)

    def __enter__(self) -> Digests:
        """Give it as it is."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock, suppress(sqlite3.Error):
            if self._db is not None:
                self._db.close()
            self._db = None

    def look_up(self, path: Path) -> str:
        """Give a file's digest, by reading it only where that is not known.

        Raises:
            UnreadableError: no bytes can be had. SourceChangedError: it is being written.
        """
        key = _key_of(path)
        known = None if key is None else self._find(key)
        if known is not None:
            return known
        signature = signature_of(path)
        if signature is None:
            raise UnreadableError(path, "is no file that can be read")
        digest = digest_of(path, signature)
        self.keep(path, digest, key)
        return digest

    def keep(self, path: Path, digest: str, key: str | None = None) -> None:
        """Remember a digest that was just taken; `key` is of before, where that was looked at."""
        now = _key_of(path)
        if not digest or now is None or (key is not None and key != now) or _is_young(path):
            return
        self._query("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (now, digest, _today()))

    def _find(self, key: str) -> str | None:
        rows = self._query("SELECT digest, day FROM digests WHERE file = ?", (key,))
        if not rows:
            return None
        digest, day = rows[0]
        if day != _today():
            self._query("UPDATE digests SET day = ? WHERE file = ?", (_today(), key))
        return str(digest)

    def _query(self, query: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        with self._lock, suppress(sqlite3.Error):
            if self._db is not None:
                return self._db.execute(query, values).fetchall()
        return []


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # it is busy, or its disk is full
            raise
        path.unlink()  # damaged: nothing is lost with it
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = OFF")
        db.execute(_SCHEMA)
        with closing(db.execute("DELETE FROM digests WHERE day < ?", (_today() - _MAXIMUM_AGE_DAYS,))):
            return db
    except BaseException:
        db.close()
        raise


def _key_of(path: Path) -> str | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _is_young(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return True
    age = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns)
    return age < _MINIMUM_AGE_NS  # in the future, too: clocks are set back


def _today() -> int:
    return int(time.time() // _DAY_S)
