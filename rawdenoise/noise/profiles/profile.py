"""A camera's noise over ISO: the records, and physics between the ISO that were measured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Literal

from rawdenoise.capture.raw import Camera, Levels
from rawdenoise.noise.model import FourFloats, NoiseModel

MAXIMUM_SCALE_DIFFERENCE = 0.2  # white minus black of profile and capture may differ by so much, relatively

MAXIMUM_ISO_DIFFERENCE = 0.03  # labels are rounded: 100 and 101, 125 and 126 are one setting

How = Literal["measured", "interpolated", "extrapolated"]
Site = tuple[int, int]


class MeasurementMethod(StrEnum):
    """How a point was measured, the weakest evidence first."""

    PUBLISHED = "published"
    CAPTURES = "captures"
    PHOTON_TRANSFER = "photon transfer"

    @property
    def rank(self) -> int:
        """How strong the evidence is: a point never gives way to one of lower rank."""
        return list(MeasurementMethod).index(self)


@dataclass(frozen=True, slots=True)
class ProfilePoint:
    """A camera's noise at one ISO (None: what its files do not say), in DN; four values are R, G1, G2, B.

    `gain` is in DN per electron. `read_noise` is a standard deviation per pixel with quantisation, without
    `row_noise`, that of the offset which the pixels of a mosaic row share; `step` is the quantisation step.
    `tukey` is the shape and scale of a Tukey-lambda law fitted to the read noise, for simulations.
    `full_well` is in electrons, `linearity_error` relative; the intervals are relative ones of 95 %.
    """

    iso: int | None
    gain: FourFloats
    read_noise: FourFloats
    black: FourFloats
    white: float
    method: MeasurementMethod
    row_noise: float = 0.0
    step: float = 1.0
    source: str = ""
    measured_on: date | None = None
    captures: int | None = None
    tukey: tuple[float, float] | None = None
    full_well: float | None = None
    linearity_error: float | None = None
    gain_interval: tuple[float, float] | None = None
    read_interval: tuple[float, float] | None = None

    @property
    def span(self) -> float:
        """White minus mean black, in DN."""
        return self.white - sum(self.black) / 4

    def noise(self, levels: Levels | None = None) -> NoiseModel:
        """The noise on the packed scale of a capture with these levels (the point's own without)."""
        black, white = (self.black, self.white) if levels is None else (levels.black, levels.white)
        a, b, c, d = (white - level for level in black)
        spans = (a, b, c, d)
        span = sum(spans) / 4
        return NoiseModel(
            shot=_planes(gain / span for gain, span in zip(self.gain, spans, strict=True)),
            read_variance=_planes((s / span) ** 2 for s, span in zip(self.read_noise, spans, strict=True)),
            row_variance=(self.row_noise / span) ** 2,
            step=self.step / span,
            tail=None if self.tukey is None else self.tukey[0],
        )


@dataclass(frozen=True, slots=True)
class KnownDefects:
    """Hot and dead pixels of one body, as (row, column) of its whole mosaic of `size` (width, height)."""

    serial: str
    size: tuple[int, int]
    hot: tuple[Site, ...] = ()
    dead: tuple[Site, ...] = ()


@dataclass(frozen=True, slots=True)
class CameraProfile:
    """The noise of a camera over ISO; `camera.mode` is empty where it holds for every read-out.

    `points` are sorted by ISO, the one of unstated ISO first.
    """

    camera: Camera
    points: tuple[ProfilePoint, ...]
    defects: KnownDefects | None = None

    @property
    def id(self) -> str:
        """The name of the profile's file, without its suffix."""
        return profile_id(self.camera)

    @property
    def iso_range(self) -> tuple[int, int] | None:
        """Lowest and highest ISO; None where no ISO is stated."""
        isos = [point.iso for point in self.points if point.iso is not None]
        return (min(isos), max(isos)) if isos else None

    def is_of(self, camera: Camera) -> bool:
        """Whether the profile holds for a camera: make and model alike, and the mode where it names one."""
        return self.camera.is_like(replace(camera, mode=camera.mode if self.camera.mode else ""))

    def noise_at(
        self, iso: int | None, *, levels: Levels | None = None, allow_extrapolation: bool = False
    ) -> tuple[NoiseModel, How] | None:
        """The noise at an ISO on the packed scale of a capture with these levels, and how it is known.

        None outside the points, unless `allow_extrapolation`; and None where white minus black of the capture
        is not that of the profile, as in another bit depth. Without `levels` the scale is the profile's own.
        """
        points = self.points if levels is None else self.points_for(levels)
        known = point_at(points, iso, allow_extrapolation=allow_extrapolation)
        if known is None:
            return None
        point, how = known
        return point.noise(levels), how

    def points_for(self, levels: Levels) -> tuple[ProfilePoint, ...]:
        """The points in the scale of captures with these levels; those of another bit depth are left out."""
        span = levels.white - sum(levels.black) / 4
        return tuple(point for point in self.points if _is_same_scale(point.span, span))


def profile_id(camera: Camera) -> str:
    """A file name for a camera: its name, and its mode where it has one."""
    words = f"{camera.name} {camera.mode}".lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:100].rstrip("-") or "camera"


