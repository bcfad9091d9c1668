"""What the library asks for in plain words, as the options of the command line that give it."""

from __future__ import annotations

from collections.abc import Mapping

from rawdenoise.errors import (
    AlteredPluginError,
    HostMissingError,
    MissingFlatsError,
    NamelessCameraError,
    NamelessScenesError,
    PatternError,
    ProfileExistsError,
    RawDenoiseError,
    SeveralCamerasError,
    UnusableFlatsError,
)

REMEDY_OPTIONS: Mapping[type[RawDenoiseError], tuple[str, str]] = {
    MissingFlatsError: ("add flats", "add flats (--flat)"),
    UnusableFlatsError: ("as ordinary captures they may do", "--captures takes PATHs for ordinary captures"),
    NamelessCameraError: ("give its name", "give --camera NAME"),
    SeveralCamerasError: ("a profile is of one, name it", "-o takes one, see --camera"),
    ProfileExistsError: ("replace it, or keep it", "--replace overwrites it"),
    PatternError: ("give the folder apart", "-o and --beside say where it goes"),
    NamelessScenesError: ("give a list", "give --scenes FILE"),
    AlteredPluginError: ("keep a copy, and replace it", "keep a copy, and --replace it"),
    HostMissingError: ("name its folder", "name its folder (--folder)"),
}


def name_options(error: RawDenoiseError) -> str:
    """The error's line, with the options that would mend it."""
    line = str(error)
    if type(error) not in REMEDY_OPTIONS:
        return line
    before, words, after = line.rpartition(REMEDY_OPTIONS[type(error)][0])
    return f"{before}{REMEDY_OPTIONS[type(error)][1]}{after}" if words else line
