from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rawdenoise.training.tile_building as tile_building
from rawdenoise.capture.raw import Cfa
from rawdenoise.errors import NotFoundError, RawDenoiseError, ScratchError, TrainingError
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.noise.stabilize import stabilize, stabilized_mean
from rawdenoise.training.camera_training import CameraTraining
from rawdenoise.training.captures import CaptureSet, gather_captures
from rawdenoise.training.checkpoint import Counters, Look, load_checkpoint, save_checkpoint
from rawdenoise.training.crops import mosaic_rggb, pack_rggb, turn
from rawdenoise.training.objectives import NEED_BLIND_SPOTS, NEED_PAIRS, OBJECTIVES, Step
from rawdenoise.training.objectives.gr2r import (
    fidelity_loss,
    pseudo_supervised_loss,
    recorruption_loss,
)
from rawdenoise.training.objectives.r2r import recorruption_loss as independent_recorruption_loss
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress, TrainingStopped
from rawdenoise.training.redrawn_noise import measure_gaussianity, redraw
from rawdenoise.training.risk import RiskFigures
from rawdenoise.training.tile_building import build_store
from rawdenoise.training.tiles import TileStore
from rawdenoise.training.train_camera import Trained, remove_training, train

LAYOUT = PlainLayout(cfa=Cfa.GBRG, black=100.0, white=4095.0, bits=12, size=None)
QUICK = TrainingOptions(crops=24, minutes=None, batch=4, crop_size=32, device="cpu", checkpoint_s=1e9)


def write_captures(
    folder: Path, count: int = 3, height: int = 150, width: int = 170, first: int = 0
) -> list[Path]:
    """Plain 12-bit mosaics of a sloping scene with shot noise and a saturated corner."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:height, :width]
    clean = 900 + 1500 * columns / width + 500 * np.sin(rows / 9)
    paths = []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        mosaic = 100 + 10 * rng.poisson(clean / 10) + rng.normal(0, 5, clean.shape)
        mosaic[:20, :20] = 9999
        paths.append(folder / f"{number}.npy")
        np.save(paths[-1], np.clip(mosaic, 0, 4095).astype(np.uint16))
    return paths


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> CaptureSet:
    """Three captures, which no test changes."""
    folder = tmp_path_factory.mktemp("captures")
    write_captures(folder)
    (found,) = gather_captures([folder], camera_name="Bench Camera", layout=LAYOUT)
    return found


@pytest.fixture(scope="module")
def tiles(captures: CaptureSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their tiles, which no test changes."""
    folder = tmp_path_factory.mktemp("tiles")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAWDENOISE_PROFILES", str(folder / "no profiles"))
        build_store(captures, folder, seed=0)
    return folder


@pytest.fixture
def store(captures: CaptureSet, tiles: Path) -> TileStore:
    return build_store(captures, tiles, seed=0)


def with_tiles(folder: Path, captures: CaptureSet, options: TrainingOptions, tiles: Path) -> Path:
    """Put the tiles where a training would cut them."""
    shutil.copytree(tiles, folder / CameraTraining(captures, options).run_id())
    return folder


# Captures


