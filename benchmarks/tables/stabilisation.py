"""How well noise is stabilised, and flat fields come back, for simulated cameras."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lab.data import published_cameras, true_noise
from lab.report import Page, markdown
from lab.store import Lab
from lab.table import Size, option, table
from numpy.random import Generator

from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.noise.rows import add_rows, estimate_row_offsets
from rawdenoise.noise.stabilize import stabilize, unstabilize
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SimulatedCamera, capture, light_evenly

LEVELS = (1, 2, 3, 5, 10, 30, 100, 300)  # electrons
SCENE_LEVELS = (10, 50, 200)  # electrons of white
MOVED, MOVED_SHARE = 0.02, 5e-4  # how far a mean may move, in DN and of the signal

Rows = Sequence[Mapping[str, Any]]


@table("stabilisation", {"docs/stabilisation.md: all of its tables": ""})
@option("--size", type=Size(), default="3200x2000")
@option("--seed", default=0)
def stabilisation(lab: Lab, size: tuple[int, int], seed: int) -> Page:
    """How well noise is stabilised, and flat fields come back, for simulated cameras.

    Flat fields of each camera and ISO at each level: taken with all the noise of the simulation (Poisson,
    long tails, rows, rounding to whole DN and clipping), their row noise taken off as before denoising,
    stabilised, averaged, and inverted. The noise model knows the tails, but in the third table. The shift is
    that of the mean, in DN; allowed are 0.02 DN and 0.05 % of the signal. A fourth table is of row noise
    taken off drawn scenes, and its time.
    """
    cameras = published_cameras(lab.published, *size)
    settings = {"kind": "stabilisation", "size": size, "seed": seed}
    known, unknown = (
        lab.result(
            {**settings, "tails": tails}, lambda tails=tails: [*_flat_fields(cameras, seed, tails=tails)]
        )
        for tails in (True, False)
    )
    rows = lab.result({**settings, "of": "rows"}, lambda: [*_row_noise(cameras, seed)])
    head = ["camera", "ISO", "DN/e-", "read e-", *(f"{level} e-" for level in LEVELS)]
    row_head = ["camera", "ISO", "row DN", *(f"white at {level} e-" for level in SCENE_LEVELS), "s per 24 MP"]
    parts = [
        ("Standard deviation after stabilisation", head, known and _cells(known, "deviation")),
        ("Shift of flat fields, DN (in brackets: more than allowed)", head, known and _cells(known, "shift")),
        ("The same where the noise model takes the read noise for Gaussian", head,
         unknown and _cells(unknown, "shift")),
        ("Share of the row noise's variance that is taken off drawn scenes", row_head, rows),
    ]  # fmt: skip
    tables = [markdown(columns, lines, title) for title, columns, lines in parts if lines]
    return Page("\n\n".join(tables))


def _flat_fields(cameras: Sequence[SimulatedCamera], seed: int, *, tails: bool) -> Iterator[dict[str, Any]]:
    """Take and judge all flat fields: the deviation after stabilisation, and the shift of the mean in DN."""
    rng = np.random.default_rng(seed)
    for camera in cameras:
        for iso, sensor in camera.noise.items():
            fitting = [lv for lv in LEVELS if 1.3 * lv * sensor.gain < camera.white - camera.black]
            read = f"{sensor.read_deviation / sensor.gain:.2f}"
            yield {
                "place": [camera.camera.model, iso, f"{sensor.gain:.3g}", read],
                "flats": [_there_and_back(camera, iso, level, rng, tails=tails) for level in fitting],
            }


def _there_and_back(
    camera: SimulatedCamera, iso: int, level: int, rng: Generator, *, tails: bool
) -> dict[str, float]:
    """Take one flat field and bring it there and back."""
    gain, span, noise = camera.noise[iso].gain, camera.white - camera.black, true_noise(camera, iso)
    if not tails:
        noise = replace(noise, tail=None)
    planes = pack(light_evenly(camera, iso, level * gain / span, rng))
    planes = add_rows(planes, -estimate_row_offsets(planes, noise))
    z = stabilize(torch.from_numpy(planes), noise).double()
    mean = z.mean(dim=(1, 2), keepdim=True)
    back = unstabilize(mean.float(), noise).double().mean()
    return {
        "deviation": float((z - mean).square().mean().sqrt()),
        "shift": span * (float(back) - float(planes.mean(dtype=np.float64))),
        "allowed": MOVED + MOVED_SHARE * level * gain,
    }


def _cells(rows: Rows, what: str) -> Iterator[list[object]]:
    """One line a camera and ISO."""
    for row in rows:
        cells = []
        for flat in row["flats"]:
            text = f"{flat[what]:.3f}" if what == "deviation" else f"{flat[what]:+.3f}"
            cells.append(f"({text})" if what == "shift" and abs(flat[what]) > flat["allowed"] else text)
        yield [*row["place"], *cells, *[""] * (len(LEVELS) - len(cells))]


def _row_noise(cameras: Sequence[SimulatedCamera], seed: int) -> Iterator[list[object]]:
    """How much row noise goes from drawn scenes, and in which time."""
    for camera in cameras:
        for iso, sensor in camera.noise.items():
            rng = np.random.default_rng(seed)
            shares = [_take_rows_off(camera, iso, level, rng) for level in SCENE_LEVELS]
            cells = [f"{share:.0%}" for share, _ in shares]
            seconds = f"{np.mean([taken for _, taken in shares]):.2f}"
            yield [camera.camera.model, iso, f"{sensor.row_sigma:.2f}", *cells, seconds]


def _take_rows_off(camera: SimulatedCamera, iso: int, level: int, rng: Generator) -> tuple[float, float]:
    """The share that goes, and the seconds for 24 megapixels."""
    sensor, span, noise = camera.noise[iso], camera.white - camera.black, true_noise(camera, iso)
    scene = make_scene(camera.active.height, camera.active.width, rng) * (level * sensor.gain / span)
    quiet = replace(camera, noise={iso: replace(sensor, row_sigma=0.0)})
    raw, _ = capture(scene.astype(np.float32), quiet, iso, rng)
    offsets = noise.row_variance**0.5 * rng.standard_normal((2, camera.active.height // 2))
    planes = add_rows(pack(raw), offsets.astype(np.float32))
    start = time.perf_counter()
    estimated = estimate_row_offsets(planes, noise, valid=~find_clipped(raw))
    seconds = time.perf_counter() - start
    share = 1 - np.mean((estimated - offsets) ** 2) / np.mean(offsets**2)
    return float(share), seconds * 24e6 / planes.size
