"""The hosts, in the order that most people look for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rawdenoise.hosts.file_managers import FILE_MANAGERS, LINUX_SCRIPT
from rawdenoise.hosts.host import CommandFile, ForeignLine, Host, HostFile, Packaging, Site
from rawdenoise.hosts.places import Places, System
from rawdenoise.hosts.spelling import Spelling

LUARC_LINE = ForeignLine(
    "luarc",
    'require "rawdenoise/rawdenoise"',
    re.compile(rb"""\s*require\s*\(?\s*["']rawdenoise[/.]rawdenoise["']\s*\)?\s*;?\s*(--.*)?"""),
)
APPLICATIONS = Path("/Applications")


def _find_darktable(places: Places) -> Iterator[Site]:
    folder = (places.local if places.system is System.WINDOWS else places.config) / "darktable"
    signs = (folder, APPLICATIONS / "darktable.app") if places.system is System.MACOS else (folder,)
    yield Site(folder, signs=signs, programs=("darktable",))
    if places.system is System.LINUX:
        yield _find_flatpak(places, "org.darktable.Darktable", "darktable")
        folder = places.home / "snap" / "darktable" / "current"
        yield Site(folder, Packaging.SNAP, (folder,))


def _find_lightroom(places: Places) -> Iterator[Site]:
    if places.system is System.MACOS:
        adobe = places.home / "Library" / "Application Support" / "Adobe"
        program = APPLICATIONS / "Adobe Lightroom Classic"
    else:
        adobe, program = places.roaming / "Adobe", Path("C:/Program Files/Adobe/Adobe Lightroom Classic")
    yield Site(adobe / "Lightroom" / "Modules", signs=(adobe / "Lightroom", program))


def _find_art(places: Places) -> Iterator[Site]:
    folder = (places.local if places.system is System.WINDOWS else places.config) / "ART"
    signs = (folder, APPLICATIONS / "ART.app") if places.system is System.MACOS else (folder,)
    yield Site(folder, signs=signs, programs=("ART",))
    if places.system is System.LINUX:
        yield _find_flatpak(places, "us.pixls.art.ART", "ART")


def _find_digikam(places: Places) -> Iterator[Site]:
    signs = {
        System.LINUX: (places.config / "digikamrc",),
        System.MACOS: (places.home / "Library/Preferences/digikamrc", APPLICATIONS / "digiKam.org"),
        System.WINDOWS: (places.local / "digikamrc", Path("C:/Program Files/digiKam")),
    }
    yield Site(places.own / "digikam", signs=signs[places.system], programs=("digikam",))
    if places.system is System.LINUX:
        home = places.home / ".var" / "app" / "org.kde.digikam"
        yield Site(places.own / "digikam-flatpak", Packaging.FLATPAK, (home,), flatpak=home.name)


def _find_flatpak(places: Places, id: str, folder: str) -> Site:
    home = places.home / ".var" / "app" / id
    return Site(home / "config" / folder, Packaging.FLATPAK, (home,), flatpak=id)


def _list_art_files(system: System) -> tuple[HostFile, ...]:
    """On Linux by the script that notifies, elsewhere by the command itself."""
    target = "usercommands/rawdenoise.txt"
    if system is System.LINUX:
        return (LINUX_SCRIPT, HostFile("art/by-script.txt", target, Spelling.KEY_FILE))
    windows = system is System.WINDOWS
    return (
        HostFile("art/by-command.txt", target, Spelling.KEY_FILE_WINDOWS if windows else Spelling.KEY_FILE),
    )


def _list_digikam_files(system: System) -> tuple[HostFile, ...]:
    if system is System.WINDOWS:
        return (HostFile("digikam/denoise.cmd", "denoise.cmd", Spelling.BATCH),)
    return (HostFile("digikam/denoise.sh", "denoise.sh", Spelling.SHELL, executable=True),)


def _tell_digikam_steps(system: System) -> tuple[str, ...]:
    call = "call " if system is System.WINDOWS else ""
    return (
        "in the Batch Queue Manager: Base Tools > Custom Script, Output: TIFF, and as the script:",
        f"    {call}{{script}} $INPUT $OUTPUT",
    )


DARKTABLE = Host(
    name="darktable",
    title="darktable",
    systems=tuple(System),
    find_sites=_find_darktable,
    files=lambda system: (
        HostFile("darktable", "lua/rawdenoise", patterns=("*.lua", "locale/**/*.mo")),
        CommandFile("lua/rawdenoise/command.lua"),
    ),
    next_steps=lambda system: (
        "start darktable anew; in the lighttable select raws, open the module 'rawdenoise (plug-in)' on the "
        "right, and press 'denoise raw'",
    ),
    line=LUARC_LINE,
    version_option="--version",
    lacks=re.compile(r"Lua(?: support)?[\s>-]*disabled", re.IGNORECASE),
)
LIGHTROOM = Host(
    name="lightroom",
    title="Lightroom Classic",
    systems=(System.MACOS, System.WINDOWS),
    find_sites=_find_lightroom,
    files=lambda system: (
        HostFile("lightroom/rawdenoise.lrplugin", "rawdenoise.lrplugin", patterns=("**/*",)),
        CommandFile("rawdenoise.lrplugin/Command.lua"),
    ),
    next_steps=lambda system: (
        "start Lightroom Classic anew: File > Plug-in Manager shows it, Library > Plug-in Extras runs it",
    ),
)
ART = Host(
    name="art",
    title="ART",
    systems=tuple(System),
    find_sites=_find_art,
    files=_list_art_files,
    next_steps=lambda system: (
        "start ART anew: right click on raw files in its browser: User commands > Denoise (rawdenoise)",
    ),
)
DIGIKAM = Host(
    name="digikam",
    title="digiKam",
    systems=tuple(System),
    find_sites=_find_digikam,
    files=_list_digikam_files,
    next_steps=_tell_digikam_steps,
)
NAPARI = Host(
    name="napari",
    title="napari",
    systems=tuple(System),
    find_sites=lambda places: (),
    files=lambda system: (),
    next_steps=lambda system: (
        "there is nothing to install: napari shows rawdenoise once both are in one Python environment",
    ),
)
HOSTS = (DARKTABLE, LIGHTROOM, ART, DIGIKAM, *FILE_MANAGERS, NAPARI)


def list_hosts(system: System) -> list[Host]:
    """The hosts that there can be on a system."""
    return [host for host in HOSTS if system in host.systems]
