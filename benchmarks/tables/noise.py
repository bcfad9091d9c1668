"""How exact what is known of noise is: from darks and flats, from ordinary captures, from small ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from lab.data import Scene, contact_sheet, digest, pictures_in, published_cameras, true_noise
from lab.report import Page, markdown
from lab.store import Lab
from lab.table import COUNT, Size, option, table
from numpy.random import Generator

from rawdenoise.calibration import calibrate_from_frames
from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.formats import read_raw
from rawdenoise.models.bundled import load_bundled
from rawdenoise.noise.estimate import estimate_noise, sample_noise
from rawdenoise.noise.fit import estimate_with_interval
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.samples import NoiseSamples
from rawdenoise.pipeline import denoise
from rawdenoise.quality.metrics import psnr
from rawdenoise.recipe import Recipe
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import (
    SIMULATED_IMX385,
    SensorNoise,
    SimulatedCamera,
    capture,
    light_evenly,
    make_fixed_pattern,
)

WIDTH, HEIGHT, TILES = 1200, 800, 5
IMX296_GAIN, IMX296_READ, IMX296_SPAN = 0.090, 0.49, 963.0  # DN per electron, DN, white - black
SMALL_WIDTH, SMALL_HEIGHT = 240, 160
GAINS = MappingProxyType({100: 1.0, 800: 8.0, 3000: 30.0})  # DN per electron, by ISO
LOST = -0.1  # dB
BASE_ISO_CAMERA = replace(
    SIMULATED_IMX385, black=512.0, white=16383.0, bits=14,
    noise={iso: SensorNoise(gain, max(2.0, 2.5 * gain), 0.01) for iso, gain in GAINS.items()},
)  # fmt: skip

Outcomes = Sequence[Mapping[str, Any]]
Interval = tuple[float, float]


def compare(
    noise: NoiseModel, shot: Interval | None, read: Interval | None, truth: NoiseModel, *, mean: bool
) -> dict[str, Any]:
    """Estimate over truth, of shot noise and of the deviations of read and row noise; and interval hits.

    It is of the mean over the planes, or plane by plane.
    """
    assert shot is not None
    assert read is not None
    over = np.mean if mean else np.array
    ratios = {
        "shot": over(noise.shot) / over(truth.shot),
        "read": np.sqrt(over(noise.read_variance) / over(truth.read_variance)),
    }
    outcome: dict[str, Any] = {"row": (noise.row_variance / truth.row_variance) ** 0.5}
    for what, (low, high) in (("shot", shot), ("read", read)):
        outcome[what] = np.atleast_1d(ratios[what]).tolist()
        outcome[f"{what} held"] = [bool(low * ratio <= 1 <= high * ratio) for ratio in outcome[what]]
        outcome[f"{what} width"] = high - low
    return outcome


def outcome_rows(outcomes: Mapping[tuple[str, int], Outcomes], *, wide: bool) -> Iterator[list[object]]:
    """One line per camera and ISO, and one for all; `wide` has the signed means and the intervals' widths."""
    for place, of_place in outcomes.items():
        yield [*place, *_cells(of_place, wide=wide)]
    every = [outcome for of_place in outcomes.values() for outcome in of_place]
    yield ["all", "", *_cells(every, wide=wide)]


def _cells(outcomes: Outcomes, *, wide: bool) -> Iterator[str]:
    """Absolute errors in percent, and how often and how widely an interval covers."""
    digits, worst, rows_digits = (1, 0, 0) if wide else (2, 2, 2)
    for what in ("shot", "read"):
        error = 100 * (np.concatenate([outcome[what] for outcome in outcomes]) - 1)
        yield from (f"{np.median(np.abs(error)):.{digits}f}", f"{np.abs(error).max():.{worst}f}")
        if wide:
            yield f"{error.mean():+.1f}"
    rows = 100 * (np.array([outcome["row"] for outcome in outcomes]) - 1)
    yield f"{np.median(np.abs(rows)):.{rows_digits}f}"
    for what in ("shot", "read"):
        yield f"{np.mean(np.concatenate([outcome[f'{what} held'] for outcome in outcomes])):.0%}"
        if wide:
            yield f"{100 * np.median([outcome[f'{what} width'] for outcome in outcomes]):.0f}"


