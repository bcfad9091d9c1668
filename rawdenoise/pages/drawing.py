"""What a chart is made of once it is laid out, and how it becomes a file.

Colours stand in the markup as they are on white paper; a page's style sheet, by the classes and the hue in
the property `--hue`, may have others.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rawdenoise.pages.environment import render_template

SATURATION, LIGHTNESS, INK = 0.7, 0.42, "#1d2126"  # on paper
GAP, TITLE = 16, 44  # between the panels of a file, and the height of its title


@dataclass(frozen=True, slots=True)
class Color:
    """A hue, or ink where there is none."""

    hue: int | None

    @property
    def on_paper(self) -> str:
        """The colour on white paper."""
        if self.hue is None:
            return INK
        red, green, blue = colorsys.hls_to_rgb(self.hue / 360, LIGHTNESS, SATURATION)
        return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


@dataclass(frozen=True, slots=True)
class Text:
    """Words at a place; `kind` is a class of the style sheet. Those with `turn` run upwards."""

    x: float
    y: float
    anchor: Literal["start", "middle", "end"]
    words: str
    kind: str = ""
    color: Color | None = None
    turn: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc, or a ring."""

    x: float
    y: float
    radius: float
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A path, and how it is drawn: a class of the style sheet, its width, its dashes."""

    path: str
    kind: str = "curve"
    width: float = 2.0
    dashes: str = ""
    caps: Literal["butt", "round"] = "butt"


@dataclass(frozen=True, slots=True)
class Group:
    """What there is of one colour."""

    color: Color
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """A panel laid out; places are in its own units, x to the right and y down."""

    width: int
    height: int
    description: str
    grid: tuple[Line, ...]
    groups: tuple[Group, ...]
    texts: tuple[Text, ...]


def render_chart_file(title: str, drawings: Sequence[Drawing], columns: int) -> str:
    """Give drawings of one size, so many beside each other, as an SVG file."""
    width, height = drawings[0].width + GAP, drawings[0].height + GAP
    columns = min(columns, len(drawings))
    placed = [
        (number % columns * width, TITLE + number // columns * height, drawing)
        for number, drawing in enumerate(drawings)
    ]
    size = (columns * width, TITLE + math.ceil(len(drawings) / columns) * height)
    return render_template("chart.svg", title=title, size=size, placed=placed)
