"""The whole of it on a simulated camera, whose clean mosaics are known: capture, train, denoise, measure."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from rawdenoise import __version__
from rawdenoise.app.train import train_and_keep
from rawdenoise.app.training_events import Event
from rawdenoise.atomic import atomic_output
from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import Color, Provenance
from rawdenoise.capture.srgb import encoded_srgb
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng import write_dng
from rawdenoise.formats.preview import camera_to_srgb
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.store import PAGE, ModelStore
from rawdenoise.pipeline import denoise, write
from rawdenoise.quality.metrics import psnr, ssim
from rawdenoise.simulation.camera import SIMULATED_IMX385, SimulatedCamera, capture
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training.camera import Trained
from rawdenoise.training.camera_training import CameraTraining
from rawdenoise.training.captures import scan
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress

Planes = Float32[np.ndarray, "4 h w"]
Mosaic = Float32[np.ndarray, "h w"]
Picture = UInt8[np.ndarray, "h w 3"]
DEMO = 1  # sets the demo's scenes apart from those that the bundled models have seen
UNTOUCHED = Provenance(version=__version__, method="none", strength=0.0)
COLUMNS = "capture", "ISO", "noisy dB", "bundled", "own model", "gain", "SSIM", "s/MP"
HEADER = "{:<18}{:>6}{:>10}{:>9}{:>11}{:>7}{:>15}{:>7}".format(*COLUMNS)


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

    `base_psnr` and `own_psnr` are those of the bundled model and of the camera's own; `denoised_psnr` is that
    of the one of them which `denoise` would take.
    """

    output: Path
    iso: int
    noisy_psnr: float
    base_psnr: float
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


@dataclass(frozen=True, slots=True, eq=False)
class _Example:
    """An unseen capture, noisy, denoised and clean."""

    result: CaptureResult
    noisy: Planes
    denoised: Planes
    clean: Planes
    color: Color


def run_demo(
    output: Path,
    *,
    minutes: float = 2.5,
    seed: int = 0,
    on_line: Callable[[str], None] = print,
    plan: DemoPlan = DemoPlan(),
) -> DemoResult:
    """Run the demo in the folder `output`, telling each step and at last a table through `on_line`.

    Raises:
        OutputError: the folder cannot be written.
        TrainingError: as `train`; Ctrl-C leaves a checkpoint, and the same command goes on from there.
    """
    camera = plan.camera.resized(*plan.size)
    counts = plan.training_captures, plan.unseen_captures, plan.clean_captures
    on_line(f"1. Simulating {sum(counts)} captures of a {camera.camera.name}")
    numbers = iter(range(sum(counts)))

    def taken(folder: str, count: int, isos: Sequence[int]) -> list[tuple[Path, Mosaic]]:
        return [
            _take(output / folder, index, camera, isos[index % len(isos)], plan.exposure, seed)
            for index in islice(numbers, count)
        ]

    seen = [path for path, _ in taken("captures", plan.training_captures, plan.isos)]
    unseen = taken("unseen", plan.unseen_captures, plan.isos)
    taken("base-iso", plan.clean_captures, (plan.clean_iso,))

    on_line(f"2. Training on {len(seen)} noisy captures, without any clean one")
    trained = _train(seen, output, TrainingOptions(minutes=minutes, crops=plan.crops, seed=seed), on_line)

    on_line(f"3. Denoising {len(unseen)} captures it has not seen")
    examples = [_denoise(path, clean, trained, output / "denoised") for path, clean in unseen]
    picture = output / "before-after.png"
    _save_png(_before_after(examples), picture)

    results = tuple(example.result for example in examples)
    _report(results, on_line)
    on_line(f"captures    {output / 'captures'}")
    on_line(f"base ISO    {output / 'base-iso'} (to try: rawdenoise train --method unpaired)")
    on_line(f"denoised    {output / 'denoised'}")
    on_line(f"picture     {picture} (noisy, denoised, clean)")
    return DemoResult(
        trained.model.card.id, trained.better, results, output / "captures", output / "models", picture
    )


def _take(
    folder: Path, index: int, camera: SimulatedCamera, iso: int, exposure: float, seed: int
) -> tuple[Path, Mosaic]:
    """Take one capture, write it as a DNG, and give its path and its clean mosaic."""
    rng = np.random.default_rng([seed, index, DEMO])  # no scene that a base was trained on
    scene = np.float32(exposure) * make_scene(camera.active.height, camera.active.width, rng)
    noisy, clean = capture(scene, camera, iso, rng)
    path = folder / f"scene{index:02}-iso{iso}.dng"
    write_dng(noisy, path, provenance=UNTOUCHED)
    return path, clean


def _train(
    paths: list[Path], output: Path, options: TrainingOptions, on_line: Callable[[str], None]
) -> Trained:
    """Train as `rawdenoise train` does, but into a store of the demo's own, and with the result kept."""
    (captures,) = scan(paths)
    bundled, models, scratch = load_bundled(options.net), ModelStore(output / "models"), output / "training"
    trained = train_and_keep(
        CameraTraining(captures, options, bundled), models, scratch=scratch, rival=bundled,
        keep_if_worse=True, on_event=_every_tenth(on_line),
    ).trained  # fmt: skip
    assert trained is not None
    shutil.rmtree(scratch, ignore_errors=True)
    on_line(f"   its card: {models.folder / trained.model.card.id / PAGE}")
    on_line(f"   judged by noisy captures held out: {_verdict(trained)}")
    return trained


