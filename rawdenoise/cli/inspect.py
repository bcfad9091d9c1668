"""`rawdenoise inspect`: what a file is and what would be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import layout_options
from rawdenoise.cli.paths import GivenPath


@click.command("inspect", short_help=COMMANDS["inspect"])
@click.argument("files", nargs=-1, required=True, type=GivenPath(), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on standard output.")
@click.option(
    "--estimate", is_flag=True, help="Denoise in memory too, and say how much it would gain; takes as long."
)
@layout_options
@click.pass_context
def command(
    ctx: click.Context, /, files: tuple[Path, ...], as_json: bool, estimate: bool, **layout: Any
) -> None:
    """Show what FILEs are and what `denoise` would do with them; nothing is written.

    Exit code 1 if one of them cannot be denoised at all, 3 if its camera's model cannot be read.
    """
    from rawdenoise.cli.facts import show
    from rawdenoise.cli.layout import plain_layout

    ctx.exit(show(files, plain_layout(**layout), as_json=as_json, estimate=estimate))
