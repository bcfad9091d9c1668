from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_raw
from hypothesis import given
from hypothesis import strategies as st
from test_quality import ALL, FLAT, box, local, waves, with_noise

from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.capture.raw import Color, Exposure
from rawdenoise.models.bundled import load_bundled
from rawdenoise.noise.artefacts import remove_artefacts
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.pipeline import denoise, denoise_planes
from rawdenoise.quality.gain import ClaimedNoise, assess
from rawdenoise.quality.metrics import psnr
from rawdenoise.recipe import Recipe
from rawdenoise.refinement.levels import add_levels, average_levels, find_levels, find_lost_levels
from rawdenoise.refinement.points import give_back_points
from rawdenoise.refinement.refine import refine
from rawdenoise.refinement.removal import Removal
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.stars import scatter_stars

SPAN = 15871.0
CAMERAS = [(0.1, 1.2), (1.0, 3.0), (8.0, 10.0), (30.0, 40.0)]  # DN per electron, DN of read noise


def camera_noise(gain: float, read: float) -> NoiseModel:
    return NoiseModel((gain / SPAN,) * 4, ((read**2 + 1 / 12) / SPAN**2,) * 4)


def exposed(electrons: np.ndarray, gain: float, read: float, seed: int = 0) -> np.ndarray:
    """Take a mosaic or planes; packed scale."""
    rng = np.random.default_rng(seed)
    taken = gain * rng.poisson(electrons) + read * rng.standard_normal(electrons.shape)
    return np.asarray(np.minimum(np.rint(taken), SPAN) / SPAN, np.float32)


def packed(mosaic: np.ndarray) -> np.ndarray:
    return np.stack([mosaic[row::2, column::2] for row in (0, 1) for column in (0, 1)])


