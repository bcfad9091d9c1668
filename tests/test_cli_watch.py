"""`rawdenoise watch` and `queue` as they are typed: exit codes, signals, lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import soon
from watched import a_capture

from rawdenoise.cli import main
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import State
from rawdenoise.watching.output_mark import MARKER


@pytest.fixture(autouse=True)
def _here(own_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "in").mkdir()


def rawdenoise(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def once(*more: str) -> Result:
    words = ["--state", "state", "--once", "--settle", "0", "--strength", "0", "--train", "never"]
    return rawdenoise("watch", "in", "-o", "out", *words, *more)


def queue(*words: str) -> Result:
    return rawdenoise("queue", *words, "--state", "state")


@contextmanager
def service(*more: str, strength: str = "0") -> Iterator[subprocess.Popen[str]]:
    """The service in a process of its own."""
    words = ["--state", "state", "--settle", "0", "--strength", strength, "--train", "never", "--log-json"]
    command = [sys.executable, "-m", "rawdenoise", "watch", *words, *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


# watch


def test_once_does_what_is_there_and_says_so() -> None:
    a_capture(Path("in/a.dng"))
    result = once()
    assert result.exit_code == 0
    assert Path("out/a.dng").is_file()
    assert f"{Path('in/a.dng').absolute()} -> {Path('out/a.dng').absolute()}" in result.stderr
    assert result.stdout == ""


def test_once_with_what_fails_is_exit_1() -> None:
    Path("in/bad.dng").write_bytes(b"x" * 99)
    result = once("--attempts", "1")
    assert result.exit_code == 1
    assert "bad.dng: given up: " in result.stderr


def test_json_lines_are_json() -> None:
    a_capture(Path("in/a.dng"))
    events = [json.loads(line) for line in once("--log-json").stderr.splitlines()]
    assert [each["event"] for each in events] == ["started", "done", "stopped"]
    assert events[1]["output"] == str(Path("out/a.dng").absolute())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a folder to watch and -o OUT"),
        (["in"], "give a folder to watch and -o OUT"),
        (["in", "-o", "out", "--config", "x.toml"], "--config says all of it; IN belongs into x.toml"),
        (["--settle", "3", "--config", "x.toml"], "--settle belongs into x.toml"),
        (["--config", "gone.toml"], "gone.toml: cannot be read"),
        (["in", "-o", "in"], "another folder than the captures"),
        (["in", "-o", "out", "--train", "always"], "'always' is not one of"),
        (["in", "-o", "out", "--once", "--print-service", "systemd"], "--once ends"),
    ],
)
def test_what_cannot_be_meant_is_exit_2(words: list[str], said: str) -> None:
    result = rawdenoise("watch", *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_model_or_device_that_is_not_there_is_exit_3() -> None:
    for words in (["--model", "nothing"], ["--device", "cuda:99"]):
        result = rawdenoise("watch", "in", "-o", "out", "--state", "state", "--once", *words)
        assert result.exit_code == 3
        assert result.stderr.startswith("error: ")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_sigterm_ends_it_within_ten_seconds_and_leaves_nothing() -> None:
    for number in range(40):
        a_capture(Path(f"in/{number}.dng"), number)
    with service("in", "-o", "out", strength="1") as process:
        assert soon(lambda: list(Path("out").glob("*.dng")))
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - start < 10
    left = {path.name for path in Path("out").iterdir()} - {MARKER}
    assert all(name.endswith(".dng") and not name.startswith(".") for name in left)
    with Ledger(Path("state"), owner=False) as ledger:
        counts = ledger.figures.count_states()
    assert counts[State.RUNNING] == counts[State.FAILED] == 0
    assert counts[State.DONE] == len(left) < 40
    assert once().exit_code == 0
    assert len(list(Path("out").glob("*.dng"))) == 40


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP")
def test_sighup_reads_the_file_again_and_a_mistake_changes_nothing() -> None:
    file = Path("watch.toml")
    good = 'settle = 0\nstrength = 0\ntrain = "never"\n[[root]]\nin = "in"\nout = "out"\n'
    file.write_text(good)
    command = [
        sys.executable,
        "-m",
        "rawdenoise",
        "watch",
        "--config",
        str(file),
        "--state",
        "state",
        "--log-json",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert json.loads(process.stderr.readline())["event"] == "started"
            file.write_text("nonsense = 1\n" + good)
            process.send_signal(signal.SIGHUP)
            told = json.loads(process.stderr.readline())
            assert told["event"] == "not reloaded"
            assert "`nonsense` is unknown" in told["reason"]
            Path("in2").mkdir()
            a_capture(Path("in2/a.dng"))
            file.write_text(good + '[[root]]\nin = "in2"\nout = "out2"\n')
            process.send_signal(signal.SIGHUP)
            assert json.loads(process.stderr.readline())["event"] == "reloaded"
            assert soon(lambda: Path("out2/a.dng").exists())
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_the_printed_service_runs_this_very_command(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("watch").mkdir()  # a folder called like a word of the command
    words = ["in", "-o", "not there yet", "--settle", "7", "--sidecars", "--state", "s", "--failed-dir", "f",
             "--base", "best"]  # fmt: skip
    result = rawdenoise("watch", *words, "--print-service", "systemd")
    here = Path.cwd()
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("ExecStart=")]
    assert line == (
        f'ExecStart=:{sys.executable} -m rawdenoise watch {here}/in --output "{here}/not there yet"'
        f" --settle 7.0 --sidecars --failed-dir {here}/f --bundled best --state {here}/s"
    )
    assert not Path("not there yet").exists()
    assert "systemctl --user enable --now rawdenoise" in result.stderr


def test_the_status_page() -> None:
    a_capture(Path("in/a.dng"))
    Path("in/bad.dng").write_bytes(b"x" * 99)
    once("--attempts", "1")
    result = rawdenoise("watch", "--status", "--state", "state")
    assert result.exit_code == 0
    assert "no watcher is running" in result.stdout
    assert "1 in the last hour" in result.stdout
    assert "quarantined 2" in result.stdout or "quarantined 1" in result.stdout


def status() -> str:
    return rawdenoise("watch", "--status", "--state", "state").stdout


def test_the_status_of_a_running_service() -> None:
    with service("in", "-o", "out") as process:
        assert soon(lambda: "(events, 0 files)" in " ".join(status().split()))
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)


# queue


@pytest.fixture
def worked() -> None:
    a_capture(Path("in/good.dng"))
    Path("in/bad.dng").write_bytes(b"x" * 99)
    once("--attempts", "1")


@pytest.mark.usefixtures("worked")
def test_queue_list_and_show() -> None:
    lines = queue("list").stdout.splitlines()
    assert len(lines) == 2
    assert any("done" in line and "good.dng -> " in line for line in lines)
    (bad,) = [
        json.loads(line) for line in queue("list", "--only", "quarantined", "--json").stdout.splitlines()
    ]
    assert bad["paths"] == [str(Path("in/bad.dng").absolute())]
    assert bad["reason"]
    shown = queue("show", str(bad["id"]))
    assert "quarantined" in shown.stdout
    assert bad["reason"] in shown.stdout
    assert json.loads(queue("show", str(bad["id"]), "--json").stdout) == bad
    missing = queue("show", "99")
    assert missing.exit_code == 1
    assert "no job 99" in missing.stderr


@pytest.mark.usefixtures("worked")
def test_queue_retry_and_clear() -> None:
    assert queue("retry").stdout == "1 capture will be tried again\n"
    assert json.loads(queue("stats", "--json").stdout)["ready"] == 1
    assert once("--attempts", "1").exit_code == 1
    assert queue("clear").exit_code == 2
    assert json.loads(queue("clear", "--only", "quarantined", "--json").stdout) == {"cleared": 1}
    stats = queue("stats").stdout
    assert "done         1" in stats
    assert "quarantined  0" in stats


def test_queue_lists_what_has_not_settled() -> None:
    a_capture(Path("in/a.dng"))
    with Ledger(Path("state")) as ledger:
        ledger.files.see([(Path("in/a.dng"), _signature())], Path("out"), time.time())
    assert "seen" in queue("list").stdout
    assert json.loads(queue("list", "--json", "--only", "seen").stdout)["paths"] == ["in/a.dng"]


def _signature() -> object:
    from rawdenoise.files.sources import signature_of

    return signature_of(Path("in/a.dng"))


def test_no_ledger_is_one_clear_line() -> None:
    result = queue("list")
    assert result.exit_code == 3
    assert "no ledger there" in result.stderr
    assert "--state" in result.stderr
    assert not Path("state").exists()
