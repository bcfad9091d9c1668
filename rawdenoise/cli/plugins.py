"""`rawdenoise plugins`: bring rawdenoise into the programs where photographers are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.doctor import MARKS
from rawdenoise.cli.paths import GivenPath
from rawdenoise.errors import SetupError
from rawdenoise.terminal.text import count_noun, set_table, to_one_line

if TYPE_CHECKING:
    from rawdenoise.hosts.places import Places


class HostName(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The name of a host; which there are is looked up when one is given."""

    name = "host"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse a name that no host has."""
        from rawdenoise.app.plugins import HOST_NAMES

        if value not in HOST_NAMES:
            self.fail(f"{value!r} is none of {', '.join(HOST_NAMES)}", param, ctx)
        return str(value)


def host_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add what install, remove and check share."""
    folder = click.option(
        "--folder", type=GivenPath(), help="The host's folder, where it is another than usual."
    )
    return click.argument("host", type=HostName())(folder(function))


@click.group("plugins", short_help=COMMANDS["plugins"])
def command() -> None:
    """Install, check and remove plug-ins for darktable, Lightroom, file managers and others.

    They come with rawdenoise and call the command that installed them. Only files of their own are written; a
    line that a program needs in a file of yours is added once, and removed again. `rawdenoise plugins list`
    names the hosts.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a host on standard output.")
def list_(as_json: bool) -> None:
    """List the programs that there are plug-ins for, whether they are here, and what is installed."""
    from rawdenoise.app.plugins import COLUMNS, list_plugins

    listings = list_plugins(_places())
    if as_json:
        for listing in listings:
            click.echo(json.dumps(listing.as_json()))
        return
    for line in set_table([COLUMNS, *(listing.as_row() for listing in listings)]):
        click.echo(line)
    for listing in listings:
        if listing.error is not None:
            click.echo(f"{listing.host}: {to_one_line(listing.error)}", err=True)


@command.command("install")
@host_options
@click.option(
    "--replace", is_flag=True, help="Also replace files that were changed since they were installed."
)
def install_(host: str, folder: Path | None, replace: bool) -> None:
    """Install or update a plug-in, and say what to do next."""
    from rawdenoise.app.plugins import install
    from rawdenoise.hosts.installation import PluginState

    for plugin in install(host, _places(), folder=folder, replace=replace):
        words = "installed" if plugin.before is PluginState.ABSENT else "updated"
        words = "is up to date" if plugin.before is PluginState.CURRENT else words
        if plugin.folder is not None:
            click.echo(to_one_line(f"{host}: {words} in {plugin.folder}"))
        for step in plugin.next_steps:
            click.echo(f"  {to_one_line(step)}")


@command.command("remove")
@host_options
@click.pass_context
def remove_(ctx: click.Context, host: str, folder: Path | None) -> None:
    """Remove a plug-in; files that were changed since they were installed stay, with exit code 1."""
    from rawdenoise.app.plugins import remove

    left = 0
    for plugin in remove(host, _places(), folder=folder):
        click.echo(
            to_one_line(f"{host}: {count_noun(len(plugin.removed), 'file')} removed from {plugin.folder}")
        )
        for path in plugin.left:
            click.echo(f"{to_one_line(path)}: changed since it was installed, and left", err=True)
        left += len(plugin.left)
    ctx.exit(1 if left else 0)


@command.command("check")
@host_options
@click.pass_context
def check_(ctx: click.Context, host: str, folder: Path | None) -> None:
    """Try what can be tried without starting the program: its files, its command.

    Exit code 3 if something is missing or broken.
    """
    from rawdenoise.app.plugins import check

    is_well = True
    for result in check(host, _places(), folder=folder):
        click.echo(f"{MARKS[result.ok]} {result.name + ':':<9} {to_one_line(result.detail)}")
        is_well = is_well and result.ok is not False
    ctx.exit(0 if is_well else SetupError.exit_code)


def _places() -> Places:
    from rawdenoise.app.places import user_places

    return user_places()
