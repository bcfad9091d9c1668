"""`rawdenoise models`: what the store holds, and moving models between machines."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.paths import GivenPath


@click.group("models", short_help=COMMANDS["models"])
def command() -> None:
    """List, share, check and remove trained models.

    They live under the platform's data folder, or in $RAWDENOISE_MODELS. An ID may be any unique beginning.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a model on standard output.")
def list_(as_json: bool) -> None:
    """List the models, newest first."""
    from rawdenoise.app.stores import user_stores
    from rawdenoise.cli import cards

    store = user_stores().models
    if as_json:
        for card in store.cards():
            click.echo(json.dumps(cards.to_json(card)))
    else:
        cards.show_table(store.cards(), store.folder)
    for error in store.broken():
        click.echo(f"broken: {error}", err=True)


@command.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="The whole card as JSON.")
@click.option("--html", "as_html", is_flag=True, help="The path of its page, with curves and pictures.")
def show(id: str, as_json: bool, as_html: bool) -> None:
    """Show a model's card."""
    from rawdenoise.app.stores import user_stores
    from rawdenoise.cli import cards

    if as_html:
        from rawdenoise.pages.model_page import ensure_page

        click.echo(ensure_page(user_stores().models, id))
        return
    card = user_stores().models.verify(id)
    click.echo(json.dumps(cards.to_json(card), indent=2) if as_json else cards.describe(card))


@command.command()
@click.argument("id")
@click.argument("target", type=GivenPath(), default=".")
def export(id: str, target: Path) -> None:
    """Write a model as one file into TARGET (a file or folder; default here)."""
    from rawdenoise.app.stores import user_stores

    click.echo(user_stores().models.export(id, target))


@command.command("import")
@click.argument("files", nargs=-1, required=True, type=GivenPath(), metavar="FILE...")
def import_(files: tuple[Path, ...]) -> None:
    """Take in models that were exported; altered or foreign files are refused."""
    from rawdenoise.app.stores import user_stores

    for file in files:
        card = user_stores().models.import_file(file)
        click.echo(f"{card.id}  ({card.camera.name})")


@command.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.pass_context
def verify(ctx: click.Context, ids: tuple[str, ...]) -> None:
    """Check models whole, digests and shapes; all of them if no ID is given."""
    from rawdenoise.app.stores import user_stores
    from rawdenoise.cli import cards

    ctx.exit(cards.verify(user_stores().models, ids))


@command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(ids: tuple[str, ...], yes: bool) -> None:
    """Delete models from the store, after asking."""
    from rawdenoise.app.stores import user_stores

    store = user_stores().models
    for id in ids:
        fitting = ", ".join(card.id for card in store.cards() if card.id.startswith(id)) or id
        if not yes:
            click.confirm(f"Delete model {fitting}?", abort=True)
        store.remove(id)
        click.echo(f"removed {fitting}")
