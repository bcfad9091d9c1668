"""Reads captures in processes of their own, kept between files, killed with what makes them hang."""

from __future__ import annotations

import atexit
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any, cast

import rawdenoise.errors
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import (
    NO_MEMORY,
    DecoderCrashedError,
    DecoderTimeoutError,
    FileError,
    OutOfMemoryError,
    RawDenoiseError,
    SetupError,
    Stop,
    Stopped,
    UnreadableError,
)
from rawdenoise.formats import SIDD_SUFFIXES, check_readable, read_raw
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.isolation.decoder import READY_MESSAGE, read_message, write_message
from rawdenoise.isolation.messages import decode_message, encode_message

MAXIMUM_MEMORY = 4 << 30  # bytes of address space of one process: 24 MP take 0.6 GiB, 100 MP 1.1
# Until a process is taken to hang; a raw of 50 MB takes a second or two.
MAXIMUM_TIME_S, MAXIMUM_TIME_S_PER_MB = 120.0, 1.0
MAXIMUM_START_S = 120.0
FILES_PER_PROCESS = 500  # then a fresh one takes over, whatever native code has leaked
MAXIMUM_KILL_S = 2.0  # in which a process that was killed ends, unless it hangs in a system call
POLL_S = 0.05  # how often it is asked whether to stop
WORKER_MODULE = "rawdenoise.isolation.decoder"
_ROOT = Path(rawdenoise.errors.__file__).parents[1]
_BOOT_CODE = "import sys, importlib; sys.path[:] = sys.argv[2:]; importlib.import_module(sys.argv[1]).main()"


class IsolatedReader:
    """Reads files in processes of their own, one for each thread that reads at the same time.

    Each has `memory` bytes at most, where the system has such limits; a file has `time_s`, and
    `time_s_per_mb` for each megabyte of it. `worker` is the module that runs in them.
    """

    def __init__(
        self,
        *,
        memory: int = MAXIMUM_MEMORY,
        time_s: float = MAXIMUM_TIME_S,
        time_s_per_mb: float = MAXIMUM_TIME_S_PER_MB,
        worker: str = WORKER_MODULE,
    ) -> None:
        self._memory, self._time_s, self._time_s_per_mb, self._worker = memory, time_s, time_s_per_mb, worker
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._lock = threading.Lock()
        self._closed = False

    def read(self, path: Path, layout: PlainLayout | None = None, stopped: Stop = lambda: False) -> RawImage:
        """Read a capture as `read_raw` does.

        Raises:
            DecoderCrashedError, DecoderTimeoutError, OutOfMemoryError: what decoded it died, hung or took too
            much. Stopped: `stopped` said so, or the reader was closed. Others as `read_raw`.
        """
        raw = self.call("read_raw", path, layout, stopped=stopped)
        if not isinstance(raw, RawImage) or raw.mosaic.ndim != 2 or raw.mosaic.dtype != "uint16":
            raise DecoderCrashedError(path, "its decoder gave no capture")
        return replace(raw, source=path)

    def call(self, name: str, path: Path, *arguments: object, stopped: Stop = lambda: False) -> Any:
        """Have one of the worker's functions read a file.

        Raises: as `read`.
        """
        check_readable(path)
        try:
            return self._call(name, path, arguments, stopped)
        except _KilledError:  # between files, or because others took all memory: once is no proof
            return self._call(name, path, arguments, stopped)

    def _call(self, name: str, path: Path, arguments: tuple[object, ...], stopped: Stop) -> Any:
        seconds = self._time_s + self._time_s_per_mb * _size_of(path) / 1e6
        process = self._take(path, stopped)
        spent = True
        try:
            request = (name, _make_absolute(path), arguments, seconds, self._memory)
            kind, *answer = process.ask(request, path, time.monotonic() + seconds, stopped)
            spent = kind == "error" and bool(answer[-1])
        except DecoderCrashedError:
            if self._closed:
                raise Stopped from None
            raise
        finally:
            self._give_back(process, spent=spent)
        if kind == "error":
            raise _to_error(answer, path, self._memory)
        return answer[0]

    def start(self) -> None:
        """Start a process, which gets ready beside whatever else is to be done before a file is read.

        Where none can be started, the first file that is read says so.
        """
        with suppress(SetupError):
            process = _Process(self._worker)
            with self._lock:
                self._all.add(process)
                self._idle.append(process)

    def close(self) -> None:
        """End all processes, also those that are at work: what waits for them is `Stopped`."""
        with self._lock:
            self._closed = True
            ending, self._idle = list(self._all), []
        for process in ending:
            process.kill()
        until = time.monotonic() + MAXIMUM_KILL_S
        for process in ending:
            process.end(until)

    def _take(self, path: Path, stopped: Stop) -> _Process:
        with self._lock:
            if self._closed:
                raise Stopped
            idle = self._idle.pop() if self._idle else None
        if idle is not None and not idle.alive:
            self._give_back(idle, spent=True)
            return self._take(path, stopped)
        process = idle or _Process(self._worker)
        with self._lock:
            self._all.add(process)
            closed = self._closed
        try:
            if closed:
                raise Stopped
            process.wait_until_ready(path, stopped)
        except BaseException:
            self._give_back(process, spent=True)
            raise
        return process

    def _give_back(self, process: _Process, *, spent: bool) -> None:
        with self._lock:
            keep = not (spent or self._closed or process.files >= FILES_PER_PROCESS) and process.alive
            if keep:
                self._idle.append(process)
            else:
                self._all.discard(process)
        if not keep:
            process.end()


