"""The models of a store as rows, lines, JSON's own types and ONNX files; and whether they are whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from rawdenoise.atomic import check_output
from rawdenoise.errors import ModelError, OutputError, OutputExistsError, SetupError
from rawdenoise.models.card import CLEAN_OPTION, ModelCard
from rawdenoise.models.choice import find_model
from rawdenoise.models.store import ModelStore
from rawdenoise.quality.residuals import read_residual_tests
from rawdenoise.quality.verdicts import judge_residual

ONNX_SUFFIX = ".onnx"
ONNX_PACKAGES = ("onnx", "onnxruntime")
COLUMNS = ("ID", "CAMERA", "MODE", "ISO", "NETWORK", "CAPTURES", "TRAINED")


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model that was checked whole; `error` says what is wrong with it, if anything is."""

    id: str
    error: ModelError | None = None


def card_to_json(card: ModelCard) -> dict[str, object]:
    """Give a card as JSON's own types."""
    fields: dict[str, object] = json.loads(json.dumps(asdict(card), default=dict))
    return fields


def make_card_row(card: ModelCard) -> tuple[str, ...]:
    """A card as a row of `COLUMNS`."""
    camera, count = card.camera, str(len(card.captures))
    return (card.id, camera.name, camera.mode, _write_isos(card), card.net, count, card.created[:10])


def describe_card(card: ModelCard) -> list[str]:
    """Say a card in lines of `name: value`, and what the model did to held-out captures."""
    facts = {
        "id": card.id,
        "camera": card.camera.name,
        "mode": card.camera.mode,
        "ISO": _write_isos(card),
        "network": card.net,
        "objective": card.objective,
        "captures": card.captures_text,
        "trained": card.created,
        "seed": str(card.seed),
        **{name: f"{value:.6g}" for name, value in card.figures.items()},
        "options": ", ".join(
            f"{name}={value}"
            for name, value in card.options.items()
            if name != CLEAN_OPTION and value is not None
        ),
        "versions": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
        "weights": f"sha256 {card.weights_sha256}",
    }
    return [*(f"{name + ':':<12} {value}" for name, value in facts.items()), *_describe_evidence(card)]


def verify_models(ids: Sequence[str], store: ModelStore) -> Iterator[ModelState]:
    """Check models one after the other, digests and shapes; all of the store where `ids` is empty."""
    if not ids:
        for broken in store.broken():
            yield ModelState(broken.path.parent.name, broken)
    for id in ids or [card.id for card in store.cards()]:
        try:
            yield ModelState(store.verify(id).id)
        except ModelError as error:
            yield ModelState(id, error)


def export_onnx(id: str, store: ModelStore, target: Path) -> Path:
    """Write a model of the store, or a bundled one, as an ONNX file that other programs run; give its path.

    `target` is a folder, in which it is called after the model's id, or the file, which ends in `.onnx`.

    Raises:
        SetupError: the extra `onnx` is not installed. ModelError: no such model, or it is broken.
        OutputError: it cannot be written, is there already, or ONNX Runtime answers otherwise than torch.
    """
    missing = [package for package in ONNX_PACKAGES if find_spec(package) is None]
    if missing:
        raise SetupError(f"ONNX files need {' and '.join(missing)}: pip install 'rawdenoise[onnx]'")
    model = find_model(id, store)
    output = target / f"{model.card.id}{ONNX_SUFFIX}" if target.is_dir() else target
    if output.suffix != ONNX_SUFFIX:
        raise OutputError(output, f"no such folder, and not the name of a file that ends in {ONNX_SUFFIX}")
    if os.path.lexists(output):  # a link to nothing, too, is somebody's
        raise OutputExistsError(output, "is there already, and was left alone")
    check_output(output)

    from rawdenoise.models.onnx_export import write_onnx

    write_onnx(model, output)
    return output


def list_fitting_names(id: str, store: ModelStore) -> str:
    """The ids of the readable models that begin like this, or else the word itself."""
    return ", ".join(card.id for card in store.cards() if card.id.startswith(id)) or id


def _describe_evidence(card: ModelCard) -> list[str]:
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


def _write_isos(card: ModelCard) -> str:
    if card.iso_range is None:
        return "unknown"
    low, high = card.iso_range
    return str(low) if low == high else f"{low}-{high}"
