"""Which names in a watched folder are captures, which go with one, and which are nobody's business."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rawdenoise.formats import RAW_SUFFIXES

SIDECAR_SUFFIXES = frozenset({".xmp", ".jpg", ".jpeg", ".heic", ".heif", ".hif", ".wav"})

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


def is_capture(path: Path, suffixes: frozenset[str] = RAW_SUFFIXES) -> bool:
    """Whether a path may be of a raw capture, by its name."""
    return path.suffix.lower() in suffixes and not is_ignored(path.name)


def sidecars_of(capture: Path) -> list[Path]:
    """What lies in a capture's folder and belongs to it: IMG.xmp, IMG.CR2.xmp, IMG.JPG, ... in any case."""
    stems = (capture.stem.lower(), capture.name.lower())
    return [
        each
        for each in _beside(capture, capture.stem)
        if each.suffix.lower() in SIDECAR_SUFFIXES and each.stem.lower() in stems
    ]


def captures_of(sidecar: Path) -> list[Path]:
    """The captures beside a sidecar that it belongs to."""
    stem = sidecar.stem.lower()
    return [
        each
        for each in _beside(sidecar, sidecar.stem)
        if is_capture(each) and stem in (each.stem.lower(), each.name.lower())
    ]


def sidecar_name(sidecar: Path, capture: Path, output: Path) -> str:
    """Name a sidecar beside the output: IMG.xmp after its stem, IMG.CR2.xmp after its whole name."""
    whole = sidecar.stem.lower() == capture.name.lower()
    return (output.name if whole else output.stem) + sidecar.suffix


def _beside(path: Path, start: str) -> list[Path]:
    """List the files (no folders, no pipes) of a path's folder whose names begin so, in any case."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return []
    start = start.lower()
    found = [name for name in names if name.lower().startswith(start) and not is_ignored(name)]
    return [each for name in sorted(found) if (each := path.with_name(name)).is_file()]
