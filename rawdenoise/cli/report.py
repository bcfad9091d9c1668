"""What a batch says while it runs and at its end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import IO

import click
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

from rawdenoise.app.jobs import FileResult, Job, Status, result_of
from rawdenoise.atomic import remove_temporaries
from rawdenoise.errors import Stop
from rawdenoise.files.outputs import Standing
from rawdenoise.models.bundled import is_bundled
from rawdenoise.quality.picture_quality import Flag
from rawdenoise.terminal.signals import stop_on_signal
from rawdenoise.terminal.text import counted, duration, one_line

ENVIRONMENT = 3
MOST_REASONS = 20
MOST_FLAGGED = 5


class BatchReport:
    """Results in, lines out: progress on standard error, one line a file on standard output.

    With `as_json` standard output carries one JSON object a line and nothing else. On a terminal a bar stands
    in for the lines of files that went well.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.results: list[FileResult] = []
        self._bar: Callable[[], None] | None = None
        self._console = Console(stderr=True)
        self._start = time.perf_counter()

    def run(self, jobs: list[Job], results: Callable[[Stop], Iterator[FileResult]], *, resumes: bool) -> int:
        """Take a batch's results to its end or to a signal; returns the exit code.

        `resumes`: the same command would go on where this one was stopped.
        """
        outputs = [job.output for job in jobs if job.output]
        with stop_on_signal(lambda: remove_temporaries(outputs)) as stop, self.running(jobs):
            for result in results(stop):
                self.add(result)
        if stop() and len(self.results) < len(jobs):
            self.interrupted(len(jobs), resumes=resumes)
            return stop.exit_code
        self.summary()
        return self.exit_code()

    @contextmanager
    def running(self, jobs: list[Job]) -> Iterator[None]:
        """Show a bar for the length of the block, where there is a terminal to show it on."""
        if not sys.stderr.isatty():
            yield
            return
        columns = (
            SpinnerColumn(), TextColumn("denoising"), BarColumn(), MofNCompleteColumn(), TextColumn("files,"),
            TimeElapsedColumn(), TextColumn("elapsed,"), TimeLeftColumn(), TextColumn("left"),
        )  # fmt: skip
        with Progress(*columns, console=self._console, redirect_stdout=False, transient=True) as progress:
            task = progress.add_task("", total=len(jobs))
            self._bar = lambda: progress.advance(task)
            yield
        self._bar = None

    def add(self, result: FileResult) -> None:
        """Take a result and say what there is to say about it."""
        self.results.append(result)
        if self._bar is not None:
            self._bar()
        if self.as_json:
            self._out(json.dumps(json_of(result)))
        elif result.status is Status.FAILED:
            self._err(f"{one_line(result.source)}: failed: {one_line(result.reason)}")
        elif self._bar is None:
            self._out(line_of(result))
        if not self.as_json and result.status is not Status.FAILED:
            flags = () if result.quality is None else result.quality.flags
            for note in (*result.notes, *(flag.words for flag in flags)):
                self._err(f"{one_line(result.source)}: note: {one_line(note)}")

    def planned(self, jobs: list[Job]) -> int:
        """Say what a batch would do; returns the exit code."""
        for job in jobs:
            self.add(result_of(job))
        self.summary()
        return self.exit_code()

    def interrupted(self, total: int, *, resumes: bool) -> None:
        """Say in one line how far a stopped batch got."""
        done = sum(result.status is Status.DONE for result in self.results)
        then = "; the same command goes on from there" if resumes else ""
        click.echo(f"interrupted: {done} of {counted(total, 'file')} done{then}", err=True)

    def summary(self) -> None:
        """Say on standard error how it all went."""
        for line in summary_lines(self.results, time.perf_counter() - self._start):
            click.echo(line, err=True)

    def exit_code(self) -> int:
        """0 nothing failed, 3 nothing was done for want of a model or device, else 1."""
        failed = [result for result in self.results if result.status is Status.FAILED]
        if not failed:
            return 0
        done = any(result.status is Status.DONE for result in self.results)
        return ENVIRONMENT if not done and all(each.exit_code == ENVIRONMENT for each in failed) else 1

    def _out(self, line: str) -> None:
        self._say(line, sys.stdout)

    def _err(self, line: str) -> None:
        self._say(line, sys.stderr)

    def _say(self, line: str, stream: IO[str]) -> None:
        """Print above the bar where stream and bar share the terminal, else plainly."""
        if self._bar is not None and stream.isatty():
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(line, file=stream)


def line_of(result: FileResult) -> str:
    """Say in a line what became of a file."""
    source, output = one_line(result.source), one_line(result.output or "")
    match result.status:
        case Status.DONE:
            gain = f"left as it was: {one_line(result.left)}, " if result.left else ""
            if result.quality and not gain:
                gain = f"{result.quality.gain_db:+.1f} dB, "
            return f"{source} -> {output} ({gain}{_speed(_seconds(result), result.megapixels)})"
        case Status.PLANNED:
            return f"{source} -> {output}"
        case status:
            return f"{source}: {status}: {one_line(result.reason)}"


