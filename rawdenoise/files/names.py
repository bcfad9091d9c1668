"""What outputs are called and where they lie: below a folder as their sources lie, or beside them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from string import Formatter

from rawdenoise.atomic import LONGEST_NAME, shorten
from rawdenoise.errors import PatternError

PATTERN_FIELDS = ("stem", "name", "suffix")
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')  # separators, and what some file system refuses


@dataclass(frozen=True, slots=True)
class NamePattern:
    """How an output is called after its source IMG.NEF: {stem} is IMG, {name} IMG.NEF and {suffix} NEF."""

    text: str = "{stem}"

    def name_output(self, source: Path, suffix: str, *, whole: bool = False, number: int = 1) -> Path:
        """Name the output of a source, in its folder; `whole` keeps the source's suffix in any case.

        Of a name that would be too long for a file system the source's part is cut: what the pattern adds
        tells an output from its source.
        """
        pattern = self.text.replace("{stem}", "{name}") if whole else self.text
        fields = {"stem": source.stem, "name": source.name, "suffix": source.suffix.removeprefix(".")}
        end = suffix if number == 1 else f"-{number}{suffix}"
        room = LONGEST_NAME - _size(end)
        surplus = _size(pattern.format(**fields)) - room
        if surplus > 0:
            each = -(-surplus // max(1, pattern.count("{stem}") + pattern.count("{name}")))
            cut = {key: shorten(fields[key], max(_size(fields[key]) - each, 0)) for key in ("stem", "name")}
            fields |= {key: part for key, part in cut.items() if part}
        return source.with_name(shorten(pattern.format(**fields), room) + end)


def _size(text: str) -> int:
    """How many bytes of a file's name a text takes."""
    return len(os.fsencode(text))


def parse_pattern(text: str, suffix: str) -> NamePattern:
    """Take a user's pattern; the suffix of the format is added anyway, and may stand there.

    Raises:
        PatternError: it is empty, is a path, would hide the outputs or give all of them one name.
    """
    pattern = text[: -len(suffix)] if text.lower().endswith(suffix) else text
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise PatternError(text, str(error)) from error
    fields = [field for _, field, _, _ in parts if field is not None]
    unknown = [field for field in fields if field not in PATTERN_FIELDS]
    if unknown or any(how or conversion for _, _, how, conversion in parts):
        raise PatternError(text, f"the fields are {', '.join(f'{{{field}}}' for field in PATTERN_FIELDS)}")
    if not {"stem", "name"} & set(fields):
        raise PatternError(text, "it needs {stem} or {name}, or all outputs had the same name")
    literal = "".join(words for words, _, _, _ in parts)
    if _UNSAFE.search(literal) or ".." in literal:
        raise PatternError(text, "it is no name of a file; give the folder apart")
    if pattern.startswith((".", " ")) or pattern.endswith(" "):
        raise PatternError(text, "a name that begins with a dot is hidden; spaces get lost")
    return NamePattern(pattern)


@dataclass(frozen=True, slots=True)
class Mirror:
    """From where the tree of the sources is mirrored.

    `root` holds for all sources where it is not None. With `from_here` relative paths count from the current
    folder; other sources count from `common`, the deepest folder that holds them all.
    """

    root: Path | None = None
    common: Path | None = None
    from_here: bool = False

    def path_below(self, source: Path) -> Path | None:
        """Tell a source's path as it is mirrored; None where it does not lie below the root."""
        if self.root is not None:
            path = make_absolute(source)
            return path.relative_to(self.root) if path.is_relative_to(self.root) else None
        if self.from_here and is_below_here(source):
            return Path(os.path.normpath(source))
        return path_below(source, self.common)


def mirror_of(paths: Sequence[Path], root: Path | None = None, *, is_list: bool = False) -> Mirror:
    """Choose from where the tree is mirrored, so that what is given beside them changes no source's place.

    A `root` that is given holds. Of one path it is the folder itself, or the file's. Of several, and of a
    list, relative ones count from the current folder, the others from the deepest folder that holds them all.
    """
    if root is not None:
        return Mirror(root=make_absolute(root))
    if len(paths) == 1 and not is_list:
        return Mirror(common=find_tree_root(paths))
    return Mirror(common=find_tree_root([path for path in paths if not is_below_here(path)]), from_here=True)


def is_below_here(path: Path) -> bool:
    """Whether a path is relative and does not lead out of the current folder."""
    return not path.is_absolute() and not os.path.normpath(path).startswith("..")


def find_tree_root(paths: Sequence[Path]) -> Path | None:
    """Find the deepest folder that holds everything given; None where there is none (other drives)."""
    folders = [path if is_folder(path) else path.parent for path in map(make_absolute, paths)]
    try:
        return Path(os.path.commonpath(folders)) if folders else None
    except ValueError:
        return None


def path_below(source: Path, root: Path | None) -> Path:
    """Tell a source's path as seen from `root`; without one the drive's letter stands as a folder."""
    path = make_absolute(source)
    if root is not None:
        return path.relative_to(root)
    drive = "".join(letter for letter in path.drive if letter.isalnum())
    return Path(drive, *path.parts[1:])


def list_mirrored_places(source: Path, first: Path) -> Iterator[Path]:
    """Give the place where a source is mirrored now, then those where other roots would have put it."""
    yield first
    parts = make_absolute(source).parts
    for depth in range(1, len(parts)):
        place = Path(*parts[-depth:])
        if place != first:
            yield place


def name_outputs(
    sources: Sequence[Path],
    suffix: str,
    pattern: NamePattern = NamePattern(),
    kept: Mapping[int, Path] | None = None,
) -> list[Path]:
    """Give each (relative) source an output of its own: `a/IMG.CR2` becomes `a/IMG.dng`.

    A source that has its output keeps it: `kept` has those by the place of their source. All others that
    would share a name keep their own suffix (`IMG.CR2.dng`, `IMG.NEF.dng`), so that a name never means
    another source once a file is added; what is still the same (a difference of case only, which many file
    systems ignore) is numbered in the order given.
    """
    kept = kept or {}
    plain = [pattern.name_output(source, suffix) for source in sources]
    uses = Counter(map(key_of, plain))
    used_keys = {key_of(name) for name in kept.values()}
    single = {key for key, times in uses.items() if times == 1} - used_keys
    used_keys |= single
    names = []
    for at, (source, name) in enumerate(zip(sources, plain, strict=True)):
        if at in kept:
            name = kept[at]
        elif key_of(name) not in single:
            numbered = (pattern.name_output(source, suffix, whole=True, number=number) for number in count(1))
            name = next(candidate for candidate in numbered if key_of(candidate) not in used_keys)
            used_keys.add(key_of(name))
        names.append(name)
    return names


def find_free_name(path: Path, suffix: str, is_taken: Callable[[Path], bool]) -> Path:
    """Give the path itself or, numbered from 2, the first like it that is not taken."""
    if not is_taken(path):
        return path
    stem = path.name.removesuffix(suffix)
    return next(
        candidate for n in count(2) if not is_taken(candidate := path.with_name(f"{stem}-{n}{suffix}"))
    )


def key_of(path: Path) -> str:
    """Spell a path as the most forgetful file system would: no case, no Unicode forms."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def make_absolute(path: Path) -> Path:
    """Spell a path from the root, by the names given: links stay, for the tree of outputs mirrors them."""
    return Path(os.path.normpath(path.absolute()))


def is_folder(path: Path) -> bool:
    """Whether a path is a folder's; what we may not look at is none."""
    try:
        return path.is_dir()
    except OSError:  # not ours to look at: reading it will say so
        return False
