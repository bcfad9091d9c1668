"""`rawdenoise cameras`: the noise profiles of cameras, and moving them between machines."""

from __future__ import annotations

from pathlib import Path

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.paths import GivenPath


@click.group("cameras", short_help=COMMANDS["cameras"])
def command() -> None:
    """List, show, share and remove the noise profiles of cameras.

    Your own live under the platform's data folder, or in $RAWDENOISE_PROFILES, and go before those that come
    with rawdenoise. `rawdenoise calibrate` makes them. A CAMERA may be any part of its name that is unique.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a profile on standard output.")
def list_(as_json: bool) -> None:
    """List the cameras whose noise is known."""
    from rawdenoise.cli import profiles

    profiles.show_all(as_json=as_json)


@command.command()
@click.argument("camera")
@click.option("--iso", type=click.IntRange(min=1), help="Also say the noise at this ISO.")
@click.option("--json", "as_json", is_flag=True, help="The whole profile as JSON.")
def show(camera: str, iso: int | None, as_json: bool) -> None:
    """Show what is known of a camera's noise."""
    from rawdenoise.cli import profiles

    profiles.show(camera, iso, as_json=as_json)


@command.command()
@click.argument("camera")
@click.argument("target", type=GivenPath(), default=".")
def export(camera: str, target: Path) -> None:
    """Copy a camera's profile into TARGET (a file or folder; default here)."""
    from rawdenoise.app.stores import user_stores

    click.echo(user_stores().profiles.export(camera, target))


@command.command("import")
@click.argument("files", nargs=-1, required=True, type=GivenPath(), metavar="FILE...")
@click.option("--replace", is_flag=True, help="Overwrite profiles of the same cameras.")
def import_(files: tuple[Path, ...], replace: bool) -> None:
    """Take in profiles; those that are incomplete or absurd are refused."""
    from rawdenoise.app.stores import user_stores

    for file in files:
        profile = user_stores().profiles.import_file(file, replace=replace)
        click.echo(f"{profile.id}  ({profile.camera.name})")


@command.command()
@click.argument("cameras", nargs=-1, required=True, metavar="CAMERA...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(cameras: tuple[str, ...], yes: bool) -> None:
    """Delete profiles of your own, after asking."""
    from rawdenoise.app.stores import user_stores

    store = user_stores().profiles
    for camera in cameras:
        path = store.own(camera)
        if not yes:
            click.confirm(f"Delete {path}?", abort=True)
        store.remove(path)
