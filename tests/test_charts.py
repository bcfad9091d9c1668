"""Charts show what can be drawn, where their axes say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from rawdenoise.pages.charts import Axis, Series, chart, nice_step, tick_label

# ---------------------------------------------------------------- charts


@pytest.mark.parametrize(("least", "step"), [(0.9, 1), (1.0, 1), (1.1, 2), (2.5, 5), (6, 10), (0.03, 0.05)])
def test_steps_are_one_two_or_five(least: float, step: float) -> None:
    assert nice_step(least) == pytest.approx(step)


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0"), (0.5, "0.5"), (0.002, "0.002"), (-2.0, "\N{MINUS SIGN}2"), (2e-7, "2·10⁻⁷"), (1e6, "10⁶"),
     (1500.0, "1\N{NARROW NO-BREAK SPACE}500"), (2.5, "2.5"), (10.0, "10")],
)  # fmt: skip
def test_ticks_are_labelled_shortly(value: float, label: str) -> None:
    assert tick_label(value) == label


def test_points_that_cannot_be_drawn_are_left_out() -> None:
    points = [(1.0, 2.0), (10.0, math.nan), (math.inf, 1.0), (0.0, 1.0), (100.0, 3.0)]
    drawn = chart([Series("a", points, dots=True)], Axis("x", log=True), Axis("y"), title="t")
    assert drawn.count("<circle") == 2
    assert chart([Series("a", [(0.0, 1.0)])], Axis("x", log=True), Axis("y"), title="t") == ""
    assert chart([], Axis("x"), Axis("y"), title="t") == ""


def test_points_lie_where_the_ticks_say() -> None:
    drawn = chart([Series("a", [(0.0, 0.0), (50.0, 20.0)], dots=True)], Axis("x"), Axis("y"), title="t")
    dots = [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    labels = {
        (text, anchor): (float(x), float(y))
        for x, y, anchor, text in re.findall(
            r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]+)', drawn
        )
    }
    assert labels["50", "middle"][0] == dots[1][0]
    assert labels["20", "end"][1] == pytest.approx(dots[1][1] + 4)
    assert labels["0", "end"][1] == pytest.approx(dots[0][1] + 4)


def test_names_of_curves_do_not_lie_on_each_other() -> None:
    curves = [Series(str(index), [(1.0, 1.0), (2.0, 2 + index / 1000)]) for index in range(12)]
    drawn = chart(curves, Axis("x"), Axis("y"), title="t")
    places = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*class="name"', drawn))
    assert len(places) == 12
    assert min(np.diff(places)) >= 14
    assert 0 < places[0] < places[-1] < 340
