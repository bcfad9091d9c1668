"""The whole of it on a simulated camera, whose clean mosaics are known: capture, train, denoise, measure."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rawdenoise import __version__
from rawdenoise.app.demo_picture import Example, draw_examples
from rawdenoise.app.train import train_and_keep
from rawdenoise.app.training_events import Event
from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import Camera, Provenance
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.store import PAGE, ModelStore
from rawdenoise.pipeline import denoise, write
from rawdenoise.quality.metrics import psnr, ssim
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, SimulatedCamera, capture
from rawdenoise.training.camera_training import CameraTraining
from rawdenoise.training.captures import gather_captures
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress
from rawdenoise.training.train_camera import Trained

Mosaic = Float32[np.ndarray, "h w"]
DEMO_SEED = 1  # sets the demo's scenes apart from those that the bundled models have seen
UNTOUCHED = Provenance(version=__version__, method="none", strength=0.0)


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What the demo simulates: captures of `size` (width, height), ISO by turns; `crops` as in training.

    `exposure` scales the light: half a stop under full exposure, which keeps most highlights from clipping.
    Those at `clean_iso` take part in nothing: they are for a try of unpaired learning.
    """

    camera: SimulatedCamera = SIMULATED_IMX385
    size: tuple[int, int] = (1024, 768)
    isos: tuple[int, ...] = (25600, 12800)
    exposure: float = 0.7
    training_captures: int = 12
    unseen_captures: int = 4
    clean_iso: int = 1600
    clean_captures: int = 4
    crops: int | None = None


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """One unseen capture: PSNR (dB, peak 1) and SSIM to its clean packed planes, before and after.

    `bundled_psnr` and `own_psnr` are those of the bundled model and of the camera's own; `denoised_psnr` is
    that of the one of them which `denoise` would take.
    """

    output: Path
    iso: int
    noisy_psnr: float
    bundled_psnr: float
    own_psnr: float
    denoised_psnr: float
    noisy_ssim: float
    denoised_ssim: float
    seconds_per_megapixel: float

    @property
    def gain(self) -> float:
        """PSNR won, in dB."""
        return self.denoised_psnr - self.noisy_psnr


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The model that was trained, what it did to captures it had not seen, and where everything lies.

    `better`: it is judged better than the bundled one, by its noisy captures alone, and so it is used.
    """

    model_id: str
    better: bool
    results: tuple[CaptureResult, ...]
    captures: Path
    models: Path
    picture: Path


@dataclass(frozen=True, slots=True)
class Simulating:
    """So many captures are taken with a camera that there is not."""

    captures: int
    camera: Camera


@dataclass(frozen=True, slots=True)
class TrainingBegun:
    """A model is trained on so many noisy captures."""

    captures: int


@dataclass(frozen=True, slots=True)
class ModelJudged:
    """The page of the new model, and the gain, in dB, of it and of the bundled one on captures held out.

    `better` is what is told by these alone: the new one is used.
    """

    page: Path
    own_gain_db: float
    bundled_gain_db: float
    better: bool


@dataclass(frozen=True, slots=True)
class DenoisingBegun:
    """So many captures are denoised that were not trained on."""

    captures: int


DemoEvent = Simulating | TrainingBegun | Progress | ModelJudged | DenoisingBegun


def ignore(event: DemoEvent) -> None:
    """Take no note of an event."""


def run_demo(
    output: Path,
    *,
    minutes: float = 2.5,
    seed: int = 0,
    on_event: Callable[[DemoEvent], None] = ignore,
    plan: DemoPlan = DemoPlan(),
) -> DemoResult:
    """Run the demo in the folder `output`.

    Raises:
        OutputError: the folder cannot be written.
        TrainingError: as `train`; Ctrl-C leaves a checkpoint, and the same command goes on from there.
    """
    camera = plan.camera.resize(*plan.size)
    counts = plan.training_captures, plan.unseen_captures, plan.clean_captures
    on_event(Simulating(sum(counts), camera.camera))
    numbers = iter(range(sum(counts)))

    def take(folder: str, count: int, isos: Sequence[int]) -> list[tuple[Path, Mosaic]]:
        return [
            _take(output / folder, index, camera, isos[index % len(isos)], plan.exposure, seed)
            for index in islice(numbers, count)
        ]

    training = [path for path, _ in take("captures", plan.training_captures, plan.isos)]
    unseen = take("unseen", plan.unseen_captures, plan.isos)
    take("base-iso", plan.clean_captures, (plan.clean_iso,))

    on_event(TrainingBegun(len(training)))
    options = TrainingOptions(minutes=minutes, crops=plan.crops, seed=seed)
    trained = _train(training, output, options, on_event)

    on_event(DenoisingBegun(len(unseen)))
    denoised = [_denoise(path, clean, trained, output / "denoised") for path, clean in unseen]
    results = tuple(result for result, _ in denoised)
    picture = output / "before-after.png"
    draw_examples([example for _, example in denoised], picture)
    return DemoResult(
        trained.model.card.id, trained.better, results, output / "captures", output / "models", picture
    )


def _take(
    folder: Path, index: int, camera: SimulatedCamera, iso: int, exposure: float, seed: int
) -> tuple[Path, Mosaic]:
    """Take one capture, write it as a DNG, and give its path and its clean mosaic."""
    rng = np.random.default_rng([seed, index, DEMO_SEED])  # no scene that a base was trained on
    scene = np.float32(exposure) * make_scene(camera.active.height, camera.active.width, rng)
    noisy, clean = capture(scene, camera, iso, rng)
    path = folder / f"scene{index:02}-iso{iso}.dng"
    write_dng(noisy, path, provenance=UNTOUCHED)
    return path, clean


def _train(
    paths: list[Path], output: Path, options: TrainingOptions, on_event: Callable[[DemoEvent], None]
) -> Trained:
    """Train as `rawdenoise train` does, but into a store of the demo's own, and with the result kept."""

    def on_training(event: Event) -> None:
        if isinstance(event, Progress):
            on_event(event)

    (captures,) = gather_captures(paths)
    bundled, models, scratch = load_bundled(options.net), ModelStore(output / "models"), output / "training"
    trained = train_and_keep(
        CameraTraining(captures, options, bundled), models, scratch=scratch, rival=bundled,
        keep_if_worse=True, on_event=on_training,
    ).trained  # fmt: skip
    assert trained is not None
    assert trained.before is not None
    shutil.rmtree(scratch, ignore_errors=True)
    page = models.folder / trained.model.card.id / PAGE
    on_event(ModelJudged(page, trained.risk.gain_db, trained.before.gain_db, trained.better))
    return trained


