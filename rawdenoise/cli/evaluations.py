"""What `rawdenoise evaluate` does and says: progress, tables, files of figures."""

from __future__ import annotations

import csv as csv_files
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from rawdenoise import __version__
from rawdenoise.atomic import check_output, write_bytes
from rawdenoise.cli.text import counted, one_line
from rawdenoise.evaluation.blocks import (
    ABOUT,
    BENCHMARK,
    FULL_SET,
    check_submission,
    found,
    read_blocks,
    read_validation,
    title,
    write_submission,
)
from rawdenoise.evaluation.scenes import find_scenes
from rawdenoise.evaluation.sidd import (
    MEGAPIXEL,
    Figures,
    SceneDenoiser,
    SceneResult,
    evaluate,
    figures,
    figures_by_camera,
)

OVERALL = "all"
HEADINGS = (
    "camera", "scenes", "blocks", "noisy dB", "dB", "gain", "noisy SSIM", "SSIM", "s/MP", "model",
    "noise from",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Submission:
    """Where a submission goes, and what it says of the method."""

    output: Path
    about: dict[str, str]

    def __post_init__(self) -> None:
        check_submission(self.output)


def parsed_about(entries: Iterable[str]) -> dict[str, str]:
    """Take NAME=TEXT apart.

    Raises:
        click.UsageError: it is not that, or the benchmark knows no such name.
    """
    said = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals or name not in ABOUT:
            raise click.UsageError(
                f"--about {one_line(entry)}: give one of {', '.join(ABOUT)}, as in Venue=none"
            )
        said[name] = text
    return said


def validate(
    data: Path,
    names: Path | None,
    denoise: SceneDenoiser,
    *,
    limited: bool,
    csv: Path | None,
    as_json: bool,
) -> None:
    """Evaluate on the validation blocks of a folder and print the figures."""
    if csv is not None:
        check_output(csv)
    noisy, clean = read_validation(data)
    scenes = find_scenes(data, len(noisy), names)
    full_set = noisy.shape == FULL_SET and not limited
    if not full_set:
        size = " x ".join(map(str, FULL_SET))
        click.echo(f"note: this is not the full set ({size}): no figures to publish", err=True)
    results = []
    for result in evaluate(noisy, clean, scenes, denoise):
        results.append(result)
        _progress("validation", result.scene.name, len(results), len(scenes))
    cameras, overall = figures_by_camera(results), figures(results, OVERALL)
    name, part = title(data), "" if full_set else " (a part, or another set)"
    if as_json:
        click.echo(json.dumps(_json(name, full_set, cameras, overall), indent=2))
    else:
        _table(name + part, (*cameras, overall))
    if csv is not None:
        write_bytes(csv, _csv(results).encode())


def submit(data: Path, names: Path | None, denoise: SceneDenoiser, submission: Submission) -> None:
    """Denoise the benchmark's blocks, whose truth is kept from us, and write what is handed in."""
    noisy = read_blocks(found(data, BENCHMARK))
    scenes = find_scenes(data, len(noisy), names)
    denoised, seconds, models = np.empty_like(noisy), 0.0, set()
    for index, (blocks, scene) in enumerate(zip(noisy, scenes, strict=True)):
        result = denoise(blocks, scene)
        denoised[index] = result.blocks
        seconds += result.seconds
        models.add(result.model_id)
        _progress("benchmark", scene.name, index + 1, len(scenes))
    method = f"rawdenoise {__version__} ({', '.join(sorted(models))})"
    write_submission(
        submission.output,
        denoised,
        seconds_per_megapixel=seconds * MEGAPIXEL / noisy.size,
        about={"MethodName": method, **submission.about},
    )
    click.echo(f"wrote {one_line(submission.output)}", err=True)


def _progress(what: str, scene: str, done: int, count: int) -> None:
    click.echo(f"{what}: {done} of {counted(count, 'scene')} ({scene})", err=True)


def _table(title: str, rows: Sequence[Figures]) -> None:
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    click.echo(one_line(title))
    for row in cells:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _cells(row: Figures) -> tuple[str, ...]:
    gain = row.psnr - row.noisy_psnr
    return (
        row.name, str(row.scenes), str(row.blocks), f"{row.noisy_psnr:.2f}", f"{row.psnr:.2f}",
        f"{gain:+.2f}", f"{row.noisy_ssim:.4f}", f"{row.ssim:.4f}", f"{row.seconds_per_megapixel:.2f}",
        ", ".join(map(one_line, row.models)), ", ".join(row.noise_from),
    )  # fmt: skip


def _json(title: str, full_set: bool, cameras: Sequence[Figures], overall: Figures) -> dict[str, object]:
    return {
        "data": title,
        "full_set": full_set,
        "cameras": [_finite(camera) for camera in cameras],
        "overall": _finite(overall),
    }


def _finite(row: Figures) -> dict[str, object]:
    """A row for JSON, which knows no infinity: the PSNR of equal blocks."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(row).items()
    }


def _csv(results: Sequence[SceneResult]) -> str:
    text = io.StringIO()
    writer = csv_files.writer(text, lineterminator="\n")
    writer.writerow(
        ("scene", "camera", "block", "noisy_psnr", "psnr", "noisy_ssim", "ssim", "model", "noise")
    )
    for result in results:
        for block, score in enumerate(result.scores):
            writer.writerow(
                (result.scene.name, result.scene.code, block, f"{score.noisy_psnr:.4f}", f"{score.psnr:.4f}",
                 f"{score.noisy_ssim:.6f}", f"{score.ssim:.6f}", result.model_id, result.noise_from.value)
            )  # fmt: skip
    return text.getvalue()
