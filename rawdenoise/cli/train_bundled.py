"""`rawdenoise train-bundled`: make the bundled models, or one of one's own kind."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.paths import GivenPath
from rawdenoise.cli.train import crops_option, device_option, seed_option


@click.command("train-bundled", short_help=COMMANDS["train-bundled"])
@click.argument("output", type=GivenPath(dir_okay=False))
@click.option(
    "--net", type=click.Choice(["fast", "best", "paper"]), default="fast", show_default=True,
    help="The network.",
)  # fmt: skip
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="How long to train.")
@crops_option
@click.option(
    "--scenes", type=click.IntRange(min=20), default=400, show_default=True, metavar="N",
    help="How many procedural scenes to paint; each takes half a second and 3.4 MB of the scratch folder.",
)  # fmt: skip
@click.option(
    "--add", "pictures", type=GivenPath(exists=True, file_okay=False), metavar="DIR",
    help="Also learn from the JPEG and PNG pictures of a folder, reduced by two.",
)  # fmt: skip
@seed_option
@device_option
@click.option(
    "--scratch", type=GivenPath(), metavar="DIR",
    help="Folder for scenes and checkpoint; they stay, to go on from.  [default: the user's cache]",
)  # fmt: skip
def command(
    output: Path, minutes: float | None, crops: int | None, scenes: int, pictures: Path | None,
    scratch: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Train a model for all cameras and write it to OUTPUT (float16; `models import` takes it).

    It serves any camera, before it has a model of its own and as the start of one. It learns from painted
    scenes, photographed by simulated cameras of all noise levels; nobody's pictures are in it unless --add
    gives some.

    The same command goes on after an interruption, and with a larger budget goes on where it ended.
    """
    from rawdenoise.app.stores import user_stores
    from rawdenoise.app.train_bundled import TrainBundledRequest, train_bundled
    from rawdenoise.app.training_events import list_figures
    from rawdenoise.cli.training_report import TrainingReport
    from rawdenoise.training.options import TrainingOptions

    if (minutes is None) == (crops is None):
        raise click.UsageError("give --minutes or --crops")
    training = TrainingOptions(objective="supervised-decibels", minutes=minutes, crops=crops, **options)
    request = TrainBundledRequest(output, training, scenes, pictures, scratch)
    report = TrainingReport()
    with report.stop_on_signals() as stop:
        card = train_bundled(request, user_stores(), on_event=report, stop=stop)
    for line in (f"model {card.id}", *list_figures(card)):
        click.echo(line)
    click.echo(f"next: {shlex.join(('rawdenoise', 'models', 'import', str(output)))}")
