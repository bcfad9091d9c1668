"""A calibration from the command line: look, sort, measure, merge into the camera's profile, say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from rawdenoise.app.stores import user_stores
from rawdenoise.calibration import (
    CalibrationPoint,
    Capture,
    Frame,
    Frames,
    calibrate_from_frames,
    completed,
    look_at_captures,
    points_of,
    sort_frames,
)
from rawdenoise.calibration.frames import frame_files, full_name
from rawdenoise.calibration.profile import profile_of
from rawdenoise.capture.raw import Camera
from rawdenoise.cli.profiles import profile_lines
from rawdenoise.cli.text import counted, one_line
from rawdenoise.errors import CalibrationError, FileError, RawDenoiseError, explained, is_damage
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.isolation.reader import read_isolated
from rawdenoise.noise.profiles.profile import off_scale, profile_id
from rawdenoise.noise.profiles.store import CameraProfile, load_profile, merged, save_profile

SOURCE = "rawdenoise calibrate"


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line names: paths of anything, darks and flats; the camera, if only one counts."""

    paths: tuple[Path, ...]
    darks: tuple[Path, ...]
    flats: tuple[Path, ...]
    as_captures: bool
    camera: str | None
    layout: PlainLayout | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to become of the result."""

    output: Path | None
    plot: Path | None
    dry_run: bool
    source: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """What there is of one camera in one mode."""

    camera: Camera
    darks: tuple[Frame, ...]
    flats: tuple[Frame, ...]
    captures: tuple[Capture, ...]


def run(given: Given, wanted: Wanted) -> int:
    """Calibrate each camera there, keep its profile and say what was found; returns the exit code.

    Raises:
        CalibrationError: nothing could be measured of the only camera there is, and why; or the profiles of
            several were to be one file.
        ProfileError: the profile to merge with cannot be understood; nothing is written.
    """
    failures: list[Exception] = []
    groups = _groups(given, _frames(given, failures), failures)
    names = [full_name(group.camera) for group in groups]
    if len(groups) > 1 and wanted.output is not None:
        raise CalibrationError(f"these are several cameras ({', '.join(names)}): -o takes one, see --camera")
    for number, (group, name) in enumerate(zip(groups, names, strict=True)):
        if len(groups) > 1:
            click.echo(("\n" if number else "") + one_line(name))
        try:
            failures += _calibrate(group, given, replace(wanted, plot=_folder(wanted.plot, group, groups)))
        except Exception as error:  # a bug that one camera's frames bring to light is not the others'
            if len(groups) == 1:
                raise
            failures.append(error)
            _say(f"failed: {name}: {explained(error)}")
    return 1 if failures else 0


def _folder(plot: Path | None, group: Group, groups: Sequence[Group]) -> Path | None:
    """Where a camera's pictures go: into a folder of their own where there are several."""
    return plot if plot is None or len(groups) == 1 else plot / profile_id(group.camera)


def _calibrate(group: Group, given: Given, wanted: Wanted) -> list[CalibrationError]:
    """Calibrate one camera; returns what was refused of it.

    Raises: as `run`.
    """
    refusals: list[CalibrationError] = []
    points = [_named(point, given.camera) for point in measure(given, group, refusals)]
    for refusal in refusals:
        _say(f"refused: {refusal}")
    new = profile_of(
        points,
        size=_mosaic_size(group),
        source=wanted.source or SOURCE,
        measured_on=datetime.now(UTC).date(),
    )
    _show(new, points)
    old = _former(new, wanted.output)
    profile = merged(new, old)
    for point in () if old is None else off_scale(new, old):
        _say(f"ISO {point.iso or 'unstated'}: what was known is in the scale of another bit depth, and goes")
    for point in new.points:
        if point not in profile.points:
            _say(f"ISO {point.iso or 'unstated'}: what is known already is stronger evidence, and stays")
    if not wanted.dry_run:
        _keep(profile, wanted.output)
    if wanted.plot is not None:
        from rawdenoise.pages.calibration_page import plot_calibration

        click.echo(f"pictures: {one_line(plot_calibration(points, wanted.plot))}")
    return refusals


def measure(given: Given, group: Group, refusals: list[CalibrationError]) -> list[CalibrationPoint]:
    """Measure what there is: flats and darks by photon transfer, else captures, with darks beside them.

    Raises:
        CalibrationError: nothing could be measured.
    """
    if group.flats:
        points = calibrate_from_frames(group.darks, group.flats, on_refusal=refusals.append)
        if not points:
            hint = "" if given.flats else " (--captures takes PATHs for ordinary captures)"
            raise CalibrationError(f"{refusals[0]}{hint}")
        return points
    darks = calibrate_from_frames(group.darks, []) if group.darks else []
    return _together(darks, points_of(group.captures) if group.captures else [])


def _groups(given: Given, frames: Frames, failures: list[Exception]) -> list[Group]:
    """Put together what is of one camera in one mode; cameras that have flats need no captures.

    Raises:
        CalibrationError: there is nothing to calibrate from.
    """

    def left_out(path: Path, error: RawDenoiseError | None) -> None:
        if error is not None:
            _left_out(error, failures)

    if frames.flats:
        lit = [frame.camera for frame in frames.flats]
        files = [path for path, camera in frames.ordinary if not any(map(camera.is_like, lit))]
        for error in frames.others:
            if not (isinstance(error, FileError) and error.path in files):
                _left_out(error, failures)
    else:
        files = _captures(given, frames)
    captures: list[Capture] = []
    try:
        captures = look_at_captures(files, given.layout, on_file=left_out) if files else []
    except CalibrationError:
        if not (frames.darks or frames.flats):
            raise
    groups: list[Group] = []
    cameras = [frame.camera for frame in (*frames.darks, *frames.flats)]
    for camera in (*cameras, *(capture.camera for capture in captures)):
        if not any(camera.is_like(group.camera) for group in groups):
            groups.append(_group(camera, frames, captures))
    if not groups:
        raise CalibrationError(
            str(frames.others[0]) if frames.others else "there is nothing to calibrate from"
        )
    return groups


