"""Finds extensions by their entry points; what is built in is registered alike, in pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType

from rawdenoise.errors import ExtensionError

PACKAGE = "rawdenoise"
EXTENSION_GROUPS = ("denoisers", "readers", "writers", "objectives")
# The entry points of this package, so that a checkout that is not installed has them, too; a test compares.
BUILT_IN_EXTENSIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "denoisers": {
            "fast": "rawdenoise.pipeline:denoise_fast",
            "best": "rawdenoise.pipeline:denoise_best",
        },
        "readers": {
            "libraw": "rawdenoise.formats.readers:LIBRAW",
            "sidd": "rawdenoise.formats.readers:SIDD",
        },
        "writers": {
            "dng": "rawdenoise.formats.writers:DNG",
            "tiff": "rawdenoise.formats.writers:TIFF",
            "mosaic-tiff": "rawdenoise.formats.writers:MOSAIC_TIFF",
        },
        "objectives": {
            "gr2r": "rawdenoise.training.objectives.gr2r:calibrated",
            "gr2r-paper": "rawdenoise.training.objectives.gr2r:paper",
            "r2r": "rawdenoise.training.objectives.r2r:r2r",
            "neighbor2neighbor": "rawdenoise.training.objectives.neighbor2neighbor:neighbor2neighbor",
            "noise2void": "rawdenoise.training.objectives.noise2void:noise2void",
            "noisier2noise": "rawdenoise.training.objectives.noisier2noise:noisier2noise",
            "blind2unblind": "rawdenoise.training.objectives.blind2unblind:blind2unblind",
            "noise2grad": "rawdenoise.training.objectives.noise2grad:noise2grad",
            "self2self": "rawdenoise.training.objectives.self2self:self2self",
            "unpaired": "rawdenoise.training.objectives.blind_spots:unpaired",
            "unpaired-paper": "rawdenoise.training.objectives.blind_spots:unpaired_paper",
            "laine19": "rawdenoise.training.objectives.blind_spots:laine19",
            "noise2noise": "rawdenoise.training.objectives.pairs:noise2noise",
            "supervised": "rawdenoise.training.objectives.pairs:supervised",
            "supervised-decibels": "rawdenoise.training.objectives.pairs:supervised_decibels",
        },
    }
)


@dataclass(frozen=True, slots=True)
class Extension:
    """Something a package has registered: `value` is MODULE:NAME."""

    group: str
    name: str
    value: str
    package: str
    version: str


@cache
def extensions(group: str) -> Mapping[str, Extension]:
    """Give what is registered in a group, by its name; what is built in goes before others of its name."""
    from rawdenoise import __version__

    built_in = {
        name: Extension(group, name, value, PACKAGE, __version__)
        for name, value in BUILT_IN_EXTENSIONS[group].items()
    }
    return MappingProxyType({**{extension.name: extension for extension in _find_foreign(group)}, **built_in})


def _find_foreign(group: str) -> Iterator[Extension]:
    for entry in entry_points(group=f"{PACKAGE}.{group}"):
        package = entry.dist.name if entry.dist else "unknown"
        if package != PACKAGE:
            yield Extension(group, entry.name, entry.value, package, entry.dist.version if entry.dist else "")


@cache
def load(group: str, name: str) -> object:
    """Import what is registered under a name.

    Raises:
        ExtensionError: nothing is, or it cannot be imported.
    """
    known = extensions(group)
    if name not in known:
        raise ExtensionError(
            f"no {group.removesuffix('s')} called {name!r}; there are {', '.join(sorted(known))}"
        )
    extension = known[name]
    module, _, attribute = extension.value.partition(":")
    try:
        value: object = import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except Exception as error:
        source = f"{extension.package} {extension.version}".rstrip()
        raise ExtensionError(
            f"{name}, of {source}, cannot be loaded ({type(error).__name__}: {error})"
        ) from error
    return value
