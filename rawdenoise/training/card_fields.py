"""What a training writes on the card of its model."""

from __future__ import annotations

import platform
from dataclasses import asdict

import numpy as np
import torch

from rawdenoise import __version__
from rawdenoise.models.card import CLEAN_OPTION, ModelCard
from rawdenoise.training.camera_training import CameraTraining
from rawdenoise.training.loop import Fitted
from rawdenoise.training.options import record_options
from rawdenoise.training.risk import RiskFigures
from rawdenoise.training.tiles import TileStore, name_tile_file
from rawdenoise.training.unpaired import clean_captures


def write_card(training: CameraTraining, store: TileStore, fitted: Fitted, risk: RiskFigures) -> ModelCard:
    """Say of a camera's model what it was made of and how; id and digest of the weights are still to come."""
    captures, options, unpaired = training.captures, training.options, training.unpaired
    return ModelCard(
        id="",
        camera=captures.camera,
        net=options.net,
        iso_range=captures.iso_range,
        noise=store.noise,
        captures=tuple(capture.digest for capture in captures.captures),
        objective=training.method,
        options={
            **record_options(options),
            **_describe_unpaired(training, store),
            "objective": training.method,
            "gamma": None if unpaired else options.gamma,
            "crop": fitted.crop_size,
            "start": training.start.card.id if training.start else None,
        },
        seed=options.seed,
        versions=list_versions(),
        created="",
        figures=list_figures(fitted, risk),
        weights_sha256="",
        history=list_history(fitted),
    )


def _describe_unpaired(training: CameraTraining, store: TileStore) -> dict[str, object]:
    """What unpaired learning was given, and which captures it has taken for clean."""
    if training.unpaired is None:
        return {}
    files = {tile.file for tile in clean_captures(store, training.captures, training.unpaired).tiles}
    captures = enumerate(training.captures.captures)
    clean = [capture.digest for number, capture in captures if name_tile_file(number) in files]
    return {**asdict(training.unpaired), CLEAN_OPTION: clean}


def list_versions() -> dict[str, str]:
    """What a model was made with."""
    return {
        "rawdenoise": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def list_figures(fitted: Fitted, risk: RiskFigures) -> dict[str, float]:
    """What a card says in numbers."""
    return {
        "images": float(fitted.crops),
        "training_s": round(fitted.training_s, 1),
        "chi2": round(risk.chi2, 4),
        "bias": round(risk.bias, 5),
        "divergence": round(risk.divergence, 4),
        "risk": round(risk.risk, 4),
        "gain_db": round(risk.gain_db, 2),
    }


def list_history(fitted: Fitted) -> tuple[dict[str, float], ...]:
    """The training curve as a card keeps it."""
    return tuple(
        {
            "images": float(look.crops),
            "elapsed_s": round(look.elapsed_s, 1),
            "loss": round(look.loss, 5),
            "risk": round(look.figures.risk, 5),
            "chi2": round(look.figures.chi2, 5),
        }
        for look in fitted.history
    )
