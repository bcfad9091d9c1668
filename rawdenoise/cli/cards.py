"""Model cards as tables, text and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from rawdenoise.cli.text import one_line
from rawdenoise.errors import ModelError
from rawdenoise.models import ModelCard, ModelStore


def json_of(card: ModelCard) -> dict[str, object]:
    """Give a card as JSON's own types."""
    fields: dict[str, object] = json.loads(json.dumps(asdict(card), default=dict))
    return fields


def show_table(cards: Sequence[ModelCard], folder: Path) -> None:
    """Print the models, one a line; ids stand first and are never cut."""
    if not cards:
        click.echo(f"no models in {one_line(folder)}: train one with `rawdenoise train FOLDER`", err=True)
        return
    rows = [["ID", "CAMERA", "MODE", "ISO", "NETWORK", "CAPTURES", "TRAINED"]]
    for card in cards:
        cells = (card.id, card.camera.name, card.camera.mode, _iso(card), card.net, str(len(card.captures)))
        rows.append([one_line(cell) for cell in (*cells, card.created[:10])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def text_of(card: ModelCard) -> str:
    """Say a card in lines of `name: value`."""
    lines = {
        "id": card.id,
        "camera": card.camera.name,
        "mode": card.camera.mode,
        "ISO": _iso(card),
        "network": card.net,
        "objective": card.objective,
        "captures": str(len(card.captures)),
        "trained": card.created,
        "seed": str(card.seed),
        **{name: f"{value:.6g}" for name, value in card.figures.items()},
        "options": ", ".join(f"{name}={value}" for name, value in card.options.items()),
        "versions": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
        "weights": f"sha256 {card.weights_sha256}",
    }
    return "\n".join(f"{name + ':':<12} {one_line(value)}" for name, value in lines.items())


def verify(store: ModelStore, ids: Iterable[str]) -> int:
    """Check models and say which are whole; returns the exit code."""
    chosen = list(ids)
    errors = [] if chosen else [str(error) for error in store.broken()]
    for id in chosen or [card.id for card in store.cards()]:
        try:
            click.echo(f"ok: {store.verify(id).id}")
        except ModelError as error:
            errors.append(str(error))
    for line in errors:
        click.echo(f"broken: {one_line(line)}", err=True)
    return ModelError.exit_code if errors else 0


def _iso(card: ModelCard) -> str:
    if card.iso_range is None:
        return "unknown"
    low, high = card.iso_range
    return str(low) if low == high else f"{low}-{high}"
