"""From the options of `rawdenoise denoise` to a batch, and through it to the exit code."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from rawdenoise.app.batch import Signing, Work, copying_sidecars, denoising, recipe_digest, run_batch
from rawdenoise.app.jobs import IfExists, Job, Naming, Status, plan
from rawdenoise.atomic import remove_abandoned, remove_temporaries
from rawdenoise.cli.arguments import NothingMatchedError
from rawdenoise.cli.report import BatchReport
from rawdenoise.cli.signals import stop_on_signal
from rawdenoise.cli.text import one_line
from rawdenoise.errors import SetupError
from rawdenoise.files.digests import Digests
from rawdenoise.files.names import NamePattern, mirror_of, parse_pattern
from rawdenoise.files.outputs import Judge
from rawdenoise.files.sidecars import CAPTURE_ONE, Sidecars
from rawdenoise.formats import LAYOUT_SUFFIXES, RAW_SUFFIXES
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.isolation.reader import read_alone, shared_reader
from rawdenoise.models.bundled import Models, current_models
from rawdenoise.models.store import ModelStore
from rawdenoise.pipeline import DenoiseOptions, Format
from rawdenoise.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where outputs go and what is done about those that are there; `folder` None: beside their sources."""

    folder: Path | None
    format: Format
    if_exists: IfExists
    pattern: NamePattern = NamePattern()  # noqa: RUF009 - frozen
    root: Path | None = None


def outputs_of(
    output: Path | None, beside: bool, format: str, if_exists: str, name: str, root: Path | None, redo: bool
) -> Outputs:
    """Take what the command line says of outputs.

    Raises:
        click.UsageError: it contradicts itself. PatternError: outputs cannot be called so.
    """
    if (output is None) is not beside:
        raise click.UsageError("give a folder with -o OUT, or --beside to put outputs beside their sources")
    if output is not None and output.exists() and not output.is_dir():
        raise click.UsageError(f"-o {one_line(output)} is a file; give a folder")
    if root is not None and beside:
        raise click.UsageError("--root says what is mirrored below OUT; with --beside nothing is")
    if redo and if_exists != IfExists.SKIP:
        raise click.UsageError("--redo chooses among outputs that would be skipped; leave out --if-exists")
    pattern = parse_pattern(name, Format(format).suffix)
    return Outputs(output, Format(format), IfExists.REDO if redo else IfExists(if_exists), pattern, root)


def planned(
    inputs: Sequence[Path],
    outputs: Outputs,
    recipe: Recipe,
    digests: Digests,
    *,
    recursive: bool,
    named: Collection[Path],
    is_list: bool,
    layout: PlainLayout | None,
) -> list[Job]:
    """Plan the batch; our own outputs are taken where they are `named`, and not where a list holds them.

    Raises:
        NothingMatchedError: there is nothing to do.
    """
    suffixes = RAW_SUFFIXES | LAYOUT_SUFFIXES if layout else RAW_SUFFIXES
    judge = Judge(digests.of, partial(recipe_digest, recipe, layout), current_models(recipe, ModelStore()))
    jobs = plan(
        inputs,
        outputs.folder,
        suffix=outputs.format.suffix,
        recursive=recursive,
        if_exists=outputs.if_exists,
        suffixes=suffixes,
        naming=Naming(outputs.pattern, mirror_of(inputs, outputs.root, is_list=is_list)),
        judge=judge,
        named=named,
    )
    if not jobs:
        hint = "" if recursive else " (--recursive looks into folders inside folders)"
        raise NothingMatchedError(f"no raw files found{hint}")
    return jobs


def work(
    outputs: Outputs,
    jobs: Sequence[Job],
    models: Models,
    recipe: Recipe,
    layout: PlainLayout | None,
    *,
    options: DenoiseOptions,
    keep_mtime: bool,
    digests: Digests,
) -> Work:
    """Make the output folder and the steps that fill it; several files are read in processes of their own.

    Raises:
        click.UsageError: a least gain is asked for that nothing would be compared with.
        SetupError: the folder cannot be made.
    """
    if recipe.min_gain is not None and not (options.estimate and options.strength):
        raise click.UsageError("--min-gain needs an estimate: no --no-estimate, and a --strength above 0")
    if outputs.folder is not None:
        try:
            outputs.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"{outputs.folder}: cannot be made ({error.strerror})") from error
    for folder in {job.output.parent for job in jobs if job.output is not None}:
        remove_abandoned(folder)
        remove_abandoned(folder / CAPTURE_ONE, recursive=True)
    return denoising(
        options,
        models,
        format=outputs.format,
        layout=layout,
        overwrite=outputs.if_exists is IfExists.OVERWRITE,
        keep_mtime=keep_mtime,
        min_gain=recipe.min_gain,
        signing=Signing(partial(recipe_digest, recipe, layout), digests.keep),
        remade={job.output for job in jobs if job.replaces and job.output is not None},
        read=shared_reader().read if sum(job.status is Status.PLANNED for job in jobs) > 1 else read_alone,
    )


def run(
    jobs: list[Job], work: Work, report: BatchReport, *, in_flight: int, resumes: bool, sidecars: bool = False
) -> int:
    """Run the batch to its end or to a signal; returns the exit code.

    `resumes`: the same command would go on where this one was stopped. With `sidecars` what belongs to
    captures is copied beside their outputs.
    """
    outputs = [job.output for job in jobs if job.output]
    with (
        stop_on_signal(lambda: remove_temporaries(outputs)) as stop,
        report.running(jobs),
        closing(run_batch(jobs, work, in_flight=in_flight, stop=stop)) as results,
    ):
        for result in copying_sidecars(results, Sidecars()) if sidecars else results:
            report.add(result)
    if stop() and len(report.results) < len(jobs):
        report.interrupted(len(jobs), resumes=resumes)
        return stop.exit_code
    report.summary()
    return report.exit_code()
