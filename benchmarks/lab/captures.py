"""Simulated captures of photographs, whose clean mosaics are known, and crops of them to train on.

They go the way of any capture: packed, their noise estimated or looked up, cleared of rows and defects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path

import click
import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.random import Generator
from torch import Tensor

from lab.data import (
    Scene,
    calibrated_noise,
    contact_sheet,
    linear_half,
    pictures_in,
    published_camera,
    scale_noise,
    true_noise,
)
from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.noise.artefacts import remove_artefacts, sample_sound_pixels
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.samples import NoiseSamples
from rawdenoise.noise.stabilize import stabilize, stabilized_mean, stabilized_white
from rawdenoise.noise.tukey import tukey_lambda_deviation
from rawdenoise.simulation.simulated_camera import SimulatedCamera, capture
from rawdenoise.training.batches import Batch
from rawdenoise.training.crops import mosaic_rggb, pack_rggb, turn

COLUMNS, ROWS = 5, 2  # of photographs in a capture to train on
HEIGHT, WIDTH = 160, 240  # of each
CLEAN = 5  # one scene in so many is clean where methods learn from some that are
TRAINING, AGAIN, TESTING, CALIBRATING = range(4)  # streams of random numbers

Planes = Float32[np.ndarray, "4 h w"]
Mask = Bool[np.ndarray, "4 h w"]
Mosaic = Float32[np.ndarray, "h w"]


class Knowledge(StrEnum):
    """Where the noise model comes from: the simulation, darks and flats, or the captures themselves.

    The last two are the true model without what it knows of tails, or of row noise.
    """

    TRUE = "true"
    CALIBRATED = "calibrated"
    BLIND = "blind"
    GAUSSIAN = "gaussian"
    ROWLESS = "rowless"


class Target(StrEnum):
    """What an objective may see beside a noisy crop."""

    NOTHING = "nothing"
    CAPTURE = "capture"
    CLEAN = "clean"


# What a camera is trained over, and tested at.
CAMERAS: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "A7S2": ((1600, 6400, 25600), (1600, 6400, 25600)),
    "IMX385": ((3200, 12800), (12800,)),
    "PMRID": ((800, 1600, 3200), (3200,)),
}


def tested_isos(camera: str) -> tuple[int, ...]:
    """What a camera is tested at."""
    return CAMERAS[camera][1]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which captures are taken, and what is known of their noise.

    `variance_factor` falsifies the noise model; `row_factor` multiplies the deviation of the camera's row
    noise, and `tail` is the shape of its read noise instead of the published one, of the same deviation.
    """

    camera: str
    seed: int = 0
    captures: int = 40
    knowledge: Knowledge = Knowledge.BLIND
    variance_factor: float = 1.0
    row_factor: float = 1.0
    tail: float | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where published calibrations lie, and the photographs to train on and to test with."""

    published: Path
    train: Path
    test: Path


# ---------------------------------------------------------------- captures


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A capture of a known scene, packed; `valid` is false where it is saturated."""

    raw: RawImage
    planes: Planes
    valid: Mask
    clean: Planes

    @property
    def iso(self) -> int:
        """The ISO it was taken at."""
        return self.raw.exposure.iso or 0


def take(scene: Scene, camera: SimulatedCamera, iso: int, rng: Generator) -> Shot:
    """Take a capture of a scene of any even size."""
    return take_as_it_is(scene, camera.resize(scene.shape[1], scene.shape[0]), iso, rng)


def take_as_it_is(scene: Scene, camera: SimulatedCamera, iso: int, rng: Generator) -> Shot:
    """Take a capture of a scene of the camera's own size."""
    raw, clean = capture(scene, camera, iso, rng)
    return Shot(raw, pack(raw), ~find_clipped(raw), pack(replace(raw, mosaic=clean)))


def simulated_camera(table: Path, conditions: Conditions) -> SimulatedCamera:
    """The camera as published, or with the noise that is asked for."""
    trained, tested = CAMERAS[conditions.camera]
    every = sorted({*trained, *tested})
    camera = published_camera(table, conditions.camera, every, COLUMNS * WIDTH, ROWS * HEIGHT)
    noise = dict(camera.noise)
    for iso, figures in camera.noise.items():
        noise[iso] = replace(figures, row_sigma=conditions.row_factor * figures.row_sigma)
        if conditions.tail is not None:
            scale = figures.read_deviation / tukey_lambda_deviation(conditions.tail)
            noise[iso] = replace(noise[iso], read_sigma=scale, read_lambda=conditions.tail)
    return replace(camera, noise=noise)


