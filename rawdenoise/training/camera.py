"""A camera's captures in, its model out."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rawdenoise import __version__
from rawdenoise.errors import RawDenoiseError, TrainingError
from rawdenoise.models.bundled import BUNDLED, load_bundled
from rawdenoise.models.card import CLEAN, ModelCard
from rawdenoise.models.model import Model, new_model
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.pages.model_page import render
from rawdenoise.quality.residuals import gather
from rawdenoise.training.captures import CaptureSet
from rawdenoise.training.checkpoint import load_checkpoint
from rawdenoise.training.loop import (
    Alone,
    Fitted,
    Progress,
    TrainingOptions,
    TrainingStopped,
    check_options,
    fit,
    kind_of,
)
from rawdenoise.training.objectives import NEED_PAIRS
from rawdenoise.training.risk import RiskFigures, crop_sums, difference, summarise
from rawdenoise.training.tile_building import build_store, tiles_digest
from rawdenoise.training.tiles import TileStore, tile_file
from rawdenoise.training.unpaired import FIRST, SECOND, CleanCaptures, Unpaired, clean_captures, fit_unpaired

DEFAULTS = TrainingOptions()
JUDGED = (8, 16)  # batches, and crops in each, on which models are compared


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A camera's new model, its page, and what it replaces.

    `before` is the risk, on the same held-out crops, of the model that the camera would otherwise have, None
    where there is none; `rival_id` names it. `better` says that the new one risks less, by more than twice
    the standard error of the difference, and less than the captures as they are. `ended` says why the
    training ended before its budget did.
    """

    model: Model
    page: str
    risk: RiskFigures
    before: RiskFigures | None
    better: bool
    rival_id: str = ""
    ended: str = ""

    @property
    def loses(self) -> bool:
        """Whether the new model is estimated to make pictures worse than they were."""
        return self.risk.gain_db < 0


def train(
    captures: CaptureSet,
    options: TrainingOptions = DEFAULTS,
    *,
    folder: Path,
    start: Model | None = None,
    rival: Model | None = None,
    unpaired: Unpaired | None = None,
    profiles: ProfileStore | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a camera's model on its noisy captures alone; checkpoints lie under `folder`.

    It begins with the weights of `start`, or with none, and is compared with `rival`. The noise of captures
    is that of `profiles`, where they know it. With `unpaired` it
    learns from clean ones among them as well, whatever the objective. The same captures, options and start go
    on where an earlier call stopped, unless the captures are now read in another way, a profile says
    otherwise of their noise, or this is another version of rawdenoise. With a budget in images the result is
    the same on the same machine, interrupted or not.

    Raises:
        TrainingStopped: `stop` answered true, or Ctrl-C; a checkpoint was left. TrainingError: too few or too
        small captures, unknown options, a folder that cannot be written, a loss that diverges, or another
        process at the same training. ProfileError: the noise profile of this camera cannot be understood.
    """
    _check(captures, options, start)
    run = run_id(captures, options, start, unpaired, profiles)
    with Alone(folder, run):
        if options.minutes == 0:
            _check_finishable(folder / run, run, unpaired)
        try:
            store = _read_captures(captures, folder / run, options, profiles, on_progress, stop)
        except KeyboardInterrupt:
            raise TrainingStopped(0, "while reading the captures") from None
        net = start.net if start else None
        if unpaired is None:
            fitted = fit(
                store, options, folder=folder / run, run=run, start=net, on_progress=on_progress, stop=stop
            )
        else:
            cleaner = start or load_bundled(options.net if options.net in BUNDLED else BUNDLED[0])
            try:
                tiles = clean_captures(store, captures, unpaired)
            except TrainingError:
                shutil.rmtree(folder / run, ignore_errors=True)  # with other captures it is another run
                raise
            fitted = fit_unpaired(
                store, CleanCaptures(tiles, cleaner), options, unpaired,
                folder=folder / run, run=run, start=net, on_progress=on_progress, stop=stop,
            )  # fmt: skip
        return _judged(captures, store, fitted, options, start, rival, unpaired)


def run_id(
    captures: CaptureSet,
    options: TrainingOptions,
    start: Model | None = None,
    unpaired: Unpaired | None = None,
    profiles: ProfileStore | None = None,
) -> str:
    """Name the checkpoint folder of a training: the same for the same tiles and the same kind of model.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    whole = [tiles_digest(captures, profiles), kind_of(options), start.card.weights_sha256 if start else ""]
    whole += [asdict(unpaired)] if unpaired else []
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]


def forget(
    captures: CaptureSet,
    options: TrainingOptions,
    *,
    folder: Path,
    start: Model | None = None,
    unpaired: Unpaired | None = None,
    profiles: ProfileStore | None = None,
) -> None:
    """Remove the tiles and the checkpoint of a training, once its model is safe in a store.

    They stay where another process has taken them up meanwhile.
    """
    run = run_id(captures, options, start, unpaired, profiles)
    with suppress(TrainingError), Alone(folder, run):
        shutil.rmtree(folder / run, ignore_errors=True)


