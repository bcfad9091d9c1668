"""What a host is: where it may be, which of our files it gets, and what its user does next."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rawdenoise.hosts.places import Places, System
from rawdenoise.hosts.spelling import Spelling


class Packaging(StrEnum):
    """How a host came to the machine, where that decides what it may run."""

    NATIVE = "native"
    FLATPAK = "flatpak"
    SNAP = "snap"


@dataclass(frozen=True, slots=True)
class Site:
    """A folder where a host's files go, and the signs that the host is there: files, folders, programs."""

    folder: Path
    packaging: Packaging = Packaging.NATIVE
    signs: tuple[Path, ...] = ()
    programs: tuple[str, ...] = ()
    flatpak: str = ""

    def is_found(self, places: Places) -> bool:
        """Whether the host is there."""
        return any(sign.exists() for sign in self.signs) or places.find_program(self.programs) is not None

    def wrap(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """The words by which a host of this packaging runs a command of the user's system."""
        return ("flatpak-spawn", "--host", *command) if self.packaging is Packaging.FLATPAK else command


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file, or a folder's files, of ours: copied, or with its placeholders filled in as `spelling` has it.

    `source` lies below the content folder; `patterns` choose of a folder's files. `target` lies below the
    site's folder, or, where the file is `own`, below the host's folder among our own.
    """

    source: str
    target: str
    spelling: Spelling | None = None
    executable: bool = False
    own: bool = False
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandFile:
    """A Lua file that returns the user's own command, a string or a table of words, sandbox or not."""

    target: str


@dataclass(frozen=True, slots=True)
class ForeignLine:
    """A line of ours in a file of the user's; `pattern` knows any spelling of it."""

    target: str
    text: str
    pattern: re.Pattern[bytes]


@dataclass(frozen=True, slots=True)
class Host:
    """A photo program that a plug-in is brought for.

    `next_steps` are said after the installation; `{script}` in them is the command of the script among its
    files. A host without files is one that a Python package serves. `version_option` is for programs that
    answer it without a display, `lacks` knows an answer of one that was built without what the plug-in needs.
    """

    name: str
    title: str
    systems: tuple[System, ...]
    find_sites: Callable[[Places], Iterable[Site]]
    files: Callable[[System], tuple[HostFile | CommandFile, ...]]
    next_steps: Callable[[System], tuple[str, ...]]
    line: ForeignLine | None = None
    version_option: str = ""
    lacks: re.Pattern[str] | None = None

    def own_folder(self, places: Places) -> Path:
        """Where those of its files lie that it has no folder for."""
        return places.own / self.name