class _KilledError(DecoderCrashedError):
    """It was killed from outside."""


class _Process:
    """One process, and the file in which it passes what is large."""

    def __init__(self, worker: str) -> None:
        self.files = 0
        self._is_ready = False
        self._file = _open_nameless_file()
        # -P: whatever lies in the current folder is no module of ours.
        command = [sys.executable, "-P", "-c", _BOOT_CODE, worker, *filter(None, sys.path), str(_ROOT)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # whose threads would take address space
        try:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._file, bufsize=0,
                env=environment,
            )  # fmt: skip
        except OSError as error:
            self._file.close()
            raise SetupError(f"no process to read captures in can be started ({error.strerror})") from error
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def alive(self) -> bool:
        """Whether it could answer."""
        return self._popen.poll() is None

    def wait_until_ready(self, path: Path, stopped: Stop) -> None:
        """Wait for what it says first, once.

        Raises:
            SetupError: it ended before, or does not come to it; the line says what it printed last.
            _KilledError: it was killed.
        """
        if self._is_ready:
            return
        try:
            words = self._next(time.monotonic() + MAXIMUM_START_S, stopped)
        except TimeoutError:  # a machine that is busy beyond all measure: no file's fault
            words = b""
        if words is None and isinstance(ended := self._describe_end(path), _KilledError):
            raise ended
        if words != READY_MESSAGE:
            self.kill()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(MAXIMUM_KILL_S)
            self._file.seek(0)
            printed = (self._file.read(1 << 16) or b"").decode(errors="replace").strip().splitlines()
            reason = printed[-1] if printed else "no reason given"
            raise SetupError(f"the process that reads captures does not start: {reason}")
        self._is_ready = True

    def ask(self, request: tuple[object, ...], path: Path, deadline: float, stopped: Stop) -> Any:
        """Have it answer a request, and wait for that.

        Raises:
            DecoderCrashedError, DecoderTimeoutError, Stopped: as `IsolatedReader.read`.
        """
        self.files += 1
        try:
            write_message(cast(FileIO, self._popen.stdin), encode_message(request, self._file))
            words = self._next(deadline, stopped)
        except TimeoutError:
            raise DecoderTimeoutError(path, "takes for ever to decode: it was given up") from None
        except OSError:
            words = None
        if words is None:
            raise self._describe_end(path)
        try:
            answer = decode_message(words, self._file)
            self._file.truncate(0)
        except MemoryError:
            raise OutOfMemoryError(path, NO_MEMORY) from None
        except Exception as error:
            raise DecoderCrashedError(path, "its decoder gave an answer that makes no sense") from error
        return answer

    def kill(self) -> None:
        """Have it end, whatever it does."""
        self._popen.kill()

    def end(self, until: float | None = None) -> None:
        """Kill it; nothing of it is left, but where a disk that does not answer holds it.

        Such a one ends when the disk answers, and is waited for no longer than `until`.
        """
        self.kill()
        until = time.monotonic() + MAXIMUM_KILL_S if until is None else until
        try:
            self._popen.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return
        self._listener.join(max(0.0, until - time.monotonic()))
        if self._listener.is_alive():  # another process holds the pipe open that it reads
            return
        for pipe in (self._popen.stdin, self._popen.stdout, self._file):
            assert pipe is not None
            pipe.close()

    def _listen(self) -> None:
        pipe = cast(FileIO, self._popen.stdout)
        while (words := read_message(pipe)) is not None:
            self._answers.put(words)
        self._answers.put(None)

    def _next(self, deadline: float, stopped: Stop) -> bytes | None:
        """Wait for its next words; None where there will be no more.

        Raises:
            TimeoutError: not in time. Stopped: not wanted any more.
        """
        while True:
            try:
                return self._answers.get(timeout=POLL_S)
            except queue.Empty:
                if stopped():
                    raise Stopped from None
                if time.monotonic() > deadline:
                    raise TimeoutError from None

    def _describe_end(self, path: Path) -> DecoderCrashedError:
        """Say how it ended."""
        try:
            code = self._popen.wait(MAXIMUM_KILL_S)
        except subprocess.TimeoutExpired:
            return DecoderCrashedError(path, "its decoder ended without an answer")
        if code >= 0:
            return DecoderCrashedError(path, f"its decoder ended without an answer (exit code {code})")
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if name == "SIGKILL":
            return _KilledError(path, "its decoder was killed (SIGKILL), as happens where memory runs out")
        return DecoderCrashedError(path, f"its decoder crashed ({name}): the file is damaged")