# ---------------------------------------------------------------- ordinary captures


@table("captures", {"docs/calibration.md: ordinary captures": "--seed 1"})
@option("--pools", type=COUNT, default=2, help="pools per camera and ISO")
@option("--captures", "count", type=COUNT, default=20, help="captures in a pool")
@option("--seed", default=0)
def captures(lab: Lab, pools: int, count: int, seed: int) -> Page:
    """How exact the blind noise estimate is: simulated captures of known cameras, real ones, and its time.

    A simulated capture is 1200x800 pixels: every other one shows 25 pictures of bsds500 at half size side by
    side, the rest are drawn. A pool is that many captures of one camera and ISO. Errors are of the mean over
    the four planes; an interval covers where the truth lies in it.
    """
    parts: dict[str, dict[tuple[str, int], Outcomes]] = {"One capture": {}, f"{count} captures pooled": {}}
    settings = {"kind": "captures", "pools": pools, "captures": count, "seed": seed}
    settings["pictures"] = digest(pictures_in(lab.bsds))
    for camera in published_cameras(lab.published, WIDTH, HEIGHT):
        for iso in camera.noise:
            place = camera.camera.model, iso
            figures = lab.result(
                {**settings, "camera": place[0], "iso": iso},
                partial(_estimate, lab.bsds, camera, iso, pools, count, seed),
            )
            for title, outcomes in zip(parts, figures or (), strict=False):
                parts[title][place] = outcomes
    real = lab.result({"kind": "captures", "camera": "IMX296"}, lambda: _real(lab.data / "imx296"))
    seconds = lab.result({"kind": "captures", "megapixels": 24}, _seconds)
    head = ["camera", "ISO", "shot median %", "worst", "mean", "read sigma median %", "worst", "mean"]
    head += ["row sigma median %", "shot covered", "width %", "read covered", "width %"]
    tables = [markdown(head, outcome_rows(of, wide=True), title) for title, of in parts.items() if of]
    return Page("\n\n".join([*tables, *filter(None, [real, seconds])]))


def _estimate(folder: Path, camera: SimulatedCamera, iso: int, pools: int, count: int, seed: int) -> object:
    """Estimate the noise of single captures, and of pools."""
    rng, truth = np.random.default_rng([seed, iso]), true_noise(camera, iso)
    scenes = _draw_scenes(folder, pools * count, seed)
    samples = [_sample(capture(scene, camera, iso, rng)[0]) for scene in scenes]
    pooled = [samples[at : at + count] for at in range(0, len(samples), count)]
    return [
        [
            compare(one.noise, one.shot_interval, one.read_interval, truth, mean=True)
            for one in (estimate_with_interval(group, least=is_alone) for group in several)
        ]
        for is_alone, several in ((True, [[shown] for shown in samples]), (False, pooled))
    ]


def _sample(raw: RawImage) -> tuple[NoiseSamples, ...]:
    """Measure one capture."""
    return sample_noise(pack(raw), valid=~find_clipped(raw))


