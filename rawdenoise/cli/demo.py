"""`rawdenoise demo`: the whole of it on simulated captures."""

from __future__ import annotations

from pathlib import Path

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import SEED
from rawdenoise.cli.paths import GivenPath


@click.command("demo", short_help=COMMANDS["demo"])
@click.option(
    "-o", "--output", type=GivenPath(), default="demo-out", show_default=True, metavar="DIR",
    help="Folder for everything it makes.",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=2.5, show_default=True,
    help="How long to train.",
)  # fmt: skip
@click.option(
    "--seed", type=SEED, metavar="N", default=0, show_default=True, help="Another seed, other captures."
)
def command(output: Path, minutes: float, seed: int) -> None:
    """Simulate a camera, train on its noisy captures alone, denoise others and measure the gain."""
    from rawdenoise.app.demo import run_demo

    run_demo(output, minutes=minutes, seed=seed, on_line=click.echo)
