"""Simulated captures of photographs, whose clean mosaics are known, and crops of them to train on.

They go the way of any capture: packed, their noise estimated or looked up, cleared of rows and defects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.random import Generator
from photographs import landscape, linear_half, pictures_in, side_by_side
from published import published_camera, true_noise
from torch import Tensor

from rawdenoise.calibration import calibrate_from_frames
from rawdenoise.capture.packing import clipped, pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.noise.artefacts import cleared, sample_sound
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.samples import NoiseSamples
from rawdenoise.noise.stabilize import stabilize, stabilized_mean, stabilized_white
from rawdenoise.noise.tukey import tukey_lambda_deviation
from rawdenoise.simulation.camera import SimulatedCamera, capture, evenly_lit
from rawdenoise.training.batches import Batch
from rawdenoise.training.crops import mosaic_rggb, pack_rggb, turn

COLUMNS, ROWS = 5, 2  # of photographs in a capture to train on
HEIGHT, WIDTH = 160, 240  # of each
CLEAN = 5  # one scene in so many is clean where methods learn from some that are
DARKS, EXPOSURES, FLAT_SIZE = 4, 6, (600, 400)  # of a calibration from frames
TRAINING, AGAIN, TESTING, CALIBRATING = range(4)  # streams of random numbers

Planes = Float32[np.ndarray, "4 h w"]
Mask = Bool[np.ndarray, "4 h w"]
Mosaic = Float32[np.ndarray, "h w"]
Scene = Float32[np.ndarray, "h w 3"]


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


@dataclass(frozen=True, slots=True)
class Isos:
    """What a camera is trained over, and tested at."""

    trained: tuple[int, ...]
    tested: tuple[int, ...]


CAMERAS: Mapping[str, Isos] = {
    "A7S2": Isos((1600, 6400, 25600), (1600, 6400, 25600)),
    "IMX385": Isos((3200, 12800), (12800,)),
    "PMRID": Isos((800, 1600, 3200), (3200,)),
}


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
    raw, clean = capture(scene, camera.resized(scene.shape[1], scene.shape[0]), iso, rng)
    return Shot(raw, pack(raw), ~clipped(raw), pack(replace(raw, mosaic=clean)))


def simulated_camera(table: Path, conditions: Conditions) -> SimulatedCamera:
    """The camera as published, or with the noise that is asked for."""
    isos = CAMERAS[conditions.camera]
    every = sorted({*isos.trained, *isos.tested})
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
        chosen = islice(endless, COLUMNS * ROWS)
        yield side_by_side(
            [landscape(linear_half(pictures[each]), HEIGHT, WIDTH) for each in chosen], COLUMNS
        )


# ---------------------------------------------------------------- what is known of the noise


def noise_models(
    camera: SimulatedCamera,
    conditions: Conditions,
    samples: Mapping[int, Sequence[tuple[NoiseSamples, ...]]],
) -> dict[int, NoiseModel]:
    """The noise model of each ISO; `samples` are what the captures to train on show."""
    match conditions.knowledge:
        case Knowledge.BLIND:
            models = {iso: fit_noise(each) for iso, each in samples.items()}
        case Knowledge.CALIBRATED:
            models = {iso: _calibrated(camera, iso, conditions.seed) for iso in camera.noise}
        case Knowledge.TRUE:
            models = {iso: true_noise(camera, iso) for iso in camera.noise}
        case Knowledge.GAUSSIAN:
            models = {iso: replace(true_noise(camera, iso), tail=None) for iso in camera.noise}
        case Knowledge.ROWLESS:
            models = {iso: replace(true_noise(camera, iso), row_variance=0.0) for iso in camera.noise}
    return {iso: scaled(model, conditions.variance_factor) for iso, model in models.items()}


def _calibrated(camera: SimulatedCamera, iso: int, seed: int) -> NoiseModel:
    """Calibrate from darks and flats."""
    rng, camera = np.random.default_rng([seed, CALIBRATING, iso]), camera.resized(*FLAT_SIZE)
    levels = np.geomspace(0.02, 0.6, EXPOSURES)
    (point,) = calibrate_from_frames(
        [evenly_lit(camera, iso, 0, rng) for _ in range(DARKS)],
        [evenly_lit(camera, iso, level, rng, exposure_s=level) for level in levels for _ in range(2)],
    )
    return point.noise


def scaled(noise: NoiseModel, factor: float) -> NoiseModel:
    """A noise model with so many times the variance."""
    shot, read = (tuple(factor * v for v in values) for values in (noise.shot, noise.read_variance))
    return replace(noise, shot=shot, read_variance=read, row_variance=factor * noise.row_variance)


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
        crops = [self._crop(rng, pair, size) for pair in drawn]
        noisy, valid, white, targets = zip(*crops, strict=True)
        target = None if self.target is Target.NOTHING else torch.stack(targets)
        noise = tuple(pair.noise for pair in drawn)
        return Batch(torch.stack(noisy), torch.stack(valid), torch.stack(white), target, noise)

    def unpaired(self) -> tuple[PairSource, CleanScenes]:
        """Noisy crops, and clean ones of other scenes: a fifth of the captures as scenes alone."""
        count = max(1, len(self.pairs) // CLEAN)
        clean = CleanScenes(tuple(pair.clean for pair in self.pairs[-count:]))
        return PairSource(self.pairs[:-count], self.held_out), clean

    def _crop(self, rng: Generator, pair: Pair, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        side = 2 * size + 2
        top, left = (2 * int(rng.integers((length - side) // 2 + 1)) for length in pair.noisy.shape)
        window, way = (slice(top, top + side), slice(left, left + side)), int(rng.integers(8))

        def crop(mosaic: np.ndarray) -> Tensor:
            return torch.from_numpy(pack_rggb(turn(mosaic[window], way)))

        noisy, valid = stabilize(crop(pair.noisy), pair.noise), crop(pair.valid)
        white = stabilized_white(pair.noise)
        match self.target:
            case Target.NOTHING:
                return noisy, valid, white, None
            case Target.CAPTURE:
                again = stabilize(crop(pair.again), pair.noise)
                return noisy, valid & crop(pair.again_valid), white, again
            case Target.CLEAN:
                return noisy, valid, white, stabilized_mean(crop(pair.clean), pair.noise)


@dataclass(frozen=True, slots=True)
class CleanScenes:
    """Crops of mosaics without noise, for methods that learn from clean pictures of something else."""

    mosaics: tuple[Mosaic, ...]

    def draw(self, rng: Generator, count: int, size: int) -> tuple[Tensor, Tensor]:
        """Draw crops of `size` packed pixels, 0 black to 1 white, and where they are not saturated."""
        crops = []
        for _ in range(count):
            mosaic, side = self.mosaics[int(rng.integers(len(self.mosaics)))], 2 * size + 2
            top, left = (2 * int(rng.integers((length - side) // 2 + 1)) for length in mosaic.shape)
            window = mosaic[top : top + side, left : left + side]
            crops.append(torch.from_numpy(pack_rggb(turn(window, int(rng.integers(8))))))
        planes = torch.stack(crops)
        return planes, planes < 1


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """All that one camera's trainings and tests need; `tests` and `noise` are by ISO."""

    camera: SimulatedCamera
    noise: Mapping[int, NoiseModel]
    pairs: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    tests: Mapping[int, tuple[Shot, ...]]

    def source(self, target: Target) -> PairSource:
        """Crops, with what may be seen beside them."""
        return PairSource(self.pairs, self.held_out, target)

    def unpaired(self) -> tuple[PairSource, CleanScenes]:
        """Noisy crops, and clean ones of other scenes."""
        return self.source(Target.NOTHING).unpaired()


