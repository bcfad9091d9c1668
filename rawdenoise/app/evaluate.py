"""Models measured on SIDD's raw blocks: what is asked for, the figures, and the benchmark's submission."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rawdenoise import __version__
from rawdenoise.app.stores import Stores
from rawdenoise.atomic import check_output, write_bytes
from rawdenoise.evaluation.sidd_blocks import (
    BENCHMARK,
    FULL_SET,
    NOISY,
    Blocks,
    check_submission,
    describe_blocks,
    find_file,
    read_blocks,
    read_validation,
    write_submission,
)
from rawdenoise.evaluation.sidd_scenes import Scene, find_scenes
from rawdenoise.evaluation.sidd_scores import (
    MEGAPIXEL,
    Figures,
    SceneDenoiser,
    SceneResult,
    choose_models,
    evaluate,
    make_denoiser,
    summarize,
    summarize_cameras,
)

OVERALL = "all"
NOT_FULL = f"this is not the full set ({' x '.join(map(str, FULL_SET))})"
COLUMNS = (
    "camera", "scenes", "blocks", "noisy dB", "dB", "gain", "noisy SSIM", "SSIM", "s/MP", "model",
    "noise from",
)  # fmt: skip
BLOCK_COLUMNS = (
    "scene", "camera", "block", "noisy_psnr", "psnr", "noisy_ssim", "ssim", "model", "noise",
)  # fmt: skip

SceneReport = Callable[[str, int, int], None]
"""What is told of a scene that is done: its name, how many are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Submission:
    """Where a submission goes, and what it says of the method, by the benchmark's names."""

    output: Path
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to measure models on, and what to make of it.

    `data` is the folder of SIDD's files of blocks, `scenes` a list of the names of its scenes. One of
    `models` (ids) serves all phones, several each their own, none those of the store; phones without one get
    the `bundled` one. `limit_blocks` is how many blocks of a scene are denoised. The figures of each block
    go into the file `csv` too, and the benchmark's blocks into a `submission`.
    """

    data: Path
    models: tuple[str, ...] = ()
    bundled: str = "fast"
    scenes: Path | None = None
    limit_blocks: int | None = None
    device: str = "auto"
    csv: Path | None = None
    submission: Submission | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ValidationSet:
    """The validation's blocks and their scenes; `is_full` where they are all that SIDD publishes."""

    title: str
    noisy: Blocks
    clean: Blocks
    scenes: tuple[Scene, ...]
    is_full: bool


@dataclass(frozen=True, slots=True)
class Validation:
    """The figures of a validation: scene by scene, of each camera, and overall."""

    title: str
    is_full: bool
    results: tuple[SceneResult, ...]
    cameras: tuple[Figures, ...]
    overall: Figures

    @property
    def heading(self) -> str:
        """What the figures are of."""
        return self.title if self.is_full else f"{self.title} (a part, or another set)"

    def rows(self) -> list[tuple[str, ...]]:
        """The figures of each camera and of all as rows of `COLUMNS`."""
        return [_row(figures) for figures in (*self.cameras, self.overall)]

    def as_json(self) -> dict[str, object]:
        """Give the figures as JSON's own types."""
        return {
            "data": self.title,
            "full_set": self.is_full,
            "cameras": [_figures_json(camera) for camera in self.cameras],
            "overall": _figures_json(self.overall),
        }

    def write_csv(self, output: Path) -> None:
        """Write the figures of each block.

        Raises:
            OutputError: the file system refuses.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(BLOCK_COLUMNS)
        for result in self.results:
            for block, score in enumerate(result.scores):
                writer.writerow(
                    (result.scene.name, result.scene.code, block, f"{score.noisy_psnr:.4f}",
                     f"{score.psnr:.4f}", f"{score.noisy_ssim:.6f}", f"{score.ssim:.6f}", result.model_id,
                     result.noise_from.value)
                )  # fmt: skip
        write_bytes(output, text.getvalue().encode())


def choose_denoiser(request: EvaluationRequest, stores: Stores) -> SceneDenoiser:
    """Choose the models; what could not be written in the end is refused now.

    Raises:
        OutputError: the submission cannot be written. SetupError: what it needs, or the device, is absent.
        ModelError: a model is missing or broken.
    """
    if request.submission is not None:
        check_submission(request.submission.output)
    models = choose_models(request.models, stores.models, bundled=request.bundled, device=request.device)
    return make_denoiser(models, stores.profiles, device=request.device, limit=request.limit_blocks)


def read_validation_set(request: EvaluationRequest) -> ValidationSet | None:
    """Read the validation's blocks; None where there are none, and a submission is all that is asked for.

    Raises:
        FileError: they cannot be read, or their scenes not be named. OutputError: the figures of each block
            cannot be written.
    """
    if request.submission is not None and not any(request.data.rglob(f"{NOISY}.mat")):
        return None
    if request.csv is not None:
        check_output(request.csv)
    noisy, clean = read_validation(request.data)
    scenes = find_scenes(request.data, len(noisy), request.scenes)
    is_full = noisy.shape == FULL_SET and request.limit_blocks is None
    return ValidationSet(describe_blocks(request.data), noisy, clean, scenes, is_full)


def validate(
    blocks: ValidationSet, denoise: SceneDenoiser, *, on_scene: SceneReport = lambda name, done, count: None
) -> Validation:
    """Denoise scene after scene and compare with the truth."""
    results: list[SceneResult] = []
    for result in evaluate(blocks.noisy, blocks.clean, blocks.scenes, denoise):
        results.append(result)
        on_scene(result.scene.name, len(results), len(blocks.scenes))
    return Validation(
        blocks.title,
        blocks.is_full,
        tuple(results),
        summarize_cameras(results),
        summarize(results, OVERALL),
    )


def denoise_benchmark(
    request: EvaluationRequest,
    submission: Submission,
    denoise: SceneDenoiser,
    *,
    on_scene: SceneReport = lambda name, done, count: None,
) -> None:
    """Denoise the benchmark's blocks, whose truth is kept from us, and write what is handed in.

    Raises:
        FileError: they cannot be read, or their scenes not be named. OutputError: the file system refuses.
    """
    noisy = read_blocks(find_file(request.data, BENCHMARK))
    scenes = find_scenes(request.data, len(noisy), request.scenes)
    denoised, seconds, models = np.empty_like(noisy), 0.0, set()
    for index, (blocks, scene) in enumerate(zip(noisy, scenes, strict=True)):
        result = denoise(blocks, scene)
        denoised[index] = result.blocks
        seconds += result.seconds
        models.add(result.model_id)
        on_scene(scene.name, index + 1, len(scenes))
    method = f"rawdenoise {__version__} ({', '.join(sorted(models))})"
    write_submission(
        submission.output,
        denoised,
        seconds_per_megapixel=seconds * MEGAPIXEL / noisy.size,
        about={"MethodName": method, **submission.about},
    )


def _row(figures: Figures) -> tuple[str, ...]:
    gain = figures.psnr - figures.noisy_psnr
    return (
        figures.name, str(figures.scenes), str(figures.blocks), f"{figures.noisy_psnr:.2f}",
        f"{figures.psnr:.2f}", f"{gain:+.2f}", f"{figures.noisy_ssim:.4f}", f"{figures.ssim:.4f}",
        f"{figures.seconds_per_megapixel:.2f}", ", ".join(figures.models), ", ".join(figures.noise_from),
    )  # fmt: skip


def _figures_json(figures: Figures) -> dict[str, object]:
    """Figures for JSON, which knows no infinity: the PSNR of equal blocks."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(figures).items()
    }
