"""From what a calibration finds to what a camera's profile keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from statistics import fmean

import numpy as np
from jaxtyping import Int

from rawdenoise.calibration.points import CalibrationPoint
from rawdenoise.errors import MissingFlatsError
from rawdenoise.noise.model import FourFloats
from rawdenoise.noise.profiles.profile import CameraProfile, KnownDefects, ProfilePoint, Site, sort_points


def make_profile(
    points: Sequence[CalibrationPoint], *, size: tuple[int, int] | None, source: str, measured_on: date
) -> CameraProfile:
    """Make a profile of the points of one camera that know both gain and read noise.

    `size` is that of the mosaic (width, height), in which the faulty pixels lie; None where nobody looked.

    Raises:
        MissingFlatsError: no point knows the gain.
    """
    complete = [point for point in points if point.complete]
    if not complete:
        raise MissingFlatsError("darks alone do not tell the gain: add flats or ordinary captures")
    camera = complete[0].camera
    hot, dead = (_list_sites(getattr(point.defects, kind) for point in points) for kind in ("hot", "dead"))
    defects = None if size is None else KnownDefects(camera.serial, size, hot, dead)
    kept = sort_points(_to_profile_point(point, source, measured_on) for point in complete)
    return CameraProfile(replace(camera, serial=""), kept, defects)


def _to_profile_point(point: CalibrationPoint, source: str, measured_on: date) -> ProfilePoint:
    assert point.gain is not None  # it is complete
    span = fmean(point.spans)
    full_well = fmean(point.full_well_e) if point.full_well_e and point.saturated else None
    percent = point.linearity_error_percent
    return ProfilePoint(
        iso=point.iso,
        gain=_shorten_planes(point.gain),
        read_noise=_shorten_planes(point.read_noise),
        black=_shorten_planes(point.black),
        white=point.levels.white,
        method=point.method,
        row_noise=_shorten(point.noise.row_variance**0.5 * span),
        step=_shorten(point.noise.step * span) or 1.0,
        source="; ".join([source, *point.notes]),
        measured_on=measured_on,
        captures=point.captures,
        full_well=None if full_well is None else _shorten(full_well),
        linearity_error=None if percent is None else _shorten(percent / 100),
        gain_interval=_shorten_interval(point.shot_interval),
        read_interval=_shorten_interval(point.read_interval),
    )


def _list_sites(maps: Iterable[Int[np.ndarray, "n 2"]]) -> tuple[Site, ...]:
    sites = {(int(row), int(column)) for pixels in maps for row, column in pixels}
    return tuple(sorted(sites))


def _shorten(value: float) -> float:
    """Five digits: no calibration knows more, and people read them."""
    return float(f"{value:.5g}")


def _shorten_planes(values: FourFloats) -> FourFloats:
    r, g1, g2, b = (_shorten(value) for value in values)
    return r, g1, g2, b


def _shorten_interval(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (_shorten(interval[0]), _shorten(interval[1]))
