"""Charts show what can be drawn, where their axes say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from rawdenoise.pages.axes import Axis, fit_scale, label_tick, nice_step
from rawdenoise.pages.charts import Guide, Panel, Scatter, Series, draw_panel
from rawdenoise.pages.drawing import render_chart_file


def chart(series: list[Series], x: Axis, y: Axis, **more: object) -> str:
    """The markup of a panel; nothing where there is nothing to be drawn."""
    drawing = draw_panel(Panel(x, y, "t", series, **more))  # type: ignore[arg-type]
    return "" if drawing is None else render_chart_file("t", [drawing], 1)


@pytest.mark.parametrize(("least", "step"), [(0.9, 1), (1.0, 1), (1.1, 2), (2.5, 5), (6, 10), (0.03, 0.05)])
def test_steps_are_one_two_or_five(least: float, step: float) -> None:
    assert nice_step(least) == pytest.approx(step)


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0"), (0.5, "0.5"), (0.002, "0.002"), (-2.0, "\N{MINUS SIGN}2"), (2e-7, "2·10⁻⁷"), (1e6, "10⁶"),
     (1500.0, "1\N{NARROW NO-BREAK SPACE}500"), (2.5, "2.5"), (10.0, "10")],
)  # fmt: skip
def test_ticks_are_labelled_shortly(value: float, label: str) -> None:
    assert label_tick(value) == label


def test_points_that_cannot_be_drawn_are_left_out() -> None:
    points = [(1.0, 2.0), (10.0, math.nan), (math.inf, 1.0), (0.0, 1.0), (100.0, 3.0)]
    drawn = chart([Series("a", points, dot=3.5)], Axis("x", log=True), Axis("y"))
    assert drawn.count("<circle") == 2
    assert chart([Series("a", [(0.0, 1.0)])], Axis("x", log=True), Axis("y")) == ""
    assert chart([], Axis("x"), Axis("y")) == ""


def test_points_lie_where_the_ticks_say() -> None:
    drawn = chart([Series("a", [(0.0, 0.0), (50.0, 20.0)], dot=3.5)], Axis("x"), Axis("y"))
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
    drawn = chart(curves, Axis("x"), Axis("y"))
    places = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*class="name"', drawn))
    assert len(places) == 12
    assert min(np.diff(places)) >= 14
    assert 0 < places[0] < places[-1] < 340


def test_intervals_are_drawn_and_have_room() -> None:
    points, intervals = [(1.0, 5.0), (2.0, 6.0)], [(1.0, 9.0), None]
    drawing = draw_panel(Panel(Axis("x"), Axis("y"), "t", [Series("a", points, intervals, dot=3)]))
    assert drawing is not None
    (whisker,) = (line for line in drawing.groups[0].lines if line.kind == "whisker")
    x, low, high = (float(number) for number in re.match(r"M(\S+) (\S+)V([\d.]+)", whisker.path).groups())  # type: ignore[union-attr]
    assert x == drawing.groups[0].dots[0].x
    assert high < drawing.groups[0].dots[0].y < low
    assert (low - high) / (low - drawing.groups[0].dots[0].y) == pytest.approx(2, abs=0.01)
    assert low <= 340 - 48


@pytest.mark.parametrize("interval", [(-1.0, 3.0), (math.nan, 2.0), (0.5, math.inf)])
def test_intervals_that_cannot_be_drawn_are_left_out(interval: tuple[float, float]) -> None:
    series = Series("a", [(1.0, 1.0), (2.0, 2.0)], [interval, (1.0, 3.0)])
    drawing = draw_panel(Panel(Axis("x"), Axis("y", log=True), "t", [series]))
    assert drawing is not None
    assert [line.kind for line in drawing.groups[0].lines] == ["whisker", "curve line"]


def test_a_guide_is_within_the_plot_and_says_what_it_is() -> None:
    guide = Guide("y", 0.01, "this <low>")
    drawn = chart([Series("a", [(1.0, 1.0), (2.0, 3.0)])], Axis("x"), Axis("y", log=True), guides=[guide])
    ((left, place),) = re.findall(r'class="guide"[^>]*d="M([\d.]+) ([\d.]+)H', drawn)
    assert 14 <= float(place) <= 340 - 48
    assert float(left) == 72
    assert "this &lt;low&gt;" in drawn


def test_a_guide_that_has_no_place_is_left_out() -> None:
    guides = [Guide("y", 0.0, "none"), Guide("x", math.nan)]
    drawn = chart([Series("a", [(1.0, 1.0), (2.0, 3.0)])], Axis("x"), Axis("y", log=True), guides=guides)
    assert "guide" not in drawn
    assert "none</text>" not in drawn


def test_limits_are_kept_and_an_axis_may_run_down() -> None:
    scale = fit_scale([3.0], Axis("y", limits=(0, 160), reverse=True), 300, 20)
    assert (scale.at(0), scale.at(160)) == (20, 300)
    assert scale.labels == ("0", "50", "100", "150")
    scale = fit_scale([100.0, 6400.0], Axis("ISO", log=True, ticks=(100, 1600, 6400)), 0, 100)
    assert scale.labels == ("100", "1600", "6400")


@pytest.mark.parametrize(("low", "high"), [(2.1, 4.9), (21.0, 22.0), (0.6, 1.9), (3e-9, 4.5e-9), (7.0, 7.0)])
def test_every_logarithmic_axis_has_two_labels(low: float, high: float) -> None:
    scale = fit_scale([low, high], Axis("y", log=True), 0, 100)
    assert len(scale.labels) >= 2
    assert all(-1e-6 <= scale.at(value) <= 100 + 1e-6 for value in (low, high, *scale.major))


def test_marks_on_each_other_are_drawn_once() -> None:
    points = [(x / 1e5, 0.5) for x in range(10_000)]  # a tenth of the plot
    scatter = Scatter("many", points, "dot", 1, hue=0)
    drawn = chart([], Axis("x", limits=(0, 1)), Axis("y", limits=(0, 1)), scatters=[scatter], legend=True)
    assert 300 < drawn.count("h0") < 500
    assert "● many" in drawn


def test_colours_stand_in_the_file_itself() -> None:
    drawn = chart([Series("a", [(1.0, 1.0), (2.0, 3.0)], hue=215)], Axis("x"), Axis("y"))
    assert 'color="#205fb6"' in drawn
    assert 'stroke="currentColor"' in drawn


def test_panels_of_a_file_lie_beside_each_other() -> None:
    panel = draw_panel(Panel(Axis("x"), Axis("y"), "t", [Series("a", [(1.0, 1.0)])], size=(200, 150)))
    assert panel is not None
    drawn = render_chart_file("t", [panel] * 5, columns=3)
    places = re.findall(r"translate\((\d+) (\d+)\)", drawn)
    assert [tuple(map(int, place)) for place in places] == [
        (0, 44), (216, 44), (432, 44), (0, 210), (216, 210),
    ]  # fmt: skip
