"""Line charts as inline SVG, for pages that need nothing beside them.

Colours and fonts come from the page's style sheet: the classes `axis`, `grid`, `curve`, `dot` and `whisker`,
and the hue of a series in the property `--hue`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 340
LEFT, RIGHT, TOP, BOTTOM = 72, 28, 14, 48  # margins
LABELS = 84  # width of the names of the curves, where there are several
LINE = 15  # height of one
HUES = (215, 20)  # of the first and the last series: blue to orange
MINUS, SUPERSCRIPT = "\N{MINUS SIGN}", str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """A curve, or dots with `errors` (standard deviations up and down) where there are any."""

    name: str
    points: Sequence[Point]
    errors: Sequence[float] = ()
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, unit included; `zero` makes a linear one begin or end there."""

    label: str
    log: bool = False
    zero: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where values lie on the picture, and which of them are labelled (`major`) or only have a line."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    major: tuple[float, ...]
    minor: tuple[float, ...] = ()

    def at(self, value: float) -> float:
        """The place of a value, in the picture's units."""
        low, high, here = ((math.log10(each) if self.log else each) for each in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (here - low) / (high - low)


def chart(series: Sequence[Series], x: Axis, y: Axis, *, title: str) -> str:
    """Draw the series over each other; nothing where none of them has a point that can be drawn.

    `title` is for those who cannot see the picture. Points that are no numbers, or not positive on a
    logarithmic axis, are left out.
    """
    shown = [drawable for each in series if (drawable := _drawable(each, x, y)).points]
    if not shown:
        return ""
    names = LABELS if len(shown) > 1 else 0
    reached = [point[0] for each in shown for point in each.points]
    if x.log and any(each.dots for each in shown):  # dots do not lie on the frame
        reached += [min(reached) / 1.3, max(reached) * 1.3]
    across = _scale(reached, x, LEFT, WIDTH - RIGHT - names)
    up = _scale(list(_reach(shown, y)), y, HEIGHT - BOTTOM, TOP)
    parts = [*_grid(across, up), *_axis_labels(across, up, x, y)]
    ends = []
    for place, each in enumerate(shown):
        hue = _hue(place, len(shown))
        parts.append(f'<g style="--hue:{hue}">{"".join(_drawn(each, across, up))}</g>')
        ends.append((up.at(each.points[-1][1]), each.name, hue))
    if names:
        parts += _names(ends, across.end + 8)
    body = "\n".join(parts)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}">\n{body}\n</svg>'
    )


def tick_label(value: float) -> str:
    """Write a value of an axis: plain where that is short, else as a power of ten."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    if -4 < exponent < 6:
        decimals = max(0, -math.floor(math.log10(abs(value)) + 1e-9) + 1) if abs(value) < 10 else 0
        text = f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        factor = round(value / 10.0**exponent)
        text = ("" if factor == 1 else f"{factor}·") + "10" + str(exponent).translate(SUPERSCRIPT)
    return text.replace("-", MINUS)


# ---------------------------------------------------------------- scales


def _scale(values: Sequence[float], axis: Axis, start: float, end: float) -> _Scale:
    low, high = min(values), max(values)
    if axis.log:
        if high / low < 1.2:
            low, high = low / 2, high * 2
        ticks = _log_ticks(low, high)
        if math.log10(high / low) < 2:
            return _Scale(low, high, start, end, True, ticks)
        decades = tuple(tick for tick in ticks if _is_decade(tick))
        major = decades[:: -(-len(decades) // 7)]
        return _Scale(low, high, start, end, True, major, tuple(t for t in ticks if t not in major))
    if axis.zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5, high + 0.5
    step = nice_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    major = tuple(round(index * step, 12) for index in range(first, last + 1))
    return _Scale(major[0], major[-1], start, end, False, major)


def nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * (1 - 1e-9)), 10 * power)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks = (factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5))
    return tuple(tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9))


def _is_decade(tick: float) -> bool:
    return abs(math.log10(tick) - round(math.log10(tick))) < 1e-6


# ---------------------------------------------------------------- drawing


def _drawable(series: Series, x: Axis, y: Axis) -> Series:
    errors = series.errors or (0.0,) * len(series.points)
    kept = [
        (point, error)
        for point, error in zip(series.points, errors, strict=True)
        if all(
            math.isfinite(value) and abs(value) < 1e15 and (value > 1e-15 or not axis.log)
            for value, axis in zip(point, (x, y), strict=True)
        )
    ]
    return Series(
        series.name,
        [point for point, _ in kept],
        [error if math.isfinite(error) else 0.0 for _, error in kept] if series.errors else (),
        series.dots,
    )


def _reach(shown: Sequence[Series], y: Axis) -> Iterable[float]:
    for each in shown:
        for index, (_, value) in enumerate(each.points):
            error = each.errors[index] if each.errors and not y.log else 0.0
            yield from (value - error, value + error)


def _drawn(series: Series, across: _Scale, up: _Scale) -> Iterable[str]:
    places = [(across.at(x), up.at(y)) for x, y in series.points]
    for index, error in enumerate(series.errors):
        x, (_, value) = places[index][0], series.points[index]
        top, bottom = up.at(value + error), up.at(value - error)
        yield f'<path class="whisker" d="M{x:.1f} {bottom:.1f}V{top:.1f}"/>'
    if len(places) > 1:
        yield f'<path class="curve" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'
    if series.dots or len(places) == 1:
        yield from (f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places)


def _grid(across: _Scale, up: _Scale) -> Iterable[str]:
    for kind, columns, rows in (
        ("grid minor", across.minor, up.minor),
        ("grid", across.major, up.major),
    ):
        lines = [f"M{across.at(tick):.1f} {TOP}V{HEIGHT - BOTTOM}" for tick in columns]
        lines += [f"M{LEFT} {up.at(tick):.1f}H{across.end:.1f}" for tick in rows]
        if lines:
            yield f'<path class="{kind}" d="{"".join(lines)}"/>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{across.end:.1f}"/>'


def _axis_labels(across: _Scale, up: _Scale, x: Axis, y: Axis) -> Iterable[str]:
    for tick in across.major:
        yield _text(across.at(tick), HEIGHT - BOTTOM + 18, tick_label(tick), "middle")
    for tick in up.major:
        yield _text(LEFT - 8, up.at(tick) + 4, tick_label(tick), "end")
    yield _text((across.start + across.end) / 2, HEIGHT - 8, x.label, "middle")
    middle = (up.start + up.end) / 2
    turned = f' transform="rotate(-90 14 {middle:.1f})"'
    yield _text(14, middle, y.label, "middle", turned)


def _names(ends: Sequence[tuple[float, str, int]], x: float) -> Iterable[str]:
    """Write the names at the ends of their curves, moved apart where they would lie on each other."""
    ordered = sorted(ends)
    places = [end for end, _, _ in ordered]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + LINE)
    limit = float(HEIGHT - BOTTOM)
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - LINE
    for place, (_, name, hue) in zip(places, ordered, strict=True):
        yield _text(x, place + 4, name, "start", f' class="name" style="--hue:{hue}"')


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{html.escape(text)}</text>'


def _hue(place: int, count: int) -> int:
    """Spread the hues, through red rather than green, which is hard to tell from both ends for many."""
    first, last = HUES[0], HUES[1] + 360
    return round(first + (last - first) * place / max(1, count - 1)) % 360
