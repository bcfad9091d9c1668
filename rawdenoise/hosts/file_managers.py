"""File managers: an entry in the menu of raw files, which denoises those that are selected."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rawdenoise.hosts.host import Host, HostFile, Site
from rawdenoise.hosts.places import Places, System
from rawdenoise.hosts.spelling import Spelling

ENTRY = "Denoise (rawdenoise)"
LINUX_SCRIPT = HostFile(
    "file-managers/linux/denoise.sh", "denoise.sh", Spelling.SHELL, executable=True, own=True
)


def _script_folder(name: str, title: str, find_sites: Callable[[Places], Iterable[Site]]) -> Host:
    """A file manager that shows the scripts of a folder in its menu."""
    script = HostFile("file-managers/linux/denoise.sh", ENTRY, Spelling.SHELL, executable=True)
    return Host(
        name=name,
        title=title,
        systems=(System.LINUX,),
        find_sites=find_sites,
        files=lambda system: (script,),
        next_steps=lambda system: (f"select raw files, right click: Scripts > {ENTRY}",),
    )


NAUTILUS = _script_folder(
    "nautilus",
    "Files (GNOME)",
    lambda places: [Site(places.data / "nautilus" / "scripts", programs=("nautilus",))],
)
NEMO = _script_folder(
    "nemo",
    "Nemo (Cinnamon)",
    lambda places: [Site(places.data / "nemo" / "scripts", programs=("nemo",))],
)
CAJA = _script_folder(
    "caja",
    "Caja (MATE)",
    lambda places: [Site(places.config / "caja" / "scripts", programs=("caja",))],
)
DOLPHIN = Host(
    name="dolphin",
    title="Dolphin (KDE)",
    systems=(System.LINUX,),
    find_sites=lambda places: [
        Site(places.data / "kio" / "servicemenus", programs=("dolphin", "konqueror", "krusader"))
    ],
    files=lambda system: (
        LINUX_SCRIPT,
        HostFile(
            "file-managers/linux/dolphin.desktop", "rawdenoise.desktop", Spelling.DESKTOP, executable=True
        ),
    ),
    next_steps=lambda system: (
        f"select raw files, right click: {ENTRY}; a Dolphin that is open learns it anew",
    ),
)
OPEN_WITH = Host(
    name="open-with",
    title="Open With (any program)",
    systems=(System.LINUX,),
    find_sites=lambda places: [Site(places.data / "applications", signs=(places.home,))],
    files=lambda system: (
        LINUX_SCRIPT,
        HostFile("file-managers/linux/open-with.desktop", "rawdenoise.desktop", Spelling.DESKTOP),
    ),
    next_steps=lambda system: (f"right click on raw files: Open With > Other Application > {ENTRY}",),
)
FINDER = Host(
    name="finder",
    title="Finder (macOS)",
    systems=(System.MACOS,),
    find_sites=lambda places: [Site(places.home / "Library" / "Services", signs=(places.home,))],
    files=lambda system: (
        HostFile(
            "file-managers/macos/denoise.workflow",
            f"{ENTRY}.workflow",
            Spelling.PLIST,
            patterns=("**/*",),
        ),
    ),
    next_steps=lambda system: (
        f"select raw files, right click: Quick Actions > {ENTRY}",
        "if it is not there: Customize... in that menu, and tick it",
    ),
)
EXPLORER = Host(
    name="explorer",
    title="Explorer (Windows)",
    systems=(System.WINDOWS,),
    find_sites=lambda places: [
        Site(places.roaming / "Microsoft" / "Windows" / "SendTo", signs=(places.roaming,))
    ],
    files=lambda system: (HostFile("file-managers/windows/denoise.cmd", f"{ENTRY}.cmd", Spelling.BATCH),),
    next_steps=lambda system: (
        f"select raw files, right click: Send to > {ENTRY} (Windows 11: Show more options first)",
        "names with one of & ^ % and no space do not get through Windows' command files: rename those",
    ),
)
FILE_MANAGERS = (NAUTILUS, DOLPHIN, NEMO, CAJA, OPEN_WITH, FINDER, EXPLORER)