def simulate(conditions: Conditions, sources: Sources) -> Data:
    """Take all captures of a camera: those to train on, by turns at its ISOs, and those to test with.

    Of each ISO the first capture is kept from training.
    """
    camera, isos = simulated_camera(sources.published, conditions), CAMERAS[conditions.camera]
    if conditions.captures < 2 * len(isos.trained):
        raise SystemExit(f"{conditions.camera}: at least {2 * len(isos.trained)} captures are needed")
    shots = [
        [
            take(
                scene,
                camera,
                isos.trained[index % len(isos.trained)],
                np.random.default_rng([conditions.seed, stream, index]),
            )
            for stream in (TRAINING, AGAIN)
        ]
        for index, scene in enumerate(training_scenes(sources.train, conditions))
    ]

    samples: dict[int, list[tuple[NoiseSamples, ...]]] = {iso: [] for iso in isos.trained}
    seen = [sample_sound(first.planes, valid=first.valid) for first, _ in shots]
    for (first, _), each in zip(shots, seen, strict=True):
        samples[first.iso].append(each)
    noise = noise_models(camera, conditions, samples)

    # As when tiles are cut: what nobody knows is taken from each capture alone to clear it.
    blind = conditions.knowledge is Knowledge.BLIND
    pairs = [
        pair_of(
            first,
            second,
            noise[first.iso],
            scaled(fit_noise([each]), conditions.variance_factor) if blind else noise[first.iso],
        )
        for (first, second), each in zip(shots, seen, strict=True)
    ]
    kept = len(isos.trained)
    return Data(camera, noise, tuple(pairs[kept:]), tuple(pairs[:kept]), _tests(camera, conditions, sources))


def pair_of(first: Shot, second: Shot, noise: NoiseModel, to_clear: NoiseModel) -> Pair:
    """Two captures of a scene, cleared by one noise model and to be trained on with another."""
    sound, again = (cleared(shot.planes, to_clear, valid=shot.valid) for shot in (first, second))
    return Pair(
        noise=noise,
        noisy=mosaic_rggb(sound.planes),
        valid=mosaic_rggb(first.valid & ~sound.defects),
        again=mosaic_rggb(again.planes),
        again_valid=mosaic_rggb(second.valid & ~again.defects),
        clean=mosaic_rggb(first.clean),
    )


def _tests(camera: SimulatedCamera, conditions: Conditions, sources: Sources) -> dict[int, tuple[Shot, ...]]:
    scenes = [linear_half(path) for path in pictures_in(sources.test)]
    return {
        iso: tuple(
            take(scene, camera, iso, np.random.default_rng([conditions.seed, TESTING, iso, index]))
            for index, scene in enumerate(scenes)
        )
        for iso in CAMERAS[conditions.camera].tested
    }
