"""Model cards as tables, text and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from rawdenoise.cli.text import one_line
from rawdenoise.errors import ModelError
from rawdenoise.models.card import CLEAN, ModelCard
from rawdenoise.models.store import ModelStore
from rawdenoise.quality.residuals import read_residual_tests
from rawdenoise.quality.verdicts import judge_residual


def to_json(card: ModelCard) -> dict[str, object]:
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
        cells = (card.id, card.camera.name, card.camera.mode, _isos(card), card.net, str(len(card.captures)))
        rows.append([one_line(cell) for cell in (*cells, card.created[:10])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def describe(card: ModelCard) -> str:
    """Say a card in lines of `name: value`."""
    lines = {
        "id": card.id,
        "camera": card.camera.name,
        "mode": card.camera.mode,
        "ISO": _isos(card),
        "network": card.net,
        "objective": card.objective,
        "captures": card.captures_text,
        "trained": card.created,
        "seed": str(card.seed),
        **{name: f"{value:.6g}" for name, value in card.figures.items()},
        "options": ", ".join(
            f"{name}={value}" for name, value in card.options.items() if name != CLEAN and value is not None
        ),
        "versions": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
        "weights": f"sha256 {card.weights_sha256}",
    }
    text = "\n".join(f"{name + ':':<12} {one_line(value)}" for name, value in lines.items())
    return "\n".join([text, *_describe_held_out(card)])


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


def _describe_held_out(card: ModelCard) -> list[str]:
    """Say what the model did to held-out captures: a line for each ISO, and one for each complaint."""
    if not card.evidence:
        return []
    columns = f"{'ISO':>7}{'gain dB':>16}{'mean':>9}{'strength':>10}{'neighbours':>18}{'scene':>9}"
    lines = [f"{'held out:':<12} {columns}"]
    for entry in card.evidence:
        tests = read_residual_tests(entry)
        across, down = tests.autocorrelation
        iso = "unknown" if entry["iso"] is None else str(entry["iso"])
        gain = f"{entry['gain_db']:+.2f} +- {entry['error_db']:.2f}"
        lines.append(
            f"{'':<12} {iso:>7}{gain:>16}{tests.mean:>+9.3f}{tests.chi2 + tests.divergence:>10.3f}"
            f"{f'{across:+.3f} {down:+.3f}':>18}{tests.structure:>+9.3f}"
        )
        verdicts = judge_residual(tests, pixels=int(str(entry["pixels"]))).values()
        lines += [f"{'':<20} {verdict.words}" for verdict in verdicts if verdict.level != "good"]
    return lines


def _isos(card: ModelCard) -> str:
    if card.iso_range is None:
        return "unknown"
    low, high = card.iso_range
    return str(low) if low == high else f"{low}-{high}"