def merge_profiles(new: CameraProfile, old: CameraProfile | None) -> CameraProfile:
    """Put new points over old ones, ISO by ISO; a point gives way to as strong or stronger evidence only.

    Old points in the scale of another bit depth go, whatever their evidence: DN of two scales do not mix.
    """
    if old is None:
        return new
    gone = find_off_scale(new, old)
    points = {point.iso: point for point in old.points if point not in gone}
    for point in new.points:
        there = points.get(point.iso)
        if there is None or point.method.rank >= there.method.rank:
            points[point.iso] = point
    return CameraProfile(new.camera, sort_points(points.values()), new.defects or old.defects)


def find_off_scale(new: CameraProfile, old: CameraProfile) -> tuple[ProfilePoint, ...]:
    """The points of `old` in another scale than all of `new`, as of another bit depth."""
    return tuple(
        point
        for point in old.points
        if not any(_is_same_scale(point.span, other.span) for other in new.points)
    )


def sort_points(points: Iterable[ProfilePoint]) -> tuple[ProfilePoint, ...]:
    """Put points in the order of a profile: by ISO, an unstated one first."""
    return tuple(sorted(points, key=lambda point: point.iso or 0))


def point_at(
    points: Sequence[ProfilePoint], iso: int | None, *, allow_extrapolation: bool = False
) -> tuple[ProfilePoint, How] | None:
    """The noise at an ISO, and how it is known; None where it is not. `points` are sorted by ISO.

    Between two points the gain is log-linear in ISO, and the variances are a + b gain^2: noise from after
    the amplifier and from before it. Where the read noise falls with rising ISO the sensor has switched to
    another conversion gain; then each side goes on as far as the middle. Nothing is known outside the
    points, but for the rounding of ISO; with `allow_extrapolation` the last segment goes on there, the gain
    in proportion to ISO. Points in another scale than that of the nearest one do not count.
    """
    for point in points:
        if point.iso == iso:
            return point, "measured"
    stated = [point for point in points if point.iso is not None]
    if iso is None or not stated:
        return None
    nearest = min(stated, key=lambda point: abs(math.log(_iso(point) / iso)))
    stated = [point for point in stated if _is_same_scale(point.span, nearest.span)]
    below = [point for point in stated if _iso(point) < iso]
    above = [point for point in stated if _iso(point) > iso]
    if below and above:
        return _interpolate(below, above, iso), "interpolated"
    edge, *inner = below[::-1] or above
    if abs(iso / _iso(edge) - 1) <= MAXIMUM_ISO_DIFFERENCE:
        return edge, "measured"
    if not allow_extrapolation:
        return None
    gain = _planes(plane_gain * iso / _iso(edge) for plane_gain in edge.gain)
    return _extrapolate(edge, inner[0] if inner else None, iso, gain), "extrapolated"


def switches_gain(low: ProfilePoint, high: ProfilePoint) -> bool:
    """Whether the sensor changes to another conversion gain between two ISO: only then read noise falls."""
    return sum(s**2 for s in high.read_noise) < sum(s**2 for s in low.read_noise)


