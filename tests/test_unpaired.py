from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from test_cli_denoise import _one_thread, a_capture

from rawdenoise.app.stores import user_stores
from rawdenoise.cli import main
from rawdenoise.errors import TrainingError, UnfinishableError
from rawdenoise.models.bundled import load_bundled
from rawdenoise.nets import BlindSpotDenoiser, Network, build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_mean, stabilized_white
from rawdenoise.training import train_camera as camera
from rawdenoise.training.batches import Batch
from rawdenoise.training.camera_training import CameraTraining
from rawdenoise.training.captures import gather_captures
from rawdenoise.training.checkpoint import load_checkpoint
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress, TrainingStopped
from rawdenoise.training.tile_building import build_store
from rawdenoise.training.tiles import Tile, TileStore, name_tile_file
from rawdenoise.training.train_camera import Trained
from rawdenoise.training.unpaired import (
    FIRST_STAGE_SHARE,
    CleanCaptures,
    Distillation,
    Unpaired,
    UnpairedCrops,
    clean_captures,
    clean_isos,
    fit_unpaired,
)

__all__ = ["_one_thread"]

pytestmark = pytest.mark.usefixtures("few_crops")

NOISE = NoiseModel((1e-3,) * 4, (1e-5,) * 4)
LOW = NoiseModel((1e-4,) * 4, (1e-6,) * 4)


