"""A camera's captures in, its model out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rawdenoise.errors import RawDenoiseError, TooFewCapturesError, TrainingError, UnfinishableError
from rawdenoise.models.bundled import BUNDLED, load_bundled
from rawdenoise.models.model import Model, new_model
from rawdenoise.pages.model_page import render_model
from rawdenoise.quality.held_out import measure_held_out
from rawdenoise.training.camera_training import CameraTraining
from rawdenoise.training.card_fields import write_card
from rawdenoise.training.checkpoint import load_checkpoint
from rawdenoise.training.comparison import Comparison, compare
from rawdenoise.training.lock import TrainingLock
from rawdenoise.training.loop import Fitted, fit
from rawdenoise.training.objectives import NEED_PAIRS
from rawdenoise.training.options import check_options
from rawdenoise.training.progress import Progress, TrainingStopped
from rawdenoise.training.risk import RiskFigures
from rawdenoise.training.tile_building import build_store
from rawdenoise.training.tiles import TileStore
from rawdenoise.training.unpaired import (
    FIRST_STAGE,
    SECOND_STAGE,
    CleanCaptures,
    UnpairedCrops,
    clean_captures,
    fit_unpaired,
)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A camera's new model, its page, and how it compares with what it replaces.

    `rival_id` names the model that the camera would otherwise have, where there is one. `ended` says why the
    training ended before its budget did.
    """

    model: Model
    page: str
    comparison: Comparison
    rival_id: str = ""
    ended: str = ""

    @property
    def better(self) -> bool:
        """Whether the new model is surely better than the one there was, and than the captures."""
        return self.comparison.better

    @property
    def risk(self) -> RiskFigures:
        """The risk of the new model, on held-out crops."""
        return self.comparison.risk

    @property
    def before(self) -> RiskFigures | None:
        """That of the model it replaces, on the same crops."""
        return self.comparison.before

    @property
    def loses(self) -> bool:
        """Whether the new model is estimated to make pictures worse than they were."""
        return self.risk.gain_db < 0


def train(
    training: CameraTraining,
    *,
    folder: Path,
    rival: Model | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a camera's model on its noisy captures alone; checkpoints lie under `folder`.

    It is compared with `rival`. The same training goes on where an earlier call stopped, unless the captures
    are now read in another way, a profile says otherwise of their noise, or this is another version of
    rawdenoise. With a budget in crops the result is the same on the same machine, interrupted or not.

    Raises:
        TrainingStopped: `stop` answered true, or Ctrl-C; a checkpoint was left. TrainingError: too few or too
        small captures, unknown options, a folder that cannot be written, a loss that diverges, or another
        process at the same training. ProfileError: the noise profile of this camera cannot be understood.
    """
    _check(training)
    run = training.run_id()
    with TrainingLock(folder, run):
        if training.options.minutes == 0:
            _check_finishable(training, folder / run, run)
        try:
            store = _read_captures(training, folder / run, on_progress, stop)
        except KeyboardInterrupt:
            raise TrainingStopped(0, "while reading the captures") from None
        fitted = _fit(training, store, folder / run, run, on_progress, stop)
        net, options = rival.net if rival else None, training.options
        comparison = compare(fitted.net, net, store, size=fitted.crop_size, seed=options.seed)
        model, page = _describe(training, store, fitted, comparison)
        return Trained(model, page, comparison, rival.card.id if rival else "", fitted.stopped)


def remove_training(training: CameraTraining, *, folder: Path) -> None:
    """Remove the tiles and the checkpoint of a training, once its model is safe in a store.

    They stay where another process has taken them up meanwhile.
    """
    run = training.run_id()
    with suppress(TrainingError), TrainingLock(folder, run):
        shutil.rmtree(folder / run, ignore_errors=True)


def _check(training: CameraTraining) -> None:
    """Refuse what cannot be trained.

    Raises:
        TrainingError: it is so.
    """
    captures, options, start = training.captures, training.options, training.start
    name, count = captures.camera.name, len(captures.captures)
    if count < options.min_captures:
        raise TooFewCapturesError(f"{name}: {count} captures, at least {options.min_captures} are needed")
    check_options(options)
    if options.objective in NEED_PAIRS:
        raise TrainingError(f"the objective {options.objective!r} needs pairs, and captures are none")
    if start is not None and start.card.net != options.net:
        raise TrainingError(f"{start.card.id} is a {start.card.net} network, {options.net} was asked for")


def _check_finishable(training: CameraTraining, folder: Path, run: str) -> None:
    """Refuse to finish what has not begun, or has not come to a network of the camera's.

    Raises:
        UnfinishableError: it is so.
    """
    if load_checkpoint(folder / SECOND_STAGE if training.unpaired else folder, run) is not None:
        return
    if training.unpaired and load_checkpoint(folder / FIRST_STAGE, run) is not None:
        raise UnfinishableError("it was still learning the noise: there is nothing to finish yet")
    reason = "nothing to finish: no training of these captures and options was interrupted"
    raise TrainingError(reason)


def _read_captures(
    training: CameraTraining, folder: Path, on_progress: Callable[[Progress], None], stop: Callable[[], bool]
) -> TileStore:
    """Cut the captures into tiles, unless they are there."""
    count, read = len(training.captures.captures), 0

    def on_file(path: Path, error: RawDenoiseError | None) -> None:
        nonlocal read
        read += 1
        on_progress(Progress("reading captures", read / count))
        if stop():
            raise KeyboardInterrupt

    seed, profiles = training.options.seed, training.profiles
    return build_store(training.captures, folder, seed=seed, profiles=profiles, on_file=on_file)


def _fit(
    training: CameraTraining,
    store: TileStore,
    folder: Path,
    run: str,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Fitted:
    """Train the network, in one stage or in the two of unpaired learning."""
    options, start, unpaired = training.options, training.start, training.unpaired
    net = start.net if start else None
    if unpaired is None:
        return fit(store, options, folder=folder, run=run, start=net, on_progress=on_progress, stop=stop)
    cleaner = start or load_bundled(options.net if options.net in BUNDLED else BUNDLED[0])
    try:
        tiles = clean_captures(store, training.captures, unpaired)
    except TrainingError:
        shutil.rmtree(folder, ignore_errors=True)  # with other captures it is another run
        raise
    return fit_unpaired(
        UnpairedCrops(store, CleanCaptures(tiles, cleaner)), options, unpaired,
        folder=folder, run=run, start=net, on_progress=on_progress, stop=stop,
    )  # fmt: skip


def _describe(
    training: CameraTraining, store: TileStore, fitted: Fitted, comparison: Comparison
) -> tuple[Model, str]:
    """Give the model its card, with what it does to captures held out, and its page."""
    evidence = measure_held_out(fitted.net, store, seed=training.options.seed)
    model = new_model(fitted.net, write_card(training, store, fitted, comparison.risk))
    card = replace(model.card, evidence=tuple(entry.as_json() for entry in evidence))
    return replace(model, card=card), render_model(card, evidence)
