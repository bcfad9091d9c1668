"""The captures a camera's model is trained on: found, read once, and grouped by camera."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rawdenoise.capture.raw import Camera, Levels
from rawdenoise.errors import FileError, NotFoundError, RawDenoiseError, UnreadableError
from rawdenoise.formats import raw_suffixes
from rawdenoise.formats.sidd import is_note, is_reference
from rawdenoise.isolation.noisy_captures import assign_camera, read_untouched

if TYPE_CHECKING:
    from rawdenoise.formats.headerless import PlainLayout

FileReport = Callable[[Path, RawDenoiseError | None], None]


@dataclass(frozen=True, slots=True)
class Capture:
    """A capture to train on; `digest` is the SHA-256 of its file, `named` whether that names its camera."""

    path: Path
    digest: str
    iso: int | None
    layout: PlainLayout | None = None
    levels: Levels | None = None
    named: bool = True


@dataclass(frozen=True, slots=True)
class CaptureSet:
    """The captures of one camera in one mode."""

    camera: Camera
    captures: tuple[Capture, ...]

    @property
    def digest(self) -> str:
        """Identifies the set, whatever its files are called and wherever they lie."""
        return hashlib.sha256("".join(sorted(c.digest for c in self.captures)).encode()).hexdigest()

    @property
    def iso_range(self) -> tuple[int, int] | None:
        """Lowest and highest ISO, None where no file says."""
        isos = [capture.iso for capture in self.captures if capture.iso is not None]
        return (min(isos), max(isos)) if isos else None


def gather_captures(
    paths: Iterable[Path],
    *,
    camera_name: str | None = None,
    layout: PlainLayout | None = None,
    on_file: FileReport = lambda path, error: None,
) -> list[CaptureSet]:
    """Read every capture once and group them by make, model and mode, the largest group first.

    Folders are searched for raw files, and for plain mosaics where a `layout` is given. With `camera_name`
    the captures of other cameras are left out, and those whose files name no camera are taken to be of this
    one. Files that cannot be used are told to `on_file` and left out; so are copies of a file already seen,
    and files this program made.
    """
    groups: dict[tuple[str, str, str], list[tuple[Camera, Capture]]] = defaultdict(list)
    seen: set[str] = set()
    for path in _find_files(paths, layout, on_file):
        try:
            camera, capture = _read_capture(path, camera_name, layout)
            if capture.digest in seen:
                raise FileError(path, "is a copy of another capture here")
            seen.add(capture.digest)
        except RawDenoiseError as error:
            on_file(path, error)
            continue
        groups[camera.make, camera.model, camera.mode].append((camera, capture))
        on_file(path, None)
    sets = [_group(members) for members in groups.values()]
    return sorted(sets, key=lambda group: (-len(group.captures), group.camera.name))


def _find_files(paths: Iterable[Path], layout: PlainLayout | None, on_file: FileReport) -> Iterator[Path]:
    suffixes = raw_suffixes(layout)
    for path in paths:
        if path.is_dir():
            raws = (inner for inner in path.rglob("*") if inner.suffix.lower() in suffixes)
            raws = (inner for inner in raws if not (is_reference(inner) or is_note(inner)))
            yield from sorted(inner for inner in raws if inner.is_file() and not _is_hidden(inner, path))
        elif path.exists():
            yield path
        else:
            on_file(path, NotFoundError(path, "there is no such file or folder"))


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _read_capture(path: Path, camera_name: str | None, layout: PlainLayout | None) -> tuple[Camera, Capture]:
    raw = read_untouched(path, layout)
    named = bool(raw.camera.make or raw.camera.model)
    camera = raw.camera if camera_name is None else assign_camera(raw, camera_name).camera
    return camera, Capture(path, _digest(path), raw.exposure.iso, layout, raw.levels, named)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableError(path, f"cannot be read ({error.strerror or error})") from error


def _group(members: list[tuple[Camera, Capture]]) -> CaptureSet:
    cameras = {camera for camera, _ in members}
    one_body = len({camera.serial for camera in cameras}) == 1
    camera = members[0][0] if one_body else replace(members[0][0], serial="")
    return CaptureSet(camera, tuple(sorted((c for _, c in members), key=lambda capture: capture.digest)))
