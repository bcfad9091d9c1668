"""The simulated camera does to light what its figures say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawdenoise.capture.raw import Area, Cfa
from rawdenoise.simulation.simulated_camera import (
    SIMULATED_IMX385,
    SensorNoise,
    SimulatedCamera,
    capture,
    light_evenly,
    make_fixed_pattern,
    tukey_lambda,
    tukey_lambda_deviation,
)

NOISELESS = SensorNoise(gain=1e-4, read_sigma=0.0)


def camera(cfa: Cfa = Cfa.RGGB, width: int = 64, height: int = 48, **changes: object) -> SimulatedCamera:
    return replace(SIMULATED_IMX385.resize(width, height), cfa=cfa, **changes)


def random_scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


@given(
    cfa=st.sampled_from(Cfa),
    top=st.integers(0, 3),
    left=st.integers(0, 3),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
)
def test_every_pixel_sees_the_colour_its_filter_says(
    cfa: Cfa, top: int, left: int, height: int, width: int
) -> None:
    """The law that fixes the phase whatever the margins: light of one colour lands on that colour's sites."""
    area = Area(top, left, top + height, left + width)
    identity = camera(cfa, active=area, size=(left + width + 1, top + height + 1), noise={100: NOISELESS})
    scene = random_scene(height, width)
    _, clean = capture(scene, identity, 100, np.random.default_rng(0))
    for row in range(height):
        for column in range(width):
            site = cfa.value[2 * ((row + top) % 2) + (column + left) % 2]
            expected = 240 + 3855 * _camera_rgb(scene[row, column])["RGB".index(site)]
            assert clean[row + top, column + left] == pytest.approx(expected, abs=0.01)


def _camera_rgb(rgb: np.ndarray) -> np.ndarray:
    srgb_to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    to_camera = np.array(SIMULATED_IMX385.color_matrix) @ srgb_to_xyz
    return np.clip(to_camera @ rgb / to_camera[1].sum(), 0, 1)


@pytest.mark.parametrize("cfa", list(Cfa))
def test_white_gives_the_as_shot_neutral_and_full_green(cfa: Cfa) -> None:
    white = np.ones((48, 64, 3), np.float32)
    raw, clean = capture(white, camera(cfa), 1600, np.random.default_rng(0))
    lit = (clean[raw.active.slices] - 240) / 3855
    red = cfa.shift(raw.active.top, raw.active.left).red
    neutral = raw.color.as_shot_neutral
    assert neutral is not None
    assert lit[red[0] :: 2, red[1] :: 2].mean() == pytest.approx(neutral[0], rel=1e-4)
    assert lit[1 - red[0] :: 2, 1 - red[1] :: 2].mean() == pytest.approx(neutral[2], rel=1e-4)
    assert lit[red[0] :: 2, 1 - red[1] :: 2].mean() == pytest.approx(1.0, rel=1e-4)


def test_margins_stand_at_black_and_carry_read_noise_alone() -> None:
    raw, clean = capture(np.ones((48, 64, 3), np.float32), camera(), 6400, np.random.default_rng(0))
    masked = np.ones(raw.mosaic.shape, bool)
    masked[raw.active.slices] = False
    assert (clean[masked] == 240).all()
    assert raw.mosaic[masked].mean() == pytest.approx(240, abs=1.5)
    assert 8 < raw.mosaic[masked].std() < 15


@settings(max_examples=10, deadline=None)
@given(level=st.floats(0.02, 0.5), iso=st.sampled_from([1600, 6400, 25600]))
def test_variance_is_gain_times_signal_plus_read_row_and_rounding(level: float, iso: int) -> None:
    """Within 3 %: five standard errors of a variance from 64000 samples in 4 columns of green-only light."""
    sensor = camera(width=320, height=400)
    figures = sensor.noise[iso]
    scene = np.full((400, 320, 3), level, np.float32)
    raw, clean = capture(scene, sensor, iso, np.random.default_rng(1))
    deviation = (raw.mosaic - clean)[raw.active.slices][::2, 1::2]
    signal = clean[raw.active.slices][0, 1] - 240
    expected = figures.gain * signal + figures.read_sigma**2 + figures.row_sigma**2 + 1 / 12
    assert deviation.var() == pytest.approx(expected, rel=0.03)
    assert abs(deviation.mean()) < 5 * np.sqrt(expected / deviation.size) + figures.row_sigma / 2


def test_row_noise_is_common_to_a_row() -> None:
    loud = SensorNoise(gain=0.01, read_sigma=1.0, row_sigma=3.0)
    sensor = camera(width=400, height=400, noise={100: loud})
    raw, clean = capture(np.zeros((400, 400, 3), np.float32), sensor, 100, np.random.default_rng(2))
    deviation = raw.mosaic - clean
    assert deviation.mean(axis=1).std() == pytest.approx(3.0, rel=0.15)
    assert deviation.mean(axis=0).std() < 0.3


