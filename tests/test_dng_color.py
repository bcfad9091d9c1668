from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from conftest import write_arw, write_bayer_dng
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.capture.raw import Provenance, Tag
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.color import color_temperature, read_matrices, read_neutral
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.rendering.preview import render_preview
from rawdenoise.formats.tiff.pictures import write_tiff
from rawdenoise.formats.tiff.reading import RATIONAL, SHORT, SRATIONAL, ascii_tag, numbers, numbers_tag
from rawdenoise.formats.tiff.tags import Code

WARM = np.array([[1.0, -0.3, -0.1], [-0.4, 1.3, 0.1], [-0.1, 0.2, 0.6]])
COLD = np.array([[0.8, -0.2, -0.1], [-0.5, 1.2, 0.3], [-0.1, 0.1, 0.9]])
TUNGSTEN, DAYLIGHT = (0.44757, 0.40745), (0.3127, 0.3290)  # chromaticities of the CIE's A and D65
UNTOUCHED = Provenance("1.2.3", "none", 0.0)


def matrix_tag(matrix: np.ndarray) -> Tag:
    return numbers_tag(SRATIONAL, *np.ravel(matrix).tolist())


def white(x: float, y: float) -> Tag:
    return numbers_tag(RATIONAL, x, y)


def xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def lights() -> dict[int, Tag]:
    """Two lights, A and D65."""
    return {
        Code.ColorMatrix1: matrix_tag(WARM),
        Code.CalibrationIlluminant1: numbers_tag(SHORT, 17),
        Code.ColorMatrix2: matrix_tag(COLD),
        Code.CalibrationIlluminant2: numbers_tag(SHORT, 21),
    }


def by_green(neutral: np.ndarray) -> Any:
    return pytest.approx((neutral / neutral[1]).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("chromaticity", "kelvin"),
    [(TUNGSTEN, 2856), (DAYLIGHT, 6504), ((0.3457, 0.3585), 5003), ((0.2990, 0.3149), 7504)],
)
def test_the_temperatures_of_the_standard_lights(chromaticity: tuple[float, float], kelvin: int) -> None:
    assert color_temperature(*chromaticity) == pytest.approx(kelvin, rel=0.003)


def test_a_white_is_what_the_camera_gives_for_it_under_one_light() -> None:
    tags = {Code.ColorMatrix1: matrix_tag(WARM), Code.AsShotWhiteXY: white(*TUNGSTEN)}
    assert read_neutral(tags) == by_green(WARM @ xyz(*TUNGSTEN))


def test_between_two_lights_the_matrix_is_interpolated_by_the_inverse_temperature() -> None:
    between = (0.3805, 0.3768)  # of the daylight locus and near it, 4000 K
    share = (1 / 2850 - 1 / color_temperature(*between)) / (1 / 2850 - 1 / 6500)
    assert 0.3 < share < 0.7
    for chromaticity, matrix in (
        (between, (1 - share) * WARM + share * COLD),
        ((0.5268, 0.4133), WARM),  # 2000 K: warmer than both
        ((0.2807, 0.2884), COLD),  # 10,000 K: colder than both
    ):
        for tags in (lights(), dict(reversed(lights().items()))):
            tags[Code.AsShotWhiteXY] = white(*chromaticity)
            assert read_neutral(tags) == by_green(matrix @ xyz(*chromaticity))


def test_of_three_lights_the_two_beside_the_white_count() -> None:
    other = np.diag([0.5, 1.0, 0.7])
    tags = lights() | {
        Code.ColorMatrix3: matrix_tag(other),
        Code.CalibrationIlluminant3: numbers_tag(SHORT, 11),
    }
    cold = (0.3064, 0.3166)  # 7,000 K
    assert read_neutral({**tags, Code.AsShotWhiteXY: white(*cold)}) == by_green(
        (lambda share: (1 - share) * COLD + share * other)(
            (1 / 6500 - 1 / color_temperature(*cold)) / (1 / 6500 - 1 / 7500)
        )
        @ xyz(*cold)
    )