def training_scenes(folder: Path, conditions: Conditions) -> Iterator[Scene]:
    """A scene for each capture: photographs side by side, each once before any comes again."""
    pictures = pictures_in(folder)
    order = np.random.default_rng([conditions.seed, TRAINING]).permutation(len(pictures))
    endless = cycle(order)
    for _ in range(conditions.captures):
        chosen = [pictures[index] for index in islice(endless, COLUMNS * ROWS)]
        yield contact_sheet(chosen, COLUMNS, (HEIGHT, WIDTH))


def noise_models(
    camera: SimulatedCamera, conditions: Conditions, samples: Mapping[int, Sequence[tuple[NoiseSamples, ...]]]
) -> dict[int, NoiseModel]:
    """The noise model of each ISO; `samples` are what the captures to train on show."""
    if conditions.knowledge is Knowledge.BLIND:
        models = {iso: fit_noise(shown) for iso, shown in samples.items()}
    elif conditions.knowledge is Knowledge.CALIBRATED:
        streams = {iso: np.random.default_rng([conditions.seed, CALIBRATING, iso]) for iso in camera.noise}
        models = {iso: calibrated_noise(camera, iso, rng) for iso, rng in streams.items()}
    else:
        models = {iso: true_noise(camera, iso) for iso in camera.noise}
    lacking = {Knowledge.GAUSSIAN: {"tail": None}, Knowledge.ROWLESS: {"row_variance": 0.0}}
    changes = lacking.get(conditions.knowledge, {})
    return {
        iso: scale_noise(replace(model, **changes), conditions.variance_factor, rows=True)
        for iso, model in models.items()
    }


# ---------------------------------------------------------------- to train on


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two captures of one scene, cleared, and the scene; all as RGGB mosaics, 0 black to 1 white."""

    noise: NoiseModel
    noisy: Mosaic
    valid: Bool[np.ndarray, "h w"]
    again: Mosaic
    again_valid: Bool[np.ndarray, "h w"]
    clean: Mosaic


def pair_of(first: Shot, second: Shot, noise: NoiseModel, to_clear: NoiseModel) -> Pair:
    """Two captures of a scene, cleared by one noise model and to be trained on with another."""
    sound, again = (remove_artefacts(shot.planes, to_clear, valid=shot.valid) for shot in (first, second))
    return Pair(
        noise=noise,
        noisy=mosaic_rggb(sound.planes),
        valid=mosaic_rggb(first.valid & ~sound.defects),
        again=mosaic_rggb(again.planes),
        again_valid=mosaic_rggb(second.valid & ~again.defects),
        clean=mosaic_rggb(first.clean),
    )


@dataclass(frozen=True, slots=True)
class Window:
    """A crop of a mosaic of RGGB phase: where, and in which of eight ways it is turned or mirrored."""

    top: int
    left: int
    side: int
    way: int

    def cut(self, mosaic: np.ndarray) -> Tensor:
        """Cut it out and pack it."""
        rows, columns = (slice(start, start + self.side) for start in (self.top, self.left))
        return torch.from_numpy(pack_rggb(turn(mosaic[rows, columns], self.way)))


def draw_window(rng: Generator, shape: tuple[int, ...], size: int) -> Window:
    """Draw a window of `size` packed pixels, and two mosaic pixels more, which turning takes off."""
    side = 2 * size + 2
    top, left = (2 * int(rng.integers((length - side) // 2 + 1)) for length in shape)
    return Window(top, left, side, int(rng.integers(8)))


@dataclass(frozen=True, slots=True, eq=False)
class PairSource:
    """Crops for any objective, the same for all of them; only `target` beside the noisy ones can be seen."""

    pairs: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    target: Target = Target.NOTHING

    @property
    def largest_crop(self) -> int:
        """In packed pixels, two mosaic pixels being lost where a mosaic is turned."""
        return min(min(pair.noisy.shape) for pair in (*self.pairs, *self.held_out)) // 2 - 1

    def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
        """Draw random crops of `size` packed pixels, each turned or mirrored in one of eight ways."""
        pairs = self.held_out if held_out else self.pairs
        drawn = [pairs[int(rng.integers(len(pairs)))] for _ in range(count)]
        crops = [self._crop(pair, draw_window(rng, pair.noisy.shape, size)) for pair in drawn]
        noisy, valid, white, targets = zip(*crops, strict=True)
        target = None if self.target is Target.NOTHING else torch.stack(targets)
        noise = tuple(pair.noise for pair in drawn)
        return Batch(torch.stack(noisy), torch.stack(valid), torch.stack(white), target, noise)

    def unpaired(self) -> tuple[PairSource, CleanScenes]:
        """Noisy crops, and clean ones of other scenes: a fifth of the captures as scenes alone."""
        if len(self.pairs) < 2:
            raise click.UsageError("too few captures for noisy and clean ones")
        count = max(1, len(self.pairs) // CLEAN)
        clean = CleanScenes(tuple(pair.clean for pair in self.pairs[-count:]))
        return PairSource(self.pairs[:-count], self.held_out), clean

    def _crop(self, pair: Pair, window: Window) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        noisy, valid = stabilize(window.cut(pair.noisy), pair.noise), window.cut(pair.valid)
        white = stabilized_white(pair.noise)
        match self.target:
            case Target.NOTHING:
                return noisy, valid, white, None
            case Target.CAPTURE:
                again = stabilize(window.cut(pair.again), pair.noise)
                return noisy, valid & window.cut(pair.again_valid), white, again
            case Target.CLEAN:
                return noisy, valid, white, stabilized_mean(window.cut(pair.clean), pair.noise)


@dataclass(frozen=True, slots=True)
class CleanScenes:
    """Crops of mosaics without noise, for methods that learn from clean pictures of something else."""

    mosaics: tuple[Mosaic, ...]

    def draw(self, rng: Generator, count: int, size: int) -> tuple[Tensor, Tensor]:
        """Draw crops of `size` packed pixels, 0 black to 1 white, and where they are not saturated."""
        crops = []
        for _ in range(count):
            mosaic = self.mosaics[int(rng.integers(len(self.mosaics)))]
            crops.append(draw_window(rng, mosaic.shape, size).cut(mosaic))
        planes = torch.stack(crops)
        return planes, planes < 1


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """All that one camera's trainings and tests need; `tests` and `noise` are by ISO."""

    noise: Mapping[int, NoiseModel]
    pairs: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    tests: Mapping[int, tuple[Shot, ...]]


