"""What a batch says while it runs and at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING

import click

from rawdenoise.app.planning import FileJob, begin_result
from rawdenoise.app.results import BatchSummary, FileResult, Status, summarize
from rawdenoise.atomic import remove_temporaries
from rawdenoise.cli.caller import Caller, Level
from rawdenoise.errors import Stop
from rawdenoise.terminal.text import count_noun, to_one_line, write_duration

if TYPE_CHECKING:
    from rich.console import Console

ENVIRONMENT_EXIT_CODE = 3
MOST_REASONS = 20
MOST_NAMED = 5


class BatchReport:
    """Results in, lines out: progress on standard error, one line a file on standard output.

    With `as_json` standard output carries one JSON object a line and nothing else. On a terminal a bar stands
    in for the lines of files that went well.
    """

    def __init__(self, *, as_json: bool, caller: Caller | None = None) -> None:
        self.as_json, self.caller = as_json, caller or Caller()
        self.results: list[FileResult] = []
        self._bar: Callable[[], None] | None = None
        self._console: Console | None = None
        self._start = time.perf_counter()

    def run(
        self, jobs: list[FileJob], results: Callable[[Stop], Iterator[FileResult]], *, resumes: bool
    ) -> int:
        """Take a batch's results to its end or to a signal; returns the exit code.

        `resumes`: the same command would go on where this one was stopped.
        """
        outputs = [job.output for job in jobs if job.output]
        with (
            self.caller.stop_politely(lambda: remove_temporaries(outputs)) as stop,
            self.show_bar(jobs),
        ):
            for result in results(stop):
                self.add(result)
        if stop() and len(self.results) < len(jobs):
            self.say_interrupted(len(jobs), resumes=resumes)
            return stop.exit_code
        self.sum_up()
        return self.exit_code()

    @contextmanager
    def show_bar(self, jobs: list[FileJob]) -> Iterator[None]:
        """Show a bar for the length of the block, where there is a terminal to show it on."""
        if self.caller.is_quiet or not sys.stderr.isatty():
            yield
            return
        # Loaded where there is something to show: programs need none of it.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import TimeRemainingColumn as TimeLeftColumn

        self._console = Console(stderr=True)
        columns = (
            SpinnerColumn(), TextColumn("denoising"), BarColumn(), MofNCompleteColumn(), TextColumn("files,"),
            TimeElapsedColumn(), TextColumn("elapsed,"), TimeLeftColumn(), TextColumn("left"),
        )  # fmt: skip
        with Progress(*columns, console=self._console, redirect_stdout=False, transient=True) as progress:
            task = progress.add_task("", total=len(jobs))
            self._bar = lambda: progress.advance(task)
            yield
        self._bar = self._console = None

    def add(self, result: FileResult) -> None:
        """Take a result and say what there is to say about it."""
        self.results.append(result)
        self.caller.count(result.status)
        if self._bar is not None:
            self._bar()
        if self.as_json:
            self.caller.result("result", result.as_json())
        elif result.status is Status.FAILED:
            line = f"{to_one_line(result.source)}: failed: {to_one_line(result.reason)}"
            self._err(line, "error", result.source)
        elif self._bar is None:
            self._out(describe_result(result))
        if not self.as_json and result.status is not Status.FAILED:
            flags = () if result.quality is None else result.quality.flags
            for note in (*result.notes, *(flag.words for flag in flags)):
                self._err(f"{to_one_line(result.source)}: note: {to_one_line(note)}", "note", result.source)

    def show_plan(self, jobs: list[FileJob]) -> int:
        """Say what a batch would do; returns the exit code."""
        for job in jobs:
            self.add(begin_result(job))
        self.sum_up()
        return self.exit_code()

    def say_interrupted(self, total: int, *, resumes: bool) -> None:
        """Say in one line how far a stopped batch got."""
        done = sum(result.status is Status.DONE for result in self.results)
        then = "; the same command goes on from there" if resumes else ""
        self.caller.say(f"interrupted: {done} of {count_noun(total, 'file')} done{then}")

    def sum_up(self) -> None:
        """Say on standard error how it all went."""
        summary = summarize(self.results)
        for line in describe_batch(summary, time.perf_counter() - self._start):
            self.caller.say(line)
        for line, first in describe_failures(summary):
            self.caller.say(line, "error", first)

    def exit_code(self) -> int:
        """0 nothing failed, 3 nothing was done for want of a model or device, else 1."""
        failed = [result for result in self.results if result.status is Status.FAILED]
        if not failed:
            return 0
        done = any(result.status is Status.DONE for result in self.results)
        return (
            ENVIRONMENT_EXIT_CODE
            if not done and all(result.exit_code == ENVIRONMENT_EXIT_CODE for result in failed)
            else 1
        )

    def _out(self, line: str) -> None:
        self._say(line, sys.stdout)

    def _err(self, line: str, level: Level, file: Path) -> None:
        if self.caller.speaks_json:
            self.caller.say(line, level, file)
        else:
            self._say(line, sys.stderr)

    def _say(self, line: str, stream: IO[str]) -> None:
        """Print above the bar where stream and bar share the terminal, else plainly."""
        if self._console is not None and stream.isatty():
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(line, file=stream)


def describe_result(result: FileResult) -> str:
    """Say in a line what became of a file."""
    source, output = to_one_line(result.source), to_one_line(result.output or "")
    match result.status:
        case Status.DONE:
            gain = f"left as it was: {to_one_line(result.left)}, " if result.left else ""
            if result.quality and not gain:
                gain = f"{result.quality.gain_db:+.1f} dB, "
            return f"{source} -> {output} ({gain}{_write_speed(_sum_seconds(result), result.megapixels)})"
        case Status.PLANNED:
            return f"{source} -> {output}"
        case status:
            return f"{source}: {status}: {to_one_line(result.reason)}"


def describe_batch(summary: BatchSummary, elapsed_s: float) -> Iterator[str]:
    """Count what became of the files, name the models, and say what is to be looked at."""
    counts = ", ".join(f"{number} {status}" for status, number in summary.counts.items() if number)
    line = f"{counts or 'nothing done'} in {write_duration(elapsed_s)}"
    if summary.counts[Status.DONE]:
        word = "model" if len(summary.models) == 1 else "models"
        used = f"{word} {', '.join(summary.models)}" if summary.models else "no model"
        line += f"; {_write_speed(elapsed_s, summary.megapixels)}; {used}"
    yield line
    if cameras := summary.bundled_for:
        named = ", ".join(to_one_line(camera) for camera in cameras[:MOST_REASONS])
        yield f"  bundled model used for {named}; `rawdenoise train` makes one of the camera's own"
    if gains := summary.gains_db:
        yield f"  estimated gain: {median(gains):+.1f} dB{'' if len(gains) == 1 else ' in the median'}"
    if summary.left:
        yield f"  left as they were, for they would lose or cannot be judged: {_name_sources(summary.left)}"
    for flag, sources in summary.flagged.items():
        yield f"  {flag.words}: {_name_sources(sources)}"
    if summary.stale:
        yield (
            f"  {count_noun(summary.stale, 'output')} left as made by another recipe, model or method, or"
            " before the source was changed; --redo makes them anew"
        )
    if summary.unknown:
        yield (
            f"  {count_noun(summary.unknown, 'file')} left under the names of outputs, which do not say of"
            " what they were made; --if-exists rename writes beside them"
        )


def describe_failures(summary: BatchSummary) -> Iterator[tuple[str, Path | None]]:
    """Say why files failed, each reason once, with the first of them."""
    for reason, (first, count) in list(summary.failures.items())[:MOST_REASONS]:
        more = f" and {count - 1} more" if count > 1 else ""
        yield f"  failed: {to_one_line(first)}{more}: {to_one_line(reason)}", first
    if (others := len(summary.failures) - MOST_REASONS) > 0:
        yield f"  and {count_noun(others, 'other reason')}; --json says all of them", None


def _name_sources(sources: Sequence[Path]) -> str:
    """Name the first of these, and say how many more there are."""
    more = f" and {len(sources) - MOST_NAMED} more" if len(sources) > MOST_NAMED else ""
    return ", ".join(map(to_one_line, sources[:MOST_NAMED])) + more


def _sum_seconds(result: FileResult) -> float:
    return result.read_s + result.network_s + result.write_s


def _write_speed(seconds: float, megapixels: float) -> str:
    return f"{seconds / megapixels:.2f} s/MP" if megapixels else write_duration(seconds)
