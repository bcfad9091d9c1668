"""Files and folders in, a plan out: which files are done, and which output each one gets."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path

from rawdenoise.app.results import FileResult, Status
from rawdenoise.errors import FileError, UnreadableError
from rawdenoise.files.names import (
    Mirror,
    NamePattern,
    find_free_name,
    find_tree_root,
    is_folder,
    key_of,
    list_mirrored_places,
    make_absolute,
    name_outputs,
)
from rawdenoise.files.outputs import STANDINGS_OF_SOURCE, Judge, Standing, is_made_by_us
from rawdenoise.files.sources import digest_of, identity_of, name_of, signature_of
from rawdenoise.formats import raw_suffixes
from rawdenoise.formats.metadata.provenance import read_origin

SKIPPED, FAILED = Status.SKIPPED, Status.FAILED
MADE_BY_US = "was made by rawdenoise; name the file itself to denoise it again"


class IfExists(StrEnum):
    """What to do where an output is there already."""

    SKIP = "skip"
    REDO = "redo"  # skip what is as it would be made now, make anew what another recipe has made
    OVERWRITE = "overwrite"
    RENAME = "rename"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class FileJob:
    """One file to do, or (status not PLANNED) one that was settled while planning, with the reason.

    `standing` is that of what lay under the output's name; `replaces` where that is to be written over.
    """

    source: Path
    output: Path | None = None
    status: Status = Status.PLANNED
    reason: str = ""
    note: str = ""
    standing: Standing = Standing.ABSENT
    replaces: bool = False


def begin_result(job: FileJob) -> FileResult:
    """Give what is known of a job before it is begun: all there will be, where planning settled it."""
    notes = (job.note,) if job.note else ()
    failed = int(job.status is Status.FAILED)
    return FileResult(
        job.source, job.output, job.status, job.reason, failed, notes=notes, standing=job.standing
    )


@dataclass(frozen=True, slots=True)
class Naming:
    """How outputs are named, and from where the tree of the inputs is mirrored (None: by what is given)."""

    pattern: NamePattern = NamePattern()  # noqa: RUF009 - frozen
    mirror: Mirror | None = None


def plan(
    paths: Sequence[Path],
    folder: Path | None,
    *,
    suffix: str,
    recursive: bool = False,
    if_exists: IfExists = IfExists.SKIP,
    suffixes: frozenset[str] | None = None,
    naming: Naming = Naming(),
    judge: Judge | None = None,
    named: Collection[Path] | None = None,
) -> list[FileJob]:
    """Turn files and folders into jobs whose outputs lie in `folder`, or beside their sources without one.

    Nothing is written or decoded. Below `folder` the tree is that of the inputs. `suffixes` (lower case) are
    searched for inside folders, hidden files and `folder` itself are not. Our own outputs are passed over,
    but for those that are `named` (all paths, where it is None). A source that has an output keeps it,
    whatever else is given now; no output is a source, by any name, nor another's output.
    """
    judge = judge or Judge(_digest_anew)
    suffixes = raw_suffixes() if suffixes is None else suffixes
    mirror = naming.mirror or Mirror(common=find_tree_root(paths))
    jobs = _drop_duplicates(
        job for path in paths for job in _find_jobs(path, recursive, suffixes, unless_in=folder)
    )
    jobs = _skip_our_outputs(jobs, {make_absolute(path) for path in (paths if named is None else named)})
    jobs = [_refuse_outside(job, folder, mirror) for job in jobs]
    planned = [job for job in jobs if job.status is Status.PLANNED]
    places = [_find_place(job.source, folder, mirror) for job in planned]
    kept = {}
    if if_exists is not IfExists.RENAME:
        kept = _Outputs(folder, suffix, naming.pattern, judge).find_kept(
            [job.source for job in planned], places
        )
    names = name_outputs(places, suffix, naming.pattern, kept)
    outputs = [name if folder is None else folder / name for name in names]
    sources = {identity for job in jobs if job.reason != MADE_BY_US and (identity := identity_of(job.source))}
    settlement = _Settlement(suffix, if_exists, judge, sources, {key_of(output) for output in outputs})
    settled = {
        job.source: settlement.settle(
            _name_output(job, output, naming.pattern.name_output(place, suffix).name)
        )
        for job, place, output in zip(planned, places, outputs, strict=True)
    }
    return [settled.get(job.source, job) for job in jobs]


def _digest_anew(source: Path) -> str:
    signature = signature_of(source)
    if signature is None:
        raise UnreadableError(source, "there is no such file, or it cannot be read")
    return digest_of(source, signature)


def _find_jobs(
    path: Path, recursive: bool, suffixes: frozenset[str], *, unless_in: Path | None
) -> Iterator[FileJob]:
    """Give a file as it is, whatever its name; of a folder its raw files, sorted, and what refuses."""
    if not is_folder(path):
        yield FileJob(path)
        return
    refusals: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=refusals.append):
        keep = [Path(folder, name) for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [inner.name for inner in keep if recursive and not _is_same_folder(inner, unless_in)]
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield FileJob(Path(folder, name))
    for error in refusals:
        yield _settle(FileJob(Path(str(error.filename))), FAILED, f"cannot be read ({error.strerror})")


def _drop_duplicates(jobs: Iterable[FileJob]) -> list[FileJob]:
    """Each path once, at its first place, however often and by whatever spelling it was given."""
    unique: dict[Path, FileJob] = {}
    for job in jobs:
        unique.setdefault(make_absolute(job.source), job)
    return list(unique.values())


def _skip_our_outputs(jobs: list[FileJob], named: set[Path]) -> list[FileJob]:
    """Pass over outputs of ours: all that were only found, and those that are named beside their source."""
    names = {name_of(job.source) for job in jobs}

    def is_meant(job: FileJob) -> bool:
        if not is_made_by_us(job.source):
            return True
        made = read_origin(job.source)
        of_another = made is not None and made.source_name != name_of(job.source)
        of_this_batch = made is not None and of_another and made.source_name in names
        return make_absolute(job.source) in named and not of_this_batch

    return [
        job if job.status is not Status.PLANNED or is_meant(job) else _settle(job, SKIPPED, MADE_BY_US)
        for job in jobs
    ]


def _refuse_outside(job: FileJob, folder: Path | None, mirror: Mirror) -> FileJob:
    """Refuse what the tree that is to be mirrored does not hold."""
    if job.status is not Status.PLANNED or folder is None or mirror.path_below(job.source) is not None:
        return job
    return _settle(job, FAILED, f"does not lie below --root {mirror.root}")


def _find_place(source: Path, folder: Path | None, mirror: Mirror) -> Path:
    """Tell where a source lies as its output will, below the folder of outputs or as it is."""
    place = None if folder is None else mirror.path_below(source)
    return make_absolute(source) if place is None else place


class _Outputs:
    """Finds the outputs that sources have already, wherever earlier runs have put them."""

    def __init__(self, folder: Path | None, suffix: str, pattern: NamePattern, judge: Judge) -> None:
        self._folder, self._suffix, self._pattern, self._judge = folder, suffix, pattern, judge
        self._listed: dict[Path, frozenset[str]] = {}

    def find_kept(self, sources: Sequence[Path], places: Sequence[Path]) -> dict[int, Path]:
        """Give each source's output by its number: of its very content and name, else of its content.

        Last come those that say of no content, or of what the source was before its tags were changed.
        """
        kept: dict[int, Path] = {}
        taken: set[Path] = set()
        for how in (self._is_of_file, self._is_of_content, self._is_of_capture):
            for at, (source, place) in enumerate(zip(sources, places, strict=True)):
                if at in kept:
                    continue
                everywhere = self._folder is not None and how != self._is_of_capture
                around = list_mirrored_places(source, place) if everywhere else (place,)
                free = (name for near in around for name in self._list_present(near) if name not in taken)
                own = next((name for name in free if how(source, self._locate(name))), None)
                if own is not None:
                    kept[at] = own
                    taken.add(own)
        return kept

    def _is_of_file(self, source: Path, output: Path) -> bool:
        return self._judge.is_of_content(source, output, by_name=True)

    def _is_of_content(self, source: Path, output: Path) -> bool:
        return self._judge.is_of_content(source, output, by_name=False)

    def _is_of_capture(self, source: Path, output: Path) -> bool:
        made = self._judge.examine(output).made
        if made is not None and made.source_name not in ("", name_of(source)):
            return False
        try:
            return self._judge.find_standing(source, output) in STANDINGS_OF_SOURCE
        except FileError:
            return False

    def _list_present(self, place: Path) -> Iterator[Path]:
        """Those of the names that an output of this place may have that are there."""
        if not self._list_names(self._locate(place).parent):  # as of most places, and each source has several
            return
        for whole in (False, True):
            for number in count(1):
                name = self._pattern.name_output(place, self._suffix, whole=whole, number=number)
                if name.name in self._list_names(self._locate(name).parent):
                    yield name
                elif number > 1:
                    break

    def _locate(self, name: Path) -> Path:
        return name if self._folder is None else self._folder / name

    def _list_names(self, folder: Path) -> frozenset[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(entry.name for entry in folder.iterdir())
            except OSError:
                self._listed[folder] = frozenset()
        return self._listed[folder]


@dataclass(frozen=True, slots=True)
class _Settlement:
    """Decides what can be decided without decoding: outputs that exist, or that are somebody's source."""

    suffix: str
    if_exists: IfExists
    judge: Judge
    sources: set[tuple[int, int]]
    taken: set[str]

    def settle(self, job: FileJob) -> FileJob:
        """Settle a job whose output is there, or have it replaced; any other stays as it is."""
        output = job.output
        if output is None or not os.path.lexists(output):
            return job
        if self.if_exists is IfExists.RENAME:
            free = find_free_name(output, self.suffix, self._is_taken)
            self.taken.add(key_of(free))
            return replace(job, output=free, note=f"named {free.name} because {output.name} exists")
        if identity_of(output) in self.sources:
            reason = f"the output {output} is one of the sources; give another folder with -o, or a --name"
            return _settle(job, FAILED, reason)
        if not output.is_file():  # a folder, or a link to nothing: no output of anything
            return _settle(job, FAILED, f"{output} is there and is no file; give another folder, or a --name")
        if self.if_exists is IfExists.ERROR:
            return _settle(job, FAILED, f"{output} exists")
        if self.if_exists is IfExists.OVERWRITE:
            return self._overwrite(job, output)
        try:
            standing = self.judge.find_standing(job.source, output)
        except FileError as error:
            return _settle(job, FAILED, error.reason)
        return self._judge_standing(replace(job, standing=standing), output)

    def _overwrite(self, job: FileJob, output: Path) -> FileJob:
        existing = self.judge.examine(output)
        if existing.is_foreign and not existing.missing:  # it may be a capture, of which there is no other
            reason = f"{output} exists and was not made by rawdenoise; give another folder, or a --name"
            return _settle(job, FAILED, reason)
        return replace(job, replaces=True)

    def _judge_standing(self, job: FileJob, output: Path) -> FileJob:
        again, redo = replace(job, replaces=True), self.if_exists is IfExists.REDO
        match job.standing:
            case Standing.BROKEN:
                missing = self.judge.examine(output).missing
                return replace(again, note=f"{output} was there but not whole ({missing}): it is made anew")
            case Standing.OTHER_RECIPE | Standing.CHANGED | Standing.UNSIGNED if redo:
                return again
            case Standing.OTHER:
                made = self.judge.examine(output).made is not None
                what = "was made of other content" if made else "is of another capture"
                more = " (another capture, or this file has changed since)" if made else ""
                reason = f"{output} exists and {what}{more}; give another folder, or --if-exists rename"
                return _settle(job, FAILED, reason)
            case standing:
                return _settle(job, SKIPPED, f"{output} exists{_STANDING_WORDS.get(standing, '')}")

    def _is_taken(self, path: Path) -> bool:
        return os.path.lexists(path) or key_of(path) in self.taken


_STANDING_WORDS = {
    Standing.OTHER_RECIPE: ", by another recipe, model or method",
    Standing.CHANGED: ", of this capture as it was before its file was changed",
    Standing.UNKNOWN: ", and does not say of what it was made",
}


def _name_output(job: FileJob, output: Path, usual: str) -> FileJob:
    note = "" if output.name == usual else f"named {output.name} because other inputs have the same name"
    return replace(job, output=output, note=note)


def _settle(job: FileJob, status: Status, reason: str) -> FileJob:
    return replace(job, status=status, reason=reason)


def _is_same_folder(path: Path, other: Path | None) -> bool:
    identity = identity_of(path)
    return other is not None and identity is not None and identity == identity_of(other)
