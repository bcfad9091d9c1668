"""Standard streams as POSIX tools treat them: closed, full or gone, they end no other work."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

BROKEN_PIPE_EXIT_CODE = 141


class _Output(io.FileIO):
    """A standard stream that takes everything: what cannot be written is lost, and `lost` says why.

    Where `is_read` a reader that goes away raises BrokenPipeError, by which the process ends as others do.
    """

    def __init__(self, descriptor: int, *, is_read: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.lost: OSError | None = None
        self._is_read = is_read

    def write(self, data: object, /) -> int:
        """Write, or lose."""
        view = memoryview(data)  # type: ignore[arg-type]
        if self.lost is None:
            try:
                return super().write(view)
            except OSError as error:
                if self._is_read and error.errno == errno.EPIPE:
                    raise
                self.lost = error
        return view.nbytes


@contextmanager
def standard_streams() -> Iterator[None]:
    """Have streams that can be relied on; at the end a standard output that was lost makes the exit code 1.

    Streams that somebody else has put in place, tests for one, stay as they are.
    """
    _open_closed()
    before = sys.stdout, sys.stderr
    if os.name == "nt" or (sys.stdout, sys.stderr) != (sys.__stdout__, sys.__stderr__):
        yield
        return
    stdout, stderr = _Output(1, is_read=True), _Output(2, is_read=False)
    sys.stdout, sys.stderr = _text(stdout, sys.stdout.encoding), _text(stderr, sys.stderr.encoding)
    try:
        try:
            yield
        except SystemExit as ending:
            raise SystemExit(_exit_code(stdout, ending.code)) from None
        if code := _exit_code(stdout, 0):
            raise SystemExit(code)
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        if stdout.lost or stderr.lost:  # or Python's own flush at the end would complain
            discard(*(raw.fileno() for raw in (stdout, stderr) if raw.lost))
        sys.stdout, sys.stderr = before


def _exit_code(stdout: _Output, code: object) -> object:
    """Tell how the process ends, with standard output written to its end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard(1)
        return BROKEN_PIPE_EXIT_CODE
    if stdout.lost is None or code not in (None, 0):
        return code
    with suppress(OSError):
        sys.stderr.write(f"error: standard output: {stdout.lost.strerror or stdout.lost}\n")
    return 1


def find_lost_output() -> str:
    """Write standard output to its end, and say why that could not be done; empty where it could."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error.strerror or str(error)
    lost = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "lost", None)
    return str(lost.strerror or lost) if isinstance(lost, OSError) else ""


def discard(*descriptors: int) -> None:
    """Let what is still to be written to a descriptor go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def is_closed(stream: TextIO | None) -> bool:
    """Whether a standard stream was closed when the process began."""
    return stream is None or getattr(stream, "name", "") == os.devnull


def _open_closed() -> None:
    """Open streams that the process was started without: else the next file that is opened is taken for one.

    A library that complains on standard error would write into an output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as we live
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _text(raw: _Output, encoding: str) -> io.TextIOWrapper:
    """Write text to it as before, but for what its encoding does not hold: that is spelled out."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=raw.isatty() or raw.fileno() == 2,
    )
