from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from conftest import PATIENCE_S, soon
from test_cli_denoise import CAMERA, _one_thread, a_capture, denoise, start

from rawdenoise.app.denoise import DenoiseRequest, plan_batch
from rawdenoise.app.stores import user_stores
from rawdenoise.calibration.frames import find_frame_files
from rawdenoise.capture.raw import Camera, Cfa
from rawdenoise.cli import main
from rawdenoise.cli.training_report import REMEDIES
from rawdenoise.errors import DiskFullError
from rawdenoise.files.digests import Digests
from rawdenoise.formats import read_raw
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.models.bundled import load_bundled
from rawdenoise.training.captures import gather_captures
from rawdenoise.training.risk import RiskFigures

__all__ = ["_one_thread"]  # a fixture that pytest finds here too

pytestmark = pytest.mark.usefixtures("few_crops")


def train(folder: Path, *arguments: object) -> Result:
    options = ["--scratch", folder / "scratch", "--device", "cpu", "--keep-if-worse", *arguments]
    return CliRunner().invoke(main, ["train", *map(str, options)])


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    for number in range(3):
        a_capture(tmp_path / "captures" / f"{number}.dng", 192, 256, seed=number)
    return tmp_path / "captures"


def test_from_noisy_captures_to_denoised_files(captures: Path, tmp_path: Path) -> None:
    trained = train(tmp_path, captures, "--images", "16")
    assert trained.exit_code == 0, trained.output
    assert "Test One (256x192 14-bit): 3 captures, ISO 800" in trained.stderr
    id, *figures, following = trained.stdout.splitlines()
    assert id == f"model {user_stores().models.cards()[0].id}"
    assert figures
    assert not list((tmp_path / "scratch").rglob("*.*"))
    assert following == f"next: rawdenoise denoise {captures} -o out"

    unseen = a_capture(tmp_path / "unseen.dng", 192, 256, seed=9)
    results = {}
    for strength in ("1", "0"):
        result = denoise(unseen, "-o", tmp_path / strength, "--strength", strength)
        assert result.exit_code == 0, result.output
        results[strength] = read_raw(tmp_path / strength / "unseen.dng").mosaic
    assert np.array_equal(results["0"], read_raw(unseen).mosaic)
    assert not np.array_equal(results["1"], read_raw(unseen).mosaic)


