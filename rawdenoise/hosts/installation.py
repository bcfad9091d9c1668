"""Installs a host's files, compares what is there with what should be, and takes it all away again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rawdenoise import __version__
from rawdenoise.atomic import atomic_output, remove_abandoned
from rawdenoise.errors import AlteredPluginError, HostFileError
from rawdenoise.hosts.host import Host, Site
from rawdenoise.hosts.lines import add_line, check_line, has_line, remove_line
from rawdenoise.hosts.lock import one_at_a_time
from rawdenoise.hosts.places import Places
from rawdenoise.hosts.plan import PlannedFile, plan_files
from rawdenoise.hosts.receipts import (
    Receipt,
    digest,
    read_other_receipts,
    read_receipt,
    remove_receipt,
    write_receipt,
)


class FileState(StrEnum):
    """A file on the disk beside what it should be."""

    CURRENT = "current"
    OLDER = "older"
    ALTERED = "altered"
    MISSING = "missing"


class PluginState(StrEnum):
    """How a host's plug-in stands."""

    ABSENT = "not installed"
    CURRENT = "up to date"
    OLDER = "out of date"
    ALTERED = "altered"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class Survey:
    """What is there of a plug-in: its state, the version that installed it, and each file's state."""

    state: PluginState
    version: str | None
    files: tuple[tuple[Path, FileState], ...]
    has_line: bool | None

    def list_files(self, state: FileState) -> list[Path]:
        """The files of a state."""
        return [path for path, found in self.files if found is state]


@dataclass(frozen=True, slots=True)
class Removal:
    """What was taken away, and what was left because it had been changed since."""

    removed: tuple[Path, ...]
    left: tuple[Path, ...]


def survey_plugin(host: Host, site: Site, places: Places) -> Survey:
    """Compare what is there with what this version would install.

    Raises:
        HostFileError: a file cannot be read. SetupError: the installation lacks the plug-in.
    """
    receipt = read_receipt(places.own, host.name, site.folder)
    files = tuple((file.path, _compare(file, receipt)) for file in plan_files(host, site, places))
    line = None if host.line is None else has_line(site.folder / host.line.target, host.line)
    state = _sum_up([state for _, state in files], line)
    if receipt is None and not any(path.exists() for path, _ in files if path.is_relative_to(site.folder)):
        state = PluginState.ABSENT  # what is there of its scripts was put there for another folder
    version = receipt.version if receipt else __version__ if state is PluginState.CURRENT else None
    return Survey(state, None if state is PluginState.ABSENT else version, files, line)


def install_plugin(host: Host, site: Site, places: Places, *, replace: bool = False) -> Survey:
    """Install or update a host's files, each whole or not at all; returns what was there before.

    Raises:
        AlteredPluginError: a file was changed by someone, and `replace` is false; nothing was written.
        HostFileError: the line cannot be added; nothing was written. OutputError: the file system refuses.
    """
    _check_before(host, site, places, replace=replace)  # nothing, not even a lock, is left by what is refused
    with one_at_a_time(places.own):
        before = _check_before(host, site, places, replace=replace)
        _write_plugin(host, site, places, plan_files(host, site, places))
    return before


def remove_plugin(host: Host, site: Site, places: Places) -> Removal:
    """Take away what was installed, and nothing that was changed since.

    Raises:
        HostFileError: the line cannot be taken away; nothing was removed.
        OutputError: the file system refuses.
    """
    with one_at_a_time(places.own):
        return _remove(host, site, places)


def _check_before(host: Host, site: Site, places: Places, *, replace: bool) -> Survey:
    before = survey_plugin(host, site, places)
    altered = before.list_files(FileState.ALTERED)
    if altered and not replace:
        others = f" (and {len(altered) - 1} more)" if len(altered) > 1 else ""
        reason = f"was not put there by rawdenoise, or was changed since{others}: keep a copy, and replace it"
        raise AlteredPluginError(altered[0], reason)
    if host.line is not None:
        check_line(site.folder / host.line.target, host.line)
    return before


