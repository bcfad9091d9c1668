"""How exact the blind noise estimate is: simulated captures of known cameras, real ones, and its time.

    python benchmarks/calibration.py DATA_FOLDER [--pools 2] [--captures 20] [--seed 0]

DATA_FOLDER holds noise/published.json, srgb/bsds500 (JPEG) and imx296/train. A simulated capture is 1200x800
pixels: every other one shows 25 pictures of bsds500 at half size side by side, the rest are drawn
(rawdenoise.simulation.scenes). A pool is that many captures of one camera and ISO. Errors are of the mean
over the four planes; an interval covers where the truth lies in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from photographs import landscape, linear_half, side_by_side
from published import published_cameras, true_noise

from rawdenoise.capture.packing import clipped, pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.formats import read_raw
from rawdenoise.noise.estimate import estimate_noise, sample_noise
from rawdenoise.noise.fit import NoiseEstimate, estimate_with_interval
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.samples import NoiseSamples
from rawdenoise.simulation.camera import capture
from rawdenoise.simulation.scenes import make_scene

WIDTH, HEIGHT, TILES = 1200, 800, 5
IMX296_GAIN, IMX296_READ, IMX296_SPAN = 0.090, 0.49, 963.0  # DN per electron, DN, white - black

Scene = np.ndarray
Samples = tuple[NoiseSamples, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Estimate over truth: of shot noise, and of the deviations of read and row noise; and interval hits."""

    shot: float
    read: float
    row: float
    shot_covered: bool
    read_covered: bool
    shot_width: float
    read_width: float


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--pools", type=int, default=2, help="pools per camera and ISO")
    parser.add_argument("--captures", type=int, default=20, help="captures in a pool")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    count = options.pools * options.captures
    scenes = list(draw_scenes(options.data / "srgb" / "bsds500", count, np.random.default_rng(options.seed)))
    print_simulated(options.data / "noise" / "published.json", scenes, options.captures, options.seed)
    print_real(options.data / "imx296")
    print_time()


def draw_scenes(folder: Path, count: int, rng: Generator) -> Iterator[Scene]:
    """Scenes in linear sRGB, by turns photographed and drawn."""
    pictures = sorted(folder.glob("*.jpg"))
    for index in range(count):
        if index % 2:
            yield make_scene(HEIGHT, WIDTH, rng)
        else:
            chosen = rng.choice(len(pictures), TILES**2, replace=False)
            halves = [linear_half(pictures[each]) for each in chosen]
            yield side_by_side([landscape(half, HEIGHT // TILES, WIDTH // TILES) for half in halves], TILES)


def print_simulated(facts: Path, scenes: list[Scene], captures: int, seed: int) -> None:
    """One table for single captures, one for pools."""
    single: dict[str, list[Outcome]] = {}
    pooled: dict[str, list[Outcome]] = {}
    for camera in published_cameras(facts, WIDTH, HEIGHT):
        for iso in camera.noise:
            rng = np.random.default_rng([seed, iso])
            samples = [sample(capture(scene, camera, iso, rng)[0]) for scene in scenes]
            truth, name = true_noise(camera, iso), f"{camera.camera.model} | {iso}"
            single[name] = [compare(estimate_with_interval([each]), truth) for each in samples]
            pools = [samples[at : at + captures] for at in range(0, len(samples), captures)]
            pooled[name] = [compare(estimate_with_interval(pool), truth) for pool in pools]
    print_outcomes("One capture", single)
    print_outcomes(f"{captures} captures pooled", pooled)


def sample(raw: RawImage) -> Samples:
    """Measure one capture."""
    return sample_noise(pack(raw), valid=~clipped(raw))


def compare(estimate: NoiseEstimate, truth: NoiseModel) -> Outcome:
    """Set an estimate against the truth."""
    shot = np.mean(estimate.noise.shot) / np.mean(truth.shot)
    read = (np.mean(estimate.noise.read_variance) / np.mean(truth.read_variance)) ** 0.5
    (shot_low, shot_high), (read_low, read_high) = estimate.shot_interval, estimate.read_interval
    return Outcome(
        shot=float(shot),
        read=float(read),
        row=float((estimate.noise.row_variance / truth.row_variance) ** 0.5),
        shot_covered=bool(shot_low * shot <= 1 <= shot_high * shot),
        read_covered=bool(read_low * read <= 1 <= read_high * read),
        shot_width=shot_high - shot_low,
        read_width=read_high - read_low,
    )


def print_outcomes(title: str, outcomes: dict[str, list[Outcome]]) -> None:
    """A table with one line per camera and ISO, and one for all."""
    print(f"\n{title}\n")
    print("| camera | ISO | shot median % | worst | mean | read sigma median % | worst | mean |", end="")
    print(" row sigma median % | shot covered | width % | read covered | width % |\n|" + "---|" * 13)
    for name, each in outcomes.items():
        print(line(name, each))
    everything = [outcome for each in outcomes.values() for outcome in each]
    print(line("all |", everything), flush=True)


def line(name: str, outcomes: list[Outcome]) -> str:
    """One line of a table: absolute errors, then the signed mean, in percent."""
    cells = []
    for what in ("shot", "read"):
        error = 100 * (np.array([getattr(each, what) for each in outcomes]) - 1)
        cells += [f"{np.median(np.abs(error)):.1f}", f"{np.abs(error).max():.0f}", f"{error.mean():+.1f}"]
    rows = 100 * (np.array([each.row for each in outcomes]) - 1)
    cells.append(f"{np.median(np.abs(rows)):.0f}")
    for what in ("shot", "read"):
        covered = [getattr(each, f"{what}_covered") for each in outcomes]
        width = [getattr(each, f"{what}_width") for each in outcomes]
        cells += [f"{np.mean(covered):.0%}", f"{100 * np.median(width):.0f}"]
    return f"| {name} | {' | '.join(cells)} |"


def print_real(folder: Path) -> None:
    """The captures of a real camera, pooled, against what its burst and darks show."""
    samples = [sample(read_raw(path)) for path in sorted((folder / "train").glob("*.dng"))]
    estimate = estimate_with_interval(samples)
    noise = estimate.noise
    shot = float(np.mean(noise.shot)) * IMX296_SPAN
    read = float(np.mean(noise.read_variance)) ** 0.5 * IMX296_SPAN
    row = noise.row_variance**0.5 * IMX296_SPAN
    print(f"\nIMX296, {len(samples)} real captures pooled:")
    for name, value, truth, each in (
        ("gain", shot, IMX296_GAIN, estimate.shot_interval),
        ("read sigma", read, IMX296_READ, estimate.read_interval),
    ):
        print(f"  {name} {value:.4f} DN ({value / truth - 1:+.1%}), {interval(each)}")
    print(f"  row sigma {row:.3f} DN, step {noise.step * IMX296_SPAN:.2f} DN")


def interval(relative: tuple[float, float]) -> str:
    """An interval in words."""
    return f"interval x{relative[0]:.2f} to x{relative[1]:.2f}"


def print_time() -> None:
    """How long one 24 MP capture takes."""
    rng = np.random.default_rng(0)
    tile = make_scene(500, 750, rng)[..., 1]
    clean = np.tile(tile, (4, 4))[None].repeat(4, axis=0)
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    planes = clean + np.sqrt(1e-4 * clean + 1e-6) * noise
    valid = planes < 0.98
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        estimate_noise(planes, valid=valid)
        seconds.append(time.perf_counter() - started)
    print(f"\n24 MP: {min(seconds):.2f} s at best, {max(seconds):.2f} s at worst of 3")


if __name__ == "__main__":
    main()
