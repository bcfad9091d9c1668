"""One arrived file: what it is, where its output goes, and what goes with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rawdenoise.atomic import LONGEST, MARK, atomic_output, cut, remove_temporaries, write_bytes
from rawdenoise.errors import OutputError, UnreadableError
from rawdenoise.formats.provenance import Made, made_of
from rawdenoise.formats.tags import Code
from rawdenoise.outputs import made_by_us, same_capture, when_and_by_what
from rawdenoise.sources import CHUNK, signature_of
from rawdenoise.watching.ledger import Job, Ledger
from rawdenoise.watching.names import sidecar_name, sidecars_of

MARKER = ".rawdenoise"  # in an output folder, so that one that is not mounted is not taken for an empty one
MARKER_TEXT = (
    b"Outputs of rawdenoise watch. It waits while this file is missing: the disk may not be mounted.\n"
)
STALE_S = 86400.0  # a temporary file that old belongs to no one


class OutputGoneError(OutputError):
    """The output folder is not what it was: its disk is probably not mounted."""


def prepare_output(folder: Path, ledger: Ledger) -> None:
    """Make an output folder and mark it; once it was marked it is never made again.

    Raises:
        OutputGoneError: it was there once, and now it or its mark is not. OutputError: it cannot be made.
    """
    fact, marker = f"output {folder}", folder / MARKER
    known = ledger.get_fact(fact) is not None
    if known:
        check_output(folder)
        return
    if not marker.exists():
        write_bytes(marker, MARKER_TEXT)
    ledger.set_fact(fact, "marked")


def check_output(folder: Path) -> None:
    """Make sure that an output folder is the one that was marked, and not a bare mount point.

    Raises:
        OutputGoneError: it is not.
    """
    if not (folder / MARKER).exists():
        raise OutputGoneError(
            folder,
            f"is not there, or not the folder it was (not mounted?); `touch {folder / MARKER}` begins anew",
        )


def output_names(source: Path, suffix: str) -> Iterator[Path]:
    """Give the names an output may have, best first: IMG.dng, IMG.CR2.dng, IMG.CR2-2.dng, ...

    Names that would be too long are cut.
    """
    yield source.with_name(ending(source.stem, suffix))
    yield source.with_name(ending(source.name, suffix))
    for number in count(2):
        yield source.with_name(ending(source.name, f"-{number}{suffix}"))


def ending(name: str, end: str) -> str:
    """Put an end to a name, and leave of the name what fits before it."""
    return cut(name, LONGEST - len(os.fsencode(end))) + end


@dataclass(frozen=True, slots=True)
class Place:
    """Where an output goes: `made` if it lies there already; else whether what lies there is replaced."""

    output: Path
    made: Made | None = None
    replace: bool = False


def place_for(job: Job, source: Path, names: Iterator[Path], ledger: Ledger, recipe: str) -> Place:
    """Choose a job's output among `names`.

    What exists is left alone, unless it is the output of what stood at this source's place before and can be
    of the same capture, or of this very job, which is to be done again.
    """
    for output in names:
        if not ledger.claim(job, output):
            continue
        if not os.path.lexists(output):
            return Place(output)
        made = made_of(output)
        if made is not None and made.source_digest == job.digest:
            again = job.redo and (made.recipe != recipe or made.model_id == job.model_id)
            return Place(output, replace=True) if again else Place(output, made)
        if made is not None and output == job.replaces and same_capture(source, output):
            return Place(output, replace=True)
        if made is None and made_by_us(output) and states_time(output) and same_capture(source, output):
            return Place(output, Made("", "", ""))  # by `rawdenoise denoise`
    raise AssertionError("there is always another name")


def states_time(path: Path) -> bool:
    """Whether a file says when it was taken, without which nobody can tell of which capture it is."""
    return Code.DateTimeOriginal in when_and_by_what(path)


def copy_sidecars(source: Path, output: Path, ledger: Ledger) -> list[Path]:
    """Copy what belongs to a capture (XMP, JPEG, sound) beside its output, where it is not there already.

    What lies there and is not the copy as it was made (somebody has edited it since) is left alone.

    Raises:
        OutputError: one cannot be written. UnreadableError: one cannot be read.
    """
    copied = []
    for sidecar in sidecars_of(source):
        target = output.with_name(sidecar_name(sidecar, source, output))
        if target == sidecar or _told(sidecar) is None:
            continue
        fact = f"sidecar {target}"
        if os.path.lexists(target) and (
            _told(target) == _told(sidecar) or _told(target) != ledger.get_fact(fact)
        ):
            continue
        _copy(sidecar, target)
        ledger.set_fact(fact, _told(target) or "")
        copied.append(target)
    return copied


def _told(path: Path) -> str | None:
    """Size and time of a file, as a text; None if it is gone. Times to two seconds: FAT counts by twos."""
    signature = signature_of(path)
    return None if signature is None else f"{signature.size} {signature.mtime_ns // 2_000_000_000}"


def move_failed(source: Path, folder: Path, reason: dict[str, object]) -> Path:
    """Move a file that cannot be used out of the way, with a JSON file beside it that says why.

    Raises:
        OutputError: it cannot be moved; then it is where it was.
    """
    stem, end = cut(source.stem, LONGEST - len(os.fsencode(f"-99{source.suffix}.json"))), source.suffix
    names = iter((stem + end, *(f"{stem}-{number}{end}" for number in range(2, 100))))
    target = next((folder / name for name in names if not os.path.lexists(folder / name)), None)
    if target is None:
        raise OutputError(folder, f"holds a hundred files called {source.name}")
    write_bytes(target.with_name(f"{target.name}.json"), json.dumps(reason, indent=2).encode() + b"\n")
    try:
        shutil.move(source, target)
    except OSError as error:
        raise OutputError(target, f"{source} cannot be moved there ({error.strerror or error})") from error
    return target


def sweep(job: Job) -> None:
    """Remove the temporary files that a killed process left of a job."""
    if job.output is not None:
        sidecars = [(each, source) for source in job.paths for each in sidecars_of(source)]
        names = (sidecar_name(each, source, job.output) for each, source in sidecars)
        with suppress(OSError):
            remove_temporaries([job.output, *(job.output.with_name(name) for name in names)])


def sweep_stale(folder: Path, now: float) -> list[Path]:
    """Remove temporary files below an output folder that nobody has written to for a day."""
    found = (
        Path(place, name) for place, _, names in os.walk(folder) for name in names if name.startswith(MARK)
    )
    return _remove(path for path in found if _is_older(path, now - STALE_S))


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
