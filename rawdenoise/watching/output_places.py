"""Where the output of a capture goes: under which name, and over what."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rawdenoise.atomic import LONGEST_NAME, shorten
from rawdenoise.errors import OutputError
from rawdenoise.files.outputs import is_made_by_us, read_moment_and_body
from rawdenoise.formats.metadata.provenance import Origin, read_origin
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import Fingerprint, QueuedJob
from rawdenoise.watching.output_conditions import Condition, judge_output, take_fingerprint


def list_output_names(source: Path, suffix: str) -> Iterator[Path]:
    """Give the names an output may have, best first: IMG.dng, IMG.CR2.dng, IMG.CR2-2.dng, ...

    Names that would be too long are cut.
    """
    yield source.with_name(put_ending(source.stem, suffix))
    yield source.with_name(put_ending(source.name, suffix))
    for number in count(2):
        yield source.with_name(put_ending(source.name, f"-{number}{suffix}"))


def put_ending(name: str, end: str) -> str:
    """Put an end to a name, and leave of the name what fits before it."""
    return shorten(name, LONGEST_NAME - len(os.fsencode(end))) + end


@dataclass(frozen=True, slots=True)
class Place:
    """Where an output goes: `made` if it lies there, as `present`; else whether it replaces what does.

    `beside` is the output of another capture that stood at this one's place before, and stays.
    """

    output: Path
    made: Origin | None = None
    present: Fingerprint | None = None
    replace: bool = False
    beside: Path | None = None


def choose_place(
    job: QueuedJob, source: Path, names: Iterator[Path], ledger: Ledger, recipe: str,
    pixels_of: Callable[[Path], str] = lambda source: "",
) -> Place:  # fmt: skip
    """Choose a job's output among `names`; `pixels_of` digests a capture's mosaic.

    What exists is left alone, unless it is this job's own and is damaged or to be done again, or it is the
    output of what is surely an earlier version of this very capture, and nobody has edited it since.

    Raises:
        OutputError: what exists cannot be read. FileError: the capture cannot, and that had to be known.
    """
    beside = None
    for output in _put_own_name_first(job, names):
        exists, take_over = os.path.lexists(output), False
        if output == job.replaces:
            take_over = not exists or is_later_version(source, output, ledger, pixels_of)
            beside = None if take_over else output
        if not ledger.jobs.claim(job, output, take_over=take_over):
            continue
        if not exists:
            return Place(output, beside=beside)
        if take_over:
            return Place(output, replace=True)
        place = _judge_place(job, source, output, ledger, recipe)
        if place is not None:
            return dataclasses.replace(place, beside=beside)
    raise AssertionError("there is always another name")


def _put_own_name_first(job: QueuedJob, names: Iterator[Path]) -> Iterator[Path]:
    """Give the name that a job's output has already, if it is one of the kind that is to be made."""
    first = next(names)
    if job.output is not None and job.output.suffix == first.suffix and os.path.lexists(job.output):
        yield job.output
    yield first
    yield from names


def _judge_place(job: QueuedJob, source: Path, output: Path, ledger: Ledger, recipe: str) -> Place | None:
    """Tell whether what exists is this job's output, or can be replaced by it; None if it is somebody's."""
    try:
        written, present = ledger.outputs.find_fingerprint(job, output), take_fingerprint(output)
        made = read_origin(output)
        condition = judge_output(output, job.digest, written, present)
    except OSError as error:
        raise OutputError(output, f"cannot be read ({error.strerror or error})") from error
    is_of_this_job = written is not None or (made is not None and made.source_digest == job.digest)
    if condition in (Condition.WHOLE, Condition.EDITED):
        made = made or Origin("", "", "")
        again = job.redo and (made.recipe != recipe or made.model_id == job.model_id)
        as_it_is = present and dataclasses.replace(
            present, pixels=written.pixels if written else "", edited=condition is Condition.EDITED
        )
        return Place(output, replace=True) if again else Place(output, made, as_it_is)
    if condition is Condition.CUT and (is_of_this_job or (output == job.output and not _has_bytes(output))):
        return Place(output, replace=True)
    if made is None and is_made_by_us(output) and is_surely_same_capture(source, output):
        return Place(output, Origin("", "", ""), present)  # by `rawdenoise denoise`, of an earlier version
    return None


def _has_bytes(path: Path) -> bool:
    """Whether a file holds anything; where there are no hard links, an empty one reserves a name."""
    return path.stat().st_size > 0


def is_later_version(source: Path, output: Path, ledger: Ledger, pixels_of: Callable[[Path], str]) -> bool:
    """Whether an output is surely of an earlier version of this very capture, and as it was made.

    It is if the mosaics are equal, as after an edit of tags in the capture itself; or if both say that they
    were taken at the same time, by the same body or in the same fraction of a second, as where the earlier
    one was not yet whole. Else the contents differ, and nobody can tell.

    Raises:
        OutputError: the output cannot be read. FileError: the capture cannot.
    """
    maker = ledger.outputs.find_maker(output)
    if maker is None:
        return False
    try:
        written = ledger.outputs.find_fingerprint(maker, output)
        condition = judge_output(output, maker.digest, written, take_fingerprint(output))
    except OSError as error:
        raise OutputError(output, f"cannot be read ({error.strerror or error})") from error
    if condition not in (Condition.WHOLE, Condition.CUT):
        return False
    return is_surely_same_capture(source, output) or (
        bool(maker.pixels) and maker.pixels == pixels_of(source)
    )


def is_surely_same_capture(source: Path, output: Path) -> bool:
    """Whether two files say that they are of one capture: its time, and its body or fraction of a second.

    Cameras count to 9999 and begin again, and some say nothing: the same name says nothing at all.
    """
    one, other = read_moment_and_body(source), read_moment_and_body(output)
    both = one.keys() & other.keys()
    return Code.DateTimeOriginal in both and len(both) > 1 and all(one[code] == other[code] for code in both)
