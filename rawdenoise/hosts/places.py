"""Where a user's folders lie on each system, as photo programs look for them."""

from __future__ import annotations

import importlib.resources
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class System(StrEnum):
    """A family of operating systems, by what its users call it."""

    LINUX = "Linux"
    MACOS = "macOS"
    WINDOWS = "Windows"


@dataclass(frozen=True, slots=True)
class Places:
    """A user's folders, and what is brought there; nothing below asks the system for them.

    `config` and `data` are those of the XDG standard, which some programs follow on macOS too, `local` and
    `roaming` Windows' AppData; `own` is for files of plug-ins that no host has a folder for, `content` where
    the plug-ins come from, `command` the words that run rawdenoise, and `path` where programs are looked for.
    """

    system: System
    home: Path
    config: Path
    data: Path
    local: Path
    roaming: Path
    own: Path
    content: Path
    command: tuple[str, ...]
    path: str

    def find_program(self, names: tuple[str, ...]) -> Path | None:
        """The first of these programs that is there; None where none is."""
        paths = (shutil.which(name, path=self.path) for name in names)
        return next((Path(path) for path in paths if path), None)


def system_of(platform: str) -> System:
    """The system that `sys.platform` names; other Unixes are taken for Linux."""
    return {"darwin": System.MACOS, "win32": System.WINDOWS, "cygwin": System.WINDOWS}.get(
        platform, System.LINUX
    )


def find_places(
    system: System,
    home: Path,
    environment: Mapping[str, str],
    *,
    own: Path,
    content: Path,
    command: tuple[str, ...],
) -> Places:
    """Read the folders out of an environment, with the system's own defaults."""
    return Places(
        system=system,
        home=home,
        config=_read_folder(environment, "XDG_CONFIG_HOME") or home / ".config",
        data=_read_folder(environment, "XDG_DATA_HOME") or home / ".local" / "share",
        local=_read_folder(environment, "LOCALAPPDATA") or home / "AppData" / "Local",
        roaming=_read_folder(environment, "APPDATA") or home / "AppData" / "Roaming",
        own=own,
        content=content,
        command=command,
        path=environment.get("PATH", ""),
    )


def find_command(program: str, python: str, system: System) -> tuple[str, ...]:
    """The words that run this rawdenoise from anywhere: the program, a checkout's cli.py, or the module.

    `program` is how it was called (`sys.argv[0]`). A symbolic link is kept: it outlives what it leads to.
    """
    path = Path(program).absolute()
    if path.name == "cli.py" and path.is_file():
        return (python, str(path))
    if system is System.WINDOWS and path.suffix.lower() != ".exe":
        path = path.with_name(f"{path.name}.exe")
    if path.stem == "rawdenoise" and path.is_file():
        return (str(path),)
    return (python, "-m", "rawdenoise")


def content_folder() -> Path:
    """Where the plug-ins lie that come with rawdenoise: in the package, or beside it in a checkout."""
    package = Path(str(importlib.resources.files("rawdenoise")))
    installed = package / "_plugins"
    return installed if installed.is_dir() else package.parent / "plugins"


def _read_folder(environment: Mapping[str, str], variable: str) -> Path | None:
    """The folder that a variable names; relative ones count as none, as the XDG standard has it."""
    path = Path(environment.get(variable, ""))
    return path if path.is_absolute() else None
