"""`rawdenoise models`: what the store holds, and moving models between machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.paths import GivenPath, files_argument
from rawdenoise.errors import ModelError
from rawdenoise.terminal.text import set_table, to_one_line

if TYPE_CHECKING:
    from rawdenoise.models.store import ModelStore


@click.group("models", short_help=COMMANDS["models"])
def command() -> None:
    """List, share, check and remove trained models.

    They live under the platform's data folder, or in $RAWDENOISE_MODELS. An ID may be any unique beginning.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a model on standard output.")
def list_(as_json: bool) -> None:
    """List the models, newest first."""
    from rawdenoise.app.models import COLUMNS, card_to_json, make_card_row

    store = _store()
    cards = store.cards()
    if as_json:
        for card in cards:
            click.echo(json.dumps(card_to_json(card)))
    elif not cards:
        folder = to_one_line(store.folder)
        click.echo(f"no models in {folder}: train one with `rawdenoise train FOLDER`", err=True)
    else:  # ids stand first and are never cut
        for line in set_table([COLUMNS, *map(make_card_row, cards)]):
            click.echo(line)
    for error in store.broken():
        click.echo(f"broken: {error}", err=True)


@command.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="The whole card as JSON.")
@click.option("--html", "as_html", is_flag=True, help="The path of its page, with curves and pictures.")
def show(id: str, as_json: bool, as_html: bool) -> None:
    """Show a model's card."""
    from rawdenoise.app.models import card_to_json, describe_card

    store = _store()
    if as_html:
        from rawdenoise.pages.model_page import ensure_page

        click.echo(ensure_page(store, id))
    elif as_json:
        click.echo(json.dumps(card_to_json(store.verify(id)), indent=2))
    else:
        click.echo("\n".join(map(to_one_line, describe_card(store.verify(id)))))


@command.command()
@click.argument("id")
@click.argument("target", type=GivenPath(), default=".")
@click.option("--onnx", is_flag=True, help="As an ONNX file, for other programs; bundled models too.")
def export(id: str, target: Path, onnx: bool) -> None:
    """Write a model as one file into TARGET (a file or folder; default here)."""
    from rawdenoise.app.models import export_onnx

    store = _store()
    click.echo(export_onnx(id, store, target) if onnx else store.export(id, target))


@command.command("import")
@files_argument
def import_(files: tuple[Path, ...]) -> None:
    """Take in models that were exported; altered or foreign files are refused."""
    store = _store()
    for file in files:
        card = store.import_file(file)
        click.echo(f"{card.id}  ({card.camera.name})")


@command.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.pass_context
def verify(ctx: click.Context, ids: tuple[str, ...]) -> None:
    """Check models whole, digests and shapes; all of them if no ID is given."""
    from rawdenoise.app.models import verify_models

    broken = []
    for model in verify_models(ids, _store()):
        if model.error is None:
            click.echo(f"ok: {model.id}")
        else:
            broken.append(model.error)
    for error in broken:
        click.echo(f"broken: {to_one_line(str(error))}", err=True)
    ctx.exit(ModelError.exit_code if broken else 0)


@command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(ids: tuple[str, ...], yes: bool) -> None:
    """Delete models from the store, after asking."""
    from rawdenoise.app.models import list_fitting_names

    store = _store()
    for id in ids:
        fitting = list_fitting_names(id, store)
        if not yes:
            click.confirm(f"Delete model {fitting}?", abort=True)
        store.remove(id)
        click.echo(f"removed {fitting}")


def _store() -> ModelStore:
    from rawdenoise.app.stores import user_stores

    return user_stores().models
