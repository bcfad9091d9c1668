"""Pictures of a calibration, for those who would rather look than read: PNGs and one page that holds them.

Needs matplotlib (the extra `plots`). Figures are drawn without pyplot, so that nothing of the caller's is
touched.
"""

from __future__ import annotations

import base64
import html
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from rawdenoise.atomic import write_bytes
from rawdenoise.calibration import CalibrationPoint, DefectMap
from rawdenoise.capture.raw import PLANES
from rawdenoise.errors import SetupError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "calibration.html"
DASH = "\N{EN DASH}"
PLANE_STYLES = {  # colour, marker, size: planes that agree lie on each other, and still show
    "R": ("#d23b3b", "o", 10.0),
    "G1": ("#23752f", "o", 7.5),
    "G2": ("#8cc63f", "o", 5.0),
    "B": ("#2b5fc2", "o", 2.5),
}
INK, QUIET, GRID = "#222222", "#6a6a6a", "#dddddd"
DOTS_PER_INCH = 110
SPECTRUM_BINS = 48
STYLE: Mapping[str, object] = {
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def plot_calibration(points: Sequence[CalibrationPoint], folder: Path) -> Path:
    """Draw everything a calibration shows into `folder`; returns the page, which holds all of it.

    A picture of which nothing was measured (the banding without darks, say) is left out.

    Raises:
        SetupError: matplotlib is not installed.
        OutputError: the folder cannot be written.
    """
    pictures: dict[str, bytes] = {}
    for name, draw in PICTURES.items():
        drawn = draw(points)
        if drawn is not None:
            pictures[name] = drawn
            write_bytes(folder / f"{name}.png", drawn)
    write_bytes(folder / PAGE, page(points, pictures).encode())
    return folder / PAGE


def check_drawing() -> None:
    """Refuse at once what could not be drawn in the end.

    Raises:
        SetupError: matplotlib is not installed.
    """
    _matplotlib()


def _matplotlib() -> Any:
    """Import matplotlib only when something is drawn.

    Raises:
        SetupError: it is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.ticker
    except ImportError as error:
        hint = "pip install 'rawdenoise[plots]'"
        raise SetupError(f"drawing pictures needs matplotlib, which is not installed: {hint}") from error
    return matplotlib


def drawn(width: float, height: float, paint: Callable[[Figure], None]) -> bytes:
    """Paint a figure of so many inches; returns its PNG."""
    matplotlib = _matplotlib()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a camera named in a script of few fonts
        figure = matplotlib.figure.Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
        paint(figure)
        file = BytesIO()
        figure.savefig(file, format="png", facecolor="white", metadata={"Software": None})
    return file.getvalue()


def _camera(point: CalibrationPoint) -> str:
    """The camera's name as its files spell it, which is no formula, whatever dollars are in it."""
    printable = "".join(letter for letter in point.camera.name if letter.isprintable())
    return printable.replace("$", r"\$")


def _iso_name(point: CalibrationPoint) -> str:
    return "ISO not stated" if point.iso is None else f"ISO {point.iso}"


# ---------------------------------------------------------------- photon transfer


def photon_transfer(points: Sequence[CalibrationPoint]) -> bytes | None:
    """Draw noise against signal, log-log, one panel per ISO: read noise lies flat, shot noise climbs."""
    lit = [point for point in points if any(max(each.signal) > 0 for each in point.curve) and point.complete]
    if not lit:
        return None
    columns = 2 if len(lit) in (2, 4) else min(len(lit), 3)
    rows = math.ceil(len(lit) / columns)

    def paint(figure: Figure) -> None:
        figure.suptitle(f"{_camera(lit[0])}: photon transfer", x=0.01, ha="left", fontweight="bold")
        panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for panel, point in zip(panels, lit, strict=False):
            _paint_curve(panel, point)
        for panel in panels[len(lit) :]:
            panel.set_axis_off()
        panels[0].legend(loc="upper left", fontsize=9, handletextpad=0.3)

    return drawn(5.4 * columns + (1.6 if columns == 1 else 0), 4.3 * rows + 0.4, paint)


def _paint_curve(panel: Any, point: CalibrationPoint) -> None:
    gain, read_e = point.gain, point.read_noise_e
    assert gain is not None  # only complete points are drawn
    assert read_e is not None
    lit = [each for each in point.curve if max(each.signal) > 0 and min(each.variance) > 0]
    lowest = min(min(each.signal) for each in lit if min(each.signal) > 0)
    reach = point.saturation - min(point.black)
    where_photons_take_over = fmean(point.read_noise) ** 2 / fmean(gain)
    signal = np.geomspace(max(min(lowest, where_photons_take_over / 5), 1e-6 * reach), reach, 200)
    for plane, name in enumerate(PLANES):
        color, marker, size = PLANE_STYLES[name]
        noise = np.sqrt(gain[plane] * signal + point.read_noise[plane] ** 2)
        panel.plot(signal, noise, color=color, linewidth=1.1, alpha=0.6, zorder=1)
        for used in (True, False):
            shown = [each for each in lit if each.used is used and each.signal[plane] > 0]
            panel.plot(
                [each.signal[plane] for each in shown],
                [math.sqrt(each.variance[plane]) for each in shown],
                marker,
                color=color,
                markersize=size,
                markerfacecolor=color if used else "white",
                label=name if used else None,
            )
    read = fmean(point.read_noise)
    panel.axhline(read, color=QUIET, linewidth=1, linestyle=(0, (5, 3)))
    panel.annotate(
        f"read noise {read:.3g} DN = {fmean(read_e):.3g} e\N{SUPERSCRIPT MINUS}",
        (signal[-1], read), xytext=(-8, 4), textcoords="offset points", ha="right", fontsize=9, color=QUIET,
    )  # fmt: skip
    panel.axvline(reach, color=QUIET, linewidth=1, linestyle=(0, (1, 2)))
    _log_axis(panel, "x", (1.0,))
    _log_axis(panel, "y", (1.0, 2.0, 5.0))
    panel.set_title(f"{_iso_name(point)}   {fmean(gain):.3g} DN/e\N{SUPERSCRIPT MINUS}")
    panel.set_xlabel("signal above black (DN); dotted: saturation")
    panel.set_ylabel("noise, standard deviation (DN)")


def _log_axis(panel: Any, which: str, labelled: tuple[float, ...]) -> None:
    """Make an axis logarithmic, its labels plain numbers at these multiples of powers of ten."""
    ticker = _matplotlib().ticker
    (panel.set_xscale if which == "x" else panel.set_yscale)("log")
    axis = panel.xaxis if which == "x" else panel.yaxis
    axis.set_major_locator(ticker.LogLocator(subs=labelled))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


# ---------------------------------------------------------------- noise over ISO


def noise_over_iso(points: Sequence[CalibrationPoint]) -> bytes | None:
    """Draw gain and read noise over two ISOs or more, with their intervals of 95 %."""
    known = [point for point in points if point.iso is not None and point.complete]
    if len({point.iso for point in known}) < 2:
        return None

    def paint(figure: Figure) -> None:
        figure.suptitle(f"{_camera(known[0])}: noise over ISO", x=0.01, ha="left", fontweight="bold")
        gains, reads, reads_e = figure.subplots(1, 3)
        _paint_over_iso(gains, known, [_mean(point.gain) for point in known], "shot_interval")
        gains.set_title("Gain")
        gains.set_ylabel("DN per electron")
        _paint_over_iso(reads, known, [fmean(point.read_noise) for point in known], "read_interval")
        rows = [math.sqrt(point.noise.row_variance) * fmean(point.spans) for point in known]
        if max(rows) > 0:
            isos = [point.iso for point in known]
            reads.plot(isos, rows, "s--", color="#b8741a", markersize=5, linewidth=1.2, label="per row")
            reads.set_ylim(bottom=min(row for row in rows if row > 0) / 2)
            reads.legend(loc="upper left", fontsize=9)
        reads.set_title("Read noise")
        reads.set_ylabel("standard deviation (DN)")
        _paint_over_iso(
            reads_e, known, [_mean(point.read_noise_e) for point in known], "read_interval", logarithmic=False
        )
        reads_e.set_title("Read noise in electrons")
        reads_e.set_ylabel("standard deviation (electrons)")
        reads_e.set_ylim(0, 1.12 * max(_mean(point.read_noise_e) for point in known))

    return drawn(13.5, 4.3, paint)


def _mean(values: Iterable[float] | None) -> float:
    return fmean(values or ())


def _paint_over_iso(
    panel: Any,
    points: Sequence[CalibrationPoint],
    values: Sequence[float],
    interval: str,
    *,
    logarithmic: bool = True,
) -> None:
    isos = [point.iso for point in points]
    panel.plot(isos, values, "o-", color=INK, markersize=5, linewidth=1.4, label="per pixel")
    for iso, value, bounds in zip(isos, values, (getattr(point, interval) for point in points), strict=True):
        if bounds is not None:
            panel.vlines(iso, value * bounds[0], value * bounds[1], color=INK, linewidth=4, alpha=0.25)
    panel.set_xscale("log")
    if logarithmic:
        panel.set_ylim(min(values) / 2, 2 * max(values))
        _log_axis(panel, "y", (1.0, 2.0, 5.0))
    shown = isos if len(isos) <= 6 else isos[:: math.ceil(len(isos) / 6)]
    panel.set_xticks(shown, [str(iso) for iso in shown])
    panel.minorticks_off()
    panel.set_xlabel("ISO")


# ---------------------------------------------------------------- banding


def banding(points: Sequence[CalibrationPoint]) -> bytes | None:
    """Draw the spectrum of the row offsets of the darks, and what pixel noise alone would give."""
    dark = [point for point in points if point.spectrum is not None]
    if not dark:
        return None

    def paint(figure: Figure) -> None:
        figure.suptitle(f"{_camera(dark[0])}: banding in the dark", x=0.01, ha="left", fontweight="bold")
        panel = figure.subplots()
        for point, color in zip(dark, _ramp(len(dark)), strict=True):
            _paint_spectrum(panel, point, color)
        _log_axis(panel, "y", (1.0, 2.0, 5.0))
        panel.set_xlim(0, 0.5)
        panel.set_xlabel("cycles per row  (0.5: every other row)")
        panel.set_ylabel("offset of a row, standard deviation (DN)")
        explained = "Level: each row has its own offset. Peak: regular bands. Dashed: pixel noise alone."
        panel.set_title(explained, fontweight="normal", color=QUIET)
        panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)

    return drawn(10.5, 4.6, paint)


