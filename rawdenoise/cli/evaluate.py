"""`rawdenoise evaluate`: how good models are on public benchmarks."""

from __future__ import annotations

from pathlib import Path

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import DEVICE_HELP, RenamedOption
from rawdenoise.cli.paths import GivenPath


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
    from rawdenoise.app.stores import user_stores
    from rawdenoise.cli import evaluations
    from rawdenoise.evaluation.blocks import NOISY
    from rawdenoise.evaluation.sidd import models_by_scene, scene_denoiser

    if submit is not None and limit_blocks is not None:
        raise click.UsageError("--submit needs all blocks: leave --limit-blocks out")
    if submit is None and about:
        raise click.UsageError("--about is for --submit")
    said = evaluations.parsed_about(about)
    submission = None if submit is None else evaluations.Submission(submit, said)
    stores = user_stores()
    chosen = models_by_scene(models, stores.models, bundled=bundled, device=device)
    denoise = scene_denoiser(chosen, stores.profiles, device=device, limit=limit_blocks)
    if submission is None or any(data.rglob(f"{NOISY}.mat")):
        evaluations.validate(
            data, scenes, denoise, limited=limit_blocks is not None, csv=csv, as_json=as_json
        )
    if submission is not None:
        evaluations.submit(data, scenes, denoise, submission)