def _interpolate(below: Sequence[ProfilePoint], above: Sequence[ProfilePoint], iso: int) -> ProfilePoint:
    low, high = below[-1], above[0]
    place = math.log(iso / _iso(low)) / math.log(_iso(high) / _iso(low))
    gain = _planes(a ** (1 - place) * b**place for a, b in zip(low.gain, high.gain, strict=True))
    if switches_gain(low, high):
        if place < 0.5:
            return _extrapolate(low, below[-2] if len(below) > 1 else None, iso, gain)
        return _extrapolate(high, above[1] if len(above) > 1 else None, iso, gain)
    ends = zip(_noises(low), _noises(high), (*gain, _mean(gain)), strict=True)
    sigmas = [_sigma_between(*end, place=place) for end in ends]
    return _derive_point(low if place < 0.5 else high, iso, gain, sigmas)


def _extrapolate(
    edge: ProfilePoint, neighbor: ProfilePoint | None, iso: int, gain: FourFloats
) -> ProfilePoint:
    """Go on from a point as the segment to its neighbour does; where that switches gain, all is amplified."""
    if neighbor is not None and switches_gain(*sorted((edge, neighbor), key=_iso)):
        neighbor = None
    others = [None] * 5 if neighbor is None else _noises(neighbor)
    ends = zip(_noises(edge), others, (*gain, _mean(gain)), strict=True)
    return _derive_point(edge, iso, gain, [_sigma_beyond(*end) for end in ends])


def _noises(point: ProfilePoint) -> list[tuple[float, float]]:
    """Gain and sigma of the read noise of each plane, and of the row noise."""
    reads = list(zip(point.gain, point.read_noise, strict=True))
    return [*reads, (_mean(point.gain), point.row_noise)]


def _sigma_between(
    low: tuple[float, float], high: tuple[float, float], gain: float, *, place: float
) -> float:
    """The root of the quadratic a + b gain^2 through two variances, at a gain between theirs."""
    share = (gain**2 - low[0] ** 2) / (high[0] ** 2 - low[0] ** 2) if low[0] != high[0] else place
    return math.sqrt(low[1] ** 2 + (high[1] ** 2 - low[1] ** 2) * min(max(share, 0.0), 1.0))


def _sigma_beyond(edge: tuple[float, float], other: tuple[float, float] | None, gain: float) -> float:
    """The same beyond one of the points; neither a nor b are negative, for they are variances too."""
    most = edge[1] ** 2 / edge[0] ** 2
    b = most
    if other is not None and other[0] != edge[0]:
        b = (other[1] ** 2 - edge[1] ** 2) / (other[0] ** 2 - edge[0] ** 2)
    return math.sqrt(max(edge[1] ** 2 + min(max(b, 0.0), most) * (gain**2 - edge[0] ** 2), 0.0))


def _derive_point(nearest: ProfilePoint, iso: int, gain: FourFloats, sigmas: Sequence[float]) -> ProfilePoint:
    """A point that nobody measured: what was measured at the nearest one alone is left out.

    The read noise keeps the tails it has there.
    """
    wider = _mean(_planes(sigmas[:4])) / _mean(nearest.read_noise)
    return replace(
        nearest,
        iso=iso,
        gain=gain,
        read_noise=_planes(sigmas[:4]),
        row_noise=sigmas[4],
        captures=None,
        tukey=nearest.tukey and (nearest.tukey[0], nearest.tukey[1] * wider),
        full_well=None,
        linearity_error=None,
        gain_interval=None,
        read_interval=None,
    )


def _iso(point: ProfilePoint) -> int:
    return point.iso or 0


def _mean(values: FourFloats) -> float:
    return sum(values) / 4


def _planes(values: Iterable[float]) -> FourFloats:
    r, g1, g2, b = values
    return r, g1, g2, b


def _is_same_scale(span: float, other: float) -> bool:
    return abs(span / other - 1) <= MAXIMUM_SCALE_DIFFERENCE
