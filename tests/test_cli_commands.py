from __future__ import annotations

import importlib
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import PATIENCE_S

from rawdenoise import __version__, errors
from rawdenoise.app.demo import DemoResult, DenoisingBegun
from rawdenoise.cli import COMMANDS, main
from rawdenoise.cli.demo import DemoReport
from rawdenoise.nets import NETS
from rawdenoise.terminal.text import count_noun, to_one_line, write_duration
from rawdenoise.training.objectives import NEED_BLIND_SPOTS, NEED_PAIRS, OBJECTIVES

ROOT = Path(__file__).parents[1]


def python(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, **more)  # type: ignore[call-overload,no-any-return]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, rawdenoise.cli as cli; cli.main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    heavy = {"torch", "numpy", "rawpy", "rich", "tifffile", "jaxtyping", "jinja2", "rawdenoise.pages"}
    run = python("-c", code)
    assert "Commands:" in run.stdout, run.stderr
    assert heavy.isdisjoint(run.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_imports_nothing_heavy(command: str) -> None:
    call = f"cli.main([{command!r}, '-h'], standalone_mode=False)"
    run = python("-c", f"import sys, rawdenoise.cli as cli; {call}; print(*sys.modules)")
    assert run.stdout.startswith("Usage:"), run.stderr
    assert {"torch", "numpy", "rawpy", "rich", "jinja2", "rawdenoise.pages"}.isdisjoint(run.stdout.split())


@pytest.mark.parametrize("how", [["-m", "rawdenoise"], [str(ROOT / "cli.py")]])
def test_other_ways_to_call_it(how: list[str]) -> None:
    run = python(*how, "--version", cwd=ROOT)
    assert (run.returncode, run.stdout.strip()) == (0, f"rawdenoise, version {__version__}")


def commands(group: click.Group = main, path: str = "rawdenoise") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def section(heading: str) -> str:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    start = text.index(f"\n## {heading}\n") + 1
    end = text.find("\n## ", start)
    return text[start : end if end > 0 else None]


def options(command: click.Command) -> set[str]:
    return {flag for each in command.params if isinstance(each, click.Option) for flag in each.opts}


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=[path for path, _ in commands()])
def test_every_option_is_documented(path: str, command: click.Command) -> None:
    heading = " ".join(path.split()[:2])
    text = section(heading)
    assert path in text
    missing = {flag for flag in options(command) if f"`{flag}`" not in text and f"`{flag} " not in text}
    assert not missing


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_is_documented_that_is_not_there(name: str) -> None:
    known = {flag for path, command in commands() if path.split()[1] == name for flag in options(command)}
    named = set(re.findall(r"`(--?[a-z0][a-z-]*)", section(f"rawdenoise {name}")))
    assert named <= known | {"--"}


def test_short_helps_are_said_once() -> None:
    for name, short in COMMANDS.items():
        module = importlib.import_module(f"rawdenoise.cli.{name.replace('-', '_')}")
        assert module.command.get_short_help_str(200) == short


def test_choices_are_those_of_the_library() -> None:
    train = dict(commands())["rawdenoise train"]
    choices = {
        each.name: list(each.type.choices) for each in train.params if isinstance(each.type, click.Choice)
    }
    assert choices["net"] == list(NETS)
    not_alone = NEED_PAIRS | NEED_BLIND_SPOTS | {"self2self"}  # of one capture: its use is another, too
    assert choices["objective"] == [name for name in OBJECTIVES if name not in not_alone]


@pytest.mark.parametrize(
    "line",
    [
        "frobnicate",
        "denoise",
        "denoise a.dng",
        "denoise -o out",
        "denoise a -o out --strength 2",
        "denoise a -o out --black 3",
        "denoise a -o out --cfa RGGB --size 3",
        "denoise a -o out --cfa RGGB --black 1,2",
        "denoise -o out --files-from missing",
        "train",
        "train a --minutes 1 --images 1",
        "models show",
        "inspect",
    ],
)
def test_a_wrong_command_line_is_exit_2_and_says_why(line: str) -> None:
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert not result.stdout


def test_no_option_is_said_to_be_bounded_by_none() -> None:
    assert "None" not in CliRunner().invoke(main, ["watch", "--help"]).output


