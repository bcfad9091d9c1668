"""What can be tried of a plug-in without starting its host."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from rawdenoise import __version__
from rawdenoise.hosts.host import Host, Packaging, Site
from rawdenoise.hosts.installation import FileState, PluginState, Survey, survey_plugin
from rawdenoise.hosts.places import Places
from rawdenoise.hosts.receipts import read_receipt

PATIENCE_S = 30.0
VERSION = re.compile(r"\b\d+\.\d+[\w.~+-]*")
COMPILERS = ("luac5.4", "luac5.1", "luac")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a program printed, and whether it ended well."""

    ok: bool
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class PluginCheck:
    """One thing looked at; `ok` is None for what is only said, or could not be tried here."""

    name: str
    ok: bool | None
    detail: str


def check_plugin(host: Host, site: Site, places: Places) -> Iterator[PluginCheck]:
    """Look at the host, the plug-in's files, the line in a file of the user's, their syntax, and the command.

    Raises:
        HostFileError: a file cannot be read.
    """
    yield _check_host(host, site, places)
    survey = survey_plugin(host, site, places)
    yield _check_files(survey)
    if host.line is not None and survey.state is not PluginState.ABSENT:
        file = site.folder / host.line.target
        says = f"{file} has the line" if survey.has_line else f"{file} lacks the line: {host.line.text}"
        yield PluginCheck("line", survey.has_line, says)
    yield from _check_syntax(host, site, places, survey)
    receipt = read_receipt(places.own, host.name, site.folder)
    yield _check_command(receipt.command if receipt else places.command)
    if site.packaging is not Packaging.NATIVE:
        says = f"whether {host.title} may run it inside its {site.packaging} sandbox was not tried"
        yield PluginCheck("sandbox", None, says)


def check_napari() -> Iterator[PluginCheck]:
    """Look whether napari is in this Python's environment, and told of rawdenoise."""
    here = is_napari_here()
    yield PluginCheck("host", here, "napari is here" if here else "no napari in this Python environment")
    names = [point.name for point in entry_points(group="napari.manifest") if "rawdenoise" in point.value]
    says = (
        "rawdenoise says what it gives napari"
        if names
        else "rawdenoise, as installed, has no part for napari"
    )
    yield PluginCheck("manifest", bool(names), says)


def is_napari_here() -> bool:
    """Whether napari is in this Python's environment."""
    return importlib.util.find_spec("napari") is not None


def _check_host(host: Host, site: Site, places: Places) -> PluginCheck:
    if not site.is_found(places):
        return PluginCheck("host", False, f"{host.title} was not found")
    program = places.find_program(site.programs)
    place = f"plug-ins in {site.folder}"
    if program is None:
        return PluginCheck("host", True, f"{host.title} is here, {place}")
    answer = _ask([str(program), host.version_option]).output if host.version_option else ""
    if host.lacks is not None and (found := host.lacks.search(answer)):
        return PluginCheck("host", False, f"{program} was built without what the plug-in needs: {found[0]}")
    version = VERSION.search(answer)
    return PluginCheck(
        "host", True, f"{program} ({version[0]}), {place}" if version else f"{program}, {place}"
    )


def _check_files(survey: Survey) -> PluginCheck:
    if survey.state is PluginState.ABSENT:
        return PluginCheck("files", False, "not installed")
    count, bad = len(survey.files), [f"{path} is {state}" for path, state in survey.files if _is_bad(state)]
    if bad:
        return PluginCheck("files", False, "; ".join(bad))
    return PluginCheck("files", True, f"{count} as this version installs them ({survey.version})")


def _is_bad(state: FileState) -> bool:
    return state is not FileState.CURRENT


def _check_syntax(host: Host, site: Site, places: Places, survey: Survey) -> Iterator[PluginCheck]:
    """Whether Lua's compiler takes the plug-in's files, and the user's where our line is in one."""
    files = [path for path, state in survey.files if path.suffix == ".lua" and state is not FileState.MISSING]
    if host.line is not None and survey.has_line:
        files.append(site.folder / host.line.target)
    if not files:
        return
    compiler = places.find_program(COMPILERS)
    if compiler is None:
        yield PluginCheck("syntax", None, "not tried: Lua's compiler (luac) is not here")
        return
    for path in files:
        ok, says = _run([str(compiler), "-p", "--", str(path)])
        if not ok:
            yield PluginCheck("syntax", False, says)
            return
    yield PluginCheck("syntax", True, f"{compiler.name} takes all {len(files)}")


def _check_command(command: Sequence[str]) -> PluginCheck:
    """Whether the command that the plug-in calls answers, and is of this version."""
    ok, says = _run([*command, "--version"])
    name = " ".join(command)
    if ok and __version__ not in says:
        return PluginCheck("command", False, f"{name} is another version ({says})")
    return PluginCheck("command", ok, f"{name} ({says})")


def _run(command: Sequence[str]) -> tuple[bool, str]:
    """Run a command; whether it ended well, and the first line that it printed, or what hindered it."""
    answer = _ask(command)
    lines = (answer.output if answer.ok else answer.errors or answer.output).strip().splitlines()
    return answer.ok, lines[0] if lines else "it says nothing"


def _ask(command: Sequence[str]) -> _Answer:
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        return _Answer(False, "", f"cannot be run ({error.strerror or error})")
    except subprocess.TimeoutExpired:
        return _Answer(False, "", f"did not answer within {PATIENCE_S:.0f} s")
    return _Answer(run.returncode == 0, run.stdout, run.stderr)