def flat(level: float, noise: NoiseModel, believed: NoiseModel | None = None) -> object:
    """A source of one grey with its noise, which may be believed to be another."""
    known = believed or noise

    class Flat:
        largest_crop = 32

        def draw(self, rng: np.random.Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
            clean = np.full((count, 4, size, size), level, np.float32)
            drawn = rng.standard_normal(clean.shape).astype(np.float32)
            noisy = stabilize(torch.from_numpy(clean + drawn * np.sqrt(noise.variance(clean[0]))), known)
            valid = torch.ones_like(noisy).bool()
            valid[:, 1] = not held_out
            white = stabilized_white(known).expand(count, 4)
            return Batch(noisy, valid, white, noise=(known,) * count)

    return Flat()


class CleanGrey:
    """Clean crops of one level."""

    def __init__(self, level: float) -> None:
        self.level = level

    def draw(self, rng: np.random.Generator, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        planes = torch.full((count, 4, size, size), self.level)
        return planes, planes < 1


def a_first_stage() -> BlindSpotDenoiser:
    net = build_net("d-bsn-light").eval()
    assert isinstance(net, BlindSpotDenoiser)
    return net


def drawn(source: Distillation, count: int = 66) -> Batch:
    return source.draw(np.random.default_rng(1), count, 24)


def test_pairs_are_clean_crops_with_new_noise_and_a_tenth_of_denoised_ones() -> None:
    source = Distillation(flat(0.1, NOISE), CleanGrey(0.5), a_first_stage())
    batch = drawn(source, 330)
    assert batch.target is not None
    synthesised = stabilized_mean(torch.full((1, 4, 1, 1), 0.5), NOISE)[0, 0, 0, 0]
    clean = (batch.target - synthesised).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert 10 <= int((~clean).sum()) <= 55  # one in eleven
    noise = (batch.noisy - batch.target)[clean]
    deviations = noise.flatten(1).std(dim=1)
    assert abs(float(noise.mean())) < 0.01
    assert 0.85 < float(deviations.min()) < 0.95  # the jitter
    assert 1.05 < float(deviations.max()) < 1.15
    # The others are what the first stage makes of noisy captures.
    pseudo = (~clean).nonzero()[0, 0]
    made = source.first(batch.noisy[pseudo][None], batch.white[pseudo][None])[0]
    torch.testing.assert_close(batch.target[pseudo], made)


def test_held_out_crops_are_captures_as_they_are() -> None:
    noisy = flat(0.1, NOISE)
    source = Distillation(noisy, CleanGrey(0.5), a_first_stage())
    held_out = source.draw(np.random.default_rng(1), 4, 24, held_out=True)
    same = noisy.draw(np.random.default_rng(1), 4, 24, held_out=True)
    assert torch.equal(held_out.noisy, same.noisy)
    assert torch.equal(held_out.valid, same.valid)
    assert held_out.target is None


def test_the_same_random_numbers_give_the_same_pairs() -> None:
    source = Distillation(flat(0.1, NOISE), CleanGrey(0.5), a_first_stage(), learned_noise=True)
    one, other = drawn(source), drawn(source)
    assert torch.equal(one.noisy, other.noisy)
    assert torch.equal(one.target, other.target)


def test_learned_noise_is_as_strong_as_the_first_stage_says() -> None:
    first = a_first_stage()
    exit = first.noise.layers[-1]
    torch.nn.init.constant_(exit.bias, 0.15)  # softplus(10 * 0.15 + 0.54) is about 2.16
    batch = drawn(Distillation(flat(0.5, NOISE), CleanGrey(0.5), first, learned_noise=True))
    assert float((batch.noisy - batch.target).std()) == pytest.approx(2.16, rel=0.1)


def test_clean_captures_are_cleaned_before_they_are_targets(tmp_path: Path) -> None:
    rng, left = np.random.default_rng(3), {}
    drawn = rng.standard_normal((1, 512, 512)) * np.sqrt(LOW.shot[0] * 0.2 + LOW.read_variance[0])
    np.save(tmp_path / "00000.npy", (0.2 + drawn).astype(np.float16))
    np.save(tmp_path / "00000.valid.npy", np.ones((1, 512, 512), bool))
    store = TileStore(tmp_path, (Tile("00000.npy", 0, 0),), (), (IsoNoise(100, LOW, 1),), 255)
    base = load_bundled("fast")
    for name, cleaner in (("cleaned", base), ("as they are", replace(base, net=Identity()))):
        source = CleanCaptures(store, cleaner)
        planes, valid = source.draw(np.random.default_rng(0), 8, 32)
        assert torch.equal(source.draw(np.random.default_rng(0), 8, 32)[0], planes)
        assert valid.all()
        levels = planes.mean(dim=(1, 2, 3))  # darkened, each by its own factor
        assert 0.05 < float(levels.min()) < 0.1
        assert 0.1 < float(levels.max()) < 0.21
        left[name] = float((planes / levels[:, None, None, None]).std())
    assert left["cleaned"] < 0.4 * left["as they are"]
    assert left["as they are"] == pytest.approx(float(drawn.std()) / 0.2, rel=0.1)


class Identity(Network):
    """Not a denoiser."""

    multiple = 1
    radius = 0

    def forward(self, noisy: torch.Tensor, white: torch.Tensor) -> torch.Tensor:
        return noisy


def test_clean_are_those_with_a_tenth_of_the_noise_variance() -> None:
    middle = NoiseModel((5e-4,) * 4, (5e-6,) * 4)
    assert clean_isos([LOW, middle, NOISE]) == [0]
    assert clean_isos([NOISE, replace(LOW, shot=(5e-5,) * 4), LOW]) == [1, 2]
    with pytest.raises(TrainingError, match=r"by a factor of 2\.0, and 10 is needed.*at base ISO"):
        clean_isos([middle, NOISE])
    with pytest.raises(TrainingError):
        clean_isos([NOISE])
    with pytest.raises(TrainingError, match=r"captures given as clean is clean .* 10 is needed$"):
        clean_isos([middle, NOISE], named=True)


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    """Four noisy captures, and three whose noise is much less."""
    for number in range(4):
        a_capture(tmp_path / "captures" / f"{number}.dng", 192, 256, seed=number)
    for number in range(3):
        a_capture(tmp_path / "captures" / f"base-{number}.dng", 192, 256, seed=10 + number, iso=50)
    return tmp_path / "captures"


def train(folder: Path, *arguments: object) -> Result:
    options = ["train", "--method", "unpaired", "--scratch", folder / "scratch", "--device", "cpu"]
    return CliRunner().invoke(main, [*map(str, (*options, *arguments))])


def test_named_clean_captures_are_taken_but_for_those_held_out(captures: Path, tmp_path: Path) -> None:
    for number in range(3, 5):
        a_capture(captures / f"base-{number}.dng", 192, 256, seed=10 + number, iso=50)
    (group,) = gather_captures([captures])
    store = build_store(group, tmp_path / "tiles", seed=0)
    assert {store.noise[tile.noise].iso for tile in store.held_out} == {50, 800}
    of_base = [capture.digest for capture in group.captures if "base" in capture.path.name]
    clean = clean_captures(store, group, Unpaired(clean=tuple(of_base)))
    assert {store.noise[tile.noise].iso for tile in clean.tiles} == {50}
    assert len({tile.file for tile in clean.tiles}) == 4
    assert not {tile.file for tile in clean.tiles} & {tile.file for tile in store.held_out}
    assert clean_captures(store, group, Unpaired()).tiles == clean.tiles  # found by their noise
    noisy = [capture.digest for capture in group.captures if capture.digest not in of_base]
    for digests in (noisy, ["none of them"]):
        with pytest.raises(TrainingError, match="given as clean"):
            clean_captures(store, group, Unpaired(clean=tuple(digests)))


def test_clean_captures_beside_them_change_nothing_of_which_noisy_ones_are_held_out(tmp_path: Path) -> None:
    """Models trained with clean captures and without are judged by captures that neither has seen."""
    for number in range(8):
        a_capture(tmp_path / "noisy" / f"{number}.dng", 64, 64, seed=number, iso=(800, 3200)[number % 2])
    for number in range(2):
        a_capture(tmp_path / "base" / f"{number}.dng", 64, 64, seed=20 + number, iso=50)

    def held_out(*folders: Path, seed: int) -> set[str]:
        (group,) = gather_captures(folders)
        tiles = tmp_path / f"tiles-{len(folders)}-{seed}"
        store = build_store(group, tiles, seed=seed)
        files = {tile.file for tile in store.held_out}
        return {each.digest for at, each in enumerate(group.captures) if name_tile_file(at) in files}

    of_noisy = {each.digest for each in gather_captures([tmp_path / "noisy"])[0].captures}
    alone, otherwise = (held_out(tmp_path / "noisy", seed=seed) for seed in (0, 1))
    assert len(alone) == len(otherwise) == 2
    assert alone != otherwise  # the seed has its say
    assert held_out(tmp_path / "noisy", tmp_path / "base", seed=0) & of_noisy == alone


def test_from_noisy_and_clean_captures_to_a_model_of_ones_own(captures: Path, tmp_path: Path) -> None:
    trained = train(tmp_path, captures, "--crops", 32, "--keep-if-worse")
    assert trained.exit_code == 0, trained.output
    (card,) = user_stores().models.cards()
    assert card.objective == "unpaired"
    assert card.options["blind_spot"] == "d-bsn-light"
    assert len(card.options["clean"]) == 3
    shown = CliRunner().invoke(main, ["models", "show", card.id]).stdout
    assert "7, 3 of them as clean ones" in shown
    assert "clean=" not in shown
    assert "gamma=" not in shown
    assert 32 <= card.figures["images"] <= 48  # whole batches in each stage
    assert "  clean: 3 captures, ISO 50" in trained.stdout
    assert "next: rawdenoise denoise" in trained.stdout
    assert f"against {load_bundled('fast').card.id}" in trained.stdout
    assert not list((tmp_path / "scratch").rglob("*.*"))


def test_a_worse_unpaired_model_replaces_nothing(captures: Path, tmp_path: Path) -> None:
    folder = captures.rename(tmp_path / "noisy")
    (tmp_path / "base").mkdir()
    for file in folder.glob("base-*"):
        file.rename(tmp_path / "base" / file.name)
    arguments = ["--clean", tmp_path / "base", "--crops", 16, "--from-nothing", "--learned-noise", "planes"]
    result = train(tmp_path, folder, *arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("no new model")
    assert not user_stores().models.cards()


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_it_goes_on_where_it_was_in_either_stage(captures: Path, tmp_path: Path, share: float) -> None:
    (group,) = gather_captures([captures])
    options = TrainingOptions(crops=48, minutes=None, batch=4, crop_size=24, device="cpu", seed=3)
    start = load_bundled("fast")

    def trained(folder: Path, stop_at: float = 2.0, **changes: object) -> Trained:
        done = 0.0

        def note(progress: Progress) -> None:
            nonlocal done
            done = progress.done if progress.stage != "reading captures" else 0.0

        return camera.train(
            CameraTraining(group, replace(options, **changes), start, Unpaired()), folder=folder,
            on_progress=note, stop=lambda: done >= stop_at,
        )  # fmt: skip

    whole = trained(tmp_path / "whole")
    with pytest.raises(TrainingStopped) as stopped:
        trained(tmp_path / "parts", share)
    assert stopped.value.crops == 4 * math.ceil(share * 48 / 4)  # of both stages, in whole steps
    if share < FIRST_STAGE_SHARE:
        with pytest.raises(UnfinishableError, match="still learning the noise"):
            trained(tmp_path / "parts", crops=None, minutes=0.0)
    parts = trained(tmp_path / "parts")
    assert parts.model.card.weights_sha256 == whole.model.card.weights_sha256
    if share > FIRST_STAGE_SHARE:
        with pytest.raises(TrainingStopped):
            trained(tmp_path / "finished", share)
        finished = trained(tmp_path / "finished", crops=None, minutes=0.0)
        assert 0 < finished.model.card.figures["images"] < 48


def test_a_first_stage_learns_noise_that_the_risk_does_not_believe_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calibration says 1 where the noise is 1.6: chosen by estimated risk it would hardly be trained."""
    double = flat(0.5, replace(NOISE, shot=(2.56e-3,) * 4, read_variance=(2.56e-5,) * 4), NOISE)
    monkeypatch.setattr(
        "rawdenoise.training.unpaired.FIRST_STAGE_SHARE", 0.9
    )  # the second is of no interest here
    options = TrainingOptions(crops=224, minutes=None, batch=4, crop_size=24, device="cpu")
    how = Unpaired(learned_noise=True)
    fit_unpaired(UnpairedCrops(double, CleanGrey(0.5)), options, how, folder=tmp_path, run="run")
    found = load_checkpoint(tmp_path / "first", "run")
    assert found is not None
    kind, net = "average.", build_net("d-bsn-light").eval()
    weights = {name.removeprefix(kind): each for name, each in found[1].items() if name.startswith(kind)}
    net.load_state_dict(weights)
    batch = double.draw(np.random.default_rng(5), 4, 24)
    assert float(net.predict(batch.noisy, batch.white).noise[:, 0].detach().mean()) > 1.25


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--objective", "r2r"], 2, "--objective is not for --method unpaired"),
        (["--gamma", "2"], 2, "--gamma is not for --method unpaired"),
        (["--clean", "auto", "--clean", "."], 2, "--clean auto is to find them"),
        (["--clean", "no-such-folder"], 2, "--clean 'no-such-folder': there is no such file or folder"),
        (["--clean", ""], 2, "--clean '': there is no such file or folder"),
        (["--crops", "16"], 1, "(--clean where they lie elsewhere)"),
    ],
)
def test_what_cannot_be_done_is_said(
    captures: Path, tmp_path: Path, arguments: list[str], code: int, line: str
) -> None:
    for file in captures.glob("base-*"):
        file.unlink()
    result = train(tmp_path, captures, *arguments)
    assert result.exit_code == code, result.output
    assert line in result.stderr


def test_clean_captures_are_for_unpaired_learning(captures: Path) -> None:
    result = CliRunner().invoke(main, ["train", str(captures), "--clean", str(captures)])
    assert result.exit_code == 2
    assert "--clean is not for --method gr2r" in result.stderr


def test_clean_captures_of_another_camera_are_refused(captures: Path, tmp_path: Path) -> None:
    other = a_capture(tmp_path / "other.dng", 200, 256, seed=3)
    result = train(tmp_path, captures, "--clean", other, "--crops", "16")
    assert result.exit_code == 1
    assert "none of the captures given as clean is of Test One (--clean)" in result.stderr
