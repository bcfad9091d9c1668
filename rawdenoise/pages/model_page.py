"""A model's card as a page: what it is, what it was trained on, what it does to captures it has not seen.

One HTML file that needs nothing beside it, no script and no network. Every number is the card's; only the
pictures, which the card does not hold, come from the captures, so a page made from a card alone lacks them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from rawdenoise.atomic import write_bytes
from rawdenoise.models.card import ModelCard
from rawdenoise.models.store import PAGE, ModelStore
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.pages.axes import Axis
from rawdenoise.pages.charts import Panel, Series, draw_panel
from rawdenoise.pages.crops import render_crop
from rawdenoise.pages.drawing import Drawing
from rawdenoise.pages.environment import render_template
from rawdenoise.pages.number_format import DASH, write_count, write_iso, write_short, write_signed, write_time
from rawdenoise.quality.held_out import HeldOutResult
from rawdenoise.quality.residuals import ResidualTests, read_residual_tests
from rawdenoise.quality.verdicts import ResidualVerdict, judge_residual

MAXIMUM_CURVES = 12  # of the noise chart
MAXIMUM_DOTS = 60  # of the training chart; more would hide its curve
MAXIMUM_ERROR_DB = 3.0  # standard error from which a gain is not worth its number
SIGNALS = np.geomspace(1e-4, 1, 49)  # packed scale: 0 is black, 1 is white
FIGURES = {  # what the figures of a card mean; others stand under their own name
    "images": "crops seen",
    "training_s": "training time (s)",
    "loss": "loss, at the end",
    "chi2": "mean square of what is taken away (sigma²)",
    "bias": "mean of what is taken away (sigma)",
    "divergence": "mean derivative of the denoiser",
    "risk": "estimated error left, 1 before",
    "gain_db": "estimated gain (dB)",
}
TESTS = {  # what the tests of a residual are called
    "mean": "Brightness: mean",
    "strength": "Strength: chi² + divergence",
    "autocorrelation": "Whiteness: neighbours",
    "structure": "Scene: correlation with detail",
}

Pictures = Mapping[int | None, tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A name and what stands under it."""

    name: str
    value: object


@dataclass(frozen=True, slots=True)
class JudgedTest:
    """One test of a residual: its value, and what that means."""

    name: str
    value: str
    level: str
    words: str


@dataclass(frozen=True, slots=True)
class IsoResult:
    """What the model does at one ISO; `pictures` are base64 PNGs, before and after."""

    iso: str
    iso_number: str
    gain: str
    worst: str
    summary: str
    tiles: object
    tests: tuple[JudgedTest, ...]
    pictures: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """The noise of one ISO, in variances on the packed scale."""

    iso: str
    captures: int
    shot: str
    read: str
    row: str


@dataclass(frozen=True, slots=True)
class ModelPage:
    """What stands on a page; so many ISOs of the noise as `curves` says are drawn."""

    camera: str
    facts: tuple[Pair, ...]
    results: tuple[IsoResult, ...]
    has_pictures: bool
    gain_chart: Drawing | None
    noise: tuple[NoiseRow, ...]
    noise_chart: Drawing | None
    curves: int
    training_chart: Drawing | None
    figures: tuple[Pair, ...]
    provenance: tuple[Pair, ...]
    options: tuple[Pair, ...]
    captures: tuple[str, ...]


