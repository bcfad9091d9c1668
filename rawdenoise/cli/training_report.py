"""What a training says in a terminal: events and results in, lines out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from rawdenoise.app.train import TrainRequest
from rawdenoise.app.training_events import (
    CameraBegun,
    CameraFound,
    CameraTrained,
    Event,
    FileRefused,
    FilesRead,
    ModelUnsaved,
    TrainingOutcome,
    TrainingResumed,
    name_isos,
)
from rawdenoise.app.training_meter import TrainingMeter
from rawdenoise.cli.caller import Caller, Level
from rawdenoise.cli.layout import spell_layout
from rawdenoise.errors import (
    FileError,
    NoCleanCapturesError,
    ScratchError,
    TooFewCapturesError,
    TrainingError,
    UnfinishableError,
    UnusableCleanError,
    is_damage,
)
from rawdenoise.terminal.live import LiveLine
from rawdenoise.terminal.signals import Stop
from rawdenoise.terminal.text import count_noun, to_one_line, write_duration
from rawdenoise.training.progress import Progress, TrainingStopped

# What can be done about an error, in options of the command.
REMEDIES = {
    ScratchError: "; choose another folder with --scratch",
    TooFewCapturesError: "; add some, or lower --min-captures",
    NoCleanCapturesError: " (--clean where they lie elsewhere)",
    UnusableCleanError: " (--clean)",
    UnfinishableError: "; to go on, leave --finish out",
}
COUNTED_AS = {
    TrainingOutcome.KEPT: "done",
    TrainingOutcome.LOSES: "skipped",
    TrainingOutcome.NOT_BETTER: "skipped",
    TrainingOutcome.FAILED: "failed",
}


class TrainingReport:
    """Prints events and results as they come, and knows the exit code they come to."""

    def __init__(self, caller: Caller | None = None) -> None:
        self._caller = caller or Caller()
        self._meter = TrainingMeter(self._caller.advance)
        self._is_damaged = False
        self._results: list[CameraTrained] = []
        self._line = LiveLine()

    def __call__(self, event: Event) -> None:
        """Say what happened."""
        self._meter.note(event)
        match event:
            case Progress():
                self._show("training", event.done, describe_progress(event))
            case FilesRead(count):
                self._show("reading captures", None, count_noun(count, "file"))
            case FileRefused(error):
                self._is_damaged |= is_damage(error)
                file = error.path if isinstance(error, FileError) else None
                self.say(f"refused: {to_one_line(str(error))}", "error", file)
            case CameraFound(camera, captures, isos, needed):
                name = f"{to_one_line(camera.name)} ({to_one_line(camera.mode)})"
                left_out = f"; left out, {needed} are needed (--min-captures)"
                more = "" if event.is_enough else left_out
                self.say(f"{name}: {count_noun(captures, 'capture')}, {name_isos(isos)}{more}")
            case CameraBegun(number, count, camera):
                self.say(f"\n[{number}/{count}] {to_one_line(camera.name)}")
            case TrainingResumed(crops):
                self.say(f"going on after {crops} crops of an earlier run")
            case ModelUnsaved(folder):
                self.say(f"the training is kept in {to_one_line(folder)}: the same command goes on there")

    def say(self, line: str, level: Level = "note", file: Path | None = None) -> None:
        """Print a line where the progress stands."""
        self._line.clear()
        self._caller.say(line, level, file)

    def _show(self, title: str, done: float | None, state: str) -> None:
        if not self._caller.is_quiet:
            self._line.update(title, done, state)

    @contextmanager
    def stop_on_signals(self) -> Iterator[Stop]:
        """Stop at the first signal, and end the command with its exit code."""
        with self._caller.stop_politely(lambda: None) as stop, add_remedies():
            try:
                yield stop
            except TrainingStopped as stopped:
                self.say(str(stopped))
                code = stop.exit_code if stop() else stopped.exit_code
                raise click.exceptions.Exit(code) from None
            finally:
                self._line.clear()

    def show(self, result: CameraTrained, request: TrainRequest, *, as_json: bool) -> None:
        """Print what came of a camera, to standard output, and what failed to standard error."""
        self._line.clear()
        self._results.append(result)
        self._caller.count(COUNTED_AS[result.outcome])
        self._meter.finish()
        if result.error is not None:
            self.say(f"failed: {to_one_line(result.reason)}{find_remedy(result.error)}", "error")
        if as_json:
            self._caller.result("training", result.as_json())
        elif result.error is None:
            for line in (*result.describe(), *_suggest_next_steps(result, request)):
                click.echo(line)

    def exit_code(self) -> int:
        """0 nothing failed, that of the failures where all failed alike, else 1."""
        codes = [result.exit_code for result in self._results if result.error is not None]
        if codes and len(codes) == len(self._results) and len(set(codes)) == 1:
            return codes[0]
        return int(bool(codes or self._is_damaged))


@contextmanager
def add_remedies() -> Iterator[None]:
    """Add to an error what can be done about it.

    Raises:
        TrainingError: with it.
    """
    try:
        yield
    except tuple(REMEDIES) as error:
        raise TrainingError(f"{error}{find_remedy(error)}") from error


def find_remedy(error: Exception) -> str:
    """Say what can be done about an error, where an option of the command can."""
    return next((text for kind, text in REMEDIES.items() if isinstance(error, kind)), "")


def describe_progress(progress: Progress) -> str:
    """Say how far a training is, in one line."""
    parts = [progress.stage]
    if progress.crops:
        speed = progress.crops / max(progress.elapsed_s, 1e-3)
        parts += [f"{progress.crops} crops", f"{speed:.0f} crops/s"]
    if progress.gain_db is not None:
        parts.append(f"estimated gain {progress.gain_db:.2f} dB")
    if progress.remaining_s is not None:
        parts.append(f"{write_duration(progress.remaining_s)} left")
    return ", ".join(parts)


def _suggest_next_steps(result: CameraTrained, request: TrainRequest) -> Iterator[str]:
    """Say what to type next."""
    if result.outcome is TrainingOutcome.KEPT:
        yield f"next: {shlex.join(_spell_denoise_command(result, request))}"
        return
    yield "--keep-if-worse keeps it nevertheless; more captures or minutes may make a better one"
    yield f"for that, what it has learned stays in {to_one_line(result.scratch)}; remove it to free the disk"


def _spell_denoise_command(result: CameraTrained, request: TrainRequest) -> Iterator[str]:
    """Spell the command that denoises the captures of the first of the inputs that has any."""
    captures = result.captures.captures
    paths = [capture.path for capture in captures]
    source = next(given for given in request.inputs if any(path.is_relative_to(given) for path in paths))
    yield from ("rawdenoise", "denoise", to_one_line(source), "-o", "out")
    if any(path.is_relative_to(source) and source not in (path, path.parent) for path in paths):
        yield "-r"
    if result.card and not all(capture.named for capture in captures):
        yield from ("--model", result.card.id)
    if request.layout is not None:
        yield from spell_layout(request.layout)
