"""Whether a camera's new model is better than the one it would have without, told by noisy crops alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rawdenoise.nets import Network
from rawdenoise.training.batches import Batch, Source
from rawdenoise.training.risk import RiskFigures, compare_risks, sum_crops, summarize
from rawdenoise.training.tiles import TileStore

JUDGED = (8, 16)  # batches, and crops in each, on which models are compared
_JUDGING_SEED = 1 << 41  # sets these crops apart from those of steps and looks


@dataclass(frozen=True, slots=True)
class Comparison:
    """The risk of a new network and, on the same held-out crops, that of its rival, if there is one.

    `better` says that the new one risks less, by more than twice the standard error of the difference, and
    less than the captures as they are.
    """

    risk: RiskFigures
    before: RiskFigures | None
    better: bool


def draw_judging_crops(source: Source, size: int, seed: int) -> list[Batch]:
    """Draw the held-out crops that the models of a training are judged by."""
    batches, crops = JUDGED
    rng = np.random.default_rng([seed, _JUDGING_SEED])
    return [source.draw(rng, crops, size, held_out=True) for _ in range(batches)]


def compare(net: Network, rival: Network | None, store: TileStore, *, size: int, seed: int) -> Comparison:
    """Compare a new network with its rival on crops of `size`."""
    batches = draw_judging_crops(store, size, seed)
    sums = sum_crops(net, batches, seed)
    risk = summarize(sums)
    if rival is None:
        return Comparison(risk, None, better=risk.gain_db >= 0)
    others = sum_crops(rival, batches, seed)
    before = summarize(others)
    gained, error = compare_risks(others, sums)
    # Crops that overlap tell no more than the tiles they are from.
    drawn = math.prod(JUDGED) * size**2
    error *= math.sqrt(1 + drawn / (max(1, len(store.held_out)) * (store.largest_crop + 1) ** 2))
    better = bool(store.held_out) and gained > 2 * error and risk.gain_db >= 0
    return Comparison(risk, before, better)
