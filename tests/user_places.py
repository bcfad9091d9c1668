"""Users of any system, whose folders are the test's."""

from __future__ import annotations

from pathlib import Path

from rawdenoise.hosts.host import Host, Packaging, Site
from rawdenoise.hosts.places import Places, System, find_places


def make_places(folder: Path, system: System = System.LINUX, **environment: str) -> Places:
    """A user of any system, whose home is a folder of the test's."""
    return find_places(
        system,
        folder / "home",
        environment,
        own=folder / "home" / "own",
        content=folder / "content",
        command=("/opt/raw denoise/bin/rawdenoise",),
    )


def site_of(host: Host, places: Places, packaging: Packaging = Packaging.NATIVE) -> Site:
    return next(site for site in host.find_sites(places) if site.packaging is packaging)
