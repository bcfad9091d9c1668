"""What a calibration measured, for those who would rather look than read: a page, and its charts as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rawdenoise.atomic import write_bytes
from rawdenoise.calibration import CalibrationPoint
from rawdenoise.pages.calibration_charts import draw_banding, draw_defects, draw_iso_noise, draw_transfer
from rawdenoise.pages.drawing import Drawing, render_chart_file
from rawdenoise.pages.environment import render_template
from rawdenoise.pages.number_format import DASH, write_iso, write_plain

PAGE = "calibration.html"
COLUMNS = (  # of the table, with their units
    ("ISO", ""), ("gain", "DN/e⁻"), ("read noise", "DN"), ("read noise", "e⁻"), ("row noise", "DN"),
    ("black", "DN"), ("saturation", "DN"), ("full well", "e⁻"), ("linearity", "error %"),
    ("fixed pattern", "dark, DN"), ("fixed pattern", "light, %"), ("hot, dead", "pixels"), ("frames", ""),
    ("method", ""),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """Charts of one kind: `name` is their file's, which has so many `columns` of them."""

    name: str
    heading: str
    caption: str
    drawings: tuple[Drawing, ...]
    columns: int = 1


@dataclass(frozen=True, slots=True)
class CalibrationPage:
    """What stands on the page."""

    camera: str
    mode: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    figures: tuple[Figure, ...]


def plot_calibration(points: Sequence[CalibrationPoint], folder: Path) -> Path:
    """Draw everything a calibration shows into `folder`; returns the page, which holds all of it.

    A chart of which nothing was measured (the banding without darks, say) is left out.

    Raises:
        OutputError: the folder cannot be written.
    """
    camera = points[0].camera if points else None
    page = CalibrationPage(
        camera=camera.name if camera else "no camera",
        mode=camera.mode if camera else "",
        columns=COLUMNS,
        rows=tuple(_list_cells(point) for point in points),
        notes=tuple(f"{write_iso(point.iso)}: {note}" for point in points for note in point.notes),
        figures=draw_figures(points),
    )
    for figure in page.figures:
        title = f"{page.camera}: {figure.heading[0].lower()}{figure.heading[1:]}"
        chart = render_chart_file(title, figure.drawings, figure.columns)
        write_bytes(folder / f"{figure.name}.svg", chart.encode())
    write_bytes(folder / PAGE, render_template("calibration.html", page=page).encode())
    return folder / PAGE


def draw_figures(points: Sequence[CalibrationPoint]) -> tuple[Figure, ...]:
    """Draw what there is to be seen."""
    transfer = draw_transfer(points)
    figures = (
        Figure(
            "photon-transfer",
            "Photon transfer",
            "Noise against signal. Each dot is one exposure of one colour; the line is the model. It lies "
            "flat where read noise rules and climbs where photons do. Hollow dots lie too near saturation to "
            "count.",
            transfer,
            columns=2 if len(transfer) in (2, 4) else 3,
        ),
        Figure(
            "noise-over-iso",
            "Noise over ISO",
            "What one electron is worth, and the noise of an unlit pixel, at each ISO. Whiskers: 95 % "
            "intervals, which may be smaller than the dots.",
            draw_iso_noise(points),
            columns=3,
        ),
        Figure(
            "banding",
            "Banding in the dark",
            "How much the rows of a dark are offset against each other, by how fast the offset changes from "
            "row to row. Above the dashed line there is banding that pixel noise does not explain.",
            draw_banding(points),
        ),
        Figure(
            "defects",
            "Defective pixels",
            "Where pixels glow in the dark (hot) or do not answer to light (dead).",
            draw_defects(points),
        ),
    )
    return tuple(figure for figure in figures if figure.drawings)


def _list_cells(point: CalibrationPoint) -> tuple[str, ...]:
    return (
        DASH if point.iso is None else str(point.iso),
        write_plain(point.gain and fmean(point.gain))
        + _write_plus_minus(point.shot_interval if point.gain else None),
        write_plain(fmean(point.read_noise)) + _write_plus_minus(point.read_interval),
        write_plain(point.read_noise_e and fmean(point.read_noise_e)),
        write_plain(math.sqrt(point.noise.row_variance) * fmean(point.spans)),
        write_plain(fmean(point.black), 5),
        f"{point.saturation:.0f}",
        ("" if point.saturated else "≥ ") + write_plain(point.full_well_e and fmean(point.full_well_e), 4),
        DASH if point.linearity_error_percent is None else f"{point.linearity_error_percent:.2f}",
        write_plain((point.dark and point.dark.pixel_sigma) or None, 2),
        write_plain(point.response_sigma and 100 * point.response_sigma, 2),
        f"{len(point.defects.hot)}, {len(point.defects.dead)}",
        str(point.captures),
        str(point.method),
    )


def _write_plus_minus(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ± {100 * (interval[1] - interval[0]) / 2:.1f} %"
