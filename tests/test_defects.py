from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import make_raw
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import Cfa
from rawdenoise.noise.defects import find_defects, pack_defects, repair_defects
from rawdenoise.noise.model import NoiseModel
from rawdenoise.simulation.scenes import make_scene

SHOT, READ = 4e-4, 1e-3  # packed: about 6 DN per electron, and a read noise of 2.5 electrons
NOISE = NoiseModel((SHOT,) * 4, (READ**2,) * 4)
HEIGHT, WIDTH = 600, 800
COLOUR = np.array([[0, 1], [1, 2]])[np.arange(HEIGHT)[:, None] % 2, np.arange(WIDTH) % 2]


def packed(mosaic: np.ndarray) -> np.ndarray:
    return np.stack([mosaic[row::2, column::2] for row, column in ((0, 0), (0, 1), (1, 0), (1, 1))])


def exposed(electrons: np.ndarray, seed: int = 0) -> np.ndarray:
    """Take a mosaic; packed scale."""
    rng = np.random.default_rng(seed)
    noisy = SHOT * rng.poisson(electrons) + READ * rng.standard_normal(electrons.shape)
    return noisy.astype(np.float32)


def textured(seed: int, level: float) -> np.ndarray:
    picture = make_scene(HEIGHT, WIDTH, np.random.default_rng(seed))
    return level * np.take_along_axis(picture, COLOUR[..., None], 2)[..., 0].astype(np.float64)


