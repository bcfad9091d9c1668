"""`rawdenoise doctor`: whether all that is needed is here, and works."""

from __future__ import annotations

import click

from rawdenoise.cli import COMMANDS


@click.command("doctor", short_help=COMMANDS["doctor"])
@click.option("--json", "as_json", is_flag=True, help="All checks as one JSON object on standard output.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check Python, libraries, devices, the model store and the disk, and try it all once.

    Exit code 3 if something that is needed is missing or broken.
    """
    from rawdenoise.cli.checks import show

    ctx.exit(show(as_json=as_json))
