"""A camera's noise from ordinary captures: what their flat places show, pooled over each ISO."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rawdenoise.calibration.frames import FrameReport, find_frame_files, label_isos, name_with_mode
from rawdenoise.calibration.points import DARKS_ALONE, CalibrationPoint
from rawdenoise.capture.packing import find_clipped, pack, saturation_level
from rawdenoise.capture.raw import Camera, Levels
from rawdenoise.errors import CalibrationError, FileError, RawDenoiseError, guard_file
from rawdenoise.isolation.noisy_captures import read_untouched
from rawdenoise.noise.artefacts import sample_sound_pixels
from rawdenoise.noise.fit import estimate_with_interval
from rawdenoise.noise.profiles.profile import MeasurementMethod
from rawdenoise.noise.samples import NoiseSamples

if TYPE_CHECKING:
    from rawdenoise.formats.headerless import PlainLayout

log = logging.getLogger(__name__)

MOSTLY_CLIPPED = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class SampledCapture:
    """What is kept of a capture once its pixels are let go."""

    source: Path
    camera: Camera
    iso: int | None
    levels: Levels
    saturation: float
    samples: tuple[NoiseSamples, ...]


def calibrate_from_captures(
    paths: Iterable[Path],
    layout: PlainLayout | None = None,
    *,
    camera_name: str | None = None,
    on_file: FrameReport = lambda path, error: None,
) -> list[CalibrationPoint]:
    """Estimate the noise at every ISO of a camera's captures, textured or not, by rising ISO.

    Raises:
        CalibrationError: captures of several cameras. Others as `sample_captures`.
    """
    captures = sample_captures(paths, layout, camera_name=camera_name, on_file=on_file)
    _check_one_camera(captures)
    return pool_captures(captures)


def sample_captures(
    paths: Iterable[Path],
    layout: PlainLayout | None = None,
    *,
    camera_name: str | None = None,
    on_file: FrameReport = lambda path, error: None,
) -> list[SampledCapture]:
    """Sample the noise of captures, of whatever cameras.

    With `camera_name`, captures of other cameras are left out and nameless ones are taken to be of it.
    Files that cannot be used are told to `on_file` and left out, and so are copies of a file.

    Raises:
        CalibrationError: none of them shows its noise.
    """
    captures: list[SampledCapture] = []
    seen: set[str] = set()
    unusable: list[RawDenoiseError] = []
    files = list(find_frame_files(paths, layout, unusable))
    for error in unusable:
        if isinstance(error, FileError):
            on_file(error.path, error)
    for path in files:
        try:
            captures.append(_sample(path, layout, camera_name, seen))
        except RawDenoiseError as error:
            unusable.append(error)
            on_file(path, error)
            continue
        on_file(path, None)
    if not captures:
        reason = f" ({unusable[-1]})" if unusable else ""
        raise CalibrationError(f"there is no capture to calibrate from{reason}")
    return captures


def pool_captures(captures: Sequence[SampledCapture]) -> list[CalibrationPoint]:
    """Pool the captures of one camera over each of its ISOs, by rising ISO."""
    labels = label_isos(capture.iso for capture in captures)
    by_iso: dict[int | None, list[SampledCapture]] = defaultdict(list)
    for capture in captures:
        by_iso[labels[capture.iso]].append(capture)
    points: list[CalibrationPoint] = []
    refusals: list[CalibrationError] = []
    for iso in sorted(by_iso, key=lambda iso: iso or 0):
        try:
            points.append(_pool_iso(iso, by_iso[iso]))
        except CalibrationError as error:
            refusals.append(error)
    if not points:
        raise refusals[0]
    for refusal in refusals:
        log.warning("%s", refusal)
    return points


def add_gain(dark: CalibrationPoint, captures: CalibrationPoint) -> CalibrationPoint:
    """Give a calibration from darks alone the gain that captures of the same ISO show."""
    if dark.complete or not captures.complete:
        return dark
    return replace(
        dark,
        noise=replace(dark.noise, shot=captures.noise.shot),
        saturation=captures.saturation,
        saturated=captures.saturated,
        shot_interval=captures.shot_interval,
        captures=dark.captures + captures.captures,
        notes=(
            f"gain from {captures.captures} ordinary captures, the rest from {dark.captures} darks",
            *(note for note in dark.notes if note != DARKS_ALONE),
        ),
    )


def _sample(
    path: Path, layout: PlainLayout | None, camera_name: str | None, seen: set[str]
) -> SampledCapture:
    """Measure one capture.

    Raises:
        RawDenoiseError: it cannot be read, is a copy, or its pixels show no noise.
    """
    raw = read_untouched(path, layout, camera_name)
    with guard_file(path):
        digest = hashlib.blake2b(raw.mosaic.tobytes(), digest_size=16).hexdigest()
        if digest in seen:
            raise FileError(path, "is a copy of another capture here")
        seen.add(digest)
        saturated = find_clipped(raw)
        if saturated.mean() > MOSTLY_CLIPPED:
            raise FileError(path, "is clipped all over and shows no noise")
        samples = sample_sound_pixels(pack(raw), valid=~saturated)
        if not any(plane.level.size for plane in samples):
            raise FileError(path, "shows no noise anywhere: too small, clipped or black all over")
        return SampledCapture(path, raw.camera, raw.exposure.iso, raw.levels, saturation_level(raw), samples)


def _check_one_camera(captures: Sequence[SampledCapture]) -> None:
    first = captures[0]
    for capture in captures[1:]:
        if not capture.camera.is_like(first.camera):
            mixed = (f"{one.source} is of {name_with_mode(one.camera)}" for one in (first, capture))
            raise CalibrationError(
                f"captures of several cameras: {', '.join(mixed)}; calibrate one at a time"
            )


def _pool_iso(iso: int | None, captures: Sequence[SampledCapture]) -> CalibrationPoint:
    """Pool the captures of one ISO.

    Raises:
        CalibrationError: they do not show their noise.
    """
    first = captures[0]
    estimate = estimate_with_interval([capture.samples for capture in captures])
    if estimate.failed:
        at = "" if iso is None else f" of ISO {iso}"
        raise CalibrationError(
            f"the noise of the captures{at} cannot be told from their texture: "
            "add plainer or larger ones, or take darks and flats"
        )
    saturation = min(capture.saturation for capture in captures)
    return CalibrationPoint(
        camera=first.camera,
        iso=iso,
        method=MeasurementMethod.CAPTURES,
        noise=estimate.noise,
        levels=first.levels,
        black=first.levels.black,
        saturation=saturation,
        captures=len(captures),
        shot_interval=estimate.shot_interval,
        read_interval=estimate.read_interval,
        saturated=saturation < first.levels.white,
        notes=() if len(captures) > 1 else ("a single capture: twenty would tell more",),
    )
