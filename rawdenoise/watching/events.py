"""What the system says of changes in a folder, as hints of where to look."""

from __future__ import annotations

import errno
import logging
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from rawdenoise.errors import Stop
from rawdenoise.files.sources import identity_of
from rawdenoise.watching.mounts import MountChanges
from rawdenoise.watching.names import is_ignored, is_ignored_folder

logging.getLogger("watchdog").addHandler(logging.NullHandler())  # it warns of lost events: scans find them

WATCH_LIMIT_REASON = "the system's limit of watched folders is reached (fs.inotify.max_user_watches)"
_REASONS = {
    errno.ENOSPC: WATCH_LIMIT_REASON,
    errno.EMFILE: "the system's limit of watchers is reached (fs.inotify.max_user_instances)",
    errno.ENOENT: "the folder is not there",
}
_ASKED_FOR: list[type[FileSystemEvent]] = [  # not of opening and reading: whoever reads changes nothing
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
JOIN_S = 2.0
TURN_S = 1.0  # for hints, of one turn: whatever arrives, the rest has its turn too


@dataclass(frozen=True, slots=True)
class Hint:
    """Something happened to a path: written to, `moved_in` whole, `gone`, or a `folder` that came whole."""

    path: Path
    moved_in: bool = False
    gone: bool = False
    folder: bool = False


class HintQueue:
    """Hints of several folders on their way to the watching thread, from any thread."""

    def __init__(self) -> None:
        self._hints: queue.SimpleQueue[tuple[Path, Hint] | None] = queue.SimpleQueue()

    def put(self, root: Path, hint: Hint) -> None:
        """Tell of something that happened in a watched folder."""
        self._hints.put((root, hint))

    def wake(self) -> None:
        """End the wait for hints: there is something else to do."""
        self._hints.put(None)

    def listen(self, timeout: float, stop: Stop) -> Iterator[tuple[Path, Hint]]:
        """Wait for a hint, or to be woken, then give what there is, for as long as a turn may take."""
        until = time.monotonic() + timeout + TURN_S
        with suppress(queue.Empty):
            hint = self._hints.get(timeout=timeout) if timeout else self._hints.get_nowait()
            while True:
                if hint is not None:
                    yield hint
                if time.monotonic() > until or stop():
                    return
                hint = self._hints.get_nowait()


class Events:
    """The system's own events for one folder, handed to `on_hint` from a thread of theirs."""

    def __init__(self, root: Path, on_hint: Callable[[Hint], None], *, recursive: bool = True) -> None:
        self._root, self._on_hint, self._recursive = root, on_hint, recursive
        self._real = root
        self._identity: tuple[int, int] | None = None
        self._observer: BaseObserver | None = None
        self._mounts: MountChanges | None = None

    def start(self) -> str:
        """Begin; a text says why there will be no events, and then the folder must be polled."""
        if Observer is PollingObserver:
            return "the system tells of no changes"
        try:
            self._real = Path(os.path.realpath(self._root))  # of a link itself there are no events
            self._mounts = MountChanges()
            self._real.stat()  # not every system says by itself that a folder is not there
            self._identity = identity_of(self._real)
            handler = _Handler(self._root, self._real, self._on_hint, recursive=self._recursive)
            self._observer = _observe(self._real, handler, recursive=self._recursive)
        except OSError as error:
            self.stop()
            return _REASONS.get(error.errno or 0, error.strerror or str(error))
        if self._is_short_of_watches():
            self.stop()
            return WATCH_LIMIT_REASON
        return ""

    def is_alive(self) -> bool:
        """Whether events still come, all of them, and of the folder that has this name now."""
        if self._observer is None or self._mounts is None:
            return False
        emitters = self._observer.emitters
        if not (self._observer.is_alive() and emitters and all(emitter.is_alive() for emitter in emitters)):
            return False
        if self._mounts.any():  # a disk that was away and came back has the identity it had, and no watches
            return False
        identity = identity_of(self._root)
        return identity is not None and identity == self._identity and not self._is_short_of_watches()

    def stop(self) -> None:
        """End."""
        if self._observer is not None:
            _end(self._observer)
        if self._mounts is not None:
            self._mounts.close()
        self._observer = self._mounts = None

    def _is_short_of_watches(self) -> bool:
        """Try for one more: watchdog passes over a folder below the root that gets none without a word."""
        if sys.platform != "linux" or not self._recursive:
            return False
        try:
            _end(_observe(self._real, FileSystemEventHandler(), recursive=False))
        except OSError as error:
            return error.errno == errno.ENOSPC
        return False


def _observe(folder: Path, handler: FileSystemEventHandler, *, recursive: bool) -> BaseObserver:
    observer = Observer()
    try:
        observer.schedule(handler, os.fspath(folder), recursive=recursive, event_filter=_ASKED_FOR)
        observer.start()
    except BaseException:
        _end(observer)
        raise
    return observer


def _end(observer: BaseObserver) -> None:
    observer.stop()  # also one that could not start: a thread of it may run from the first
    if observer.is_alive():
        observer.join(JOIN_S)


class _Handler(FileSystemEventHandler):
    """Turns events below `real` into hints of paths below `root`, which may be another name of it."""

    def __init__(self, root: Path, real: Path, on_hint: Callable[[Hint], None], *, recursive: bool) -> None:
        self._root, self._real, self._on_hint, self._recursive = root, real, on_hint, recursive

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Turn an event into hints."""
        source, target = self._path(event.src_path), self._path(event.dest_path)
        match event:
            case FileMovedEvent():
                self._tell(source, gone=True)
                # those of a folder that was renamed say nothing of its files: one may be being written
                self._tell(target, moved_in=not event.is_synthetic)
            case DirMovedEvent():
                self._tell_folder(target)  # what was in it before is gone, which the next scan finds
            case DirCreatedEvent():
                self._tell_folder(source)
            case FileDeletedEvent():
                self._tell(source, gone=True)
            case FileCreatedEvent() | FileModifiedEvent() | FileClosedEvent():
                # watchdog makes a creation of a move from outside, so whether it is whole is not known
                self._tell(source)

    def _path(self, name: bytes | str) -> Path | None:
        """Name what happened to something as a scan does; None where a scan does not look."""
        try:
            below = Path(os.fsdecode(name)).relative_to(self._real) if name else Path()
        except ValueError:
            return None
        *folders, last = below.parts or ("",)
        if not last or any(map(is_ignored_folder, folders)) or (folders and not self._recursive):
            return None
        return self._root / below

    def _tell(self, path: Path | None, *, moved_in: bool = False, gone: bool = False) -> None:
        if path is not None and not is_ignored(path.name):
            self._on_hint(Hint(path, moved_in=moved_in, gone=gone))

    def _tell_folder(self, path: Path | None) -> None:
        if path is not None and self._recursive and not is_ignored_folder(path.name):
            self._on_hint(Hint(path, folder=True))