def _denoise(path: Path, clean: Mosaic, trained: Trained, folder: Path) -> tuple[CaptureResult, Example]:
    """Denoise one file as `rawdenoise denoise` does, and compare with what is known of it."""
    raw = read_raw(path)
    bundled = load_bundled(trained.model.card.net)
    used, other = (trained.model, bundled) if trained.better else (bundled, trained.model)
    start = time.perf_counter()
    denoised = denoise(raw, used)
    elapsed_s = time.perf_counter() - start
    output = write(denoised, folder / path.name)
    # In whole DN, as a mosaic is: that is 80 dB away from the exact values, far from any result here.
    truth = pack(replace(raw, mosaic=np.rint(clean).astype(np.uint16)))
    before, after = pack(raw), pack(denoised.image)
    used_psnr, other_psnr = psnr(after, truth), psnr(pack(denoise(raw, other).image), truth)
    own_psnr, bundled_psnr = (used_psnr, other_psnr) if trained.better else (other_psnr, used_psnr)
    result = CaptureResult(
        output=output,
        iso=raw.exposure.iso or 0,
        noisy_psnr=psnr(before, truth),
        bundled_psnr=bundled_psnr,
        own_psnr=own_psnr,
        denoised_psnr=used_psnr,
        noisy_ssim=ssim(before, truth),
        denoised_ssim=ssim(after, truth),
        seconds_per_megapixel=elapsed_s / (raw.active.height * raw.active.width / 1e6),
    )
    labels = (
        f"ISO {result.iso}, noisy: {result.noisy_psnr:.1f} dB",
        f"denoised: {result.denoised_psnr:.1f} dB",
    )
    return result, Example(before, after, truth, raw.color, labels)
