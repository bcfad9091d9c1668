"""What a host's files are to be: paths and bytes, with the command filled in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rawdenoise.errors import SetupError
from rawdenoise.hosts.host import CommandFile, Host, HostFile, Site
from rawdenoise.hosts.places import Places
from rawdenoise.hosts.spelling import Spelling, spell_command

COMMAND_MARK = b"@RAWDENOISE@"
SCRIPT_MARK = b"@SCRIPT@"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file as it is to stand on the disk."""

    path: Path
    data: bytes
    executable: bool = False


def plan_files(host: Host, site: Site, places: Places) -> list[PlannedFile]:
    """All files of a host at a site.

    Raises:
        SetupError: the installation lacks the plug-in's files.
    """
    planned = []
    for file in host.files(places.system):
        if isinstance(file, CommandFile):
            value = spell_command(places.command, Spelling.LUA)
            planned.append(PlannedFile(site.folder / file.target, _encode(f"return {value}\n")))
        else:
            planned += _plan_file(file, host, site, places)
    return planned


def find_script(host: Host, site: Site, places: Places) -> Path | None:
    """The script that a host's other files, or its user, call; None where it has none."""
    for file in host.files(places.system):
        if isinstance(file, HostFile) and Path(file.source).suffix in (".sh", ".cmd"):
            return _find_target(file, host, site, places)
    return None


def _find_target(file: HostFile, host: Host, site: Site, places: Places) -> Path:
    return (host.own_folder(places) if file.own else site.folder) / file.target


def _plan_file(file: HostFile, host: Host, site: Site, places: Places) -> Iterator[PlannedFile]:
    source, target = places.content / file.source, _find_target(file, host, site, places)
    pairs = [(path, target / path.relative_to(source)) for path in _list_folder(source, file.patterns)]
    if not file.patterns and source.is_file():
        pairs = [(source, target)]
    if not pairs:
        raise SetupError(f"{source}: this installation of rawdenoise lacks the plug-in for {host.title}")
    for path, output in pairs:
        data = path.read_bytes()
        if file.spelling is not None:
            data = _fill_in(data, file, host, site, places)
        yield PlannedFile(output, data, file.executable)


def _list_folder(source: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The files of a folder that its patterns choose, but for hidden ones."""
    found = {path for pattern in patterns for path in source.glob(pattern) if path.is_file()}
    return sorted(
        path for path in found if not any(part.startswith(".") for part in path.relative_to(source).parts)
    )


def _fill_in(data: bytes, file: HostFile, host: Host, site: Site, places: Places) -> bytes:
    """Put the command in; a script is run by the user's system, other files are read inside the sandbox."""
    assert file.spelling is not None
    command = places.command if file.executable else site.wrap(places.command)
    data = data.replace(COMMAND_MARK, _encode(spell_command(command, file.spelling)))
    script = find_script(host, site, places)
    if script is not None:
        data = data.replace(SCRIPT_MARK, _encode(spell_command(site.wrap((str(script),)), file.spelling)))
    return data


def _encode(text: str) -> bytes:
    """UTF-8, and the bytes of paths that are none as they are."""
    return text.encode(errors="surrogateescape")
