"""From the options of `rawdenoise denoise` to a batch, and through it to the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from rawdenoise.atomic import remove_temporaries
from rawdenoise.bases import Models
from rawdenoise.batch import Work, denoising, run_batch
from rawdenoise.cli.arguments import NothingMatchedError
from rawdenoise.cli.report import BatchReport
from rawdenoise.cli.signals import stop_on_signal
from rawdenoise.cli.text import one_line
from rawdenoise.errors import SetupError
from rawdenoise.formats import LAYOUT_SUFFIXES, RAW_SUFFIXES
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.jobs import IfExists, Job, plan
from rawdenoise.pipeline import DenoiseOptions, Format


def planned(
    inputs: Sequence[Path],
    output: Path,
    format: str,
    if_exists: str,
    *,
    recursive: bool,
    layout: PlainLayout | None,
) -> list[Job]:
    """Plan the batch.

    Raises:
        click.UsageError: the output folder is a file.
        NothingMatchedError: there is nothing to do.
    """
    if output.exists() and not output.is_dir():
        raise click.UsageError(f"-o {one_line(output)} is a file; give a folder")
    suffixes = RAW_SUFFIXES | LAYOUT_SUFFIXES if layout else RAW_SUFFIXES
    jobs = plan(
        inputs,
        output,
        suffix=Format(format).suffix,
        recursive=recursive,
        if_exists=IfExists(if_exists),
        suffixes=suffixes,
    )
    if not jobs:
        hint = "" if recursive else " (--recursive looks into folders inside folders)"
        raise NothingMatchedError(f"no raw files found{hint}")
    return jobs


def work(
    output: Path,
    models: Models,
    format: str,
    layout: PlainLayout | None,
    *,
    options: DenoiseOptions,
    overwrite: bool,
    keep_mtime: bool,
    min_gain: float | None = None,
) -> Work:
    """Make the output folder and the steps that fill it.

    Raises:
        click.UsageError: a least gain is asked for that nothing would be compared with.
        SetupError: the folder cannot be made.
    """
    if min_gain is not None and not (options.estimate and options.strength):
        raise click.UsageError("--min-gain needs an estimate: no --no-estimate, and a --strength above 0")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{output}: cannot be made ({error.strerror})") from error
    return denoising(
        options,
        models,
        format=Format(format),
        layout=layout,
        overwrite=overwrite,
        keep_mtime=keep_mtime,
        min_gain=min_gain,
    )


def run(jobs: list[Job], work: Work, report: BatchReport, *, in_flight: int, resumes: bool) -> int:
    """Run the batch to its end or to a signal; returns the exit code.

    `resumes`: the same command would go on where this one was stopped.
    """
    outputs = [job.output for job in jobs if job.output]
    with (
        stop_on_signal(lambda: remove_temporaries(outputs)) as stop,
        report.running(jobs),
        closing(run_batch(jobs, work, in_flight=in_flight, stop=stop)) as results,
    ):
        for result in results:
            report.add(result)
    if stop() and len(report.results) < len(jobs):
        report.interrupted(len(jobs), resumes=resumes)
        return stop.exit_code
    report.summary()
    return report.exit_code()
