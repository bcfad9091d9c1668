"""How exact photon transfer is: simulated darks and flats of known cameras, calibrated, against the truth.

    python benchmarks/transfer.py FACTS [--repeats 10] [--size 300x200] [--darks 2] [--exposures 6]

FACTS is a JSON table of published calibrations. Every repeat has a sensor of its own, with a fixed pattern,
hot and dead pixels, and vignetting. Errors are over planes and repeats; an interval covers where it holds the
truth of a plane.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from published import published_cameras, true_noise

from rawdenoise.calibration import CalibrationPoint, calibrate_from_frames
from rawdenoise.noise.model import NoiseModel
from rawdenoise.simulation.camera import SimulatedCamera, evenly_lit, make_fixed_pattern


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of one calibration, per plane where there are several, and hits of its intervals."""

    shot: list[float]
    read: list[float]
    row: float
    shot_covered: list[bool]
    read_covered: list[bool]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("facts", type=Path)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--size", default="300x200")
    parser.add_argument("--darks", type=int, default=2)
    parser.add_argument("--exposures", type=int, default=6)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))

    print(f"{options.size} pixels, {options.darks} darks, {options.exposures} exposures of 2 flats each\n")
    print("| camera | ISO | shot median % | worst | read sigma median % | worst | row sigma % |", end="")
    print(" shot covered | read covered |\n|---|---|---|---|---|---|---|---|---|")
    everything: list[Errors] = []
    for camera in published_cameras(options.facts, width, height):
        for iso in camera.noise:
            errors = [
                measure(camera, iso, options.darks, options.exposures, seed)
                for seed in range(options.repeats)
            ]
            everything += errors
            print(row(f"{camera.camera.model} | {iso}", errors), flush=True)
    print(row("all |", everything))


def measure(camera: SimulatedCamera, iso: int, darks: int, exposures: int, seed: int) -> Errors:
    """Calibrate one simulated camera and compare."""
    rng = np.random.default_rng([iso, seed])
    sigma = camera.noise[iso].read_deviation
    fixed = make_fixed_pattern(
        camera, rng, pixel_sigma=0.3 * sigma, row_sigma=0.05 * sigma, column_sigma=0.1 * sigma,
        response_sigma=0.008, hot=10, dead=5,
    )  # fmt: skip
    levels = np.geomspace(0.02, 0.6, exposures)
    (point,) = calibrate_from_frames(
        [evenly_lit(camera, iso, 0, rng, fixed=fixed) for _ in range(darks)],
        [
            evenly_lit(camera, iso, level, rng, exposure_s=level / 10, vignetting=0.3, fixed=fixed)
            for level in levels
            for _ in range(2)
        ],
    )
    return compare(point, true_noise(camera, iso))


def compare(point: CalibrationPoint, truth: NoiseModel) -> Errors:
    """Relative errors: of the shot noise, and of the standard deviations of read and row noise."""
    assert point.shot_interval is not None
    assert point.read_interval is not None
    shot = np.array(point.noise.shot) / truth.shot
    read = np.sqrt(np.array(point.noise.read_variance) / truth.read_variance)
    row_sigma = (point.noise.row_variance / truth.row_variance) ** 0.5
    return Errors(
        [*np.abs(shot - 1)],
        [*np.abs(read - 1)],
        abs(row_sigma - 1),
        [*covered(shot, point.shot_interval)],
        [*covered(read, point.read_interval)],
    )


def covered(ratio: np.ndarray, interval: tuple[float, float]) -> Iterator[bool]:
    """Whether the truth lies in the relative interval around each estimate."""
    for each in ratio:
        yield bool(interval[0] * each <= 1 <= interval[1] * each)


def row(label: str, errors: list[Errors]) -> str:
    """One line of the table."""
    shot = 100 * np.concatenate([each.shot for each in errors])
    read = 100 * np.concatenate([each.read for each in errors])
    rows = 100 * np.array([each.row for each in errors])
    hits = [
        np.concatenate([getattr(each, f"{what}_covered") for each in errors]) for what in ("shot", "read")
    ]
    figures = (np.median(shot), shot.max(), np.median(read), read.max(), np.median(rows))
    cells = [f"{figure:.2f}" for figure in figures] + [f"{hit.mean():.0%}" for hit in hits]
    return f"| {label} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
