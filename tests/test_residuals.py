"""What a model takes away from captures it was not trained on is judged rightly."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rawdenoise.nets import NETS, StabilizedDenoiser, build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.pages.crops import render_crop
from rawdenoise.quality.held_out import HeldOutResult, measure_held_out
from rawdenoise.quality.residuals import ResidualTests
from rawdenoise.quality.verdicts import judge_residual
from rawdenoise.training.crops import mosaic_rggb
from rawdenoise.training.tiles import Tile, TileStore

SIGMA = 0.01
GAUSSIAN = NoiseModel((1e-9,) * 4, (SIGMA**2,) * 4)  # so few photons' worth of noise that all is read noise
POISSON = NoiseModel((2e-3,) * 4, (1e-5,) * 4)
SIDE = 128  # packed pixels


def stored(
    folder: Path, planes: list[np.ndarray], noise: list[IsoNoise], *, valid: np.ndarray | None = None
) -> TileStore:
    """Tiles that are all held out, one a capture; noise by turns."""
    tiles = []
    for number, each in enumerate(planes):
        mask = np.ones(each.shape, bool) if valid is None else valid
        np.save(folder / f"{number}.npy", mosaic_rggb(each)[None].astype(np.float16))
        np.save(folder / f"{number}.valid.npy", mosaic_rggb(mask)[None])
        tiles.append(Tile(f"{number}.npy", 0, number % len(noise)))
    return TileStore(folder, (), tuple(tiles), tuple(noise), SIDE - 1)


def shot_and_read(clean: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 2e-3 * rng.poisson(clean / 2e-3) + rng.normal(0, math.sqrt(1e-5), clean.shape)


def texture(seed: int) -> np.ndarray:
    """A Gaussian field of unit variance, the same in all planes, whose detail fades with its fineness."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal((SIDE, SIDE)))
    field = np.fft.ifft2(spectrum * np.sqrt(POWER)).real
    return np.repeat(field[None], 4, axis=0)


def _power() -> np.ndarray:
    frequency = np.fft.fftfreq(SIDE)
    power = 1 / (0.03 + frequency[:, None] ** 2 + frequency**2) ** 1.5
    return power / power.mean()


POWER = _power()


class Wiener(StabilizedDenoiser):
    """The mean of the posterior for `texture` of so many sigmas: what no denoiser does better."""

    def __init__(self, contrast: float) -> None:
        super().__init__(NETS["fast"]())
        power = torch.from_numpy(POWER).float() * contrast**2
        self.gain = power / (power + 1 / 4)

    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        mean = stabilized.mean(dim=1, keepdim=True)
        middle = mean.mean(dim=(2, 3), keepdim=True)
        return (middle + torch.fft.ifft2(torch.fft.fft2(mean - middle) * self.gain).real).expand_as(
            stabilized
        )


class Blur(StabilizedDenoiser):
    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(stabilized, 9, 1, 4, count_include_pad=False)


def textured(folder: Path, contrast: float, *, noise: float = 1.0, claimed: float = 1.0) -> TileStore:
    """Captures whose noise has `noise` times the standard deviation of `GAUSSIAN`, or so it is claimed."""
    rng = np.random.default_rng(5)
    planes = [
        0.5 + SIGMA * (contrast * texture(seed) + noise * rng.standard_normal((4, SIDE, SIDE)))
        for seed in range(4)
    ]
    model = replace(GAUSSIAN, read_variance=(claimed**2 * SIGMA**2,) * 4)
    return stored(folder, planes, [IsoNoise(800, model, 4)])


# ---------------------------------------------------------------- statistics


def test_a_perfect_denoiser_of_known_noise_passes_every_test(tmp_path: Path) -> None:
    (found,) = measure_held_out(Wiener(1.5), textured(tmp_path, 1.5), seed=0)
    tests = found.residual
    assert found.pixels == 4 * 4 * SIDE**2
    assert tests.mean == pytest.approx(0, abs=0.01)
    assert tests.chi2 < 0.95  # the residual alone is weaker than the noise
    assert tests.chi2 + tests.divergence == pytest.approx(1, abs=0.01)
    assert tests.autocorrelation == pytest.approx((0, 0), abs=0.01)
    assert tests.structure == pytest.approx(0, abs=0.01)
    assert {each.level for each in judge_residual(tests, pixels=found.pixels).values()} == {"good"}


def test_the_estimated_gain_is_the_true_one(tmp_path: Path) -> None:
    store = textured(tmp_path, 1.5)
    (found,) = measure_held_out(Wiener(1.5), store, seed=0)
    errors = []
    for number, tile in enumerate(store.held_out):
        noisy = torch.from_numpy(store.read_whole(tile)[0])[None] / SIGMA
        clean = torch.from_numpy(0.5 / SIGMA + 1.5 * texture(number))
        errors.append(float((Wiener(1.5)(noisy, torch.ones(1, 4))[0] - clean).square().mean()))
    true_db = -10 * math.log10(np.mean(errors))
    assert 0 < found.error_db < 0.5
    assert abs(found.gain_db - true_db) < 3 * found.error_db


