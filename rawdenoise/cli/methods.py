"""`rawdenoise methods`: what denoises, reads, writes and trains here, and which package brought it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from rawdenoise.cli import COMMANDS


@click.group("methods", short_help=COMMANDS["methods"])
def command() -> None:
    """Show what denoises, reads, writes and trains here: what is built in, and what other packages add.

    A package adds denoisers, readers, writers and objectives by entry points; docs/api.md tells how.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
def list_(as_json: bool) -> None:
    """List all of them, group by group."""
    from rawdenoise.extensions.registry import EXTENSION_GROUPS, extensions

    entries = [
        extension
        for group in EXTENSION_GROUPS
        for extension in sorted(extensions(group).values(), key=lambda e: e.name)
    ]
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        click.echo(f"{entry.group:<11} {entry.name:<{width}}  {entry.package} {entry.version}".rstrip())
