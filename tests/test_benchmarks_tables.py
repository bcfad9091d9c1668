"""The papers' tables: their noise, their scores, and that a command goes on where it was stopped."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from rawdenoise.capture.srgb import encode_srgb
from rawdenoise.nets import build_net
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training.objectives import NEED_BLIND_SPOTS, OBJECTIVES, Step

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CPU = torch.device("cpu")
QUICK = ["--crops", "64", "--crop", "32", "--threads", "1", "--device", "cpu"]


@pytest.fixture
def gaussian(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from lab import pictures

    return pictures


@pytest.fixture
def trials(gaussian: ModuleType) -> ModuleType:
    from lab import trials

    return trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four painted pictures, of a size that no network takes as it is."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(8)
    for number in range(4):
        scene = encode_srgb(make_scene(66, 90, rng).clip(0, 1))
        Image.fromarray((255 * scene).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def grey(value: int = 128, height: int = 200, width: int = 300) -> np.ndarray:
    return np.full((3, height, width), value, np.uint8)


def source(gaussian: ModuleType, target: str, sigma: str = "25") -> object:
    """Pictures that are all of one grey; those held out are of another."""
    return gaussian.PictureSource(
        (grey(100), grey(140)), (grey(20),), gaussian.Sigmas.parse(sigma), gaussian.Target(target)
    )


# Noise


@pytest.mark.parametrize(("text", "low", "high"), [("25", 25, 25), ("5-50", 5, 50)])
def test_noise_has_its_sigma_and_comes_again_with_its_seed(
    gaussian: ModuleType, text: str, low: float, high: float
) -> None:
    sigmas = gaussian.Sigmas.parse(text)
    assert str(sigmas) == text
    drawn = [gaussian.noisy_pixels(grey(), sigmas, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    for noisy, sigma in drawn:
        assert low <= sigma <= high
        assert (noisy - grey()).std() == pytest.approx(sigma, rel=0.01)
    assert np.array_equal(drawn[0][0], drawn[1][0])
    assert not np.array_equal(drawn[0][0], drawn[2][0])


def test_crops_have_unit_noise_and_tell_their_sigma(gaussian: ModuleType) -> None:
    batch = source(gaussian, "clean", "5-50").draw(np.random.default_rng(3), 24, 48)
    noise = (batch.noisy - batch.target)[:, :3]
    assert noise.std(dim=(1, 2, 3)).numpy() == pytest.approx(1, abs=0.05)
    sigma = 255 / batch.white[:, 0]
    assert sigma.min() < 15 < 40 < sigma.max()
    values = (sigma[:, None, None, None] * batch.target[:, :3]).round()
    assert set(values.unique().tolist()) == {100.0, 140.0}


def test_all_objectives_see_the_same_crops(gaussian: ModuleType) -> None:
    nothing, capture, clean = (
        source(gaussian, target).draw(np.random.default_rng(3), 8, 32)
        for target in ("nothing", "capture", "clean")
    )
    assert nothing.target is None
    assert torch.equal(nothing.noisy, capture.noisy)
    assert torch.equal(nothing.noisy, clean.noisy)
    assert (capture.target - capture.noisy)[:, :3].var().item() == pytest.approx(2, rel=0.05)


def test_held_out_pictures_are_not_trained_on(gaussian: ModuleType, folder: Path) -> None:
    held_out = source(gaussian, "clean").draw(np.random.default_rng(3), 8, 32, held_out=True)
    assert (25 * held_out.target[:, :3]).numpy() == pytest.approx(20)
    read = gaussian.picture_source(folder, gaussian.Sigmas(25, 25), gaussian.Target.NOTHING)
    assert (len(read.pictures), len(read.held_out)) == (3, 1)
    assert not any(np.array_equal(read.held_out[0], picture) for picture in read.pictures)


def test_the_fourth_plane_never_counts(gaussian: ModuleType) -> None:
    from lab import methods

    for method in methods.PAPERS.values():
        if method.objective is None or method.objective in NEED_BLIND_SPOTS:
            continue  # what is not valid tells a blind spot nothing: tests/test_blind_spots.py
        batch = source(gaussian, method.target).draw(np.random.default_rng(3), 2, 32)
        assert not batch.noisy[:, 3].any()
        assert not batch.valid[:, 3].any()
        assert batch.valid[:, :3].all()
        offset = torch.zeros(1, 4, 1, 1, requires_grad=True)

        def denoise(noisy: torch.Tensor, sigma: float = 1.0, offset: torch.Tensor = offset) -> torch.Tensor:
            return 0.5 * noisy + offset

        step = Step(
            denoise, torch.no_grad()(denoise), batch.noisy, batch.valid, batch.target, 0.9, method.gamma,
            torch.Generator().manual_seed(0),
        )  # fmt: skip
        OBJECTIVES[method.objective](step).backward()
        slopes = offset.grad.flatten()
        assert slopes[3] == 0, method.title
        assert (slopes[:3] != 0).all(), method.title


# Scores


def test_psnr_is_of_whole_numbers(gaussian: ModuleType) -> None:
    clean = grey()
    off_by_one, _ = gaussian.compare(gaussian.to_whole_numbers(clean + np.float32(1.2)), clean)
    assert off_by_one == pytest.approx(20 * math.log10(255))
    assert gaussian.compare(gaussian.to_whole_numbers(clean + np.float32(0.4)), clean) == (math.inf, 1)
    assert gaussian.compare(gaussian.to_whole_numbers(grey(255) + np.float32(40)), grey(255))[0] == math.inf


def test_noise_of_sigma_25_is_where_it_should_be(gaussian: ModuleType, tmp_path: Path) -> None:
    for number in range(2):
        Image.fromarray(grey().transpose(1, 2, 0)).save(tmp_path / f"{number}.png")
    sigmas, test = gaussian.Sigmas(25, 25), gaussian.TestSet("grey", tmp_path, repeats=3)
    figures = gaussian.score(test, sigmas, gaussian.as_it_is)
    assert len(set(figures.psnr)) == 6  # pictures and repeats all have noise of their own
    assert figures.mean_psnr == pytest.approx(20 * math.log10(255 / 25), abs=0.02)
    assert gaussian.score(test, sigmas, gaussian.as_it_is) == figures


@pytest.mark.parametrize("of_cameras", [False, True])
def test_pictures_of_any_size_come_back_in_their_colours(gaussian: ModuleType, of_cameras: bool) -> None:
    """An untrained network is a blur: three planes of one value each stay what they are."""
    denoise = gaussian.by_net(build_net("paper"), CPU, of_cameras=of_cameras)
    colours = np.array([30, 120, 200], np.float32)[:, None, None]
    pixels = np.broadcast_to(colours, (3, 45, 67)).copy()
    np.testing.assert_allclose(denoise(pixels, 25.0), pixels, atol=0.01)


# Commands


def run_command(words: list[str]) -> None:
    import run

    run.main(words)


def make(words: list[str]) -> None:
    """Make a table, which must end well."""
    with pytest.raises(SystemExit) as ended:
        run_command(words)
    assert not ended.value.code


def rows(work: Path, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader((work / f"{table}.csv").read_text().splitlines()))


def test_table_1_has_its_rows_and_is_made_once(
    trials: ModuleType, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        "table1", "--train", f"{folder}", "--test", f"Kodak={folder}", "--work", f"{tmp_path}",
        "--repeats", "2", "--test-images", "2", "--sigma", "25",
        "--only", "noisy,gr2r,supervised", *QUICK,
    ]  # fmt: skip
    make(command)
    lines = rows(tmp_path, "table1")
    assert [line["method"] for line in lines] == ["noisy", "gr2r", "supervised"]
    assert [line["crops"] for line in lines] == ["", "64", "64"]
    assert {line["scores"] for line in lines} == {"4"}
    assert lines[2]["published_psnr_db"] == "32.43"
    noisy, *trained = (float(line["psnr_db"]) for line in lines)
    assert 20 < noisy < 21
    assert min(trained) > noisy + 2
    page = (tmp_path / "table1.md").read_text()
    assert "| supervised (needs clean scenes) |" in page
    assert "| 32.43, 0.884 | 64 |" in page

    monkeypatch.setattr(trials, "fit", lambda *_, **__: pytest.fail("trained again"))
    make(command)
    assert (tmp_path / "table1.md").read_text() == page
    make([*command[: command.index("--only")], "--only", "supervised", *QUICK])
    assert (tmp_path / "table1.md").read_text() == page  # with one row asked for, others stay
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        make([*command, "--seeds", "1"])


@pytest.mark.long
def test_table_1_draws_how_a_training_went(
    trials: ModuleType, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        "table1", "--train", f"{folder}", "--test", f"Kodak={folder}", "--work", f"{tmp_path}",
        "--repeats", "1", "--test-images", "1", "--sigma", "25", "--only", "r2r", *QUICK,
    ]  # fmt: skip
    make(command)
    before = rows(tmp_path, "table1")[0]
    assert not list(tmp_path.glob("*.svg"))
    make([*command, "--looks", "2"])
    (after,) = rows(tmp_path, "table1")
    assert (after["psnr_db"], after["crops"]) == (before["psnr_db"], before["crops"])  # looks change nothing
    svg = tmp_path / "table1-sigma-25.svg"
    assert svg.read_bytes().startswith(b"<svg xmlns=")
    monkeypatch.setattr(trials, "fit", lambda *_, **__: pytest.fail("trained again"))
    svg.unlink()
    make([*command, "--looks", "2"])
    assert svg.exists()
    make(command)  # what is known with looks is known without


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"--train": "nowhere"}, 1, "error: "),
        ({"--crops": "0"}, 2, "0 is not in the range x>=1"),
        ({"--looks": "-1"}, 2, "-1 is not in the range x>=0"),
        ({"--test": "Kodak"}, 2, "Kodak: it has the form NAME=DIR"),
    ],
)
def test_wrong_options_end_in_a_line(
    trials: ModuleType,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    code: object,
    says: str,
) -> None:
    options = {"--train": f"{folder}", "--test": f"Kodak={folder}", "--work": f"{tmp_path}", "--only": "r2r"}
    line = [word for pair in {**options, **change}.items() for word in pair]
    with pytest.raises(SystemExit) as ended:
        run_command(["table1", *line])
    assert ended.value.code == code
    assert says in "".join(capsys.readouterr().err.splitlines()[-1:])


def test_a_stopped_table_says_how_to_go_on(
    trials: ModuleType,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lab import pictures

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "score", stopped)
    line = ["table1", "--train", f"{folder}", "--test", f"Kodak={folder}", "--work", f"{tmp_path}"]
    with pytest.raises(SystemExit) as ended:
        run_command([*line, "--only", "noisy", *QUICK])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped; to resume, run the same command again\n"


@pytest.mark.long
def test_table_3_has_curves(
    gaussian: ModuleType, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(
        ["table3", "--train", f"{folder}", "--test", f"{folder}", "--work", f"{tmp_path}", "--on", "srgb",
         "--looks", "3", "--test-images", "1", "--only", "paper-2,gr2r", *QUICK]
    )  # fmt: skip
    lines = rows(tmp_path, "table3")
    assert [line["method"] for line in lines] == ["paper-2"] * 4 + ["gr2r"] * 4
    crops = [int(line["crops"]) for line in lines[:4]]
    assert crops == sorted(set(crops))
    assert (crops[0], crops[-1]) == (0, 64)
    assert lines[0]["psnr_db"] == lines[4]["psnr_db"]  # both begin with the same network
    assert lines[3]["psnr_db"] != lines[7]["psnr_db"]
    assert (tmp_path / "table3-srgb.svg").read_bytes().startswith(b"<svg xmlns=")
    assert "| GR2R as published, gamma 2 |" in (tmp_path / "table3.md").read_text()


@pytest.mark.long
def test_looks_and_interruptions_change_nothing(
    trials: ModuleType, gaussian: ModuleType, tmp_path: Path
) -> None:
    from lab.methods import Ground
    from lab.store import Lab, Store

    crops = Ground(source(gaussian, "nothing"))

    def trained(folder: str, looks: int, *, broken_at: int | None = None) -> object:
        trial = trials.Trial("grey", "r2r", 0, "fast", 96, None, 16, 32)
        lab, seen = Lab(Store(tmp_path / folder, "1"), tmp_path), []

        def look(net: torch.nn.Module) -> float:
            seen.append(float(sum(weight.detach().abs().sum() for weight in net.parameters())))
            if len(seen) == broken_at:
                raise RuntimeError("power cut")
            return seen[-1]

        seeing = trials.Looks(looks, "", look) if looks else None
        done = trials.train(lab, trial, lambda: crops, seeing)
        return [*map(tuple, done.curve)], trials.kept_net(lab, trial).state_dict()

    curve, weights = trained("whole", 3)
    assert len({psnr for _, psnr in curve}) == 4
    _, unseen = trained("unseen", 0)
    assert all(torch.equal(weights[name], unseen[name]) for name in weights)
    for broken_at in (1, 3, 4):
        with pytest.raises(RuntimeError, match="power cut"):
            trained(f"cut {broken_at}", 3, broken_at=broken_at)
        assert trained(f"cut {broken_at}", 3)[0] == curve
