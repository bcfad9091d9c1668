"""Noise profiles from TOML, read strictly, because people edit them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar

from msgspec import Meta

from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ProfileError
from rawdenoise.files.tables import (
    MAXIMUM_NUMBER,
    Table,
    TableError,
    Text,
    Whole,
    make_table_error,
    read_table,
    shorten,
)
from rawdenoise.noise.model import FourFloats
from rawdenoise.noise.profiles.profile import (
    CameraProfile,
    KnownDefects,
    MeasurementMethod,
    ProfilePoint,
    Site,
    sort_points,
)

PROFILE_FORMAT = 1
UNSTATED_ISO = "unstated"
MAXIMUM_ELECTRONS = 1e7  # at white: no sensor holds more in a pixel
TAIL_LIMITS = -0.4, 1.0  # shapes of Tukey's lambda law that read noise can have
MINIMUM_GAIN_RATIO = 0.5  # gain must not fall further than this as ISO rises
T = TypeVar("T")

# ---------------------------------------------------------------- what stands in the file

Number = Annotated[float, Meta(ge=-MAXIMUM_NUMBER, le=MAXIMUM_NUMBER, description="a number")]
Positive = Annotated[float, Meta(gt=0, le=MAXIMUM_NUMBER, description="a number above 0")]
NotNegative = Annotated[float, Meta(ge=0, le=MAXIMUM_NUMBER, description="a number, 0 or above")]
White = Annotated[
    float, Meta(gt=0, le=65535, description="a number above 0, and at most 65535: mosaics have 16 bits")
]
Count = Annotated[int, Meta(ge=1, description="a whole number above 0")]
Date = Annotated[date, Meta(description="a date such as 2025-01-31, without quotes")]
MethodName = Annotated[
    MeasurementMethod, Meta(description=f"one of {', '.join(map(repr, map(str, MeasurementMethod)))}")
]
Interval = Annotated[
    tuple[NotNegative, NotNegative],
    Meta(description="two numbers, the lower first, such as [0.95, 1.05]"),
]
_Side = Annotated[int, Meta(gt=0, lt=65536)]
Size = Annotated[tuple[_Side, _Side], Meta(description="width and height in pixels, such as [6000, 4000]")]
Sites = Annotated[str, Meta(description="a pair row,column for each pixel, in quotes, spaces between pairs")]

# One number for all planes, or four. Not of tuple[Positive, Positive, ...]: of a bounded number or a tuple of
# fixed length msgspec 0.22 dies.
_FOUR = Meta(min_length=4, max_length=4)
Four = Annotated[
    Positive | Annotated[tuple[Positive, ...], _FOUR],
    Meta(description="a number above 0, or four of them (R, G1, G2, B)"),
]
FourNotNegative = Annotated[
    NotNegative | Annotated[tuple[NotNegative, ...], _FOUR],
    Meta(description="a number, 0 or above, or four of them (R, G1, G2, B)"),
]


class _Camera(TypedDict, total=False):
    make: Text
    model: Text
    mode: Text


class _Levels(TypedDict, total=False):
    black: FourNotNegative
    white: White
    step: Positive


class _Provenance(TypedDict, total=False):
    method: MethodName
    source: Text
    date: Date


class _Shared(_Levels, _Provenance, total=False):
    """What [levels] and [provenance] say for all points, and a point for itself."""


class _Measured(TypedDict):
    gain: Four
    read_noise: Four


class _Point(_Measured, _Shared, total=False):
    row_noise: NotNegative
    captures: Count
    tukey_lambda: Number
    tukey_scale: Positive
    full_well: Positive
    linearity_error: NotNegative
    gain_interval: Interval
    read_interval: Interval


class _Sized(TypedDict):
    size: Size


class _Defects(_Sized, total=False):
    serial: Text
    hot: Sites
    dead: Sites


class _Stated(TypedDict):
    format: Whole
    camera: Table
    iso: Annotated[dict[str, dict[str, Any]], Meta(description="tables such as [iso.100]")]


class _Profile(_Stated, total=False):
    levels: Table
    provenance: Table
    defects: Table


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class _Place:
    """A table of a file, as its errors name it."""

    path: Path
    table: str = ""

    def error(self, reason: str) -> ProfileError:
        return ProfileError(f"{self.path}: {f'[{self.table}] ' if self.table else ''}{reason}")

    def refuse(self, error: TableError) -> ProfileError:
        meant = f" (there is {error.nearest}: is that it?)" if error.nearest else ""
        return self.error(f"{error}{meant}")

    def read(self, values: Mapping[str, Any], kind: type[T]) -> T:
        try:
            return read_table(values, kind)
        except TableError as error:
            raise self.refuse(error) from None


def parse_profile(data: bytes, path: Path) -> CameraProfile:
    """Read a profile, strictly: what is missing, unknown or absurd is an error.

    Raises:
        ProfileError: with the place and what to do about it.
    """
    try:
        fields = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOML's own errors, and dates and numbers that are none
        raise ProfileError(f"{path}: not a noise profile: it is no TOML ({error})") from error
    root = _Place(path)
    version = fields.get("format", PROFILE_FORMAT)
    if type(version) is int and version != PROFILE_FORMAT:  # of which nothing else is known
        raise root.error(
            f"format {shorten(version)}, but this version of rawdenoise reads format {PROFILE_FORMAT}"
        )
    stated = root.read(fields, _Profile)
    camera = _Place(path, "camera").read(stated["camera"], _Camera)
    if not (camera.get("make") or camera.get("model")):
        raise _Place(path, "camera").error(
            "names no camera: give make and model as the camera's files state them"
        )
    shared: _Shared = {
        **_Place(path, "levels").read(stated.get("levels", {}), _Levels),
        **_Place(path, "provenance").read(stated.get("provenance", {}), _Provenance),
    }
    points = sort_points(
        _point(_Place(path, f"iso.{name}"), name, table, shared) for name, table in stated["iso"].items()
    )
    if not points:
        raise root.error("has no point: add a table such as [iso.100] with gain and read_noise")
    _refuse_falling_gain(path, points)
    defects = _defects(_Place(path, "defects"), stated["defects"]) if "defects" in stated else None
    return CameraProfile(Camera(**camera), points, defects)


def _point(place: _Place, name: str, table: Mapping[str, Any], shared: _Shared) -> ProfilePoint:
    iso = None if name == UNSTATED_ISO else _iso(place, name)
    known: _Point = {**shared, **place.read(table, _Point)}
    for key, where in (("black", "levels"), ("white", "levels"), ("method", "provenance")):
        if key not in known:
            raise place.error(f"{key} is missing, here and in [{where}]")
    point = ProfilePoint(
        iso=iso,
        gain=_four(known["gain"]),
        read_noise=_four(known["read_noise"]),
        black=_four(known["black"]),
        white=known["white"],
        method=known["method"],
        row_noise=known.get("row_noise", 0.0),
        step=known.get("step", 1.0),
        source=known.get("source", ""),
        measured_on=known.get("date"),
        captures=known.get("captures"),
        tukey=_tukey(place, known.get("tukey_lambda"), known.get("tukey_scale")),
        full_well=known.get("full_well"),
        linearity_error=known.get("linearity_error"),
        gain_interval=_interval(place, "gain_interval", known.get("gain_interval")),
        read_interval=_interval(place, "read_interval", known.get("read_interval")),
    )
    _refuse_absurd(place, point)
    return point


def _refuse_absurd(place: _Place, point: ProfilePoint) -> None:
    """Refuse levels, gain and noise that no sensor has."""
    span = point.white - max(point.black)
    if span <= 0:
        raise place.error(f"white ({point.white:g}) must be above black ({max(point.black):g})")
    if point.step > span / 4:
        raise place.error(f"step of {point.step:g} DN leaves no levels between black and white")
    for gain in point.gain:
        if not 1 <= span / gain <= MAXIMUM_ELECTRONS:
            raise place.error(f"gain of {gain:g} DN per electron: white would be {span / gain:.3g} electrons")
    for kind, noise in (
        *(("read_noise", sigma) for sigma in point.read_noise),
        ("row_noise", point.row_noise),
    ):
        if noise > span / 4:
            raise place.error(f"{kind} of {noise:g} DN is absurd, with {span:g} DN from black to white")


def _refuse_falling_gain(path: Path, points: Iterable[ProfilePoint]) -> None:
    stated = [point for point in points if point.iso is not None]
    for low, high in pairwise(stated):
        if sum(high.gain) < MINIMUM_GAIN_RATIO * sum(low.gain):
            raise ProfileError(
                f"{path}: gain falls from ISO {low.iso} to ISO {high.iso}: one of the two must be wrong"
            )


def _iso(place: _Place, name: str) -> int:
    if not name.isascii() or not name.isdecimal() or int(name[:9]) < 1 or len(name) > 8:
        raise place.error(f"{shorten(name)} is no ISO: name the table [iso.400], or [iso.{UNSTATED_ISO}]")
    if name != str(int(name)):
        raise place.error(f"write the ISO as {int(name)}")
    return int(name)


def _four(value: float | tuple[float, ...]) -> FourFloats:
    red, green1, green2, blue = (value,) * 4 if isinstance(value, float) else value
    return red, green1, green2, blue


def _tukey(place: _Place, shape: float | None, scale: float | None) -> tuple[float, float] | None:
    if (shape is None) != (scale is None):
        raise place.error("tukey_lambda and tukey_scale come together")
    if shape is None or scale is None:
        return None
    if not TAIL_LIMITS[0] < shape < TAIL_LIMITS[1]:
        raise place.error(
            f"tukey_lambda of {shape:g} is absurd: it lies between {TAIL_LIMITS[0]} and {TAIL_LIMITS[1]}"
        )
    return shape, scale


def _interval(place: _Place, key: str, interval: tuple[float, float] | None) -> tuple[float, float] | None:
    if interval is not None and interval[0] > interval[1]:
        raise place.refuse(make_table_error(key, Interval, list(interval)))
    return interval


def _defects(place: _Place, table: Mapping[str, Any]) -> KnownDefects:
    stated = place.read(table, _Defects)
    width, height = stated["size"]
    hot, dead = _sites(place, "hot", stated.get("hot", "")), _sites(place, "dead", stated.get("dead", ""))
    for row, column in (*hot, *dead):
        if row >= height or column >= width:
            raise place.error(f"pixel {row},{column} lies outside a mosaic of {width} x {height}")
    return KnownDefects(stated.get("serial", ""), (width, height), hot, dead)


def _sites(place: _Place, key: str, text: str) -> tuple[Site, ...]:
    pairs = [word.split(",") for word in text.split()]
    if not all(len(pair) == 2 and all(n.isascii() and n.isdecimal() for n in pair) for pair in pairs):
        raise place.refuse(make_table_error(key, Sites, text))
    return tuple((int(row), int(column)) for row, column in pairs)
