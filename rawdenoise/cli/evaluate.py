"""`rawdenoise evaluate`: how good models are on public benchmarks."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import DEVICE_HELP, RenamedOption
from rawdenoise.cli.paths import GivenPath
from rawdenoise.terminal.text import count_noun, set_table, to_one_line


@click.group("evaluate", short_help=COMMANDS["evaluate"])
def command() -> None:
    """Measure models on a public benchmark, as its published figures were measured."""


@command.command()
@click.option(
    "--data", required=True, type=GivenPath(exists=True, file_okay=False), metavar="DIR",
    help="Where ValidationNoisyBlocksRaw.mat and ValidationGtBlocksRaw.mat lie, there or in folders inside.",
)  # fmt: skip
@click.option(
    "--model", "models", multiple=True, metavar="ID",
    help="Use this model for all phones; given several times, each for its own phone.",
)  # fmt: skip
@click.option(
    "--bundled", "--base", cls=RenamedOption, type=click.Choice(["fast", "best"]), default="fast",
    show_default=True,
    help="The bundled model for phones without one of their own.",
)  # fmt: skip
@click.option(
    "--scenes", type=GivenPath(exists=True, dir_okay=False), metavar="FILE",
    help="The names of the scenes, one a line, where the blocks are not those that SIDD publishes.",
)  # fmt: skip
@click.option(
    "--limit-blocks", type=click.IntRange(min=1), metavar="N",
    help="Only the first N blocks of each scene, for a quick look.",
)  # fmt: skip
@click.option(
    "--csv", type=GivenPath(dir_okay=False), metavar="FILE",
    help="Also write the figures of each block.",
)  # fmt: skip
@click.option(
    "--submit", type=GivenPath(), metavar="OUT",
    help="Also denoise BenchmarkNoisyBlocksRaw.mat and write it as .mat, or as .csv for Kaggle.",
)  # fmt: skip
@click.option(
    "--about", multiple=True, metavar="NAME=TEXT",
    help="What a submission says: MethodName, Authors, PaperTitle, Venue or MachineSpecs.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help=DEVICE_HELP)
@click.option("--json", "as_json", is_flag=True, help="The figures as one JSON object on standard output.")
def sidd(
    data: Path, models: tuple[str, ...], bundled: str, scenes: Path | None, limit_blocks: int | None,
    csv: Path | None, submit: Path | None, about: tuple[str, ...], device: str, as_json: bool,
) -> None:  # fmt: skip
    """Denoise SIDD's raw validation blocks and compare with the truth: mean PSNR and SSIM of 1280 blocks.

    Each scene is denoised as `rawdenoise denoise` would a capture: with the newest model of its phone, or
    else the bundled one.
    """
    from rawdenoise.app import evaluate as app
    from rawdenoise.app.stores import user_stores

    if submit is not None and limit_blocks is not None:
        raise click.UsageError("--submit needs all blocks: leave --limit-blocks out")
    if submit is None and about:
        raise click.UsageError("--about is for --submit")
    texts = dict(map(_parse_about, about))
    submission = None if submit is None else app.Submission(submit, texts)
    request = app.EvaluationRequest(data, models, bundled, scenes, limit_blocks, device, csv, submission)
    denoise = app.choose_denoiser(request, user_stores())
    if (blocks := app.read_validation_set(request)) is not None:
        if not blocks.is_full:
            click.echo(f"note: {app.NOT_FULL}: no figures to publish", err=True)
        validation = app.validate(blocks, denoise, on_scene=partial(_report, "validation"))
        if as_json:
            click.echo(json.dumps(validation.as_json(), indent=2))
        else:
            for line in (to_one_line(validation.heading), *set_table([app.COLUMNS, *validation.rows()])):
                click.echo(line)
        if csv is not None:
            validation.write_csv(csv)
    if submission is not None:
        app.denoise_benchmark(request, submission, denoise, on_scene=partial(_report, "benchmark"))
        click.echo(f"wrote {to_one_line(submission.output)}", err=True)


def _parse_about(entry: str) -> tuple[str, str]:
    """Take NAME=TEXT apart; the benchmark knows but a few names."""
    from rawdenoise.evaluation.sidd_blocks import ABOUT_FIELDS

    name, equals, text = entry.partition("=")
    if not equals or name not in ABOUT_FIELDS:
        names = ", ".join(ABOUT_FIELDS)
        raise click.UsageError(f"--about {to_one_line(entry)}: give one of {names}, as in Venue=none")
    return name, text


def _report(part: str, scene: str, done: int, count: int) -> None:
    click.echo(f"{part}: {done} of {count_noun(count, 'scene')} ({scene})", err=True)