def render_model(card: ModelCard, evidence: Sequence[HeldOutResult] = ()) -> str:
    """Put a card on a page; `evidence` gives the pictures to the card's entries of the same ISO."""
    pictures = {result.iso: render_crop(result.crop) for result in evidence}
    drawn = _choose_curves(card.noise)
    page = ModelPage(
        camera=card.camera.name,
        facts=_list_facts(card),
        results=tuple(_describe_iso(entry, pictures) for entry in card.evidence),
        has_pictures=bool(pictures),
        gain_chart=_draw_gain(card.evidence),
        noise=tuple(_describe_noise(entry) for entry in card.noise),
        noise_chart=_draw_noise(drawn),
        curves=len(drawn),
        training_chart=_draw_training(card),
        figures=tuple(
            Pair(meaning, f"{card.figures[name]:.6g}")
            for name, meaning in FIGURES.items()
            if name in card.figures
        ),
        provenance=_list_provenance(card),
        options=tuple(Pair(name, value) for name, value in sorted(card.options.items())),
        captures=card.captures,
    )
    return render_template("model.html", page=page)


def ensure_page(store: ModelStore, id: str) -> Path:
    """Where a model's page lies; made from its card, without pictures, where it has none yet.

    Raises:
        ModelError: no such model, or it is broken. OutputError: the store cannot be written.
    """
    card = store.verify(id)
    page = store.folder / card.id / PAGE
    if not page.exists():
        write_bytes(page, render_model(card).encode())
    return page


# ---------------------------------------------------------------- what it is


def _list_facts(card: ModelCard) -> tuple[Pair, ...]:
    isos = "not stated"
    if card.iso_range is not None:
        low, high = card.iso_range
        isos = str(low) if low == high else f"{low}{DASH}{high}"
    facts = [
        Pair("Mode", card.camera.mode or "not stated"),
        Pair("ISO", isos),
        Pair("Captures", card.captures_text),
        Pair("Network", card.net),
        Pair("Objective", card.objective),
        Pair("Trained", card.created[:10]),
    ]
    if "training_s" in card.figures:
        facts.append(Pair("Training time", write_time(card.figures["training_s"])))
    if "images" in card.figures:
        facts.append(Pair("Crops seen", write_count(card.figures["images"])))
    return tuple(facts)


def _list_provenance(card: ModelCard) -> tuple[Pair, ...]:
    return (
        Pair("id", card.id),
        Pair("camera", ", ".join(part for part in (card.camera.make, card.camera.model) if part) or DASH),
        Pair("serial", card.camera.serial or DASH),
        Pair("trained", card.created.replace("T", " ").replace("+00:00", " UTC")),
        Pair("seed", card.seed),
        *(Pair(name, f"{value:.6g}") for name, value in sorted(card.figures.items()) if name not in FIGURES),
        *(Pair(f"{name} (version)", version) for name, version in sorted(card.versions.items())),
        Pair("weights", f"sha256 {card.weights_sha256}"),
    )


# ---------------------------------------------------------------- what it does


def _describe_iso(entry: Mapping[str, object], pictures: Pictures) -> IsoResult:
    tests = read_residual_tests(entry)
    verdicts = judge_residual(tests, pixels=int(_to_number(entry["pixels"])))
    worst, summary = _summarize(list(verdicts.values()))
    iso = entry["iso"]
    pngs = pictures.get(iso if isinstance(iso, int) else None)
    return IsoResult(
        iso=write_iso(iso),
        iso_number=_write_iso_number(iso),
        gain=_write_gain(entry),
        worst=worst,
        summary=summary,
        tiles=entry["tiles"],
        tests=_list_tests(tests, verdicts),
        pictures=None if pngs is None else (_encode(pngs[0]), _encode(pngs[1])),
    )


def _list_tests(tests: ResidualTests, verdicts: Mapping[str, ResidualVerdict]) -> tuple[JudgedTest, ...]:
    across, down = tests.autocorrelation
    values = {
        "mean": f"{write_signed(tests.mean, 3)} sigma",
        "strength": f"{tests.chi2 + tests.divergence:.3f} = {tests.chi2:.3f} + {tests.divergence:.3f}",
        "autocorrelation": f"{write_signed(across, 3)} across, {write_signed(down, 3)} down",
        "structure": write_signed(tests.structure, 3),
    }
    return tuple(
        JudgedTest(name, values[key], verdicts[key].level, verdicts[key].words) for key, name in TESTS.items()
    )


