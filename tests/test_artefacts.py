from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import make_raw

from rawdenoise.noise.artefacts import remove_artefacts, sample_sound_pixels
from rawdenoise.noise.estimate import sample_noise
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.training import tile_building
from rawdenoise.training.captures import Capture, CaptureSet
from rawdenoise.training.tile_building import build_store

ROW_SIGMA = 1e-3
NOISE = NoiseModel((4e-4,) * 4, (9e-6,) * 4, row_variance=ROW_SIGMA**2)


def dim(height: int, width: int) -> np.ndarray:
    """Planes of a dim flat field, row noise on them."""
    rng = np.random.default_rng(0)
    rows = ROW_SIGMA * rng.standard_normal((2, height, 1)).repeat(2, axis=0)
    pixels = rng.normal(0.01, np.sqrt(4e-6 + 9e-6), (4, height, width))
    return (pixels + rows).astype(np.float32)


def test_defects_and_row_noise_go_and_say_where_they_were() -> None:
    planes = dim(128, 800)
    planes[1, 30, 40] += 0.2
    planes[2, 60, 70] = planes[2, 80, 90] = 1.0
    known = np.zeros(planes.shape, bool)
    known[3, 5, 6] = known[2, 60, 70] = True
    sound = remove_artefacts(planes, NOISE, valid=planes < 1, known=known)
    assert np.argwhere(sound.defects).tolist() == [[1, 30, 40], [2, 60, 70], [3, 5, 6]]
    assert abs(sound.planes[1, 30, 40] - 0.01) < 0.01
    assert abs(sound.planes[2, 60, 70] - 0.01) < 0.02  # known for it, saturated or not
    assert abs(sound.planes[2, 80, 90] - 1.0) < 5 * ROW_SIGMA  # saturated: left alone
    rows, before = (each[0].mean(axis=1).std() for each in (sound.planes, planes))
    assert rows < 0.6 * before
    taken = planes - sound.planes
    assert np.abs(taken[0] - sound.offsets[0][:, None]).max() < 1e-6


def test_statistics_leave_hot_pixels_out() -> None:
    rng = np.random.default_rng(0)
    signal = np.linspace(0, 0.05, 600, dtype=np.float32)
    planes = signal + rng.standard_normal((4, 400, 600)) * np.sqrt(4e-4 * signal + 1e-6)
    hot = rng.random(planes.shape) < 1e-3
    spoilt = (planes + hot * rng.uniform(0.02, 0.1, planes.shape)).astype(np.float32)
    everywhere = np.ones(planes.shape, bool)
    grey = np.full((4, 1, 1), 0.02, np.float32)
    truth = 4e-4 * 0.02 + 1e-6
    plain = fit_noise([sample_noise(spoilt, valid=everywhere)]).variance(grey)
    sound = fit_noise([sample_sound_pixels(spoilt, valid=everywhere)]).variance(grey)
    assert plain.mean() > 1.1 * truth
    np.testing.assert_allclose(sound, truth, rtol=0.05)


def test_training_sees_neither_and_learns_from_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mosaic = np.rint(512 + 15871 * dim(256, 256)[0]).astype(np.uint16)
    mosaic[100, 101] = 9000
    raw = make_raw(256, 256, mosaic=mosaic)
    monkeypatch.setattr(tile_building, "read_isolated", lambda path, layout: raw)
    group = CaptureSet(raw.camera, (Capture(tmp_path / "a.dng", "0", 800),))
    store = build_store(group, tmp_path / "tiles", seed=0)
    file = store.folder / store.tiles[0].file
    tile, valid = np.load(file)[0], np.load(file.with_suffix(".valid.npy"))[0]
    assert np.argwhere(~valid).tolist() == [[100, 101]]
    assert abs(tile[100, 101] - 0.01) < 0.02