def test_a_light_of_unknown_temperature_leaves_the_first_matrix() -> None:
    tags = lights() | {
        Code.CalibrationIlluminant2: numbers_tag(SHORT, 255),
        Code.AsShotWhiteXY: white(*DAYLIGHT),
    }
    assert read_neutral(tags) == by_green(WARM @ xyz(*DAYLIGHT))


@pytest.mark.parametrize("same", [True, False])
def test_the_body_s_calibration_and_its_gains_count(same: bool) -> None:
    calibration, gains = np.array([[1.1, 0.02, 0], [0, 0.95, 0.01], [0.03, 0, 1.05]]), [1.4, 1.0, 0.8]
    tags = {
        Code.ColorMatrix1: matrix_tag(WARM),
        Code.CameraCalibration1: matrix_tag(calibration),
        Code.AnalogBalance: numbers_tag(RATIONAL, *gains),
        Code.CameraCalibrationSignature: ascii_tag("com.acme"),
        Code.ProfileCalibrationSignature: ascii_tag("com.acme" if same else "com.adobe"),
        Code.AsShotWhiteXY: white(*TUNGSTEN),
    }
    whole = np.diag(gains) @ (calibration if same else np.eye(3)) @ WARM
    assert read_neutral(tags) == by_green(whole @ xyz(*TUNGSTEN))
    assert np.array(read_matrices(tags)[0].matrix) == pytest.approx(whole, abs=1e-5)


@given(st.floats(0.28, 0.5), st.floats(-0.02, 0.02))
def test_the_neutral_leads_back_to_its_white(x: float, off: float) -> None:
    y = 2.87 * x - 3 * x * x - 0.275 + off  # the daylight locus (CIE 15), and near it
    neutral = read_neutral({**lights(), Code.AsShotWhiteXY: white(x, y)})
    share = np.clip((1 / 2850 - 1 / color_temperature(x, y)) / (1 / 2850 - 1 / 6500), 0, 1)
    back = np.linalg.inv((1 - share) * WARM + share * COLD) @ np.array(neutral)
    assert (back[:2] / back.sum()).tolist() == pytest.approx([x, y], abs=1e-4)


@pytest.mark.parametrize(
    "stated",
    [white(0, 0.3), white(0.3, 0), white(0.7, 0.5), numbers_tag(RATIONAL, 0.3), Tag(5, 2, bytes(16))],
)
def test_a_white_that_is_none_says_nothing(stated: Tag) -> None:
    assert read_neutral({**lights(), Code.AsShotWhiteXY: stated}) is None
    assert read_neutral({Code.AsShotWhiteXY: white(*DAYLIGHT)}) is None  # no matrix to go by


def test_a_neutral_that_cannot_be_gives_way_to_the_white() -> None:
    tags = {
        **lights(),
        Code.AsShotWhiteXY: white(*DAYLIGHT),
        Code.AsShotNeutral: numbers_tag(RATIONAL, 0.5, 1, 0.6),
    }
    assert read_neutral(tags) == (0.5, 1, 0.6)
    tags[Code.AsShotNeutral] = numbers_tag(RATIONAL, 0, 1, 0)
    assert read_neutral(tags) == by_green(COLD @ xyz(*DAYLIGHT))


# ---------------------------------------------------------------- all the way


def grey(neutral: np.ndarray, black: float = 512) -> np.ndarray:
    """A grey card in an RGGB mosaic."""
    mosaic = np.full((96, 128), 6000 + black, np.uint16)
    mosaic[::2, ::2], mosaic[1::2, 1::2] = np.rint(6000 * neutral[[0, 2]] + black)
    return mosaic


