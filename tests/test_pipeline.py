from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_raw
from test_packing import mirrored
from torch import nn

from rawdenoise import __version__
from rawdenoise.app.stores import user_stores
from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import Camera, Cfa, Exposure, RawImage
from rawdenoise.errors import ModelMissingError
from rawdenoise.inference.tiling import Tiles
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import Model, new_model
from rawdenoise.nets import NETS, build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.profile import CameraProfile, KnownDefects, MeasurementMethod, ProfilePoint
from rawdenoise.pipeline import _ask_for_less, denoise, denoise_planes, find_known_defects, find_noise
from rawdenoise.recipe import Recipe
from rawdenoise.refinement.removal import Removal, blend

NOISE = NoiseModel((2e-3,) * 4, (1e-5,) * 4)


def a_model(name: str = "fast", *, seed: int = 0) -> Model:
    """A model that does something, though nothing sensible."""
    torch.manual_seed(seed)
    net = build_net(name)
    nn.init.normal_(net.backbone.exit.weight, std=0.05)
    card = ModelCard(
        id="", camera=make_raw().camera, net=name, iso_range=(800, 800), noise=(IsoNoise(800, NOISE, 1),),
        captures=(), objective="gr2r", options={}, seed=seed, versions={}, created="", figures={},
        weights_sha256="",
    )  # fmt: skip
    return new_model(net, card)


def noisy(height: int, width: int, **more: object) -> RawImage:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / max(height, width)
    signal = 0.3 + 0.25 * np.sin(7 * x) * np.cos(5 * y)
    dn = 512 + 15871 * (signal + rng.standard_normal((height, width)) * np.sqrt(2e-3 * signal + 1e-5))
    mosaic = np.clip(np.rint(dn), 0, 16383).astype(np.uint16)
    return make_raw(height, width, mosaic=mosaic, exposure=Exposure(iso=800), **more)


def published(noise: NoiseModel) -> ProfilePoint:
    """A point of a profile for the levels of the test camera."""
    (gain, *_), (read, *_) = noise.shot, noise.read_variance
    return ProfilePoint(
        800, (15871 * gain,) * 4, (15871 * read**0.5,) * 4, (512.0,) * 4, 16383.0,
        MeasurementMethod.PUBLISHED, source="a test",
    )  # fmt: skip


def test_strength_zero_is_the_input_and_needs_no_model() -> None:
    raw = noisy(64, 64)
    result = denoise(raw, None, Recipe(strength=0))
    assert np.array_equal(result.image.mosaic, raw.mosaic)
    assert result.provenance.strength == 0
    with pytest.raises(ModelMissingError):
        denoise(raw, None)


def test_what_was_done_is_said_whole() -> None:
    model = a_model()
    result = denoise(noisy(200, 200), model, Recipe(strength=0.4))
    said = result.provenance
    assert (said.version, said.method, said.strength) == (__version__, "gr2r", 0.4)
    assert (said.model_id, said.model_digest) == (model.card.id, model.card.weights_sha256)
    assert result.quality is not None
    assert said.gain_db == result.quality.gain_db


@pytest.mark.parametrize(("rows", "columns"), [(False, True), (True, False), (True, True)])
def test_a_mirrored_mosaic_is_denoised_alike(rows: bool, columns: bool) -> None:
    raw, model = noisy(90, 134), a_model()
    options = Recipe()
    there = denoise(mirrored(raw, rows=rows, columns=columns), model, options).image
    back = mirrored(there, rows=rows, columns=columns).mosaic
    straight = denoise(raw, model, options).image.mosaic
    assert not np.array_equal(straight, raw.mosaic)
    assert np.abs(back.astype(int) - straight).max() <= 1


@pytest.mark.parametrize("name", NETS)
def test_tiles_change_nothing_measurable(name: str) -> None:
    model, raw = a_model(name), noisy(420, 560)
    planes = pack(raw)
    whole = denoise_planes(planes, NOISE, model, tile=4096)
    tiled = denoise_planes(planes, NOISE, model, tile=96)
    assert np.abs(whole - planes).max() > 1e-3
    assert np.abs(whole - tiled).max() < 1e-5


def test_strength_mixes_what_was_and_what_came_out() -> None:
    rng = np.random.default_rng(0)
    planes, clean = rng.random((2, 4, 8, 8), np.float32)
    np.testing.assert_allclose(blend(planes, clean, Removal(0.25)), 0.75 * planes + 0.25 * clean, atol=1e-6)
    assert np.array_equal(blend(planes, clean, Removal()), clean)


def test_the_noise_is_the_model_s_at_its_isos_and_the_capture_s_own_elsewhere() -> None:
    raw, model = noisy(400, 400), a_model()
    assert find_noise(raw, pack(raw), model) == NOISE
    stranger = replace(raw, camera=replace(raw.camera, model="Test Two"))
    assert find_noise(stranger, pack(stranger), model) != NOISE
    elsewhere = replace(raw, exposure=Exposure(iso=3200))
    estimated = find_noise(elsewhere, pack(elsewhere), model)
    assert estimated != NOISE
    grey = np.full((4, 1, 1), 0.3, np.float32)
    np.testing.assert_allclose(estimated.variance(grey), NOISE.variance(grey), rtol=0.2)