@given(st.integers(0, 7), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_a_turned_crop_is_the_crop_of_the_turned_mosaic(way: int, half: int, seed: int) -> None:
    """Number the sites; after any turn every plane holds sites of its own colour, in the turned order."""
    side = 2 * half + 2
    mosaic = np.random.default_rng(seed).permutation(side * side).reshape(side, side)
    whole = mosaic.T if way & 4 else mosaic
    whole = whole[::-1] if way & 2 else whole
    whole = whole[:, ::-1] if way & 1 else whole
    colours = np.tile([["R", "G"], ["G", "B"]], (side // 2, side // 2))
    colour_of = dict(zip(mosaic.flat, colours.flat, strict=True))
    planes = pack_rggb(turn(mosaic, way))
    assert planes.shape == (4, half, half)
    for plane, colour in zip(planes, "RGGB", strict=True):
        assert {colour_of[site] for site in plane.flat} == {colour}
    cut = turn(mosaic, way)
    starts = [(r, c) for r in (0, 1, 2) for c in (0, 1, 2)]
    assert any(np.array_equal(whole[r : r + side - 2, c : c + side - 2], cut) for r, c in starts)


def test_the_eight_turns_differ() -> None:
    mosaic = np.arange(36).reshape(6, 6)
    assert len({turn(mosaic, way).tobytes() for way in range(8)}) == 8


def test_planes_and_mosaic_are_inverses() -> None:
    planes = np.random.default_rng(0).random((4, 5, 7), np.float32)
    assert np.array_equal(pack_rggb(mosaic_rggb(planes)), planes)


def test_scan_groups_and_reports(tmp_path: Path) -> None:
    write_captures(tmp_path / "a", 2)
    write_captures(tmp_path / "a" / "deeper", 2, first=2)
    write_captures(tmp_path / "b", 1, height=100, first=9)
    (tmp_path / "a" / "copy.npy").write_bytes((tmp_path / "a" / "0.npy").read_bytes())
    (tmp_path / "a" / "broken.dng").write_bytes(b"nonsense")
    (tmp_path / "a" / "notes.txt").write_text("not a capture")
    told: dict[str, RawDenoiseError | None] = {}
    sets = gather_captures(
        [tmp_path / "a", tmp_path / "b", tmp_path / "missing"],
        camera_name="Bench",
        layout=LAYOUT,
        on_file=lambda path, error: told.update({str(path.relative_to(tmp_path)): error}),
    )
    assert [len(group.captures) for group in sets] == [4, 1]
    assert {group.camera.name for group in sets} == {"Bench"}
    assert len({group.camera.mode for group in sets}) == 2
    assert {name for name, error in told.items() if error} == {"a/copy.npy", "a/broken.dng", "missing"}
    assert isinstance(told["missing"], NotFoundError)
    assert "notes.txt" not in told


def test_the_digest_of_a_set_does_not_depend_on_names(captures: CaptureSet, tmp_path: Path) -> None:
    for number, capture in enumerate(captures.captures):
        shutil.copy(capture.path, tmp_path / f"{9 - number}x.npy")
    (again,) = gather_captures([tmp_path], camera_name="Bench Camera", layout=LAYOUT)
    assert again.digest == captures.digest
    assert replace(again, captures=again.captures[:2]).digest != captures.digest


def test_crops_are_stabilised_and_know_saturation(store: TileStore) -> None:
    batch = store.draw(np.random.default_rng(0), 160, 16)
    assert batch.noisy.shape == (160, 4, 16, 16)
    # The scene varies slowly: second differences are noise, of unit variance after stabilisation.
    difference = (batch.noisy[..., 2:] - 2 * batch.noisy[..., 1:-1] + batch.noisy[..., :-2]) / 6**0.5
    inside = (batch.valid[..., 2:] & batch.valid[..., 1:-1] & batch.valid[..., :-2]).all(dim=1, keepdim=True)
    assert float(difference[inside.expand_as(difference)].square().mean()) == pytest.approx(1, abs=0.15)
    assert 0.001 < float((~batch.valid).float().mean()) < 0.2
    saturated = batch.noisy[~batch.valid]
    assert float(saturated.min()) > float(batch.white.min()) * 0.98


def test_rare_levels_are_drawn_more_often_than_they_occur(tmp_path: Path) -> None:
    """One bright capture among eight dark ones: the root of its share, not its share and not half."""
    rng = np.random.default_rng(0)
    for number in range(9):
        level = 3000 if number == 0 else 300
        (tmp_path / "some").mkdir(exist_ok=True)
        mosaic = rng.normal(level, 20, (512, 512)).clip(0, 4095)
        np.save(tmp_path / "some" / f"{number}.npy", mosaic.astype(np.uint16))
    (found,) = gather_captures([tmp_path / "some"], camera_name="Some", layout=LAYOUT)
    store = build_store(found, tmp_path / "tiles", seed=0)
    drawn = store.draw(np.random.default_rng(1), 400, 8)
    bright = float((drawn.noisy.mean(dim=(1, 2, 3)) > 0.5 * drawn.white.mean(dim=1)).float().mean())
    assert bright == pytest.approx(1 / (1 + math.sqrt(8)), abs=0.07)


def test_crops_are_the_same_for_the_same_seed(captures: CaptureSet, store: TileStore, tmp_path: Path) -> None:
    first = build_store(captures, tmp_path / "one", seed=0)
    again = build_store(captures, tmp_path / "one", seed=0)  # opened, not built
    other = store
    assert again == first or again.tiles == first.tiles
    assert again.noise == first.noise
    crops = [store.draw(np.random.default_rng(5), 3, 16).noisy for store in (first, again, other)]
    assert torch.equal(crops[0], crops[1])
    assert torch.equal(crops[0], crops[2])


def test_a_reopened_store_reads_no_capture(
    captures: CaptureSet, tiles: Path, store: TileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tile_building, "read_isolated")
    again = build_store(captures, tiles, seed=0)
    assert (again.tiles, again.held_out, again.noise) == (store.tiles, store.held_out, store.noise)


def _cut(file: Path) -> None:
    file.write_bytes(b"")


def _misspell(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"index": 0', b'"index": "0"', 1))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("00001.npy", _cut),
        ("00001.valid.npy", Path.unlink),
        ("tiles.json", _cut),
        ("tiles.json", Path.unlink),
        ("tiles.json", _misspell),
    ],
)
def test_tiles_that_a_power_loss_has_cut_short_are_made_again(
    captures: CaptureSet,
    tiles: Path,
    store: TileStore,
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], object],
) -> None:
    shutil.copytree(tiles, tmp_path / "store")
    crops = store.draw(np.random.default_rng(0), 8, 16).noisy
    damage(tmp_path / "store" / name)
    again = build_store(captures, tmp_path / "store", seed=0)
    assert torch.equal(again.draw(np.random.default_rng(0), 8, 16).noisy, crops)