@pytest.mark.parametrize("shape", [-0.1, 0.0, 0.14, 0.5])
def test_tukey_lambda_has_its_known_variance(shape: float) -> None:
    """Var = 2/l^2 (1/(1+2l) - G(l+1)^2/G(2l+2)); pi^2/3 at 0 (Tukey 1962; Joiner and Rosenblatt 1971)."""
    import math

    probability = (np.arange(2_000_000) + 0.5) / 2_000_000
    if shape == 0:
        expected = math.pi**2 / 3
    else:
        beta = math.gamma(shape + 1) ** 2 / math.gamma(2 * shape + 2)
        expected = 2 / shape**2 * (1 / (1 + 2 * shape) - beta)
    assert tukey_lambda(probability, shape).var() == pytest.approx(expected, rel=2e-3)


def test_tukey_read_noise_reaches_the_mosaic() -> None:
    tailed = SensorNoise(gain=0.01, read_sigma=5.0, read_lambda=-0.1)
    sensor = camera(width=400, height=400, noise={100: tailed})
    raw, clean = capture(np.zeros((400, 400, 3), np.float32), sensor, 100, np.random.default_rng(3))
    deviation = (raw.mosaic - clean).ravel()
    kurtosis = float((deviation**4).mean() / deviation.var() ** 2)
    assert kurtosis > 4.5  # a Gaussian has 3


def test_capture_is_clipped_at_white_and_rounded() -> None:
    raw, _ = capture(np.ones((48, 64, 3), np.float32), camera(), 25600, np.random.default_rng(4))
    assert raw.mosaic.max() == 4095
    assert (raw.mosaic[raw.active.slices] == 4095).mean() > 0.1


def test_same_seed_gives_the_same_bytes() -> None:
    scene = random_scene(48, 64)
    first, _ = capture(scene, camera(), 6400, np.random.default_rng(9))
    again, _ = capture(scene, camera(), 6400, np.random.default_rng(9))
    assert first.mosaic.tobytes() == again.mosaic.tobytes()


def test_capture_says_what_a_file_would_say() -> None:
    raw, _ = capture(random_scene(48, 64), camera(Cfa.GBRG), 6400, np.random.default_rng(0))
    assert raw.cfa is Cfa.GBRG
    assert raw.exposure.iso == 6400
    assert raw.camera.name == "Rawdenoise Simulated IMX385"
    assert raw.camera.mode == "64x48 12-bit"
    assert (raw.levels.black, raw.levels.white) == ((240.0,) * 4, 4095.0)


@pytest.mark.parametrize(("size", "iso"), [((47, 64), 6400), ((48, 64), 50)])
def test_wrong_size_and_unknown_iso_are_refused(size: tuple[int, int], iso: int) -> None:
    with pytest.raises(ValueError, match=r"active area|no figures"):
        capture(random_scene(*size), camera(), iso, np.random.default_rng(0))


@pytest.mark.parametrize("shape", [0.14, 0.05, 0.0, -1e-6, -0.09])
def test_the_deviation_of_tukey_s_law_is_that_of_its_draws(shape: float) -> None:
    """The midpoints of a million equal shares stand for the draws; they miss a little of the long tails."""
    draws = tukey_lambda((np.arange(1e6) + 0.5) / 1e6, shape)
    assert tukey_lambda_deviation(shape) == pytest.approx(draws.std(), rel=2e-3)


def test_an_even_light_reaches_every_lit_pixel_alike() -> None:
    sensor = camera(noise={100: NOISELESS})
    flat = light_evenly(sensor, 100, 0.5, np.random.default_rng(0))
    lit = flat.mosaic[flat.active.slices]
    assert np.ptp(lit.astype(int)) <= 6
    assert lit.mean() == pytest.approx(240 + 0.5 * 3855, abs=0.1)
    corners = light_evenly(sensor, 100, 0.5, np.random.default_rng(0), vignetting=0.4)
    assert corners.mosaic[sensor.active.top, sensor.active.left] == pytest.approx(240 + 0.3 * 3855, abs=3)
    assert (light_evenly(sensor, 100, 0, np.random.default_rng(0)).mosaic == 240).all()


def test_a_fixed_pattern_has_what_was_asked_of_it() -> None:
    sensor = camera(width=300, height=200)
    fixed = make_fixed_pattern(
        sensor, np.random.default_rng(0), pixel_sigma=1, row_sigma=2, column_sigma=3, response_sigma=0.01,
        hot=7, dead=4,
    )  # fmt: skip
    assert (fixed.response == 0).sum() == 4
    assert (fixed.offset > 100).sum() == 7
    usual = np.where(fixed.offset > 100, 0, fixed.offset)
    assert usual.mean(axis=1).std() == pytest.approx(2, rel=0.15)
    assert usual.mean(axis=0).std() == pytest.approx(3, rel=0.15)
    assert fixed.response[fixed.response > 0].std() == pytest.approx(0.01, rel=0.05)
