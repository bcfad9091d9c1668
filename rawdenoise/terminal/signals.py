"""Ctrl-C, SIGTERM and a closed terminal: the first asks politely, the second does not wait."""

from __future__ import annotations

import _thread
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING_SIGNALS = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
INTERRUPTED_LINE = b"interrupted\n"
SHOW_CURSOR = b"\r\x1b[2K\x1b[?25h"  # where a progress bar has hidden it
AGAIN_S = 0.02  # after which a signal that came while a module was being imported comes again


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
        if _is_heard():
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
    _signal_main_thread(signal.SIGINT)


def _signal_main_thread(number: int) -> None:
    main = threading.main_thread().ident
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    elif main is not None:
        signal.pthread_kill(main, number)  # which also wakes it, where it waits


class Ended(BaseException):
    """The process was told to end; what is under way is cleaned up on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def end_on_signal() -> Iterator[None]:
    """Have SIGTERM and a closed terminal raise `Ended`, as Ctrl-C raises KeyboardInterrupt.

    Those that come while a module is being imported wait for it: libraries in C++ that import from Python, as
    torch does, abort the process where an exception comes of that. Where nobody takes what is said of the
    first, the second ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    around = _find_import(sys._getframe())  # of whoever calls us while it is imported itself
    waiting: list[threading.Timer] = []
    first, is_told = 0, False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first, is_told
        first = first or number  # which stays the reason
        if _find_import(frame) is not around:
            for timer in waiting:
                timer.cancel()
            waiting[:] = [threading.Timer(AGAIN_S, _signal_main_thread, [first])]
            waiting[0].daemon = True
            waiting[0].start()
            return
        if is_told:
            _end_unheard(first)
        is_told = True
        raise KeyboardInterrupt if first == signal.SIGINT else Ended(first)

    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with _handling(handle, (*ENDING_SIGNALS, *([signal.SIGINT] if is_usual else []))):
        try:
            yield
        finally:
            for timer in waiting:
                timer.cancel()


@contextmanager
def too_late_for_signals() -> Iterator[None]:
    """Let signals that ask to end do nothing: what is still to be said is the end, if somebody hears it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handling(lambda number, frame: _end_unheard(number), (signal.SIGINT, *ENDING_SIGNALS)):
        yield


def _end_unheard(number: int) -> None:
    """End the process at once if it may wait for ever to say something."""
    if not _is_heard():
        os._exit(128 + number)


def _is_heard() -> bool:
    """Whether standard error takes a line at once; a pipe that nobody empties may never."""
    if sys.platform == "win32":
        return True
    try:
        return bool(select.select([], [2], [], 0)[1])
    except (OSError, ValueError):
        return False


def _find_import(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of an import that is under way; None where there is none."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame


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
