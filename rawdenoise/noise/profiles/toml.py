"""Noise profiles as TOML: read strictly, because people edit them, and written to be read by people."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ProfileError
from rawdenoise.noise.model import FourFloats
from rawdenoise.noise.profiles.profile import (
    CameraProfile,
    KnownDefects,
    Method,
    ProfilePoint,
    Site,
    sorted_points,
)

FORMAT = 1
UNSTATED = "unstated"
MOST_ELECTRONS = 1e7  # at white: no sensor holds more in a pixel
TAILS = -0.4, 1.0  # shapes of Tukey's lambda law that read noise can have
FALL = 0.5  # gain must not fall further than this as ISO rises
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
T = TypeVar("T")


def parse_profile(data: bytes, path: Path) -> CameraProfile:
    """Read a profile, strictly: what is missing, unknown or absurd is an error.

    Raises:
        ProfileError: with the place and what to do about it.
    """
    try:
        fields = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOML's own errors, and dates and numbers that are none
        raise ProfileError(f"{path}: not a noise profile: it is no TOML ({error})") from error
    root = _Table(path, "", fields)
    version = root.take("format", _integer)
    if version != FORMAT:
        raise root.error(f"format {version}, but this version of rawdenoise reads format {FORMAT}")
    camera = root.table("camera")
    levels, provenance = (root.table(name, optional=True) for name in ("levels", "provenance"))
    isos = root.table("iso")
    defects = root.table("defects", optional=True)
    root.finish()
    known = Camera(*(camera.take(name, _text, "") for name in ("make", "model")))
    known = replace(known, mode=camera.take("mode", _text, ""))
    if not (known.make or known.model):
        raise camera.error("names no camera: give make and model as the camera's files state them")
    camera.finish()
    defaults = {**_levels(levels), **_provenance(provenance)}
    for table in (levels, provenance):
        table.finish()
    points = sorted_points([_point(isos.table(name), name, defaults) for name in list(isos.values)])
    if not points:
        raise root.error("has no point: add a table such as [iso.100] with gain and read_noise")
    _refuse_falling_gain(path, points)
    return CameraProfile(known, points, _defects(defects) if "defects" in fields else None)


def format_profile(profile: CameraProfile) -> str:
    """Write a profile as TOML; what most points share is said once."""
    camera = {name: getattr(profile.camera, name) for name in ("make", "model", "mode")}
    tables = [_fields(point) for point in profile.points]
    levels, provenance = (
        _shared(tables, names) for names in (("black", "white", "step"), ("method", "source", "date"))
    )
    sections: dict[str, dict[str, Any]] = {
        "camera": {name: value for name, value in camera.items() if value},
        "levels": levels,
        "provenance": provenance,
    }
    for point, table in zip(profile.points, tables, strict=True):
        sections[f"iso.{UNSTATED if point.iso is None else point.iso}"] = table
    if profile.defects is not None:
        sections["defects"] = {
            "serial": profile.defects.serial,
            "size": list(profile.defects.size),
            "hot": _sites_text(profile.defects.hot),
            "dead": _sites_text(profile.defects.dead),
        }
    filled = (_section(name, section) for name, section in sections.items() if section)
    return "\n".join([HEADER, f"format = {FORMAT}\n", *filled])


# ---------------------------------------------------------------- reading


class _Table:
    """A table of a profile as it is read: every value is taken once, and what is left over is unknown."""

    def __init__(self, path: Path, name: str, values: Mapping[str, Any]) -> None:
        self.path, self.name, self.values = path, name, dict(values)
        self._known: set[str] = set()

    def error(self, reason: str) -> ProfileError:
        place = f"[{self.name}] " if self.name else ""
        return ProfileError(f"{self.path}: {place}{reason}")

    def take(self, key: str, read: Callable[[Any], T], default: T | None = None) -> T:
        """Take a value; without a default it must be there."""
        self._known.add(key)
        if key not in self.values:
            if default is None:
                hint = self._hint(key, self.values)
                raise self.error(f"{key} is missing{hint}")
            return default
        try:
            return read(self.values[key])
        except ValueError as error:
            raise self.error(f"{key} must be {error}, not {_short(self.values[key])}") from None

    def maybe(self, key: str, read: Callable[[Any], T]) -> T | None:
        """Take a value that need not be there."""
        self._known.add(key)
        return self.take(key, read) if key in self.values else None

    def table(self, key: str, *, optional: bool = False) -> _Table:
        """Take a table; one that need not be there is then empty."""
        self._known.add(key)
        values = self.values.get(key, {} if optional else None)
        if not isinstance(values, dict):
            name = f"{self.name}.{key}" if self.name else key
            raise self.error(f"table [{name}] is missing" if values is None else f"{name} must be a table")
        return _Table(self.path, f"{self.name}.{key}" if self.name else key, values)

    def finish(self) -> None:
        """Refuse what nobody asked for."""
        for key in self.values:
            if key not in self._known:
                raise self.error(f"{_short(key)} is unknown{self._hint(key, self._known)}")

    @staticmethod
    def _hint(key: str, others: Iterable[str]) -> str:
        close = difflib.get_close_matches(key, list(others), 1)
        return f" (there is {close[0]}: is that it?)" if close else ""


def _point(table: _Table, name: str, defaults: Mapping[str, Any]) -> ProfilePoint:
    iso = None if name == UNSTATED else _iso(table, name)
    known = {**defaults, **_levels(table), **_provenance(table)}
    for key, where in (("black", "levels"), ("white", "levels"), ("method", "provenance")):
        if key not in known:
            raise table.error(f"{key} is missing, here and in [{where}]")
    black, white = known["black"], known["white"]
    known.setdefault("step", 1.0)
    span = white - max(black)
    if span <= 0:
        raise table.error(f"white ({white:g}) must be above black ({max(black):g})")
    if known["step"] > span / 4:
        raise table.error(f"step of {known['step']:g} DN leaves no levels between black and white")
    gain = table.take("gain", _four)
    for each in gain:
        if not 1 <= span / each <= MOST_ELECTRONS:
            raise table.error(f"gain of {each:g} DN per electron: white would be {span / each:.3g} electrons")
    read_noise = table.take("read_noise", _four)
    row_noise = table.take("row_noise", _number_from_0, 0.0)
    for kind, each in (*(("read_noise", sigma) for sigma in read_noise), ("row_noise", row_noise)):
        if each > span / 4:
            raise table.error(f"{kind} of {each:g} DN is absurd, with {span:g} DN from black to white")
    shape, scale = table.maybe("tukey_lambda", _number), table.maybe("tukey_scale", _positive)
    if (shape is None) != (scale is None):
        raise table.error("tukey_lambda and tukey_scale come together")
    if shape is not None and not TAILS[0] < shape < TAILS[1]:
        raise table.error(f"tukey_lambda of {shape:g} is absurd: it lies between {TAILS[0]} and {TAILS[1]}")
    point = ProfilePoint(
        iso=iso,
        gain=gain,
        read_noise=read_noise,
        row_noise=row_noise,
        captures=table.maybe("captures", _count),
        tukey=None if shape is None or scale is None else (shape, scale),
        full_well=table.maybe("full_well", _positive),
        linearity_error=table.maybe("linearity_error", _number_from_0),
        gain_interval=table.maybe("gain_interval", _interval),
        read_interval=table.maybe("read_interval", _interval),
        **known,
    )
    table.finish()
    return point


def _iso(table: _Table, name: str) -> int:
    if not name.isascii() or not name.isdecimal() or int(name[:9]) < 1 or len(name) > 8:
        raise table.error(f"{_short(name)} is no ISO: name the table [iso.400], or [iso.{UNSTATED}]")
    if name != str(int(name)):
        raise table.error(f"write the ISO as {int(name)}")
    return int(name)


def _levels(table: _Table) -> dict[str, Any]:
    readers = {"black": _four_from_0, "white": _positive, "step": _positive}
    levels = {key: table.maybe(key, read) for key, read in readers.items()}
    if (levels["white"] or 0) > 65535:  # type: ignore[operator]
        raise table.error("white must be at most 65535: mosaics have 16 bits")
    return {key: value for key, value in levels.items() if value is not None}


def _provenance(table: _Table) -> dict[str, Any]:
    stated = {
        "method": table.maybe("method", _method),
        "source": table.maybe("source", _text),
        "measured_on": table.maybe("date", _date),
    }
    return {key: value for key, value in stated.items() if value is not None}


def _defects(table: _Table) -> KnownDefects:
    width, height = table.take("size", _size)
    serial = table.take("serial", _text, "")
    nothing: tuple[Site, ...] = ()
    hot, dead = (table.take(kind, _sites, nothing) for kind in ("hot", "dead"))
    table.finish()
    for row, column in (*hot, *dead):
        if row >= height or column >= width:
            raise table.error(f"pixel {row},{column} lies outside a mosaic of {width} x {height}")
    return KnownDefects(serial, (width, height), hot, dead)


def _refuse_falling_gain(path: Path, points: Iterable[ProfilePoint]) -> None:
    stated = [point for point in points if point.iso is not None]
    for low, high in pairwise(stated):
        if sum(high.gain) < FALL * sum(low.gain):
            raise ProfileError(
                f"{path}: gain falls from ISO {low.iso} to ISO {high.iso}: one of the two must be wrong"
            )


# Readers of values: the ValueError says what the value must be.


def _number(value: Any) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        pass
    raise ValueError("a number")


def _positive(value: Any) -> float:
    try:
        if _number(value) > 0:
            return float(value)
    except ValueError:
        pass
    raise ValueError("a number above 0")


def _number_from_0(value: Any) -> float:
    try:
        if _number(value) >= 0:
            return float(value)
    except ValueError:
        pass
    raise ValueError("a number, 0 or above")


def _four_of(value: Any, read: Callable[[Any], float], kind: str) -> FourFloats:
    try:
        match value:
            case [red, green1, green2, blue]:
                return read(red), read(green1), read(green2), read(blue)
            case _ if not isinstance(value, list):
                return (read(value),) * 4
    except ValueError:
        pass
    raise ValueError(f"{kind}, or four of them (R, G1, G2, B)")


def _four(value: Any) -> FourFloats:
    return _four_of(value, _positive, "a number above 0")


def _four_from_0(value: Any) -> FourFloats:
    return _four_of(value, _number_from_0, "a number, 0 or above")


def _interval(value: Any) -> tuple[float, float]:
    try:
        match value:
            case [low, high] if 0 <= _number(low) <= _number(high):
                return float(low), float(high)
    except ValueError:
        pass
    raise ValueError("two numbers, the lower first, such as [0.95, 1.05]")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")
    return value


def _count(value: Any) -> int:
    if _integer(value) < 1:
        raise ValueError("a whole number above 0")
    return int(value)


def _size(value: Any) -> tuple[int, int]:
    match value:
        case [int(width), int(height)] if 0 < width < 65536 and 0 < height < 65536:
            return width, height
    raise ValueError("width and height in pixels, such as [6000, 4000]")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text in quotes")
    return value


def _date(value: Any) -> date:
    if type(value) is not date:  # a datetime is a date too
        raise ValueError("a date such as 2025-01-31, without quotes")
    return value


def _method(value: Any) -> Method:
    if value not in list(Method):
        raise ValueError(f"one of {', '.join(map(repr, map(str, Method)))}")
    return Method(value)


def _sites(value: Any) -> tuple[Site, ...]:
    if not isinstance(value, str):
        raise ValueError("text with a pair row,column for each pixel")
    pairs = [word.split(",") for word in value.split()]
    if not all(len(pair) == 2 and all(n.isascii() and n.isdecimal() for n in pair) for pair in pairs):
        raise ValueError("a pair row,column for each pixel, with spaces between pairs")
    return tuple((int(row), int(column)) for row, column in pairs)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "..."


# ---------------------------------------------------------------- writing


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
        "gain": _collapsed(point.gain),
        "read_noise": _collapsed(point.read_noise),
        "row_noise": _rounded(point.row_noise) or None,
        "gain_interval": point.gain_interval and [_rounded(each) for each in point.gain_interval],
        "read_interval": point.read_interval and [_rounded(each) for each in point.read_interval],
        "tukey_lambda": point.tukey and _rounded(point.tukey[0]),
        "tukey_scale": point.tukey and _rounded(point.tukey[1]),
        "full_well": point.full_well and _rounded(point.full_well),
        "linearity_error": None if point.linearity_error is None else _rounded(point.linearity_error),
        "captures": point.captures,
        "black": _collapsed(point.black),
        "white": _rounded(point.white),
        "step": _rounded(point.step),
        "method": str(point.method),
        "source": point.source or None,
        "date": point.measured_on,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _shared(tables: Iterable[dict[str, Any]], names: Iterable[str]) -> dict[str, Any]:
    """Take out of the tables what most of them say alike; a value that some lack stays where it is."""
    tables = list(tables)
    shared = {}
    for name in names:
        said = [table[name] for table in tables if name in table]
        if len(said) < len(tables):
            continue
        common = Counter(map(repr, said)).most_common(1)[0][0]
        shared[name] = next(value for value in said if repr(value) == common)
        for table in tables:
            if repr(table[name]) == common:
                del table[name]
    return shared


def _collapsed(values: FourFloats) -> float | list[float]:
    rounded = [_rounded(value) for value in values]
    return rounded[0] if len(set(rounded)) == 1 else rounded


def _rounded(value: float) -> float:
    """Seven digits, more than any calibration knows; whole numbers without a point."""
    short = float(f"{value:.7g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _sites_text(sites: Iterable[Site]) -> str:
    """Pairs of row,column, ten a line."""
    words = [f"{row},{column}" for row, column in sites]
    lines = [" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]
    return "\n".join(["", *lines, ""]) if len(lines) > 1 else "".join(lines)