def _ramp(count: int) -> list[Any]:
    """Colours from dark blue to orange, one per ISO."""
    colormap = _matplotlib().colormaps["plasma"]
    return [colormap(0.05 + 0.7 * index / max(count - 1, 1)) for index in range(count)]


def _paint_spectrum(panel: Any, point: CalibrationPoint, color: object) -> None:
    spectrum = point.spectrum
    assert spectrum is not None
    frequency, power = _binned(spectrum.cycles_per_row), _binned(spectrum.power)
    row = math.sqrt(point.noise.row_variance) * fmean(point.spans)
    label = f"{_iso_name(point)}: {row:.3g} DN" if row else f"{_iso_name(point)}: none seen"
    panel.plot(frequency, np.sqrt(power), color=color, linewidth=1.3, label=label)
    panel.axhline(math.sqrt(spectrum.white), color=color, linewidth=1, linestyle=(0, (5, 3)), alpha=0.8)


def _binned(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " bins"]:
    """Average neighbours, so that the scatter of a spectrum does not hide its shape."""
    return np.array([part.mean() for part in np.array_split(values, min(SPECTRUM_BINS, values.size))])


# ---------------------------------------------------------------- defects


def defects(points: Sequence[CalibrationPoint]) -> bytes | None:
    """Draw where the hot and dead pixels of all ISOs lie."""
    looked = [point.defects for point in points if point.defects.shape != (0, 0)]
    if not looked:
        return None
    found = DefectMap()
    for each in looked:
        found = found.joined(each)
    height, width = found.shape

    def paint(figure: Figure) -> None:
        panel = figure.subplots()
        size = min(36.0, max(2.0, 6000 / (len(found) + 1)))
        for kind, places, color, marker in (
            ("hot", found.hot, "#d1481f", "o"),
            ("dead", found.dead, "#1f3fa8", "x"),
        ):
            panel.scatter(
                places[:, 1], places[:, 0], s=size, c=color, marker=marker, linewidths=1,
                label=f"{len(places)} {kind}", alpha=0.8,
            )  # fmt: skip
        panel.set_xlim(0, width)
        panel.set_ylim(height, 0)
        panel.set_aspect("equal")
        for spine in panel.spines.values():
            spine.set_visible(True)
        panel.grid(visible=False)
        panel.set_title(f"{_camera(points[0])}: {len(found)} faulty of {width * height / 1e6:.3g} M pixels")
        panel.set_xlabel("column")
        panel.set_ylabel("row")
        panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1), markerscale=max(1.0, 4 / math.sqrt(size)))

    return drawn(9.5, 1.2 + 7.5 * min(height / width, 1.4), paint)


