"""Frames in, a camera's noise profile out: sorted, measured, merged with what is known, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rawdenoise.app.calibration_meter import READ, CalibrationMeter
from rawdenoise.app.calibration_records import Calibration, CalibrationRequest, CameraFrames
from rawdenoise.app.stores import Stores
from rawdenoise.calibration import (
    CalibrationPoint,
    Frames,
    SampledCapture,
    add_gain,
    calibrate_from_frames,
    pool_captures,
    sample_captures,
    sort_frames,
)
from rawdenoise.calibration.frames import find_frame_files
from rawdenoise.calibration.profile_building import make_profile
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import (
    CalibrationError,
    FileError,
    NamelessCameraError,
    RawDenoiseError,
    SeveralCamerasError,
    Stopped,
    UnusableFlatsError,
)
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.isolation.isolated_reader import read_isolated
from rawdenoise.noise.profiles.profile import profile_id
from rawdenoise.noise.profiles.store import (
    CameraProfile,
    ProfileStore,
    load_profile,
    merge_profiles,
    save_profile,
)

__all__ = ["Calibration", "CalibrationRequest", "CameraFrames", "calibrate", "find_cameras", "measure"]

SORTED, NAMED, SAMPLED = 0.4, 0.6, 0.9  # how far a calibration is when all files have been looked at

LeftOut = Callable[[RawDenoiseError], None]


# ---------------------------------------------------------------- which frames there are


def find_cameras(
    request: CalibrationRequest,
    *,
    on_left_out: LeftOut = lambda error: None,
    meter: CalibrationMeter | None = None,
) -> tuple[CameraFrames, ...]:
    """Look at all frames and put together what is of one camera in one mode.

    Files that cannot be used are told to `on_left_out`, all that are read to `meter`.

    Raises:
        Stopped: the meter says so.
        CalibrationError: there is nothing to calibrate from, or the profiles of several cameras were to be
            one file.
    """
    meter = meter or CalibrationMeter()
    cameras = _group(request, _sort(request, on_left_out, meter), on_left_out, meter)
    if len(cameras) == 1:
        return (replace(cameras[0], pictures=request.pictures),)
    if request.output is not None:
        names = ", ".join(frames.name for frames in cameras)
        raise SeveralCamerasError(f"these are several cameras ({names}): a profile is of one, name it")
    if request.pictures is None:
        return tuple(cameras)
    return tuple(replace(one, pictures=request.pictures / profile_id(one.camera)) for one in cameras)


def _sort(request: CalibrationRequest, on_left_out: LeftOut, meter: CalibrationMeter) -> Frames:
    """Tell darks from flats; ordinary captures are among the others."""
    looked_at = (*request.darks, *request.flats, *(() if request.as_captures else request.paths))
    meter.begin(READ, SORTED, sum(1 for _ in find_frame_files(looked_at, request.layout, [])))
    darks = sort_frames(request.darks, request.layout, meant_as="dark", on_file=meter.on_file)
    flats = sort_frames(request.flats, request.layout, meant_as="flat", on_file=meter.on_file)
    meant = darks.join(flats)
    if (request.darks and not meant.darks) or (request.flats and not meant.flats):
        raise CalibrationError(str(meant.others[0]))
    for error in meant.others:
        on_left_out(error)
    meant = replace(meant, others=())
    if request.as_captures or not request.paths:
        return _select_camera(meant, request.camera)
    mixed = sort_frames(request.paths, request.layout, on_file=meter.on_file)
    # Smooth scenes among ordinary captures are no flats: those come in numbers, and with darks.
    if not (meant.darks or mixed.darks) or len(mixed.flats) < len(mixed.ordinary):
        mixed = replace(mixed, flats=())
    return _select_camera(meant.join(mixed), request.camera)


def _select_camera(frames: Frames, name: str | None) -> Frames:
    """Leave out the frames of other cameras, where one is named."""
    darks, flats = (
        tuple(frame for frame in kind if _may_be(frame.camera, name)) for kind in (frames.darks, frames.flats)
    )
    return replace(frames, darks=darks, flats=flats)


def _may_be(camera: Camera | None, name: str | None) -> bool:
    """Whether a frame counts: where no camera is named, or it is this one's, or does not say its own."""
    if name is None or camera is None or not (camera.make or camera.model):
        return True
    return camera.name.lower() == name.lower()


def _group(
    request: CalibrationRequest, frames: Frames, on_left_out: LeftOut, meter: CalibrationMeter
) -> list[CameraFrames]:
    """Put together what is of one camera in one mode; cameras that have flats need no captures.

    Raises:
        CalibrationError: there is nothing to calibrate from.
    """
    if frames.flats:
        lit = [frame.camera for frame in frames.flats]
        files = [path for path, camera in frames.ordinary if not any(map(camera.is_like, lit))]
        for error in frames.others:
            if not (isinstance(error, FileError) and error.path in files):
                on_left_out(error)
    else:
        files = _find_captures(request, frames, meter)
    captures: list[SampledCapture] = []
    try:
        captures = _look_at_captures(files, request.layout, on_left_out, meter) if files else []
    except CalibrationError:
        if not (frames.darks or frames.flats):
            raise
    stated = [frame.camera for frame in (*frames.darks, *frames.flats)]
    cameras: list[Camera] = []
    for camera in (*stated, *(capture.camera for capture in captures)):
        if not any(camera.is_like(other) for other in cameras):
            cameras.append(camera)
    if not cameras:
        raise CalibrationError(
            str(frames.others[0]) if frames.others else "there is nothing to calibrate from"
        )
    return [
        CameraFrames(
            camera,
            tuple(dark for dark in frames.darks if dark.camera.is_like(camera)),
            tuple(flat for flat in frames.flats if flat.camera.is_like(camera)),
            tuple(capture for capture in captures if capture.camera.is_like(camera)),
        )
        for camera in cameras
    ]


