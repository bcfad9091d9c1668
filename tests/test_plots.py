"""A calibration's pictures are there, whole, and on a page that needs nothing beside it."""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rawdenoise.calibration import CalibrationPoint, calibrate_from_frames
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import OutputError, SetupError
from rawdenoise.pages.calibration_page import plot_calibration
from rawdenoise.simulation.camera import SIMULATED_IMX385, evenly_lit, make_fixed_pattern

pytest.importorskip("matplotlib")

ALL = {"photon-transfer", "noise-over-iso", "banding", "defects"}


@pytest.fixture(scope="module")
def points() -> list[CalibrationPoint]:
    camera = SIMULATED_IMX385.resized(200, 160)
    rng = np.random.default_rng(0)
    fixed = make_fixed_pattern(camera, rng, pixel_sigma=1, hot=12, dead=5)
    isos = (1600, 6400)
    return calibrate_from_frames(
        [evenly_lit(camera, iso, 0, rng, fixed=fixed) for iso in isos for _ in range(2)],
        [
            evenly_lit(camera, iso, level, rng, fixed=fixed)
            for iso in isos
            for level in (0.05, 0.3, 0.9)
            for _ in range(2)
        ],
    )


@pytest.fixture(scope="module")
def dark_point() -> CalibrationPoint:
    camera = SIMULATED_IMX385.resized(200, 160)
    rng = np.random.default_rng(0)
    (point,) = calibrate_from_frames([evenly_lit(camera, 1600, 0, rng) for _ in range(2)], [])
    return point


class _Page(HTMLParser):
    """Collects what a page shows and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.cells: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "img":
            self.images.append(named["src"] or "")
        else:
            self.loads += [value or "" for key, value in attrs if key in {"src", "href"}]
        if tag not in {"img", "meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def read_page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_every_picture_is_drawn_and_on_the_page(points: list[CalibrationPoint], tmp_path: Path) -> None:
    page_path = plot_calibration(points, tmp_path / "plots")
    pictures = {path.stem: path.read_bytes() for path in (tmp_path / "plots").glob("*.png")}
    assert set(pictures) == ALL
    for png in pictures.values():
        image = Image.open(BytesIO(png)).convert("L")
        assert min(image.size) > 300
        assert image.getpixel((0, 0)) == 255  # white paper
        assert np.asarray(image).std() > 5  # with something on it
    page = read_page(page_path)
    inlined = {base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in page.images}
    assert inlined == set(pictures.values())
    assert page.loads == []
    assert page.cells[0] == "1600"
    assert page.cells[1].startswith("3.5")
    defects = points[0].defects
    assert len(defects.hot) > 8  # some lie in the masked margins
    assert f"{len(defects.hot)}, {len(defects.dead)}" in page.cells


def test_what_was_not_measured_is_left_out(dark_point: CalibrationPoint, tmp_path: Path) -> None:
    page = read_page(plot_calibration([dark_point], tmp_path))
    assert {path.stem for path in tmp_path.glob("*.png")} == {"banding", "defects"}
    assert len(page.images) == 2
    assert page.cells[1] == "\N{EN DASH}"


def test_names_from_files_are_text_on_the_page(dark_point: CalibrationPoint, tmp_path: Path) -> None:
    named = replace(
        dark_point, camera=Camera("<script>", "alert('$\\no$') \u6f22 & co"), notes=("<b>bold</b>",)
    )
    text = plot_calibration([named], tmp_path).read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "<b>" not in text
    assert "&amp; co" in text


def test_the_same_calibration_gives_the_same_bytes(dark_point: CalibrationPoint, tmp_path: Path) -> None:
    first = plot_calibration([dark_point], tmp_path / "a").read_bytes()
    assert plot_calibration([dark_point], tmp_path / "b").read_bytes() == first


def test_nothing_is_left_where_the_folder_cannot_be(dark_point: CalibrationPoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        plot_calibration([dark_point], tmp_path / "file" / "plots")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_matplotlib_it_says_how_to_get_it(
    dark_point: CalibrationPoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if re.match(r"matplotlib(\.|$)", name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SetupError, match=re.escape("pip install 'rawdenoise[plots]'")):
        plot_calibration([dark_point], tmp_path)