def _open_nameless_file() -> FileIO:
    """A file that two processes can hold and that is gone with them: in memory, where the system has such."""
    try:
        if hasattr(os, "memfd_create"):
            return FileIO(os.memfd_create("rawdenoise"), "r+")
        return tempfile.TemporaryFile(buffering=0)
    except OSError as error:
        raise SetupError(f"no room to pass captures through ({error.strerror})") from error


def _size_of(path: Path) -> int:
    """Bytes of a file; 0 where it is gone, which the decoder says better."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _make_absolute(path: Path) -> Path:
    try:
        return path.absolute()
    except OSError:  # the current folder is gone
        return path


def _to_error(answer: list[Any], path: Path, memory: int) -> RawDenoiseError:
    """The error that the worker met, as it would be here."""
    name, where, reason, _ = answer
    kind = getattr(rawdenoise.errors, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, RawDenoiseError)):
        return UnreadableError(path, str(reason))
    if not issubclass(kind, FileError):
        return kind(str(reason))
    where = path if where == _make_absolute(path) else where
    if issubclass(kind, OutOfMemoryError) and reason == NO_MEMORY:
        reason = f"needs more memory than a decoder may take ({memory / 2**30:.3g} GiB)"
    return kind(where, reason)


@cache
def shared_reader() -> IsolatedReader:
    """Give the reader of this program, whose processes are kept until it ends."""
    reader = IsolatedReader()
    atexit.register(reader.close)
    return reader


def read_alone(path: Path, layout: PlainLayout | None = None, stopped: Stop = lambda: False) -> RawImage:
    """Read the only capture of a command: here, but for MATLAB files, whose libraries damaged ones crash.

    Raises: as `IsolatedReader.read`.
    """
    if path.suffix.lower() in SIDD_SUFFIXES:
        return shared_reader().read(path, layout, stopped)
    return read_raw(path, layout=layout)


def read_isolated(path: Path, *, layout: PlainLayout | None = None) -> RawImage:
    """Read one of many captures: as `read_raw`, in a process of its own.

    Raises: as `IsolatedReader.read`.
    """
    return shared_reader().read(path, layout)