@pytest.mark.parametrize("one_directory", [False, True])
def test_a_dng_with_a_white_is_one_with_that_neutral(tmp_path: Path, one_directory: bool) -> None:
    neutral = WARM @ xyz(*TUNGSTEN)
    neutral /= neutral[1]
    mosaic = grey(neutral)
    for name, stated in (
        ("white.dng", {Code.AsShotWhiteXY: white(*TUNGSTEN)}),
        ("neutral.dng", {Code.AsShotNeutral: numbers_tag(RATIONAL, *neutral)}),
    ):
        tags = {Code.ColorMatrix1: matrix_tag(WARM), **stated}
        write_bayer_dng(tmp_path / name, mosaic, root=tags, one_directory=one_directory)
    by_white, by_neutral = (read_raw(tmp_path / name) for name in ("white.dng", "neutral.dng"))
    assert by_white.notes == by_neutral.notes == ()
    assert by_white.color.as_shot_neutral == pytest.approx(by_neutral.color.as_shot_neutral, abs=1e-6)

    shown = render_preview(by_white)
    assert np.array_equal(shown, render_preview(by_neutral))
    assert np.ptp(shown.reshape(-1, 3).mean(axis=0)) < 1
    for image in (by_white, by_neutral):
        write_tiff(image, (tmp_path / image.source.name).with_suffix(".tif"), provenance=UNTOUCHED)
    picture = tifffile.imread(tmp_path / "white.tif").astype(int)
    assert np.abs(picture - tifffile.imread(tmp_path / "neutral.tif")).max() <= 2
    assert np.ptp(picture.reshape(-1, 3).mean(axis=0)) < 0.005 * picture.mean()

    write_dng(by_white, tmp_path / "out.dng", provenance=UNTOUCHED)
    written = read_metadata(tmp_path / "out.dng")
    assert numbers(written.root[Code.AsShotNeutral]) == pytest.approx(neutral, abs=1e-6)
    assert Code.AsShotWhiteXY not in {**written.root, **written.raw}
    with rawpy.imread(str(tmp_path / "out.dng")) as reader:
        balance = np.array(reader.camera_whitebalance[:3])
    assert balance / balance[1] == pytest.approx(1 / neutral, rel=1e-4)


def test_a_white_that_no_matrix_turns_into_a_neutral_is_kept_as_it_is(tmp_path: Path) -> None:
    stated = {Code.ColorMatrix1: matrix_tag(-WARM), Code.AsShotWhiteXY: white(*TUNGSTEN)}
    write_bayer_dng(tmp_path / "a.dng", grey(np.ones(3)), root=stated)
    image = read_raw(tmp_path / "a.dng")
    assert image.color.as_shot_neutral is None
    assert any("white balance unknown" in note for note in image.notes)
    write_dng(image, tmp_path / "out.dng", provenance=UNTOUCHED)
    written = read_metadata(tmp_path / "out.dng").root
    assert written[Code.AsShotWhiteXY] == stated[Code.AsShotWhiteXY]
    assert Code.AsShotNeutral not in written


def test_the_balance_of_a_raw_that_is_no_dng_is_the_right_way_round(tmp_path: Path) -> None:
    """A camera says by what red and blue are multiplied; the neutral is what they are divided by."""
    neutral = np.array([0.4, 1.0, 0.8])
    write_arw(tmp_path / "a.arw", grey(neutral, black=0), balance=(2560, 1024, 1024, 1280))
    image = read_raw(tmp_path / "a.arw")
    assert set(image.levels.black) == {0}
    assert image.color.as_shot_neutral == pytest.approx(neutral, abs=1e-4)
    assert np.ptp(render_preview(image).reshape(-1, 3).mean(axis=0)) < 1
    write_tiff(image, tmp_path / "a.tif", provenance=UNTOUCHED)
    picture = tifffile.imread(tmp_path / "a.tif").reshape(-1, 3).mean(axis=0)
    assert np.ptp(picture) < 0.005 * picture.mean()
    write_dng(image, tmp_path / "out.dng", provenance=UNTOUCHED)
    assert numbers(read_metadata(tmp_path / "out.dng").root[Code.AsShotNeutral]) == pytest.approx(
        neutral, abs=1e-4
    )