def _verdict(trained: Trained) -> str:
    assert trained.before is not None
    own, bundled = trained.risk.gain_db, trained.before.gain_db
    used = "better, and used" if trained.better else "not surely better, so the bundled model is used"
    return f"own model {own:+.2f} dB, bundled {bundled:+.2f} dB; {used}"


def _every_tenth(on_line: Callable[[str], None]) -> Callable[[Event], None]:
    """Turn the stream of progress into a line for every tenth of the training."""
    told = 0

    def on_event(event: Event) -> None:
        nonlocal told
        if not isinstance(event, Progress) or event.stage != "training":
            return
        tenth = int(10 * event.done)
        if tenth > told:
            told = tenth
            left = "" if not event.remaining_s else f", {event.remaining_s:.0f} s left"
            on_line(f"   {10 * tenth} %: {event.crops} crops{left}")

    return on_event


def _denoise(path: Path, clean: Mosaic, trained: Trained, folder: Path) -> _Example:
    """Denoise one file as `rawdenoise denoise` does, and compare with what is known of it."""
    raw = read_raw(path)
    base = load_bundled(trained.model.card.net)
    used, other = (trained.model, base) if trained.better else (base, trained.model)
    start = time.perf_counter()
    denoised = denoise(raw, used)
    elapsed_s = time.perf_counter() - start
    output = write(denoised, folder / path.name)
    # In whole DN, as a mosaic is: that is 80 dB away from the exact values, far from any result here.
    truth = pack(replace(raw, mosaic=np.rint(clean).astype(np.uint16)))
    before, after = pack(raw), pack(denoised.image)
    used_psnr, other_psnr = psnr(after, truth), psnr(pack(denoise(raw, other).image), truth)
    own_psnr, base_psnr = (used_psnr, other_psnr) if trained.better else (other_psnr, used_psnr)
    result = CaptureResult(
        output=output,
        iso=raw.exposure.iso or 0,
        noisy_psnr=psnr(before, truth),
        base_psnr=base_psnr,
        own_psnr=own_psnr,
        denoised_psnr=used_psnr,
        noisy_ssim=ssim(before, truth),
        denoised_ssim=ssim(after, truth),
        seconds_per_megapixel=elapsed_s / (raw.active.height * raw.active.width / 1e6),
    )
    return _Example(result, before, after, truth, raw.color)


def _report(results: tuple[CaptureResult, ...], on_line: Callable[[str], None]) -> None:
    on_line("")
    on_line(HEADER)
    for result in results:
        on_line(
            f"{result.output.stem:<18}{result.iso:>6}{result.noisy_psnr:>10.2f}{result.base_psnr:>9.2f}"
            f"{result.own_psnr:>11.2f}"
            f"{result.gain:>+7.2f}{result.noisy_ssim:>7.3f} > {result.denoised_ssim:.3f}"
            f"{result.seconds_per_megapixel:>7.2f}"
        )
    on_line("")


# ---------------------------------------------------------------- the picture


def _before_after(examples: list[_Example], *, side: int = 192, zoom: int = 2) -> Picture:
    """One row per capture: noisy, denoised and clean, at the place with most detail."""
    return np.concatenate([_row(example, side, zoom) for example in examples], axis=0)


def _row(example: _Example, side: int, zoom: int) -> Picture:
    window = _busiest(example.clean, side)
    versions = (example.noisy, example.denoised, example.clean)
    scale = 0.9 / max(float(np.quantile(example.clean[:, *window], 0.99)), 1e-3)
    crops = [_rendered(planes[:, *window], example.color, scale) for planes in versions]
    wide = np.concatenate(crops, axis=1).repeat(zoom, axis=0).repeat(zoom, axis=1)
    result = example.result
    labels = (
        f"ISO {result.iso}, noisy: {result.noisy_psnr:.1f} dB",
        f"denoised: {result.denoised_psnr:.1f} dB",
        "clean",
    )
    return _labelled(wide, labels)


def _busiest(planes: Planes, side: int) -> tuple[slice, slice]:
    """Find the square of `side` packed pixels (or all there is) with most detail, in steps of half a side."""
    green = np.sqrt(np.maximum(planes[1], 0))
    detail = np.abs(green[1:, 1:] - green[:-1, :-1])
    height, width = planes.shape[1:]
    rows = range(0, max(1, height - side + 1), max(1, side // 2))
    columns = range(0, max(1, width - side + 1), max(1, side // 2))
    windows = [(slice(row, row + side), slice(column, column + side)) for row in rows for column in columns]
    return max(windows, key=lambda window: float(detail[window].mean()))


def _rendered(planes: Planes, color: Color, scale: float) -> Picture:
    """Render packed planes, a pixel for every CFA cell: white balance, colour matrix, sRGB's tone curve."""
    camera = np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]], axis=-1)
    balanced = np.minimum(camera / np.array(color.neutral, np.float32), 1 / scale) * np.float32(scale)
    linear = np.clip(balanced @ camera_to_srgb(color).T.astype(np.float32), 0, 1)
    return np.asarray(np.rint(255 * encoded_srgb(linear)), dtype=np.uint8)


def _labelled(row: Picture, labels: tuple[str, ...]) -> UInt8[np.ndarray, "h2 w 3"]:
    """Write a line over each of the pictures that stand side by side."""
    band = Image.new("RGB", (row.shape[1], 22), (24, 24, 24))
    pen = ImageDraw.Draw(band)
    for index, label in enumerate(labels):
        place = (index * row.shape[1] // len(labels) + 6, 4)
        pen.text(place, label, fill=(235, 235, 235), font=ImageFont.load_default(13))
    return np.concatenate([np.asarray(band), row], axis=0)


def _save_png(picture: Picture, path: Path) -> None:
    with atomic_output(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
