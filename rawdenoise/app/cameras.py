"""The noise profiles of cameras as rows, lines and JSON's own types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import fmean

from rawdenoise.errors import ProfileError
from rawdenoise.noise.profiles.profile import How, ProfilePoint, point_at
from rawdenoise.noise.profiles.store import ProfileStore, StoredProfile

PROFILE_COLUMNS = ("ID", "CAMERA", "MODE", "ISO", "POINTS", "METHOD", "WHOSE")
POINT_COLUMNS = ("ISO", "GAIN", "READ", "ROW", "READ e-", "METHOD", "HOW SURE")


@dataclass(frozen=True, slots=True)
class ProfileAnswer:
    """A camera's profile and, where an ISO was asked for, the noise there and how it is known."""

    stored: StoredProfile
    iso: int | None = None
    point: ProfilePoint | None = None
    how: How = "measured"

    def as_json(self) -> dict[str, object]:
        """Give it as JSON's own types; gain in DN per electron, noise in DN."""
        at = {} if self.point is None else {"at": {**_point_to_json(self.point), "how": self.how}}
        return {**profile_to_json(self.stored), **at}

    def noise_line(self) -> str:
        """Say the noise at the ISO that was asked for; nothing where none was."""
        if self.point is None:
            return ""
        gain, read, row = fmean(self.point.gain), fmean(self.point.read_noise), self.point.row_noise
        return f"at ISO {self.iso}: {gain:.4g} DN/e-, read {read:.4g} DN, row {row:.4g} DN ({self.how})"


def look_up_profile(camera: str, profiles: ProfileStore, *, iso: int | None = None) -> ProfileAnswer:
    """Find a profile by any unique part of its camera's name; with `iso` also the noise there.

    Raises:
        ProfileError: there is no such profile, or it does not know this ISO.
    """
    stored = profiles.get(camera)
    if iso is None:
        return ProfileAnswer(stored)
    answer = point_at(stored.profile.points, iso)
    if answer is None:
        known = stored.profile.iso_range
        span = "no stated ISO" if known is None else f"ISO {known[0]} to {known[1]}"
        raise ProfileError(f"{stored.profile.id} knows {span}; nothing is said of ISO {iso}")
    return ProfileAnswer(stored, iso, *answer)


def profile_to_json(stored: StoredProfile) -> dict[str, object]:
    """Give a profile as JSON's own types; gain in DN per electron, noise in DN."""
    defects = stored.profile.defects
    return {
        "id": stored.profile.id,
        "camera": asdict(stored.profile.camera),
        "path": str(stored.path),
        "bundled": stored.bundled,
        "points": [_point_to_json(point) for point in stored.profile.points],
        "hot_pixels": None if defects is None else len(defects.hot),
        "dead_pixels": None if defects is None else len(defects.dead),
    }


def describe_profile(stored: StoredProfile) -> list[str]:
    """Say in lines what a profile is, but for its points."""
    profile, defects = stored.profile, stored.profile.defects
    levels = profile.points[0]
    facts = {
        "id": profile.id,
        "camera": profile.camera.name,
        "mode": profile.camera.mode or "all",
        "levels": f"{fmean(levels.black):g} to {levels.white:g} DN",
        "file": f"{stored.path} ({_describe_owner(stored)})",
        "source": "; ".join(_describe_sources(profile.points)),
        "defects": "" if defects is None else f"{len(defects.hot)} hot, {len(defects.dead)} dead pixels",
    }
    return [f"{name + ':':<9}{value}" for name, value in facts.items() if value]


def make_profile_row(stored: StoredProfile) -> tuple[str, ...]:
    """A profile as a row of `PROFILE_COLUMNS`."""
    profile = stored.profile
    methods = ", ".join(sorted({str(point.method) for point in profile.points}))
    isos = "unstated" if profile.iso_range is None else "{}-{}".format(*profile.iso_range)
    if profile.iso_range is not None and len(set(profile.iso_range)) == 1:
        isos = str(profile.iso_range[0])
    mode, count = profile.camera.mode or "all", str(len(profile.points))
    return (profile.id, profile.camera.name, mode, isos, count, methods, _describe_owner(stored))


def make_point_row(point: ProfilePoint) -> tuple[str, ...]:
    """The noise at an ISO as a row of `POINT_COLUMNS`: gain in DN per electron, read and row noise in DN."""
    gain, read = fmean(point.gain), fmean(point.read_noise)
    sure = "" if point.gain_interval is None else f"gain {_write_percent(point.gain_interval)}"
    if point.read_interval is not None:
        sure = f"{sure}{', ' if sure else ''}read {_write_percent(point.read_interval)}"
    iso = "unstated" if point.iso is None else str(point.iso)
    numbers = (f"{gain:.4g}", f"{read:.4g}", f"{point.row_noise:.3g}", f"{read / gain:.3g}")
    return (iso, *numbers, str(point.method), sure)


def _describe_owner(stored: StoredProfile) -> str:
    return "comes with rawdenoise" if stored.bundled else "yours"


def _describe_sources(points: Iterable[ProfilePoint]) -> list[str]:
    """Where the points come from, each said once."""
    sources = (
        f"{point.method}{f': {point.source}' if point.source else ''}"
        f"{f' ({point.measured_on.isoformat()})' if point.measured_on else ''}"
        for point in points
    )
    return list(dict.fromkeys(sources))


def _write_percent(interval: tuple[float, float]) -> str:
    """A relative interval as what may be missing and what may be too much."""
    return f"{100 * (interval[0] - 1):+.1f}..{100 * (interval[1] - 1):+.1f} %"


def _point_to_json(point: ProfilePoint) -> dict[str, object]:
    fields = asdict(point)
    fields["method"] = str(point.method)
    fields["measured_on"] = None if point.measured_on is None else point.measured_on.isoformat()
    return fields