def test_every_tile_is_on_the_disk_before_the_index(
    captures: CaptureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    build_store(captures, tmp_path / "store", seed=0)
    tiles = {file.stat().st_ino for file in (tmp_path / "store").glob("*.npy")}
    assert len(tiles) == 6
    assert tiles <= set(synced[: synced.index((tmp_path / "store" / "tiles.json").stat().st_ino)])


@pytest.mark.parametrize("succeed", [0, 3, 6])  # writes before the disk is full; the last is of the index
def test_a_full_disk_is_one_clear_line_and_is_made_room_on(
    captures: CaptureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, succeed: int
) -> None:
    calls = iter([None] * succeed)

    def full(descriptor: int) -> None:
        if next(calls, "full"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ScratchError, match=r"training.*no space left"):
        train(CameraTraining(captures, QUICK), folder=tmp_path / "training")
    assert not list((tmp_path / "training").iterdir())


def test_large_collections_are_sampled(tmp_path: Path) -> None:
    write_captures(tmp_path / "big", 2, height=600, width=1300)
    (found,) = gather_captures([tmp_path / "big"], camera_name="Big", layout=LAYOUT)
    full = build_store(found, tmp_path / "full", seed=0)
    assert len(full.tiles) + len(full.held_out) == 2 * 6
    assert len({tile.file for tile in full.held_out}) == 1
    assert not {tile.file for tile in full.held_out} & {tile.file for tile in full.tiles}
    assert not set(full.tiles) & set(full.held_out)
    few = build_store(found, tmp_path / "few", seed=0, limit=2 * 3 * 3 * 512**2)
    assert len(few.tiles) + len(few.held_out) == 2 * 3
    assert few.largest_crop == 255


# Objectives


ALONE = [name for name in OBJECTIVES if name not in NEED_PAIRS | NEED_BLIND_SPOTS]


def step(denoise: Callable[[torch.Tensor], torch.Tensor], **changes: object) -> Step:
    noisy = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    fields: dict[str, object] = {
        "denoise": lambda z, sigma=1.0: sigma * denoise(z / sigma),
        "teacher": lambda z, sigma=1.0: torch.zeros_like(z),
        "noisy": noisy,
        "valid": torch.ones(noisy.shape, dtype=torch.bool),
        "target": None,
        "done": 1.0,
        "gamma": 1.0,
        "generator": torch.Generator().manual_seed(2),
    }
    return Step(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_terms_are_what_they_say() -> None:
    y, n = torch.full((1, 4, 2, 2), 3.0), torch.full((1, 4, 2, 2), 0.5)
    valid = torch.ones(y.shape, dtype=torch.bool)
    half = lambda z, sigma=1.0: z / 2  # noqa: E731
    assert float(recorruption_loss(half, y, n, valid)) == pytest.approx((3.5 / 2 - 2.5) ** 2)
    assert float(fidelity_loss(half(y), y, valid)) == pytest.approx(1.5**2)
    assert float(pseudo_supervised_loss(half, y, n, valid)) == pytest.approx((3.5 / 2 - 3) ** 2)
    assert float(independent_recorruption_loss(half, y, n, valid)) == pytest.approx((3.25 / 2 - 2) ** 2)


LEAST_LOSS = {"supervised-decibels": math.log(1e-3)}


@pytest.mark.parametrize("name", [*ALONE, *sorted(NEED_PAIRS)])
def test_saturated_pixels_do_not_count(name: str) -> None:
    given_step = replace(step(lambda z: 0.5 * z), target=torch.ones(2, 4, 32, 32))
    valid = torch.ones_like(given_step.valid)
    valid[..., :16] = False
    losses = []
    for spoiled in (0.0, 1000.0):
        noisy = given_step.noisy.clone()
        noisy[..., :16] += spoiled
        fresh = torch.Generator().manual_seed(2)
        losses.append(float(OBJECTIVES[name](replace(given_step, noisy=noisy, valid=valid, generator=fresh))))
    assert losses[0] == pytest.approx(losses[1])
    none = replace(given_step, valid=torch.zeros_like(valid))
    assert float(OBJECTIVES[name](none)) == pytest.approx(LEAST_LOSS.get(name, 0.0))


def best_shrinkage(name: str, gamma: float) -> float:
    """On pure noise around 0 the right denoiser is 0 * y; where does the gradient of f(y) = a y vanish?"""
    slopes = torch.linspace(0.01, 0.99, 50)
    signs = []
    for slope in slopes:
        a = slope.clone().requires_grad_(True)
        given_step = step(lambda z, a=a: a * z, teacher=lambda z, sigma=1.0, a=a: a.detach() * z, gamma=gamma)
        OBJECTIVES[name](given_step).backward()
        signs.append(float(a.grad))
    stable = [float(a) for a, grad in zip(slopes, signs, strict=True) if grad < 0]
    return max(stable, default=0.0)


def test_the_calibrated_objective_does_not_collapse_and_the_papers_does() -> None:
    assert best_shrinkage("gr2r", 1.0) < 0.05
    assert best_shrinkage("gr2r-paper", 0.0) > 0.95


def few_electrons(full_well: float = 60.0, read: float = 0.5) -> NoiseModel:
    return NoiseModel((1 / full_well,) * 4, ((read / full_well) ** 2,) * 4)


@pytest.mark.parametrize("noise", [few_electrons(), few_electrons(9000.0, 3.0), few_electrons(500.0, 40.0)])
@pytest.mark.parametrize("tail", [None, -0.1])
def test_a_scene_exposed_anew_is_as_the_camera_would_have_it(noise: NoiseModel, tail: float | None) -> None:
    noise = replace(noise, tail=tail)
    signal = torch.linspace(0.02, 0.6, 4)[None, :, None, None].expand(2, 4, 200, 200)
    generator = torch.Generator().manual_seed(4)
    scene = stabilized_mean(signal, noise)
    noisy = redraw(scene, (noise, noise), generator)
    taken = unstabilize_plainly(noisy, noise)
    variance = torch.tensor(noise.shot[0]) * signal + noise.read_variance[0]
    error = (variance / signal[0, 0].numel() / 2).sqrt()
    for plane in range(4):
        assert abs(float((taken - signal)[:, plane].mean())) < 4 * float(error[0, plane, 0, 0]) + 1e-4
        assert float(taken[:, plane].var()) == pytest.approx(float(variance[0, plane, 0, 0]), rel=0.05)


def unstabilize_plainly(z: torch.Tensor, noise: NoiseModel) -> torch.Tensor:
    """The signal whose own stabilised value is z (`unstabilize` is for means): by bisection."""
    low, high = torch.full_like(z, -1.0), torch.full_like(z, 4.0)
    for _ in range(40):
        middle = (low + high) / 2
        above = stabilize(middle, noise) > z
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return low


def test_without_a_model_noise_is_gaussian() -> None:
    scene = torch.full((2, 4, 64, 64), 7.0)
    noisy = redraw(scene, (), torch.Generator().manual_seed(1))
    assert float((noisy - scene).std()) == pytest.approx(1, abs=0.02)
    assert torch.equal(noisy, redraw(scene, (), torch.Generator().manual_seed(1)))
    assert float(measure_gaussianity(scene, ()).min()) == 1


def test_noise_is_gaussian_where_there_are_electrons_or_read_noise() -> None:
    scene = torch.zeros(3, 4, 2, 2)
    scene[1] = 12.0
    models = (few_electrons(), few_electrons(), few_electrons(500.0, 8.0))
    dark, bright, read = measure_gaussianity(scene, models)
    assert float(dark.max()) == 0
    assert float(bright.min()) == float(read.min()) == 1


def test_a_network_that_answers_nonsense_is_exposed_all_the_same() -> None:
    scene = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e9]).reshape(1, 4, 1, 1)
    assert redraw(scene, (few_electrons(),), torch.Generator()).isfinite().all()