PICTURES: Mapping[str, Callable[[Sequence[CalibrationPoint]], bytes | None]] = {
    "photon-transfer": photon_transfer,
    "noise-over-iso": noise_over_iso,
    "banding": banding,
    "defects": defects,
}
CAPTIONS = {
    "photon-transfer": "Noise against signal. Each dot is one exposure of one colour; the line is the model. "
    "It lies flat where read noise rules and climbs where photons do. Hollow dots lie too near saturation to "
    "count.",
    "noise-over-iso": "What one electron is worth, and the noise of an unlit pixel, at each ISO. Grey bars: "
    "95 % intervals.",
    "banding": "How much the rows of a dark are offset against each other, by how fast the offset changes "
    "from row to row. Above the dashed line there is banding that pixel noise does not explain.",
    "defects": "Where pixels glow in the dark (hot) or do not answer to light (dead).",
}


# ---------------------------------------------------------------- the page


def page(points: Sequence[CalibrationPoint], pictures: Mapping[str, bytes]) -> str:
    """Put table, notes and pictures on one HTML page that needs nothing beside it."""
    name = html.escape(points[0].camera.name if points else "no camera")
    mode = html.escape(f", {points[0].camera.mode}" if points and points[0].camera.mode else "")
    images = "\n".join(_figure(key, png) for key, png in pictures.items())
    notes = "\n".join(f"<li>{html.escape(note)}</li>" for note in _notes(points))
    return _PAGE.format(name=name, mode=mode, table=_table(points), images=images, notes=notes)


