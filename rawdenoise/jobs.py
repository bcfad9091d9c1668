"""Files and folders in, a plan out: which files are done, and which output each one gets."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path

from rawdenoise.errors import RawDenoiseError
from rawdenoise.formats import RAW_SUFFIXES
from rawdenoise.formats.metadata import denoised_by_us, read_metadata
from rawdenoise.formats.tags import Code
from rawdenoise.formats.tiff_container import text
from rawdenoise.quality import PictureQuality

CAPTURE_TAGS = (Code.DateTimeOriginal, 37521, 42033)  # and SubSecTimeOriginal, BodySerialNumber


class Status(StrEnum):
    """What became of a file."""

    PLANNED = "planned"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


SKIPPED, FAILED = Status.SKIPPED, Status.FAILED
OURS = "was made by rawdenoise; name the file itself to denoise it again"


class IfExists(StrEnum):
    """What to do where an output is there already."""

    SKIP = "skip"
    OVERWRITE = "overwrite"
    RENAME = "rename"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Job:
    """One file to do, or (status not PLANNED) one that was settled while planning, with the reason."""

    source: Path
    output: Path | None = None
    status: Status = Status.PLANNED
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one job; `exit_code` is that of `error`, 0 where nothing failed.

    `quality` is the estimate of how much better the picture became, None where there is none.
    """

    source: Path
    output: Path | None
    status: Status
    reason: str = ""
    exit_code: int = 0
    camera: str = ""
    model_id: str = ""
    megapixels: float = 0.0
    read_s: float = 0.0
    network_s: float = 0.0
    write_s: float = 0.0
    notes: tuple[str, ...] = ()
    quality: PictureQuality | None = None
    error: Exception | None = None


def result_of(job: Job) -> FileResult:
    """Give what is known of a job before it is begun: all there will be, where planning settled it."""
    notes = (job.note,) if job.note else ()
    failed = int(job.status is Status.FAILED)
    return FileResult(job.source, job.output, job.status, job.reason, failed, notes=notes)


def made_by_us(path: Path) -> bool:
    """Tell an output of ours by its Software tag and, in a DNG, by the noise reduction it states.

    Captures of a simulated camera are our writer's too, but nothing was denoised in them. What cannot be read
    is somebody else's.
    """
    suffix = path.suffix.lower()
    if suffix not in {".dng", ".tif", ".tiff"}:
        return False
    try:
        metadata = read_metadata(path)
    except RawDenoiseError:
        return False
    return denoised_by_us(metadata, path)


def same_capture(source: Path, output: Path) -> bool:
    """Tell whether two files can be of one capture: what both say of when and by which body it was taken.

    Cameras count to 9999 and begin again, so the same name in the same place may be another picture.
    """
    one, other = when_and_by_what(source), when_and_by_what(output)
    return all(one[code] == other[code] for code in one.keys() & other.keys())


def when_and_by_what(path: Path) -> dict[int, str]:
    """Read when a capture was taken and by which body, by their tags; empty where nothing is said."""
    try:
        metadata = read_metadata(path)
    except RawDenoiseError:
        return {}
    found = {code: metadata.exif.get(code) or metadata.root.get(code) for code in CAPTURE_TAGS}
    return {code: text(tag).strip() for code, tag in found.items() if tag is not None}


def plan(
    paths: Sequence[Path],
    folder: Path,
    *,
    suffix: str,
    recursive: bool = False,
    if_exists: IfExists = IfExists.SKIP,
    suffixes: frozenset[str] = RAW_SUFFIXES,
    is_output: Callable[[Path], bool] = made_by_us,
    same_capture: Callable[[Path, Path], bool] = same_capture,
) -> list[Job]:
    """Turn files and folders into jobs whose outputs lie in `folder`; nothing is written or decoded.

    Below `folder` the tree is that of the inputs, from the deepest folder that holds everything given.
    `suffixes` (lower case) are searched for inside folders, hidden files and `folder` itself are not;
    `is_output` tells our own outputs among them. No output is a source, by any name, nor another's output;
    where outputs that exist are skipped, `same_capture` tells whether they really are of their source.
    """
    given = {absolute(path) for path in paths}
    found = _unique(job for path in paths for job in _find(path, recursive, suffixes, unless_in=folder))
    found = [
        job if absolute(job.source) in given or not is_output(job.source) else _settled(job, SKIPPED, OURS)
        for job in found
    ]
    planned = [job for job in found if job.status is Status.PLANNED]
    names = name_outputs([below(job.source, tree_root(paths)) for job in planned], suffix)
    sources = {identity for job in planned if (identity := _identity(job.source))}
    taken = {key_of(folder / name) for name in names}
    settled = {
        job.source: _settle(_named(job, folder / name, suffix), suffix, if_exists, sources, taken)
        for job, name in zip(planned, names, strict=True)
    }
    jobs = [settled.get(job.source, job) for job in found]
    return [_checked(job, same_capture) for job in jobs]


