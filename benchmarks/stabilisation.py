"""How well noise is stabilised, and flat fields come back, for simulated cameras.

    python benchmarks/stabilisation.py PUBLISHED_JSON [--width 3200] [--height 2000] [--seed 0]

Flat fields of each camera and ISO at each level: taken with all the noise of the simulation (Poisson, long
tails, rows, rounding to whole DN and clipping), their row noise taken off as before denoising, stabilised,
averaged, and inverted. The noise model knows the tails, but in the third table. The shift is that of the
mean, in DN; allowed are 0.02 DN and 0.05 % of the signal. A fourth table is of row noise taken off drawn
scenes, and its time; the last is the time of the transforms.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from published import published_cameras, true_noise

from rawdenoise.capture.packing import clipped, pack
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.rows import add_rows, row_offsets
from rawdenoise.noise.stabilize import stabilize, unstabilize
from rawdenoise.simulation.camera import SimulatedCamera, capture, evenly_lit
from rawdenoise.simulation.scenes import make_scene

LEVELS = (1, 2, 3, 5, 10, 30, 100, 300)  # electrons
SCENE_LEVELS = (10, 50, 200)  # electrons of white


@dataclass(frozen=True, slots=True)
class Flat:
    """What came of one flat field: the deviation after stabilisation, and the shift of the mean in DN."""

    deviation: float
    shift: float
    allowed: float


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("published", type=Path)
    parser.add_argument("--width", type=int, default=3200)
    parser.add_argument("--height", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cameras = published_cameras(options.published, options.width, options.height)
    flats = measure(cameras, options.seed)
    unknown = measure(cameras, options.seed, tails_known=False)

    head = "| camera | ISO | DN/e- | read e- | " + " | ".join(f"{level} e-" for level in LEVELS) + " |"
    print(f"Standard deviation after stabilisation\n\n{head}\n{rule(head)}")
    print_rows(flats, lambda flat: f"{flat.deviation:.3f}")
    print(f"\nShift of flat fields, DN (in brackets: more than allowed)\n\n{head}\n{rule(head)}")
    print_rows(flats, shift)
    print(f"\nThe same where the noise model takes the read noise for Gaussian\n\n{head}\n{rule(head)}")
    print_rows(unknown, shift)
    print_row_noise(cameras, options.seed)
    print_times()


def measure(
    cameras: list[SimulatedCamera], seed: int, *, tails_known: bool = True
) -> dict[tuple[SimulatedCamera, int], dict[int, Flat]]:
    """Take and judge all flat fields."""
    rng = np.random.default_rng(seed)
    return {
        (camera, iso): {
            level: flat_field(camera, iso, level, rng, tails_known=tails_known)
            for level in LEVELS
            if 1.3 * level * camera.noise[iso].gain < camera.white - camera.black
        }
        for camera in cameras
        for iso in camera.noise
    }


def flat_field(camera: SimulatedCamera, iso: int, level: int, rng: Generator, *, tails_known: bool) -> Flat:
    """Take one flat field and bring it there and back."""
    figures, span = camera.noise[iso], camera.white - camera.black
    noise = true_noise(camera, iso)
    if not tails_known:
        noise = replace(noise, tail=None)
    planes = pack(evenly_lit(camera, iso, level * figures.gain / span, rng))
    planes = add_rows(planes, -row_offsets(planes, noise))
    z = stabilize(torch.from_numpy(planes), noise).double()
    mean = z.mean(dim=(1, 2), keepdim=True)
    back = unstabilize(mean.float(), noise).double().mean()
    shift = span * (float(back) - float(planes.mean(dtype=np.float64)))
    return Flat(float((z - mean).square().mean().sqrt()), shift, 0.02 + 5e-4 * level * figures.gain)


def shift(flat: Flat) -> str:
    """The shift, in brackets where it is more than allowed."""
    text = f"{flat.shift:+.3f}"
    return text if abs(flat.shift) <= flat.allowed else f"({text})"


def print_rows(
    flats: dict[tuple[SimulatedCamera, int], dict[int, Flat]], cell: Callable[[Flat], str]
) -> None:
    """One line a camera and ISO."""
    for (camera, iso), of_level in flats.items():
        noise = camera.noise[iso]
        cells = [cell(of_level[level]) if level in of_level else "" for level in LEVELS]
        read = noise.read_deviation / noise.gain
        print(
            f"| {camera.camera.model} | {iso} | {noise.gain:.3g} | {read:.2f} | " + " | ".join(cells) + " |"
        )


def print_row_noise(cameras: list[SimulatedCamera], seed: int) -> None:
    """Say how much row noise goes from drawn scenes, and in which time."""
    head = "| camera | ISO | row DN | " + " | ".join(f"white at {level} e-" for level in SCENE_LEVELS)
    head += " | s per 24 MP |"
    print(f"\nShare of the row noise's variance that is taken off drawn scenes\n\n{head}\n{rule(head)}")
    for camera in cameras:
        for iso, figures in camera.noise.items():
            rng = np.random.default_rng(seed)
            shares, seconds = zip(
                *(row_noise(camera, iso, level, rng) for level in SCENE_LEVELS), strict=True
            )
            cells = " | ".join(f"{share:.0%}" for share in shares)
            model = camera.camera.model
            print(f"| {model} | {iso} | {figures.row_sigma:.2f} | {cells} | {np.mean(seconds):.2f} |")


def row_noise(camera: SimulatedCamera, iso: int, level: int, rng: Generator) -> tuple[float, float]:
    """The share that goes, and the seconds for 24 megapixels."""
    figures, span = camera.noise[iso], camera.white - camera.black
    noise = true_noise(camera, iso)
    scene = make_scene(camera.active.height, camera.active.width, rng) * (level * figures.gain / span)
    quiet = replace(camera, noise={iso: replace(figures, row_sigma=0.0)})
    raw, _ = capture(scene.astype(np.float32), quiet, iso, rng)
    offsets = noise.row_variance**0.5 * rng.standard_normal((2, camera.active.height // 2))
    planes = add_rows(pack(raw), offsets.astype(np.float32))
    start = time.perf_counter()
    found = row_offsets(planes, noise, valid=~clipped(raw))
    seconds = time.perf_counter() - start
    share = 1 - np.mean((found - offsets) ** 2) / np.mean(offsets**2)
    return float(share), seconds * 24e6 / planes.size


def print_times() -> None:
    """Say what the transforms cost."""
    noise = NoiseModel((4e-4,) * 4, (2e-7,) * 4)
    planes = torch.rand(1, 4, 544, 544) * 0.1  # a tile
    start = time.perf_counter()
    stabilize(planes, noise)
    print(
        f"\ntables of a new noise model: {time.perf_counter() - start:.2f} s; "
        f"{torch.get_num_threads()} threads"
    )
    with torch.inference_mode():
        for function in (stabilize, unstabilize):
            start = time.perf_counter()
            for _ in range(20):
                function(planes, noise)
            seconds = (time.perf_counter() - start) / 20 * 24e6 / planes.numel()
            print(f"{function.__name__}: {seconds:.2f} s per 24 MP, in tiles")


def rule(head: str) -> str:
    """The line under a table's head."""
    return "|---" * (head.count("|") - 1) + "|"


if __name__ == "__main__":
    main()
