"""Figures, tables of them as Markdown and as CSV, and curves as PNG (which needs matplotlib: `plots`)."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rawdenoise.pages.calibration_page import INK, QUIET, drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS, BAR = "#1f3fa8", INK


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

    return drawn(10.5, 4.8, paint)