def _group(camera: Camera, frames: Frames, captures: Sequence[Capture]) -> Group:
    darks, flats = (
        tuple(frame for frame in kind if frame.camera.is_like(camera))
        for kind in (frames.darks, frames.flats)
    )
    return Group(camera, darks, flats, tuple(each for each in captures if each.camera.is_like(camera)))


def _together(darks: list[CalibrationPoint], found: list[CalibrationPoint]) -> list[CalibrationPoint]:
    """Let darks speak for the dark and captures for the light."""
    points = {point.iso: point for point in found}
    for dark in darks:
        points[dark.iso] = completed(dark, points[dark.iso]) if dark.iso in points else dark
    return list(points.values())


def _frames(given: Given, failures: list[Exception]) -> Frames:
    """Sort what was given into darks and flats; ordinary captures are among the others."""
    darks = sort_frames(given.darks, given.layout, meant_as="dark")
    flats = sort_frames(given.flats, given.layout, meant_as="flat")
    meant = darks.joined(flats)
    if (given.darks and not meant.darks) or (given.flats and not meant.flats):
        raise CalibrationError(str(meant.others[0]))
    for error in meant.others:
        _left_out(error, failures)
    meant = replace(meant, others=())
    if given.as_captures or not given.paths:
        return _of_camera(meant, given.camera)
    found = sort_frames(given.paths, given.layout)
    # Smooth scenes among ordinary captures are no flats: those come in numbers, and with darks.
    if not (meant.darks or found.darks) or len(found.flats) < len(found.ordinary):
        found = replace(found, flats=())
    return _of_camera(meant.joined(found), given.camera)


def _of_camera(frames: Frames, name: str | None) -> Frames:
    """Leave out the frames of other cameras, where one is named."""
    darks, flats = (
        tuple(frame for frame in kind if _may_be(frame.camera, name)) for kind in (frames.darks, frames.flats)
    )
    return replace(frames, darks=darks, flats=flats)


def _captures(given: Given, frames: Frames) -> list[Path]:
    """The files to take for ordinary captures: all but the darks found among them, and other cameras'."""
    dark = {frame.source for frame in frames.darks}
    files = [path for path in frame_files(given.paths, given.layout, []) if path not in dark]
    if given.camera is None:
        return files
    return [path for path in files if _may_be(_camera_of(path, given.layout), given.camera)]


def _may_be(camera: Camera | None, name: str | None) -> bool:
    """Whether a frame counts: where no camera is named, or it is this one's, or does not say its own."""
    if name is None or camera is None or not (camera.make or camera.model):
        return True
    return camera.name.lower() == name.lower()


def _camera_of(path: Path, layout: PlainLayout | None) -> Camera | None:
    """The camera of a file; None where it cannot be read, which is for the calibration to say."""
    try:
        return read_isolated(path, layout=layout).camera
    except RawDenoiseError:
        return None


def _mosaic_size(frames: Group) -> tuple[int, int] | None:
    """Width and height of the frames' mosaics; None where there are only captures."""
    for frame in (*frames.darks, *frames.flats):
        height, width = frame.read().mosaic.shape
        return width, height
    return None


def _named(point: CalibrationPoint, name: str | None) -> CalibrationPoint:
    """Name the camera where its files do not.

    Raises:
        CalibrationError: they do not, and no name was given.
    """
    if point.camera.make or point.camera.model:
        return point
    if name is None:
        raise CalibrationError("the files do not say which camera they are of: give --camera NAME")
    return replace(point, camera=replace(point.camera, model=name))


def _former(new: CameraProfile, output: Path | None) -> CameraProfile | None:
    """The profile to add to: that of the output, or the camera's."""
    if output is None:
        stored = user_stores().profiles.find(new.camera)
        return None if stored is None else stored.profile
    if not output.exists():
        return None
    old = load_profile(output)
    if not old.is_of(new.camera):
        raise CalibrationError(f"{output} is the profile of another camera, {old.camera.name}")
    return old


def _keep(profile: CameraProfile, output: Path | None) -> None:
    if output is None:
        output = user_stores().profiles.save(profile)
    else:
        save_profile(profile, output)
    points = counted(len(profile.points), "ISO") if len(profile.points) == 1 else f"{len(profile.points)} ISO"
    click.echo(f"{one_line(output)} ({profile.camera.name}, {points})")


def _show(new: CameraProfile, points: Iterable[CalibrationPoint]) -> None:
    """Say what was measured."""
    for line in profile_lines(new):
        click.echo(line)
    if new.defects is not None:
        click.echo(f"{counted(len(new.defects.hot), 'hot pixel')}, {len(new.defects.dead)} dead")
    for point in points:
        for note in point.notes:
            _say(f"ISO {point.iso or 'unstated'}: {note}")


def _left_out(error: RawDenoiseError, failures: list[Exception]) -> None:
    """Say that a file is left out; one that is damaged makes the command fail in the end."""
    _say(f"left out: {error}")
    if is_damage(error):
        failures.append(error)


def _say(line: str) -> None:
    click.echo(one_line(line), err=True)
