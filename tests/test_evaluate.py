"""Evaluation on SIDD's blocks, in files of the published layout that the tests write themselves."""

import base64
import csv
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from scipy import io, signal
from test_models import trained
from test_sidd import metadata

from rawdenoise.app.stores import user_stores
from rawdenoise.atomic import TEMPORARY_MARK
from rawdenoise.capture.raw import Camera
from rawdenoise.cli import main
from rawdenoise.cli.wording import name_options
from rawdenoise.errors import FileError, ModelMissingError, NamelessScenesError
from rawdenoise.evaluation import sidd_scores as evaluation
from rawdenoise.evaluation.sidd_blocks import BENCHMARK, CLEAN, NOISY, describe_blocks
from rawdenoise.evaluation.sidd_scenes import SCENE_NAMES, Scene, find_scenes, parse_scene
from rawdenoise.evaluation.sidd_scores import (
    DenoisedScene,
    choose_models,
    denoise_scene,
    evaluate,
    summarize,
    summarize_cameras,
)
from rawdenoise.formats.sidd import SIDD_CFA, read_sidd_blocks
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.model import Model
from rawdenoise.noise.estimate import sample_noise
from rawdenoise.noise.evidence import Kind
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.model import NoiseModel

NAMES = ("0001_001_S6_00800_00060_3200_L", "0002_001_GP_01600_00060_3200_N", "0003_001_IP_00100_00060_3200_N")
COLOURS = {"R": 0.7, "G": 0.5, "B": 0.2}
BLOCKS, SIDE = 2, 64


@pytest.fixture(autouse=True)
def _one_thread(own_store: Path) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def coloured(code: str, count: int = BLOCKS) -> np.ndarray:
    """Blocks with a smooth scene whose red, green and blue differ, at the sites that the phone has them."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    tile = np.array([COLOURS[letter] for letter in SIDD_CFA[code].value]).reshape(2, 2)
    return np.stack([np.tile(tile, (SIDE // 2, SIDE // 2)) * (0.8 + 0.2 * x * y)] * count).astype(np.float32)


def noisy_of(clean: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(clean.shape) * np.sqrt((1 + seed) * (1e-3 * clean + 1e-5))
    return (clean + noise).clip(0, 1).astype(np.float32)


CLEAN_BLOCKS = np.stack([coloured(parse_scene(name).code) for name in NAMES])
NOISY_BLOCKS = np.stack([noisy_of(blocks, seed) for seed, blocks in enumerate(CLEAN_BLOCKS)])
SCENES = tuple(parse_scene(name) for name in NAMES)


def save_blocks(folder: Path, **blocks: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in blocks.items():
        io.savemat(folder / f"{name}.mat", {name: array}, do_compression=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as SIDD's would be unpacked, of three scenes that a list names."""
    folder = tmp_path / "data"
    save_blocks(folder / "blocks", **{NOISY: NOISY_BLOCKS, CLEAN: CLEAN_BLOCKS, BENCHMARK: NOISY_BLOCKS})
    (folder / "scenes.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def run(data: Path, *arguments: object, scenes: bool = True) -> Result:
    named = ["--scenes", str(data / "scenes.txt")] if scenes else []
    line = ["evaluate", "sidd", "--data", str(data), "--device", "cpu", *named, *map(str, arguments)]
    return CliRunner().invoke(main, line)


def identity(blocks: np.ndarray, scene: Scene) -> DenoisedScene:
    return DenoisedScene(blocks, scene.code.lower(), Kind.CAPTURE, 2.0)


# ---------------------------------------------------------------- figures


def expected_psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one.astype(np.float64) - other) ** 2)))


def expected_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """The formula of Wang et al. with two-dimensional convolutions."""
    axis = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(axis, axis) / axis.sum() ** 2

    def mean(of: np.ndarray) -> np.ndarray:
        return signal.convolve2d(of, window, mode="valid")

    a, b = 255 * one.astype(np.float64), 255 * other.astype(np.float64)
    covariance = mean(a * b) - mean(a) * mean(b)
    variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean(a) * mean(b) + c1) * (2 * covariance + c2)
    return float((likeness / ((mean(a) ** 2 + mean(b) ** 2 + c1) * (variances + c2))).mean())


