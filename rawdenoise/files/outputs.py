"""What lies where an output is to go: whether it is ours and whole, of which content and by which recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from rawdenoise.capture.raw import Camera, Metadata
from rawdenoise.errors import RawDenoiseError
from rawdenoise.files.sources import name_of
from rawdenoise.formats.metadata.provenance import Origin, is_output, parse_origin
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.tiff.reading import text
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.truncation import find_missing

OUTPUT_SUFFIXES = frozenset({".dng", ".tif", ".tiff"})
SUB_SECONDS = 37521
MOMENT_TAGS = {Code.DateTimeOriginal, SUB_SECONDS}  # by which frames of a burst differ
CAPTURE_TAGS = (Code.DateTimeOriginal, SUB_SECONDS, Code.BodySerialNumber)
_HEAD_BYTES = 16  # bytes: all zeros where a file's length was written and its content was not


class Standing(StrEnum):
    """What lies under an output's name, as seen from its source."""

    ABSENT = "absent"
    CURRENT = "current"
    OTHER_RECIPE = "other recipe"
    CHANGED = "source changed"
    UNSIGNED = "unsigned"
    UNKNOWN = "unknown"
    OTHER = "other content"
    BROKEN = "broken"


STANDINGS_OF_SOURCE = {Standing.CURRENT, Standing.OTHER_RECIPE, Standing.CHANGED, Standing.UNSIGNED}


@dataclass(frozen=True, slots=True)
class Existing:
    """What a file says that lies under an output's name; `missing` is what it lacks to be whole.

    `when` is when and by which body its capture was taken. `is_ours` as far as it says so: a file that was
    cut may not say it any more.
    """

    missing: str = ""
    is_ours: bool = False
    is_foreign: bool = False
    made: Origin | None = None
    camera: str = ""
    when: dict[int, str] = field(default_factory=dict)

    @property
    def is_broken(self) -> bool:
        """Whether nothing is lost with it: it is not whole, and no other program says that it is its own."""
        return bool(self.missing) and not self.is_foreign


def look_at(output: Path) -> Existing:
    """Look at what lies under an output's name; nothing is decoded."""
    try:
        metadata = read_metadata(output)
        with output.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (RawDenoiseError, OSError):
        return Existing(is_foreign=True)
    software = text(metadata.root.get(Code.Software))
    is_ours = is_output(metadata, output)
    others = bool(software) and not is_ours and not software.startswith("rawdenoise")
    is_tiff, nothing = head[:2] in (b"II", b"MM"), not any(head)  # empty, or zeros
    return Existing(
        missing=find_missing(output),
        is_ours=is_ours,
        is_foreign=not nothing and (not is_tiff or others),
        made=parse_origin(metadata.root),
        camera=Camera(text(metadata.root.get(Code.Make)), text(metadata.root.get(Code.Model))).name,
        when=_moment_and_body(metadata),
    )


def is_made_by_us(path: Path) -> bool:
    """Tell an output of ours by what it says of its making; what cannot be read is somebody else's.

    Captures of a simulated camera are our writer's too, but say of no content that they were made of it.
    """
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        return False
    try:
        return is_output(read_metadata(path), path)
    except RawDenoiseError:
        return False


def is_same_capture(source: Path, output: Path) -> bool:
    """Tell whether two files can be of one capture: what both say of when and by which body it was taken.

    Cameras count to 9999 and begin again, so the same name in the same place may be another picture.
    """
    return _agree(read_moment_and_body(source), read_moment_and_body(output))


def read_moment_and_body(path: Path) -> dict[int, str]:
    """Read when a capture was taken and by which body, by their tags; empty where nothing is said."""
    try:
        return _moment_and_body(read_metadata(path))
    except RawDenoiseError:
        return {}


def _moment_and_body(metadata: Metadata) -> dict[int, str]:
    tags = {code: metadata.exif.get(code) or metadata.root.get(code) for code in CAPTURE_TAGS}
    return {int(code): text(tag).strip() for code, tag in tags.items() if tag is not None}


def _agree(one: dict[int, str], other: dict[int, str]) -> bool:
    return all(one[code] == other[code] for code in one.keys() & other.keys())


class Judge:
    """Tells how what lies there stands to a source; each output is looked at once.

    `digest_of` gives a source's SHA-256, `recipe_of` the digest of the recipe by which it would be done now
    (empty: any will do), `models_of` the ids of the models that would do a camera's captures now (None: any).
    """

    def __init__(
        self,
        digest_of: Callable[[Path], str],
        recipe_of: Callable[[Path], str] = lambda source: "",
        models_of: Callable[[str], Collection[str] | None] = lambda camera: None,
    ) -> None:
        self._digest_of, self._recipe_of, self._models_of = digest_of, recipe_of, models_of
        self._seen: dict[Path, Existing] = {}
        self._digests: dict[Path, str] = {}

    def examine(self, output: Path) -> Existing:
        """Look at an output that is there."""
        if output not in self._seen:
            self._seen[output] = look_at(output)
        return self._seen[output]

    def find_standing(self, source: Path, output: Path) -> Standing:
        """Tell how an output stands to a source.

        Raises:
            UnreadableError, SourceChangedError: the source cannot be digested.
        """
        if not os.path.lexists(output):
            return Standing.ABSENT
        existing = self.examine(output)
        if existing.is_broken:
            return Standing.BROKEN
        if existing.made is not None and self._digest(source) == existing.made.source_digest:
            return Standing.CURRENT if self._is_current(source, existing) else Standing.OTHER_RECIPE
        when = read_moment_and_body(source)
        agreed = when.keys() & existing.when.keys() if _agree(when, existing.when) else set()
        if existing.made is not None:
            return Standing.CHANGED if agreed >= MOMENT_TAGS else Standing.OTHER
        if not _agree(when, existing.when):
            return Standing.OTHER
        return Standing.UNSIGNED if existing.is_ours and Code.DateTimeOriginal in agreed else Standing.UNKNOWN

    def is_of_content(self, source: Path, output: Path, *, by_name: bool) -> bool:
        """Whether an output is whole and of a source's very content, and (`by_name`) of a file called so."""
        existing = self.examine(output)
        if (
            existing.made is None
            or existing.missing
            or (by_name and existing.made.source_name != name_of(source))
        ):
            return False
        return self._digest(source) == existing.made.source_digest

    def _digest(self, source: Path) -> str:
        if source not in self._digests:
            self._digests[source] = self._digest_of(source)
        return self._digests[source]

    def _is_current(self, source: Path, existing: Existing) -> bool:
        made, recipe = existing.made, self._recipe_of(source)
        if made is None or (recipe and made.recipe != recipe):
            return False
        models = self._models_of(existing.camera)
        return models is None or not made.model_id or made.model_id in models
