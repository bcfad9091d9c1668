"""One process at a time installs and removes plug-ins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from rawdenoise.errors import OutputError

NAME = "lock"


@contextmanager
def one_at_a_time(own: Path) -> Iterator[None]:
    """Wait until no other process installs or removes plug-ins, and keep others waiting in the block.

    The lock is the system's, and gone with the process.

    Raises:
        OutputError: the folder of our own files cannot be written.
    """
    lock = FileLock(own / NAME)
    try:
        own.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise OutputError(own, f"cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps it while it is open
            Path(lock.lock_file).unlink()
        lock.release()