def test_recorruption_has_no_say_where_noise_is_not_gaussian() -> None:
    dark = step(lambda z: 0.5 * z, noise=(few_electrons(),) * 2, taught=True)
    moved = replace(dark, noisy=dark.noisy + 100, generator=torch.Generator().manual_seed(2))
    zero = lambda z, sigma=1.0: torch.zeros_like(z)  # noqa: E731 - the teacher that both listen to
    losses = [float(OBJECTIVES["gr2r"](replace(each, teacher=zero))) for each in (dark, moved)]
    assert losses[0] == losses[1]


# Checkpoints and the loop


def digest(trained: Trained) -> str:
    return trained.model.card.weights_sha256


def test_checkpoints_are_of_one_run_and_never_trusted_blindly(tmp_path: Path) -> None:
    tensors = {"net.a": torch.randn(3), "adam.0.step": torch.tensor(5.0)}
    seen = Look(16, 1.0, 0.2, RiskFigures(0.1, 0.9, 0.0, 0.1, 0.01))
    counters = Counters("mine", 3, 24, 1.5, 0.1, 0.5, 16.0, 1, (seen, seen))
    save_checkpoint(tmp_path, counters, tensors)
    found = load_checkpoint(tmp_path, "mine")
    assert found is not None
    assert found[0] == counters
    assert all(torch.equal(found[1][name], tensor) for name, tensor in tensors.items())
    assert load_checkpoint(tmp_path, "other") is None
    assert load_checkpoint(tmp_path / "nowhere", "mine") is None
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    assert load_checkpoint(tmp_path, "mine") is None


