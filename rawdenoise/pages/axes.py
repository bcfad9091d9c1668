"""Where values lie along an axis of a chart, and which of them are labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rawdenoise.pages.number_format import MINUS, THIN_SPACE

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TICK_COUNT = 5  # of a linear axis, or a few more
MAXIMUM_DECADES = 7  # labelled on a logarithmic axis
SMALLEST, LARGEST = 1e-15, 1e15  # of what can be drawn on a logarithmic axis, on any


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, unit included.

    `zero` makes a linear one begin or end there, a logarithmic one has room for a factor of `margin` at its
    ends. `limits` are taken as they are, instead of what the values reach. `ticks`, if any, are labelled
    instead of round numbers, plainly. A `reverse` one runs down.
    """

    label: str
    log: bool = False
    zero: bool = False
    margin: float = 1.0
    limits: tuple[float, float] | None = None
    ticks: tuple[float, ...] = ()
    reverse: bool = False

    def can_show(self, value: float) -> bool:
        """Whether a value has a place on it at all."""
        return math.isfinite(value) and abs(value) < LARGEST and (value > SMALLEST or not self.log)


@dataclass(frozen=True, slots=True)
class Scale:
    """Where values lie on the picture, and which of them are labelled (`major`) or only have a line."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    major: tuple[float, ...]
    labels: tuple[str, ...]
    minor: tuple[float, ...] = ()

    def at(self, value: float) -> float:
        """The place of a value, in the picture's units."""
        low, high, here = (
            (math.log10(number) if self.log else number) for number in (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * (here - low) / (high - low)


def fit_scale(values: Sequence[float], axis: Axis, start: float, end: float) -> Scale:
    """Lay the values of an axis out between two places of the picture."""
    low, high = axis.limits or (min(values), max(values))
    if axis.reverse:
        start, end = end, start
    return _fit_log(low, high, axis, start, end) if axis.log else _fit_linear(low, high, axis, start, end)


def label_tick(value: float) -> str:
    """Write a value of an axis: plain where that is short, else as a power of ten."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    if -4 < exponent < 6:
        decimals = max(0, -math.floor(math.log10(abs(value)) + 1e-9) + 1) if abs(value) < 10 else 0
        text = f"{value:,.{decimals}f}".replace(",", THIN_SPACE)
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        factor = round(value / 10.0**exponent)
        text = ("" if factor == 1 else f"{factor}·") + "10" + str(exponent).translate(SUPERSCRIPT)
    return text.replace("-", MINUS)


def nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * (1 - 1e-9)), 10 * power)


def _fit_log(low: float, high: float, axis: Axis, start: float, end: float) -> Scale:
    if not axis.limits:
        low, high = low / axis.margin, high * axis.margin
    if high / low < 1.2:
        low, high = low / 2, high * 2
    ticks = _list_log_ticks(low, high)
    if axis.ticks:
        return _label_ticks(Scale(low, high, start, end, True, axis.ticks, ()), axis)
    if len(ticks) < 2:  # none or one of 1, 2 and 5 lies between
        low, high = _list_log_ticks(low / 10, low)[-1], _list_log_ticks(high, high * 10)[0]
        ticks = _list_log_ticks(low, high)
    if math.log10(high / low) < 2:
        return _label_ticks(Scale(low, high, start, end, True, ticks, ()), axis)
    decades = tuple(tick for tick in ticks if abs(math.log10(tick) - round(math.log10(tick))) < 1e-6)
    major = decades[:: -(-len(decades) // MAXIMUM_DECADES)]
    minor = tuple(tick for tick in ticks if tick not in major)
    return _label_ticks(Scale(low, high, start, end, True, major, (), minor), axis)


def _fit_linear(low: float, high: float, axis: Axis, start: float, end: float) -> Scale:
    if axis.zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5, high + 0.5
    step = nice_step((high - low) / TICK_COUNT)
    if axis.limits:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    else:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    major = axis.ticks or tuple(round(number * step, 12) for number in range(first, last + 1))
    if not axis.limits and not axis.ticks:
        low, high = major[0], major[-1]
    return _label_ticks(Scale(low, high, start, end, False, major, ()), axis)


def _label_ticks(scale: Scale, axis: Axis) -> Scale:
    labels = tuple(f"{tick:g}" if axis.ticks else label_tick(tick) for tick in scale.major)
    return Scale(scale.low, scale.high, scale.start, scale.end, scale.log, scale.major, labels, scale.minor)


def _list_log_ticks(low: float, high: float) -> tuple[float, ...]:
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    ticks = (factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5))
    return tuple(tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9))
