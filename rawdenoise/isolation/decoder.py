"""What runs in a process that decodes strangers' bytes: one request after the other, until none can come.

Standard input brings the requests, standard output takes the answers, and standard error is the file that
arrays are passed in; what native code prints goes nowhere. No torch is imported here.
"""

from __future__ import annotations

import os
import queue
import signal
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import MappingProxyType

from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import UNFORESEEN, FileError, OutOfMemoryError, RawDenoiseError, guard_file
from rawdenoise.formats import read_raw
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.sidd import metadata_camera, read_sidd_blocks
from rawdenoise.isolation.messages import decode_message, encode_message

READY_MESSAGE = b"ready"
ALARM_SLACK_S = 60  # by which the parent's own clock comes first, if there is still a parent
MESSAGE_HEADER = struct.Struct("<Q")


def _read_raw(path: Path, layout: PlainLayout | None = None) -> RawImage:
    return read_raw(path, layout=layout)


CALLS: Mapping[str, Callable[..., object]] = MappingProxyType(
    {
        "read_raw": _read_raw,
        "read_sidd_blocks": read_sidd_blocks,
        "metadata_camera": metadata_camera,
    }
)


def main(calls: Mapping[str, Callable[..., object]] = CALLS) -> None:
    """Answer requests until the other end of the pipe is closed."""
    _leave_signals_to_the_parent()
    requests, answers, file = (FileIO(os.dup(number), mode) for number, mode in enumerate(("r", "w", "r+")))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    write_message(answers, READY_MESSAGE)
    while True:
        write_message(answers, _answer(waiting.get(), file, calls))


def read_message(pipe: FileIO) -> bytes | None:
    """Read the words of one message; None where there will be no more."""
    head = _read_exactly(pipe, MESSAGE_HEADER.size)
    return None if head is None else _read_exactly(pipe, MESSAGE_HEADER.unpack(head)[0])


def write_message(pipe: FileIO, words: bytes) -> None:
    """Write the words of one message."""
    view, done = memoryview(MESSAGE_HEADER.pack(len(words)) + words), 0
    while done < len(view):
        done += pipe.write(view[done:]) or 0


def _read_exactly(pipe: FileIO, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = pipe.read(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def _leave_signals_to_the_parent() -> None:
    """Outlive Ctrl-C, a closed terminal and a stopped service: the parent finishes the file, or kills."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _listen(requests: FileIO, waiting: queue.SimpleQueue[bytes]) -> None:
    """Take requests as they come; the parent's end is the end, whatever is being decoded."""
    while (words := read_message(requests)) is not None:
        waiting.put(words)
    os._exit(0)


def _answer(words: bytes, file: FileIO, calls: Mapping[str, Callable[..., object]]) -> bytes:
    """Do what is asked for, within its limits, and put the result or the error into words."""
    name, path, arguments, seconds, memory = decode_message(words, file)
    _limit(memory)
    _set_alarm(int(seconds) + ALARM_SLACK_S)
    try:
        with guard_file(path):
            return encode_message(("result", calls[name](path, *arguments)), file)
    except RawDenoiseError as error:
        return encode_message(_describe_error(error), file)
    finally:
        _set_alarm(0)


def _describe_error(error: RawDenoiseError) -> tuple[str, str, Path | None, str, bool]:
    """An error as its class, its path, its reason, and whether this process should decode no more."""
    spent = isinstance(error, OutOfMemoryError) or UNFORESEEN in str(error)
    if isinstance(error, FileError):
        return "error", type(error).__name__, error.path, error.reason, spent
    return "error", type(error).__name__, None, str(error), spent


def _limit(memory: int) -> None:
    """Hold the process to so many bytes of memory, and of its answer; no core is left behind."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, memory),
                        (resource.RLIMIT_CORE, 0)):  # fmt: skip
        with suppress(ValueError, OSError):  # a system that knows none, or a lower one that is set already
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _set_alarm(seconds: int) -> None:
    """Have the system end this process if nobody else does: native code may hang without its parent."""
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
