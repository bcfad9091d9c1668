from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from rawdenoise.evaluation.sidd_blocks import describe_blocks, read_blocks, read_validation
from rawdenoise.evaluation.sidd_scenes import find_scenes
from rawdenoise.formats.sidd import SIDD_CFA, read_sidd
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, unstabilize
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training.crops import mosaic_rggb, pack_rggb, turn
from rawdenoise.training.objectives import NEED_PAIRS

NOISE = NoiseModel((2e-3, 1.9e-3, 1.8e-3, 2.1e-3), (1e-5,) * 4)
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COMMAND = r"benchmarks/run\.py ([^`\n]+)"
FORMULAE = {"V": 959, "K(iso)": "0.0005995267*iso+0.00868861", "sigma2(iso)": "7e-7*iso^2+6e-4*iso+0.1"}


def run_table(*words: object) -> None:
    """Make a table, which must end well."""
    import run

    with pytest.raises(SystemExit) as ended:
        run.main([str(word) for word in words])
    assert not ended.value.code


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from lab import captures

    return captures


def pair_source(simulated: ModuleType, target: str, *, noise: float) -> object:
    """A source of two captures of a drawn scene with noise of so many sigmas, one of which is held out."""
    rng = np.random.default_rng(5)
    clean = make_scene(96, 128, rng).transpose(2, 0, 1)[[0, 1, 1, 2]].clip(0.01, 1)
    everywhere = np.ones((192, 256), bool)

    def captured() -> np.ndarray:
        drawn = noise * rng.standard_normal(clean.shape, dtype=np.float32)
        return mosaic_rggb(clean + drawn * np.sqrt(NOISE.variance(clean)))

    def pair() -> object:
        return simulated.Pair(NOISE, captured(), everywhere, captured(), everywhere, mosaic_rggb(clean))

    return simulated.PairSource((pair(),), (pair(),), simulated.Target(target))


def draw(source: object, *, held_out: bool = False) -> object:
    return source.draw(np.random.default_rng(3), 48, 24, held_out=held_out)


@pytest.mark.parametrize("held_out", [False, True])
def test_all_objectives_see_the_same_crops_and_no_more_than_they_may(
    simulated: ModuleType, held_out: bool
) -> None:
    nothing, capture, clean = (
        draw(pair_source(simulated, target, noise=1.0), held_out=held_out)
        for target in ("nothing", "capture", "clean")
    )
    assert nothing.target is None
    for other in (capture, clean):
        assert torch.equal(other.noisy, nothing.noisy)
        assert torch.equal(other.white, nothing.white)
    # Two captures differ by the noise of both, a capture and its scene by the noise of one.
    assert (capture.target - capture.noisy).var().item() == pytest.approx(2, rel=0.05)
    assert (clean.target - clean.noisy).var().item() == pytest.approx(1, rel=0.05)


