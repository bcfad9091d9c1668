from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawdenoise.formats import read_raw
from rawdenoise.noise import NoiseModel, estimate_noise, fit_noise, sample_noise
from rawdenoise.packing import clipped, pack
from rawdenoise.scenes import make_scene


def noisy(clean: np.ndarray, shot: float, read: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(np.maximum(clean, 0) / shot)
    return (shot * electrons + np.sqrt(read) * rng.standard_normal(clean.shape)).astype(np.float32)


def ramps(height: int = 320, width: int = 448) -> np.ndarray:
    """Slopes and axis-parallel edges, which the estimate must not take for noise."""
    rows, columns = np.mgrid[:height, :width]
    base = 0.02 + 0.5 * columns / width + 0.2 * rows / height
    base[:, width // 3 :] -= 0.05
    return np.stack([base * share for share in (0.6, 1.0, 1.0, 0.5)])


def variances(noise: NoiseModel, level: float) -> np.ndarray:
    return np.array(noise.shot) * level + np.array(noise.read_variance)


@settings(max_examples=10)
@given(st.floats(-4.5, -2), st.floats(0.0, 8.0), st.integers(0, 9))
def test_known_noise_is_recovered(log_shot: float, read_electrons: float, seed: int) -> None:
    shot = 10**log_shot
    read = (shot * read_electrons) ** 2 + 1e-9
    noise = estimate_noise(noisy(ramps(), shot, read, seed))
    for level in (0.05, 0.4):
        np.testing.assert_allclose(variances(noise, level), shot * level + read, rtol=0.12)


def test_textured_scenes_are_recovered_within_a_third() -> None:
    shot, read = 0.0035, 1e-5
    rng = np.random.default_rng(5)
    samples = []
    for index in range(4):
        scene = 0.9 * make_scene(512, 768, rng)
        clean = np.stack([scene[i::2, j::2, c] for i, j, c in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2))])
        samples.append(sample_noise(noisy(clean, shot, read, index)))
    noise = fit_noise(samples)
    for level in (0.03, 0.3):
        ratio = variances(noise, level) / (shot * level + read)
        assert np.all((ratio > 0.75) & (ratio < 1.33)), ratio


def test_saturated_and_cut_off_pixels_are_left_out() -> None:
    shot, read = 1e-3, 4e-5
    planes = noisy(1.6 * ramps() - 0.05, shot, read)
    planes = np.clip(planes, 0, 0.8).astype(np.float32)
    noise = estimate_noise(planes, valid=planes < 0.8)
    np.testing.assert_allclose(variances(noise, 0.3), shot * 0.3 + read, rtol=0.12)
    np.testing.assert_allclose(variances(noise, 0.05), shot * 0.05 + read, rtol=0.25)


def test_a_plane_with_digital_gain_has_more_noise() -> None:
    planes = noisy(ramps(), 1e-3, 1e-6)
    planes[3] *= 2
    noise = estimate_noise(planes)
    assert noise.shot[3] / noise.shot[1] == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_a_capture_without_noise_has_positive_variance(value: float) -> None:
    noise = estimate_noise(np.full((4, 64, 64), value, np.float32))
    assert min(*noise.shot, *noise.read_variance) > 0


def test_nothing_valid_or_too_small_still_gives_a_model() -> None:
    planes = np.zeros((4, 64, 64), np.float32)
    for noise in (
        estimate_noise(planes, valid=np.zeros(planes.shape, bool)),
        estimate_noise(planes[:, :4, :4]),
    ):
        assert min(*noise.shot, *noise.read_variance) > 0


def test_one_flat_level_gives_its_variance() -> None:
    planes = noisy(np.full((4, 256, 256), 0.2), 1e-3, 1e-5)
    np.testing.assert_allclose(variances(estimate_noise(planes), 0.2), 1e-3 * 0.2 + 1e-5, rtol=0.1)


def test_variance_grows_with_the_signal_and_not_below_black() -> None:
    noise = NoiseModel((1e-3,) * 4, (1e-5,) * 4)
    signal = np.array([-0.1, 0.0, 0.5], np.float32).reshape(1, 1, 3).repeat(4, axis=0)
    np.testing.assert_allclose(noise.variance(signal)[0, 0], [1e-5, 1e-5, 5.1e-4], rtol=1e-5)


def test_a_real_camera(shared_data: Path) -> None:
    samples = []
    for path in sorted((shared_data / "imx296" / "train").glob("*.dng"))[::3]:
        raw = read_raw(path)
        samples.append(sample_noise(pack(raw), valid=~clipped(raw)))
    noise = fit_noise(samples)
    assert np.mean(noise.shot) * 963 == pytest.approx(0.090, rel=0.15)  # DN per electron
    assert np.sqrt(np.mean(noise.read_variance)) * 963 == pytest.approx(0.49, rel=0.15)  # DN
