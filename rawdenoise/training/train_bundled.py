"""The bundled models: trained on procedural scenes, to serve any camera before it has a model of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rawdenoise.capture.raw import Camera
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import Model, new_model
from rawdenoise.training.card_fields import list_figures, list_history, list_versions
from rawdenoise.training.comparison import draw_judging_crops
from rawdenoise.training.drawn_scenes import digest_scenes, paint_scenes
from rawdenoise.training.lock import TrainingLock
from rawdenoise.training.loop import Fitted, fit
from rawdenoise.training.options import TrainingOptions, record_options, select_identifying_options
from rawdenoise.training.progress import Progress, TrainingStopped
from rawdenoise.training.risk import estimate_risk


def train_bundled(
    options: TrainingOptions,
    *,
    folder: Path,
    scenes: int,
    pictures: Sequence[Path] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Model:
    """Train a model on `scenes` procedural scenes and a user's `pictures`, against the truth they hold.

    Scenes and checkpoint lie under `folder`. The same options go on where an earlier call stopped, or, with a
    larger budget, where it ended.

    Raises:
        TrainingStopped: `stop` answered true, or Ctrl-C. TrainingError: unknown options, or a loss that
        diverges. UnreadableError: one of the pictures is none. OutputError: `folder` cannot be written.
    """
    digest = digest_scenes(scenes, options.seed, pictures)
    run = _run_id(options, digest)

    def on_scene(done: int, count: int) -> None:
        on_progress(Progress("painting scenes", done / count))
        if stop():
            raise KeyboardInterrupt

    with TrainingLock(folder, run):
        try:
            source = paint_scenes(
                folder / "scenes", scenes, seed=options.seed, pictures=pictures, on_scene=on_scene
            )
        except KeyboardInterrupt:
            raise TrainingStopped(0, "while painting scenes") from None
        fitted = fit(source, options, folder=folder / run, run=run, on_progress=on_progress, stop=stop)
    batches = draw_judging_crops(source, fitted.crop_size, options.seed)
    figures = list_figures(fitted, estimate_risk(fitted.net, batches, options.seed))
    return new_model(fitted.net, _write_card(fitted, options, scenes, digest, pictures, figures))


def _run_id(options: TrainingOptions, digest: str) -> str:
    return hashlib.sha256(json.dumps([digest, select_identifying_options(options)]).encode()).hexdigest()[:16]


def _write_card(
    fitted: Fitted,
    options: TrainingOptions,
    scenes: int,
    digest: str,
    pictures: Sequence[Path],
    figures: dict[str, float],
) -> ModelCard:
    learned = {"scenes": scenes, "scenes_sha256": digest, "pictures": len(pictures), "crop": fitted.crop_size}
    return ModelCard(
        id="",
        camera=Camera(make="", model=f"base {options.net}"),
        net=options.net,
        iso_range=None,
        noise=(),
        captures=(),
        objective=options.objective,
        options={**record_options(options), **learned},
        seed=options.seed,
        versions=list_versions(),
        created="",
        figures=figures,
        weights_sha256="",
        history=list_history(fitted),
    )
