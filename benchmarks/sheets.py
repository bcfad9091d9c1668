"""Figures, tables of them as Markdown and as CSV, and curves as PNG (which needs matplotlib)."""

from __future__ import annotations

import csv
import io
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#222222", "#6a6a6a", "#dddddd"
OURS, BAR = "#1f3fa8", INK
DOTS_PER_INCH = 110
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


@dataclass(frozen=True, slots=True)
class Figures:
    """What came out, image by image, and the gain that is told without the truth."""

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]
    estimated_gain_db: float | None = None

    @property
    def mean_psnr(self) -> float:
        """In dB, over the images."""
        return float(np.mean(self.psnr))

    @property
    def mean_ssim(self) -> float:
        """Over the images."""
        return float(np.mean(self.ssim))


@dataclass(frozen=True, slots=True)
class Curve:
    """PSNR in dB against crops; `shade` runs from 0 to 1 in a family of curves, None for ours, or `bar`."""

    title: str
    crops: Sequence[float]
    psnr: Sequence[float]
    shade: float | None = None
    bar: bool = False


def tell(line: str) -> None:
    """Say how far it is, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def comma_separated(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """The same for programs."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue().encode()


def draw_curves(title: str, curves: Sequence[Curve], levels: Mapping[str, float]) -> bytes:
    """Draw how good each method was on the way; levels in dB to compare them with lie dotted across."""
    import matplotlib

    colours = matplotlib.colormaps["plasma"]

    def paint(figure: Figure) -> None:
        panel = figure.subplots()
        for curve in curves:
            family = curve.shade is not None
            panel.plot(
                curve.crops,
                curve.psnr,
                color=colours(0.1 + 0.75 * curve.shade) if family else BAR if curve.bar else OURS,
                linestyle=(0, (5, 3)) if curve.bar else "-",
                linewidth=1.4 if family else 2.2,
                marker="o",
                markersize=3,
                label=curve.title,
            )
        for name, level in levels.items():
            panel.axhline(level, color=QUIET, linewidth=1.2, linestyle=":", label=name)
        panel.set_title(title)
        panel.set_xlabel("crops seen")
        panel.set_ylabel("PSNR on test pictures (dB)")
        panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)

    return draw_figure(10.5, 4.8, paint)


def draw_figure(width: float, height: float, paint: Callable[[Figure], None]) -> bytes:
    """Paint a figure of so many inches; returns its PNG."""
    import matplotlib.figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script of few fonts
        figure = matplotlib.figure.Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
        paint(figure)
        file = io.BytesIO()
        figure.savefig(file, format="png", facecolor="white", metadata={"Software": None})
    return file.getvalue()


def check_drawing() -> None:
    """Refuse at once what could not be drawn in the end.

    Raises:
        SystemExit: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise SystemExit("drawing curves needs matplotlib, which is not installed: pip install matplotlib")