def test_a_worse_model_never_replaces_a_better_one(captures: Path, tmp_path: Path) -> None:
    """A training of no time from nothing is worse than the bundled model, so nothing comes of it."""
    options = ["--scratch", str(tmp_path / "scratch"), "--from-nothing", "--images", "16"]
    result = CliRunner().invoke(main, ["train", str(captures), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("no new model")
    assert f"against {load_bundled('fast').card.id}: -" in result.stdout
    assert "--keep-if-worse" in result.stdout.splitlines()[-2]
    assert f"stays in {tmp_path / 'scratch'}" in result.stdout.splitlines()[-1]
    assert not user_stores().models.cards()


def test_a_model_that_loses_by_its_own_estimate_is_not_kept_though_the_present_one_loses_more(
    captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loses = RiskFigures(risk=1.667, chi2=0.66, bias=0.0, divergence=1.0, error=0.01)
    monkeypatch.setattr("rawdenoise.training.comparison.summarize", lambda sums: loses)
    monkeypatch.setattr("rawdenoise.training.comparison.compare_risks", lambda one, other: (0.5, 0.0))
    a_capture(captures / "3.dng", 192, 256, seed=3)  # four: one can be held out
    options = ["--scratch", str(tmp_path / "scratch"), "--device", "cpu", "--images", "16"]
    result = CliRunner().invoke(main, ["train", str(captures), *options])
    assert result.exit_code == 0, result.output
    first, *lines = result.stdout.splitlines()
    assert first == "no new model: this one is estimated to make captures held out worse, by 2.22 dB"
    assert "the present one loses too, by 2.22 dB: `denoise` leaves such pictures alone" in lines
    assert any("rawdenoise calibrate" in line for line in lines)
    assert not user_stores().models.cards()
    result = train(tmp_path, captures, "--images", "16")
    assert result.stdout.startswith("model ")
    assert "kept as asked for, though it loses" in result.stdout
    assert user_stores().models.cards()


def test_json_is_an_object_for_each_camera_and_nothing_else(captures: Path, tmp_path: Path) -> None:
    other = Camera("Other", "Other 2")
    for number in range(3):  # too small to train on
        a_capture(captures / "other" / f"{number}.dng", 30, 30, seed=number, camera=other)
    scratch = ["--scratch", str(tmp_path / "scratch"), "--device", "cpu", "--crops", "16", "--json"]
    result = CliRunner().invoke(main, ["train", str(captures), "--from-nothing", *scratch])
    assert result.exit_code == 1, result.output
    told = {each["camera"]: each for each in map(json.loads, result.stdout.splitlines())}
    assert told.keys() == {CAMERA.name, other.name}
    mine, failed = told[CAMERA.name], told[other.name]
    assert (mine["outcome"], mine["model"], mine["captures"]) == ("not better", None, 3)
    assert mine["reason"] == "the present one is as good on held-out captures"
    assert mine["against"] == load_bundled("fast").card.id
    assert mine["gain_db"] < mine["against_gain_db"]
    assert mine["scratch"] == str(tmp_path / "scratch")
    assert (failed["outcome"], failed["exit_code"], failed["figures"]) == ("failed", 1, None)
    assert "too small" in failed["reason"]
    kept = CliRunner().invoke(main, ["train", str(captures), "--keep-if-worse", *scratch])
    mine = next(each for each in map(json.loads, kept.stdout.splitlines()) if each["camera"] == CAMERA.name)
    assert (mine["outcome"], mine["reason"], mine["scratch"]) == ("kept", None, None)
    (card,) = user_stores().models.cards()
    assert (mine["model"], mine["figures"]) == (card.id, card.figures)


def test_former_names_still_work(captures: Path, tmp_path: Path) -> None:
    assert train(tmp_path, captures, "--images", "16").exit_code == 0
    unread = {"RAWDENOISE_TRAIN_IMAGES": "-3", "RAWDENOISE_TRAIN_MINUTES": "1"}
    said = CliRunner().invoke(main, ["train", str(captures)], env=unread)
    assert (said.exit_code, "-3" in said.stderr) == (2, True)
    said = CliRunner().invoke(main, ["train-base", str(tmp_path / "base.rawdenoise")])
    assert (said.exit_code, "--minutes or --crops" in said.stderr) == (2, True)
    for command in ("train-base", "train-bundled"):
        for variable in ("BASE_SCENES", "BUNDLED_SCENES", "BASE_IMAGES"):
            said = CliRunner().invoke(main, [command, "x"], env={f"RAWDENOISE_TRAIN_{variable}": "-3"})
            assert (said.exit_code, "-3" in said.stderr) == (2, True)
    today = {"RAWDENOISE_TRAIN_BUNDLED_SCENES": "-4", "RAWDENOISE_TRAIN_BASE_SCENES": "-3"}
    assert "-4" in CliRunner().invoke(main, ["train-base", "x"], env=today).stderr
    helped = (
        CliRunner().invoke(main, ["train", "--help"]).output + CliRunner().invoke(main, ["--help"]).output
    )
    assert "--images" not in helped
    assert "train-base" not in helped


def test_a_store_that_takes_no_model_is_named_before_the_training(
    captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").write_text("a file")
    monkeypatch.setenv("RAWDENOISE_MODELS", str(tmp_path / "store"))
    result = train(tmp_path, captures, "--images", "16")
    assert result.exit_code == 1
    assert f"{tmp_path / 'store'}" in result.stderr.splitlines()[-1]
    assert "cannot be written" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "scratch").exists()


def test_a_model_that_cannot_be_kept_is_not_lost(
    captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(output: Path, data: bytes) -> None:
        raise DiskFullError(output, "no space left on the disk; nothing was written")

    with monkeypatch.context() as patched:
        patched.setattr("rawdenoise.models.store.write_bytes", full)
        result = train(tmp_path, captures, "--images", "16")
    assert result.exit_code == 1
    assert f"the training is kept in {tmp_path / 'scratch'}" in result.stderr
    assert not user_stores().models.folder.is_dir() or not list(user_stores().models.folder.iterdir())
    again = train(tmp_path, captures, "--images", "16")
    assert again.stdout.startswith("model ")


def test_a_model_has_a_page_and_a_history(captures: Path, tmp_path: Path) -> None:
    a_capture(captures / "3.dng", 192, 256, seed=3)  # four tiles: one can be held out
    assert train(tmp_path, captures, "--images", "16").exit_code == 0
    unread = {"RAWDENOISE_TRAIN_IMAGES": "-3", "RAWDENOISE_TRAIN_MINUTES": "1"}
    said = CliRunner().invoke(main, ["train", str(captures)], env=unread)
    assert (said.exit_code, "-3" in said.stderr) == (2, True)
    (card,) = user_stores().models.cards()
    assert card.options["start"] == load_bundled("fast").card.id
    assert [check["images"] for check in card.history] == [0, 16]
    assert card.evidence[0]["iso"] == 800
    page = (user_stores().models.folder / card.id / "card.html").read_text()
    assert card.id in page


def test_finish_makes_a_model_of_what_there_is(captures: Path, tmp_path: Path) -> None:
    nothing = train(tmp_path, captures, "--finish")
    assert nothing.exit_code == 1
    assert "nothing to finish" in nothing.stderr
    stops = iter([False] * 6 + [True] * 99)  # three captures are read first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rawdenoise.terminal.signals.Stop.__call__", lambda self: next(stops))
        train(tmp_path, captures, "--images", "800")
    result = train(tmp_path, captures, "--finish")
    assert result.exit_code == 0, result.output
    (card,) = user_stores().models.cards()
    assert 0 < card.figures["images"] < 800
    assert train(tmp_path, captures, "--finish", "--images", "8").exit_code == 2


def test_a_base_is_made_by_a_command_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random((height, width, 3), np.float32)

    monkeypatch.setattr("rawdenoise.training.drawn_scenes.make_scene", noise)  # a scene takes half a second
    output = tmp_path / "base.rawdenoise"
    options = ["--scenes", "20", "--scratch", str(tmp_path / "scratch"), "--device", "cpu"]
    for images in ("16", "32"):
        result = CliRunner().invoke(main, ["train-bundled", str(output), "--images", images, *options])
        assert result.exit_code == 0, result.output
    assert "images: 32" in result.stdout
    assert result.stdout.splitlines()[-1] == f"next: rawdenoise models import {output}"
    assert CliRunner().invoke(main, ["models", "import", str(output)]).exit_code == 0
    assert user_stores().models.cards()[0].options["scenes"] == 20
    neither = CliRunner().invoke(main, ["train-bundled", str(output), *options])
    assert (neither.exit_code, "--minutes or --crops" in neither.stderr) == (2, True)


def test_what_cannot_be_used_is_said_and_left_out(captures: Path, tmp_path: Path) -> None:
    (captures / "broken.CR2").write_bytes(b"no raw file")
    shutil.copy(captures / "0.dng", captures / "copy.dng")
    a_capture(captures / "sub/other.dng", camera=Camera("Other", "Other 2"))
    result = train(tmp_path, captures, "--images", "8")
    assert result.exit_code == 1, result.output  # as of `denoise`: the rest is done, and a file was damaged
    assert re.search(r"refused: .*broken\.CR2: ", result.stderr)
    assert re.search(r"refused: .*copy\.dng: ", result.stderr)
    assert "Other 2 (128x96 14-bit): 1 capture, ISO 800; left out, 3 are needed" in result.stderr
    assert [card.camera.model for card in user_stores().models.cards()] == [CAMERA.model]


def test_exit_codes(captures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert train(tmp_path, tmp_path / "empty").exit_code == 4
    too_few = train(tmp_path, captures, "--min-captures", "4")
    assert (too_few.exit_code, "error: no camera has 4 captures" in too_few.stderr) == (1, True)
    (captures / "text.dng").write_text("hello")
    useless = train(tmp_path, captures / "text.dng")
    assert (useless.exit_code, "error: none of 1 file can be trained on" in useless.stderr) == (1, True)
    assert train(tmp_path, captures, "--device", "cuda:77").exit_code == 3


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupted_training_keeps_what_it_learned_and_says_how_to_go_on(
    captures: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    run = start("train", captures, "--images", "100000", "--scratch", scratch, "--device", "cpu")
    assert soon(lambda: list(scratch.rglob("checkpoint*")) or run.poll() is not None)  # as training begins
    run.send_signal(signal.SIGINT)
    output, said = run.communicate(timeout=PATIENCE_S)
    assert (run.returncode, output) == (130, ""), said
    assert "Traceback" not in said
    assert "run the same command again" in said.splitlines()[-1]
    assert list(scratch.rglob("checkpoint*"))
    assert not user_stores().models.cards()


def test_plain_mosaics_are_trained_on_by_the_name_given(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for number in range(3):
        capture = read_raw(a_capture(tmp_path / f"{number}.dng", 192, 256, seed=number))
        np.save(tmp_path / "plain" / f"{number}.npy", capture.mosaic)
    layout = ["--cfa", "RGGB", "--black", "512", "--white", "16383", "--bits", "14"]
    result = train(tmp_path, tmp_path / "plain", "--camera", "My Sensor", "--images", "8", *layout)
    assert result.exit_code == 0, result.output
    listed = CliRunner().invoke(main, ["models", "list", "--json"])
    card = json.loads(listed.stdout)
    assert card["camera"]["model"] == "My Sensor"
    following = result.stdout.splitlines()[-1].removeprefix("next: rawdenoise denoise ").split()
    assert following[1:5] == ["-o", "out", "--model", card["id"]]
    said = denoise(tmp_path / "plain", "-o", tmp_path / "out", *following[3:])
    assert (said.exit_code, "3 done" in said.stderr) == (0, True), said.output


@pytest.mark.parametrize("named", [True, False])
def test_the_next_command_works_below_subfolders_and_without_a_camera_s_name(
    tmp_path: Path, named: bool
) -> None:
    (tmp_path / "empty").mkdir()
    for number in range(3):
        path = tmp_path / "captures/sub" / f"{number}.dng"
        a_capture(path, 192, 256, seed=number, camera=CAMERA if named else Camera())
        path.write_bytes(path.read_bytes().replace(b"unknown camera", b"\0" * 14))  # as our writer puts it
    name = CAMERA.name if named else "My Sensor"
    inputs = [tmp_path / "empty", tmp_path / "captures"]
    result = train(tmp_path, *inputs, "--camera", name, "--images", "8")
    assert result.exit_code == 0, result.output
    following = result.stdout.splitlines()[-1].removeprefix("next: rawdenoise denoise ").split()
    choice = [] if named else ["--model", user_stores().models.cards()[0].id]
    assert following == [str(tmp_path / "captures"), "-o", "out", "-r", *choice]
    said = denoise(following[0], "-o", tmp_path / "out", *following[3:])
    assert (said.exit_code, "3 done" in said.stderr) == (0, True), said.output


def test_a_scratch_folder_that_cannot_be_written_is_named(captures: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").write_text("a file in the way")
    result = train(tmp_path, captures, "--images", "8")
    assert result.exit_code == 1
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert str(tmp_path / "scratch") in said
    assert "choose another folder with --scratch" in said


def test_a_folder_is_searched_for_the_same_plain_mosaics_by_every_command(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    mosaic = read_raw(a_capture(tmp_path / "a.dng")).mosaic
    np.save(folder / "a.npy", mosaic)
    for number, name in enumerate(("b.tif", "c.tiff")):
        tifffile.imwrite(folder / name, mosaic + np.uint16(number), photometric="minisblack")
    for number, name in enumerate(("d.bin", "e.raw")):
        (folder / name).write_bytes((mosaic + np.uint16(2 + number)).astype("<u2").tobytes())
    layout = PlainLayout(cfa=Cfa.RGGB, size=(mosaic.shape[1], mosaic.shape[0]))
    (trained,) = gather_captures([folder], camera_name="Plain", layout=layout)
    request = DenoiseRequest((folder,), tmp_path / "out", layout=layout)
    with Digests(user_stores().digests) as digests:
        jobs = plan_batch(request, user_stores(), digests)
    names = ["a.npy", "b.tif", "c.tiff", "d.bin", "e.raw"]
    assert sorted(capture.path.name for capture in trained.captures) == names
    assert sorted(job.source.name for job in jobs) == names
    assert sorted(path.name for path in find_frame_files([folder], layout, [])) == names


@pytest.mark.parametrize("command", ["train", "demo"])
@pytest.mark.parametrize("seed", ["-1", str(2**31)])
def test_a_seed_that_no_generator_takes_is_a_wrong_option(tmp_path: Path, command: str, seed: str) -> None:
    paths = [str(a_capture(tmp_path / "a.dng"))] if command == "train" else ["-o", str(tmp_path / "demo")]
    said = CliRunner().invoke(main, [command, *paths, "--seed", seed])
    assert (said.exit_code, "0<=x<=2147483647" in said.stderr) == (2, True), said.output


def test_what_can_be_done_about_an_error_is_an_option_of_the_command() -> None:
    helped = CliRunner().invoke(main, ["train", "--help"]).output
    options = [word for text in REMEDIES.values() for word in re.findall(r"--[a-z-]+", text)]
    assert {"--finish", "--scratch", "--clean", "--min-captures"} <= set(options)
    assert all(option in helped for option in options)


def test_a_method_needs_no_model(tmp_path: Path) -> None:
    words = ["denoise", str(tmp_path), "-o", str(tmp_path / "out"), "--model", "fast", "--method", "fast"]
    said = CliRunner().invoke(main, words)
    assert (said.exit_code, "leave --model out" in said.stderr) == (2, True)