def _figure(name: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    caption = html.escape(CAPTIONS[name])
    image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _notes(points: Sequence[CalibrationPoint]) -> Iterator[str]:
    for point in points:
        for note in point.notes:
            yield f"{_iso_name(point)}: {note}"


COLUMNS = (
    "ISO", "gain<br>DN/e⁻", "read noise<br>DN", "read noise<br>e⁻", "row noise<br>DN", "black<br>DN",
    "saturation<br>DN", "full well<br>e⁻", "linearity<br>error %", "fixed pattern<br>dark, DN",
    "fixed pattern<br>light, %", "hot, dead<br>pixels", "frames", "method",
)  # fmt: skip


def _table(points: Sequence[CalibrationPoint]) -> str:
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(point)) + "</tr>"
        for point in points
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _cells(point: CalibrationPoint) -> Iterator[str]:
    yield DASH if point.iso is None else str(point.iso)
    yield _number(point.gain and fmean(point.gain)) + _plus_minus(point.shot_interval if point.gain else None)
    yield _number(fmean(point.read_noise)) + _plus_minus(point.read_interval)
    yield _number(point.read_noise_e and fmean(point.read_noise_e))
    yield _number(math.sqrt(point.noise.row_variance) * fmean(point.spans))
    yield _number(fmean(point.black), 5)
    yield f"{point.saturation:.0f}"
    yield ("" if point.saturated else "≥ ") + _number(point.full_well_e and fmean(point.full_well_e), 4)
    yield DASH if point.linearity_error is None else f"{point.linearity_error:.2f}"
    yield _number((point.dark and point.dark.pixel_sigma) or None, 2)
    yield _number(point.response_sigma and 100 * point.response_sigma, 2)
    yield f"{len(point.defects.hot)}, {len(point.defects.dead)}"
    yield str(point.captures)
    yield str(point.method)


def _number(value: float | None, digits: int = 3) -> str:
    """Write a figure with so many digits, never as a power of ten; a dash where there is none."""
    if value is None:
        return DASH
    decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def _plus_minus(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ± {100 * (interval[1] - interval[0]) / 2:.1f} %"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: noise calibration</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 76rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; margin-bottom: 0; }}
p, figcaption, li {{ color: #555; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: .35rem .7rem; border-bottom: 1px solid #ddd; white-space: nowrap; }}
th {{ font-weight: 600; vertical-align: bottom; }}
figure {{ margin: 2.5rem 0; }}
img {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{name}</h1>
<p>Noise calibration{mode}. Planes averaged; black, noise and saturation in DN, the file's own numbers.</p>
<div class="scroll">
{table}
</div>
<ul>
{notes}
</ul>
{images}
</body>
</html>
"""
