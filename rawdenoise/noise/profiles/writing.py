"""Noise profiles as TOML, written to be read by people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import tomli_w

from rawdenoise.noise.model import FourFloats
from rawdenoise.noise.profiles.profile import CameraProfile, ProfilePoint, Site
from rawdenoise.noise.profiles.reading import PROFILE_FORMAT, UNSTATED_ISO

HEADER = """\
# Noise profile of a camera, for rawdenoise. It may be edited by hand: `rawdenoise cameras import` checks it.
#
# black, white, step             levels and quantisation step, in DN
# gain                           DN per electron
# read_noise                     standard deviation of a pixel in the dark, quantisation included, in DN
# row_noise                      standard deviation of the offset that the pixels of a row share, in DN
# gain_interval, read_interval   95 % intervals, relative
# full_well                      electrons; linearity_error: relative
# tukey_lambda, tukey_scale      the long-tailed law of the read noise, for simulations; scale in DN
# captures                       on how many frames it was measured
#
# One number is for all planes; four are for R, G1, G2, B (G1 is the green of the red rows).
# What stands in [levels] and [provenance] holds for every ISO that does not say otherwise.
"""


def format_profile(profile: CameraProfile) -> str:
    """Write a profile as TOML; what most points share is said once."""
    camera = {name: getattr(profile.camera, name) for name in ("make", "model", "mode")}
    tables = [_fields(point) for point in profile.points]
    levels, provenance = (
        _extract_shared(tables, names) for names in (("black", "white", "step"), ("method", "source", "date"))
    )
    sections: dict[str, dict[str, Any]] = {
        "camera": {name: value for name, value in camera.items() if value},
        "levels": levels,
        "provenance": provenance,
    }
    for point, table in zip(profile.points, tables, strict=True):
        sections[f"iso.{UNSTATED_ISO if point.iso is None else point.iso}"] = table
    if profile.defects is not None:
        sections["defects"] = {
            "serial": profile.defects.serial,
            "size": list(profile.defects.size),
            "hot": _sites_text(profile.defects.hot),
            "dead": _sites_text(profile.defects.dead),
        }
    filled = (_section(name, section) for name, section in sections.items() if section)
    return "\n".join([HEADER, f"format = {PROFILE_FORMAT}\n", *filled])


def _section(name: str, values: Mapping[str, Any]) -> str:
    """A table, its arrays on one line each."""
    lines = [f"[{name}]\n"]
    for key, value in values.items():
        if isinstance(value, list):
            lines.append(f"{key} = [{', '.join(map(repr, value))}]\n")
        else:
            lines.append(tomli_w.dumps({key: value}, multiline_strings=True))
    return "".join(lines)


def _fields(point: ProfilePoint) -> dict[str, Any]:
    """A point as a table, what it does not know left out."""
    fields: dict[str, Any] = {
        "gain": _collapse(point.gain),
        "read_noise": _collapse(point.read_noise),
        "row_noise": _round(point.row_noise) or None,
        "gain_interval": point.gain_interval and [_round(bound) for bound in point.gain_interval],
        "read_interval": point.read_interval and [_round(bound) for bound in point.read_interval],
        "tukey_lambda": point.tukey and _round(point.tukey[0]),
        "tukey_scale": point.tukey and _round(point.tukey[1]),
        "full_well": point.full_well and _round(point.full_well),
        "linearity_error": None if point.linearity_error is None else _round(point.linearity_error),
        "captures": point.captures,
        "black": _collapse(point.black),
        "white": _round(point.white),
        "step": _round(point.step),
        "method": str(point.method),
        "source": point.source or None,
        "date": point.measured_on,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _extract_shared(tables: Iterable[dict[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """Take out of the tables what most of them say alike; a value that some lack stays where it is."""
    tables = list(tables)
    shared = {}
    for name in names:
        values = [table[name] for table in tables if name in table]
        if len(values) < len(tables):
            continue
        common = Counter(map(repr, values)).most_common(1)[0][0]
        shared[name] = next(value for value in values if repr(value) == common)
        for table in tables:
            if repr(table[name]) == common:
                del table[name]
    return shared


def _collapse(values: FourFloats) -> float | list[float]:
    rounded = [_round(value) for value in values]
    return rounded[0] if len(set(rounded)) == 1 else rounded


def _round(value: float) -> float:
    """Seven digits, more than any calibration knows; whole numbers without a point."""
    short = float(f"{value:.7g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _sites_text(sites: Iterable[Site]) -> str:
    """Pairs of row,column, ten a line."""
    words = [f"{row},{column}" for row, column in sites]
    lines = [" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]
    return "\n".join(["", *lines, ""]) if len(lines) > 1 else "".join(lines)
