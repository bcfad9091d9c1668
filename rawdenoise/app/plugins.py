"""Plug-ins for photo programs: which there are and how they stand, installed, removed and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rawdenoise.errors import HostMissingError, RawDenoiseError
from rawdenoise.hosts.catalog import HOSTS, list_hosts
from rawdenoise.hosts.checks import PluginCheck, check_napari, check_plugin, is_napari_here
from rawdenoise.hosts.host import Host, Packaging, Site
from rawdenoise.hosts.installation import PluginState, install_plugin, remove_plugin, survey_plugin
from rawdenoise.hosts.places import Places
from rawdenoise.hosts.plan import find_script
from rawdenoise.hosts.spelling import Spelling, spell_command

HOST_NAMES = tuple(host.name for host in HOSTS)
COLUMNS = ("HOST", "PROGRAM", "HERE", "PLUG-IN", "FOLDER")
NOT_TRIED = {
    Packaging.FLATPAK: "allow it once to start rawdenoise (not tried by us): "
    "flatpak override --user --talk-name=org.freedesktop.Flatpak {flatpak}",
    Packaging.SNAP: "a snap may start no program outside its sandbox: this was not tried, and will hardly "
    "work; take another package of {title}, or a watched folder (`rawdenoise watch`)",
}


@dataclass(frozen=True, slots=True)
class PluginListing:
    """A host, whether it is here, and how its plug-in stands there; `error` of files that cannot be read."""

    host: str
    title: str
    found: bool
    packaging: Packaging
    folder: Path | None
    state: PluginState
    version: str | None
    error: str | None = None

    def as_json(self) -> dict[str, object]:
        """Give it as JSON's own types."""
        return {
            "host": self.host,
            "title": self.title,
            "found": self.found,
            "packaging": str(self.packaging),
            "folder": None if self.folder is None else str(self.folder),
            "state": str(self.state),
            "version": self.version,
            "up_to_date": self.state is PluginState.CURRENT,
            "error": self.error,
        }

    def as_row(self) -> tuple[str, ...]:
        """As a row of `COLUMNS`."""
        title = self.title if self.packaging is Packaging.NATIVE else f"{self.title} ({self.packaging})"
        state = f"{self.state} ({self.version})" if self.version else str(self.state)
        return (
            self.host, title, "yes" if self.found else "no", "unreadable" if self.error else state,
            "" if self.folder is None else str(self.folder),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PluginInstalled:
    """A plug-in that was installed, or was there already, and what its user does next.

    `folder` is None of a host that a Python package serves: there was nothing to install.
    """

    folder: Path | None
    before: PluginState
    next_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PluginRemoved:
    """A plug-in that was taken away: how many files, and those that stayed because they had been changed."""

    folder: Path
    removed: tuple[Path, ...]
    left: tuple[Path, ...]


def list_plugins(places: Places) -> list[PluginListing]:
    """Every host that there can be on this system; one that came in several ways is there as often."""
    listings = []
    for host in list_hosts(places.system):
        sites = list(host.find_sites(places))
        found = [site for site in sites if site.is_found(places)]
        listings += [_list_site(host, site, places) for site in found or sites[:1]]
        listings += [] if sites else [_list_napari(host)]
    return listings


def install(
    name: str, places: Places, *, folder: Path | None = None, replace: bool = False
) -> Iterator[PluginInstalled]:
    """Install or update a host's plug-in wherever that host is, or in this folder.

    Raises:
        HostMissingError: the host is not here. AlteredPluginError: a file was changed by someone, and
        `replace` is false. HostFileError, OutputError: something cannot be read or written.
    """
    host = find_host(name, places)
    if not host.files(places.system):
        yield PluginInstalled(None, PluginState.ABSENT, host.next_steps(places.system))
        return
    for site in find_sites(host, places, folder):
        before = install_plugin(host, site, places, replace=replace)
        yield PluginInstalled(site.folder, before.state, _tell_next_steps(host, site, places))


def remove(name: str, places: Places, *, folder: Path | None = None) -> Iterator[PluginRemoved]:
    """Take a host's plug-in away wherever it is installed, or from this folder.

    Raises:
        HostMissingError: it is installed nowhere. HostFileError, OutputError: something cannot be removed.
    """
    host = find_host(name, places)
    sites = list(host.find_sites(places)) if folder is None else [_name_site(host, places, folder)]
    sites = [site for site in sites if _is_installed(host, site, places)]
    if not sites:
        raise HostMissingError(f"no plug-in for {host.title} is installed")
    for site in sites:
        removal = remove_plugin(host, site, places)
        yield PluginRemoved(site.folder, removal.removed, removal.left)


def check(name: str, places: Places, *, folder: Path | None = None) -> Iterator[PluginCheck]:
    """Try what can be tried of a host's plug-in without starting the host.

    Raises:
        HostMissingError: the host is not here. HostFileError: a file cannot be read.
    """
    host = find_host(name, places)
    if not host.files(places.system):
        yield from check_napari()
        return
    for site in find_sites(host, places, folder):
        yield from check_plugin(host, site, places)


def find_host(name: str, places: Places) -> Host:
    """The host of a name.

    Raises:
        HostMissingError: it cannot be on this system.
    """
    host = next(host for host in HOSTS if host.name == name)
    if places.system not in host.systems:
        where = " and ".join(host.systems)
        raise HostMissingError(f"{host.name} ({host.title}) is on {where} only, and this is {places.system}")
    return host


def find_sites(host: Host, places: Places, folder: Path | None) -> list[Site]:
    """Where a host is, or the folder that was named in its place.

    Raises:
        HostMissingError: it was not found.
    """
    sites = list(host.find_sites(places))
    if folder is not None:
        return [_name_site(host, places, folder)]
    found = [site for site in sites if site.is_found(places)]
    if not found:
        names = [name for site in sites for name in site.programs]
        folders = [str(sign) for site in sites for sign in site.signs]
        looked_for = ", ".join([*names, *folders])
        raise HostMissingError(
            f"{host.title} was not found (looked for {looked_for}): start it once, or name its folder"
        )
    return found


def _name_site(host: Host, places: Places, folder: Path) -> Site:
    """The site of a folder that was named: a known one, or one like the host's first."""
    sites, folder = list(host.find_sites(places)), folder.absolute()
    known = next((site for site in sites if site.folder == folder), None)
    return known or Site(folder, signs=(folder,), programs=sites[0].programs)


def _list_site(host: Host, site: Site, places: Places) -> PluginListing:
    found = site.is_found(places)
    start = (host.name, host.title, found, site.packaging, site.folder)
    try:
        survey = survey_plugin(host, site, places)
    except RawDenoiseError as error:
        return PluginListing(*start, PluginState.ABSENT, None, str(error))
    return PluginListing(*start, survey.state, survey.version)


def _list_napari(host: Host) -> PluginListing:
    """A host that a Python package serves: the plug-in is there where the manifest is."""
    checks, here = list(check_napari()), is_napari_here()
    state = PluginState.CURRENT if here and checks[-1].ok else PluginState.ABSENT
    return PluginListing(host.name, host.title, here, Packaging.NATIVE, None, state, None)


def _is_installed(host: Host, site: Site, places: Places) -> bool:
    survey = survey_plugin(host, site, places)
    return survey.state is not PluginState.ABSENT or bool(survey.has_line)


def _tell_next_steps(host: Host, site: Site, places: Places) -> tuple[str, ...]:
    script = find_script(host, site, places)
    windows = Spelling.BATCH if script and script.suffix == ".cmd" else Spelling.SHELL
    spelled = "" if script is None else spell_command(site.wrap((str(script),)), windows)
    steps = [step.replace("{script}", spelled) for step in host.next_steps(places.system)]
    if site.packaging in NOT_TRIED:
        steps.append(NOT_TRIED[site.packaging].format(flatpak=site.flatpak, title=host.title))
    return tuple(steps)
