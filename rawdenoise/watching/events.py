"""What the system says of changes in a folder, as hints of where to look."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedNoWriteEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from rawdenoise.watching.names import is_ignored, is_ignored_folder

_LIMITS = {
    errno.ENOSPC: "the system's limit of watched folders is reached (fs.inotify.max_user_watches)",
    errno.EMFILE: "the system's limit of watchers is reached (fs.inotify.max_user_instances)",
    errno.ENOENT: "the folder is not there",
}
JOIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Hint:
    """Something happened to a path: written to, `moved_in` whole, `gone`, or a `folder` that came whole."""

    path: Path
    moved_in: bool = False
    gone: bool = False
    folder: bool = False


class Events:
    """The system's own events for one folder, handed to `on_hint` from a thread of theirs."""

    def __init__(self, root: Path, on_hint: Callable[[Hint], None], *, recursive: bool = True) -> None:
        self._root, self._recursive = root, recursive
        self._handler = _Handler(on_hint)
        self._observer = Observer()
        self._identity: tuple[int, int] | None = None

    def start(self) -> str:
        """Begin; a text says why there will be no events, and then the folder must be polled."""
        try:
            self._identity = _identity(self._root)
            self._observer.schedule(self._handler, os.fspath(self._root), recursive=self._recursive)
            self._observer.start()
        except OSError as error:
            self.stop()
            return _LIMITS.get(error.errno or 0, error.strerror or str(error))
        return ""

    def alive(self) -> bool:
        """Whether events still come, and of the folder that has this name now."""
        emitters = self._observer.emitters
        running = self._observer.is_alive() and bool(emitters) and all(each.is_alive() for each in emitters)
        try:
            return running and _identity(self._root) == self._identity
        except OSError:
            return False

    def stop(self) -> None:
        """End."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(JOIN_S)


class _Handler(FileSystemEventHandler):
    def __init__(self, on_hint: Callable[[Hint], None]) -> None:
        self._on_hint = on_hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Turn an event into hints; reading a file is no change of it."""
        source, target = _path(event.src_path), _path(event.dest_path)
        match event:
            case FileOpenedEvent() | FileClosedNoWriteEvent():
                return
            case FileMovedEvent():
                self._tell(source, gone=True)
                self._tell(target, moved_in=True)
            case DirMovedEvent():
                self._tell_folder(target)  # what was in it before is gone, which the next scan finds
            case DirCreatedEvent():
                self._tell_folder(source)
            case FileDeletedEvent():
                self._tell(source, gone=True)
            case _ if not event.is_directory:
                # watchdog makes a creation of a move from outside, so whether it is whole is not known
                self._tell(source)

    def _tell(self, path: Path | None, *, moved_in: bool = False, gone: bool = False) -> None:
        if path is not None and not is_ignored(path.name):
            self._on_hint(Hint(path, moved_in=moved_in, gone=gone))

    def _tell_folder(self, path: Path | None) -> None:
        if path is not None and not is_ignored_folder(path.name):
            self._on_hint(Hint(path, folder=True))


def _path(name: bytes | str) -> Path | None:
    return Path(os.fsdecode(name)) if name else None


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
