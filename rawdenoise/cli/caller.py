"""Who has called a command: a person, who reads lines, or a program, which reads JSON (plugins/README.md)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from rawdenoise.app.progress import WorkProgress
from rawdenoise.cli.paths import GivenPath
from rawdenoise.terminal.cancelling import watch_for_cancel
from rawdenoise.terminal.signals import INTERRUPTED_LINE, Stop, interrupt_main_thread, stop_on_signal
from rawdenoise.terminal.streams import find_lost_output
from rawdenoise.terminal.text import to_one_line

if TYPE_CHECKING:
    from rawdenoise.app.stores import Stores

SCHEMA = 1
BEGINNING = "start"  # what a command is at before it knows what is to be done
TELL_S = 0.12  # between two lines of progress: at most ten a second
INTERRUPTED = frozenset({129, 130, 143})  # exit codes: a closed terminal, Ctrl-C, SIGTERM
Level = Literal["note", "error"]
Command = TypeVar("Command", bound=Callable[..., Any])


class Caller:
    """A person: what is said are lines on standard error, and nothing is said at the end.

    `is_quiet` where no bar or line is to show how far it is; `wants_results` where results are to be JSON
    whatever the command's options say. `stores` are those to use, where it has some at hand; `is_isolated`
    where a file must not take the process with it.
    """

    speaks_json = False
    wants_results = False
    is_isolated = False
    stores: Stores | None = None

    def __init__(self) -> None:
        self.command, self.is_quiet = "", False
        self.counts = {"done": 0, "skipped": 0, "failed": 0}
        self._is_cancelled = False
        self._stop: Stop | None = None

    # ------------------------------------------------------------ what is said

    def say(self, line: str, level: Level = "note", file: Path | None = None) -> None:
        """Say a line that is fit for a person, of a file if it is of one."""
        click.echo(line, err=True)

    def fail(self, line: str) -> None:
        """Say why the command ends."""
        self.say(f"error: {line}")

    def advance(self, progress: WorkProgress) -> None:
        """Hear how far the command is, from any thread; a person has a bar for that."""

    def result(self, kind: str, fields: Mapping[str, object]) -> None:
        """Give a result as a JSON object, in a line of standard output."""
        click.echo(encode(kind, fields))

    def count(self, status: str) -> None:
        """Count a result, for the end."""
        if status in self.counts:
            self.counts[status] += 1

    # ------------------------------------------------------------ how it is stopped

    def is_cancelled(self) -> bool:
        """Tell whether somebody has asked to stop without a signal."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Ask to stop, from any thread: politely what can be stopped so, else as Ctrl-C does."""
        self._is_cancelled = True
        if self._stop is not None:
            self._stop.ask()
        else:
            interrupt_main_thread()

    def watch(self, cancel_file: Path | None, *, stdin: bool) -> AbstractContextManager[None]:
        """Be cancelled by a file that appears, and by a program that closes standard input."""
        return watch_for_cancel(self.cancel, file=cancel_file, stdin=stdin and self.speaks_json)

    @contextmanager
    def stop_politely(self, clean_up: Callable[[], None]) -> Iterator[Stop]:
        """Turn what asks to stop into a `Stop`, for the length of the block, and then into nothing."""
        self._stop = Stop()
        if self._is_cancelled:
            self._stop.ask()
        with stop_on_signal(clean_up, stop=self._stop, last_words=self._last_words) as stop:
            yield stop

    def _last_words(self, exit_code: int) -> bytes:
        """What is written to standard error where the process ends at once."""
        return INTERRUPTED_LINE