@pytest.mark.parametrize(("true", "level"), [(0.8, "poor"), (1.25, "poor"), (1.0, "good")])
def test_noise_of_another_strength_than_claimed_is_told(tmp_path: Path, true: float, level: str) -> None:
    (found,) = measure_held_out(Wiener(0.2), textured(tmp_path, 0.2, noise=true), seed=0)
    assert judge_residual(found.residual, pixels=found.pixels)["strength"].level == level


def test_a_blur_is_told_by_the_scene_it_takes_away(tmp_path: Path) -> None:
    (found,) = measure_held_out(Blur(NETS["fast"]()), textured(tmp_path, 3.0), seed=0)
    judged = judge_residual(found.residual, pixels=found.pixels)
    assert found.residual.structure > 0.3
    assert judged["structure"].level == judged["strength"].level == "poor"
    assert "Detail of the scene is taken away" in judged["structure"].words


def test_noise_that_neighbours_share_is_told_and_in_which_direction(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4, 4, SIDE, SIDE + 1))
    planes = [0.5 + SIGMA * (each[..., 1:] + each[..., :-1]) / math.sqrt(2) for each in noise]
    (found,) = measure_held_out(Wiener(1e-3), stored(tmp_path, planes, [IsoNoise(None, GAUSSIAN, 4)]), seed=0)
    across, down = found.residual.autocorrelation
    assert across == pytest.approx(0.5, abs=0.02)
    assert down == pytest.approx(0, abs=0.02)
    assert judge_residual(found.residual, pixels=found.pixels)["autocorrelation"].level == "poor"


def test_a_shifted_mean_is_told_in_sigmas(tmp_path: Path) -> None:
    class Darker(Wiener):
        def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
            return super().forward(stabilized, white) - 0.25

    (found,) = measure_held_out(Darker(0.5), textured(tmp_path, 0.5), seed=0)
    assert found.residual.mean == pytest.approx(0.25, abs=0.02)
    assert "darker, by 0.25 sigma" in judge_residual(found.residual, pixels=found.pixels)["mean"].words


def test_few_pixels_are_not_blamed_for_chance() -> None:
    tests = ResidualTests(0.05, 0.9, 0.01, (0.06, 0.0), -0.08)
    assert {each.level for each in judge_residual(tests, pixels=900).values()} == {"good"}
    assert "good" not in {each.level for each in judge_residual(tests, pixels=10**6).values()}


def test_what_is_no_number_is_never_good() -> None:
    tests = ResidualTests(math.nan, math.nan, math.inf, (math.nan, math.nan), math.inf)
    assert {each.level for each in judge_residual(tests, pixels=100).values()} == {"poor"}


# ---------------------------------------------------------------- gathering


@pytest.fixture(scope="module")
def untrained() -> StabilizedDenoiser:
    torch.manual_seed(0)
    return build_net("fast").eval()


def finite(found: HeldOutResult) -> bool:
    tests = found.residual
    numbers = (found.gain_db, found.error_db, tests.mean, tests.chi2, tests.divergence, tests.structure)
    return all(map(math.isfinite, (*numbers, *tests.autocorrelation)))


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_even_surfaces_and_unknown_isos_give_numbers(
    tmp_path: Path, untrained: StabilizedDenoiser, level: float
) -> None:
    planes = [shot_and_read(np.full((4, 75, 85), level), seed) for seed in range(2)]
    planes.append(np.zeros((4, 75, 85)))  # without any noise
    (found,) = measure_held_out(untrained, stored(tmp_path, planes, [IsoNoise(None, POISSON, 3)]), seed=0)
    assert finite(found)
    height, width = (side // untrained.multiple * untrained.multiple for side in (75, 85))
    assert (found.iso, found.tiles, found.pixels) == (None, 3, 3 * 4 * height * width)
    for png in render_crop(found.crop):
        assert png.startswith(b"\x89PNG")


def test_isos_without_held_out_or_valid_pixels_are_left_out(
    tmp_path: Path, untrained: StabilizedDenoiser
) -> None:
    planes = [shot_and_read(np.full((4, 64, 64), 0.2), seed) for seed in range(6)]
    store = stored(tmp_path, planes, [IsoNoise(iso, POISSON, 1) for iso in (100, 200, 400)])
    kept = tuple(tile for tile in store.held_out if tile.noise != 1)
    np.save(tmp_path / "2.valid.npy", np.zeros((1, 128, 128), bool))
    np.save(tmp_path / "5.valid.npy", np.zeros((1, 128, 128), bool))
    assert [each.iso for each in measure_held_out(untrained, replace(store, held_out=kept), seed=0)] == [100]
    assert measure_held_out(untrained, replace(store, held_out=()), seed=0) == ()


def test_a_seed_gives_the_same_evidence_and_many_isos_cost_no_more(
    tmp_path: Path, untrained: StabilizedDenoiser
) -> None:
    planes = [shot_and_read(np.full((4, 32, 32), 0.2), seed) for seed in range(60)]
    store = stored(tmp_path, planes, [IsoNoise(100 * (1 + index), POISSON, 1) for index in range(20)])
    first, second = (measure_held_out(untrained, store, seed=3) for _ in range(2))
    assert [each.as_json() for each in first] == [each.as_json() for each in second]
    assert [each.tiles for each in first] == [2] * 12
    assert (first[0].iso, first[-1].iso) == (100, 2000)