def places(count: int, seed: int = 1) -> np.ndarray:
    """A mask of single pixels, no two within four of each other."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    corners = rng.choice(HEIGHT // 8 * (WIDTH // 8), count, replace=False)
    mask[8 * (corners // (WIDTH // 8)) + rng.integers(2, 5, count), 8 * (corners % (WIDTH // 8)) + 3] = True
    return mask


def sky(seed: int, count: int) -> np.ndarray:
    """Stars of all colours over a dim sky, 1.2 to 3 pixels wide at half height."""
    rng = np.random.default_rng(seed)
    electrons = np.full((HEIGHT, WIDTH), 3.0)
    erf = np.vectorize(math.erf)
    reach = np.arange(-6, 7)
    for _ in range(count):
        y, x = rng.uniform(10, HEIGHT - 10), rng.uniform(10, WIDTH - 10)
        sigma, flux, colour = rng.uniform(1.2, 3) / 2.355, rng.uniform(100, 3000), rng.uniform(0.4, 1, 3)
        top, left = int(y), int(x)
        down, across = (
            0.5 * (erf((edge + 1 - at) / sigma / 2**0.5) - erf((edge - at) / sigma / 2**0.5))
            for edge, at in ((top + reach, y), (left + reach, x))
        )
        window = np.s_[top - 6 : top + 7, left - 6 : left + 7]
        electrons[window] += flux * np.outer(down, across) * colour[COLOUR[window]]
    return electrons


@pytest.mark.parametrize("level", [0.0, 2.0, 50.0])
def test_hot_pixels_are_found_and_nothing_else(level: float) -> None:
    electrons = np.full((HEIGHT, WIDTH), level)
    mosaic, hot = exposed(electrons), places(300)
    sigma = np.sqrt(SHOT**2 * level + READ**2)
    mosaic[hot] += np.random.default_rng(2).uniform(12, 60, 300) * sigma + 8 * SHOT
    found = find_defects(packed(mosaic), NOISE)
    assert (found & packed(hot)).sum() >= 290
    assert not (found & ~packed(hot)).any()


def test_dead_pixels_are_found_where_there_is_light() -> None:
    mosaic, dead = exposed(np.full((HEIGHT, WIDTH), 400.0)), places(300)
    mosaic[dead] = 0
    found = find_defects(packed(mosaic), NOISE)
    assert (found & packed(dead)).sum() >= 290
    assert not (found & ~packed(dead)).any()


def test_defects_of_a_textured_capture() -> None:
    mosaic, hot = exposed(textured(0, 300.0)), places(300)
    clean = find_defects(packed(mosaic), NOISE)
    assert clean.sum() <= 3  # of 480,000
    mosaic[hot] += 0.5
    found = find_defects(packed(mosaic), NOISE)
    assert (found & packed(hot)).sum() >= 240


def test_stars_are_no_defects() -> None:
    mosaic = exposed(sky(0, 400))
    assert mosaic.max() > 0.1
    assert find_defects(packed(mosaic), NOISE).sum() <= 2


def test_few_photons_are_no_defects() -> None:
    """With little read noise a single photon is many sigmas."""
    noise = NoiseModel((SHOT,) * 4, ((0.1 * SHOT) ** 2,) * 4)
    rng = np.random.default_rng(0)
    for electrons in (0.01, 0.1, 1.0):
        mosaic = SHOT * (rng.poisson(electrons, (HEIGHT, WIDTH)) + 0.1 * rng.standard_normal((HEIGHT, WIDTH)))
        assert not find_defects(packed(mosaic).astype(np.float32), noise).any()


def test_a_clipped_pixel_is_no_defect() -> None:
    planes = packed(exposed(np.full((HEIGHT, WIDTH), 20.0)))
    planes[2, 50, 60] = planes[1, 70, 80] = 1.0
    valid = np.ones(planes.shape, bool)
    valid[2, 50, 60] = False
    found = find_defects(planes, NOISE, valid=valid)
    assert np.argwhere(found).tolist() == [[1, 70, 80]]


def test_a_defect_gets_the_median_of_its_sound_neighbours() -> None:
    planes = np.arange(4 * 5 * 5, dtype=np.float32).reshape(4, 5, 5)
    defects = np.zeros(planes.shape, bool)
    defects[1, 2, 2] = defects[1, 2, 3] = defects[3, 0, 0] = True
    out = repair_defects(planes, defects)
    assert np.array_equal(out[~defects], planes[~defects])
    assert out[1, 2, 2] == np.median([31, 32, 33, 36, 41, 42, 43])
    assert out[3, 0, 0] == np.median([76, 76, 80, 80, 81, 81, 81, 81])  # mirror images beyond the edges
    assert planes[1, 2, 2] == 37
    assert repair_defects(planes, np.zeros(planes.shape, bool)) is planes
    lost = repair_defects(planes, np.ones(planes.shape, bool))
    assert np.array_equal(lost, planes)


@given(st.sampled_from(list(Cfa)), st.integers(0, 11), st.integers(0, 13))
def test_known_defects_lie_where_packing_puts_them(cfa: Cfa, row: int, column: int) -> None:
    raw = make_raw(12, 14, cfa=cfa)
    raw.mosaic[...] = 512
    raw.mosaic[row, column] = 5000
    known = pack_defects(raw, np.array([[row, column], [99, 0], [0, 99]]))
    assert np.array_equal(known, pack(raw) > 0.1)
    assert known.sum() == 1


def test_known_defects_in_the_margins_are_nobody_s() -> None:
    raw = make_raw(12, 14, margins=(2, 3, 1, 1))
    known = pack_defects(raw, np.array([[0, 0], [2, 3]]))
    assert known.sum() == 1


def test_no_picture_is_too_small() -> None:
    assert not find_defects(np.zeros((4, 1, 1), np.float32), NOISE).any()
    assert not find_defects(np.zeros((4, 5, 5), np.float32), NOISE).any()


def test_glints_among_sharp_detail_are_no_defects() -> None:
    # Foliage as sharp as its photosites: each has a brightness of its own, few are very bright.
    electrons = 300 * np.random.default_rng(4).lognormal(0, 0.8, (HEIGHT, WIDTH))
    mosaic = exposed(electrons)
    assert find_defects(packed(mosaic), NOISE).sum() <= 2
    hot = places(300)
    mosaic[hot] += 200_000 * SHOT  # far beyond any of them
    assert (find_defects(packed(mosaic), NOISE) & packed(hot)).sum() >= 290


def test_many_hot_pixels_do_not_hide_each_other() -> None:
    mosaic, rng = exposed(np.full((HEIGHT, WIDTH), 2.0)), np.random.default_rng(0)
    hot = rng.random(mosaic.shape) < 1e-3
    sigma = np.sqrt(SHOT**2 * 2 + READ**2)
    mosaic[hot] += rng.uniform(12, 60, hot.sum()) * sigma + 8 * SHOT
    found = find_defects(packed(mosaic), NOISE)
    assert (found & packed(hot)).sum() > 0.92 * hot.sum()
    assert not (found & ~packed(hot)).any()