class JsonCaller(Caller):
    """A program: all that is said is a JSON object in a line of standard error, and `end` is the last one."""

    speaks_json = True

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._start = time.perf_counter()
        self._told, self._untold = -TELL_S, dict[str, object]()
        self._has_ended = False

    def say(self, line: str, level: Level = "note", file: Path | None = None) -> None:
        """Say a line as a message."""
        text = to_one_line(" ".join(line.split("\n")).strip())
        if text:
            with self._lock:
                if self._untold.get("fraction") == 1:  # a summary comes after all that it sums up
                    self._tell()
            where = None if file is None else str(file)
            self._give("message", {"level": level, "file": where, "text": text})

    def fail(self, line: str) -> None:
        """Say why the command ends."""
        self.say(line, "error")

    def advance(self, progress: WorkProgress) -> None:
        """Say how far the command is, if that was not said just now."""
        left, fraction = progress.seconds_left, progress.fraction
        fields: dict[str, object] = {
            "command": self.command,
            "file": None if progress.file is None else str(progress.file),
            "stage": str(progress.stage),
            "fraction": None if fraction is None else round(fraction, 4),
            "files_done": progress.files_done,
            "files": progress.files,
            "seconds_left": None if left is None else round(left, 1),
        }
        with self._lock:
            self._untold = fields
            if time.perf_counter() - self._told >= TELL_S:
                self._tell()

    def result(self, kind: str, fields: Mapping[str, object]) -> None:
        """Give a result in a line of standard output, whole even where both streams are one pipe."""
        with self._lock:
            super().result(kind, fields)

    def end(self, exit_code: int) -> int:
        """Say how it ended, and nothing after that; returns the exit code of the process."""
        if exit_code == 0 and (lost := self._find_lost()):
            self.fail(f"standard output: {lost}")
            exit_code = 1
        with self._lock:
            if self._untold:
                self._tell()
            self._give("end", self._describe_end(exit_code))
            self._has_ended = True
        return exit_code

    def _tell(self) -> None:
        fields, self._untold, self._told = self._untold, {}, time.perf_counter()
        self._give("progress", fields)

    def _describe_end(self, exit_code: int) -> dict[str, object]:
        seconds = round(time.perf_counter() - self._start, 3)
        interrupted = exit_code in INTERRUPTED
        return {"exit_code": exit_code, "interrupted": interrupted, **self.counts, "seconds": seconds}

    def _give(self, kind: str, fields: Mapping[str, object]) -> None:
        with self._lock, suppress(OSError):  # who does not listen stops no work
            if not self._has_ended:
                click.echo(encode(kind, fields), err=True)

    def _find_lost(self) -> str:
        return find_lost_output()

    def _last_words(self, exit_code: int) -> bytes:
        interrupted = {"level": "note", "file": None, "text": "interrupted"}
        lines = (encode("message", interrupted), encode("end", self._describe_end(exit_code)))
        return ("\n" + "\n".join(lines) + "\n").encode()  # a line may be half-way out


def caller_options(function: Command) -> Command:
    """Add how a command tells how far it is, and how a program stops it."""
    for add in (
        click.option(
            "--cancel-file", type=GivenPath(), metavar="FILE",
            help="Stop as by Ctrl-C as soon as there is such a file.",
        ),
        click.option(
            "--progress", type=click.Choice(["auto", "json", "none"]), default="auto", show_default=True,
            help="How far it is: a bar on a terminal; or JSON objects on standard error, with all that is"
            " said, for programs, which can also stop it by closing standard input; or nothing.",
        ),
    ):  # fmt: skip
        function = add(function)
    return function


def find_caller(ctx: click.Context, options: dict[str, Any], *, reads_stdin: bool = False) -> Caller:
    """Say who has called, and be stopped by them from now on; takes `caller_options` out of the options."""
    progress, cancel_file = options.pop("progress"), options.pop("cancel_file")
    caller = ctx.find_object(Caller) or (JsonCaller() if progress == "json" else Caller())
    caller.command, caller.is_quiet = ctx.command.name or "", caller.speaks_json or progress != "auto"
    caller.advance(WorkProgress(BEGINNING, 0.0))
    ctx.with_resource(caller.watch(cancel_file, stdin=not reads_stdin))
    return caller


def wants_json(words: list[str], environment: Mapping[str, str]) -> bool:
    """Whether a command line, which may be wrong, asks for JSON on standard error."""
    command = next((word for word in words if not word.startswith("-")), "")
    wanted = environment.get(f"RAWDENOISE_{command.upper().replace('-', '_')}_PROGRESS", "")
    if "--" in words:
        words = words[: words.index("--")]
    for word, following in pairwise([*words, ""]):
        if word == "--progress":
            wanted = following
        elif word.startswith("--progress="):
            wanted = word.partition("=")[2]
    return wanted == "json"


def encode(kind: str, fields: Mapping[str, object]) -> str:
    r"""An object of the contract in one line of ASCII; bytes that are no UTF-8 stand as `\udcXX`."""
    return json.dumps({"type": kind, "schema": SCHEMA, **fields})