def _check(captures: CaptureSet, options: TrainingOptions, start: Model | None) -> None:
    name, count = captures.camera.name, len(captures.captures)
    if count < options.min_captures:
        raise TrainingError(f"{name}: {count} captures, at least {options.min_captures} are needed")
    check_options(options)
    if options.objective in NEED_PAIRS:
        raise TrainingError(f"the objective {options.objective!r} needs pairs, and captures are none")
    if start is not None and start.card.net != options.net:
        raise TrainingError(f"{start.card.id} is a {start.card.net} network, {options.net} was asked for")


def _check_finishable(folder: Path, run: str, unpaired: Unpaired | None) -> None:
    """Refuse to finish what has not begun, or has not come to a network of the camera's.

    Raises:
        TrainingError: it is so.
    """
    if load_checkpoint(folder / SECOND if unpaired else folder, run) is not None:
        return
    if unpaired and load_checkpoint(folder / FIRST, run) is not None:
        raise TrainingError("it was still learning the noise: to go on, leave --finish out")
    raise TrainingError("nothing to finish: no training of these captures and options was interrupted")


def _read_captures(
    captures: CaptureSet,
    folder: Path,
    options: TrainingOptions,
    profiles: ProfileStore | None,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> TileStore:
    read = 0

    def on_file(path: Path, error: RawDenoiseError | None) -> None:
        nonlocal read
        read += 1
        on_progress(Progress("reading captures", read / len(captures.captures)))
        if stop():
            raise KeyboardInterrupt

    return build_store(captures, folder, seed=options.seed, profiles=profiles, on_file=on_file)


def _judged(
    captures: CaptureSet,
    store: TileStore,
    fitted: Fitted,
    options: TrainingOptions,
    start: Model | None,
    rival: Model | None,
    unpaired: Unpaired | None,
) -> Trained:
    """Write the card, and compare with the model there was."""
    rng = np.random.default_rng([options.seed, 1 << 41])
    batches = [store.draw(rng, JUDGED[1], fitted.crop, held_out=True) for _ in range(JUDGED[0])]
    sums = crop_sums(fitted.net, batches, options.seed)
    risk = summarise(sums)
    before, better = None, True
    if rival is not None:
        others = crop_sums(rival.net, batches, options.seed)
        before = summarise(others)
        gained, error = difference(others, sums)
        # Crops that overlap tell no more than the tiles they are from.
        drawn = JUDGED[0] * JUDGED[1] * fitted.crop**2
        error *= math.sqrt(1 + drawn / (max(1, len(store.held_out)) * (store.largest_crop + 1) ** 2))
        better = bool(store.held_out) and gained > 2 * error
    better = better and risk.gain_db >= 0
    evidence = gather(fitted.net, store, seed=options.seed)
    model = new_model(fitted.net, _card(captures, store, fitted, options, start, risk, unpaired))
    model = replace(model, card=replace(model.card, evidence=tuple(each.as_json() for each in evidence)))
    page, rival_id = render(model.card, evidence), rival.card.id if rival else ""
    return Trained(model, page, risk, before, better, rival_id, fitted.stopped)


def _card(
    captures: CaptureSet,
    store: TileStore,
    fitted: Fitted,
    options: TrainingOptions,
    start: Model | None,
    risk: RiskFigures,
    unpaired: Unpaired | None,
) -> ModelCard:
    method = "unpaired" if unpaired else options.objective
    return ModelCard(
        id="",
        camera=captures.camera,
        net=options.net,
        iso_range=captures.iso_range,
        noise=store.noise,
        captures=tuple(capture.digest for capture in captures.captures),
        objective=method,
        options={
            **asdict(options),
            **(_learned(captures, store, unpaired) if unpaired else {}),
            "objective": method,
            "gamma": None if unpaired else options.gamma,
            "crop": fitted.crop,
            "start": start.card.id if start else None,
        },
        seed=options.seed,
        versions=versions(),
        created="",
        figures=figures_of(fitted, risk),
        weights_sha256="",
        history=history_of(fitted),
    )


def _learned(captures: CaptureSet, store: TileStore, unpaired: Unpaired) -> dict[str, object]:
    """What unpaired learning was given, and which captures it has taken for clean."""
    files = {tile.file for tile in clean_captures(store, captures, unpaired).tiles}
    clean = [each.digest for at, each in enumerate(captures.captures) if tile_file(at) in files]
    return {**asdict(unpaired), CLEAN: clean}


def versions() -> dict[str, str]:
    """What a model was made with."""
    return {
        "rawdenoise": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def figures_of(fitted: Fitted, risk: RiskFigures) -> dict[str, float]:
    """What a card says in numbers."""
    return {
        "images": float(fitted.images),
        "training_s": round(fitted.training_s, 1),
        "chi2": round(risk.chi2, 4),
        "bias": round(risk.bias, 5),
        "divergence": round(risk.divergence, 4),
        "risk": round(risk.risk, 4),
        "gain_db": round(risk.gain_db, 2),
    }


def history_of(fitted: Fitted) -> tuple[dict[str, float], ...]:
    """The training curve as a card keeps it."""
    return tuple(
        {
            "images": float(check.images),
            "elapsed_s": round(check.elapsed_s, 1),
            "loss": round(check.loss, 5),
            "risk": round(check.figures.risk, 5),
            "chi2": round(check.figures.chi2, 5),
        }
        for check in fitted.history
    )