class _Failing:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *arguments: object, **more: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (errors.SetupError("no such device"), 3, "error: no such device"),
        (errors.TrainingError("of\ntwo lines"), 1, "error: of\\ntwo lines"),
        (
            ZeroDivisionError("oh"),
            1,
            "error: unexpected ZeroDivisionError: oh (a bug; `rawdenoise --debug ...` shows where)",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line(
    error: BaseException, exit_code: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rawdenoise.app.doctor.check_installation", _Failing(error))
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", line + "\n")


@pytest.mark.skipif(os.name == "nt", reason="there a name that is too long is of nothing that is there")
@pytest.mark.parametrize(
    "words",
    [["denoise", "{long}.dng", "--beside"], ["denoise", "a.dng", "-o", "{long}"], ["train", "{long}"]],
)
def test_a_name_that_is_too_long_is_no_bug(words: list[str]) -> None:
    long = "n" * 300
    result = CliRunner().invoke(main, [word.format(long=long) for word in words])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {long}")
    assert "bug" not in result.stderr


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rawdenoise.app.doctor.check_installation", _Failing(ZeroDivisionError("oh")))
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(main, ["--debug", "doctor"], catch_exceptions=False)


def test_options_come_from_the_environment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAWDENOISE_DENOISE_STRENGTH", "7")
    result = CliRunner().invoke(main, ["denoise", "a", "-o", str(tmp_path)])
    assert (result.exit_code, "7" in result.stderr) == (2, True)


def test_windows_names_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["$HOME.dng", "~", "[ab].dng"]
    for name in names:
        Path(name).write_text("no raw file")
    Path("a.dng").write_text("nor this")
    monkeypatch.setattr("click.core.os", _Windows())
    monkeypatch.setattr(sys, "argv", ["rawdenoise", "inspect", *names, "b*.dng"])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in told] == [*names, "b*.dng"]


class _Windows:
    """The module `os` of click, which thinks that it is on Windows."""

    name = "nt"

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


def test_patterns_of_files_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.dng", "b.dng"):
        Path(name).write_text("no raw file")
    told = CliRunner().invoke(main, ["inspect", "*.dng"]).stderr.splitlines()
    assert [line.split(": ")[1] for line in told] == ["a.dng", "b.dng"]


def test_the_shell_can_complete_commands() -> None:
    asked = {"_RAWDENOISE_COMPLETE": "bash_complete", "COMP_WORDS": "rawdenoise de", "COMP_CWORD": "1"}
    code = "from rawdenoise.cli import main; main(prog_name='rawdenoise')"
    run = python("-c", code, env={**os.environ, **asked})
    assert {"plain,denoise", "plain,demo"} >= set(run.stdout.split()) != set()


def test_doctor_finds_all_well_and_says_it_as_json_too(own_store: Path) -> None:
    said = CliRunner().invoke(main, ["doctor"])
    assert said.exit_code == 0, said.stdout
    result = CliRunner().invoke(main, ["doctor", "--json"])
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert {
        "python",
        "torch",
        "LibRaw",
        "devices",
        "model store",
        "disk",
        "write and read",
        "network",
    } <= checks.keys()


def test_doctor_names_what_is_broken(own_store: Path) -> None:
    (own_store / "broken").mkdir(parents=True)
    (own_store / "broken" / "card.json").write_text("{}")
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 3
    assert re.search(r"FAIL broken model: .*card\.json", result.stdout)


def test_demo_passes_on_what_it_was_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: dict[str, object] = {}

    def run_demo(output: Path, *, minutes: float, seed: int, on_event: DemoReport) -> DemoResult:
        told.update(output=output, minutes=minutes, seed=seed)
        on_event(DenoisingBegun(4))
        return DemoResult("model", True, (), output / "captures", output / "models", output / "picture.png")

    monkeypatch.setattr("rawdenoise.app.demo.run_demo", run_demo)
    result = CliRunner().invoke(main, ["demo", "-o", str(tmp_path), "--minutes", "0.5", "--seed", "3"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("3. Denoising 4 captures it has not seen\n")
    assert f"{tmp_path / 'picture.png'} (noisy, denoised, clean)" in result.stdout.splitlines()[-1]
    assert told == {"output": tmp_path, "minutes": 0.5, "seed": 3}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\udcff", "\\udcff"),
        ("Gödel 写真", "Gödel 写真"),
    ],
)
def test_a_line_stays_a_line(text: str, line: str) -> None:
    assert to_one_line(text) == line
    line.encode()


def test_times_and_counts_as_a_person_says_them() -> None:
    assert [write_duration(s) for s in (4.24, 200, 3905)] == ["4.2 s", "3 min 20 s", "1 h 05 min"]
    assert [count_noun(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def test_the_shim_is_only_a_shim() -> None:
    assert runpy.run_path(str(ROOT / "cli.py"), run_name="imported")["main"] is main


@pytest.mark.parametrize(
    "words", [["denoise", "a.dng", "-o", ""], ["denoise", "", "-o", "out"], ["watch", "in", "-o", ""]]
)
def test_the_empty_word_of_an_unset_variable_is_no_folder(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "the path is empty" in result.stderr
