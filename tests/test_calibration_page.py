"""A calibration's charts are there, whole, and on a page that needs nothing beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rawdenoise.calibration import CalibrationPoint, calibrate_from_frames
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import OutputError
from rawdenoise.pages.calibration_page import plot_calibration
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, light_evenly, make_fixed_pattern

SVG = "{http://www.w3.org/2000/svg}"
ALL = {"photon-transfer", "noise-over-iso", "banding", "defects"}


@pytest.fixture(scope="module")
def points() -> list[CalibrationPoint]:
    camera = SIMULATED_IMX385.resize(200, 160)
    rng = np.random.default_rng(0)
    fixed = make_fixed_pattern(camera, rng, pixel_sigma=1, hot=12, dead=5)
    isos = (1600, 6400)
    return calibrate_from_frames(
        [light_evenly(camera, iso, 0, rng, fixed=fixed) for iso in isos for _ in range(2)],
        [
            light_evenly(camera, iso, level, rng, fixed=fixed)
            for iso in isos
            for level in (0.05, 0.3, 0.9)
            for _ in range(2)
        ],
    )


@pytest.fixture(scope="module")
def dark_point() -> CalibrationPoint:
    camera = SIMULATED_IMX385.resize(200, 160)
    rng = np.random.default_rng(0)
    (point,) = calibrate_from_frames([light_evenly(camera, 1600, 0, rng) for _ in range(2)], [])
    return point


class _Page(HTMLParser):
    """Collects what a page shows and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.paths: list[str] = []
        self.cells: list[str] = []
        self.words: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for key, value in attrs if key in {"src", "href", "data", "xlink:href"}]
        assert not any(key.startswith("on") for key, _ in attrs)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.paths += [value or "" for key, value in attrs if key == "d"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells.append(data)
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def read_page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def read_charts(folder: Path) -> dict[str, ElementTree.Element]:
    """The chart files of a folder, all of which are whole SVGs."""
    charts = {path.stem: ElementTree.fromstring(path.read_bytes()) for path in folder.glob("*.svg")}
    assert {chart.tag for chart in charts.values()} <= {f"{SVG}svg"}
    return charts


def paths_of(chart: ElementTree.Element) -> list[str]:
    return [path.attrib["d"] for path in chart.iter(f"{SVG}path")]


def test_every_chart_is_drawn_and_on_the_page(points: list[CalibrationPoint], tmp_path: Path) -> None:
    page_path = plot_calibration(points, tmp_path / "plots")
    charts = read_charts(tmp_path / "plots")
    assert charts.keys() == ALL
    page = read_page(page_path)
    for name, chart in charts.items():
        assert min(float(chart.attrib[side]) for side in ("width", "height")) > 300
        assert chart.findtext(f"{SVG}title", "").startswith("Rawdenoise Simulated IMX385: ")
        assert set(paths_of(chart)) <= set(page.paths), name
        assert len(set(paths_of(chart))) >= 3  # more than the frame
    assert (
        page.tags.count("svg") == sum(len(list(chart.iter(f"{SVG}g"))) > 0 for chart in charts.values()) + 3
    )
    assert page.loads == []
    assert page.cells[0] == "1600"
    assert page.cells[1].startswith("3.5")
    defects = points[0].defects
    assert len(defects.hot) > 8  # some lie in the masked margins
    assert f"{len(defects.hot)}, {len(defects.dead)}" in page.cells


def test_exposures_lie_on_the_curve_of_the_model(points: list[CalibrationPoint], tmp_path: Path) -> None:
    plot_calibration(points, tmp_path)
    panel = read_charts(tmp_path)["photon-transfer"].findall(f"{SVG}g")[0]
    curve = next(path for path in panel.iter(f"{SVG}path") if path.attrib["class"] == "curve thin")
    model = np.array([place.split() for place in curve.attrib["d"].lstrip("M").split("L")], float)
    dots = [dot for dot in panel.iter(f"{SVG}circle") if dot.attrib["class"] == "dot"]
    assert len(dots) >= 8
    for dot in dots:
        x, y = float(dot.attrib["cx"]), float(dot.attrib["cy"])
        assert y == pytest.approx(np.interp(x, model[:, 0], model[:, 1]), abs=4)


def test_defects_lie_where_they_are(points: list[CalibrationPoint], tmp_path: Path) -> None:
    plot_calibration(points, tmp_path)
    chart = read_charts(tmp_path)["defects"]
    frame, hot, dead = (re.findall(r"M([\d.]+) ([\d.]+)", path) for path in paths_of(chart))
    ((left, top),) = np.array(frame, float)
    joined = points[0].defects.join(points[1].defects)
    rows, columns = joined.shape
    assert (len(hot), len(dead)) == (len(joined.hot), len(joined.dead))
    right = float(re.findall(r"H([\d.]+)", paths_of(chart)[0])[0])
    bottom = float(re.findall(r"V([\d.]+)", paths_of(chart)[0])[0])
    assert (right - left) / (bottom - top) == pytest.approx(columns / rows, rel=0.01)
    places = (np.array(hot, float) - (left, top)) / (right - left, bottom - top) * (columns, rows)
    assert places == pytest.approx(joined.hot[:, ::-1] + 0.5, abs=0.2)


def test_what_was_not_measured_is_left_out(dark_point: CalibrationPoint, tmp_path: Path) -> None:
    page = read_page(plot_calibration([dark_point], tmp_path))
    assert read_charts(tmp_path).keys() == {"banding", "defects"}
    assert page.tags.count("svg") == 2
    assert page.cells[1] == "\N{EN DASH}"


def test_a_camera_without_read_noise_is_drawn_too(points: list[CalibrationPoint], tmp_path: Path) -> None:
    silent = [
        replace(point, noise=replace(point.noise, read_variance=(0.0,) * 4, row_variance=0.0))
        for point in points
    ]
    plot_calibration(silent, tmp_path)
    assert read_charts(tmp_path).keys() == ALL


def test_names_from_files_are_text_on_the_page(dark_point: CalibrationPoint, tmp_path: Path) -> None:
    evil = """<script>alert('$\\no$')</script>"></text>\x1b{{ 7 * 7 }} \u6f22 & co"""
    camera = Camera(evil, evil, mode=evil)
    path = plot_calibration([replace(dark_point, camera=camera, notes=("<b>bold</b>",))], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "<b>" not in text
    assert "&amp; co" in text
    page = read_page(path)
    assert "<script>alert(" in "".join(page.words)
    assert "{{ 7 * 7 }} \u6f22" in "".join(page.words)
    for chart in read_charts(tmp_path).values():
        assert "<script>alert(" in chart.findtext(f"{SVG}title", "")
        assert not list(chart.iter(f"{SVG}script"))
        assert "\x1b" not in "".join(chart.itertext())


def test_the_same_calibration_gives_the_same_bytes(dark_point: CalibrationPoint, tmp_path: Path) -> None:
    first = plot_calibration([dark_point], tmp_path / "a").read_bytes()
    assert plot_calibration([dark_point], tmp_path / "b").read_bytes() == first


def test_nothing_is_left_where_the_folder_cannot_be(dark_point: CalibrationPoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        plot_calibration([dark_point], tmp_path / "file" / "plots")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