def unpacked(planes: np.ndarray) -> np.ndarray:
    mosaic = np.empty((2 * planes.shape[1], 2 * planes.shape[2]), planes.dtype)
    for plane, (row, column) in zip(planes, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        mosaic[row::2, column::2] = plane
    return mosaic


def textured(height: int = 256, width: int = 384, seed: int = 0) -> np.ndarray:
    """Planes of a drawn scene with fine texture all over it."""
    rng = np.random.default_rng(seed)
    scene = 0.5 * make_scene(2 * height, 2 * width, rng)
    scene *= np.exp(0.25 * rng.standard_normal(scene.shape[:2]))[..., None]
    sites = (((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((1, 1), 2))
    return np.stack([scene[row::2, column::2, color] for (row, column), color in sites]).clip(0, 0.9)


def block_means(values: np.ndarray, side: int = 64) -> np.ndarray:
    height, width = (length // side * side for length in values.shape[1:])
    parts = values[:, :height, :width].reshape(4, height // side, side, width // side, side)
    return np.asarray(parts.mean(axis=(2, 4), dtype=np.float64))


# ---------------------------------------------------------------- levels


@pytest.mark.parametrize(("gain", "read"), CAMERAS)
def test_means_stay_on_texture_at_every_iso(gain: float, read: float) -> None:
    clean = textured()
    noise = camera_noise(gain, read)
    planes = exposed(clean * SPAN / gain, gain, read)
    valid = planes < 1
    answer = denoise_planes(planes, noise, load_bundled("fast"), device="cpu")
    result = answer.copy()
    refine(planes, result, noise, valid=valid)
    allowed = 3 * np.sqrt(block_means(noise.variance(clean.astype(np.float32)))) / 64 + 0.02 / SPAN
    shift = np.abs(block_means(result - planes))
    assert (shift <= allowed).all()
    assert np.abs(block_means(answer - planes)).max() > shift.max()
    colours = result.mean(axis=(1, 2)) / planes.mean(axis=(1, 2))
    assert np.abs(colours - 1).max() < 5e-4
    assert psnr(result, clean.astype(np.float32)) > psnr(answer, clean.astype(np.float32)) - 0.005


def test_levels_are_the_gaussian_that_they_say() -> None:
    height, width = 160, 200
    y, x = np.mgrid[:height, :width]
    kernel = np.exp(-((y - 81) ** 2 + (x - 98) ** 2) / 2 / 8.0**2)
    values = np.zeros((4, height, width), np.float32)
    values[:, 81, 98] = 1
    np.testing.assert_allclose(
        average_levels(values, np.ones(values.shape, bool))[2], kernel / kernel.sum(), atol=2.5e-4
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 64), (64, 65), (203, 118)])
def test_a_constant_loss_comes_back_at_edges_and_in_any_size(shape: tuple[int, int]) -> None:
    planes = np.full((4, *shape), 0.3, np.float32)
    clean = planes - np.float32(1e-3)
    noise = camera_noise(8, 10)
    valid = np.ones(planes.shape, bool)
    levels = find_lost_levels(planes, clean, noise, valid=valid)
    add_levels(clean, levels)
    few = min(1.0, shape[0] * shape[1] / 20)
    assert (np.abs(clean - planes) <= 1e-3 * (1 - few) + 1e-6).all()


def test_what_is_found_in_a_window_is_what_is_found_in_all() -> None:
    cells = np.random.default_rng(0).random((4, 9, 12), np.float32)
    whole = find_levels(cells, slice(0, 35), slice(0, 46))
    for rows, columns in (
        (slice(3, 20), slice(8, 46)),
        (slice(34, 35), slice(0, 1)),
        (slice(0, 35), slice(5, 7)),
    ):
        np.testing.assert_allclose(find_levels(cells, rows, columns), whole[:, rows, columns], rtol=1e-6)


def test_a_hot_pixel_that_nobody_knew_of_does_not_shine() -> None:
    planes = with_noise(waves(), FLAT)
    clean = box(planes)
    quiet = clean.copy()
    planes[1, 60, 70] += 0.9
    refine(planes, clean, FLAT, valid=ALL)
    planes[1, 60, 70] -= 0.9
    refine(planes, quiet, FLAT, valid=ALL)
    assert np.abs(clean - quiet).max() < 1e-3


@given(
    shape=st.sampled_from([(1, 1), (2, 2), (9, 9), (16, 128), (72, 64)]),
    bad=st.sampled_from([0.0, 1.0, -1.0, 1e30, math.nan, math.inf, -math.inf]),
    share=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    valid=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_what_is_no_number_spoils_nothing_else(
    shape: tuple[int, int], bad: float, share: float, valid: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    planes, clean = rng.random((2, 4, *shape), np.float32)
    spoilt = rng.random(planes.shape) < share
    clean[spoilt] = bad
    with np.errstate(all="ignore"):
        refine(planes, clean, camera_noise(8, 10), valid=rng.random(planes.shape) < valid)
    assert np.isfinite(clean[~spoilt]).all()


# ---------------------------------------------------------------- the judge


def test_the_judge_follows_what_was_given_back() -> None:
    clean = waves(256, 320)
    clean[:, 100:150] *= 1 + 0.2 * np.sign(np.sin(np.arange(320) * 1.1, dtype=np.float32))
    gains = []
    for seed in range(3):
        planes = with_noise(clean, FLAT, seed)
        result = box(planes)
        answer = result.copy()
        refinement = refine(planes, result, FLAT, valid=np.ones(planes.shape, bool))
        rows, columns = slice(8, 90), slice(31, 300)
        np.testing.assert_allclose(
            refinement.find_answer(result, rows, columns), answer[:, rows, columns], atol=1e-6
        )
        quality = assess(
            planes, result, ClaimedNoise(FLAT), local(box), valid=np.ones(planes.shape, bool),
            refinement=refinement,
        )  # fmt: skip
        assert quality is not None
        gains.append(quality.gain_db - psnr(result, clean) + psnr(planes, clean))
    assert np.mean(gains) == pytest.approx(0, abs=0.05)


def test_the_divergence_of_what_is_given_back_is_known() -> None:
    """A denoiser that answers with nothing: all that is left of the noise is what comes back."""
    planes = with_noise(np.zeros((4, 256, 320), np.float32), FLAT)
    result = np.zeros_like(planes)
    refinement = refine(planes, result, FLAT, valid=np.ones(planes.shape, bool))
    quality = assess(
        planes, result, ClaimedNoise(FLAT), local(np.zeros_like), valid=np.ones(planes.shape, bool),
        refinement=refinement,
    )  # fmt: skip
    assert quality is not None
    assert quality.divergence == pytest.approx(1 / (2 * math.pi * 64), rel=0.25)


# ---------------------------------------------------------------- points


@pytest.mark.parametrize(("gain", "read", "level"), [(0.25, 2, 20), (1, 3, 10), (8, 10, 3), (30, 40, 1.5)])
def test_stars_keep_their_flux_and_their_peak(gain: float, read: float, level: float) -> None:
    rng = np.random.default_rng(1)
    electrons, places = scatter_stars(480, 480, sky=level, full=SPAN / gain, rng=rng)
    noise = camera_noise(gain, read)
    mosaic = exposed(electrons, gain, read)
    planes = packed(mosaic)
    sound = remove_artefacts(planes, noise, valid=planes < 1)
    assert not sound.defects.any()
    clean = denoise_planes(sound.planes, noise, load_bundled("fast"), device="cpu")
    refine(sound.planes, clean, noise, valid=planes < 1)
    true, result = electrons * gain / SPAN, unpacked(clean)
    variance = noise.variance(packed(true.astype(np.float32)))
    deviation, lost = unpacked(np.sqrt(variance)), []
    for row, column in places:
        window = np.s_[row - 8 : row + 9, column - 8 : column + 9]
        above = true[window] - level * gain / SPAN
        brightest = np.unravel_index(above.argmax(), above.shape)
        peak, sigma = above[brightest], deviation[window][brightest]
        flux, error = above.sum(), math.sqrt(float(np.square(deviation[window]).sum()))
        if peak < 8 * sigma:
            continue
        assert abs((result - mosaic)[window].sum()) <= 0.03 * flux + 3 * error
        assert abs(result[window][brightest] - true[window][brightest]) <= 0.1 * peak + 3 * sigma
        lost.append((result[window][brightest] - true[window][brightest]) / peak)
    assert len(lost) > 30
    assert abs(np.mean(lost)) < 0.02  # and on average nothing is taken


def test_no_hot_pixel_is_a_star() -> None:
    noise, rng = camera_noise(8, 10), np.random.default_rng(0)
    planes = packed(exposed(np.full((600, 800), 20.0), 8, 10))
    level = np.full(planes.shape, 20 * 8 / SPAN, np.float32)
    hot = rng.random(planes.shape) < 2e-4
    planes[hot] += rng.uniform(0.02, 0.9, hot.sum()).astype(np.float32)
    assert give_back_points(planes, level.copy(), noise, valid=np.ones(planes.shape, bool)) is None


@pytest.mark.parametrize("factor", [1.0, 0.64])
@pytest.mark.parametrize(("gain", "read", "level"), [(1, 3, 20), (8, 10, 1), (30, 5, 0.1), (30, 40, 30)])
def test_no_noise_is_a_star(gain: float, read: float, level: float, factor: float) -> None:
    """Nor where the noise is more than the model says."""
    planes = exposed(np.full((4, 600, 800), float(level)), gain, read)
    true = camera_noise(gain, read)
    claimed = NoiseModel((factor * true.shot[0],) * 4, (factor * true.read_variance[0],) * 4)
    answer = np.full(planes.shape, level * gain / SPAN, np.float32)
    assert give_back_points(planes, answer, claimed, valid=np.ones(planes.shape, bool)) is None


# ---------------------------------------------------------------- luminance and colour


def test_an_even_removal_knows_no_colour() -> None:
    residual = np.random.default_rng(0).random((4, 8, 9), np.float32)
    for even in (Removal(0.7), Removal(0.7, 0.7, (0.5, 0.6))):
        np.testing.assert_allclose(even.take(residual), 0.7 * residual, rtol=1e-6)


def test_grain_of_a_grey_stays_grey() -> None:
    """Where what is taken away of luminance is nothing, and of colour all, red and blue follow green."""
    rng = np.random.default_rng(0)
    residual = rng.standard_normal((4, 20, 24)).astype(np.float32)
    left = residual - Removal(0.0, 1.0, (0.5, 0.8)).take(residual)
    assert np.array_equal(left[1:3], residual[1:3])
    mosaic = unpacked(left)
    for row, column, neutral in ((4, 6, 0.5), (5, 7, 0.8), (20, 20, 0.5)):
        beside = mosaic[[row - 1, row + 1, row, row], [column, column, column - 1, column + 1]]
        assert mosaic[row, column] == pytest.approx(neutral * beside.mean(), rel=1e-5)


def test_the_noise_that_is_left_is_known() -> None:
    noise = NoiseModel((2e-4, 1e-4, 1e-4, 3e-4), (1e-6, 2e-6, 2e-6, 3e-6))
    removal = Removal(0.8, 1.0, (0.5, 0.7))
    grey = np.broadcast_to(np.array([0.25, 0.5, 0.5, 0.35], np.float32)[:, None, None], (4, 400, 500))
    residual = with_noise(grey, noise) - grey
    left = (residual - removal.take(residual)).var(axis=(1, 2))
    said = [
        shot * level + read for (shot, read), level in zip(removal.leave(noise), grey[:, 0, 0], strict=True)
    ]
    np.testing.assert_allclose(left, said, rtol=0.03)


@pytest.mark.parametrize("strengths", [(0.8, 1.0), (0.3, 0.9), (1.0, 0.5), (0.0, 1.0)])
def test_the_gain_at_two_strengths_is_told(strengths: tuple[float, float]) -> None:
    clean = waves(256, 320)
    removal = Removal(*strengths, neutral=(0.6, 0.7))
    planes = with_noise(clean, FLAT)
    result = box(planes)
    refinement = refine(planes, result, FLAT, valid=np.ones(planes.shape, bool))
    quality = assess(
        planes, result, ClaimedNoise(FLAT), local(box), valid=np.ones(planes.shape, bool),
        refinement=refinement, removal=removal,
    )  # fmt: skip
    before = psnr(planes, clean)
    written = planes - removal.take(planes - result)
    assert quality is not None
    all_of_it = assess(
        planes, result, ClaimedNoise(FLAT), local(box), valid=np.ones(planes.shape, bool),
        refinement=refinement,
    )  # fmt: skip
    assert all_of_it is not None
    by_chance = abs(all_of_it.gain_db - psnr(result, clean) + before)
    assert quality.gain_db == pytest.approx(psnr(written, clean) - before, abs=by_chance + 0.02)


def test_a_capture_is_denoised_with_two_strengths() -> None:
    noise, gain, read = camera_noise(60, 40), 60.0, 40.0
    clean = textured(200, 260)
    mosaic = unpacked(exposed(clean * SPAN / gain, gain, read))
    raw = make_raw(
        400, 520, mosaic=np.rint(512 + SPAN * mosaic).astype(np.uint16), exposure=Exposure(iso=800)
    )
    raw = replace(raw, color=Color(as_shot_neutral=(0.5, 1.0, 0.7)))
    bundled = load_bundled("fast")
    card = replace(bundled.card, camera=raw.camera, noise=(IsoNoise(800, noise, 1),))
    model = replace(bundled, card=card)
    written = {
        strengths: denoise(
            raw, model, Recipe(strength=strengths[0], chroma_strength=strengths[1], estimate=False)
        )
        for strengths in ((1.0, None), (0.5, None), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0))
    }
    planes = {strengths: pack(result.image) for strengths, result in written.items()}
    assert np.array_equal(planes[0.5, None], planes[0.5, 0.5])
    valid = ~find_clipped(raw)
    assert np.array_equal(planes[0.0, 1.0][1:3], pack(raw)[1:3])
    before, half, apart = (psnr(of[valid], clean.astype(np.float32)[valid])
                           for of in (pack(raw), planes[0.5, None], planes[0.5, 1.0]))  # fmt: skip
    assert before < half < apart
    said = written[0.5, 1.0].provenance
    assert (said.strength, said.chroma_strength, said.largest_strength) == (0.5, 1.0, 1.0)
    assert said.noise_left is not None


def test_a_recipe_without_a_strength_for_colour_is_the_one_it_was() -> None:
    assert Recipe(chroma_strength=None).digest == Recipe().digest
    assert Recipe(chroma_strength=1.0).digest != Recipe().digest
    assert Recipe(strength=0.0).takes_nothing
    assert not Recipe(strength=0.0, chroma_strength=0.5).takes_nothing
