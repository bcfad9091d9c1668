from __future__ import annotations

import numpy as np
import pytest
from conftest import make_raw
from test_packing import mirrored

from rawdenoise.capture.packing import pack
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.rows import add_rows, estimate_row_offsets
from rawdenoise.simulation.scenes import make_scene

# The Sony A7S2 at ISO 400 and 6400 as PNNP (fenghansen/PNNP, Apache-2.0) calibrated it, in DN above black.
RANGE = 16383 - 512
A7S2 = {400: (0.38252, 2.0595572, 0.36209714), 6400: (6.12032, 7.1163535, 0.7218788)}
HEIGHT, WIDTH = 360, 2000


def model(iso: int) -> NoiseModel:
    gain, read, row = A7S2[iso]
    return NoiseModel((gain / RANGE,) * 4, ((read / RANGE) ** 2,) * 4, row_variance=(row / RANGE) ** 2)


def noisy(electrons: np.ndarray, iso: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clean planes, the same with noise but that of the rows, and the rows' offsets; packed scale."""
    rng = np.random.default_rng(seed)
    gain, read, row = (figure / RANGE for figure in A7S2[iso])
    pixels = gain * rng.poisson(electrons) + read * rng.standard_normal(electrons.shape)
    offsets = row * rng.standard_normal((2, electrons.shape[1]))
    return gain * electrons, pixels.astype(np.float32), offsets.astype(np.float32)


def scene(seed: int, level: float) -> np.ndarray:
    picture = make_scene(HEIGHT, WIDTH, np.random.default_rng(seed))
    return level * np.stack([picture[..., colour] for colour in (0, 1, 1, 2)])


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one - other) ** 2)))


@pytest.mark.parametrize(("iso", "level", "seed"), [(400, 20.0, 0), (400, 60.0, 1), (6400, 8.0, 2)])
def test_row_noise_of_a_textured_capture_goes(iso: int, level: float, seed: int) -> None:
    _, pixels, offsets = noisy(scene(seed, level), iso, seed)
    found = estimate_row_offsets(add_rows(pixels, offsets), model(iso))
    assert np.mean((found - offsets) ** 2) < 0.3 * np.mean(offsets**2)


def horizontal(kind: str) -> np.ndarray:
    """A full-width pattern between 0 and 10 electrons, which no column tells from row noise."""
    rows = np.arange(HEIGHT)
    if kind == "edges":
        profile = (rows // 37) % 2
    elif kind == "lines":
        profile = rows % 41 == 0
    else:
        profile = (1 + np.sin(2 * np.pi * rows / float(kind))) / 2
    return np.broadcast_to(10.0 * profile[:, None], (4, HEIGHT, WIDTH))


@pytest.mark.parametrize("iso", A7S2)
@pytest.mark.parametrize("kind", ["edges", "lines", "3", "5", "8", "12", "16", "24", "32", "50"])
def test_horizontal_structure_stays(kind: str, iso: int) -> None:
    clean, pixels, offsets = noisy(horizontal(kind), iso)
    for before in (pixels, add_rows(pixels, offsets)):
        after = add_rows(before, -estimate_row_offsets(before, model(iso)))
        assert psnr(after, clean) > psnr(before, clean) - 0.1


def test_levels_and_tilt_do_not_move() -> None:
    _, pixels, offsets = noisy(scene(3, 20.0), 400)
    found = estimate_row_offsets(add_rows(pixels, offsets), model(400)).astype(np.float64)
    rows = np.arange(HEIGHT) - HEIGHT / 2
    sigma = A7S2[400][2] / RANGE
    assert np.abs(found.mean(axis=1)).max() < 1e-4 * sigma
    assert np.abs(found @ rows / (rows @ rows)).max() < 1e-4 * sigma


def test_where_row_noise_drowns_nothing_is_taken_off() -> None:
    _, pixels, offsets = noisy(np.full((4, HEIGHT, WIDTH), 3000.0), 6400)
    assert not estimate_row_offsets(add_rows(pixels, offsets), model(6400)).any()


@pytest.mark.parametrize(("gain", "goes"), [(0.1, False), (0.3, True), (0.5, True)])
def test_a_fifth_of_the_row_noise_must_be_expected_to_go(gain: float, goes: bool) -> None:
    """The photons' noise in the mean of a row, beside which its offset is what is asked for."""
    shot, read, row = (figure / RANGE for figure in A7S2[6400])
    variance = (1 / gain - 1) * row**2 / 1.25 * 2 * WIDTH  # of a pixel; 1.25 by the four rows around
    electrons = (variance - read**2) / shot**2
    _, pixels, offsets = noisy(np.full((4, HEIGHT, WIDTH), electrons), 6400)
    found = estimate_row_offsets(add_rows(pixels, offsets), model(6400))
    assert found.any(axis=1).tolist() == [goes, goes]
    if goes:
        assert np.mean((found - offsets) ** 2) < (1 - 0.6 * gain) * np.mean(offsets**2)


def test_a_camera_without_row_noise_keeps_every_pixel() -> None:
    _, pixels, _ = noisy(scene(4, 20.0), 400)
    noise = NoiseModel(model(400).shot, model(400).read_variance)
    offsets = estimate_row_offsets(pixels, noise)
    assert not offsets.any()
    assert np.array_equal(add_rows(pixels, offsets), pixels)


def test_clipped_and_defect_pixels_have_no_say() -> None:
    clean, pixels, offsets = noisy(np.full((4, HEIGHT, WIDTH), 20.0), 400)
    capture = add_rows(pixels, offsets)
    valid = np.ones(capture.shape, bool)
    capture[:, 100:140, 300:900], valid[:, 100:140, 300:900] = 1.0, False
    found = estimate_row_offsets(capture, model(400), valid=valid)
    assert np.mean((found - offsets) ** 2) < 0.3 * np.mean(offsets**2)
    assert clean.max() < 1


def test_each_pair_of_planes_has_its_own_rows() -> None:
    _, pixels, _ = noisy(np.full((4, HEIGHT, WIDTH), 10.0), 400)
    offsets = np.zeros((2, HEIGHT), np.float32)
    offsets[1, 200] = 3 * A7S2[400][2] / RANGE
    found = estimate_row_offsets(add_rows(pixels, offsets), model(400))
    assert found[1, 200] > 0.7 * offsets[1, 200]
    assert np.abs(np.delete(found[1], 200)).max() < 0.3 * offsets[1, 200]
    assert np.abs(found[0]).max() < 0.3 * offsets[1, 200]
    assert np.array_equal(add_rows(np.zeros((4, HEIGHT, 1), np.float32), offsets)[2:, :, 0], offsets[[1, 1]])


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_pictures_that_say_nothing_stay(value: float) -> None:
    assert not estimate_row_offsets(np.full((4, 64, 64), value, np.float32), model(400)).any()
    assert not estimate_row_offsets(np.full((4, 4, 64), value, np.float32), model(400)).any()
    dark = estimate_row_offsets(
        np.full((4, 64, 64), value, np.float32), model(400), valid=np.zeros((4, 64, 64), bool)
    )
    assert not dark.any()


def test_a_mirrored_mosaic_has_the_same_rows() -> None:
    raw = make_raw(128, 256, seed=5)
    noise = NoiseModel((1e-6,) * 4, (0.05,) * 4, row_variance=0.02)
    straight = estimate_row_offsets(pack(raw), noise)
    assert straight.any()
    for rows, columns in ((False, True), (True, False), (True, True)):
        again = estimate_row_offsets(pack(mirrored(raw, rows=rows, columns=columns)), noise)
        np.testing.assert_allclose(again, straight, atol=1e-6)
