"""Real noise: train on a camera's captures, denoise a burst of a static scene, compare with its mean."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from lab.captures import Planes
from lab.data import digest
from lab.report import Page, markdown
from lab.store import Lab
from lab.table import COUNT, FOLDER, option, table
from scipy.ndimage import gaussian_filter

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import ModelMissingError
from rawdenoise.formats import read_raw
from rawdenoise.formats.output_levels import OutputLevels, scale_levels
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.model import Model
from rawdenoise.nets import NETS
from rawdenoise.pipeline import denoise, denoise_planes, find_noise
from rawdenoise.quality.metrics import psnr
from rawdenoise.recipe import Recipe
from rawdenoise.training import CameraTraining, TrainingOptions, gather_captures, train

SCALE = 64  # of the reference
BLURS = (1, 2, 4)  # sigmas, packed pixels
MOVED = "its mean moved by, DN"
PROFILES = user_stores().profiles  # as `rawdenoise train` and `denoise` have them


@table("imx296", {
    "docs/quality.md: a real camera, ten minutes from the bundled base; README.md": "",
    "docs/quality.md: a real camera, from nothing": "--from-nothing",
})  # fmt: skip
@option("--captures", type=FOLDER, help="  [default: imx296 of --data]")
@option("--minutes", default=10.0)
@option("--images", type=COUNT, help="crops to train on, instead of a time")
@option("--net", type=click.Choice(list(NETS)), default="fast")
@option("--from-nothing", is_flag=True, help="do not start from the bundled base")
@option("--seed", default=0)
def imx296(
    lab: Lab, captures: Path | None, minutes: float, images: int | None, net: str, from_nothing: bool,
    seed: int,
) -> Page:  # fmt: skip
    """Real noise: train on one camera's captures, denoise a burst of a static scene, compare with its mean.

    The folder holds `train/*.dng`, `burst/*.dng` and `burst/reference_mean58_x64.npy`: the mean of 58 other
    frames of the burst, times 64, in DN, black included. The peak of the PSNR is the 99.9th percentile of the
    reference above black. "Aligned" gives each plane the reference's mean light: the lamp drifted.
    """
    folder = captures or lab.data / "imx296"
    base = _bundled(net)
    options = TrainingOptions(net=net, minutes=minutes, crops=images, seed=seed)
    start = None if from_nothing else base
    settings = {
        "kind": "imx296", "net": net, "minutes": None if images else minutes, "images": images,
        "seed": seed, "start": start and start.card.weights_sha256, "base": base and base.card.weights_sha256,
        "captures": digest(sorted(folder.glob("*/*.*"))),
    }  # fmt: skip

    def measure() -> object:
        chosen = _train(folder / "train", options, start)
        return {
            "model": chosen.card.id,
            "of": dict(chosen.card.figures),
            **_compare(chosen, base, folder / "burst"),
        }

    result = lab.result(settings, measure)
    if result is None:
        return Page("")
    figures = ", ".join(f"{name} {value:g}" for name, value in result["of"].items())
    frames: Mapping[str, Mapping[str, float]] = result["frames"]
    columns = list(next(iter(frames.values())))
    rows = [[name, *(_cell(column, frame[column]) for column in columns)] for name, frame in frames.items()]
    least = [min(frame[column] for frame in frames.values()) for column in columns if column != MOVED]
    rows.append(["minimum", *(f"{figure:.2f}" for figure in least), ""])
    return Page(markdown(["frame", *columns], rows, f"{result['model']}: {figures}"))


def _bundled(net: str) -> Model | None:
    """The base of this network, None where there is none."""
    try:
        return load_bundled(net)
    except ModelMissingError:
        return None


def _train(captures: Path, options: TrainingOptions, start: Model | None) -> Model:
    """Train on the largest group among the captures (one of them states another make and model)."""
    largest = gather_captures([captures])[0]
    with tempfile.TemporaryDirectory() as folder:
        return train(CameraTraining(largest, options, start, profiles=PROFILES), folder=Path(folder)).model


def _compare(model: Model, base: Model | None, burst: Path) -> dict[str, Any]:
    """The figures of each frame."""
    mean = np.load(burst / "reference_mean58_x64.npy")
    paths = sorted(burst.glob("*.dng"))
    return {"frames": {path.stem: _figures(read_raw(path), mean, model, base) for path in paths}}


def _cell(column: str, figure: float) -> str:
    """Write a figure as its column is read."""
    return f"{figure:+.4f}" if column == MOVED else f"{figure:.2f}"


def _figures(raw: RawImage, mean: np.ndarray, model: Model, base: Model | None) -> Mapping[str, float]:
    """PSNR (dB) of a frame as it is and by every method, and how far its mean moved (DN)."""
    noisy, reference = pack(raw), pack(replace(scale_levels(raw, SCALE), mosaic=mean))
    whole = denoise(raw, model, Recipe(levels=OutputLevels.SENSOR), profiles=PROFILES).image

    def clean(model: Model) -> Planes:
        return denoise_planes(noisy, find_noise(raw, noisy, model, PROFILES), model)

    def blur(sigma: int) -> Planes:
        return np.stack([gaussian_filter(plane, sigma) for plane in noisy])

    def align(planes: Planes) -> Planes:
        light = reference.mean(axis=(1, 2), dtype=np.float64) / planes.mean(axis=(1, 2), dtype=np.float64)
        return planes * light.astype(np.float32)[:, None, None]

    versions = {
        "noisy dB": noisy,
        **{f"blur {sigma}": blur(sigma) for sigma in BLURS},
        f"blur {BLURS[-1]}, aligned": align(blur(BLURS[-1])),
        **({} if base is None else {"base": clean(base)}),
        "denoised dB": clean(model),
        "the same, aligned": align(clean(model)),
        "written, whole DN": pack(whole),
        "written, fine": pack(denoise(raw, model, Recipe(levels=OutputLevels.FINE), profiles=PROFILES).image),
    }
    peak = float(np.percentile(reference, 99.9))
    moved = whole.mosaic.mean(dtype=np.float64) - raw.mosaic.mean(dtype=np.float64)
    return {
        **{name: psnr(planes, reference, peak=peak) for name, planes in versions.items()},
        MOVED: float(moved),
    }
