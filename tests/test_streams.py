"""Standard streams, signals and lists of paths, as POSIX tools treat them."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from conftest import PATIENCE_S

from rawdenoise.atomic import atomic_output
from rawdenoise.cli.arguments import gather_paths
from rawdenoise.terminal import streams
from rawdenoise.terminal.signals import Ended, end_on_signal, stop_on_signal, too_late_for_signals

posix = pytest.mark.skipif(os.name == "nt", reason="streams and signals of POSIX")
INSIDE = (
    "import os, sys\nfrom rawdenoise.terminal.streams import standard_streams\nwith standard_streams():\n    "
)


def shell(command: str, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code by a shell, which can close and redirect its streams; `"$@"` is the call."""
    call = ["sh", "-c", command, "sh", sys.executable, "-c", code]
    return subprocess.run(
        call,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=PATIENCE_S,
    )


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing_and_are_no_files_of_ours(tmp_path: Path, closed: str) -> None:
    work = (
        "print('said'); print('told', file=sys.stderr); sys.stderr.isatty(); sys.stdin.read();"
        f"file = open({str(tmp_path / 'result')!r}, 'w'); file.write(str(file.fileno()))"
    )
    run = shell(f'"$@" {closed}', INSIDE + work)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "said\n")
    assert run.stderr == ("" if "2>&-" in closed else "told\n")
    assert int((tmp_path / "result").read_text()) > 2  # what complains there would write into it


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_standard_output_ends_no_work_and_is_said_at_the_end(tmp_path: Path) -> None:
    work = f"print('lost', flush=True); open({str(tmp_path / 'done')!r}, 'w').close()"
    run = shell('"$@" >/dev/full', INSIDE + work)
    assert (run.returncode, run.stderr) == (1, "error: standard output: No space left on device\n")
    assert (tmp_path / "done").exists()
    failed = shell('"$@" >/dev/full', INSIDE + "print('lost'); sys.exit(3)")
    assert failed.returncode == 3
    full_error = shell('"$@" 2>/dev/full', INSIDE + "print('lost', file=sys.stderr); print('said')")
    assert (full_error.returncode, full_error.stdout) == (0, "said\n")


@posix
def test_a_reader_that_went_away_is_said_by_the_exit_code_alone() -> None:
    gone = "import os; read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
    run = shell('"$@"', gone + INSIDE + "print('never read')")
    assert (run.returncode, run.stderr) == (streams.BROKEN_PIPE_EXIT_CODE, "")


@posix
def test_names_that_a_locale_cannot_spell_are_spelled_out() -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    run = shell('"$@"', INSIDE + r"print('\u5199.dng'); print('\xfc', file=sys.stderr)", **plain)
    assert (run.returncode, run.stdout, run.stderr) == (0, "\\u5199.dng\n", "\\xfc\n")


@posix
def test_the_program_itself_stands_on_these_streams() -> None:
    code = "from rawdenoise.cli import main; main(['--help'])"
    full = shell('"$@" >/dev/full', code) if Path("/dev/full").exists() else None
    assert full is None or (full.returncode, full.stderr.count("\n")) == (1, 1)
    closed = shell('"$@" <&- >&- 2>&-', code)
    assert closed.returncode == 0


# ---------------------------------------------------------------- signals


@posix
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_process_that_is_told_to_end_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(Ended) as ended, end_on_signal(), atomic_output(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        signal.raise_signal(number)
    assert ended.value.exit_code == 128 + number
    assert not list(tmp_path.iterdir())


@posix
def test_a_closed_terminal_asks_to_stop_as_sigterm_does() -> None:
    with stop_on_signal(lambda: None) as stop:
        signal.raise_signal(signal.SIGHUP)
        assert (stop(), stop.exit_code) == (True, 129)


@pytest.mark.parametrize(("name", "ends_by"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", Ended)])
def test_a_signal_waits_for_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ends_by: type[BaseException]
) -> None:
    code = f"""
import signal
for number in (signal.{name}, signal.SIGINT, signal.SIGTERM):
    signal.raise_signal(number)
is_whole = True
"""
    (tmp_path / f"interrupted_by_{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ends_by), end_on_signal():
        module = importlib.import_module(f"interrupted_by_{name}")
        assert module.is_whole
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            time.sleep(0.05)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@posix
@pytest.mark.parametrize(
    "signals", ["end_on_signal()", "stop_on_signal(lambda: None)", "too_late_for_signals()"]
)
def test_a_process_that_nobody_hears_can_be_ended(signals: str) -> None:
    code = f"""
import os, sys
from rawdenoise.terminal.signals import *
os.set_blocking(2, False)
try:
    while True:
        os.write(2, b"." * 4096)
except BlockingIOError:
    os.set_blocking(2, True)
with {signals}:
    while True:
        try:
            print("full", flush=True)
            os.write(2, b"a line")
        except BaseException:
            pass
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"full\n"
        run.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE_S
        while run.poll() is None and time.monotonic() < until:
            run.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        run.kill()
    assert run.returncode == 143


@posix
def test_a_signal_does_not_cut_the_end_short() -> None:
    with too_late_for_signals():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)


@posix
def test_what_nohup_has_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with end_on_signal(), stop_on_signal(lambda: None) as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


# ---------------------------------------------------------------- lists


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_of_every_editor_name_the_same_files(tmp_path: Path, encoding: str, end: str) -> None:
    names = ["ü.NEF", "写真/b.NEF"]
    (tmp_path / "list").write_bytes("".join(name + end for name in names).encode(encoding))
    assert gather_paths([], tmp_path / "list", null=False) == [Path(name) for name in names]


def test_a_closed_standard_input_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as closed:
        monkeypatch.setattr(sys, "stdin", closed)
        with pytest.raises(click.UsageError, match="standard input is closed"):
            gather_paths([], Path("-"), null=True)