def _remove(host: Host, site: Site, places: Places) -> Removal:
    receipt = read_receipt(places.own, host.name, site.folder)
    if host.line is not None:
        foreign = site.folder / host.line.target
        if remove_line(foreign, host.line) and receipt is not None and str(foreign) in receipt.made:
            _unlink(foreign)
    current = {file.path: file for file in plan_files(host, site, places)}
    ours = {path: digest(file.data) for path, file in current.items()}
    ours |= {Path(path): told for path, told in receipt.files.items()} if receipt else {}
    shared = {
        path for other in read_other_receipts(places.own, host.name, site.folder) for path in other.files
    }
    present = [path for path in ours if str(path) not in shared and os.path.lexists(path)]
    left = [path for path in present if not _is_ours(path, ours[path], current.get(path))]
    removed = [path for path in present if path not in left]
    for path in removed:
        _unlink(path)
    remove_receipt(places.own, host.name, site.folder)
    _remove_folders([*(receipt.folders if receipt else ()), str(host.own_folder(places))])
    return Removal(tuple(removed), tuple(left))


def _write_plugin(host: Host, site: Site, places: Places, files: list[PlannedFile]) -> None:
    before = read_receipt(places.own, host.name, site.folder)
    foreign = None if host.line is None else site.folder / host.line.target
    made = () if foreign is None or os.path.lexists(foreign) else (str(foreign),)
    folders = _list_missing_folders([file.path for file in files])
    for file in files:
        remove_abandoned(file.path.parent)
        _write(file)
    wanted = {str(file.path) for file in files}
    for path, told in (before.files if before else {}).items():  # of a version that had more files
        if path not in wanted and _is_ours(Path(path), told, None):
            _unlink(Path(path))
    if host.line is not None and foreign is not None:
        add_line(foreign, host.line)
    receipt = Receipt(
        host=host.name,
        folder=str(site.folder),
        version=__version__,
        command=places.command,
        files={str(file.path): digest(file.data) for file in files},
        folders=tuple(dict.fromkeys([*(before.folders if before else ()), *folders])),
        made=tuple(dict.fromkeys([*(before.made if before else ()), *made])),
    )
    write_receipt(places.own, receipt)


def _compare(file: PlannedFile, receipt: Receipt | None) -> FileState:
    if not os.path.lexists(file.path):
        return FileState.MISSING
    data = _read(file.path)
    if data == file.data:
        runs = not file.executable or os.access(file.path, os.X_OK)
        return FileState.CURRENT if runs else FileState.OLDER
    told = receipt.files.get(str(file.path)) if receipt else None
    return FileState.OLDER if data is not None and digest(data) == told else FileState.ALTERED


def _sum_up(states: Iterable[FileState], line: bool | None) -> PluginState:
    found = set(states)
    if found <= {FileState.MISSING}:
        return PluginState.ABSENT
    if FileState.ALTERED in found:
        return PluginState.ALTERED
    if FileState.MISSING in found or line is False:
        return PluginState.INCOMPLETE
    return PluginState.OLDER if FileState.OLDER in found else PluginState.CURRENT


def _is_ours(path: Path, told: str, planned: PlannedFile | None) -> bool:
    data = _read(path)
    return data is not None and (digest(data) == told or (planned is not None and data == planned.data))


def _read(path: Path) -> bytes | None:
    """A file's bytes; None of what is no file: a folder, or a link to nothing."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        raise HostFileError(path, f"cannot be read ({error.strerror or error})") from error


def _write(file: PlannedFile) -> None:
    with atomic_output(file.path) as temporary:
        temporary.write_bytes(file.data)
        if file.executable:
            mode = temporary.stat().st_mode
            temporary.chmod(mode | (mode & 0o444) >> 2)  # for whom it may read


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise HostFileError(path, f"cannot be removed ({error.strerror or error})") from error


def _list_missing_folders(paths: Iterable[Path]) -> list[str]:
    """The folders that are not there yet, the outer ones first."""
    missing = {parent for path in paths for parent in path.parents if not parent.exists()}
    return sorted(map(str, missing))


def _remove_folders(folders: Iterable[str]) -> None:
    """Remove those folders that are empty, the inner ones first."""
    for folder in sorted(set(folders), reverse=True):
        with suppress(OSError):  # it holds something, or is gone
            Path(folder).rmdir()
