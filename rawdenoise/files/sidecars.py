"""What belongs to a capture and lies beside it: edits of raw developers, camera JPEGs, sound."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rawdenoise.atomic import atomic_output
from rawdenoise.errors import OutputExistsError, UnreadableError
from rawdenoise.files.sources import CHUNK_BYTES

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".heic", ".heif", ".hif", ".wav"})
EDIT_SUFFIXES = frozenset({".xmp", ".pp3", ".dop", ".on1"})  # Adobe and darktable, RawTherapee, DxO, ON1
SIDECAR_SUFFIXES = PICTURE_SUFFIXES | EDIT_SUFFIXES
CAPTURE_ONE_FOLDER = "CaptureOne"  # it holds Settings, Settings153, ...
SETTINGS_PREFIX, COS_SUFFIX = "Settings", ".cos"


class Sidecars:
    """The sidecars in folders, each of which is listed once: a look-up costs the same in a full one."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[Path]]] = {}

    def find(self, capture: Path) -> list[Path]:
        """Give what belongs to a capture, in any case: IMG.xmp, IMG.CR2.xmp, IMG.JPG, IMG.CR2.cos, ..."""
        folder = capture.parent
        if folder not in self._folders:
            self._folders[folder] = _group_by_capture(folder)
        stems = dict.fromkeys((capture.stem.lower(), capture.name.lower()))
        return [path for stem in stems for path in self._folders[folder].get(stem, ())]


def _group_by_capture(folder: Path) -> dict[str, list[Path]]:
    """Order the sidecars of a folder by what they are called after, in lower case."""
    ordered: dict[str, list[Path]] = {}
    for path in _sidecars_in(folder):
        ordered.setdefault(path.stem.lower(), []).append(path)
    return ordered


def _sidecars_in(folder: Path) -> Iterator[Path]:
    yield from (path for path in _files_in(folder) if path.suffix.lower() in SIDECAR_SUFFIXES)
    for settings in _folders_in(folder / CAPTURE_ONE_FOLDER):
        if settings.name.startswith(SETTINGS_PREFIX):
            yield from (path for path in _files_in(settings) if path.suffix.lower() == COS_SUFFIX)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path, is_file in _entries(folder) if is_file and not path.name.startswith("."))


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path, is_file in _entries(folder) if not is_file)


def _entries(folder: Path) -> list[tuple[Path, bool]]:
    try:
        with os.scandir(folder) as entries:
            return [
                (Path(entry.path), entry.is_file()) for entry in entries if entry.is_file() or entry.is_dir()
            ]
    except OSError:
        return []


def sidecar_beside(sidecar: Path, capture: Path, output: Path) -> Path:
    """Tell where a sidecar goes: IMG.xmp is called after the output's stem, IMG.CR2.xmp after its whole name.

    Capture One's go into a folder of the same name as theirs beside the output.
    """
    whole = sidecar.stem.lower() == capture.name.lower()
    name = (output.name if whole else output.stem) + sidecar.suffix
    folder = output.parent
    if sidecar.suffix.lower() == COS_SUFFIX:
        folder = folder / CAPTURE_ONE_FOLDER / sidecar.parent.name
    return folder / name


def copy_missing(sidecars: list[Path], capture: Path, output: Path) -> list[Path]:
    """Copy what belongs to a capture beside its output; what lies there is left alone, it may be edited.

    Raises:
        OutputError: one cannot be written. UnreadableError: one cannot be read.
    """
    copied = []
    at_home = output.parent.resolve() == capture.parent.resolve()
    for sidecar in sidecars:
        if at_home and sidecar.suffix.lower() in PICTURE_SUFFIXES:
            continue  # the camera's JPEG is there already
        target = sidecar_beside(sidecar, capture, output)
        if not os.path.lexists(target) and copy_file(sidecar, target, replace=False):
            copied.append(target)
    return copied


def copy_file(source: Path, target: Path, *, replace: bool = True) -> bool:
    """Copy a file with its times, whole or not at all; whether it was.

    Raises:
        OutputError: it cannot be written. UnreadableError: it cannot be read.
    """
    try:
        with atomic_output(target, replace=replace) as temporary:
            try:
                file = source.open("rb")
            except OSError as error:
                raise UnreadableError(source, f"cannot be read ({error.strerror or error})") from error
            with file, temporary.open("wb") as copy:
                shutil.copyfileobj(file, copy, CHUNK_BYTES)
            times = source.stat()
            os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OutputExistsError:
        return False
    return True
