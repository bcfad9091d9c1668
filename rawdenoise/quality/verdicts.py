"""What the statistics of a residual mean, in plain words, and how bad it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rawdenoise.quality.residuals import ResidualTests

Level = Literal["good", "fair", "poor"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Above `fair` a statistic is to be looked at, above `poor` it is not as it should be."""

    fair: float
    poor: float


# See `judge_residual` for where they come from.
MEAN_LIMITS = Limits(fair=0.03, poor=0.1)
STRONGER_LIMITS = Limits(fair=1.04, poor=1.15)
WEAKER_LIMITS = Limits(fair=-0.97, poor=-0.93)  # of the strength with its sign turned
NEIGHBOR_LIMITS = Limits(fair=0.03, poor=0.08)
STRUCTURE_LIMITS = Limits(fair=0.05, poor=0.12)


@dataclass(frozen=True, slots=True)
class ResidualVerdict:
    """What a statistic says, in plain words."""

    level: Level
    words: str


def judge_residual(tests: ResidualTests, *, pixels: int) -> dict[str, ResidualVerdict]:
    """Say what the statistics of so many pixels mean: `mean`, `strength`, `autocorrelation`, `structure`.

    The limits were set on a simulated camera at three ISOs, each case with a model of its own, trained from
    nothing. After 300 updates of 16 crops the true noise model gave means
    within 0.012 sigma, strengths of 1.00 to 1.02, neighbours within 0.004 and structure of 0.01; one of 0.8
    times the true variance gave strengths of 1.07 to 1.09, of 1.25 times 0.84 to 0.90. Trained by
    recorruption alone (600 updates of 8 crops), the true one gave strengths of 1.03 to 1.05, neighbours
    within 0.02 and structure of 0.03; after only 60 updates up to 1.17, 0.07 and 0.21. There twice the true
    variance gave strengths of 0.68 to 0.79, and neighbours that shared noise, with a correlation of 0.29,
    showed 0.19 to 0.22. So noise that is stronger than claimed by a quarter looks like a training cut short:
    the words name both.
    """
    chance = 3 / math.sqrt(max(pixels, 1))
    strength = tests.chi2 + tests.divergence
    judged = {
        "mean": _judge_mean(tests.mean, chance),
        "strength": _judge_strength(strength, math.sqrt(2) * chance),
        "autocorrelation": _judge_neighbors(tests.autocorrelation, chance),
        "structure": _judge_structure(tests.structure, chance),
    }
    return {test: ResidualVerdict(level, words) for test, (level, words) in judged.items()}


def _judge_mean(mean: float, chance: float) -> tuple[Level, str]:
    level = _grade(abs(mean), MEAN_LIMITS, chance)
    if level == "good":
        return level, "The brightness stays as it is."
    moved = "darker" if mean > 0 else "brighter"
    return level, f"Pictures become {moved}, by {abs(mean):.2f} sigma of their noise on average."


def _judge_strength(strength: float, chance: float) -> tuple[Level, str]:
    if strength < 1:
        level = _grade(-strength, WEAKER_LIMITS, chance)
        words = (
            f"Only {100 * strength:.0f} % of the noise that the noise model promises is found: it takes the "
            "captures for noisier than they are, and the gain for larger than it is."
        )
    else:
        level = _grade(strength, STRONGER_LIMITS, chance)
        words = (
            f"{100 * strength:.0f} % of the noise that the noise model promises is found: there is more "
            "than it says, or the model is not trained to its end and takes some of the scene away."
        )
    return level, "The noise is as strong as the noise model says." if level == "good" else words


def _judge_neighbors(autocorrelation: tuple[float, float], chance: float) -> tuple[Level, str]:
    largest = max(autocorrelation, key=abs)
    level = _grade(abs(largest), NEIGHBOR_LIMITS, chance)
    if level == "good":
        return level, "What is taken away is white: each pixel's noise is its own."
    if largest < 0:
        return level, (
            "Next neighbours differ more than noise does: the captures were sharpened, or the model sharpens."
        )
    return level, (
        "Next neighbours are alike in what is taken away: their noise is not independent (captures that were "
        "smoothed or scaled in the camera), or some of the scene goes with it."
    )


def _judge_structure(structure: float, chance: float) -> tuple[Level, str]:
    level = _grade(abs(structure), STRUCTURE_LIMITS, chance)
    if level == "good":
        return level, "Hardly any of the scene is seen in what is taken away."
    if structure < 0:
        return level, "The model adds detail of the scene that one plane of the captures does not have."
    return level, "Detail of the scene is taken away with the noise: training longer may help."


def _grade(value: float, limits: Limits, chance: float) -> Level:
    """Judge a value that should be small; `chance` is what it may be off by nothing but chance."""
    if not value > limits.fair + chance:
        return "good" if math.isfinite(value) else "poor"
    return "fair" if value <= limits.poor + chance else "poor"