def json_of(result: FileResult) -> dict[str, object]:
    """Give a result as what `--json` prints; times in seconds, the estimates in dB."""
    quality = result.quality
    told = quality if quality is not None and quality.told else None
    return {
        "source": str(result.source),
        "output": None if result.output is None else str(result.output),
        "status": str(result.status),
        "reason": result.reason or None,
        "exit_code": result.exit_code,
        "camera": result.camera or None,
        "model": result.model_id or None,
        "megapixels": round(result.megapixels, 6),
        "read_s": round(result.read_s, 4),
        "network_s": round(result.network_s, 4),
        "write_s": round(result.write_s, 4),
        "psnr_before": None if told is None else round(told.psnr_before, 2),
        "psnr_after": None if told is None else round(told.psnr_after, 2),
        "gain_db": None if told is None else round(told.gain_db, 2),
        "gain_interval": None if told is None else [round(bound, 2) for bound in told.interval],
        "left_as_it_was": result.left or None,
        "standing": str(result.standing),
        "sidecars": [str(path) for path in result.sidecars],
        "flags": [] if quality is None else [str(flag) for flag in quality.flags],
        "notes": list(result.notes),
    }


def summary_lines(results: list[FileResult], elapsed_s: float) -> Iterator[str]:
    """Count what became of the files, name the models, and say why files failed, each reason once."""
    counts = ((status, sum(each.status is status for each in results)) for status in Status)
    said = ", ".join(f"{number} {status}" for status, number in counts if number) or "nothing done"
    done = [each for each in results if each.status is Status.DONE]
    line = f"{said} in {duration(elapsed_s)}"
    if done:
        models = sorted({each.model_id for each in done if each.model_id})
        used = f"{'model' if len(models) == 1 else 'models'} {', '.join(models)}" if models else "no model"
        line += f"; {_speed(elapsed_s, sum(each.megapixels for each in done))}; {used}"
    yield line
    yield from _base_lines(done)
    yield from _gain_lines(results)
    yield from _kept_lines(results)
    failed: dict[str, list[FileResult]] = {}
    for each in results:
        if each.status is Status.FAILED:
            failed.setdefault(each.reason, []).append(each)
    for reason, alike in list(failed.items())[:MOST_REASONS]:
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        yield f"  failed: {one_line(alike[0].source)}{more}: {one_line(reason)}"
    if len(failed) > MOST_REASONS:
        yield f"  and {counted(len(failed) - MOST_REASONS, 'other reason')}; --json says all of them"


def _kept_lines(results: list[FileResult]) -> Iterator[str]:
    """Count the outputs that were left as they are though they are not what this run would have made."""
    skipped = [each.standing for each in results if each.status is Status.SKIPPED]
    stale = sum(each in (Standing.OTHER_RECIPE, Standing.CHANGED) for each in skipped)
    if stale:
        yield (
            f"  {counted(stale, 'output')} left as made by another recipe, model or method, or before the"
            " source was changed; --redo makes them anew"
        )
    unknown = sum(each is Standing.UNKNOWN for each in skipped)
    if unknown:
        yield (
            f"  {counted(unknown, 'file')} left under the names of outputs, which do not say of what they"
            " were made; --if-exists rename writes beside them"
        )


def _base_lines(done: list[FileResult]) -> Iterator[str]:
    """Say which cameras were served by a bundled model."""
    cameras = sorted({each.camera or "nameless" for each in done if is_bundled(each.model_id)})
    if cameras:
        named = ", ".join(one_line(camera) for camera in cameras[:MOST_REASONS])
        yield f"  bundled model used for {named}; `rawdenoise train` makes one of the camera's own"


def _gain_lines(results: list[FileResult]) -> Iterator[str]:
    """Say what the pictures gained, and which ones should be looked at."""
    judged = [(each, each.quality) for each in results if each.quality is not None]
    gains = [quality.gain_db for each, quality in judged if quality.told and not each.left]
    if gains:
        yield f"  estimated gain: {median(gains):+.1f} dB{'' if len(gains) == 1 else ' in the median'}"
    left = [one_line(each.source) for each in results if each.left and each.status is Status.DONE]
    if left:
        more = f" and {len(left) - MOST_FLAGGED} more" if len(left) > MOST_FLAGGED else ""
        named = f"{', '.join(left[:MOST_FLAGGED])}{more}"
        yield f"  left as they were, for they would lose or cannot be judged: {named}"
    for flag in Flag:
        flagged = [one_line(each.source) for each, quality in judged if flag in quality.flags]
        if flagged:
            more = f" and {len(flagged) - MOST_FLAGGED} more" if len(flagged) > MOST_FLAGGED else ""
            yield f"  {flag.words}: {', '.join(flagged[:MOST_FLAGGED])}{more}"


def _seconds(result: FileResult) -> float:
    return result.read_s + result.network_s + result.write_s


def _speed(seconds: float, megapixels: float) -> str:
    return f"{seconds / megapixels:.2f} s/MP" if megapixels else duration(seconds)
