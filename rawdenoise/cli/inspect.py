"""`rawdenoise inspect`: what a file is and what would be done with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import layout_options
from rawdenoise.cli.paths import files_argument
from rawdenoise.errors import ModelError, RawDenoiseError
from rawdenoise.terminal.text import to_one_line


@click.command("inspect", short_help=COMMANDS["inspect"])
@files_argument
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
    from rawdenoise.app.inspect import inspect
    from rawdenoise.app.stores import user_stores
    from rawdenoise.cli.layout import parse_layout

    stores, plain, isolated = user_stores(), parse_layout(**layout), len(files) > 1
    refused = lacks_model = False
    for number, file in enumerate(files):
        try:
            facts = inspect(file, stores, layout=plain, estimate=estimate, isolated=isolated)
        except RawDenoiseError as error:
            refused = True
            if as_json:
                click.echo(json.dumps({"file": str(file), "error": str(error)}))
            else:
                click.echo(f"error: {to_one_line(str(error))}", err=True)
            continue
        lacks_model |= facts.model.id is None
        if as_json:
            click.echo(json.dumps(facts.as_json()))
        else:
            click.echo(("\n" if number else "") + "\n".join(map(to_one_line, facts.lines())))
    ctx.exit(int(refused) or (ModelError.exit_code if lacks_model else 0))
