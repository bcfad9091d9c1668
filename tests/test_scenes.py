"""Scenes are pictures a camera could have taken: in range, varied, textured, alike at every scale."""

import numpy as np
import pytest

from rawdenoise.simulation.scenes import make_scene


def test_same_seed_gives_the_same_bytes() -> None:
    first = make_scene(96, 128, np.random.default_rng(7))
    again = make_scene(96, 128, np.random.default_rng(7))
    other = make_scene(96, 128, np.random.default_rng(8))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize("size", [(64, 64), (33, 150), (257, 40)])
def test_any_size_fills_the_frame_in_range(size: tuple[int, int]) -> None:
    scene = make_scene(*size, np.random.default_rng(3))
    assert scene.shape == (*size, 3)
    assert scene.dtype == np.float32
    assert scene.flags.c_contiguous
    assert np.isfinite(scene).all()
    assert scene.min() >= 0
    assert scene.max() <= 1
    assert scene.std() > 0.01


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    return np.stack([make_scene(192, 256, np.random.default_rng(seed)) for seed in range(12)])


def test_many_scenes_have_the_tones_of_photographs(scenes: np.ndarray) -> None:
    dark, clipped = (scenes < 0.05).mean(), (scenes >= 1).mean()
    assert 0.1 < dark < 0.6
    assert 0 < clipped < 0.05
    assert 0.05 < np.median(scenes) < 0.3


def test_many_scenes_have_moderate_colours(scenes: np.ndarray) -> None:
    saturation = 1 - scenes.min(axis=-1) / np.maximum(scenes.max(axis=-1), 1e-6)
    assert 0.15 < np.median(saturation) < 0.6
    assert (saturation > 0.7).mean() > 0.01


def test_spectrum_falls_as_that_of_natural_pictures(scenes: np.ndarray) -> None:
    """Amplitude falls about as 1/f (Field 1987): log-log slope of the power between 4 and 64 cycles."""
    power = np.zeros((128, 128))
    window = np.hanning(128)[:, None] * np.hanning(128)[None, :]
    for scene in scenes:
        luminance = scene[:128, :128].mean(axis=-1)
        power += np.abs(np.fft.fft2((luminance - luminance.mean()) * window)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128) * 128, np.fft.fftfreq(128) * 128))
    rings = [4, 8, 16, 32]
    level = [power[(radius >= ring) & (radius < 1.3 * ring)].mean() for ring in rings]
    slope = np.polyfit(np.log(rings), np.log(level), 1)[0]
    assert -3.2 < slope < -1.2


def test_edges_are_not_aliased() -> None:
    """Little power sits near the sampling limit: a hard-edged picture fails this by far."""
    scene = make_scene(256, 256, np.random.default_rng(5)).mean(axis=-1)
    window = np.hanning(256)[:, None] * np.hanning(256)[None, :]

    def share_near_nyquist(picture: np.ndarray) -> float:
        power = np.abs(np.fft.fft2((picture - picture.mean()) * window)) ** 2
        rows, columns = np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij")
        return float(power[np.hypot(rows, columns) > 0.45].sum() / power.sum())

    hard_edged = (scene > np.median(scene)).astype(np.float64)
    assert share_near_nyquist(scene) < 0.2 * share_near_nyquist(hard_edged)


@pytest.mark.parametrize(
    ("seed", "size", "projection"),
    [
        (0, (192, 256), -2.109),
        (0, (131, 90), -22.146),
        (1, (192, 256), -110.196),
        (1, (131, 90), 51.216),
        (2, (192, 256), -73.500),
        (2, (131, 90), 0.427),
        (3, (192, 256), 67.600),
        (3, (131, 90), -0.251),
        (4, (192, 256), -56.150),
        (4, (131, 90), -1.297),
    ],
)
def test_scenes_stay_as_they_are(seed: int, size: tuple[int, int], projection: float) -> None:
    """On a random direction, where a change shows and another processor's rounding does not."""
    scene = make_scene(*size, np.random.default_rng(seed))
    direction = np.random.default_rng(99).standard_normal(scene.shape)
    assert float((scene * direction).sum()) == pytest.approx(projection, abs=0.01)
