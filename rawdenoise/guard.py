"""The last door of a reader: what nobody foresaw in a file is an error of that file, and of no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rawdenoise.errors import OutOfMemoryError, RawDenoiseError, UnreadableError

log = logging.getLogger(__name__)

UNFORESEEN = "is damaged in a way nobody foresaw"
"""How a refusal begins that only the guard could give: a gap in the reader, which the fuzz tests look for."""
NO_MEMORY = "needs more memory than there is"


@contextmanager
def guarded(refuse: Callable[[str], RawDenoiseError]) -> Iterator[None]:
    """Let no exception out of a reader but our own; `refuse` makes the error of a reason.

    Raises:
        RawDenoiseError: as the reader raises it, or of what it did not foresee.
    """
    try:
        yield
    except RawDenoiseError:
        raise
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise refuse(NO_MEMORY) from error
    except Exception as error:
        log.debug("nobody foresaw this", exc_info=True)
        raise refuse(f"{UNFORESEEN} ({_named(error)})") from error


@contextmanager
def guarded_file(path: Path) -> Iterator[None]:
    """Let no exception out of the reader of a capture but our own.

    Raises:
        UnreadableError: what nobody foresaw. OutOfMemoryError: there is not enough memory for it.
    """
    with guarded(lambda reason: (OutOfMemoryError if reason == NO_MEMORY else UnreadableError)(path, reason)):
        yield


def explained(error: Exception) -> str:
    """Say an error in one line: our own as it is, a bug by its type, with a traceback in the log."""
    if isinstance(error, RawDenoiseError):
        return str(error)
    log.debug("a bug", exc_info=error)
    return NO_MEMORY if isinstance(error, MemoryError) else f"unexpected {_named(error)}"


def _named(error: Exception) -> str:
    words = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {words}".removesuffix(": ")
