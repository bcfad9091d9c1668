"""Tables as Markdown and as CSV, and curves as SVG."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rawdenoise.pages.axes import Axis
from rawdenoise.pages.charts import Guide, Panel, Series, draw_panel
from rawdenoise.pages.drawing import render_chart_file

SIZE = (720, 340)  # of curves with names of methods beside them


@dataclass(frozen=True, slots=True)
class Page:
    """What a table prints; `lines` are for programs, `pictures` SVG by name, `faults` promises broken."""

    text: str
    lines: Sequence[Sequence[object]] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    faults: int = 0


def tell(line: str) -> None:
    """Say how far it is, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


def markdown(head: Sequence[object], rows: Iterable[Sequence[object]], title: str = "") -> str:
    """A table."""
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join([*([title, ""] if title else []), *lines])


def comma_separated(lines: Iterable[Sequence[object]]) -> bytes:
    """The same for programs."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def draw_curves(
    title: str, curves: Mapping[str, Sequence[tuple[float, float]]], levels: Mapping[str, float]
) -> str:
    """Draw PSNR against crops by method, and levels to compare them with, as a file of its own."""
    reached = [psnr for curve in curves.values() for _, psnr in curve] + [*levels.values()]
    low, high = math.floor(min(reached)), math.ceil(max(reached) + 1e-9)
    ticks = tuple(float(psnr) for psnr in range(low, high + 1, max(1, (high - low) // 6)))
    up = Axis("PSNR on test pictures, dB", limits=(float(low), float(high)), ticks=ticks)
    series = [Series(name, curve, dot=2.0) for name, curve in curves.items()]
    guides = [Guide("y", level, name) for name, level in levels.items()]
    drawing = draw_panel(Panel(Axis("crops seen"), up, title, series, guides=guides, size=SIZE))
    return render_chart_file(title, [drawing], 1) if drawing else ""
