"""The training loop, for any source of crops. To resume an interrupted run, call it again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rawdenoise.atomic import remove_abandoned
from rawdenoise.errors import TrainingError
from rawdenoise.nets import Network, build_net
from rawdenoise.training.batches import Batch, Prefetch, Source
from rawdenoise.training.checkpoint import Counters, Look
from rawdenoise.training.judging import draw_held_out, explain_end, is_look_due, note_risk, settle
from rawdenoise.training.learner import Learner
from rawdenoise.training.options import TrainingOptions, check_options, limit_crop_size
from rawdenoise.training.progress import (
    Progress,
    TrainingStopped,
    compute_share_done,
    count_step,
    report_progress,
    unsettle,
)
from rawdenoise.training.risk import RiskFigures

MAXIMUM_RETRIES = 4  # losses that are no numbers, each answered by going back and halving the learning rate


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a training gave, in eval mode on the CPU.

    `net` is the averaged network at the look where its estimated risk was least, `figures` that look's;
    `last` is the averaged network at the end. `stopped` says why the training ended before its budget did.
    """

    net: Network
    last: Network
    figures: RiskFigures
    history: tuple[Look, ...]
    crops: int
    training_s: float
    crop_size: int
    stopped: str = ""


def fit(
    source: Source,
    options: TrainingOptions,
    *,
    folder: Path,
    run: str,
    start: Network | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train a network, `start` or a new one, on what `source` draws; the checkpoint lies in `folder`.

    A checkpoint there of the same `run` is taken up, whatever budget it was made for. With a budget in crops
    the result is the same on the same CPU, interrupted or not.

    Raises:
        TrainingStopped: `stop` answered true, or Ctrl-C; a checkpoint was left. TrainingError: too small
        captures, an unknown network, objective or precision, or a loss that diverges. OutputError: the
        checkpoint cannot be written; the last one is still there.
    """
    check_options(options)
    remove_abandoned(folder)

    # Networks and optimiser, the crops that all looks are at, and those of the next step.
    size = limit_crop_size(options, start or build_net(options.net), source.largest_crop)
    learner = Learner(options, start)
    held_out = draw_held_out(source, size, options.seed)
    ahead = Prefetch(source, seed=options.seed, count=options.batch, size=size)
    counters, ended = Counters(run), ""

    with closing(ahead):
        try:
            # To resume an interrupted training, run the same command again: its checkpoint is taken up.
            with learner.mark_updating():
                resumed = learner.load(folder, run)
                counters = unsettle(resumed or counters, options)
                if resumed is None:
                    counters = _look_at_risk(learner, counters, held_out, options)
            if resumed is None:
                learner.save(folder, counters)
            saved = time.monotonic()

            while (done := compute_share_done(counters, options)) < 1 and not ended:
                # Where it is asked to, it stops.
                if stop():
                    raise KeyboardInterrupt

                # A step; where the loss is no number, back to the last checkpoint.
                began = time.monotonic()
                loss = learner.step(ahead.batch(counters.step), counters, done)
                if not math.isfinite(loss):
                    with learner.mark_updating():
                        counters = _back_off(learner, counters, options, folder)
                    continue
                counters = count_step(counters, options, loss, time.monotonic() - began)

                # A look at the estimated risk, twelve times: the best network is kept.
                if is_look_due(counters, done, options):
                    with learner.mark_updating():
                        counters = _look_at_risk(learner, counters, held_out, options)
                    if options.guard:
                        ended = explain_end(counters)
                        counters = counters if ended else settle(counters, done, options)

                # Progress, in crops.
                on_progress(report_progress(counters, options))

                # A checkpoint, every half a minute.
                if time.monotonic() - saved > options.checkpoint_s:
                    learner.save(folder, counters)
                    saved = time.monotonic()

            # The last look, and the last checkpoint: a larger budget goes on from it.
            if counters.crops > counters.history[-1].crops:
                with learner.mark_updating():
                    counters = _look_at_risk(learner, counters, held_out, options)
            learner.save(folder, counters)
        except KeyboardInterrupt:
            if not learner.is_updating:  # else the checkpoint that is there is the better one
                learner.save(folder, counters)
            raise TrainingStopped(counters.crops) from None

    best = counters.history[counters.best]
    return Fitted(
        _finish(learner.best), _finish(learner.average), best.figures, counters.history, counters.crops,
        counters.elapsed_s, size, ended,
    )  # fmt: skip


def _look_at_risk(
    learner: Learner, counters: Counters, held_out: list[Batch], options: TrainingOptions
) -> Counters:
    """Estimate the risk of the averaged network, and keep it if it is the best so far."""
    counters = note_risk(counters, learner.average, held_out, options.seed)
    if counters.best == len(counters.history) - 1:
        learner.keep_best()
    return counters


def _back_off(learner: Learner, counters: Counters, options: TrainingOptions, folder: Path) -> Counters:
    """Return to the last checkpoint with half the learning rate, past the crops that broke it.

    Raises:
        TrainingError: it was tried often enough.
    """
    if counters.learning_rate_scale <= 0.5**MAXIMUM_RETRIES:
        raise TrainingError(
            f"training diverged after {counters.crops} crops, {MAXIMUM_RETRIES} times: "
            "lower the learning rate"
        )
    resumed = learner.load(folder, counters.run)
    kept = unsettle(resumed, options) if resumed else counters  # the looks whose weights are still there
    return replace(
        counters,
        step=counters.step + 1,
        learning_rate_scale=counters.learning_rate_scale / 2,
        flat_since=kept.flat_since,
        best=kept.best,
        history=kept.history,
    )


def _finish(net: Network) -> Network:
    plain: Network = net.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return plain.eval()
