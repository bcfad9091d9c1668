"""Photographs as scenes, and cameras of published calibrations that take them.

Photographs are taken in linear light and at half size, which does away with most of JPEG's traces. What the
table of calibrations (K in DN per electron, sigmas in DN) does not say of a camera is taken from the one it
says most of, the Sony A7S2: a row noise of a tenth of the read noise, and long tails.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from jaxtyping import Float32
from numpy.random import Generator
from PIL import Image

from rawdenoise.calibration import calibrate_from_frames
from rawdenoise.capture.raw import Area, Camera, Cfa
from rawdenoise.capture.srgb import decode_srgb
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.tukey import tukey_lambda_deviation
from rawdenoise.simulation.simulated_camera import (
    SIMULATED_IMX385,
    SensorNoise,
    SimulatedCamera,
    light_evenly,
)

SUFFIXES = (".jpg", ".jpeg", ".png")
ENTRIES = {
    "A7S2": ("SonyA7S2_PNNP", 14, (400, 1600, 6400, 25600)),
    "IMX385": ("IMX385_CRVD_PNNP", 12, (3200, 12800)),
    "IMX686": ("IMX686_PNNP", 10, (6400,)),
}
PHONE, PHONE_ENTRY, PHONE_BITS = "PMRID", "PMRID_OppoReno10x", 10
TAIL, ROW_SHARE = -0.05, 0.1
DARKS, EXPOSURES, FLAT_SIZE = 4, 6, (600, 400)  # of a calibration from frames

Scene = Float32[np.ndarray, "h w 3"]


# ---------------------------------------------------------------- photographs


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by name."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise click.UsageError(f"{folder}: no pictures ({', '.join(SUFFIXES)}) here")
    return pictures


def digest(paths: Sequence[Path]) -> str:
    """Names and sizes of files, in a few letters."""
    whole = "\n".join(f"{path.name} {path.stat().st_size}" for path in paths)
    return hashlib.sha256(whole.encode()).hexdigest()[:8]


def linear_half(path: Path) -> Scene:
    """A picture in linear sRGB at half size, both sides even."""
    with Image.open(path) as image:
        encoded = np.asarray(image.convert("RGB"), np.float32) / 255
    linear = decode_srgb(encoded)
    height, width = (length // 4 * 2 for length in linear.shape[:2])
    halves = linear[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
    return halves.mean(axis=(1, 3)).astype(np.float32)


def contact_sheet(paths: Sequence[Path], columns: int, size: tuple[int, int]) -> Scene:
    """Pictures side by side in rows of so many, each on its side and cut to a height and a width."""
    height, width = size
    scenes = [linear_half(path) for path in paths]
    scenes = [scene.transpose(1, 0, 2) if scene.shape[0] > scene.shape[1] else scene for scene in scenes]
    scenes = [scene[:height, :width] for scene in scenes]
    rows = [np.concatenate(scenes[at : at + columns], axis=1) for at in range(0, len(scenes), columns)]
    return np.concatenate(rows, axis=0)


# ---------------------------------------------------------------- cameras


def published_camera(table: Path, name: str, isos: Sequence[int], width: int, height: int) -> SimulatedCamera:
    """One camera, or the phone, at any of its ISOs, `width` x `height` lit pixels."""
    entries = json.loads(table.read_text())
    key, bits, _ = (PHONE_ENTRY, PHONE_BITS, ()) if name == PHONE else ENTRIES[name]
    entry = _phone(entries[key], isos) if name == PHONE else entries[key]
    return SimulatedCamera(
        camera=Camera("Simulated", name),
        cfa=Cfa.RGGB,
        size=(width, height),
        active=Area(0, 0, height, width),
        black=float(entry["black"]),
        white=float(entry["white"]),
        bits=bits,
        color_matrix=SIMULATED_IMX385.color_matrix,
        noise={iso: _noise(entry["iso"][str(iso)]) for iso in isos},
    )


def published_cameras(table: Path, width: int, height: int) -> list[SimulatedCamera]:
    """The cameras of the table at the ISOs that are simulated, `width` x `height` lit pixels each."""
    return [published_camera(table, name, isos, width, height) for name, (_, _, isos) in ENTRIES.items()]


def _phone(entry: Mapping[str, Any], isos: Sequence[int]) -> dict[str, Any]:
    """Gain and read variance by the formulae that are published for the phone (PMRID's k-sigma transform)."""
    white = 2**PHONE_BITS - 1
    gain, variance = entry["K(iso)"], entry["sigma2(iso)"]
    figures = {
        str(iso): {"K": _polynomial(gain, iso), "read_var": _polynomial(variance, iso)} for iso in isos
    }
    return {"black": white - entry["V"], "white": white, "iso": figures}


def _polynomial(formula: str, iso: int) -> float:
    """Take the value of a sum of terms like `2e-7*iso^2`, `3e-4*iso` and `.1`."""
    total = 0.0
    for term in formula.split("+"):
        factor, variable, power = term.partition("*iso")
        total += float(factor) * float(iso) ** (int(power.removeprefix("^") or 1) if variable else 0)
    return total


def _noise(figures: Mapping[str, float]) -> SensorNoise:
    if "sigma_TL" in figures:
        return SensorNoise(figures["K"], figures["sigma_TL"], figures["sigma_row"], figures["lam"])
    sigma = figures["sigma_gauss"] if "sigma_gauss" in figures else figures["read_var"] ** 0.5
    row = figures.get("sigma_row", ROW_SHARE * sigma)
    return SensorNoise(figures["K"], sigma / tukey_lambda_deviation(TAIL), row, TAIL)


# ---------------------------------------------------------------- what is known of their noise


def true_noise(camera: SimulatedCamera, iso: int, *, rows_and_tail: bool = True) -> NoiseModel:
    """The noise the simulation puts in, on the packed scale, rounding to whole DN included."""
    figures, span = camera.noise[iso], camera.white - camera.black
    read = (figures.read_deviation**2 + 1 / 12) / span**2
    noise = NoiseModel((figures.gain / span,) * 4, (read,) * 4)
    if not rows_and_tail:
        return noise
    row_variance = (figures.row_sigma / span) ** 2
    return replace(noise, row_variance=row_variance, step=1 / span, tail=figures.read_lambda)


def calibrated_noise(camera: SimulatedCamera, iso: int, rng: Generator) -> NoiseModel:
    """The noise as darks and flats tell it."""
    camera, levels = camera.resize(*FLAT_SIZE), np.geomspace(0.02, 0.6, EXPOSURES)
    (point,) = calibrate_from_frames(
        [light_evenly(camera, iso, 0, rng) for _ in range(DARKS)],
        [light_evenly(camera, iso, level, rng, exposure_s=level) for level in levels for _ in range(2)],
    )
    return point.noise


def scale_noise(noise: NoiseModel, factor: float, *, rows: bool = False) -> NoiseModel:
    """A noise model with so many times the variance, that of the rows included or not."""
    shot, read = (tuple(factor * v for v in values) for values in (noise.shot, noise.read_variance))
    row_variance = factor * noise.row_variance if rows else noise.row_variance
    return replace(noise, shot=shot, read_variance=read, row_variance=row_variance)