@lru_cache(maxsize=1)
def simulate(conditions: Conditions, sources: Sources) -> Data:
    """Take all captures of a camera: those to train on, by turns at its ISOs, and those to test with.

    Of each ISO the first capture is kept from training.
    """
    camera, (isos, tested) = simulated_camera(sources.published, conditions), CAMERAS[conditions.camera]
    kept = len(isos)
    if conditions.captures < 2 * kept:
        raise click.UsageError(f"{conditions.camera}: at least {2 * kept} captures are needed")

    def shot(scene: Scene, stream: int, index: int) -> Shot:
        rng = np.random.default_rng([conditions.seed, stream, index])
        return take(scene, camera, isos[index % kept], rng)

    scenes = enumerate(training_scenes(sources.train, conditions))
    shots = [[shot(scene, stream, index) for stream in (TRAINING, AGAIN)] for index, scene in scenes]
    seen = [sample_sound_pixels(first.planes, valid=first.valid) for first, _ in shots]
    samples: dict[int, list[tuple[NoiseSamples, ...]]] = {iso: [] for iso in isos}
    for (first, _), shown in zip(shots, seen, strict=True):
        samples[first.iso].append(shown)
    noise = noise_models(camera, conditions, samples)

    def to_clear(shown: tuple[NoiseSamples, ...], iso: int) -> NoiseModel:
        # As when tiles are cut: what nobody knows is taken from each capture alone to clear it.
        if conditions.knowledge is Knowledge.BLIND:
            return scale_noise(fit_noise([shown]), conditions.variance_factor, rows=True)
        return noise[iso]

    pairs = [
        pair_of(first, second, noise[first.iso], to_clear(shown, first.iso))
        for (first, second), shown in zip(shots, seen, strict=True)
    ]
    shown_in_tests = [linear_half(path) for path in pictures_in(sources.test)]
    tests = {
        iso: tuple(
            take(scene, camera, iso, np.random.default_rng([conditions.seed, TESTING, iso, index]))
            for index, scene in enumerate(shown_in_tests)
        )
        for iso in tested
    }
    return Data(noise, tuple(pairs[kept:]), tuple(pairs[:kept]), tests)
