"""The charts of a calibration: photon transfer, noise over ISO, banding, and where defective pixels lie."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np
from jaxtyping import Float64

from rawdenoise.calibration import CalibrationPoint, DefectMap
from rawdenoise.capture.raw import PLANES
from rawdenoise.pages.axes import Axis
from rawdenoise.pages.charts import (
    BOTTOM,
    HEADING,
    LEFT,
    RIGHT,
    TOP,
    Guide,
    Panel,
    Scatter,
    Series,
    draw_panel,
    spread_hues,
)
from rawdenoise.pages.drawing import Drawing
from rawdenoise.pages.number_format import write_iso

PLANE_DOTS = {  # hue and radius: planes that agree lie on each other, and still show
    "R": (0, 5.5),
    "G1": (138, 4.2),
    "G2": (85, 2.9),
    "B": (215, 1.6),
}
ROW_HUE, HOT_HUE, DEAD_HUE = 30, 15, 225
ELECTRON = "e\N{SUPERSCRIPT MINUS}"
SPECTRUM_BINS = 48
MAXIMUM_ISOS = 6  # labelled on an axis
PANEL, LONE_PANEL, WIDE_PANEL = (420, 330), (560, 400), (860, 400)  # width, height
MAXIMUM_ASPECT = 1.4  # of a defect map, for its width
MARK_RADII = (0.7, 3.2)  # radii of the defects, for many and few


def draw_transfer(points: Sequence[CalibrationPoint]) -> tuple[Drawing, ...]:
    """Draw noise against signal, log-log, one panel per ISO: read noise lies flat, shot noise climbs."""
    lit = [point for point in points if any(max(step.signal) > 0 for step in point.curve) and point.complete]
    size = PANEL if len(lit) > 1 else LONE_PANEL
    return _draw(_plan_transfer(point, size) for point in lit)


def draw_iso_noise(points: Sequence[CalibrationPoint]) -> tuple[Drawing, ...]:
    """Draw gain and read noise over two ISOs or more, with their intervals of 95 %."""
    known = [point for point in points if point.iso is not None and point.complete]
    if len({point.iso for point in known}) < 2:
        return ()
    gains = [fmean(point.gain or ()) for point in known]
    reads = [fmean(point.read_noise) for point in known]
    reads_e = [fmean(point.read_noise_e or ()) for point in known]
    shot_intervals, read_intervals = ([point.shot_interval for point in known],
                                      [point.read_interval for point in known])  # fmt: skip
    rows = [math.sqrt(point.noise.row_variance) * fmean(point.spans) for point in known]
    isos = _make_iso_axis(known)
    deviations = [value for value in (*reads, *rows) if value > 0] or [1.0]
    noises = [_make_iso_series("per pixel", known, reads, read_intervals)]
    if max(rows) > 0:
        noises.append(Series("per row", _pair_with_isos(known, rows), stroke="dashed", dot=3.5, hue=ROW_HUE))
    return _draw(
        [
            Panel(
                isos,
                Axis("DN per electron", log=True, limits=(min(gains) / 2, 2 * max(gains))),
                "Gain over ISO",
                [_make_iso_series("", known, gains, shot_intervals)],
                title="Gain",
                size=PANEL,
            ),
            Panel(
                isos,
                Axis("standard deviation (DN)", log=True, limits=(min(deviations) / 2, 2 * max(deviations))),
                "Read noise and row noise over ISO",
                noises,
                title="Read noise",
                legend=True,
                size=PANEL,
            ),
            Panel(
                isos,
                Axis("standard deviation (electrons)", limits=(0, 1.12 * max(reads_e))),
                "Read noise in electrons over ISO",
                [_make_iso_series("", known, reads_e, read_intervals)],
                title="Read noise in electrons",
                size=PANEL,
            ),
        ]
    )


def draw_banding(points: Sequence[CalibrationPoint]) -> tuple[Drawing, ...]:
    """Draw the spectrum of the row offsets of the darks, and what pixel noise alone would give."""
    dark = [point for point in points if point.spectrum is not None]
    if not dark:
        return ()
    curves = []
    for point, hue in zip(dark, spread_hues(len(dark)), strict=True):
        curves += _plan_spectrum(point, hue)
    panel = Panel(
        Axis("cycles per row (0.5: every other row)", limits=(0, 0.5)),
        Axis("offset of a row, standard deviation (DN)", log=True, margin=1.15),
        "Spectrum of the offsets of the rows",
        curves,
        note="Level: each row has its own offset. Peak: regular bands. Dashed: pixel noise alone.",
        size=WIDE_PANEL,
    )
    return _draw([panel])


def draw_defects(points: Sequence[CalibrationPoint]) -> tuple[Drawing, ...]:
    """Draw where the hot and dead pixels of all ISOs lie."""
    maps = [point.defects for point in points if point.defects.shape != (0, 0)]
    if not maps:
        return ()
    defects = DefectMap()
    for defect_map in maps:
        defects = defects.join(defect_map)
    height, width = defects.shape
    small, large = MARK_RADII
    radius = min(large, max(small, 40 / math.sqrt(len(defects) + 1)))
    panel = Panel(
        Axis("column", limits=(0, width)),
        Axis("row", limits=(0, height), reverse=True),
        "Map of the hot and dead pixels",
        scatters=[
            Scatter(f"{len(defects.hot)} hot", _place_defects(defects.hot), "dot", radius, HOT_HUE),
            Scatter(f"{len(defects.dead)} dead", _place_defects(defects.dead), "cross", radius, DEAD_HUE),
        ],
        title=f"{len(defects)} defective of {width * height / 1e6:.3g} M pixels",
        legend=True,
        boxed=True,
        size=_fit_panel(height / width),
    )
    return _draw([panel])


# ---------------------------------------------------------------- panels


def _draw(panels: Iterable[Panel]) -> tuple[Drawing, ...]:
    return tuple(drawing for panel in panels if (drawing := draw_panel(panel)) is not None)


def _plan_transfer(point: CalibrationPoint, size: tuple[int, int]) -> Panel:
    gain, read_e = point.gain, point.read_noise_e
    assert gain is not None  # only complete points are drawn
    assert read_e is not None
    lit = [step for step in point.curve if max(step.signal) > 0 and min(step.variance) > 0]
    lowest = min(min(step.signal) for step in lit if min(step.signal) > 0)
    reach = point.saturation - min(point.black)
    where_photons_take_over = fmean(point.read_noise) ** 2 / fmean(gain)
    signals = np.geomspace(max(min(lowest, where_photons_take_over / 5), 1e-6 * reach), reach, 60)
    curves, dots = [], []
    for plane, name in enumerate(PLANES):
        hue, radius = PLANE_DOTS[name]
        noise = np.sqrt(gain[plane] * signals + point.read_noise[plane] ** 2)
        model = list(zip(signals.tolist(), noise.tolist(), strict=True))
        curves.append(Series("", model, stroke="thin", hue=hue))
        for used in (True, False):
            steps = [step for step in lit if step.used is used and step.signal[plane] > 0]
            exposures = [(step.signal[plane], math.sqrt(step.variance[plane])) for step in steps]
            dots.append(Series(name if used else "", exposures, (), "none", radius, not used, hue))
    read = fmean(point.read_noise)
    return Panel(
        Axis("signal above black (DN); dotted: saturation", log=True, margin=1.15),
        Axis("noise, standard deviation (DN)", log=True, margin=1.2),
        f"{write_iso(point.iso)}: noise against signal",
        [*curves, *dots],
        guides=[
            Guide("y", read, f"read noise {read:.3g} DN = {fmean(read_e):.3g} {ELECTRON}"),
            Guide("x", reach, dashes="1 3"),
        ],
        title=f"{write_iso(point.iso)}: {fmean(gain):.3g} DN/{ELECTRON}",
        legend=True,
        size=size,
    )


def _make_iso_series(
    name: str,
    points: Sequence[CalibrationPoint],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
) -> Series:
    """A curve over ISO; `intervals` are relative to the values."""
    ends = [
        None if interval is None else (value * interval[0], value * interval[1])
        for value, interval in zip(values, intervals, strict=True)
    ]
    return Series(name, _pair_with_isos(points, values), ends, dot=3.5, hue=None)


def _pair_with_isos(points: Sequence[CalibrationPoint], values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(point.iso or 0), value) for point, value in zip(points, values, strict=True)]


def _make_iso_axis(points: Sequence[CalibrationPoint]) -> Axis:
    isos = sorted({float(point.iso or 0) for point in points})
    return Axis("ISO", log=True, margin=1.3, ticks=tuple(isos[:: math.ceil(len(isos) / MAXIMUM_ISOS)]))


def _plan_spectrum(point: CalibrationPoint, hue: int) -> list[Series]:
    spectrum = point.spectrum
    assert spectrum is not None
    frequencies, powers = _average_bins(spectrum.cycles_per_row), _average_bins(spectrum.power)
    row = math.sqrt(point.noise.row_variance) * fmean(point.spans)
    name = f"{write_iso(point.iso)}: {row:.3g} DN" if row else f"{write_iso(point.iso)}: none seen"
    white = math.sqrt(spectrum.white)
    curve = list(zip(frequencies.tolist(), np.sqrt(powers).tolist(), strict=True))
    return [
        Series("", [(0.0, white), (0.5, white)], stroke="dashed", hue=hue),
        Series(name, curve, hue=hue),
    ]


def _average_bins(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " bins"]:
    """Average neighbours, so that the scatter of a spectrum does not hide its shape."""
    return np.array([part.mean() for part in np.array_split(values, min(SPECTRUM_BINS, values.size))])


def _place_defects(defects: np.ndarray) -> list[tuple[float, float]]:
    """Column and row of defective pixels, in their middles."""
    return [(column + 0.5, row + 0.5) for row, column in defects.tolist()]


def _fit_panel(aspect: float) -> tuple[int, int]:
    """The size of a panel whose plot has this height for its width, a mosaic's."""
    width = WIDE_PANEL[0] - LEFT - RIGHT
    height = width * min(aspect, MAXIMUM_ASPECT)
    if aspect > MAXIMUM_ASPECT:
        width = round(height / aspect)
    return width + LEFT + RIGHT, round(height) + TOP + HEADING + BOTTOM