@cache
def _draw_scenes(folder: Path, count: int, seed: int) -> list[Scene]:
    """Scenes in linear sRGB, by turns photographed and drawn."""
    pictures, rng, scenes = sorted(folder.glob("*.jpg")), np.random.default_rng(seed), []
    for index in range(count):
        if index % 2:
            scenes.append(make_scene(HEIGHT, WIDTH, rng))
        else:
            chosen = [pictures[at] for at in rng.choice(len(pictures), TILES**2, replace=False)]
            scenes.append(contact_sheet(chosen, TILES, (HEIGHT // TILES, WIDTH // TILES)))
    return scenes


def _real(folder: Path) -> str:
    """The captures of a real camera, pooled, against what its burst and darks show."""
    samples = [_sample(read_raw(path)) for path in sorted((folder / "train").glob("*.dng"))]
    estimate = estimate_with_interval(samples)
    noise, lines = estimate.noise, [f"IMX296, {len(samples)} real captures pooled:"]
    shot = float(np.mean(noise.shot)) * IMX296_SPAN
    read = float(np.mean(noise.read_variance)) ** 0.5 * IMX296_SPAN
    for name, value, truth, (low, high) in (
        ("gain", shot, IMX296_GAIN, estimate.shot_interval),
        ("read sigma", read, IMX296_READ, estimate.read_interval),
    ):
        lines.append(
            f"  {name} {value:.4f} DN ({value / truth - 1:+.1%}), interval x{low:.2f} to x{high:.2f}"
        )
    row = noise.row_variance**0.5 * IMX296_SPAN
    return "\n".join([*lines, f"  row sigma {row:.3f} DN, step {noise.step * IMX296_SPAN:.2f} DN"])


def _seconds() -> str:
    """How long one 24 MP capture takes."""
    rng, seconds = np.random.default_rng(0), []
    clean = np.tile(make_scene(500, 750, rng)[..., 1], (4, 4))[None].repeat(4, axis=0)
    planes = clean + np.sqrt(1e-4 * clean + 1e-6) * rng.standard_normal(clean.shape, dtype=np.float32)
    for _ in range(3):
        started = time.perf_counter()
        estimate_noise(planes, valid=planes < 0.98)
        seconds.append(time.perf_counter() - started)
    return f"24 MP: {min(seconds):.2f} s at best, {max(seconds):.2f} s at worst of 3"


# ---------------------------------------------------------------- darks and flats


@table("transfer", {"docs/calibration.md: darks and flats": ""})
@option("--repeats", type=COUNT, default=10)
@option("--size", type=Size(), default="300x200")
@option("--darks", type=COUNT, default=2)
@option("--exposures", type=COUNT, default=6)
def transfer(lab: Lab, repeats: int, size: tuple[int, int], darks: int, exposures: int) -> Page:
    """How exact photon transfer is: simulated darks and flats of known cameras, calibrated, and the truth.

    Every repeat has a sensor of its own, with a fixed pattern, hot and dead pixels, and vignetting. Errors
    are over planes and repeats; an interval covers where it holds the truth of a plane.
    """
    settings = {"kind": "transfer", "repeats": repeats, "size": size, "darks": darks, "exposures": exposures}
    outcomes: dict[tuple[str, int], Outcomes] = {}
    for camera in published_cameras(lab.published, *size):
        for iso in camera.noise:
            place, calibrate = (camera.camera.model, iso), partial(_calibrate, camera, iso, darks, exposures)
            of_place = lab.result(
                {**settings, "camera": place[0], "iso": iso},
                lambda: [*map(calibrate, range(repeats))],  # noqa: B023
            )
            if of_place is not None:
                outcomes[place] = of_place
    head = ["camera", "ISO", "shot median %", "worst", "read sigma median %", "worst", "row sigma %"]
    title = f"{size[0]}x{size[1]} pixels, {darks} darks, {exposures} exposures of 2 flats each"
    rows = outcome_rows(outcomes, wide=False) if outcomes else ()
    return Page(markdown([*head, "shot covered", "read covered"], rows, title))


def _calibrate(camera: SimulatedCamera, iso: int, darks: int, exposures: int, seed: int) -> dict[str, Any]:
    """Calibrate one simulated camera and compare."""
    rng, sigma = np.random.default_rng([iso, seed]), camera.noise[iso].read_deviation
    fixed = make_fixed_pattern(
        camera, rng, pixel_sigma=0.3 * sigma, row_sigma=0.05 * sigma, column_sigma=0.1 * sigma,
        response_sigma=0.008, hot=10, dead=5,
    )  # fmt: skip
    levels = np.geomspace(0.02, 0.6, exposures).repeat(2)
    (point,) = calibrate_from_frames(
        [light_evenly(camera, iso, 0, rng, fixed=fixed) for _ in range(darks)],
        [
            light_evenly(camera, iso, level, rng, exposure_s=level / 10, vignetting=0.3, fixed=fixed)
            for level in levels
        ],
    )
    truth = true_noise(camera, iso)
    return compare(point.noise, point.shot_interval, point.read_interval, truth, mean=False)


# ---------------------------------------------------------------- small captures


@table("doubted", {"docs/calibration.md: when noise cannot be told from texture": ""})
@option("--captures", "count", type=COUNT, default=30)
@option("--seed", default=5)
def doubted(lab: Lab, count: int, seed: int) -> Page:
    """Small, textured captures, of whose noise one may not tell enough: what is believed, what comes of it.

    A capture shows one photograph at half size, or four or sixteen side by side, at 240x160 pixels each,
    taken at three gains of a 14-bit sensor. *Ratio* is the estimated variance over the true one, at the
    picture's levels; pictures are denoised with the bundled `fast` and lose where their true PSNR falls by
    more than 0.1 dB. One that was left as it was counts as what it would have been.
    """
    paths, rows = pictures_in(lab.bsds), []
    for iso, gain in GAINS.items():
        for tiles in (1, 2, 4):
            settings = {
                "kind": "doubted", "iso": iso, "tiles": tiles, "captures": count, "seed": seed,
                "pictures": digest(paths),
            }  # fmt: skip
            cells = lab.result(settings, lambda: _doubt(_small_captures(paths, iso, tiles, count, seed), iso))  # noqa: B023
            if cells is not None:
                rows.append([f"{gain:g}", f"{SMALL_WIDTH * SMALL_HEIGHT * tiles**2 / 1e6:.2f}", *cells])
    head = ["DN/e-", "MP", "failed", "ratio: median of the others", "worst", "left", "would lose"]
    return Page(markdown([*head, "written", "lose"], rows))


def _small_captures(
    paths: Sequence[Path], iso: int, tiles: int, count: int, seed: int
) -> Iterator[tuple[RawImage, np.ndarray]]:
    """Captures of photographs side by side, and their clean mosaics."""
    rng: Generator = np.random.default_rng([seed, iso, tiles])
    camera = BASE_ISO_CAMERA.resize(SMALL_WIDTH * tiles, SMALL_HEIGHT * tiles)
    for _ in range(count):
        chosen = [paths[at] for at in rng.choice(len(paths), tiles**2, replace=False)]
        yield capture(contact_sheet(chosen, tiles, (SMALL_HEIGHT, SMALL_WIDTH)), camera, iso, rng)


def _doubt(taken: Iterable[tuple[RawImage, np.ndarray]], iso: int) -> list[str]:
    """What becomes of captures, as the cells of a line."""
    truth, model, unjudged = true_noise(BASE_ISO_CAMERA, iso), load_bundled("fast"), Recipe(estimate=False)
    ratios, left, written = [], [], []
    for raw, clean in taken:
        planes, sound = pack(raw), ~find_clipped(raw)
        estimate = estimate_with_interval([sample_noise(planes, valid=sound)], least=True)
        light = np.clip(planes, 0, 1)
        ratio = float(estimate.noise.variance(light).mean() / truth.variance(light).mean())
        ratios.append((estimate.failed, ratio))
        result = denoise(raw, model, device="cpu")
        answer = denoise(raw, model, unjudged, device="cpu") if result.left else result
        target = pack(replace(raw, mosaic=np.rint(clean).astype(np.uint16)))
        gain = psnr(pack(answer.image)[sound], target[sound]) - psnr(planes[sound], target[sound])
        (left if result.left else written).append(gain < LOST)
    kept = [ratio for failed, ratio in ratios if not failed]
    cells = [len(ratios) - len(kept), f"{np.median(kept):.2f}", f"{max(kept):.1f}"]
    return [*map(str, [*cells, len(left), sum(left), len(written), sum(written)])]
