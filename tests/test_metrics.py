"""PSNR and SSIM against answers known on paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.quality.metrics import psnr, ssim


def picture(seed: int, height: int = 32, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).random((4, height, width), dtype=np.float32)


def test_psnr_of_a_constant_difference() -> None:
    first = np.full((4, 16, 16), 0.5, np.float32)
    assert psnr(first, first + np.float32(0.1)) == pytest.approx(20.0, abs=1e-4)
    assert psnr(first, first + np.float32(0.1), peak=10.0) == pytest.approx(40.0, abs=1e-4)


def test_equal_pictures_are_perfect() -> None:
    assert psnr(picture(0), picture(0)) == float("inf")
    assert ssim(picture(0), picture(0)) == pytest.approx(1.0, abs=1e-12)


@given(level=st.floats(0.0, 1.0), shift=st.floats(0.0, 0.5), peak=st.floats(0.5, 4.0))
def test_ssim_of_flat_pictures_is_its_luminance_term(level: float, shift: float, peak: float) -> None:
    """Without variance only (2 ma mb + c1) / (ma^2 + mb^2 + c1) is left of eq. 13."""
    first = np.full((1, 12, 13), level, np.float64)
    c1 = (0.01 * peak) ** 2
    other = level + shift
    expected = (2 * level * other + c1) / (level**2 + other**2 + c1)
    assert ssim(first, first + shift, peak=peak) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_opposite_textures_is_known() -> None:
    """Window of exactly 11x11: one value. b = 1 - a keeps the variance and turns the covariance's sign."""
    a = np.random.default_rng(1).random((1, 11, 11))
    weights = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    weights = np.outer(weights, weights) / np.outer(weights, weights).sum()
    mean = float((weights * a[0]).sum())
    variance = float((weights * a[0] ** 2).sum() - mean**2)
    luminance = (2 * mean * (1 - mean) + 1e-4) / (mean**2 + (1 - mean) ** 2 + 1e-4)
    expected = luminance * (-2 * variance + 9e-4) / (2 * variance + 9e-4)
    assert ssim(a, 1 - a) == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_ssim_is_symmetric_and_bounded(seed: int) -> None:
    first, second = picture(seed), picture(seed + 1)
    assert ssim(first, second) == pytest.approx(ssim(second, first), abs=1e-12)
    assert -1 <= ssim(first, second) < 0.5


def test_ssim_falls_with_noise() -> None:
    rows, columns = np.mgrid[0:48, 0:64].astype(np.float32)
    clean = np.broadcast_to(0.5 + 0.3 * np.sin(rows / 5) * np.cos(columns / 7), (4, 48, 64)).astype(
        np.float32
    )
    noise = np.random.default_rng(2).standard_normal(clean.shape, dtype=np.float32)
    scores = [ssim(clean, clean + np.float32(sigma) * noise) for sigma in (0.01, 0.05, 0.2)]
    assert scores[0] > scores[1] > scores[2]


def test_ssim_is_the_mean_of_its_planes() -> None:
    first, second = picture(3), picture(4)
    each = [ssim(first[k : k + 1], second[k : k + 1]) for k in range(4)]
    assert ssim(first, second) == pytest.approx(np.mean(each), abs=1e-12)
