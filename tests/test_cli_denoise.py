from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tifffile
import torch
from click.testing import CliRunner, Result
from conftest import PATIENCE_S, TEST_CAMERA, make_raw
from test_quality import a_model as untrained
from test_quality import simulated, with_shares
from torch import nn

from rawdenoise.app.stores import user_stores
from rawdenoise.atomic import TEMPORARY_MARK, atomic_output, remove_temporaries
from rawdenoise.capture.raw import Camera, Cfa, Exposure, Metadata, Provenance
from rawdenoise.cli import main
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.tiff.reading import numbers, numbers_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import Model, new_model
from rawdenoise.nets import build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel

DOUBLE = 12
CAMERA = replace(TEST_CAMERA, mode="")


@pytest.fixture(autouse=True)
def _one_thread(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for child processes
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_capture(
    path: Path,
    height: int = 96,
    width: int = 128,
    *,
    seed: int = 0,
    camera: Camera = CAMERA,
    iso: int = 800,
) -> Path:
    """A noisy ramp, written as a DNG that does not claim to be denoised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_capture(height, width, seed, camera, iso))
    return path


@cache
def _capture(height: int, width: int, seed: int, camera: Camera, iso: int) -> bytes:
    rng = np.random.default_rng(seed)
    signal = np.linspace(0.1, 0.6, width)[None] * np.ones((height, 1))
    deviation = np.sqrt(iso / 800 * (2e-3 * signal + 1e-5))
    dn = 512 + 15871 * (signal + rng.standard_normal((height, width)) * deviation)
    mosaic = np.clip(np.rint(dn), 0, 16383).astype(np.uint16)
    raw = make_raw(height, width, mosaic=mosaic, camera=camera, exposure=Exposure(iso=iso))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "capture.dng"
        write_dng(raw, path, provenance=Provenance("0", "simulated", 0.0))
        return path.read_bytes()


def a_model(like: Path) -> Model:
    """A model of the camera of a capture that changes it, though not sensibly."""
    torch.manual_seed(0)
    net = build_net("fast")
    nn.init.normal_(net.backbone.exit.weight, std=0.02)
    noise = IsoNoise(800, NoiseModel((2e-3,) * 4, (1e-5,) * 4), 1)
    card = ModelCard(
        id="", camera=read_raw(like).camera, net="fast", iso_range=(800, 800), noise=(noise,),
        captures=("0",), objective="gr2r", options={"gamma": 1.0}, seed=0, versions={"torch": "x"},
        created="", figures={"gain_db": 3.0}, weights_sha256="",
    )  # fmt: skip
    model = new_model(net, card)
    user_stores().models.save(model)
    return model


def denoise(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["denoise", *map(str, arguments)])


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- what comes out


def test_denoised_files_open_and_differ_and_name_their_model(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "in/a.dng")
    a_capture(tmp_path / "in/sub/b.dng", seed=1)
    model = a_model(source)
    before = source.read_bytes()
    result = denoise(tmp_path / "in", "-r", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert files_in(tmp_path / "out") == {"a.dng", "sub/b.dng"}
    said = {line["source"]: line for line in lines(result)}
    assert {line["status"] for line in said.values()} == {"done"}
    assert {line["model"] for line in said.values()} == {model.card.id}
    assert not np.array_equal(read_raw(tmp_path / "out/a.dng").mosaic, read_raw(source).mosaic)
    assert source.read_bytes() == before
    assert "2 done" in result.stderr
    assert f"model {model.card.id}" in result.stderr


@pytest.mark.parametrize("cfa", Cfa)
def test_strength_zero_is_the_input_bit_for_bit_without_any_model(tmp_path: Path, cfa: Cfa) -> None:
    raw = make_raw(50, 70, cfa=cfa, margins=(3, 5, 2, 1))
    write_dng(raw, tmp_path / "a.dng", provenance=Provenance("0", "simulated", 0.0))
    result = denoise(tmp_path / "a.dng", "-o", tmp_path / "out", "--strength", "0")
    assert result.exit_code == 0, result.output
    assert "no model" in result.stderr
    back = read_raw(tmp_path / "out/a.dng")
    assert np.array_equal(back.mosaic, raw.mosaic)
    assert back.cfa is cfa


@pytest.mark.parametrize(("format", "name"), [("tiff", "a.tif"), ("mosaic-tiff", "a.mosaic.tif")])
def test_other_formats(tmp_path: Path, format: str, name: str) -> None:
    source = a_capture(tmp_path / "a.dng")
    result = denoise(source, "-o", tmp_path / "out", "--strength", "0", "--format", format)
    assert result.exit_code == 0, result.output
    pixels = tifffile.imread(tmp_path / "out" / name)
    assert pixels.dtype == np.uint16
    if format == "mosaic-tiff":
        assert np.array_equal(pixels, read_raw(source).mosaic)


def test_a_plain_mosaic_is_read_with_its_layout(tmp_path: Path) -> None:
    mosaic = np.random.default_rng(0).integers(60, 1024, (40, 60)).astype("<u2")
    mosaic.tofile(tmp_path / "frame.raw")
    layout = ["--cfa", "bggr", "--size", "60x40", "--bits", "10", "--black", "60", "--white", "1023"]
    result = denoise(tmp_path, "-o", tmp_path / "out", "--strength", "0", *layout)
    assert result.exit_code == 0, result.output
    back = read_raw(tmp_path / "out/frame.dng")
    assert np.array_equal(back.mosaic, mosaic)
    assert (back.cfa, back.levels.white) == (Cfa.BGGR, 1023.0)


# ---------------------------------------------------------------- how much better


def test_every_picture_says_how_much_better_it_became(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    a_model(source)
    (said,) = lines(denoise(source, "-o", tmp_path / "json", "--json"))
    assert isinstance(said["gain_db"], float)
    assert said["gain_db"] == pytest.approx(said["psnr_after"] - said["psnr_before"], abs=0.011)
    low, high = said["gain_interval"]
    assert low < said["gain_db"] < high
    assert isinstance(said["flags"], list)
    result = denoise(source, "-o", tmp_path / "plain")
    gain = f"{said['gain_db']:+.1f} dB"
    assert f"a.dng ({gain}, " in result.stdout
    assert f"estimated gain: {gain}" in result.stderr
    assert f"{said['gain_db']:+.2f} dB".encode() in (tmp_path / "plain/a.dng").read_bytes()


def test_nothing_is_estimated_where_it_is_not_asked_for(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    a_model(source)
    for option in (["--no-estimate"], ["--strength", "0"]):
        result = denoise(source, "-o", tmp_path / option[0], "--json", *option)
        (said,) = lines(result)
        assert said["status"] == "done"
        assert [said[name] for name in ("psnr_before", "psnr_after", "gain_db", "gain_interval")] == [
            None
        ] * 4
        assert said["flags"] == []
        assert "gain" not in result.stderr
        refused = denoise(source, "-o", tmp_path / "refused", "--min-gain", "1", *option)
        assert refused.exit_code == 2
        assert not (tmp_path / "refused").exists()


def test_pictures_that_gain_too_little_are_not_written_and_are_no_failures(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    a_model(source)
    for _ in range(2):  # nothing is written that the next run could go by, so that it looks again
        result = denoise(source, "-o", tmp_path / "out", "--json", "--min-gain", "30")
        (said,) = lines(result)
        assert (result.exit_code, said["status"], said["output"]) == (0, "skipped", None)
        assert f"{said['gain_db']:+.1f} dB" in str(said["reason"])
        assert "1 skipped" in result.stderr
        assert files_in(tmp_path / "out") == set()
    result = denoise(source, "-o", tmp_path / "out", "--json", "--min-gain", "-30")
    assert lines(result)[0]["status"] == "done"
    assert files_in(tmp_path / "out") == {"a.dng"}


def test_flagged_pictures_are_named_in_the_summary(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    model = a_model(source)
    wrong = IsoNoise(800, NoiseModel((6e-3,) * 4, (3e-5,) * 4), 1)
    net = build_net(model.card.net)
    user_stores().models.save(new_model(net, replace(model.card, noise=(wrong,), captures=("1",))))
    user_stores().models.remove(model.card.id)
    result = denoise(source, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"the noise model does not fit: {source}" in result.stderr
    assert f"{source}: note: the noise model does not fit" in result.stderr


def test_a_picture_that_would_lose_is_written_as_it_was_and_named(tmp_path: Path) -> None:
    raw, _, noise = simulated(5)
    tag = {Code.NoiseProfile: numbers_tag(DOUBLE, noise.shot[0], noise.read_variance[0])}
    raw = replace(raw, metadata=Metadata(is_dng=True, root=tag))
    source = tmp_path / "a.dng"
    write_dng(raw, source, provenance=Provenance("0", "simulated", 0.0))
    like = replace(raw, camera=read_raw(source).camera)
    model = with_shares(untrained(noise, like), 8)  # which takes all detail for noise
    user_stores().models.save(new_model(model.net, model.card))
    (card,) = user_stores().models.cards()
    result = denoise(source, "-o", tmp_path / "out", "--json")
    (said,) = lines(result)
    assert (result.exit_code, said["status"], said["model"]) == (0, "done", card.id)
    assert re.fullmatch(r"estimated to lose \d+\.\d dB", str(said["left_as_it_was"]))
    assert f"left as they were, for they would lose or cannot be judged: {source}" in result.stderr
    assert "estimated gain" not in result.stderr
    output = tmp_path / "out/a.dng"
    assert np.array_equal(read_raw(output).mosaic, read_raw(source).mosaic)
    metadata = read_metadata(output)
    assert not any(numbers(metadata.raw.get(Code.NoiseReductionApplied)))
    assert metadata.root[Code.NoiseProfile] == tag[Code.NoiseProfile]
    assert b"left-as-it-was" in metadata.root[Code.XMP].data
    again = lines(denoise(source, "-o", tmp_path / "out", "--json"))
    assert again[0]["status"] == "skipped"
    plain = denoise(source, "-o", tmp_path / "plain")
    assert "(left as it was: estimated to lose " in plain.stdout
    (kept,) = lines(denoise(source, "-o", tmp_path / "kept", "--json", "--no-estimate"))
    assert kept["left_as_it_was"] is None
    assert not np.array_equal(read_raw(tmp_path / "kept/a.dng").mosaic, read_raw(source).mosaic)
    (none,) = lines(denoise(source, "-o", tmp_path / "none", "--json", "--min-gain", "0"))
    assert (none["status"], files_in(tmp_path / "none")) == ("skipped", set())


def test_a_model_whose_card_cannot_be_read_is_said_with_exit_code_3(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    id = a_model(source).card.id
    (user_stores().models.folder / id / "card.json").write_text('{"format": 0}')
    result = denoise(source, "-o", tmp_path / "out")
    assert result.exit_code == 3
    assert f"rawdenoise models remove {id}" in result.stderr
    assert not files_in(tmp_path / "out")
    inspected = CliRunner().invoke(main, ["inspect", str(source)])
    assert inspected.exit_code == 3
    assert f"rawdenoise models remove {id}" in inspected.stdout
    trained = CliRunner().invoke(main, ["train", str(source), "--min-captures", "1", "--images", "16"])
    assert trained.exit_code == 3
    assert f"rawdenoise models remove {id}" in trained.stderr
    assert denoise(source, "-o", tmp_path / "out", "--model", "fast").exit_code == 0


# ---------------------------------------------------------------- exit codes


def test_one_bad_file_fails_alone_and_the_exit_code_says_so(tmp_path: Path) -> None:
    a_capture(tmp_path / "in/a.dng")
    (tmp_path / "in/empty.CR2").touch()
    (tmp_path / "in/text.nef").write_text("hello")
    result = denoise(
        tmp_path / "in", tmp_path / "missing.dng", "-o", tmp_path / "out", "--strength", "0", "--json"
    )
    assert result.exit_code == 1
    status = {Path(str(line["source"])).name: line["status"] for line in lines(result)}
    assert status == {"a.dng": "done", "empty.CR2": "failed", "text.nef": "failed", "missing.dng": "failed"}
    assert "1 done, 3 failed" in result.stderr
    assert "no such file" in result.stderr
    assert files_in(tmp_path / "out") == {"in/a.dng"}


def test_a_camera_without_a_model_gets_the_bundled_one_and_is_told(tmp_path: Path) -> None:
    known = a_capture(tmp_path / "in/known.dng")
    a_capture(tmp_path / "in/stranger.dng", camera=Camera("Other", "Other 2"))
    own = a_model(known).card.id
    result = denoise(tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    used = {Path(str(line["source"])).name: line["model"] for line in lines(result)}
    assert used == {"known.dng": own, "stranger.dng": load_bundled("fast").card.id}
    plain = denoise(tmp_path / "in", "-o", tmp_path / "again")
    assert "bundled model used for Other 2; `rawdenoise train`" in plain.stderr
    assert "bundled model used for Test" not in plain.stderr


@pytest.mark.parametrize("options", [["--base", "best"], ["--model", "best"]])
def test_the_better_bundled_model_is_used_on_request(tmp_path: Path, options: list[str]) -> None:
    source = a_capture(tmp_path / "a.dng")
    result = denoise(source, "-o", tmp_path / "out", "--json", *options)
    assert result.exit_code == 0, result.output
    assert [line["model"] for line in lines(result)] == [load_bundled("best").card.id]


@pytest.mark.parametrize(
    "options", [["--model", "nonsense"], ["--device", "cuda:77"], ["--device", "abacus"]]
)
def test_a_model_or_device_that_is_not_there_is_exit_3_at_once(tmp_path: Path, options: list[str]) -> None:
    result = denoise(a_capture(tmp_path / "a.dng"), "-o", tmp_path / "out", "--json", *options)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_exit_3(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    (tmp_path / "file").touch()
    assert denoise(source, "-o", tmp_path / "file", "--strength", "0").exit_code == 2
    assert denoise(source, "-o", tmp_path / "file" / "out", "--strength", "0").exit_code == 3


def test_nothing_to_do_is_exit_4(tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    a_capture(tmp_path / "in/sub/a.dng")
    for given in (tmp_path / "in", tmp_path / "*.CR2", "--files-from=-"):
        result = denoise(given, "-o", tmp_path / "out")
        assert (result.exit_code, result.stdout) == (4, "")
        assert "no raw files found" in result.stderr


# ---------------------------------------------------------------- which files, which names


def test_the_same_command_again_skips_what_is_done(tmp_path: Path) -> None:
    arguments = (a_capture(tmp_path / "a.dng"), "-o", tmp_path / "out", "--strength", "0", "--json")
    denoise(*arguments)
    before = (tmp_path / "out/a.dng").stat().st_mtime_ns
    again = denoise(*arguments)
    assert (again.exit_code, lines(again)[0]["status"]) == (0, "skipped")
    assert denoise(*arguments, "--if-exists", "error").exit_code == 1
    assert (tmp_path / "out/a.dng").stat().st_mtime_ns == before
    assert denoise(*arguments, "--if-exists", "overwrite").exit_code == 0
    assert (tmp_path / "out/a.dng").stat().st_mtime_ns != before
    assert denoise(*arguments, "--if-exists", "rename").exit_code == 0
    assert files_in(tmp_path / "out") == {"a.dng", "a-2.dng"}


def test_clashing_names_are_kept_apart_and_said(tmp_path: Path) -> None:
    a_capture(tmp_path / "in/a.dng")
    os.link(tmp_path / "in/a.dng", tmp_path / "in/a.CR2")
    result = denoise(tmp_path / "in", "-o", tmp_path / "out", "--strength", "0")
    assert result.exit_code == 0, result.output
    assert files_in(tmp_path / "out") == {"a.CR2.dng", "a.dng.dng"}
    assert "note: named a.CR2.dng because other inputs have the same name" in result.stderr


def test_a_source_is_never_written_over(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    before = source.read_bytes()
    result = denoise(source, "-o", tmp_path, "--strength", "0", "--if-exists", "overwrite")
    assert result.exit_code == 1
    assert "is one of the sources" in result.stderr
    assert source.read_bytes() == before


def test_in_a_folder_onto_itself_the_outputs_are_not_done_again(tmp_path: Path) -> None:
    a_model(a_capture(tmp_path / "a.dng"))
    (tmp_path / "a.dng").rename(tmp_path / "a.nef")
    for expected in ({"done"}, {"skipped"}):
        result = denoise(tmp_path, "-o", tmp_path, "--json", "-r")
        assert {line["status"] for line in lines(result)} == expected, result.output
        assert {name for name in files_in(tmp_path) if "/" not in name} == {"a.nef", "a.dng"}


@pytest.mark.parametrize(
    "name", ["with space.dng", "写真 ü.dng", "-dash.dng", "new\nline.dng", "%s[1].dng", "\udcff.dng"]
)
def test_names_of_every_kind(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a_capture(Path("plain.dng")).rename(name)
    result = denoise("-o", "out", "--strength", "0", "--json", "--", name)
    assert result.exit_code == 0, result.output
    assert [line["source"] for line in lines(result)] == [name]
    assert Path("out", name).exists()


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_paths_from_a_list(tmp_path: Path, separator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["x/a.dng", "y/a.dng"] if separator != "\0" else ["x/a.dng", "y/a\n.dng"]
    for name in names:
        a_capture(Path(name))
    listed = separator.join(["", *names, ""]).encode()
    options = ["-0"] if separator == "\0" else []
    arguments = ["denoise", "--files-from", "-", "-o", "out", "--strength", "0", *options]
    result = CliRunner().invoke(main, arguments, input=listed)
    assert result.exit_code == 0, result.output
    assert files_in(Path("out")) == set(names)
    Path("list").write_bytes(listed)
    again = denoise("--files-from", "list", "-o", "out", "--strength", "0", "--json", *options)
    assert {line["status"] for line in lines(again)} == {"skipped"}


@pytest.mark.parametrize("how", ["skip", "overwrite", "error"])
def test_what_is_no_file_under_an_outputs_name_is_not_done(tmp_path: Path, how: str) -> None:
    (tmp_path / "out/a.dng").mkdir(parents=True)
    (tmp_path / "out/b.dng").symlink_to("nowhere")
    for name in ("a.dng", "b.dng"):
        a_capture(tmp_path / name)
    result = denoise(tmp_path, "-o", tmp_path / "out", "--strength", "0", "--json", "--if-exists", how)
    assert result.exit_code == 1
    assert ["is there and is no file" in line["reason"] for line in lines(result)] == [True, True]


def test_a_list_of_nul_bytes_without_null_says_which_option_is_missing() -> None:
    arguments = ["denoise", "--files-from", "-", "-o", "out", "--strength", "0"]
    result = CliRunner().invoke(main, arguments, input=b"a.dng\0b.dng\0")
    assert (result.exit_code, "holds NUL bytes; give --null" in result.stderr) == (2, True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="whoever may read all is refused nothing")
def test_a_path_that_may_not_be_read_stops_no_others(tmp_path: Path) -> None:
    for name in ("a.dng", "b.dng", "locked/c.dng"):
        a_capture(tmp_path / name)
    for name in ("a.dng", "locked"):
        (tmp_path / name).chmod(0)
    given = [tmp_path / name for name in ("a.dng", "locked", "b.dng")]
    result = denoise(*given, "-o", tmp_path / "out", "--strength", "0", "--json")
    (tmp_path / "locked").chmod(0o700)
    assert [line["status"] for line in lines(result)] == ["failed", "failed", "done"]


def test_patterns_that_no_shell_expanded(tmp_path: Path) -> None:
    for name in ("a/1.dng", "a/b/2.dng", "c/3.txt"):
        a_capture(tmp_path / name)
    result = denoise(tmp_path / "**" / "*.dng", "-o", tmp_path / "out", "--strength", "0", "--dry-run")
    assert result.exit_code == 0
    assert "2 planned" in result.stderr
    assert not (tmp_path / "out").exists()


def test_names_that_look_like_patterns_get_their_own_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a_capture(Path("1.dng"))
    Path("list").write_text("[1].dng\n*.dng\n")
    listed = denoise("--files-from", "list", "-o", "out", "-n", "--json")
    assert [line["source"] for line in lines(listed)] == ["[1].dng", "*.dng"]
    gone = denoise("[2].dng", "1.dng", "-o", "out", "--strength", "0", "--json")
    assert {line["source"]: line["status"] for line in lines(gone)} == {"[2].dng": "failed", "1.dng": "done"}
    assert gone.exit_code == 1


def test_a_dry_run_writes_nothing_and_needs_no_model(tmp_path: Path) -> None:
    result = denoise(a_capture(tmp_path / "a.dng"), "-o", tmp_path / "out", "-n", "--json")
    assert result.exit_code == 0
    assert [(line["status"], line["output"]) for line in lines(result)] == [
        ("planned", str(tmp_path / "out/a.dng"))
    ]
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- the same command again


def test_outputs_of_another_recipe_are_counted_and_made_anew_on_request(tmp_path: Path) -> None:
    for number in range(2):
        a_capture(tmp_path / f"in/{number}.dng", seed=number)
    arguments = (tmp_path / "in", "-o", tmp_path / "out", "--strength", "0")
    assert denoise(*arguments).exit_code == 0
    other = denoise(*arguments, "--levels", "fine")
    assert (other.exit_code, "2 skipped" in other.stderr) == (0, True)
    assert "2 outputs left as made by another recipe" in other.stderr
    assert "--redo makes them anew" in other.stderr
    again = denoise(*arguments, "--levels", "fine", "--redo", "--json")
    assert {(line["status"], line["standing"]) for line in lines(again)} == {("done", "other recipe")}
    for more in ([], ["--redo"], ["--min-gain", "1", "--dry-run"]):
        assert "--redo makes" not in denoise(*arguments, "--levels", "fine", *more).stderr
    refused = denoise(*arguments, "--redo", "--if-exists", "overwrite")
    assert (refused.exit_code, "--if-exists" in refused.stderr) == (2, True)


def test_a_newer_model_of_the_camera_is_another_recipe(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    assert denoise(source, "-o", tmp_path / "out").exit_code == 0
    assert "--redo" not in denoise(source, "-o", tmp_path / "out").stderr
    own = a_model(source).card.id
    assert "1 output left as made by another" in denoise(source, "-o", tmp_path / "out").stderr
    (again,) = lines(denoise(source, "-o", tmp_path / "out", "--redo", "--json"))
    assert (again["status"], again["model"]) == ("done", own)
    assert "--redo" not in denoise(source, "-o", tmp_path / "out").stderr


def test_a_list_that_grows_does_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    listed: list[str] = []
    for day in ("./day1", "./day2", "./trip/day3"):
        a_capture(Path(day, "IMG_1.dng"), seed=len(listed))
        listed.append(f"{day}/IMG_1.dng")
        Path("list").write_text("\0".join(listed))
        result = denoise("-0", "--files-from", "list", "-o", "../out", "--strength", "0", "--json")
        said = [line["status"] for line in lines(result)]
        assert said == ["skipped"] * (len(listed) - 1) + ["done"]
    assert files_in(tmp_path / "out") == {f"{day}/IMG_1.dng" for day in ("day1", "day2", "trip/day3")}


def test_outputs_lie_beside_their_sources_with_their_edits(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    for name in ("a.xmp", "a.dng.pp3", "a.JPG", "b.xmp"):
        (tmp_path / name).write_text(name)
    before = source.read_bytes()
    arguments = (tmp_path, "--beside", "--name", "{stem}_dn", "--sidecars", "--strength", "0")
    assert denoise(*arguments).exit_code == 0
    made = {"a_dn.dng", "a_dn.xmp", "a_dn.dng.pp3"}
    assert files_in(tmp_path) == {"a.dng", "a.xmp", "a.dng.pp3", "a.JPG", "b.xmp"} | made
    (tmp_path / "a_dn.xmp").write_text("edited")
    (tmp_path / "a_dn.dng.pp3").unlink()
    (tmp_path / "a.dng.dop").write_text("late")
    assert denoise(*arguments).exit_code == 0
    assert (tmp_path / "a_dn.xmp").read_text() == "edited"
    assert {"a_dn.dng.pp3", "a_dn.dng.dop"} < files_in(tmp_path)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [[], ["-o", "out", "--beside"], ["--beside", "--root", "."], ["--beside", "--name", "x"],
     ["-o", "out", "--name", "../{stem}"]],
)  # fmt: skip
def test_where_outputs_go_is_said_once_and_safely(tmp_path: Path, options: list[str]) -> None:
    assert denoise(a_capture(tmp_path / "a.dng"), "--strength", "0", *options).exit_code == 2
    assert files_in(tmp_path) == {"a.dng"}


@pytest.mark.skipif(os.name == "nt", reason="a process that has ended is known on POSIX alone")
def test_what_a_killed_run_has_left_is_swept_by_the_next(tmp_path: Path) -> None:
    source, out = a_capture(tmp_path / "a.dng"), tmp_path / "out"
    (out / "CaptureOne" / "Settings").mkdir(parents=True)
    code = (
        "import os, pathlib, sys\nfrom rawdenoise.atomic import atomic_output\n"
        "for name in sys.argv[1:]:\n"
        "    atomic_output(pathlib.Path(name)).__enter__().write_bytes(b'half')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    left = [out / "other.dng", out / "CaptureOne" / "Settings" / "a.dng.cos"]
    subprocess.run([sys.executable, "-c", code, *left], check=False)
    (out / f"{TEMPORARY_MARK}of somebody else").touch()
    assert len(files_in(out)) == 3
    with atomic_output(out / "b.dng") as alive:
        alive.touch()
        assert denoise(source, "-o", out, "--strength", "0").exit_code == 0
        assert files_in(out) == {"a.dng", alive.name, f"{TEMPORARY_MARK}of somebody else"}


# ---------------------------------------------------------------- signals, pipes, terminals


def start(*arguments: object, **more: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen([sys.executable, "-m", "rawdenoise", *map(str, arguments)], **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing_half_done(tmp_path: Path, number: int, exit_code: int) -> None:
    a_model(a_capture(tmp_path / "in/a.dng"))
    a_capture(tmp_path / "in/b.dng", 2048, 4096)
    run = start(
        "denoise", tmp_path / "in", "-o", tmp_path / "out", "--json", "--jobs", "1", "--model", "test"
    )
    assert run.stdout is not None
    first = json.loads(run.stdout.readline())
    run.send_signal(number)  # b is being read or in the network
    rest, said = run.communicate(timeout=PATIENCE_S)
    assert (first["status"], rest, run.returncode) == ("done", "", exit_code), said
    assert said == "interrupted: 1 of 2 files done; the same command goes on from there\n"
    assert files_in(tmp_path / "out") == {"a.dng"}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_second_signal_does_not_wait_and_cleans_up(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys\n"
        "from rawdenoise.terminal.signals import stop_on_signal\n"
        "with stop_on_signal(pathlib.Path(sys.argv[1]).unlink) as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT); assert stop()\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('still here')\n"
    )
    (tmp_path / "temporary").touch()
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "temporary"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "interrupted\n")
    assert not (tmp_path / "temporary").exists()


def test_only_temporaries_of_this_batch_are_removed(tmp_path: Path) -> None:
    for name in (
        f"{TEMPORARY_MARK}0123abcd-1f-2e-89abcdef-a.dng",
        f"{TEMPORARY_MARK}0123abcd-1f-2e-89abcdef-other.dng",
        "a.dng",
    ):
        (tmp_path / name).touch()
    remove_temporaries([tmp_path / "a.dng", tmp_path / "absent/b.dng"])
    assert files_in(tmp_path) == {f"{TEMPORARY_MARK}0123abcd-1f-2e-89abcdef-other.dng", "a.dng"}


def test_temporaries_of_long_names_are_removed(tmp_path: Path) -> None:
    output = tmp_path / ("写" * 80 + ".dng")
    with atomic_output(output) as temporary:
        temporary.touch()
        remove_temporaries([output])
        assert not temporary.exists()
        temporary.touch()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_reader_that_goes_away_ends_the_run_quietly(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "in/0.dng")
    for number in range(1, 40):
        (tmp_path / f"in/{number}.dng").hardlink_to(source)
    run = start("denoise", tmp_path / "in", "-o", tmp_path / "out", "--json", "--strength", "0")
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.readline()
    run.stdout.close()
    said = run.stderr.read()
    assert (run.wait(timeout=PATIENCE_S), said) == (141, "")
    run.stderr.close()
    assert not any(name.startswith(TEMPORARY_MARK) for name in files_in(tmp_path / "out"))


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
def test_on_a_terminal_a_bar_goes_to_standard_error_alone(tmp_path: Path) -> None:
    a_capture(tmp_path / "in/a.dng")
    (tmp_path / "in/b.CR2").touch()
    leader, follower = os.openpty()
    run = start(
        "denoise", tmp_path / "in", "-o", tmp_path / "out", "--json", "--strength", "0", stderr=follower
    )
    os.close(follower)
    said = b""
    while chunk := _terminal_says(leader):
        said += chunk
    output, _ = run.communicate(timeout=PATIENCE_S)
    os.close(leader)
    assert {json.loads(line)["status"] for line in output.splitlines()} == {"done", "failed"}
    assert b"/2" in said  # the bar
    assert b"1 done, 1 failed" in said


def _terminal_says(leader: int) -> bytes:
    try:
        return os.read(leader, 4096)
    except OSError:  # Linux says so when the other side is closed
        return b""


# ---------------------------------------------------------------- inspect and models


def test_inspect_says_what_would_be_done_and_why(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    (tmp_path / "bad.CR2").write_bytes(b"no raw file")
    before = CliRunner().invoke(main, ["inspect", str(source)])
    assert before.exit_code == 0, before.output
    for said in (
        "Test One",
        "RGGB",
        "128 x 96",
        "iso:              800",
        "the bundled one: this camera and mode have none",
        "a.dng (a mosaic DNG)",
    ):
        assert said in before.stdout
    model = a_model(source)
    after = CliRunner().invoke(main, ["inspect", "--json", str(source), str(tmp_path / "bad.CR2")])
    assert after.exit_code == 1
    good, bad = (json.loads(line) for line in after.stdout.splitlines())
    assert (good["model"], good["error"], good["size"]) == (model.card.id, None, [128, 96])
    assert good["noise"]["R"]["gain_dn"] == pytest.approx(2e-3 * 15871, rel=0.5)
    assert "bad.CR2: " in bad["error"]


def models(*arguments: object, input: str | None = None) -> Result:
    return CliRunner().invoke(main, ["models", *map(str, arguments)], input=input)


def test_models_go_out_come_in_and_are_removed(tmp_path: Path, own_store: Path) -> None:
    assert "no models in" in models("list").stderr
    id = a_model(a_capture(tmp_path / "a.dng")).card.id
    assert models("list").stdout.splitlines()[1].startswith(id)
    assert lines(models("list", "--json"))[0]["id"] == id
    assert "gain_db:     3" in models("show", id[:6]).stdout
    assert json.loads(models("show", "--json", id).stdout)["figures"] == {"gain_db": 3.0}
    exported = Path(models("export", id, tmp_path).stdout.strip())
    assert exported == tmp_path / f"{id}.rawdenoise"
    assert models("remove", id, input="n\n").exit_code == 1
    assert models("verify").stdout == f"ok: {id}\n"
    assert models("remove", id, input="y\n").exit_code == 0
    assert models("show", id).exit_code == 3
    assert models("import", exported).exit_code == 0
    assert models("verify", id).exit_code == 0
    assert models("remove", "--yes", id).exit_code == 0
    assert not list(own_store.glob("*/card.json"))


def test_broken_models_are_named_and_exit_3(tmp_path: Path, own_store: Path) -> None:
    id = a_model(a_capture(tmp_path / "a.dng")).card.id
    weights = own_store / id / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    for verify in (models("verify"), models("verify", id)):
        assert verify.exit_code == 3
        assert "broken: " in verify.stderr
    assert denoise(tmp_path / "a.dng", "-o", tmp_path / "out").exit_code == 3
    foreign = tmp_path / "foreign.rawdenoise"
    foreign.write_bytes(b"PK\x05\x06" + bytes(18))
    assert models("import", foreign).exit_code == 3


@pytest.mark.parametrize(("format", "said"), [("dng", True), ("tiff", False)])
def test_what_a_dng_says_that_its_source_does_not_is_a_note(tmp_path: Path, format: str, said: bool) -> None:
    np.save(tmp_path / "a.npy", make_raw(96, 128).mosaic)
    layout = ("--cfa", "RGGB", "--black", "512", "--white", "16383")
    options = ("-o", tmp_path / "out", "--strength", 0, "--format", format, "--json")
    result = denoise(tmp_path / "a.npy", *options, *layout)
    (answer,) = lines(result)
    assert any("the DNG does" in note for note in answer["notes"]) is said
