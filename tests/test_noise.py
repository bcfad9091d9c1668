from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.formats import read_raw
from rawdenoise.noise.estimate import estimate_noise, sample_noise
from rawdenoise.noise.fit import estimate_with_interval, fit_noise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.model_agreement import agreement
from rawdenoise.noise.samples import NoiseSamples
from rawdenoise.simulation.scenes import make_scene


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


def textured(rounds: int, contrast: float, seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Texture of one kind all over, alike in all planes: no place is flat."""
    texture = np.random.default_rng(seed).standard_normal((height, width))
    for axis in (0, 1) * rounds:
        texture = (np.roll(texture, 1, axis) + 2 * texture + np.roll(texture, -1, axis)) / 4
    light = 0.25 + contrast * texture / texture.std()
    return np.stack([np.clip(light * share, 0.01, 0.9) for share in (0.6, 1.0, 1.0, 0.5)])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("rounds", "contrast"), [(2, 0.05), (3, 0.1), (4, 0.2)])
def test_texture_all_over_makes_no_capture_free_of_noise(rounds: int, contrast: float, seed: int) -> None:
    shot, read = 2.8e-4, 1.7e-7
    found = estimate_with_interval([sample_noise(noisy(textured(rounds, contrast, seed), shot, read, seed))])
    ratio = variances(found.noise, 0.2) / (shot * 0.2 + read)
    assert np.all((ratio > 0.6) & (ratio < 1.7)), ratio
    assert found.failed
    assert found.shot_interval[0] == 0


def test_no_estimate_is_believed_that_promises_more_than_the_flattest_blocks_show() -> None:
    level = np.linspace(0.01, 0.6, 100)
    true = 1e-4 * level + 1e-7
    seen = np.where(np.arange(100) % 10 == 0, 1.0, 4.0) * true  # fine grain, which looks like noise
    found = estimate_with_interval([[NoiseSamples(level, seen, seen, np.full(100, 50.0), 1e-12)] * 4])
    assert found.failed
    np.testing.assert_allclose(variances(found.noise, 0.3), 1e-4 * 0.3 + 1e-7, rtol=0.25)


@pytest.mark.parametrize("seed", range(3))
def test_estimates_of_what_shows_its_noise_have_not_failed(seed: int) -> None:
    dark = 2e-3 * np.random.default_rng(seed).standard_normal((4, 96, 128)).astype(np.float32)
    flat = noisy(np.full((4, 96, 128), 0.2), 1e-3, 1e-5, seed)
    wide = np.linspace(0.01, 0.6, 128) * np.ones((4, 96, 1))  # nothing but read noise, though light varies
    strange = (wide + 2e-3 * np.random.default_rng(seed).standard_normal(wide.shape)).astype(np.float32)
    for planes in (
        strange,
        dark,
        flat,
        noisy(ramps(), 1e-3, 1e-5, seed),
        noisy(ramps(96, 128), 1e-4, 1e-7, seed),
    ):
        assert not estimate_with_interval([sample_noise(planes)]).failed


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


def with_rows(planes: np.ndarray, variance: float, seed: int = 0) -> np.ndarray:
    """Offsets that the two planes of a mosaic row share."""
    offsets = variance**0.5 * np.random.default_rng(seed).standard_normal((2, planes.shape[1], 1))
    return (planes + offsets.repeat(2, axis=0)).astype(np.float32)


def test_row_noise_is_told_from_pixel_noise() -> None:
    read, row = 4e-6, 4e-7
    planes = with_rows(noisy(0.01 * ramps(480, 640), 1e-5, read), row)
    noise = estimate_noise(planes)
    assert noise.row_variance == pytest.approx(row, rel=0.35)
    np.testing.assert_allclose(variances(noise, 0.003), read, rtol=0.1)


def test_no_row_noise_is_seen_where_there_is_none() -> None:
    seen = [estimate_noise(noisy(ramps(), 1e-3, 1e-5, seed)).row_variance for seed in range(5)]
    assert sum(variance > 0 for variance in seen) <= 1, seen


def test_pooled_captures_agree_on_row_noise_that_one_hides() -> None:
    read, row = 1e-5, 1e-7
    captures = [with_rows(noisy(0.05 * ramps(160, 320), 1e-4, read, seed), row, seed) for seed in range(24)]
    pooled = fit_noise([sample_noise(planes) for planes in captures])
    assert pooled.row_variance == pytest.approx(row, rel=0.5)


@pytest.mark.parametrize("bits", [10, 12])
def test_the_quantisation_step_is_found(bits: int) -> None:
    step = 1 / (2**bits - 1)
    planes = noisy(ramps(), 1e-3, step**2)
    noise = estimate_noise((np.rint(planes / step) * step).astype(np.float32))
    assert noise.step == pytest.approx(step, rel=0.01)
    assert min(noise.read_variance) >= 0.99 * step**2 / 12


def test_the_intervals_hold_the_truth_of_flat_captures() -> None:
    shot, read = 1e-3, 1e-5
    held = 0
    for seed in range(12):
        found = estimate_with_interval([sample_noise(noisy(ramps(), shot, read, seed))])
        shot_ratio = shot / np.mean(found.noise.shot)
        read_ratio = (read / np.mean(found.noise.read_variance)) ** 0.5
        held += found.shot_interval[0] <= shot_ratio <= found.shot_interval[1]
        held += found.read_interval[0] <= read_ratio <= found.read_interval[1]
    assert held >= 22


def test_intervals_shrink_with_the_number_of_captures() -> None:
    samples = [sample_noise(noisy(ramps(), 1e-3, 1e-5, seed)) for seed in range(10)]
    one, ten = estimate_with_interval(samples[:1]), estimate_with_interval(samples)
    assert ten.shot_interval[0] > one.shot_interval[0]
    assert ten.read_interval[1] < one.read_interval[1]
    assert ten.samples == pytest.approx(10 * one.samples, rel=0.1)


def test_texture_widens_the_interval() -> None:
    rng = np.random.default_rng(3)
    grain = 0.02 * rng.standard_normal((1, 160, 224)).repeat(2, axis=1).repeat(2, axis=2)
    smooth, textured = ramps(), ramps() * (1 + grain)
    narrow, wide = (
        estimate_with_interval([sample_noise(noisy(clean, 1e-4, 1e-6))]) for clean in (smooth, textured)
    )
    assert np.ptp(wide.shot_interval) > 1.5 * np.ptp(narrow.shot_interval)
    assert np.mean(wide.noise.shot) < 2e-4  # of a variance that the texture raises far above


def test_the_least_noise_is_that_of_plain_captures_and_less_of_textured_ones() -> None:
    rng = np.random.default_rng(3)
    grain = 0.02 * rng.standard_normal((1, 160, 224)).repeat(2, axis=1).repeat(2, axis=2)
    shares = []
    for clean in (ramps(), ramps() * (1 + grain), textured(3, 0.02, 0)):
        samples = [sample_noise(noisy(clean, 1e-3, 1e-5))]
        likely, least = (estimate_with_interval(samples, least=of) for of in (False, True))
        shares.append(float(variances(least.noise, 0.2).mean() / variances(likely.noise, 0.2).mean()))
        assert likely.shot_interval[0] <= shares[-1] < 1.01
    plain, *of_textured = shares
    assert plain > 0.99
    assert max(of_textured) < 0.985 < plain


def test_captures_that_show_nothing_are_sure_of_nothing() -> None:
    planes = np.zeros((4, 64, 64), np.float32)
    found = estimate_with_interval([sample_noise(planes, valid=np.zeros(planes.shape, bool))])
    assert found.shot_interval == found.read_interval == (0.0, float("inf"))
    assert found.samples == 0
    assert found.failed


@pytest.mark.parametrize("promised", [0.4, 1.0, 2.5])
def test_agreement_tells_what_a_model_gets_wrong(promised: float) -> None:
    shot, read = 1e-3, 1e-5
    samples = sample_noise(noisy(ramps(), shot, read))
    model = NoiseModel((promised * shot,) * 4, (promised * read,) * 4)
    assert agreement(samples, model) == pytest.approx(1 / promised, rel=0.05)


def test_agreement_knows_nothing_without_pixels() -> None:
    planes = np.zeros((4, 64, 64), np.float32)
    samples = sample_noise(planes, valid=np.zeros(planes.shape, bool))
    assert np.isnan(agreement(samples, NoiseModel((1e-3,) * 4, (1e-5,) * 4)))


def test_large_captures_are_measured_in_part_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = noisy(ramps(), 1e-3, 1e-5)
    everything = sample_noise(planes)
    monkeypatch.setattr("rawdenoise.noise.estimate.MAXIMUM_BLOCKS", 600)
    part = sample_noise(planes)
    assert sum(part[0].blocks) < 0.6 * sum(everything[0].blocks)
    np.testing.assert_allclose(variances(fit_noise([part]), 0.3), 3.1e-4, rtol=0.1)


@pytest.mark.parametrize("level", [-1e-3, 0.0])
def test_a_dark_shows_its_read_noise(level: float) -> None:
    rng = np.random.default_rng(0)
    planes = (level + 2e-3 * rng.standard_normal((4, 160, 224))).astype(np.float32)
    found = estimate_with_interval([sample_noise(planes)])
    np.testing.assert_allclose(found.noise.read_variance, 4e-6, rtol=0.15)
    assert found.read_interval[0] <= 1 <= found.read_interval[1]


def test_the_same_capture_gives_the_same_estimate() -> None:
    planes = noisy(ramps(), 1e-3, 1e-5)
    assert estimate_with_interval([sample_noise(planes)]) == estimate_with_interval([sample_noise(planes)])


def test_a_real_camera(shared_data: Path) -> None:
    samples = []
    for path in sorted((shared_data / "imx296" / "train").glob("*.dng"))[::3]:
        raw = read_raw(path)
        samples.append(sample_noise(pack(raw), valid=~find_clipped(raw)))
    noise = fit_noise(samples)
    assert np.mean(noise.shot) * 963 == pytest.approx(0.090, rel=0.1)  # DN per electron
    assert np.sqrt(np.mean(noise.read_variance)) * 963 == pytest.approx(0.49, rel=0.1)  # DN
    assert 0.02 < np.sqrt(noise.row_variance) * 963 < 0.1  # slight, as its darks show
    assert noise.step * 963 == pytest.approx(1)
