"""One arrived file: what it is, where its output goes, and what goes with it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from rawdenoise.atomic import MARK, atomic_output, is_temporary_of, write_bytes
from rawdenoise.errors import FileError, OutputError, UnreadableError
from rawdenoise.formats.provenance import made_of
from rawdenoise.jobs import made_by_us, same_capture, when_and_by_what
from rawdenoise.watching.ledger import Job, Ledger
from rawdenoise.watching.names import sidecar_name, sidecars_of
from rawdenoise.watching.tracker import Signature, signature_of

CHUNK = 1 << 20
MARKER = ".rawdenoise"  # in an output folder, so that one that is not mounted is not taken for an empty one
MARKER_TEXT = (
    b"Outputs of rawdenoise watch. It waits while this file is missing: the disk may not be mounted.\n"
)
DATE_TIME_ORIGINAL = 36867
STALE_S = 86400.0  # a temporary file that old belongs to no one


class SourceChangedError(FileError):
    """The file is not as it was when it settled: it is still being written, or gone."""


class OutputGoneError(OutputError):
    """The output folder is not what it was: its disk is probably not mounted."""


def digest_of(path: Path, signature: Signature, stopped: Callable[[], bool]) -> str:
    """SHA-256 of a settled file's content, in hexadecimal; empty if it was stopped on the way.

    Raises:
        SourceChangedError: it is not as `signature` says, before or after. UnreadableError: no bytes can be
        had.
    """
    check_unchanged(path, signature)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                if stopped():
                    return ""
    except OSError as error:
        raise UnreadableError(path, f"cannot be read ({error.strerror or error})") from error
    check_unchanged(path, signature)
    return digest.hexdigest()


def check_unchanged(path: Path, signature: Signature) -> None:
    """Make sure that a file is still as it was.

    Raises:
        SourceChangedError: it is not.
    """
    now = signature_of(path)
    if now != signature:
        raise SourceChangedError(path, "is gone" if now is None else "changed while it was being read")


def prepare_output(folder: Path, ledger: Ledger) -> None:
    """Make an output folder and mark it; once it was marked it is never made again.

    Raises:
        OutputGoneError: it was there once, and now it or its mark is not. OutputError: it cannot be made.
    """
    fact = f"output {folder}"
    marker = folder / MARKER
    if marker.exists():
        if ledger.get_fact(fact) is None:
            ledger.set_fact(fact, "marked")
        return
    if ledger.get_fact(fact) is not None:
        raise OutputGoneError(
            folder, f"is not there, or not the folder it was (not mounted?); `touch {marker}` begins it anew"
        )
    write_bytes(marker, MARKER_TEXT)
    ledger.set_fact(fact, "marked")


def output_names(source: Path, suffix: str) -> Iterator[Path]:
    """Give the names an output may have, best first: IMG.dng, IMG.CR2.dng, IMG.CR2-2.dng, ..."""
    yield source.with_name(source.stem + suffix)
    whole = source.name
    yield source.with_name(whole + suffix)
    yield from (source.with_name(f"{whole}-{number}{suffix}") for number in count(2))


def place_for(
    job: Job, source: Path, names: Iterator[Path], ledger: Ledger, recipe: str
) -> tuple[Path, bool]:
    """Choose a job's output among `names`, and tell whether it lies there, done, already.

    What exists is left alone, unless it is the output of what stood at this source's place before and can be
    of the same capture, or of this very job, which is to be done again.
    """
    for output in names:
        if not ledger.claim(job, output):
            continue
        if not os.path.lexists(output):
            return output, False
        made = made_of(output)
        if made is not None and made.source_digest == job.digest:
            again = job.redo and (made.recipe != recipe or made.model_id == job.model_id)
            return output, not again
        if made is not None and output == job.replaces and same_capture(source, output):
            return output, False
        if made is None and made_by_us(output) and states_time(output) and same_capture(source, output):
            return output, True  # by `rawdenoise denoise`
    raise AssertionError("there is always another name")


def states_time(path: Path) -> bool:
    """Whether a file says when it was taken, without which nobody can tell of which capture it is."""
    return DATE_TIME_ORIGINAL in when_and_by_what(path)


def copy_sidecars(source: Path, output: Path) -> list[Path]:
    """Copy what belongs to a capture (XMP, JPEG, sound) beside its output, where it is not there already.

    Raises:
        OutputError: one cannot be written. UnreadableError: one cannot be read.
    """
    copied = []
    for sidecar in sidecars_of(source):
        target = output.with_name(sidecar_name(sidecar, source, output))
        if target != sidecar and _differ(sidecar, target):
            _copy(sidecar, target)
            copied.append(target)
    return copied


def move_failed(source: Path, folder: Path, reason: dict[str, object]) -> Path:
    """Move a file that cannot be used out of the way, with a JSON file beside it that says why.

    Raises:
        OutputError: it cannot be moved; then it is where it was.
    """
    taken = (source.with_name(f"{source.stem}-{number}{source.suffix}").name for number in count(2))
    names = iter((source.name, *[next(taken) for _ in range(99)]))
    target = next((folder / name for name in names if not os.path.lexists(folder / name)), None)
    if target is None:
        raise OutputError(folder, f"holds a hundred files called {source.name}")
    write_bytes(target.with_name(f"{target.name}.json"), json.dumps(reason, indent=2).encode() + b"\n")
    try:
        shutil.move(source, target)
    except OSError as error:
        raise OutputError(target, f"{source} cannot be moved there ({error.strerror or error})") from error
    return target


def sweep(job: Job) -> list[Path]:
    """Remove the temporary files that a killed process left of a job."""
    if job.output is None:
        return []
    targets = [job.output]
    for source in job.paths:
        targets += [
            job.output.with_name(sidecar_name(each, source, job.output)) for each in sidecars_of(source)
        ]
    return _remove(
        path
        for path in _marked(job.output.parent)
        if any(is_temporary_of(path, target) for target in targets)
    )


def sweep_stale(folder: Path, now: float) -> list[Path]:
    """Remove temporary files below an output folder that nobody has written to for a day."""
    found = (Path(place, name) for place, _, names in os.walk(folder) for name in names if _is_marked(name))
    return _remove(path for path in found if _is_older(path, now - STALE_S))


def _marked(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if _is_marked(entry.name)]
    except OSError:
        return []


def _is_marked(name: str) -> bool:
    return name.startswith(MARK)


def _is_older(path: Path, time: float) -> bool:
    try:
        return path.stat().st_mtime < time
    except OSError:
        return False


def _remove(paths: Iterator[Path]) -> list[Path]:
    removed = []
    for path in paths:
        try:
            path.unlink()
        except OSError:
            continue
        removed.append(path)
    return removed


def _differ(source: Path, target: Path) -> bool:
    """Whether a copy is not of the source as it is now; copies have the time of their source."""
    one, other = signature_of(source), signature_of(target)
    if one is None or other is None:
        return one is not None
    return one.size != other.size or abs(one.mtime_ns - other.mtime_ns) > 2_000_000_000  # FAT counts by twos


def _copy(source: Path, target: Path) -> None:
    with atomic_output(target) as temporary:
        try:
            file = source.open("rb")
        except OSError as error:
            raise UnreadableError(source, f"cannot be read ({error.strerror or error})") from error
        with file, temporary.open("wb") as copy:
            shutil.copyfileobj(file, copy, CHUNK)
        times = source.stat()
        os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
