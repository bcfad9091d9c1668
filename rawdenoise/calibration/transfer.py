"""Photon transfer: a line through the variance against the signal of darks and flats (EMVA 1288, 4.0)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64

from rawdenoise.calibration.darks import Darks, measure_darks
from rawdenoise.calibration.flats import Flats, measure_flats
from rawdenoise.calibration.frame_pairs import Pair
from rawdenoise.calibration.frames import Frame, label_isos, name_with_mode
from rawdenoise.calibration.points import DARKS_ALONE, CalibrationPoint, CurvePoint, to_four
from rawdenoise.capture.raw import Camera, Levels, RawImage
from rawdenoise.errors import CalibrationError
from rawdenoise.noise.model import MINIMUM_VARIANCE, FourFloats, NoiseModel
from rawdenoise.noise.profiles.profile import MeasurementMethod

LINE_ERROR = 0.005  # how far a real sensor strays from the line, relative
TWO_SIDED_95 = 1.96
CAUCHY_SCALE = 2.385  # standard errors; 95 % efficient where every point is sound

WITHOUT_DARKS = ("no darks: black is the file's, the read noise where the flats' line meets it",)

Refusal = Callable[[CalibrationError], None]


def calibrate_from_frames(
    darks: Iterable[Frame | RawImage],
    flats: Iterable[Frame | RawImage],
    *,
    on_refusal: Refusal | None = None,
) -> list[CalibrationPoint]:
    """Calibrate a camera at every ISO of its darks and flats, by rising ISO.

    Of each exposure it takes two frames or more. Darks alone give black, read and row noise, but no gain;
    flats alone take black from the file. An ISO that cannot be calibrated raises, or is told to `on_refusal`
    and left out. Frames that do not fit are named in the point's notes.

    Raises:
        CalibrationError: frames of several cameras, none at all, or nothing that can be measured.
    """
    dark_frames, flat_frames = [_to_frame(dark) for dark in darks], [_to_frame(flat) for flat in flats]
    everything = dark_frames + flat_frames
    if not everything:
        raise CalibrationError("there are no darks and no flats to calibrate from")
    _check_one_camera(everything)
    points = []
    labels = label_isos(frame.exposure.iso for frame in everything)
    for iso in sorted(set(labels.values()), key=lambda iso: iso or 0):
        try:
            points.append(
                _calibrate_iso(
                    iso,
                    [dark for dark in dark_frames if labels[dark.exposure.iso] == iso],
                    [flat for flat in flat_frames if labels[flat.exposure.iso] == iso],
                )
            )
        except CalibrationError as error:
            if on_refusal is None:
                raise
            on_refusal(error)
    return points


def _to_frame(given: Frame | RawImage) -> Frame:
    return given if isinstance(given, Frame) else Frame.of(given)


def _check_one_camera(frames: Sequence[Frame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        if not frame.camera.is_like(first.camera):
            names = [f"{one.source} is of {name_with_mode(one.camera)}" for one in (first, frame)]
            raise CalibrationError(f"frames of several cameras: {', '.join(names)}; calibrate one at a time")
        if frame.shape != first.shape:
            sizes = [f"{one.source} has {one.shape[1]}x{one.shape[0]} pixels" for one in (first, frame)]
            raise CalibrationError(f"frames of several sizes: {', '.join(sizes)}; calibrate one at a time")


def _calibrate_iso(iso: int | None, darks: Sequence[Frame], flats: Sequence[Frame]) -> CalibrationPoint:
    """Measure the darks, then the flats, then lay the line."""
    camera = (*darks, *flats)[0].camera
    name = f"{camera.name}, {'unknown ISO' if iso is None else f'ISO {iso}'}"
    dark = measure_darks(darks) if darks else None
    if flats:
        return _calibrate_flats(camera, iso, dark, measure_flats(flats, dark, name), name)
    if dark is None or not dark.pairs:
        raise CalibrationError(f"{name}: a single dark and no flats; take two or more of each exposure")
    return _calibrate_darks(camera, iso, dark)


def _calibrate_darks(camera: Camera, iso: int | None, dark: Darks) -> CalibrationPoint:
    """What darks tell without flats: everything but the gain."""
    variance = _average_pairs(dark.pairs, "variance")
    doubt = max(e / v for pair in dark.pairs for e, v in zip(pair.error, pair.variance, strict=True))
    half = TWO_SIDED_95 * math.hypot(doubt, LINE_ERROR)
    return CalibrationPoint(
        camera=camera,
        iso=iso,
        method=MeasurementMethod.PHOTON_TRANSFER,
        noise=NoiseModel((0.0,) * 4, variance, dark.row_variance, dark.step / _average_span(dark.levels)),
        levels=dark.levels,
        black=_find_black(dark.levels, dark),
        saturation=dark.levels.white,
        captures=dark.frames,
        read_interval=_to_sigma_interval(half),
        dark=dark.pattern,
        spectrum=dark.spectrum,
        defects=dark.defects,
        curve=(_measure_dark_curve_point(dark.pairs, dark.levels),),
        notes=(DARKS_ALONE, *dark.notes),
    )


def _calibrate_flats(
    camera: Camera, iso: int | None, dark: Darks | None, flats: Flats, name: str
) -> CalibrationPoint:
    """What flats tell, with darks or without."""
    levels = flats.levels
    dark_pairs = dark.pairs if dark is not None else ()
    used = [exposure.pairs for exposure in flats.exposures if exposure.used]
    if not dark_pairs and len(used) < 2:
        raise CalibrationError(
            f"{name}: flats of a single exposure and no darks; take darks, or more exposures"
        )
    floor = max((flats.step / _average_span(levels)) ** 2 / 12, MINIMUM_VARIANCE)
    lines = [_fit_plane(plane, dark_pairs, used, floor, name) for plane in range(4)]
    row_variance = min(pair.row_variance for pairs in used for pair in pairs)  # a flicker adds to it
    noise = NoiseModel(
        shot=to_four(line.slope for line in lines),
        read_variance=to_four(line.intercept for line in lines),
        row_variance=dark.row_variance if dark is not None and dark.pairs else row_variance,
        step=flats.step / _average_span(levels),
    )
    return CalibrationPoint(
        camera=camera,
        iso=iso,
        method=MeasurementMethod.PHOTON_TRANSFER,
        noise=noise,
        levels=levels,
        black=_find_black(levels, dark),
        saturation=flats.saturation,
        captures=flats.frames + (0 if dark is None else dark.frames),
        shot_interval=_to_interval(TWO_SIDED_95 * max(line.slope_error / line.slope for line in lines)),
        read_interval=_to_sigma_interval(
            TWO_SIDED_95 * max(line.intercept_error / line.intercept for line in lines)
        ),
        saturated=flats.saturated,
        linearity_error_percent=flats.linearity_error_percent,
        response_sigma=flats.response_sigma,
        dark=None if dark is None else dark.pattern,
        spectrum=None if dark is None else dark.spectrum,
        defects=flats.defects if dark is None else dark.defects.join(flats.defects),
        curve=_measure_curve(dark_pairs, flats),
        notes=(*(WITHOUT_DARKS if dark is None else dark.notes), *flats.notes),
    )


def _find_black(levels: Levels, dark: Darks | None) -> FourFloats:
    zero = (0.0,) * 4 if dark is None else dark.zero
    return to_four(black + z * (levels.white - black) for black, z in zip(levels.black, zero, strict=True))


def _average_span(levels: Levels) -> float:
    return levels.white - sum(levels.black) / 4


# ---------------------------------------------------------------- the curve


def _measure_curve(dark_pairs: Sequence[Pair], flats: Flats) -> tuple[CurvePoint, ...]:
    points = [
        _measure_curve_point(exposure.exposure_s, exposure.pairs, flats.levels, used=exposure.used)
        for exposure in flats.exposures
    ]
    if dark_pairs:
        points.append(_measure_dark_curve_point(dark_pairs, flats.levels))
    return tuple(sorted(points, key=lambda point: point.signal))


def _measure_dark_curve_point(pairs: Sequence[Pair], levels: Levels) -> CurvePoint:
    """Darks lie at no signal, whatever is left of it."""
    return replace(_measure_curve_point(None, pairs, levels, used=True), signal=(0.0,) * 4)


def _measure_curve_point(
    exposure_s: float | None, pairs: Sequence[Pair], levels: Levels, *, used: bool
) -> CurvePoint:
    spans = [levels.white - black for black in levels.black]
    signal, variance = _average_pairs(pairs, "signal"), _average_pairs(pairs, "variance")
    return CurvePoint(
        exposure_s=exposure_s,
        signal=to_four(level * span for level, span in zip(signal, spans, strict=True)),
        variance=to_four(square * span**2 for square, span in zip(variance, spans, strict=True)),
        pairs=len(pairs),
        used=used,
    )


def _average_pairs(pairs: Sequence[Pair], what: Literal["signal", "variance"]) -> FourFloats:
    return to_four(np.mean([getattr(pair, what) for pair in pairs], axis=0))


# ---------------------------------------------------------------- the line


@dataclass(frozen=True, slots=True)
class TransferLine:
    """Variance = slope * signal + intercept, with standard errors."""

    slope: float
    intercept: float
    slope_error: float
    intercept_error: float


def _fit_plane(
    plane: int,
    dark_pairs: Sequence[Pair],
    exposures: Sequence[Sequence[Pair]],
    floor: float,
    name: str,
) -> TransferLine:
    """Lay the line of one plane through its darks and flats; darks count as of no signal."""
    dark = [(0.0, pair.variance[plane], pair.error[plane]) for pair in dark_pairs]
    lit = [
        (pair.signal[plane], pair.variance[plane], pair.error[plane]) for pairs in exposures for pair in pairs
    ]
    signal, variance, error = np.array(dark + lit).T
    line = fit_line(signal, variance, error, floor)
    if not line.slope > 0:
        raise CalibrationError(
            f"{name}: the noise of the flats does not grow with their light: not raw data?"
        )
    return line


def fit_line(
    signal: Float64[np.ndarray, " n"],
    variance: Float64[np.ndarray, " n"],
    error: Float64[np.ndarray, " n"],
    floor: float,
) -> TransferLine:
    """Fit a line by weighted least squares, points that stick out counting for less (Cauchy's weights).

    `error` are the standard errors of `variance`; a real sensor's departure from the line is added to them.
    Where the points scatter more than they should, the errors of the line grow with them. An intercept below
    `floor` (quantisation alone) is raised to it.
    """
    sigma = np.sqrt(error**2 + (LINE_ERROR * variance) ** 2)
    terms = np.stack([signal, np.ones_like(signal)], axis=1) / sigma[:, None]
    wanted = variance / sigma
    weight = np.ones_like(signal)
    for _ in range(20):
        root = np.sqrt(weight)[:, None]
        solution = np.linalg.lstsq(terms * root, wanted * root[:, 0], rcond=None)[0]
        left = wanted - terms @ solution
        weight = 1 / (1 + (left / CAUCHY_SCALE) ** 2)
    covariance = np.linalg.inv((terms * weight[:, None]).T @ terms)
    freedom = max(weight.sum() - 2, 1.0)
    scatter = max(float(weight @ left**2) / freedom, 1.0)
    slope, intercept = (float(value) for value in solution)
    if intercept < floor:
        slope = float((weight * terms[:, 0]) @ (wanted - floor * terms[:, 1]) / (weight @ terms[:, 0] ** 2))
        intercept = floor
    slope_error, intercept_error = (float(e) for e in np.sqrt(scatter * np.diag(covariance)))
    return TransferLine(slope, intercept, slope_error, intercept_error)


def _to_interval(half: float) -> tuple[float, float]:
    return max(1 - half, 0.0), 1 + half


def _to_sigma_interval(half: float) -> tuple[float, float]:
    """The interval of a standard deviation from half that of its variance, relative."""
    low, high = _to_interval(half)
    return math.sqrt(low), math.sqrt(high)