def _find_captures(request: CalibrationRequest, frames: Frames, meter: CalibrationMeter) -> list[Path]:
    """The files to take for ordinary captures: all but the darks found among them, and other cameras'."""
    dark = {frame.source for frame in frames.darks}
    files = [path for path in find_frame_files(request.paths, request.layout, []) if path not in dark]
    if request.camera is None:
        return files
    meter.begin(READ, NAMED, len(files))
    return [path for path in files if _may_be(_read_camera(path, request.layout, meter), request.camera)]


def _read_camera(path: Path, layout: PlainLayout | None, meter: CalibrationMeter) -> Camera | None:
    """The camera of a file; None where it cannot be read, which is for the calibration to say."""
    meter.on_file(path)
    try:
        return read_isolated(path, layout=layout).camera
    except RawDenoiseError:
        return None


def _look_at_captures(
    files: Sequence[Path], layout: PlainLayout | None, on_left_out: LeftOut, meter: CalibrationMeter
) -> list[SampledCapture]:
    meter.begin(READ, SAMPLED, len(files))

    def on_file(path: Path, error: RawDenoiseError | None) -> None:
        meter.on_file(path)
        if error is not None:
            on_left_out(error)

    return sample_captures(files, layout, on_file=on_file)


# ---------------------------------------------------------------- what they tell


def calibrate(
    frames: CameraFrames,
    request: CalibrationRequest,
    stores: Stores,
    *,
    meter: CalibrationMeter | None = None,
    cameras: int = 1,
) -> Calibration:
    """Measure one camera, of so many, merge the points with its former profile and keep it.

    What went wrong, a bug that one camera's frames bring to light too, is the result's `error`.

    Raises:
        Stopped: the meter says so; nothing was kept.
    """
    meter = meter or CalibrationMeter()
    meter.begin_camera(cameras, len(frames.darks) + len(frames.flats))
    frames = replace(frames, darks=meter.watch(frames.darks), flats=meter.watch(frames.flats))
    result = Calibration(frames)
    try:
        points, refusals = measure(frames, request)
        result = replace(result, points=tuple(points), refusals=tuple(refusals))
        measured = make_profile(
            points,
            size=_find_mosaic_size(frames),
            source=request.source,
            measured_on=datetime.now(UTC).date(),
        )
        result = replace(result, measured=measured)
        former = _find_former(measured, request.output, stores.profiles)
        profile = merge_profiles(measured, former)
        result = replace(result, former=former, profile=profile)
        meter.check()
        if not request.dry_run:
            result = replace(result, output=_keep(profile, request.output, stores.profiles))
        if frames.pictures is not None:
            # Loaded only where asked for: templates take a while to load.
            from rawdenoise.pages.calibration_page import plot_calibration

            result = replace(result, page=plot_calibration(points, frames.pictures))
    except Stopped:
        raise
    except Exception as error:
        result = replace(result, error=error)
    meter.finish_camera()
    return result


def measure(
    frames: CameraFrames, request: CalibrationRequest
) -> tuple[list[CalibrationPoint], list[CalibrationError]]:
    """Measure what there is: flats and darks by photon transfer, else captures, with darks beside them.

    Returns the points and, of ISOs that could not be measured, why.

    Raises:
        CalibrationError: nothing could be measured, or the camera has no name.
    """
    refusals: list[CalibrationError] = []
    if frames.flats:
        points = calibrate_from_frames(frames.darks, frames.flats, on_refusal=refusals.append)
        if not points:
            if request.flats:
                raise refusals[0]
            raise UnusableFlatsError(f"{refusals[0]} (as ordinary captures they may do)")
    else:
        darks = calibrate_from_frames(frames.darks, []) if frames.darks else []
        points = _add_gains(darks, pool_captures(frames.captures) if frames.captures else [])
    return [_name_camera(point, request.camera) for point in points], refusals


def _add_gains(darks: list[CalibrationPoint], captures: list[CalibrationPoint]) -> list[CalibrationPoint]:
    """Let darks speak for the dark and captures for the light."""
    points = {point.iso: point for point in captures}
    for dark in darks:
        points[dark.iso] = add_gain(dark, points[dark.iso]) if dark.iso in points else dark
    return list(points.values())


def _name_camera(point: CalibrationPoint, name: str | None) -> CalibrationPoint:
    """Name the camera where its files do not.

    Raises:
        NamelessCameraError: they do not, and no name was given.
    """
    if point.camera.make or point.camera.model:
        return point
    if name is None:
        raise NamelessCameraError("the files do not say which camera they are of: give its name")
    return replace(point, camera=replace(point.camera, model=name))


def _find_mosaic_size(frames: CameraFrames) -> tuple[int, int] | None:
    """Width and height of the frames' mosaics; None where there are only captures."""
    for frame in (*frames.darks, *frames.flats):
        height, width = frame.read().mosaic.shape
        return width, height
    return None


def _find_former(
    measured: CameraProfile, output: Path | None, profiles: ProfileStore
) -> CameraProfile | None:
    """The profile to add to: that of the output, or the camera's.

    Raises:
        CalibrationError: it is another camera's. ProfileError: it cannot be understood.
    """
    if output is None:
        stored = profiles.find(measured.camera)
        return None if stored is None else stored.profile
    if not output.exists():
        return None
    former = load_profile(output)
    if not former.is_of(measured.camera):
        raise CalibrationError(f"{output} is the profile of another camera, {former.camera.name}")
    return former


def _keep(profile: CameraProfile, output: Path | None, profiles: ProfileStore) -> Path:
    if output is None:
        return profiles.save(profile)
    save_profile(profile, output)
    return output
