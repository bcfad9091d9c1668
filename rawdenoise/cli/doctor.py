"""`rawdenoise doctor`: whether all that is needed is here, and works."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from click import style

from rawdenoise.cli import COMMANDS
from rawdenoise.errors import SetupError
from rawdenoise.terminal.text import to_one_line

MARKS = {
    True: style("ok  ", fg="green"),
    False: style("FAIL", fg="red", bold=True),
    None: style("--  ", dim=True),
}


@click.command("doctor", short_help=COMMANDS["doctor"])
@click.option("--json", "as_json", is_flag=True, help="All checks as one JSON object on standard output.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check Python, libraries, devices, the model store and the disk, and try it all once.

    Exit code 3 if something that is needed is missing or broken.
    """
    from rawdenoise.app.doctor import check_installation
    from rawdenoise.app.stores import user_stores

    checks = list(check_installation(user_stores()))
    is_well = all(check.ok is not False for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": is_well, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            click.echo(f"{MARKS[check.ok]} {check.name + ':':<15} {to_one_line(check.detail)}")
    ctx.exit(0 if is_well else SetupError.exit_code)