@pytest.mark.usefixtures("few_crops")
def test_training_gives_a_model_with_its_card(captures: CaptureSet, tmp_path: Path) -> None:
    told: list[Progress] = []
    trained = train(CameraTraining(captures, QUICK), folder=tmp_path / "training", on_progress=told.append)
    model = trained.model
    assert trained.better
    assert trained.before is None
    card = model.card
    assert card.camera.name == "Bench Camera"
    assert set(card.captures) == {capture.digest for capture in captures.captures}
    assert (card.noise[0].iso, card.noise[0].captures) == (None, 3)
    assert card.noise[0].noise.shot[0] * 3995 == pytest.approx(10, rel=0.3)
    assert card.options["crop"] == 32
    assert card.figures["images"] == 24
    assert not model.net.training
    assert told[-1].done == 1
    assert [p.crops for p in told if p.stage == "training"] == [4, 8, 12, 16, 20, 24]
    assert all(a.done <= b.done for a, b in pairwise(told) if a.stage == b.stage)
    remove_training(CameraTraining(captures, QUICK), folder=tmp_path / "training")
    assert list((tmp_path / "training").iterdir()) == []


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize("objective", ALONE)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    captures: CaptureSet, tiles: Path, tmp_path: Path, objective: str
) -> None:
    options = replace(QUICK, objective=objective)
    whole = train(
        CameraTraining(captures, options), folder=with_tiles(tmp_path / "one", captures, options, tiles)
    )
    with_tiles(tmp_path / "two", captures, options, tiles)
    seen: list[int] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress.crops)
        if progress.crops == 16:
            raise KeyboardInterrupt

    calls = iter([False] * 2 + [True])
    with pytest.raises(TrainingStopped, match="same command"):
        train(CameraTraining(captures, options), folder=tmp_path / "two", stop=lambda: next(calls, True))
    with pytest.raises(TrainingStopped, match=r"16 crops.*same command"):
        train(CameraTraining(captures, options), folder=tmp_path / "two", on_progress=interrupt)
    resumed = train(
        CameraTraining(captures, options),
        folder=tmp_path / "two",
        on_progress=lambda p: seen.append(p.crops),
    )
    assert digest(resumed) == digest(whole)
    assert seen[-2:] == [20, 24]