def test_a_capture_that_names_no_camera_has_the_noise_of_the_chosen_model_s() -> None:
    bench = Camera(model="Bench camera", mode="test")
    raw = replace(noisy(96, 120), camera=Camera(mode="test"), exposure=Exposure())
    card = replace(a_model().card, camera=bench, noise=(IsoNoise(None, NOISE, 1),))
    model = replace(a_model(), card=card)
    assert find_noise(raw, pack(raw), model) == NOISE
    assert find_noise(replace(raw, camera=Camera(mode="other")), pack(raw), model) != NOISE

    measured = NoiseModel((3e-3,) * 4, (2e-5,) * 4)
    known = KnownDefects("", (120, 96), hot=((40, 51),))
    user_stores().profiles.save(CameraProfile(bench, (replace(published(measured), iso=None),), known))
    profiles = user_stores().profiles
    assert find_noise(raw, pack(raw), model, profiles).shot == pytest.approx(measured.shot)

    raw.mosaic[40, 51] += 300  # too little to be found without the profile
    kept, gone = (
        denoise(raw, model, Recipe(keep_hot_pixels=keep), profiles=profiles).image for keep in (True, False)
    )
    assert kept.mosaic[40, 51] == raw.mosaic[40, 51]
    assert gone.mosaic[40, 51] != raw.mosaic[40, 51]
    assert gone.camera == raw.camera


@pytest.mark.parametrize("cfa", list(Cfa))
def test_margins_of_any_parity_stay_as_they_are(cfa: Cfa) -> None:
    raw = make_raw(64, 66, cfa=cfa, margins=(3, 5, 1, 2), seed=4, exposure=Exposure(iso=800))
    out = denoise(raw, a_model(), Recipe(estimate=False)).image
    margin = np.ones(raw.mosaic.shape, bool)
    margin[raw.active.slices] = False
    assert np.array_equal(out.mosaic[margin], raw.mosaic[margin])
    assert not np.array_equal(out.mosaic, raw.mosaic)
    assert (out.cfa, out.active, out.levels) == (raw.cfa, raw.active, raw.levels)


def test_hot_pixels_go_unless_they_are_to_be_kept() -> None:
    raw = noisy(96, 120)
    raw.mosaic[40, 51] = 14000
    options = Recipe()
    model = a_model()
    result, kept = (
        denoise(raw, model, replace(options, keep_hot_pixels=keep)).image.mosaic for keep in (False, True)
    )
    assert kept[40, 51] == raw.mosaic[40, 51]
    neighbours = raw.mosaic[38:43:2, 49:54:2]
    assert abs(int(result[40, 51]) - np.median(neighbours)) < 2000
    assert np.argwhere(result != kept).tolist() == [[40, 51]]
    unspoilt = denoise(replace(raw, mosaic=noisy(96, 120).mosaic), model, options).image.mosaic
    assert np.abs(np.delete(unspoilt.astype(int) - result, 40, axis=0)).max() < 150  # not smeared


def test_defects_that_a_calibration_knows_are_repaired_on_that_body_only() -> None:
    raw = noisy(96, 120)
    body = replace(raw, camera=replace(raw.camera, serial="7"))
    known = KnownDefects("7", (120, 96), hot=((40, 51),), dead=((10, 10),))
    profile = CameraProfile(replace(raw.camera, mode=""), (published(NOISE),), known)
    profiles = user_stores().profiles
    assert find_known_defects(body, profiles) is None
    profiles.save(profile)
    found = find_known_defects(body, profiles)
    assert found is not None
    assert np.argwhere(found).tolist() == [[0, 5, 5], [1, 20, 25]]
    assert find_known_defects(raw, profiles) is None


def test_row_noise_goes_unless_it_is_to_be_kept() -> None:
    row_sigma = 2e-3
    rows = (row_sigma * 15871 * np.random.default_rng(3).standard_normal(256)).round()
    plain = noisy(256, 600)
    raw = replace(plain, mosaic=(plain.mosaic + rows[:, None]).astype(np.uint16))
    card = replace(a_model().card, noise=(IsoNoise(800, replace(NOISE, row_variance=row_sigma**2), 1),))
    model, options = replace(a_model(), card=card), Recipe()
    result, kept = (
        denoise(raw, model, replace(options, keep_row_noise=keep)).image.mosaic.astype(float)
        for keep in (False, True)
    )
    found = np.median(kept - result, axis=1)
    assert np.mean((found - rows) ** 2) < 0.5 * np.mean(rows**2)
    assert np.abs(kept - result - found[:, None]).max() <= 1


def test_a_gpu_out_of_memory_gets_smaller_tiles_and_at_last_the_cpu_does_it() -> None:
    device, tiles, tried = torch.device("cuda"), Tiles(), []
    while device.type != "cpu":
        tried.append(tiles.size)
        device, tiles = _ask_for_less(device, tiles)
    assert tried == [512, 256, 128]
    assert tiles == Tiles()


def test_memory_that_the_cpu_has_not_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def denoise_tiled(*arguments: object, **more: object) -> None:
        raise torch.cuda.OutOfMemoryError("no memory")

    monkeypatch.setattr("rawdenoise.pipeline.denoise_tiled", denoise_tiled)
    noise = NoiseModel((1e-3,) * 4, (1e-5,) * 4)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        denoise_planes(np.zeros((4, 32, 32), np.float32), noise, load_bundled("fast"))
