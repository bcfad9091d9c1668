"""Who lives: a lock file for each watcher, which is free as soon as its process is no more."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


class Owners:
    """The watchers of a ledger by their locks; `own` is the name of this one, if it is a watcher."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.own = folder, ""
        self._own_lock: FileLock | None = None

    def join(self) -> None:
        """Become a watcher: hold a lock, and sweep those of the dead."""
        for path in self.folder.glob("*.lock"):
            self.is_dead(path.stem)
        self.own = secrets.token_hex(8)
        lock = FileLock(self._lock_of(self.own))
        lock.acquire()
        self._own_lock = lock

    def leave(self) -> None:
        """Free the own lock."""
        if self._own_lock is not None:
            self._own_lock.release()
            with suppress(OSError):
                Path(self._own_lock.lock_file).unlink()
            self._own_lock = None

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

    def is_any_alive(self) -> bool:
        """Whether a watcher that lives has the ledger."""
        return any(not self.is_dead(path.stem) for path in self.folder.glob("*.lock"))

    def _lock_of(self, owner: str) -> Path:
        return self.folder / f"{owner}.lock"