@pytest.mark.usefixtures("few_crops")
def test_another_seed_gives_another_model(captures: CaptureSet, tmp_path: Path) -> None:
    one, other = (
        train(CameraTraining(captures, replace(QUICK, crops=4, seed=seed)), folder=tmp_path / "same")
        for seed in (0, 1)
    )
    assert digest(one) != digest(other)


@pytest.mark.usefixtures("few_crops")
def test_two_processes_do_not_train_the_same_at_once(
    captures: CaptureSet, tiles: Path, tmp_path: Path
) -> None:
    folder = with_tiles(tmp_path / "training", captures, QUICK, tiles)

    def meanwhile(progress: Progress) -> None:
        if progress.crops == 8:
            remove_training(
                CameraTraining(captures, QUICK), folder=folder
            )  # what the other one does when it is done
            with pytest.raises(TrainingError, match="another process is training on these captures"):
                train(CameraTraining(captures, QUICK), folder=folder)

    assert train(CameraTraining(captures, QUICK), folder=folder, on_progress=meanwhile).model.card.captures
    assert not list(folder.glob("*.lock"))


@pytest.mark.usefixtures("few_crops")
def test_a_checkpoint_of_another_network_is_started_over(
    captures: CaptureSet, tiles: Path, tmp_path: Path
) -> None:
    folder = with_tiles(tmp_path / "training", captures, QUICK, tiles)
    whole = train(CameraTraining(captures, QUICK), folder=folder)
    run = CameraTraining(captures, QUICK).run_id()
    found = load_checkpoint(folder / run, run)
    assert found is not None
    changed = {**found[1], "net.backbone.exit.weight": torch.zeros(3)}
    save_checkpoint(folder / run, found[0], changed)
    assert digest(train(CameraTraining(captures, QUICK), folder=folder)) == digest(whole)


def test_the_run_depends_on_what_is_trained_not_on_for_how_long(captures: CaptureSet) -> None:
    base = CameraTraining(captures, QUICK).run_id()
    assert CameraTraining(captures, replace(QUICK, crops=999, device="auto")).run_id() == base
    for other in (replace(QUICK, gamma=2.0), replace(QUICK, net="paper"), replace(QUICK, seed=4)):
        assert CameraTraining(captures, other).run_id() != base
    assert CameraTraining(replace(captures, captures=captures.captures[1:]), QUICK).run_id() != base