def test_what_changes_nothing_has_the_figures_of_the_noisy_blocks() -> None:
    results = list(evaluate(NOISY_BLOCKS, CLEAN_BLOCKS, SCENES, identity))
    pairs = list(zip(NOISY_BLOCKS.reshape(-1, SIDE, SIDE), CLEAN_BLOCKS.reshape(-1, SIDE, SIDE), strict=True))
    scores = [score for result in results for score in result.scores]
    for score, (noisy, clean) in zip(scores, pairs, strict=True):
        assert score.psnr == score.noisy_psnr == pytest.approx(expected_psnr(noisy, clean), abs=1e-6)
        assert score.ssim == score.noisy_ssim == pytest.approx(expected_ssim(noisy, clean), abs=1e-6)
    overall = summarize(results, "all")
    # The mean of the blocks' PSNR is not the PSNR of their mean error.
    assert overall.psnr == pytest.approx(np.mean([expected_psnr(*pair) for pair in pairs]), abs=1e-6)
    assert abs(overall.psnr - expected_psnr(NOISY_BLOCKS, CLEAN_BLOCKS)) > 0.05
    assert overall.seconds_per_megapixel == pytest.approx(6.0 * 1024**2 / NOISY_BLOCKS.size)


def test_before_and_after_are_not_confused() -> None:
    def halve(blocks: np.ndarray, scene: Scene) -> DenoisedScene:
        return replace(identity(blocks, scene), blocks=(blocks + coloured(scene.code)) / 2)

    (score, _) = next(evaluate(NOISY_BLOCKS, CLEAN_BLOCKS, SCENES, halve)).scores
    assert score.noisy_psnr == pytest.approx(expected_psnr(NOISY_BLOCKS[0, 0], CLEAN_BLOCKS[0, 0]), abs=1e-6)
    assert score.psnr - score.noisy_psnr == pytest.approx(20 * np.log10(2), abs=1e-4)
    assert score.ssim > score.noisy_ssim


def test_cameras_are_grouped_whatever_the_order_of_their_scenes() -> None:
    scenes = (SCENES[0], SCENES[1], replace(SCENES[0], name=NAMES[2]))
    results = list(evaluate(NOISY_BLOCKS, CLEAN_BLOCKS, scenes, identity))
    pixel, samsung = summarize_cameras(results)
    assert [(each.name, each.scenes, each.blocks) for each in (pixel, samsung)] == [
        ("GP", 1, 2),
        ("S6", 2, 4),
    ]
    assert pixel.models == ("gp",)
    assert pixel.psnr == pytest.approx(np.mean([score.psnr for score in results[1].scores]))
    of_samsung = [score.psnr for result in (results[0], results[2]) for score in result.scores]
    assert samsung.psnr == pytest.approx(np.mean(of_samsung))


# ---------------------------------------------------------------- denoising


