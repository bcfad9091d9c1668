"""Ctrl-C, SIGTERM and a closed terminal: the first asks politely, the second does not wait."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING_SIGNALS = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
INTERRUPTED_LINE = b"interrupted\n"
SHOW_CURSOR = b"\r\x1b[2K\x1b[?25h"  # where a progress bar has hidden it


class Stop:
    """Whether a signal, or somebody else, has asked to stop: call it; `exit_code` is the shell's for that.

    `is_signalled` tells that it was a signal: whoever sends another one does not want to wait.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.is_signalled = False

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self.signal != 0

    def ask(self, number: int = signal.SIGINT) -> None:
        """Ask to stop, as if by this signal; who has asked first stays the reason."""
        self.signal = self.signal or number

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.signal


@contextmanager
def stop_on_signal(
    clean_up: Callable[[], None],
    *,
    stop: Stop | None = None,
    last_words: Callable[[int], bytes] = lambda exit_code: INTERRUPTED_LINE,
) -> Iterator[Stop]:
    """Turn the first signal into a polite `Stop`; at the second, clean up and end the process at once.

    `last_words` is what is then still written to standard error, for an exit code.
    """
    stop = stop or Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if not stop.is_signalled:
            stop.is_signalled = True
            stop.ask(number)
            return
        clean_up()
        # Written past Python's streams, which the signal may have found half-way through a write.
        with suppress(OSError):
            os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + last_words(stop.exit_code))
        os._exit(stop.exit_code)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield stop
        return
    with _handling(handle, (signal.SIGINT, *ENDING_SIGNALS)):
        yield stop


def interrupt_main_thread() -> None:
    """Do to the main thread what Ctrl-C does, from any other; nothing where SIGINT is ignored."""
    if sys.platform == "win32":
        _thread.interrupt_main()
        return
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # which also wakes it, where it waits


class Ended(BaseException):
    """The process was told to end; what is under way is cleaned up on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def end_on_signal() -> Iterator[None]:
    """Have SIGTERM and a closed terminal raise `Ended`, as Ctrl-C raises KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handling(handle, ENDING_SIGNALS):
        yield


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None], numbers: Iterable[int]) -> Iterator[None]:
    """Handle signals, but for those that are to be ignored: `nohup` and shells say so beforehand."""
    meant = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in meant}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
