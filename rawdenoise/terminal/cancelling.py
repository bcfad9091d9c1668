"""How a program stops the one it runs without a signal: it closes its standard input, or makes a file."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_S = 0.1  # how often is looked
STDIN = 0


@contextmanager
def watch_for_cancel(on_cancel: Callable[[], None], *, file: Path | None, stdin: bool) -> Iterator[None]:
    """Call `on_cancel` once, from another thread, when `file` is there or standard input was closed.

    Standard input counts only where it is a pipe or a socket, and is read for it: what comes goes nowhere.
    """
    is_closed = _watch_stdin() if stdin and is_pipe(STDIN) else None
    if file is None and is_closed is None:
        yield
        return
    ended, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        while not ended.is_set():
            if (file is not None and os.path.lexists(file)) or (is_closed is not None and is_closed()):
                with lock:  # on_cancel may interrupt the main thread, which is then still in the block
                    if not ended.is_set():
                        on_cancel()
                return
            ended.wait(POLL_S)

    threading.Thread(target=watch, name="cancel", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            ended.set()


def is_pipe(descriptor: int) -> bool:
    """Whether somebody holds the other end of a descriptor: a pipe or a socket, no terminal, file or null."""
    try:
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _watch_stdin() -> Callable[[], bool]:
    """Give what tells, without waiting, whether standard input was closed."""
    if sys.platform == "win32":
        import _winapi
        import msvcrt

        handle = msvcrt.get_osfhandle(STDIN)

        def is_closed_on_windows() -> bool:
            # To wait in a read would hold up whatever else is done to the pipe.
            try:
                waiting = _winapi.PeekNamedPipe(handle, 0)[0]
                return bool(waiting) and not os.read(STDIN, waiting)
            except OSError:
                return True

        return is_closed_on_windows

    def is_closed() -> bool:
        with suppress(InterruptedError):
            poll = select.poll()
            poll.register(STDIN, select.POLLIN | select.POLLHUP)
            if poll.poll(0):
                return not _read_some()
        return False

    return is_closed


def _read_some() -> bool:
    """Whether there was something to read, or may be later."""
    try:
        return bool(os.read(STDIN, 1 << 16))
    except BlockingIOError:
        return True
    except OSError:
        return False
