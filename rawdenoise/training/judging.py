"""Looks at the estimated risk in a training: which network is best so far, when to settle and when to end."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rawdenoise.nets import Network
from rawdenoise.training.batches import Batch, Source
from rawdenoise.training.checkpoint import Counters, Look
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import SETTLE_SHARE, compute_budget_used, compute_share_done
from rawdenoise.training.risk import sum_crops, summarize

LOOKS, STEPS_APART = 12, 10  # at the estimated risk in a training, and the least steps between two
LOOKED_AT = (4, 16)  # batches, and crops in each
_LOOK_SEED = 1 << 40  # sets the crops that are looked at apart from those of the steps


@dataclass(frozen=True, slots=True)
class FlatLimits:
    """Nothing more is gained: so many looks without a gain of such a share, after so many crops."""

    looks: int
    share: float
    crops: int


@dataclass(frozen=True, slots=True)
class RiseLimits:
    """The risk rises for good: so many looks in a row that are so many times worse than the best one."""

    looks: int
    worse: float


FLAT_LIMITS = FlatLimits(looks=4, share=0.002, crops=20_000)
RISE_LIMITS = RiseLimits(looks=3, worse=1.1)


def draw_held_out(source: Source, size: int, seed: int) -> list[Batch]:
    """Draw the crops that all looks of a training are at."""
    batches, crops = LOOKED_AT
    rng = np.random.default_rng([seed, _LOOK_SEED])
    return [source.draw(rng, crops, size, held_out=True) for _ in range(batches)]


def is_look_due(counters: Counters, before: float, options: TrainingOptions) -> bool:
    """Whether the last step, `before` which so much was done, is one to look after."""
    since = counters.crops - counters.history[-1].crops
    crossed = math.floor(before * LOOKS) < math.floor(compute_share_done(counters, options) * LOOKS)
    return crossed and since >= STEPS_APART * options.batch


def note_risk(counters: Counters, net: Network, held_out: list[Batch], seed: int) -> Counters:
    """Note the estimated risk of a network; `best` is this look where it is the least so far."""
    figures = summarize(sum_crops(net, held_out, seed))
    history = (*counters.history, Look(counters.crops, counters.elapsed_s, counters.loss, figures))
    best = counters.best
    if len(history) == 1 or not figures.risk >= history[best].figures.risk:
        best = len(history) - 1
    return replace(counters, history=history, best=best)


def explain_end(counters: Counters) -> str:
    """Say why to end, where the risk rises for good; else nothing."""
    risks = [look.figures.risk for look in counters.history]
    best = counters.history[counters.best]
    if (
        len(risks) > RISE_LIMITS.looks
        and min(risks[-RISE_LIMITS.looks :]) > RISE_LIMITS.worse * best.figures.risk > 0
    ):
        return f"the estimated risk rises; the best was after {best.crops} crops"
    return ""


def settle(counters: Counters, done: float, options: TrainingOptions) -> Counters:
    """Begin to settle where nothing more is gained; `done` is how far it was before the last step."""
    risks = [look.figures.risk for look in counters.history]
    settled = counters.flat_since or done >= SETTLE_SHARE
    enough = counters.crops >= FLAT_LIMITS.crops and len(risks) > FLAT_LIMITS.looks
    if (
        not settled
        and enough
        and min(risks[-FLAT_LIMITS.looks :]) > (1 - FLAT_LIMITS.share) * min(risks[: -FLAT_LIMITS.looks])
    ):
        return replace(counters, flat_since=compute_budget_used(counters, options)[0])
    return counters
