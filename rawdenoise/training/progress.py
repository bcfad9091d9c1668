"""How far a training is: its budget, the steps that are done, and the learning rate that goes with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from rawdenoise.errors import TrainingError
from rawdenoise.training.checkpoint import Counters
from rawdenoise.training.options import TrainingOptions

WARM_UP_SHARE = 0.02  # share of the budget over which the learning rate rises
SETTLE_SHARE = 0.3  # share from which it stays before it falls to zero


class TrainingStopped(TrainingError):  # noqa: N818, not a failure
    """Training was asked to stop after so many crops, and left a checkpoint."""

    exit_code = 130

    def __init__(self, crops: int, doing: str = "") -> None:
        self.crops = crops
        super().__init__(f"stopped {doing or f'after {crops} crops'}; to resume, run the same command again")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is: `stage` says what it is at, `done` runs from 0 to 1 while it reads, then again.

    `loss` is a running average; `remaining_s` and the estimated `gain_db` are None until they can be told.
    """

    stage: str
    done: float
    crops: int = 0
    elapsed_s: float = 0.0
    remaining_s: float | None = None
    loss: float = 0.0
    gain_db: float | None = None


def compute_budget_used(counters: Counters, options: TrainingOptions) -> tuple[float, float]:
    """How much of the budget is used, and what it is, in crops or in seconds."""
    if options.crops is not None:
        return float(counters.crops), float(options.crops)
    return counters.elapsed_s, 60 * (options.minutes or 0.0)


def compute_share_done(counters: Counters, options: TrainingOptions) -> float:
    """How far the training is, 0 to 1; where nothing more was gained, it takes as long again to settle."""
    used, budget = compute_budget_used(counters, options)
    natural = used / budget if budget > 0 else 1.0
    if counters.flat_since:
        settling = (used - counters.flat_since) / counters.flat_since
        natural = max(natural, SETTLE_SHARE + (1 - SETTLE_SHARE) * settling)
    return min(1.0, natural)


def compute_learning_rate_factor(done: float) -> float:
    """The share of the learning rate, over the budget: a linear rise, a plateau, a half cosine to zero."""
    if done < SETTLE_SHARE:
        return min(1.0, (done + 1e-3) / WARM_UP_SHARE)
    return 0.5 + 0.5 * math.cos(math.pi * (done - SETTLE_SHARE) / (1 - SETTLE_SHARE))


def report_progress(counters: Counters, options: TrainingOptions) -> Progress:
    """Say how far a training is."""
    done = compute_share_done(counters, options)
    remaining = counters.elapsed_s * (1 - done) / done if done > 0 else None
    gain = counters.history[-1].figures.gain_db if counters.history else None
    return Progress("training", done, counters.crops, counters.elapsed_s, remaining, counters.loss, gain)


def count_step(counters: Counters, options: TrainingOptions, loss: float, seconds: float) -> Counters:
    """Count a step that was made."""
    share = max(0.01, 1 / (counters.step + 1))
    return replace(
        counters,
        step=counters.step + 1,
        crops=counters.crops + options.batch,
        elapsed_s=counters.elapsed_s + seconds,
        loss=counters.loss + share * (loss - counters.loss),
    )


def unsettle(counters: Counters, options: TrainingOptions) -> Counters:
    """Look for a gain again, where a training had settled to its end or had a budget of another kind."""
    if counters.flat_since and compute_share_done(counters, options) >= 1:
        return replace(counters, flat_since=0.0)
    return counters
