"""One process at a time at a training."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rawdenoise.errors import ScratchError, TrainingError


class TrainingLock:
    """Keeps other processes out of a training; the lock is the system's, and gone with the process.

    Raises, on entering:
        TrainingError: another process is at the same training. ScratchError: the folder cannot be written.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._lock = FileLock(folder / f"{run}.lock", timeout=0)

    def __enter__(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            reason = "another process is training on these captures: wait for it or stop it"
            raise TrainingError(reason) from None
        except OSError as error:
            reason = f"cannot be written ({error.strerror or error})"
            raise ScratchError(f"{self._folder}: {reason}") from error

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # Windows keeps it while it is open
            Path(self._lock.lock_file).unlink()
        self._lock.release()
