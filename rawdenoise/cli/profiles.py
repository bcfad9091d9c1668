"""Noise profiles as tables, text and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import fmean

import click

from rawdenoise.app.stores import user_stores
from rawdenoise.cli.text import one_line
from rawdenoise.errors import ProfileError
from rawdenoise.noise.profiles.profile import ProfilePoint, point_at
from rawdenoise.noise.profiles.store import CameraProfile, StoredProfile

COLUMNS = ("ISO", "GAIN", "READ", "ROW", "READ e-", "METHOD", "HOW SURE")


def show_all(*, as_json: bool) -> None:
    """Print the profiles, one a line."""
    store = user_stores().profiles
    stored = store.profiles()
    if as_json:
        for each in stored:
            click.echo(json.dumps(json_of(each)))
    else:
        rows = [_row(each) for each in stored]
        for line in table([("ID", "CAMERA", "MODE", "ISO", "POINTS", "METHOD", "WHOSE"), *rows]):
            click.echo(line)
    for error in store.broken():
        click.echo(f"broken: {one_line(str(error))}", err=True)


def show(camera: str, iso: int | None, *, as_json: bool) -> None:
    """Print a profile; with `iso` also the noise there.

    Raises:
        ProfileError: there is no such profile, or it does not know this ISO.
    """
    stored = user_stores().profiles.get(camera)
    found = None if iso is None else point_at(stored.profile.points, iso)
    if iso is not None and found is None:
        known = stored.profile.iso_range
        span = "no stated ISO" if known is None else f"ISO {known[0]} to {known[1]}"
        raise ProfileError(f"{stored.profile.id} knows {span}; nothing is said of ISO {iso}")
    if as_json:
        at = {} if found is None else {"at": {**_point_json(found[0]), "how": found[1]}}
        click.echo(json.dumps({**json_of(stored), **at}, indent=2))
        return
    click.echo("\n".join(text_of(stored)))
    if found is not None:
        point, how = found
        gain, read, row = fmean(point.gain), fmean(point.read_noise), point.row_noise
        click.echo(f"\nat ISO {iso}: {gain:.4g} DN/e-, read {read:.4g} DN, row {row:.4g} DN ({how})")


def json_of(stored: StoredProfile) -> dict[str, object]:
    """Give a profile as JSON's own types; gain in DN per electron, noise in DN."""
    defects = stored.profile.defects
    return {
        "id": stored.profile.id,
        "camera": asdict(stored.profile.camera),
        "path": str(stored.path),
        "bundled": stored.bundled,
        "points": [_point_json(point) for point in stored.profile.points],
        "hot_pixels": None if defects is None else len(defects.hot),
        "dead_pixels": None if defects is None else len(defects.dead),
    }


def text_of(stored: StoredProfile) -> list[str]:
    """Say a profile in lines: what it is, and a table over ISO."""
    profile, defects = stored.profile, stored.profile.defects
    levels = profile.points[0]
    facts = {
        "id": profile.id,
        "camera": profile.camera.name,
        "mode": profile.camera.mode or "all",
        "levels": f"{fmean(levels.black):g} to {levels.white:g} DN",
        "file": f"{stored.path} ({_whose(stored)})",
        "source": "; ".join(_sources(profile.points)),
        "defects": "" if defects is None else f"{len(defects.hot)} hot, {len(defects.dead)} dead pixels",
    }
    lines = [f"{name + ':':<9}{one_line(value)}" for name, value in facts.items() if value]
    return [*lines, "", *profile_lines(profile), "", "gain in DN per electron; read and row noise in DN"]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Set rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(stored: StoredProfile) -> tuple[str, ...]:
    profile = stored.profile
    methods = ", ".join(sorted({str(point.method) for point in profile.points}))
    isos = "unstated" if profile.iso_range is None else "{}-{}".format(*profile.iso_range)
    if profile.iso_range is not None and len(set(profile.iso_range)) == 1:
        isos = str(profile.iso_range[0])
    cells = (profile.id, profile.camera.name, profile.camera.mode or "all", isos, str(len(profile.points)))
    return tuple(one_line(cell) for cell in (*cells, methods, _whose(stored)))


def _whose(stored: StoredProfile) -> str:
    return "comes with rawdenoise" if stored.bundled else "yours"


def _sources(points: Iterable[ProfilePoint]) -> list[str]:
    """Where the points come from, each said once."""
    said = (
        f"{point.method}{f': {point.source}' if point.source else ''}"
        f"{f' ({point.measured_on.isoformat()})' if point.measured_on else ''}"
        for point in points
    )
    return list(dict.fromkeys(said))


def _point_row(point: ProfilePoint) -> tuple[str, ...]:
    gain, read = fmean(point.gain), fmean(point.read_noise)
    sure = "" if point.gain_interval is None else f"gain {_percent(point.gain_interval)}"
    if point.read_interval is not None:
        sure = f"{sure}{', ' if sure else ''}read {_percent(point.read_interval)}"
    iso = "unstated" if point.iso is None else str(point.iso)
    numbers = (f"{gain:.4g}", f"{read:.4g}", f"{point.row_noise:.3g}", f"{read / gain:.3g}")
    return (iso, *numbers, str(point.method), sure)


def _percent(interval: tuple[float, float]) -> str:
    """A relative interval as what may be missing and what may be too much."""
    return f"{100 * (interval[0] - 1):+.1f}..{100 * (interval[1] - 1):+.1f} %"


def _point_json(point: ProfilePoint) -> dict[str, object]:
    fields = asdict(point)
    fields["method"] = str(point.method)
    fields["measured_on"] = None if point.measured_on is None else point.measured_on.isoformat()
    return fields


def profile_lines(profile: CameraProfile) -> list[str]:
    """The points of a profile as a table."""
    return table([COLUMNS, *(_point_row(point) for point in profile.points)])
