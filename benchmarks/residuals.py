"""What the residual's statistics are for right and for wrong noise models: the limits of `judge_residual`.

    python benchmarks/residuals.py FOLDER [--images 9600] [--net fast] [--seed 0] [--only NAME...]

A simulated camera takes captures at three ISOs, and a model is trained on them from nothing for each case:
with the true noise model, with one whose variance is so many times the true one, and with a camera that
mixes each pixel with its next neighbours of the same colour, left and right (and says what its noise is
then). Then what `measure_held_out` finds on 6 held-out tiles of each ISO. Captures and tiles are kept in
FOLDER.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rawdenoise import __version__
from rawdenoise.capture.raw import Provenance
from rawdenoise.formats.dng import write_dng
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.quality.held_out import HeldOutResult, measure_held_out
from rawdenoise.quality.verdicts import judge_residual
from rawdenoise.simulation.camera import SIMULATED_IMX385, SimulatedCamera, capture
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training import TrainingOptions, scan
from rawdenoise.training.crops import mosaic_rggb, pack_rggb
from rawdenoise.training.loop import fit
from rawdenoise.training.tile_building import build_store
from rawdenoise.training.tiles import TileStore

ISOS = (1600, 6400, 25600)
HELD_OUT = 6  # tiles of each ISO
SHARED = 0.15  # of a neighbour, in a pixel of the camera that mixes them
CASES = {"right": 1.0, "0.8 x": 0.8, "1.25 x": 1.25, "2 x": 2.0, "0.5 x": 0.5, "mixed": 1.0}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=9600)
    parser.add_argument("--net", default="fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=tuple(CASES), default=tuple(CASES))
    chosen = parser.parse_args()
    camera = SIMULATED_IMX385.resized(1024, 768)
    store = take(chosen.folder, camera, chosen.seed)
    options = TrainingOptions(net=chosen.net, crops=chosen.images, seed=chosen.seed, guard=False)
    print("| noise model | ISO | gain dB | mean | chi2 | chi2 + divergence | across | down | structure | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in chosen.only:
        source = claimed(store, CASES[name])
        if name == "mixed":
            source = mixed(store, chosen.folder / "mixed")
        net = fit(source, options, folder=chosen.folder / name, run=name).net
        shutil.rmtree(chosen.folder / name, ignore_errors=True)
        for found in measure_held_out(net, source, seed=chosen.seed):
            print(row(name, found), flush=True)


def take(folder: Path, camera: SimulatedCamera, seed: int) -> TileStore:
    """Simulate captures and cut them into tiles, with the true noise and as many held out at each ISO."""
    for index in range(5 * len(ISOS)):
        path = folder / "captures" / f"{index:02}.dng"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, index])
        scene = np.float32(0.5) * make_scene(camera.active.height, camera.active.width, rng)
        noisy, _ = capture(scene, camera, ISOS[index % len(ISOS)], rng)
        write_dng(noisy, path, provenance=Provenance(version=__version__, method="none", strength=0.0))
    (captures,) = scan([folder / "captures"])
    store = build_store(captures, folder / "tiles", seed=seed)
    every = store.held_out + store.tiles
    held_out = tuple(
        tile
        for index in range(len(store.noise))
        for tile in [tile for tile in every if tile.noise == index][:HELD_OUT]
    )
    noise = tuple(replace(each, noise=true_noise(camera, each.iso or 0)) for each in store.noise)
    tiles = tuple(tile for tile in every if tile not in held_out)
    return replace(store, tiles=tiles, held_out=held_out, noise=noise)


def true_noise(camera: SimulatedCamera, iso: int) -> NoiseModel:
    """The noise of a simulated camera, rows apart."""
    sensor, span = camera.noise[iso], camera.white - camera.black
    read_variance = (sensor.read_deviation**2 + 1 / 12) / span**2
    return NoiseModel((sensor.gain / span,) * 4, (read_variance,) * 4)


def claimed(store: TileStore, factor: float) -> TileStore:
    """The same captures with a noise model of so many times the variance."""
    return replace(store, noise=tuple(scaled(each, factor) for each in store.noise))


def scaled(entry: IsoNoise, factor: float) -> IsoNoise:
    """Multiply a variance at every level."""
    a, b, c, d = (factor * value for value in entry.noise.shot)
    e, f, g, h = (factor * value for value in entry.noise.read_variance)
    return replace(entry, noise=replace(entry.noise, shot=(a, b, c, d), read_variance=(e, f, g, h)))


def mixed(store: TileStore, folder: Path) -> TileStore:
    """The captures of a camera that mixes neighbours; its noise has the variance it is said to have."""
    folder.mkdir(exist_ok=True)
    for source in store.folder.glob("*.npy"):
        tiles = np.load(source)
        if ".valid" not in source.name:
            tiles = np.stack([mosaic_rggb(mix(pack_rggb(tile).astype(np.float32))) for tile in tiles])
            tiles = tiles.astype(np.float16)
        np.save(folder / source.name, tiles)
    left = (1 + 2 * SHARED**2) / (1 + 2 * SHARED) ** 2
    return replace(claimed(store, left), folder=folder)


def mix(planes: Float32[np.ndarray, "4 h w"]) -> Float32[np.ndarray, "4 h w"]:
    """Give each pixel a share of the two beside it."""
    padded = np.pad(planes, ((0, 0), (0, 0), (1, 1)), mode="edge")
    return np.asarray((planes + SHARED * (padded[..., 2:] + padded[..., :-2])) / (1 + 2 * SHARED), np.float32)


def row(name: str, found: HeldOutResult) -> str:
    """One line of the table; at its end what is not as it should be."""
    tests = found.residual
    across, down = tests.autocorrelation
    judged = judge_residual(tests, pixels=found.pixels)
    blamed = ", ".join(f"{key}: {each.level}" for key, each in judged.items() if each.level != "good")
    return (
        f"| {name} | {found.iso} | {found.gain_db:.2f} ± {found.error_db:.2f} | {tests.mean:+.3f} "
        f"| {tests.chi2:.3f} | {tests.chi2 + tests.divergence:.3f} | {across:+.3f} | {down:+.3f} "
        f"| {tests.structure:+.3f} | {blamed} |"
    )


if __name__ == "__main__":
    main()