def _summarize(verdicts: Sequence[ResidualVerdict]) -> tuple[str, str]:
    """Say in a word or two how the tests went, the worst first."""
    levels = [verdict.level for verdict in verdicts]
    for level, word in (("poor", "failed"), ("fair", "to look at")):
        if level in levels:
            return level, f"{levels.count(level)} of {len(levels)} {word}"
    return "good", "all passed"


def _draw_gain(entries: Sequence[Mapping[str, object]]) -> Drawing | None:
    known = [entry for entry in entries if isinstance(entry["iso"], int) and entry["iso"] > 0]
    if len(known) < 2:
        return None
    gains = [(_to_number(entry["gain_db"]), _to_number(entry["error_db"])) for entry in known]
    isos = [_to_number(entry["iso"]) for entry in known]
    points = [(iso, gain) for iso, (gain, _) in zip(isos, gains, strict=True)]
    intervals = [(gain - error, gain + error) for gain, error in gains]
    return draw_panel(
        Panel(
            Axis("ISO", log=True, margin=1.3),
            Axis("gain (dB)", zero=True),
            "Estimated gain against ISO",
            series=[Series("", points, intervals, dot=3.5)],
        )
    )


# ---------------------------------------------------------------- noise and training


def _choose_curves(noise: Sequence[IsoNoise]) -> list[IsoNoise]:
    places = np.linspace(0, len(noise) - 1, min(MAXIMUM_CURVES, len(noise))).round().astype(int)
    return [noise[place] for place in places]


def _draw_noise(noise: Sequence[IsoNoise]) -> Drawing | None:
    curves = [
        Series(
            write_iso(entry.iso),
            [(float(signal), _average_variance(entry.noise, float(signal))) for signal in SIGNALS],
        )
        for entry in noise
    ]
    return draw_panel(
        Panel(
            Axis("signal (black 0, white 1)", log=True),
            Axis("variance of the noise", log=True),
            "Variance of the noise against the signal, a curve for each ISO, mean of the planes",
            series=curves,
        )
    )


def _describe_noise(entry: IsoNoise) -> NoiseRow:
    return NoiseRow(
        iso=_write_iso_number(entry.iso),
        captures=entry.captures,
        shot=write_short(fmean(entry.noise.shot)),
        read=write_short(fmean(entry.noise.read_variance)),
        row=write_short(entry.noise.row_variance),
    )


def _average_variance(noise: NoiseModel, signal: float) -> float:
    """The mean of the planes."""
    return fmean(noise.shot) * signal + fmean(noise.read_variance)


def _draw_training(card: ModelCard) -> Drawing | None:
    points = [
        (check["images"], -10 * math.log10(check["risk"]))
        for check in card.history
        if "images" in check and check.get("risk", 0.0) > 0
    ]
    return draw_panel(
        Panel(
            Axis("crops seen"),
            Axis("estimated gain (dB)"),
            "Estimated gain on held-out captures against crops seen",
            series=[Series("", points, dot=3.5 if len(points) <= MAXIMUM_DOTS else 0)],
        )
    )


# ---------------------------------------------------------------- words and numbers


def _write_iso_number(iso: object) -> str:
    return str(iso) if isinstance(iso, int) else "not stated"


def _write_gain(entry: Mapping[str, object]) -> str:
    """The gain, where it can be told: an error left that is hardly there tells of a wrong noise model."""
    if not _to_number(entry["error_db"]) < MAXIMUM_ERROR_DB:
        return "cannot be told"
    return f"{write_signed(_to_number(entry['gain_db']), 2)} ± {_to_number(entry['error_db']):.2f} dB"


def _to_number(value: object) -> float:
    """A number of a card, whose reader has checked that it is one."""
    assert isinstance(value, int | float)
    return float(value)


def _encode(png: bytes) -> str:
    return base64.b64encode(png).decode()