def test_captures_that_are_read_in_another_way_are_trained_on_afresh(captures: CaptureSet) -> None:
    base = CameraTraining(captures, QUICK).run_id()
    for layout in (
        replace(LAYOUT, cfa=Cfa.RGGB),
        replace(LAYOUT, black=90.0),
        replace(LAYOUT, white=4000.0),
    ):
        (again,) = gather_captures(
            {capture.path for capture in captures.captures}, camera_name="Bench Camera", layout=layout
        )
        assert again.digest == captures.digest
        assert CameraTraining(again, QUICK).run_id() != base


@pytest.mark.parametrize("name", ["TILE_FORMAT", "__version__"])
def test_another_version_trains_afresh(
    captures: CaptureSet, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    base = CameraTraining(captures, QUICK).run_id()
    monkeypatch.setattr(tile_building, name, "another")
    assert CameraTraining(captures, QUICK).run_id() != base


def test_a_new_calibration_trains_afresh(
    captures: CaptureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = CameraTraining(captures, QUICK, profiles=ProfileStore(tmp_path))
    base = training.run_id()
    known = NoiseModel((1e-3,) * 4, (1e-6,) * 4)
    monkeypatch.setattr(ProfileStore, "noise_of", lambda self, camera, iso, levels: known)
    calibrated = training.run_id()
    known = replace(known, row_variance=1e-7)
    assert len({base, calibrated, training.run_id()}) == 3


@pytest.mark.usefixtures("few_crops")
def test_a_loss_that_is_no_number_is_backed_off_from_then_refused(
    captures: CaptureSet, tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("once", "always"):
        with_tiles(tmp_path / name, captures, QUICK, tiles)
    calls = 0
    good = OBJECTIVES["gr2r"]

    def sometimes(given_step: Step) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return good(given_step) * (float("nan") if calls == 3 else 1.0)

    monkeypatch.setattr("rawdenoise.training.learner.OBJECTIVES", {"gr2r": sometimes})
    model = train(CameraTraining(captures, QUICK), folder=tmp_path / "once").model
    assert model.card.figures["images"] == 24
    monkeypatch.setattr("rawdenoise.training.learner.OBJECTIVES", {"gr2r": lambda s: good(s) * float("nan")})
    with pytest.raises(TrainingError, match="diverged"):
        train(CameraTraining(captures, QUICK), folder=tmp_path / "always")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (replace(QUICK, min_captures=4), "at least 4"),
        (replace(QUICK, net="nonsense"), "no network"),
        (replace(QUICK, objective="nonsense"), "no objective"),
        (replace(QUICK, crops=None), "budget"),
        (replace(QUICK, precision="half"), "no precision"),
        (replace(QUICK, objective="supervised"), "pairs"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    captures: CaptureSet, tmp_path: Path, options: TrainingOptions, words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        train(CameraTraining(captures, options), folder=tmp_path / "training")


def test_captures_that_are_too_small_are_refused(tmp_path: Path) -> None:
    write_captures(tmp_path / "small", 3, height=20, width=24)
    (found,) = gather_captures([tmp_path / "small"], camera_name="Small", layout=LAYOUT)
    with pytest.raises(TrainingError, match="too small"):
        train(CameraTraining(found, QUICK), folder=tmp_path / "training")


@pytest.mark.usefixtures("few_crops")
def test_it_learns(tmp_path: Path) -> None:
    """A slope under noise: a few steps must already take away most of it, and leave the level alone."""
    write_captures(tmp_path / "captures", 4, height=200, width=220)
    (found,) = gather_captures([tmp_path / "captures"], camera_name="Bench", layout=LAYOUT)
    options = replace(QUICK, crops=160)
    model = train(CameraTraining(found, options), folder=tmp_path / "training").model
    assert model.card.figures["gain_db"] > 8
    assert abs(model.card.figures["bias"]) < 0.1
    assert 0.5 < model.card.figures["chi2"] < 1.3
