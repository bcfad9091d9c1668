from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_raw
from hypothesis import given
from hypothesis import strategies as st
from test_noise import noisy, textured
from test_packing import mirrored
from torch import nn

from rawdenoise.capture.packing import find_clipped, pack, unpack
from rawdenoise.capture.raw import Camera, Exposure, RawImage
from rawdenoise.formats.output_levels import OutputLevels
from rawdenoise.inference.stages import Stage
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import Model, new_model
from rawdenoise.nets import NETS, build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.pipeline import denoise
from rawdenoise.quality.divergence import LocalDenoiser
from rawdenoise.quality.gain import ClaimedNoise, assess
from rawdenoise.quality.metrics import psnr
from rawdenoise.quality.picture_quality import Flag, PictureQuality
from rawdenoise.recipe import Recipe
from rawdenoise.refinement.removal import Removal
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture

ISO = 12800
CPU = Recipe()
FLAT = NoiseModel((1e-9,) * 4, (4e-4,) * 4)  # the same variance everywhere
ALL = np.ones((4, 128, 160), bool)

Denoiser = Callable[[np.ndarray], np.ndarray]


def box(planes: np.ndarray) -> np.ndarray:
    """The mean of 3x3: what it does to noise is known."""
    shifts = [np.roll(planes, (row, column), axis=(1, 2)) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    return np.stack(shifts).mean(axis=0, dtype=np.float32)


def waves(height: int = 128, width: int = 160) -> np.ndarray:
    """Smooth planes that go on at the other edge, as `box` does."""
    y, x = 2 * np.pi * np.arange(height)[:, None] / height, 2 * np.pi * np.arange(width) / width
    return np.stack([0.4 + 0.2 * np.sin((2 + p) * x) * np.cos(3 * y) for p in range(4)]).astype(np.float32)


def with_noise(clean: np.ndarray, noise: NoiseModel, seed: int = 0) -> np.ndarray:
    spread = np.sqrt(noise.variance(clean))
    return np.asarray(clean + spread * np.random.default_rng(seed).standard_normal(clean.shape), np.float32)


def local(denoiser: Denoiser) -> LocalDenoiser:
    return LocalDenoiser(denoiser, halo=8, multiple=1)


def judged(
    planes: np.ndarray,
    noise: NoiseModel,
    denoiser: Denoiser,
    *,
    valid: np.ndarray | None = None,
    variance_error: float = 0.01,
    doubted: bool = False,
    **written: Any,
) -> PictureQuality:
    claimed = ClaimedNoise(noise, variance_error, doubted)
    valid = np.ones(planes.shape, bool) if valid is None else valid
    quality = assess(planes, denoiser(planes), claimed, local(denoiser), valid=valid, **written)
    assert quality is not None
    return quality


def a_model(noise: NoiseModel, raw: RawImage) -> Model:
    """A model before its training: a mild blur."""
    torch.manual_seed(0)
    card = ModelCard(
        id="", camera=raw.camera, net=next(iter(NETS)), iso_range=(ISO, ISO),
        noise=(IsoNoise(ISO, noise, 1),), captures=(), objective="gr2r", options={}, seed=0, versions={},
        created="", figures={}, weights_sha256="",
    )  # fmt: skip
    return new_model(build_net(card.net), card)


def with_shares(model: Model, logit: float) -> Model:
    """A model that takes nearly all detail for noise, or nearly none."""
    net = copy.deepcopy(model.net)
    exit = net.backbone.exit
    assert isinstance(exit, nn.Conv2d)
    assert exit.bias is not None
    with torch.no_grad():
        exit.bias[: 3 * len(exit.bias) // 4] = logit
    return replace(model, net=net)


def simulated(seed: int = 0) -> tuple[RawImage, np.ndarray, NoiseModel]:
    """A capture without row noise, its clean planes, and its true noise."""
    camera = SIMULATED_IMX385.resize(512, 384)
    figures, span = replace(camera.noise[ISO], row_sigma=0.0), camera.white - camera.black
    camera = replace(camera, noise={ISO: figures})
    rng = np.random.default_rng(seed)
    scene = (0.4 * make_scene(384, 512, rng)).astype(np.float32)
    raw, clean = capture(scene, camera, ISO, rng)
    read = (figures.read_deviation**2 + 1 / 12) / span**2
    noise = NoiseModel((figures.gain / span,) * 4, (read,) * 4, step=1 / span)
    signal = (clean[raw.active.slices] - camera.black) / span
    planes = [signal[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return raw, np.stack(planes), noise


# ---------------------------------------------------------------- the number


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_the_risk_of_a_linear_denoiser_is_estimated_without_bias(strength: float) -> None:
    clean = waves(256, 320)
    bias = float(np.mean((box(clean) - clean) ** 2))
    left = (1 - strength + strength / 9) ** 2 + 8 * (strength / 9) ** 2
    risk = left * 4e-4 + strength**2 * bias
    found = [judged(with_noise(clean, FLAT, seed), FLAT, box, removal=Removal(strength)) for seed in range(4)]
    before, after = (
        np.mean([getattr(each, name) for each in found]) for name in ("psnr_before", "psnr_after")
    )
    assert before == pytest.approx(-10 * math.log10(4e-4), abs=0.01)
    assert after == pytest.approx(-10 * math.log10(risk), abs=0.12)
    assert found[0].divergence == pytest.approx(1 / 9, rel=0.05)


def test_the_same_picture_has_the_same_number() -> None:
    planes = with_noise(waves(), FLAT)
    assert judged(planes, FLAT, box) == judged(planes, FLAT, box)


def test_a_part_of_a_large_picture_is_enough() -> None:
    clean = waves(700, 1100)
    clean[:, 300:500, 200:600] += 0.1 * np.sign(np.sin(np.arange(400) * 1.1, dtype=np.float32))
    planes, asked = with_noise(clean, FLAT), 0

    def counted(part: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += part[0].size
        return box(part)

    once = box(planes)
    quality = assess(planes, once, ClaimedNoise(FLAT), local(counted), valid=np.ones(planes.shape, bool))
    assert asked < 0.35 * planes[0].size
    assert quality is not None
    true = psnr(once, clean) - psnr(planes, clean)
    assert quality.gain_db == pytest.approx(true, abs=0.1)
    assert quality.interval[0] < true < quality.interval[1]


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_gain_of_a_simulated_capture_is_told_without_its_clean_version(strength: float) -> None:
    raw, clean, noise = simulated()
    options = replace(CPU, strength=strength)
    result = denoise(raw, a_model(noise, raw), options)
    assert result.quality is not None
    valid = ~find_clipped(raw)
    before, after = (psnr(pack(each)[valid], clean[valid]) for each in (raw, result.image))
    assert after > before + 1
    assert result.quality.psnr_before == pytest.approx(before, abs=0.1)
    assert result.quality.psnr_after == pytest.approx(after, abs=0.15)
    assert result.quality.interval[0] < after - before < result.quality.interval[1]
    assert result.provenance.gain_db == result.quality.gain_db


def test_an_unsure_noise_model_makes_a_wide_interval() -> None:
    planes = with_noise(waves(), FLAT)
    widths = []
    for error in (0.0, 0.02, 0.1):
        low, high = judged(planes, FLAT, box, variance_error=error).interval
        widths.append(high - low)
    assert widths[0] < widths[1] < widths[2]


def test_rounding_counts_where_it_is_as_large_as_the_noise() -> None:
    planes = with_noise(waves(), FLAT)
    step = 0.04
    fine, coarse = (judged(planes, FLAT, box, rounding=each) for each in (0.0, step))
    added = 10 ** (-coarse.psnr_after / 10) - 10 ** (-fine.psnr_after / 10)
    assert added == pytest.approx(step**2 / 12, rel=1e-3)


@pytest.mark.parametrize(("rows", "columns"), [(False, True), (True, False), (True, True)])
def test_every_cfa_has_the_same_number(rows: bool, columns: bool) -> None:
    raw = make_raw(96, 128, exposure=Exposure(iso=ISO))
    raw = replace(raw, mosaic=(512 + 15871 * with_noise(waves(96, 128), FLAT)[0]).astype(np.uint16))
    model = a_model(FLAT, raw)
    straight = denoise(raw, model, CPU).quality
    assert straight is not None
    assert denoise(mirrored(raw, rows=rows, columns=columns), model, CPU).quality == straight


def test_clipped_pixels_have_no_say_and_a_picture_of_them_has_no_number() -> None:
    clean = waves()
    valid = ALL.copy()
    valid[:, :, :40] = False
    planes = with_noise(clean, FLAT)
    spoilt = planes.copy()
    spoilt[:, :, 1:39] = 1
    quality = judged(spoilt, FLAT, box, valid=valid)
    assert quality.gain_db == pytest.approx(judged(planes, FLAT, box).gain_db, abs=0.3)
    assert assess(planes, planes, ClaimedNoise(FLAT), local(box), valid=~ALL) is None

    white = make_raw(96, 128, mosaic=np.full((96, 128), 16383, np.uint16), exposure=Exposure(iso=ISO))
    assert denoise(white, a_model(FLAT, white), CPU).quality is None


def test_no_number_where_none_is_asked_for() -> None:
    raw = make_raw(96, 128, exposure=Exposure(iso=ISO))
    assert denoise(raw, a_model(FLAT, raw), replace(CPU, estimate=False)).quality is None
    assert denoise(raw, None, replace(CPU, strength=0)).quality is None


def test_defects_and_rows_do_not_spoil_the_number() -> None:
    raw, _, noise = simulated(3)
    model = a_model(noise, raw)
    rng = np.random.default_rng(0)
    hot = replace(raw, mosaic=raw.mosaic.copy())
    hot.mosaic.flat[rng.choice(raw.mosaic.size, 60, replace=False)] = 3500
    plain, spoilt = (denoise(each, model, CPU).quality for each in (raw, hot))
    assert plain is not None
    assert spoilt is not None
    assert spoilt.gain_db == pytest.approx(plain.gain_db, abs=0.1)


# ---------------------------------------------------------------- the flags


def test_nothing_is_flagged_where_all_is_well() -> None:
    quality = judged(with_noise(waves(256, 320), FLAT), FLAT, box)
    assert quality.flags == ()
    assert quality.fit == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_noise_model_that_does_not_fit_is_flagged(factor: float) -> None:
    wrong = NoiseModel((1e-9,) * 4, (factor * 4e-4,) * 4)
    quality = judged(with_noise(waves(256, 320), FLAT), wrong, box)
    assert quality.flags == (Flag.NOISE,)
    assert quality.fit == pytest.approx(1 / factor, rel=0.1)


def test_a_noise_model_that_fits_on_average_only_is_flagged() -> None:
    across = 0.46 + 0.44 * np.cos(2 * np.pi * np.arange(320, dtype=np.float32) / 320)
    clean = np.broadcast_to(across, (4, 256, 320))
    shot = NoiseModel((1e-3,) * 4, (1e-5,) * 4)
    evenly = NoiseModel((1e-9,) * 4, (4.7e-4,) * 4)
    planes = with_noise(clean, shot)
    assert judged(planes, shot, box).flags == ()
    quality = judged(planes, evenly, box)
    assert quality.chi2 + quality.divergence == pytest.approx(1, abs=0.1)
    assert Flag.NOISE in quality.flags


def test_a_network_that_smooths_structure_away_is_flagged() -> None:
    raw, clean, noise = simulated(1)
    model = with_shares(a_model(noise, raw), 8)
    result = denoise(raw, model, CPU)
    assert result.quality is not None
    assert Flag.STRUCTURE in result.quality.flags
    result = replace(denoise(raw, model, replace(CPU, estimate=False)), quality=result.quality)
    worse = psnr(pack(result.image), clean) < psnr(pack(raw), clean)
    assert (Flag.OVERSMOOTHED in result.quality.flags) == worse


def test_a_network_that_takes_away_nothing_is_flagged() -> None:
    raw, _, noise = simulated(1)
    quality = denoise(raw, with_shares(a_model(noise, raw), -5), CPU).quality
    assert quality is not None
    assert quality.flags == (Flag.COLLAPSED,)
    assert quality.gain_db == pytest.approx(0, abs=0.5)


def test_noise_that_is_many_times_the_model_s_is_flagged_though_structure_is_taken_away() -> None:
    planes = waves(256, 320)
    planes[:, 96:160, 96:224] += 0.2 * np.sign(np.sin(np.arange(128) * 1.1, dtype=np.float32))
    noisy = with_noise(planes, FLAT)
    quality = judged(noisy, NoiseModel((1e-9,) * 4, (4e-7,) * 4), box)
    assert set(quality.flags) >= {Flag.NOISE, Flag.STRUCTURE}


def test_nothing_is_told_where_the_noise_is_not_known() -> None:
    planes = with_noise(waves(256, 320), FLAT)
    five_times = NoiseModel((1e-9,) * 4, (0.2 * 4e-4,) * 4)
    quality = judged(planes, five_times, box)
    assert (quality.told, quality.loses, quality.flags) == (False, False, (Flag.NOISE,))
    doubted = judged(planes, FLAT, box, doubted=True)
    assert (doubted.told, doubted.loses, doubted.flags) == (False, False, (Flag.NOISE,))
    assert judged(planes, FLAT, box).told


# ---------------------------------------------------------------- what is no picture


def is_sane(quality: PictureQuality | None) -> bool:
    if quality is None:
        return True
    figures = (
        quality.psnr_before, quality.psnr_after, *quality.interval, quality.chi2, quality.divergence,
        quality.fit, quality.level_fit, quality.structure, quality.correlation,
    )  # fmt: skip
    low, high = quality.interval
    return all(math.isfinite(each) for each in figures) and low <= quality.gain_db <= high


SPOILT = st.sampled_from([0.0, 1.0, -1.0, 1e30, -1e30, math.nan, math.inf, -math.inf])


@given(
    shape=st.sampled_from([(1, 1), (2, 2), (8, 9), (16, 128), (72, 64)]),
    level=st.sampled_from([-0.01, 0.0, 1e-6, 0.3, 1.0]),
    spread=st.sampled_from([0.0, 1e-3, 0.1]),
    bad=SPOILT,
    share=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    where=st.sampled_from(["planes", "clean", "probe", "plane"]),
    noise=st.sampled_from([1e-12, 1e-4, 1.0, math.nan, math.inf, 0.0]),
    strength=st.sampled_from([0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_whatever_comes_there_is_a_number_or_none(
    shape: tuple[int, int], level: float, spread: float, bad: float, share: float, where: str, noise: float,
    strength: float, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)

    def spoil(planes: np.ndarray) -> np.ndarray:
        return np.where(rng.random(planes.shape) < share, np.float32(bad), planes).astype(np.float32)

    planes = (level + spread * rng.standard_normal((4, *shape))).astype(np.float32)
    if where == "planes":
        planes = spoil(planes)
    elif where == "plane":
        planes[seed % 4] = bad
    with np.errstate(all="ignore"):
        clean = spoil(box(planes)) if where == "clean" else box(planes)

    def denoiser(part: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return spoil(box(part)) if where == "probe" else box(part)

    quality = assess(
        planes, clean, ClaimedNoise(NoiseModel((noise,) * 4, (noise,) * 4), 0.1), local(denoiser),
        valid=np.ones(planes.shape, bool), removal=Removal(strength), rounding=1e-4,
    )  # fmt: skip
    assert is_sane(quality), quality


def test_a_denoiser_that_answers_backwards_is_judged_too() -> None:
    planes = with_noise(waves(), FLAT)
    backwards = local(lambda part: -3 * part)
    quality = assess(planes, -3 * planes, ClaimedNoise(FLAT), backwards, valid=ALL, removal=Removal(0.1))
    assert is_sane(quality)


# ---------------------------------------------------------------- what follows from it


def test_a_picture_that_would_lose_is_left_as_it_was() -> None:
    raw, _, noise = simulated(5)
    model = with_shares(a_model(noise, raw), 8)
    result = denoise(raw, model, CPU)
    assert result.quality is not None
    assert result.quality.loses
    assert result.left == f"estimated to lose {-result.quality.gain_db:.1f} dB"
    assert np.array_equal(result.image.mosaic, raw.mosaic)
    assert (result.provenance.strength, result.provenance.gain_db) == (0, None)
    assert (result.provenance.method, result.provenance.model_id) == ("left-as-it-was", model.card.id)
    fine = denoise(raw, model, replace(CPU, levels=OutputLevels.FINE))
    assert np.array_equal(fine.image.mosaic, raw.mosaic * np.uint16(16))
    unjudged = denoise(raw, model, replace(CPU, estimate=False))
    assert unjudged.left == ""
    assert not np.array_equal(unjudged.image.mosaic, raw.mosaic)


def test_a_picture_whose_noise_cannot_be_told_from_texture_is_left_as_it_was() -> None:
    clean = textured(3, 0.1, 0)
    raw = make_raw(240, 320, camera=Camera("Nobody", "Knows"))
    planes = noisy(clean, 4 / 15871, (6 / 15871) ** 2)
    raw = unpack(planes, raw, saturation=math.inf)
    result = denoise(raw, load_bundled("fast"), CPU)
    assert result.left == "its noise cannot be told from its texture"
    assert result.quality is not None
    assert not result.quality.told
    assert Flag.NOISE in result.quality.flags
    assert np.array_equal(result.image.mosaic, raw.mosaic)
    assert denoise(raw, load_bundled("fast"), replace(CPU, estimate=False)).notes == (result.left,)


@given(st.floats(0.0, 0.99), st.floats(-9.0, -0.01))
def test_the_safe_strength_is_the_best_for_the_worst_that_may_be(common: float, lowest: float) -> None:
    quality = PictureQuality(40.0, 41.0, (lowest, 3.0), (), 0.5, common, 1.0, 1.0, 1.0, 0.0)
    worst = 10 ** (-lowest / 10)

    def left(strength: float) -> float:
        return (1 - strength) ** 2 + 2 * strength * (1 - strength) * common + strength**2 * worst

    safe = quality.safe_strength
    assert 0 < safe < 1
    assert left(safe) < 1
    assert all(left(safe) <= left(other) + 1e-9 for other in np.linspace(0, 1, 21))
    assert replace(quality, interval=(0.0, 3.0)).safe_strength == 1


def test_what_might_become_worse_is_done_at_a_safe_strength_and_that_is_said() -> None:
    raw, _, noise = simulated()
    judged: list[float] = []

    def hear(stage: Stage, share: float) -> None:
        judged.extend([share] if stage is Stage.JUDGE else [])

    result = denoise(raw, a_model(noise, raw), CPU, on_stage=hear)
    assert judged == sorted(set(judged))  # it is looked at once, whatever comes of it
    unjudged = denoise(raw, a_model(noise, raw), replace(CPU, estimate=False))
    assert unjudged.provenance.strength == 1
    assert 0 < result.provenance.strength < 1
    (note,) = (note for note in result.notes if "strength" in note)
    assert f"{result.provenance.strength:.2f}" in note
    asked = denoise(raw, a_model(noise, raw), replace(CPU, strength=0.5))  # who asks for less, gets that
    assert asked.provenance.strength == 0.5