def tree_root(paths: Sequence[Path]) -> Path | None:
    """Find the deepest folder that holds everything given; None where there is none (other drives)."""
    folders = [path if _is_folder(path) else path.parent for path in map(absolute, paths)]
    try:
        return Path(os.path.commonpath(folders)) if folders else None
    except ValueError:
        return None


def below(source: Path, root: Path | None) -> Path:
    """Tell a source's path as seen from `root`; without one the drive's letter stands as a folder."""
    path = absolute(source)
    if root is not None:
        return path.relative_to(root)
    drive = "".join(letter for letter in path.drive if letter.isalnum())
    return Path(drive, *path.parts[1:])


def name_outputs(sources: Sequence[Path], suffix: str) -> list[Path]:
    """Give each (relative) source an output of its own: `a/IMG.CR2` becomes `a/IMG.dng`.

    All sources that would share a name keep their own suffix (`IMG.CR2.dng`, `IMG.NEF.dng`), so that a name
    never means another source once a file is added; what is still the same (a difference of case only,
    which many file systems ignore) is numbered in the order given.
    """
    plain = [source.with_name(source.stem + suffix) for source in sources]
    uses = Counter(map(key_of, plain))
    taken = {key for key, times in uses.items() if times == 1}
    names = []
    for source, name in zip(sources, plain, strict=True):
        if uses[key_of(name)] > 1:
            name = _free(source.with_name(source.name + suffix), suffix, lambda path: key_of(path) in taken)
            taken.add(key_of(name))
        names.append(name)
    return names


def _find(path: Path, recursive: bool, suffixes: frozenset[str], *, unless_in: Path) -> Iterator[Job]:
    """Give a file as it is, whatever its name; of a folder its raw files, sorted, and what refuses."""
    if not _is_folder(path):
        yield Job(path)
        return
    refusals: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=refusals.append):
        keep = [Path(folder, name) for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [each.name for each in keep if recursive and not _same(each, unless_in)]
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Job(Path(folder, name))
    for error in refusals:
        yield _settled(Job(Path(str(error.filename))), FAILED, f"cannot be read ({error.strerror})")


def _unique(jobs: Iterable[Job]) -> list[Job]:
    """Each path once, at its first place, however often and by whatever spelling it was given."""
    unique: dict[Path, Job] = {}
    for job in jobs:
        unique.setdefault(absolute(job.source), job)
    return list(unique.values())


def _named(job: Job, output: Path, suffix: str) -> Job:
    usual = output.name == job.source.stem + suffix
    note = "" if usual else f"named {output.name} because other inputs have the same name"
    return replace(job, output=output, note=note)


def _settle(
    job: Job, suffix: str, if_exists: IfExists, sources: set[tuple[int, int]], taken: set[str]
) -> Job:
    """Decide what can be decided without reading: outputs that exist, or that are somebody's source."""
    output = job.output
    if output is None or not os.path.lexists(output):
        return job
    if if_exists is IfExists.RENAME:
        free = _free(output, suffix, lambda path: os.path.lexists(path) or key_of(path) in taken)
        taken.add(key_of(free))
        return replace(job, output=free, note=f"named {free.name} because {output.name} exists")
    if _identity(output) in sources:
        return _settled(
            job, FAILED, f"the output {output} is one of the sources; give another folder with -o"
        )
    if if_exists is IfExists.OVERWRITE:
        return job
    return _settled(job, SKIPPED if if_exists is IfExists.SKIP else FAILED, f"{output} exists")


def _checked(job: Job, same_capture: Callable[[Path, Path], bool]) -> Job:
    """Do not take for done what only has the same name."""
    if job.status is not SKIPPED or job.output is None or same_capture(job.source, job.output):
        return job
    reason = f"{job.output} exists and is of another capture; give another folder, or --if-exists rename"
    return _settled(job, FAILED, reason)


def _settled(job: Job, status: Status, reason: str) -> Job:
    return replace(job, status=status, reason=reason)


def _free(path: Path, suffix: str, is_taken: Callable[[Path], bool]) -> Path:
    """Give the path itself or, numbered from 2, the first like it that is not taken."""
    if not is_taken(path):
        return path
    stem = path.name.removesuffix(suffix)
    return next(each for n in count(2) if not is_taken(each := path.with_name(f"{stem}-{n}{suffix}")))


def key_of(path: Path) -> str:
    """Spell a path as the most forgetful file system would: no case, no Unicode forms."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def absolute(path: Path) -> Path:
    """Spell a path from the root, by the names given: links stay, for the tree of outputs mirrors them."""
    return Path(os.path.normpath(path.absolute()))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # not ours to look at: reading it will say so
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _same(path: Path, other: Path) -> bool:
    identity = _identity(path)
    return identity is not None and identity == _identity(other)
