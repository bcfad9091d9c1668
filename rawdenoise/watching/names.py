"""Which names in a watched folder are captures, which go with one, and which are nobody's business."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rawdenoise.files.sidecars import CAPTURE_ONE_FOLDER, COS_SUFFIX, SIDECAR_SUFFIXES
from rawdenoise.formats import raw_suffixes

BESIDE_SUFFIXES = SIDECAR_SUFFIXES | {COS_SUFFIX}
"""What may belong to a capture."""

# Copies under way of browsers, FTP servers, Syncthing and editors; conflict copies.
_UNFINISHED = re.compile(
    r".*(\.(part|partial|tmp|temp|crdownload|download|filepart|!ut|opdownload)|~)|~syncthing~.*|.*\.sync-conflict-.*",
    re.IGNORECASE | re.DOTALL,
)
_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "@tmp"}
)


def is_ignored(name: str) -> bool:
    """Whether a file of this name is never a capture: hidden, unfinished, a conflict copy."""
    return name.startswith(".") or _UNFINISHED.fullmatch(name) is not None


def is_ignored_folder(name: str) -> bool:
    """Whether a folder of this name is not looked into: hidden (.stfolder, ...), or a system's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def is_capture(path: Path, suffixes: frozenset[str] | None = None) -> bool:
    """Whether a path may be of a raw capture, by its name."""
    suffixes = raw_suffixes() if suffixes is None else suffixes
    return path.suffix.lower() in suffixes and not is_ignored(path.name)


class ShotIndex:
    """Captures and sidecars by their names, so that one is found from the other without listing a folder.

    For any number of threads.
    """

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        """Index these; others are added as they are come upon."""
        self._lock = threading.Lock()
        self._captures: dict[tuple[Path, str], set[Path]] = {}  # by folder, and stem or name
        self._sidecars: dict[tuple[Path, str], set[Path]] = {}  # by folder and stem
        for path in paths:
            self.add(path)

    def add(self, path: Path) -> None:
        """Index a file, if it is a capture or a sidecar by its name."""
        with self._lock:
            for table, key in self._places(path):
                table.setdefault(key, set()).add(path)

    def discard(self, path: Path) -> None:
        """Forget a file."""
        with self._lock:
            for table, key in self._places(path):
                paths = table.get(key, set())
                paths.discard(path)
                if not paths:
                    table.pop(key, None)

    def find_sidecars(self, capture: Path) -> list[Path]:
        """Give what lies beside a capture and belongs to it: IMG.xmp, IMG.CR2.xmp, IMG.JPG; in any case."""
        return self._look_up(self._sidecars, capture.parent, capture.stem, capture.name)

    def find_captures(self, sidecar: Path) -> list[Path]:
        """Give the captures that a sidecar belongs to."""
        return self._look_up(self._captures, _home_of(sidecar), sidecar.stem)

    def _places(self, path: Path) -> Iterator[tuple[dict[tuple[Path, str], set[Path]], tuple[Path, str]]]:
        if is_capture(path):
            yield self._captures, (path.parent, path.stem.lower())
            yield self._captures, (path.parent, path.name.lower())
        elif path.suffix.lower() in BESIDE_SUFFIXES and not is_ignored(path.name):
            yield self._sidecars, (_home_of(path), path.stem.lower())

    def _look_up(self, table: Mapping[tuple[Path, str], set[Path]], folder: Path, *stems: str) -> list[Path]:
        with self._lock:
            paths = {path for stem in stems for path in table.get((folder, stem.lower()), ())}
        return sorted(path for path in paths if path.is_file())


def _home_of(sidecar: Path) -> Path:
    """The folder of the captures that a sidecar can belong to; Capture One's lie two folders further in."""
    is_within = sidecar.suffix.lower() == COS_SUFFIX and sidecar.parent.parent.name == CAPTURE_ONE_FOLDER
    return sidecar.parents[2] if is_within else sidecar.parent


def index_folder(folder: Path) -> ShotIndex:
    """Index what lies in a folder, not below it; nothing where that cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return ShotIndex(folder / entry.name for entry in entries)
    except OSError:
        return ShotIndex()
