"""Charts as SVG, on pages that need nothing beside them and in files of their own.

A panel is laid out here, in numbers; the templates make markup of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rawdenoise.pages.axes import Axis, Scale, fit_scale
from rawdenoise.pages.drawing import Color, Dot, Drawing, Group, Line, Text

WIDTH, HEIGHT = 520, 340  # of a panel, unless it says otherwise
LEFT, RIGHT, TOP, BOTTOM = 72, 28, 14, 48  # margins
HEADING = 22  # height of the line above the plot
LETTER = 7.0  # width of curve, more or less
LINE = 15  # height of a line of text
HUES = (215, 20)  # of the first and the last series: blue to orange
CAP_WIDTH = 4  # half the width of a whisker's ends
MARKS = {"dot": "●", "cross": "\N{MULTIPLICATION SIGN}"}  # in a legend

Point = tuple[float, float]
Stroke = Literal["line", "thin", "dashed", "none"]


@dataclass(frozen=True, slots=True)
class Series:
    """A curve with or without dots, or dots alone; `intervals` are the lower and upper ends at each point.

    One without a name is not named. `hue` is None for ink; otherwise hues are spread over the series.
    """

    name: str
    points: Sequence[Point]
    intervals: Sequence[Point | None] = ()
    stroke: Stroke = "line"
    dot: float = 0.0
    hollow: bool = False
    hue: int | Literal["spread"] | None = "spread"


@dataclass(frozen=True, slots=True)
class Scatter:
    """Many marks of one size, as one path."""

    name: str
    points: Sequence[Point]
    mark: Literal["dot", "cross"]
    size: float
    hue: int


@dataclass(frozen=True, slots=True)
class Guide:
    """A line across the plot at a value of an axis, with or without words on it."""

    axis: Literal["x", "y"]
    value: float
    label: str = ""
    dashes: str = "5 3"


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot; `description` is for those who cannot see it.

    Above it stand a `title` or a `note` and, with `legend`, the names; without, names stand at the ends of
    the curves. `boxed` ones have a frame and no grid.
    """

    x: Axis
    y: Axis
    description: str
    series: Sequence[Series] = ()
    scatters: Sequence[Scatter] = ()
    guides: Sequence[Guide] = ()
    title: str = ""
    note: str = ""
    legend: bool = False
    boxed: bool = False
    size: tuple[int, int] = (WIDTH, HEIGHT)  # width, height


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plot of a panel: its scales and the edges that lie apart from them."""

    across: Scale
    up: Scale
    left: float
    right: float
    top: float
    bottom: float


def draw_panel(panel: Panel) -> Drawing | None:
    """Lay a panel out; None where it has no point that can be drawn.

    Points and guides that are no numbers, or not positive on a logarithmic axis, are left out.
    """
    axes = {"x": panel.x, "y": panel.y}
    panel = replace(panel, guides=[guide for guide in panel.guides if axes[guide.axis].can_show(guide.value)])
    series = _color_series([kept for curve in panel.series if (kept := _keep_drawable(curve, panel)).points])
    scatters = [scatter for scatter in panel.scatters if scatter.points]
    if not series and not scatters and not (panel.x.limits and panel.y.limits):
        return None
    frame = _lay_out(panel, series)
    groups = [_draw_series(curve, frame) for curve in series] + [
        _draw_scatter(marks, frame) for marks in scatters
    ]
    texts = [*_label_axes(panel, frame), *_write_heading(panel, series, scatters, frame)]
    if not panel.legend:
        texts += _name_ends(series, frame)
    guides, guide_texts = _draw_guides(panel.guides, frame)
    return Drawing(
        *panel.size,
        panel.description,
        (*_draw_grid(panel, frame), *guides),
        tuple(groups),
        (*texts, *guide_texts),
    )


def spread_hues(count: int) -> list[int]:
    """Spread hues, through red rather than green, which is hard to tell from both ends for many."""
    first, last = HUES[0], HUES[1] + 360
    return [round(first + (last - first) * place / max(1, count - 1)) % 360 for place in range(count)]


# ---------------------------------------------------------------- layout


def _keep_drawable(series: Series, panel: Panel) -> Series:
    intervals = series.intervals or (None,) * len(series.points)
    kept = [
        (point, interval if interval is not None and all(map(panel.y.can_show, interval)) else None)
        for point, interval in zip(series.points, intervals, strict=True)
        if panel.x.can_show(point[0]) and panel.y.can_show(point[1])
    ]
    return replace(series, points=[point for point, _ in kept], intervals=[interval for _, interval in kept])


def _color_series(series: Sequence[Series]) -> list[Series]:
    hues = iter(spread_hues(sum(curve.hue == "spread" for curve in series)))
    return [replace(curve, hue=next(hues)) if curve.hue == "spread" else curve for curve in series]


def _find_named(series: Sequence[Series]) -> list[Series]:
    return [curve for curve in series if curve.name]


def _lay_out(panel: Panel, series: Sequence[Series]) -> _Frame:
    width, height = panel.size
    named = _find_named(series)
    names = 0.0
    if not panel.legend and named:
        names = 8 + LETTER * max(len(curve.name) for curve in named) - RIGHT / 2
    top = TOP + (HEADING if panel.title or panel.note or panel.legend else 0)
    left, right, bottom = float(LEFT), width - RIGHT - max(names, 0.0), float(height - BOTTOM)
    across = fit_scale(_reach_across(panel, series), panel.x, left, right)
    up = fit_scale(_reach_up(panel, series), panel.y, bottom, top)
    return _Frame(across, up, left, right, top, bottom)


def _reach_across(panel: Panel, series: Sequence[Series]) -> list[float]:
    reached = [x for curve in series for x, _ in curve.points]
    return reached + [guide.value for guide in panel.guides if guide.axis == "x"]


def _reach_up(panel: Panel, series: Sequence[Series]) -> list[float]:
    reached = [y for curve in series for _, y in curve.points]
    reached += [end for curve in series for interval in curve.intervals if interval for end in interval]
    return reached + [guide.value for guide in panel.guides if guide.axis == "y"]


# ---------------------------------------------------------------- drawing


def _draw_grid(panel: Panel, frame: _Frame) -> Iterable[Line]:
    left, right, top, bottom = frame.left, frame.right, frame.top, frame.bottom
    if panel.boxed:
        yield Line(f"M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z", "axis", 1)
        return
    for kind, columns, rows in (
        ("grid minor", frame.across.minor, frame.up.minor),
        ("grid", frame.across.major, frame.up.major),
    ):
        lines = [f"M{frame.across.at(tick):.1f} {top:.1f}V{bottom:.1f}" for tick in columns]
        lines += [f"M{left:.1f} {frame.up.at(tick):.1f}H{right:.1f}" for tick in rows]
        if lines:
            yield Line("".join(lines), kind, 1)
    yield Line(f"M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}", "axis", 1)


def _draw_guides(guides: Sequence[Guide], frame: _Frame) -> tuple[list[Line], list[Text]]:
    lines, texts = [], []
    for guide in guides:
        if guide.axis == "x":
            place = frame.across.at(guide.value)
            lines.append(Line(f"M{place:.1f} {frame.top:.1f}V{frame.bottom:.1f}", "guide", 1, guide.dashes))
        else:
            place = frame.up.at(guide.value)
            lines.append(Line(f"M{frame.left:.1f} {place:.1f}H{frame.right:.1f}", "guide", 1, guide.dashes))
            texts.append(Text(round(frame.right - 8, 1), round(place - 5, 1), "end", guide.label, "note"))
    return lines, [text for text in texts if text.words]


def _draw_series(series: Series, frame: _Frame) -> Group:
    places = [(frame.across.at(x), frame.up.at(y)) for x, y in series.points]
    lines = []
    for (x, _), interval in zip(places, series.intervals, strict=True):
        if interval is not None:
            low, high = (frame.up.at(end) for end in interval)
            left, right = x - CAP_WIDTH, x + CAP_WIDTH
            ends = f"M{left:.1f} {low:.1f}H{right:.1f}M{left:.1f} {high:.1f}H{right:.1f}"
            lines.append(Line(f"M{x:.1f} {low:.1f}V{high:.1f}{ends}", "whisker", 1.5))
    if len(places) > 1 and series.stroke != "none":
        width, dashes = {"line": (2.0, ""), "thin": (1.2, ""), "dashed": (1.2, "5 3")}[series.stroke]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        lines.append(Line(path, f"curve {series.stroke}", width, dashes))
    radius = series.dot or (3.5 if len(places) == 1 else 0.0)
    dots = [Dot(round(x, 1), round(y, 1), radius, series.hollow) for x, y in places] if radius else []
    return Group(_pick_color(series), tuple(lines), tuple(dots))


def _draw_scatter(scatter: Scatter, frame: _Frame) -> Group:
    """Draw marks as one path, those that would lie on each other once."""
    places = dict.fromkeys((f"{frame.across.at(x):.1f}", f"{frame.up.at(y):.1f}") for x, y in scatter.points)
    if scatter.mark == "dot":  # lines of no length with round ends
        path = "".join(f"M{x} {y}h0" for x, y in places)
        return Group(Color(scatter.hue), (Line(path, "marks", 2 * scatter.size, caps="round"),))
    side = f"{2 * scatter.size:.1f}"
    stroke = f"m-{scatter.size:.1f} -{scatter.size:.1f}l{side} {side}m-{side} 0l{side} -{side}"
    path = "".join(f"M{x} {y}{stroke}" for x, y in places)
    return Group(Color(scatter.hue), (Line(path, "marks", min(1.2, scatter.size)),))


def _pick_color(series: Series) -> Color:
    return Color(series.hue if isinstance(series.hue, int) else None)


# ---------------------------------------------------------------- words


def _label_axes(panel: Panel, frame: _Frame) -> Iterable[Text]:
    _, height = panel.size
    for tick, label in zip(frame.across.major, frame.across.labels, strict=True):
        yield Text(round(frame.across.at(tick), 1), frame.bottom + 18, "middle", label)
    for tick, label in zip(frame.up.major, frame.up.labels, strict=True):
        yield Text(frame.left - 8, round(frame.up.at(tick) + 4, 1), "end", label)
    yield Text(round((frame.left + frame.right) / 2, 1), height - 8.0, "middle", panel.x.label)
    yield Text(14.0, round((frame.top + frame.bottom) / 2, 1), "middle", panel.y.label, turn=True)


def _write_heading(
    panel: Panel, series: Sequence[Series], scatters: Sequence[Scatter], frame: _Frame
) -> Iterable[Text]:
    """Write what stands above the plot: title or note on the left, the legend on the right."""
    line = frame.top - 10
    if panel.title or panel.note:
        yield Text(frame.left, line, "start", panel.title or panel.note, "title" if panel.title else "note")
    if not panel.legend:
        return
    entries = [(curve.name, _pick_color(curve), MARKS["dot"]) for curve in _find_named(series)]
    entries += [(marks.name, Color(marks.hue), MARKS[marks.mark]) for marks in scatters]
    x = frame.right
    for name, color, mark in reversed(entries):
        yield Text(round(x, 1), line, "end", f"{mark} {name}", "name", color)
        x -= LETTER * (len(name) + 3.5)


def _name_ends(series: Sequence[Series], frame: _Frame) -> Iterable[Text]:
    """Write the names at the ends of their curves, moved apart where they would lie on each other."""
    ends = [
        (frame.up.at(curve.points[-1][1]), curve.name, _pick_color(curve)) for curve in _find_named(series)
    ]
    ordered = sorted(ends, key=lambda end: end[:2])
    places = [end for end, _, _ in ordered]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + LINE)
    limit = frame.bottom
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - LINE
    for place, (_, name, color) in zip(places, ordered, strict=True):
        yield Text(round(frame.right + 8, 1), round(place + 4, 1), "start", name, "name", color)