@pytest.mark.parametrize("code", list(SIDD_CFA))
def test_every_phone_s_blocks_are_seen_in_rggb_and_put_back(
    monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    factors = np.array([0.5, 0.9, 0.7, 0.8], np.float32)

    def scale_planes(planes: np.ndarray, *_: object, device: str) -> np.ndarray:
        means = planes.mean(axis=(1, 2)) / planes.mean(axis=(1, 2))[1]
        np.testing.assert_allclose(means, [7 / 5, 1, 1, 2 / 5], rtol=0.03)
        return planes * factors[:, None, None]

    monkeypatch.setattr(evaluation, "denoise_planes", scale_planes)
    clean, scene = coloured(code), replace(SCENES[0], code=code)
    out = denoise_scene(clean, scene, trained()).blocks
    letters = np.array(list(SIDD_CFA[code].value)).reshape(2, 2)
    for row, column in np.ndindex(2, 2):
        ratio = out[:, row::2, column::2] / clean[:, row::2, column::2]
        beside_red = "R" in letters[row]
        expected = {"R": 0.5, "B": 0.8, "G": 0.9 if beside_red else 0.7}[letters[row, column]]
        np.testing.assert_allclose(ratio, expected, rtol=1e-4)


@pytest.mark.parametrize("code", list(SIDD_CFA))
def test_a_mirrored_scene_is_denoised_alike(code: str) -> None:
    row, column = SIDD_CFA[code].red
    noisy = noisy_of(coloured("IP"))
    upright = denoise_scene(noisy, replace(SCENES[0], code="IP"), trained()).blocks
    step = (slice(None), slice(None, None, -1 if row else 1), slice(None, None, -1 if column else 1))
    turned = denoise_scene(np.ascontiguousarray(noisy[step]), replace(SCENES[0], code=code), trained())
    np.testing.assert_array_equal(turned.blocks, upright[step])
    assert np.abs(upright - noisy).max() > 0.01
    assert upright.min() >= 0
    assert upright.max() <= 1


def test_the_bundled_model_makes_blocks_better() -> None:
    def denoise(blocks: np.ndarray, scene: Scene) -> DenoisedScene:
        return denoise_scene(blocks, scene, load_bundled("fast"))

    overall = summarize(list(evaluate(NOISY_BLOCKS, CLEAN_BLOCKS, SCENES, denoise)), "all")
    assert overall.psnr > overall.noisy_psnr + 5
    assert overall.noise_from == ("capture",)


def test_the_noise_is_what_all_blocks_of_a_scene_show(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[NoiseModel] = []

    def remember(planes: np.ndarray, noise: NoiseModel, *_: object, device: str) -> np.ndarray:
        seen.append(noise)
        return planes

    monkeypatch.setattr(evaluation, "denoise_planes", remember)
    blocks = noisy_of(coloured("IP", 8))
    denoise_scene(blocks, replace(SCENES[2], iso=800), trained())
    planes = [np.stack([b[::2, ::2], b[::2, 1::2], b[1::2, ::2], b[1::2, 1::2]]) for b in blocks]
    everywhere = np.ones(planes[0].shape, bool)
    assert seen == [fit_noise([sample_noise(each, valid=everywhere) for each in planes])] * 8
    assert seen[0] != fit_noise([sample_noise(planes[0], valid=everywhere)])
    np.testing.assert_allclose(seen[0].shot, 1e-3, rtol=0.1)


def test_the_first_blocks_of_a_scene_are_denoised_as_with_all_the_others() -> None:
    every = denoise_scene(NOISY_BLOCKS[0], SCENES[0], load_bundled("fast"))
    first = denoise_scene(NOISY_BLOCKS[0], SCENES[0], load_bundled("fast"), limit=1)
    np.testing.assert_array_equal(first.blocks, every.blocks[:1])
    (result,) = evaluate(NOISY_BLOCKS[:1], CLEAN_BLOCKS[:1], SCENES[:1], lambda *_: first)
    assert [score.psnr for score in result.scores] == [
        pytest.approx(expected_psnr(every.blocks[0], CLEAN_BLOCKS[0, 0]), abs=1e-6)
    ]
    assert result.megapixels == SIDE**2 / 1024**2


def test_saturated_pixels_stay_as_they_are() -> None:
    noisy = NOISY_BLOCKS[0].copy()
    noisy[:, 10:20, 10:20] = 1
    out = denoise_scene(noisy, SCENES[0], trained()).blocks
    assert (out[:, 10:20, 10:20] == 1).all()


def test_a_phone_s_own_model_knows_the_noise_of_its_isos() -> None:
    """The model was trained on ISO 100 of this phone, in a mode that blocks do not tell."""
    model = trained(Camera("samsung", "SM-G925I", mode="5312x2988 16-bit"))
    at_100, at_800 = (replace(SCENES[0], iso=iso) for iso in (100, 800))
    assert denoise_scene(NOISY_BLOCKS[0], at_100, model).noise_from is Kind.POOLED
    assert denoise_scene(NOISY_BLOCKS[0], at_800, model).noise_from is Kind.CAPTURE
    other_phone = replace(SCENES[1], iso=100)
    assert denoise_scene(NOISY_BLOCKS[1], other_phone, model).noise_from is Kind.CAPTURE


# ---------------------------------------------------------------- models and scenes


def saved(*cameras: Camera) -> list[str]:
    models = [trained(camera, seed=seed) for seed, camera in enumerate(cameras)]
    return [user_stores().models.save(model).name for model in models]


def chosen(*ids: str, base: str = "fast") -> list[str]:
    choose: Callable[[Scene], Model] = choose_models(ids, user_stores().models, bundled=base, device="cpu")
    return [choose(scene).card.id for scene in SCENES]


def test_each_phone_gets_its_own_model_and_the_rest_a_base() -> None:
    fast, best = load_bundled("fast").card.id, load_bundled("best").card.id
    assert chosen(base="best") == [best] * 3
    samsung, pixel, another = saved(
        Camera("SAMSUNG", "SM-G925I", mode="any"), Camera("Google", "Pixel"), Camera("Google", "Pixel 2")
    )
    assert chosen() == [samsung, pixel, fast]
    assert chosen(samsung, another) == [samsung, fast, fast]
    assert chosen(samsung, "best") == [samsung, best, best]
    assert chosen(another) == [another] * 3
    with pytest.raises(ModelMissingError):
        chosen("nothing-called-this", "fast")


def test_scenes_without_a_list_are_those_of_the_published_files(tmp_path: Path) -> None:
    scenes = find_scenes(tmp_path, 40)
    assert tuple(scene.name for scene in scenes) == SCENE_NAMES == tuple(sorted(set(SCENE_NAMES)))
    assert [scene.code for scene in scenes[:6]] == ["S6", "GP", "N6", "G4", "IP", "GP"]
    assert scenes[0].camera == Camera("samsung", "Galaxy S6 edge")
    with pytest.raises(
        NamelessScenesError, match="give a list with the name of a scene on each line"
    ) as error:
        find_scenes(tmp_path, 39)
    assert "give --scenes FILE with the name of a scene on each line" in name_options(error.value)


def test_the_benchmark_s_folders_name_scenes_and_phones(tmp_path: Path) -> None:
    for name in reversed(NAMES):
        (tmp_path / "SIDD_Benchmark_Data" / name).mkdir(parents=True)
    path = tmp_path / "SIDD_Benchmark_Data" / NAMES[1] / "0002_METADATA_RAW_010.MAT"
    io.savemat(path, {"metadata": metadata(Make="Google", Model="Pixel, renamed")})
    scenes = find_scenes(tmp_path, 3)
    assert tuple(scene.name for scene in scenes) == NAMES
    assert [scene.camera.model for scene in scenes] == ["Galaxy S6 edge", "Pixel, renamed", "iPhone 7"]
    assert scenes[1].is_by(Camera("google", "pixel, RENAMED", mode="any"))
    with pytest.raises(FileError, match="names 3 scenes, but the files of blocks hold 40"):
        find_scenes(tmp_path, 40)


# ---------------------------------------------------------------- the command


def test_the_table_shows_every_phone_and_all(data: Path) -> None:
    result = run(data, "--csv", data / "out" / "blocks.csv")
    assert result.exit_code == 0, result.output
    title, heading, *rows = result.stdout.splitlines()
    assert title == "SIDD validation, raw-RGB (a part, or another set)"
    assert heading.split()[:3] == ["camera", "scenes", "blocks"]
    assert [row.split()[0] for row in rows] == ["GP", "IP", "S6", "all"]
    assert [row.split()[2] for row in rows] == ["2", "2", "2", "6"]
    assert "not the full set (40 x 32 x 256 x 256)" in result.stderr
    assert "validation: 3 of 3 scenes" in result.stderr
    with (data / "out" / "blocks.csv").open() as file:
        blocks = list(csv.DictReader(file))
    assert [(row["scene"], row["camera"], row["block"]) for row in blocks[:3]] == [
        (NAMES[0], "S6", "0"), (NAMES[0], "S6", "1"), (NAMES[1], "GP", "0"),
    ]  # fmt: skip
    mean = np.mean([float(row["psnr"]) for row in blocks])
    assert f"{mean:.2f}" == rows[-1].split()[4]


def test_a_stand_in_is_called_one(data: Path) -> None:
    (data / "README.txt").write_text("stand-in: simulated, not SIDD\n\nand more\n")
    assert describe_blocks(data.parent) == "stand-in: simulated, not SIDD"  # the folder above will do
    name = run(data, "--limit-blocks", 1).stdout.splitlines()[0]
    assert name == "stand-in: simulated, not SIDD (a part, or another set)"
    said = json.loads(run(data, "--limit-blocks", 1, "--json").stdout)
    assert (said["data"], said["full_set"]) == ("stand-in: simulated, not SIDD", False)


def test_json_says_what_the_table_says(data: Path) -> None:
    saved(Camera("Google", "Pixel"))
    save_blocks(data / "blocks", **{NOISY: CLEAN_BLOCKS})
    said = json.loads(run(data, "--limit-blocks", 1, "--json").stdout)
    assert [(row["name"], row["blocks"]) for row in said["cameras"]] == [("GP", 1), ("IP", 1), ("S6", 1)]
    assert said["cameras"][0]["models"][0].startswith("google-pixel-")
    assert said["overall"]["noisy_psnr"] is None  # infinite: the blocks are the truth
    assert said["overall"]["noisy_ssim"] == pytest.approx(1)
    assert said["overall"]["psnr"] > 30


def test_a_model_that_is_asked_for_serves_all_phones(data: Path) -> None:
    (pixel,) = saved(Camera("Google", "Pixel"))
    said = json.loads(run(data, "--model", pixel[:8], "--json").stdout)
    assert said["overall"]["models"] == [pixel]


def denoised_alone() -> np.ndarray:
    model = load_bundled("fast")
    return np.stack([denoise_scene(b, s, model).blocks for b, s in zip(NOISY_BLOCKS, SCENES, strict=True)])


def test_what_is_handed_in_reads_back(data: Path) -> None:
    output = data / "out" / "SubmitRaw.mat"
    result = run(data, "--submit", output, "--about", "Authors=A. Nonymous", "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)
    found = io.loadmat(output, simplify_cells=True)
    assert found["DenoisedBlocksRaw"].dtype == np.float32
    np.testing.assert_array_equal(found["DenoisedBlocksRaw"], denoised_alone())
    assert isinstance(found["TimeMPRaw"], float)
    assert found["TimeMPRaw"] > 0
    assert found["OptionalData"]["Authors"] == "A. Nonymous"
    assert load_bundled("fast").card.id in found["OptionalData"]["MethodName"]
    assert [path.name for path in output.parent.iterdir()] == ["SubmitRaw.mat"]


def test_kaggle_s_form_holds_the_same_blocks_and_needs_no_truth(data: Path) -> None:
    for name in (NOISY, CLEAN):
        (data / "blocks" / f"{name}.mat").unlink()
    result = run(data, "--submit", data / "SubmitRaw.csv")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    csv.field_size_limit(1 << 20)
    with (data / "SubmitRaw.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["ID"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    blocks = [np.frombuffer(base64.b64decode(row["BLOCK"]), "<f4").reshape(SIDE, SIDE) for row in rows]
    np.testing.assert_array_equal(np.stack(blocks), denoised_alone().reshape(-1, SIDE, SIDE))


# ---------------------------------------------------------------- what is wrong


def lose_the_noisy(data: Path) -> None:
    (data / "blocks" / f"{NOISY}.mat").unlink()


def lose_the_truth(data: Path) -> None:
    (data / "blocks" / f"{CLEAN}.mat").unlink()


def lose_a_scene_of_the_truth(data: Path) -> None:
    save_blocks(data / "blocks", **{CLEAN: CLEAN_BLOCKS[:2]})


def three_axes(data: Path) -> None:
    save_blocks(data / "blocks", **{NOISY: NOISY_BLOCKS[0]})


def odd_size(data: Path) -> None:
    save_blocks(data / "blocks", **{NOISY: NOISY_BLOCKS[..., :-1]})


def not_a_number(data: Path) -> None:
    blocks = NOISY_BLOCKS.copy()
    blocks[1, 1, 5, 5] = np.nan
    save_blocks(data / "blocks", **{NOISY: blocks})


def in_dn(data: Path) -> None:
    save_blocks(data / "blocks", **{CLEAN: 1023 * CLEAN_BLOCKS})


def other_variable(data: Path) -> None:
    io.savemat(data / "blocks" / f"{NOISY}.mat", {CLEAN: NOISY_BLOCKS})


def truncate(data: Path) -> None:
    path = data / "blocks" / f"{NOISY}.mat"
    path.write_bytes(path.read_bytes()[:20_000])


def empty(data: Path) -> None:
    (data / "blocks" / f"{NOISY}.mat").write_bytes(b"")


def short_list(data: Path) -> None:
    (data / "scenes.txt").write_text("\n".join(NAMES[:2]))


def foreign_list(data: Path) -> None:
    (data / "scenes.txt").write_text("\n".join((*NAMES[:2], "0001_001_S7_00100_00060_3200_L")))


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lose_the_noisy, "ValidationNoisyBlocksRaw.mat: there is no such file"),
        (lose_the_truth, "ValidationGtBlocksRaw.mat: there is no such file"),
        (lose_a_scene_of_the_truth, "holds (2, 2, 64, 64), but ValidationNoisyBlocksRaw.mat (3, 2, 64, 64)"),
        (three_axes, "not scenes of raw blocks"),
        (odd_size, "not scenes of raw blocks of even size"),
        (not_a_number, "holds values from nan to nan"),
        (in_dn, "not raw blocks of 0..1"),
        (other_variable, "no variable ValidationNoisyBlocksRaw"),
        (truncate, "is truncated"),
        (empty, "is empty"),
        (short_list, "names 2 scenes, but the files of blocks hold 3"),
        (foreign_list, "scenes.txt: 0001_001_S7_00100_00060_3200_L is no scene of SIDD's"),
    ],
)
def test_bad_files_are_one_clear_line(data: Path, break_it: Callable[[Path], None], says: str) -> None:
    break_it(data)
    result = run(data)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


def test_scenes_that_nothing_names_are_asked_for(data: Path) -> None:
    result = run(data, scenes=False)
    assert result.exit_code == 1
    assert "give --scenes FILE" in result.stderr.splitlines()[-1]


def test_without_scipy_the_user_is_told_to_install_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    here = SimpleNamespace(call=lambda name, path: read_sidd_blocks(path))
    monkeypatch.setattr("rawdenoise.evaluation.sidd_blocks.shared_reader", lambda: here)
    result = run(data)
    assert result.exit_code == 3
    assert 'pip install "rawdenoise[sidd]"' in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("--submit", "out.txt"), 1, "out.txt: is neither a .mat nor a .csv file"),
        (("--submit", "out.mat", "--limit-blocks", 1), 2, "--submit needs all blocks"),
        (("--submit", "out.mat", "--about", "Author=me"), 2, "give one of MethodName, Authors"),
        (("--about", "Venue=none"), 2, "--about is for --submit"),
        (("--model", "nobody"), 3, "no model called 'nobody'"),
        (("--device", "cuda:99"), 3, "'cuda:99' is not available"),
        (("--data", "nowhere"), 2, "does not exist"),
    ],
)
def test_bad_arguments_are_refused_before_the_work(
    data: Path, arguments: tuple[object, ...], exit_code: int, says: str
) -> None:
    result = run(data, *arguments)
    assert result.exit_code == exit_code
    assert says in result.stderr
    assert "validation:" not in result.stderr


@pytest.mark.parametrize("option", ["--submit", "--csv"])
def test_what_could_not_be_written_is_refused_before_the_work(data: Path, option: str) -> None:
    (data / "file").write_text("in the way")
    result = run(data, option, data / "file" / "out.csv")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(data.rglob(f"{TEMPORARY_MARK}*"))
