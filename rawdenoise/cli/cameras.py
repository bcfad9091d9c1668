"""`rawdenoise cameras`: the noise profiles of cameras, and moving them between machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.paths import GivenPath, files_argument
from rawdenoise.terminal.text import set_table, to_one_line

if TYPE_CHECKING:
    from rawdenoise.noise.profiles.store import ProfileStore


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
    from rawdenoise.app.cameras import PROFILE_COLUMNS, make_profile_row, profile_to_json

    store = _store()
    if as_json:
        lines = [json.dumps(profile_to_json(stored)) for stored in store.profiles()]
    else:
        lines = set_table([PROFILE_COLUMNS, *map(make_profile_row, store.profiles())])
    for line in lines:
        click.echo(line)
    for error in store.broken():
        click.echo(f"broken: {to_one_line(str(error))}", err=True)


@command.command()
@click.argument("camera")
@click.option("--iso", type=click.IntRange(min=1), help="Also say the noise at this ISO.")
@click.option("--json", "as_json", is_flag=True, help="The whole profile as JSON.")
def show(camera: str, iso: int | None, as_json: bool) -> None:
    """Show what is known of a camera's noise."""
    from rawdenoise.app.cameras import POINT_COLUMNS, describe_profile, look_up_profile, make_point_row

    answer = look_up_profile(camera, _store(), iso=iso)
    if as_json:
        click.echo(json.dumps(answer.as_json(), indent=2))
        return
    points = set_table([POINT_COLUMNS, *map(make_point_row, answer.stored.profile.points)])
    unit = "gain in DN per electron; read and row noise in DN"
    at = ["", answer.noise_line()] if iso else []
    for line in (*describe_profile(answer.stored), "", *points, "", unit, *at):
        click.echo(to_one_line(line))


@command.command()
@click.argument("camera")
@click.argument("target", type=GivenPath(), default=".")
def export(camera: str, target: Path) -> None:
    """Copy a camera's profile into TARGET (a file or folder; default here)."""
    click.echo(_store().export(camera, target))


@command.command("import")
@files_argument
@click.option("--replace", is_flag=True, help="Overwrite profiles of the same cameras.")
def import_(files: tuple[Path, ...], replace: bool) -> None:
    """Take in profiles; those that are incomplete or absurd are refused."""
    store = _store()
    for file in files:
        profile = store.import_file(file, replace=replace)
        click.echo(f"{profile.id}  ({profile.camera.name})")


@command.command()
@click.argument("cameras", nargs=-1, required=True, metavar="CAMERA...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(cameras: tuple[str, ...], yes: bool) -> None:
    """Delete profiles of your own, after asking."""
    store = _store()
    for camera in cameras:
        path = store.find_own(camera)
        if not yes:
            click.confirm(f"Delete {path}?", abort=True)
        store.remove(path)


def _store() -> ProfileStore:
    from rawdenoise.app.stores import user_stores

    return user_stores().profiles