def test_only_objectives_that_learn_from_pairs_are_given_targets(
    simulated: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab import methods

    for method in methods.METHODS.values():
        assert (method.target is simulated.Target.NOTHING) == (method.objective not in NEED_PAIRS)


def test_targets_lie_on_their_crops_however_they_are_turned(simulated: ModuleType) -> None:
    clean = draw(pair_source(simulated, "clean", noise=0.0))
    again = draw(pair_source(simulated, "capture", noise=0.0))
    assert torch.equal(again.target, again.noisy)
    torch.testing.assert_close(
        stabilize(unstabilize(clean.target, NOISE), NOISE), clean.noisy, rtol=0, atol=0.02
    )
    # Were the scene the same in every direction, nothing would have been shown; and all ways are drawn.
    mosaic = mosaic_rggb(clean.noisy[0].numpy())
    ways = [pack_rggb(turn(mosaic, way)) for way in range(8)]
    assert all(np.abs(ways[i] - ways[j]).max() > 0.5 for i in range(8) for j in range(i))


def test_the_phone_has_the_noise_of_its_formulae(simulated: ModuleType, tmp_path: Path) -> None:
    from lab.data import published_camera

    table = tmp_path / "published.json"
    table.write_text(json.dumps({"PMRID_OppoReno10x": FORMULAE}))
    camera = published_camera(table, "PMRID", (800, 3200), 64, 48)
    for iso, gain, variance in ((800, 0.48831, 1.028), (3200, 1.927174, 9.188)):
        assert camera.noise[iso].gain == pytest.approx(gain, rel=1e-5)
        assert camera.noise[iso].read_deviation ** 2 == pytest.approx(variance, rel=1e-5)
    assert (camera.black, camera.white) == (64, 1023)


def test_a_result_is_found_by_its_own_settings_and_code_alone(simulated: ModuleType, tmp_path: Path) -> None:
    from lab.store import Store

    settings = {"kind": "camera", "camera": "A7S2", "method": "r2r", "crops": 100, "seed": 0}
    figures = {"psnr": [40.0, 42.0], "ssim": [0.9, 0.8], "estimated_gain_db": 3.5}
    store = Store(tmp_path, "1.0-abc")
    store.save(settings, figures)
    assert store.find(settings) == figures
    assert store.find({**settings, "crops": 1000}) is None
    assert store.find({**settings, "seed": 1}) is None
    assert Store(tmp_path, "1.0-abd").find(settings) is None


def test_the_code_has_another_version_where_a_figure_may_change(
    simulated: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab import store

    package = tmp_path / "rawdenoise"
    (package / "cli").mkdir(parents=True)
    (package / "noise.py").write_text("x = 1\n")
    (package / "cli" / "text.py").write_text("x = 1\n")
    monkeypatch.setattr(store.rawdenoise, "__file__", f"{package / '__init__.py'}")

    def version() -> str:
        store.code_version.cache_clear()
        return store.code_version()

    before = version()
    (package / "noise.py").write_text('"""What it is."""\n\nx = 1  # why\n')
    (package / "cli" / "text.py").write_text("x = 2\n")
    assert version() == before
    (package / "noise.py").write_text("x = 2\n")
    assert version() != before
    store.code_version.cache_clear()


def test_every_command_in_the_docs_is_one_and_every_table_is_listed(simulated: ModuleType) -> None:
    import run

    root = BENCHMARKS.parent
    texts = [path.read_text() for path in (*root.glob("*.md"), *root.glob("docs/*.md"))]
    quoted = [words for text in texts for words in re.findall(COMMAND, text.replace("\\\n", " "))]
    listed = CliRunner().invoke(run.main, ["--list"])
    assert listed.exit_code == 0
    quoted += [line.split("run.py ")[1] for line in listed.output.splitlines() if "run.py " in line]
    assert {words.split()[0] for words in quoted} >= {"quality", "table3", "soak", "fuzz"}
    for words in quoted:
        name, *arguments = shlex.split(words.split(" #")[0])
        if name.startswith("--") or name == "TABLE":
            continue
        command = run.main.get_command(None, name)
        assert command is not None, words
        command.make_context(name, arguments)
    for path in re.findall(r"benchmarks/([a-z_/0-9]+\.py)", " ".join(texts)):
        assert (BENCHMARKS / path).is_file(), path


@pytest.fixture
def stand_in(simulated: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for SIDD, with the table of published noise beside it."""
    from lab import standin

    (tmp_path / "noise").mkdir()
    table, out = tmp_path / "noise" / "published.json", tmp_path / "out"
    sensor = {"black": 64, "white": 1023, "iso": {str(iso): {"K": iso / 1e3, "sigma_gauss": 1.0}
              for iso in (100, 6400)}}  # fmt: skip
    entries, entry = standin.SAMSUNG_TAG
    table.write_text(
        json.dumps({"PMRID_OppoReno10x": FORMULAE, "IMX686_PNNP": sensor, entries: {entry: [4.8e-4, 0.0]}})
    )
    for seed, folder in enumerate(("shown", "trained-on")):
        (tmp_path / folder).mkdir()
        grey = np.random.default_rng(seed).integers(60, 200, (13, 13, 3)).astype(np.uint8)
        Image.fromarray(grey).resize((540, 540)).save(tmp_path / folder / "one.png")
    line = ["--data", tmp_path, "--pictures", tmp_path / "shown", "--training", tmp_path / "trained-on"]
    size = ["--out", out, "--scenes", 10, "--blocks", 2, "--frames", 2, "--work", tmp_path / "work"]
    run_table("sidd-standin", *line, *size)
    return out


@pytest.mark.long
def test_the_stand_in_for_sidd_reads_as_sidd_and_says_that_it_is_none(stand_in: Path) -> None:
    from lab import standin

    table, out = stand_in.parent / "noise" / "published.json", stand_in
    assert describe_blocks(out) == "stand-in: five simulated phones, not SIDD"
    noisy, clean = read_validation(out)
    assert noisy.shape == clean.shape == (10, 2, 256, 256)
    again = read_blocks(out / "BenchmarkNoisyBlocksRaw.mat")
    assert again.shape == noisy.shape
    assert not np.array_equal(again, noisy)
    scenes = find_scenes(out, 10)
    assert (out / "scenes.txt").read_text().split() == [scene.name for scene in scenes]
    assert {scene.code for scene in scenes} == set(SIDD_CFA)
    for scene, one, truth in zip(scenes, noisy, clean, strict=True):
        assert scene.camera.name == f"Simulated {scene.code} stand-in"
        camera = standin.phone_camera(table, scene.code)
        shot = camera.noise[scene.iso].gain / (camera.white - camera.black)
        read = (camera.noise[scene.iso].read_deviation / (camera.white - camera.black)) ** 2
        expected = np.mean(shot * truth + read)
        assert np.mean((one - truth) ** 2) == pytest.approx(expected, rel=0.15)
    frames = sorted(out.glob("SIDD_Medium_Raw/Data/*/*_NOISY_RAW_010.MAT"))
    assert len(frames) == 20
    for frame in frames:
        raw = read_sidd(frame)
        code = frame.parent.name.split("_")[2]
        assert (raw.camera.name, raw.cfa) == (f"Simulated {code} stand-in", SIDD_CFA[code])
        assert raw.notes == ()
        truth = read_sidd(Path(str(frame).replace("NOISY", "GT")))
        assert truth.mosaic.shape == raw.mosaic.shape
        again = read_sidd(frame.with_name(frame.name.replace("RAW_010", "RAW_011")))
        assert not np.array_equal(again.mosaic, raw.mosaic)


@pytest.mark.long
def test_table_2_has_every_kind_of_method_and_does_nothing_twice(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tables import phones

    data, work = stand_in, tmp_path / "work"
    methods = ["noisy", "base-fast", "supervised", "noise2noise", "d-bsn", "d-bsn-mean", "unpaired"]
    line = ["--sidd", data, "--work", work, "--phones", "G4", "--limit-blocks", 1, "--only"]
    line += [",".join(methods), "--crops", 32, "--crop", 32, "--threads", 1, "--device", "cpu"]
    run_table("table2", *line)
    rows = list(csv.DictReader((work / "table2.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == set(methods)
    psnr = {row["method"]: float(row["psnr_db"]) for row in rows}
    assert len(set(psnr.values())) == len(methods)
    assert psnr["base-fast"] > psnr["noisy"] + 0.5
    assert {row["scores"] for row in rows} == {"2"}
    assert "stand-in: five simulated phones, not SIDD" in (work / "table2.md").read_text()

    monkeypatch.setattr(phones.sidd, "denoise_scene", None)
    before = (work / "table2.csv").read_bytes()
    run_table("table2", *line)
    assert (work / "table2.csv").read_bytes() == before


def test_the_cost_of_a_second_decoder_is_measured_with_it_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from tables import speed

    from rawdenoise.formats import libraw
    from rawdenoise.formats.dng import writer as dng

    calls = {"_find_libraw_difference": 0, "second_opinion": 0}
    for module, name in ((dng, "_find_libraw_difference"), (libraw, "second_opinion")):
        original = getattr(module, name)

        def counted(*given: object, name: str = name, original: object = original) -> object:
            calls[name] += 1
            return original(*given)

        monkeypatch.setattr(module, name, counted)
    monkeypatch.setitem(speed.SIZES, 1, (64, 48))
    line = ["read-back", "--megapixels", 1, "--rounds", 2, "--work", tmp_path]
    run_table(*line)
    page = capsys.readouterr().out
    table = page.splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| write and read back", "| read"]
    assert calls == {
        "_find_libraw_difference": 1 + 2,
        "second_opinion": 1 + 2,
    }  # the capture itself, then two rounds
    run_table(*line, "--report")
    assert capsys.readouterr().out == page
    assert sum(calls.values()) == 6
