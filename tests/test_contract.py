"""What programs are told by the commands they run, and how they stop them (plugins/README.md)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import PATIENCE_S
from host_process import PLUGINS, SCHEMA, check_told, kinds, read_objects, start, validator
from hypothesis import given
from hypothesis import strategies as st
from test_cli_calibrate import darks, flats, keep
from test_cli_denoise import _one_thread, a_capture, a_model, files_in

from rawdenoise.app.calibrate import CalibrationRequest, calibrate, find_cameras
from rawdenoise.app.calibration_meter import CalibrationMeter
from rawdenoise.app.progress import BatchMeter, WorkProgress, expect_seconds
from rawdenoise.app.results import Status
from rawdenoise.app.stores import user_stores
from rawdenoise.app.training_events import TrainingOutcome
from rawdenoise.cli import main
from rawdenoise.cli.caller import JsonCaller, wants_json
from rawdenoise.errors import Stopped
from rawdenoise.files.outputs import Standing
from rawdenoise.inference.stages import Stage
from rawdenoise.quality.picture_quality import Flag
from rawdenoise.recipe import Recipe

__all__ = ["_one_thread"]  # a fixture that pytest finds here too

posix = pytest.mark.skipif(os.name == "nt", reason="signals and names of POSIX")
BESIDE = ("--beside", "--name", "{stem}_dn")
TOLD = ("--json", "--progress", "json")


def call(*arguments: object, **more: Any) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), **more)


# ---------------------------------------------------------------- what is told


def test_results_progress_messages_and_an_end(tmp_path: Path) -> None:
    for number in range(3):
        a_capture(tmp_path / f"{number}.dng", 192, 256, seed=number)
    a_model(tmp_path / "0.dng")
    (tmp_path / "broken.CR2").write_bytes(b"no raw file")
    call("denoise", tmp_path / "2.dng", *BESIDE, "--strength", "0")
    result = call("denoise", tmp_path, *BESIDE, *TOLD, "--jobs", "2")
    assert result.exit_code == 1
    assert result.stdout.isascii()
    results = {Path(one["source"]).name: one for one in read_objects(result.stdout)}
    assert {name: one["status"] for name, one in results.items()} == {
        "0.dng": "done", "1.dng": "done", "2.dng": "skipped", "broken.CR2": "failed", "2_dn.dng": "skipped",
    }  # fmt: skip
    assert results["0.dng"]["output"] == str(tmp_path / "0_dn.dng")
    assert results["2.dng"]["output"] == str(tmp_path / "2_dn.dng")  # it is there
    told = read_objects(result.stderr)
    end = check_told(told, 1)
    assert (end["done"], end["skipped"], end["failed"], end["interrupted"]) == (2, 2, 1, False)
    assert kinds(told) == ["progress", "message", "end"]
    progress = [one for one in told if one["type"] == "progress"]
    assert (progress[0]["fraction"], progress[0]["stage"], progress[0]["file"]) == (0, "start", None)
    assert (progress[-1]["fraction"], progress[-1]["files_done"], progress[-1]["files"]) == (1, 5, 5)
    failures = [one for one in told if one["type"] == "message" and one["level"] == "error"]
    assert [one["file"] for one in failures] == [str(tmp_path / "broken.CR2")]


def test_without_json_results_files_have_their_messages(tmp_path: Path) -> None:
    a_capture(tmp_path / "in/a.dng")
    (tmp_path / "in/b.CR2").write_bytes(b"no raw file")
    result = call("denoise", tmp_path / "in", "-o", tmp_path / "out", "--strength", "0", "--progress", "json")
    assert " -> " in result.stdout
    told = read_objects(result.stderr)
    check_told(told, 1)
    named = [one["file"] for one in told if one["type"] == "message" and one["level"] == "error"]
    assert str(tmp_path / "in/b.CR2") in named


def test_what_is_only_planned_is_told_too(tmp_path: Path) -> None:
    a_capture(tmp_path / "a.dng")
    result = call("denoise", tmp_path, *BESIDE, *TOLD, "--dry-run")
    (planned,) = read_objects(result.stdout)
    assert (planned["status"], planned["output"]) == ("planned", str(tmp_path / "a_dn.dng"))
    assert check_told(read_objects(result.stderr), 0)["done"] == 0
    assert files_in(tmp_path) == {"a.dng"}


@posix
def test_names_of_every_kind_come_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["\"quoted\" 'twice'.dng", "new\nline.dng", "写真 ü \U0001f4f7.dng", "\udcff\udc80.dng"]
    names.append("\\u0041.dng")
    for name in names:
        a_capture(Path("plain.dng")).rename(name)
    Path("list").write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
    result = call("denoise", "--files-from", "list", "--null", *BESIDE, *TOLD, "--strength", "0")
    assert result.exit_code == 0, result.output
    results = read_objects(result.stdout)
    assert {one["source"] for one in results} == set(names)
    assert {Path(one["output"]).name for one in results} == {n.replace(".dng", "_dn.dng") for n in names}
    assert all(Path(one["output"]).exists() for one in results)
    told = read_objects(result.stderr)
    assert {one["file"] for one in told if one["type"] == "progress"} - {None} <= set(names)
    assert (result.stdout + result.stderr).isascii()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["denoise"], 2, "give a folder with -o OUT"),
        (["denoise", "--beside"], 2, "give at least one PATH"),
        (["denoise", "a.dng", "--beside", "--nope"], 2, "No such option '--nope'"),
        (["denoise", "a.dng", "--beside", "--strength", "7"], 2, "7"),
        (["denoise", "a.dng", "--beside", "--name", "{stem}_dn", "--model", "nonsense"], 3, "nonsense"),
        (["denoise", "nothing*.CR2", "--beside"], 4, "no raw files found"),
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["train"], 2, "give at least one PATH"),
        (["calibrate", "absent.dng"], 1, "absent.dng"),
    ],
)
def test_an_end_comes_after_every_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_store: Path, arguments: list[str], exit_code: int,
    said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    a_capture(Path("a.dng"))
    result = call(*arguments, *TOLD)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    told = read_objects(result.stderr)
    check_told(told, exit_code)
    assert any(one["level"] == "error" and said in one["text"] for one in told if one["type"] == "message")


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_an_end_comes_after_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("rawdenoise.app.denoise.plan_batch", fail)
    result = call(*options, "denoise", a_capture(tmp_path / "a.dng"), *BESIDE, *TOLD)
    assert result.exit_code == 1
    objects = [line for line in result.stderr.splitlines() if line.startswith("{")]
    check_told(read_objects(objects), 1)
    assert result.stderr.splitlines()[-1] == objects[-1]
    assert "ZeroDivisionError: oh" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_results_that_could_not_be_written_are_said_before_the_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rawdenoise", "denoise", a_capture(tmp_path / "a.dng"), *BESIDE, *TOLD]
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [*map(str, command), "--strength", "0"], stdin=subprocess.DEVNULL, stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert run.returncode == 1
    told = read_objects(run.stderr)
    check_told(told, 1)
    assert "standard output: No space left on device" in [one.get("text") for one in told]
    assert (tmp_path / "a_dn.dng").exists()


@pytest.mark.parametrize(
    ("words", "environment", "wanted"),
    [
        ([], {}, False),
        (["denoise", "--progress", "json"], {}, True),
        (["denoise", "--progress=json", "--nope"], {}, True),
        (["denoise", "--progress=json", "--progress", "none"], {}, False),
        (["denoise", "--", "--progress", "json"], {}, False),
        (["denoise", "--progress"], {}, False),
        (["denoise"], {"RAWDENOISE_DENOISE_PROGRESS": "json"}, True),
        (["train"], {"RAWDENOISE_DENOISE_PROGRESS": "json"}, False),
        (["denoise", "--progress", "auto"], {"RAWDENOISE_DENOISE_PROGRESS": "json"}, False),
    ],
)
def test_json_is_asked_for_by_words_that_may_be_wrong_otherwise(
    words: list[str], environment: dict[str, str], wanted: bool
) -> None:
    assert wants_json(words, environment) is wanted


def test_progress_comes_ten_times_a_second_at_most_and_to_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("rawdenoise.cli.caller.time.perf_counter", lambda: now)
    caller = JsonCaller()
    caller.command = "denoise"
    for step in range(1001):
        now = step / 500
        caller.advance(WorkProgress("read", step / 1000))
    caller.end(0)
    caller.say("too late")
    told = read_objects(capsys.readouterr().err)
    check_told(told, 0)
    assert 10 < len(told) - 1 <= 20
    assert told[-2]["fraction"] == 1


@given(st.data())
def test_fractions_never_fall_and_come_to_one(data: st.DataObject) -> None:
    sizes = {
        Path(f"{number}.CR2"): data.draw(st.integers(0, 10**8), label="size")
        for number in range(data.draw(st.integers(1, 4), label="files"))
    }
    settled = data.draw(st.integers(0, 2), label="settled")
    recipe = Recipe(strength=data.draw(st.sampled_from([0.0, 1.0])), estimate=data.draw(st.booleans()))
    told: list[WorkProgress] = []
    expected = expect_seconds(recipe, is_cpu=data.draw(st.booleans()))
    meter = BatchMeter(sizes, len(sizes) + settled, expected, told.append)
    events = st.tuples(st.sampled_from([*sizes]), st.sampled_from(Stage), st.floats(0, 1))
    for source, stage, share in data.draw(st.lists(events, max_size=30), label="events"):
        meter.note(source, stage, share)
    for source in data.draw(st.permutations([*sizes, *(Path(f"settled{n}") for n in range(settled))])):
        meter.finish(source)
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    assert (fractions[-1], told[-1].files_done, told[-1].files) == (1, *2 * [len(sizes) + settled])
    assert all(one.fraction < 1 for one in told if one.files_done < len(sizes))
    assert all(one.seconds_left is None or one.seconds_left >= 0 for one in told)


@pytest.mark.parametrize(
    ("of", "kind", "field"),
    [
        (Status, "result", "status"),
        (Standing, "result", "standing"),
        (Flag, "result", "flags"),
        (TrainingOutcome, "training", "outcome"),
    ],
)
def test_the_schema_knows_all_words(of: type[StrEnum], kind: str, field: str) -> None:
    described = SCHEMA["$defs"][kind]["properties"][field]
    words = described.get("items", described)  # those that may become more are examples
    assert set(words.get("enum") or words["examples"]) == set(of)


def test_every_field_of_an_object_is_required_and_described() -> None:
    for name in ("result", "training", "calibration", "progress", "message", "end", "ready"):
        kind = SCHEMA["$defs"][name]
        assert {*kind["required"], "type", "schema"} | {"id"} == {*kind["properties"], "id"}


@posix
def test_a_terminal_shows_nothing_where_nothing_is_wanted(tmp_path: Path) -> None:
    a_capture(tmp_path / "in/a.dng")
    leader, follower = os.openpty()
    command = ("denoise", tmp_path / "in", "-o", tmp_path / "out", "--json", "--strength", "0")
    with start(*command, "--progress", "none", stderr=follower, stdin=subprocess.DEVNULL) as run:
        os.close(follower)
        said = b""
        with suppress(OSError):  # Linux says so when the other side is closed
            while chunk := os.read(leader, 4096):
                said += chunk
        output, _ = run.communicate(timeout=PATIENCE_S)
        os.close(leader)
    assert [one["status"] for one in read_objects(output)] == ["done"]
    assert said.startswith(b"1 done in ")
    assert b"\x1b" not in said


def test_a_calibration_stops_between_frames(tmp_path: Path) -> None:
    keep(darks(), tmp_path / "dark")
    request, heard = CalibrationRequest(darks=(tmp_path / "dark",)), list[WorkProgress]()
    with pytest.raises(Stopped):
        find_cameras(request, meter=CalibrationMeter(heard.append, lambda: len(heard) == 1))
    assert [one.file for one in heard] == [tmp_path / "dark/00.dng"]
    (frames,) = find_cameras(request)
    with pytest.raises(Stopped):
        calibrate(frames, request, user_stores(), meter=CalibrationMeter(stop=lambda: True))
    assert not user_stores().profiles.folder.exists()


# ---------------------------------------------------------------- how it is stopped


def send(number: int) -> Callable[[subprocess.Popen[str], Path], object]:
    return lambda run, file: run.send_signal(number)


def close_stdin(run: subprocess.Popen[str], file: Path) -> None:
    assert run.stdin is not None
    run.stdin.close()
    run.stdin = None


def make_file(run: subprocess.Popen[str], file: Path) -> None:
    file.touch()


@posix
@pytest.mark.parametrize(
    ("cancel", "exit_code"),
    [(send(signal.SIGTERM), 143), (send(signal.SIGINT), 130), (close_stdin, 130), (make_file, 130)],
    ids=["SIGTERM", "SIGINT", "stdin", "file"],
)
def test_a_cancelled_run_leaves_nothing_half_done_and_keeps_what_is_complete(
    tmp_path: Path, cancel: Callable[[subprocess.Popen[str], Path], object], exit_code: int
) -> None:
    a_model(a_capture(tmp_path / "in/a.dng"))
    a_capture(tmp_path / "in/b.dng", 2048, 4096)
    options = (*BESIDE, *TOLD, "--jobs", "1", "--cancel-file", tmp_path / "stop", "--model", "test")
    with start("denoise", tmp_path / "in", *options) as run:
        assert run.stdout is not None
        (first,) = read_objects([run.stdout.readline()])
        cancel(run, tmp_path / "stop")  # b is being read or in the network
        # `communicate` would close standard input, which cancels, too, and may be heard of first.
        assert run.stderr is not None
        rest, said = run.stdout.read(), run.stderr.read()
        run.wait(PATIENCE_S)
    assert (first["status"], rest, run.returncode) == ("done", "", exit_code), said
    end = check_told(read_objects(said), exit_code)
    assert (end["interrupted"], end["done"]) == (True, 1)
    assert files_in(tmp_path / "in") == {"a.dng", "b.dng", "a_dn.dng"}


@posix
def test_a_second_signal_does_not_wait_and_there_is_an_end_all_the_same(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from rawdenoise.cli.caller import JsonCaller\n"
        "with JsonCaller().stop_politely(lambda: None) as stop:\n"
        "    sys.stderr.write('half a line'); sys.stderr.flush()\n"
        "    stop.ask(); os.kill(os.getpid(), signal.SIGTERM); assert stop()\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('still here')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (130, "")  # what asked first is the reason
    half, *lines = run.stderr.splitlines()
    assert half == "half a line"
    assert check_told(read_objects(lines), 130)["interrupted"] is True


def test_a_run_that_is_cancelled_before_it_begins_does_nothing(tmp_path: Path) -> None:
    a_capture(tmp_path / "a.dng")
    (tmp_path / "stop").touch()
    command = ("denoise", tmp_path / "a.dng", *BESIDE, *TOLD)
    with start(*command, "--cancel-file", tmp_path / "stop") as run:
        output, said = run.communicate(timeout=PATIENCE_S)
    assert (output, run.returncode) == ("", 130)
    check_told(read_objects(said), 130)
    assert files_in(tmp_path) == {"a.dng", "stop"}


def test_a_standard_input_that_is_no_pipe_or_is_read_cancels_nothing(tmp_path: Path) -> None:
    a_capture(tmp_path / "a.dng")
    (tmp_path / "empty").touch()
    arguments = (*BESIDE, *TOLD, "--strength", "0", "--if-exists", "overwrite")
    runs = []
    with (tmp_path / "empty").open() as empty:
        for stdin in (subprocess.DEVNULL, empty):
            runs.append(start("denoise", tmp_path / "a.dng", *arguments, stdin=stdin))
        runs.append(start("denoise", "--files-from", "-", *arguments))
        assert runs[-1].stdin is not None
        runs[-1].stdin.write(str(tmp_path / "a.dng"))
        for run in runs:
            output, said = run.communicate(timeout=PATIENCE_S)
            check_told(read_objects(said), 0)
            assert [one["status"] for one in read_objects(output)] == ["done"]


# ---------------------------------------------------------------- other commands


@pytest.mark.usefixtures("few_crops")
def test_a_training_is_told_and_cancelled(tmp_path: Path) -> None:
    for number in range(3):
        a_capture(tmp_path / f"captures/{number}.dng", 192, 256, seed=number)
    (tmp_path / "captures/broken.CR2").touch()
    options = ("--scratch", tmp_path / "scratch", "--device", "cpu", "--keep-if-worse", *TOLD)
    result = call("train", tmp_path / "captures", *options, "--crops", "32")
    assert result.exit_code == 1, result.output  # a file was damaged
    (trained,) = read_objects(result.stdout)
    assert (trained["type"], trained["outcome"]) == ("training", "kept")
    told = read_objects(result.stderr)
    end = check_told(told, 1)
    assert (end["done"], end["failed"]) == (1, 0)
    stages = [one["stage"] for one in told if one["type"] == "progress"]
    assert stages[0] == "start"
    assert stages[-1] == "finished"
    assert "train" in stages
    (refused,) = [one for one in told if one["type"] == "message" and one["level"] == "error"]
    assert refused["file"] == str(tmp_path / "captures/broken.CR2")

    with start("train", tmp_path / "captures", *options, "--minutes", "60", "--seed", "1") as run:
        assert run.stderr is not None
        lines = [run.stderr.readline()]
        while '"train"' not in lines[-1].partition('"stage"')[2]:
            lines.append(run.stderr.readline())
            assert lines[-1]
        close_stdin(run, tmp_path)
        output, rest = run.communicate(timeout=PATIENCE_S)
    told = read_objects([*lines, *rest.splitlines()])
    assert (run.returncode, output, check_told(told, 130)["interrupted"]) == (130, "", True)
    assert "to resume, run the same command again" in told[-2]["text"]
    assert len(user_stores().models.cards()) == 1


def test_a_calibration_is_told(tmp_path: Path, own_profiles: Path) -> None:
    keep(darks(), tmp_path / "dark")
    keep(flats(), tmp_path / "flat")
    (tmp_path / "flat/broken.dng").touch()
    result = call("calibrate", "--dark", tmp_path / "dark", "--flat", tmp_path / "flat", *TOLD)
    (calibration,) = read_objects(result.stdout)
    assert (calibration["isos"], calibration["reason"]) == ([3200], None)
    assert (calibration["darks"], calibration["flats"], calibration["captures"]) == (2, 6, 0)
    assert Path(calibration["profile"]).is_relative_to(own_profiles)
    told = read_objects(result.stderr)
    assert check_told(told, 1)["done"] == 1
    progress = [one for one in told if one["type"] == "progress"]
    assert (progress[-1]["stage"], progress[-1]["fraction"]) == ("finished", 1)
    assert any(
        one.get("file") == str(tmp_path / "flat/broken.dng") for one in told if one["type"] == "message"
    )


def test_a_cancelled_calibration_keeps_nothing(tmp_path: Path, own_profiles: Path) -> None:
    keep(darks(), tmp_path / "dark")
    keep(flats(), tmp_path / "flat")
    (tmp_path / "stop").touch()
    command = ("calibrate", "--dark", tmp_path / "dark", "--flat", tmp_path / "flat", *TOLD)
    with start(*command, "--cancel-file", tmp_path / "stop") as run:
        output, said = run.communicate(timeout=PATIENCE_S)
    assert (output, run.returncode) == ("", 130)
    check_told(read_objects(said), 130)
    assert not own_profiles.exists()


# ---------------------------------------------------------------- what the documentation says


README = (PLUGINS / "README.md").read_text(encoding="utf-8")


def test_the_transcript_is_what_the_schema_says() -> None:
    transcript = README.partition("<!-- transcript -->")[2].partition("<!-- /transcript -->")[0]
    objects = read_objects([line for line in transcript.splitlines() if line.startswith("{")])
    assert {one["type"] for one in objects} == {"progress", "message", "result", "end"}
    check_told([one for one in objects if one["type"] != "result"], 1)


def test_requests_that_are_shown_are_requests() -> None:
    request, cancel = re.findall(r'^(\{"(?:id|cancel)".*\})$', README, re.MULTILINE)
    validator("request").validate(json.loads(request))
    validator("cancel").validate(json.loads(cancel))


def test_the_host_that_is_shown_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    host: dict[str, Any] = {}
    exec(code, host)
    a_capture(tmp_path / "a.dng")
    (tmp_path / "b.CR2").write_text("no raw file")
    told: list[float | None] = []
    monkeypatch.setenv("RAWDENOISE_DENOISE_STRENGTH", "0")
    results, code = host["denoise"](
        [str(tmp_path / "a.dng"), str(tmp_path / "b.CR2")], lambda fraction, left: told.append(fraction)
    )
    assert {Path(one["source"]).name: one["status"] for one in results} == {
        "a.dng": "done",
        "b.CR2": "failed",
    }
    assert (code, told[0], told[-1]) == (1, 0, 1)
    assert (tmp_path / "a_dn.dng").exists()
    a_capture(tmp_path / "c.dng", 2048, 4096)
    results, code = host["denoise"]([str(tmp_path / "c.dng")], lambda fraction, left: False)
    assert (results, code) == ([], 130)
