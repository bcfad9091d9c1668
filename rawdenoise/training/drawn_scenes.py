"""Captures of procedural scenes by cameras that are drawn at random: what the bundled models learn from.

In the stabilised domain all cameras have the same noise, so one network serves them all, if it has seen
scenes in all brightnesses, contrasts and colours that a sensor may give, and all the shapes noise takes at a
few electrons. Scenes are painted once, to a folder (`scenes.make_scene`); cameras and noise are new at every
step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy.random import Generator
from PIL import Image

from rawdenoise.atomic import atomic_output
from rawdenoise.capture.srgb import decode_srgb
from rawdenoise.errors import UnreadableError
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_mean, stabilized_white
from rawdenoise.noise.tukey import tukey_lambda, tukey_lambda_deviation
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training.batches import Batch

SCENE_SIDE, MINIMUM_SIDE = 768, 128  # pixels a side, of what is painted and of what is taken
SCENES_PER_HELD_OUT = 20  # one scene in so many is kept from training
CROPS_PER_CAMERA = 4
# Electrons at white: from a small sensor at its highest ISO to a large one at its lowest. Read noise in
# electrons and the shape of its tails (None: Gaussian): those of published calibrations and beyond them.
FULL_WELL_RANGE = (50.0, 12_000.0)
READ_NOISES = tuple(float(value) for value in np.geomspace(0.6, 16.0, 24))
TAIL_SHAPES = (None, None, 0.1, 0.0, -0.1)
EXPOSURE_RANGE = (0.06, 1.1)  # of a scene's own, which brings its highlights to white
RED_RANGE, BLUE_RANGE, CROSSTALK = (0.3, 0.9), (0.35, 0.95), 0.35  # of a camera's raw colours, against green
HALF_SIZE_CHANCE = 0.3  # chance that a scene is taken at half its size: finer detail, sharper edges


@dataclass(frozen=True, slots=True)
class SyntheticCaptures:
    """A `Source` with clean targets; `scenes` are files of linear sRGB, float16, height x width x 3."""

    scenes: tuple[Path, ...]
    held_out: tuple[Path, ...]

    @property
    def largest_crop(self) -> int:
        """What the smallest scene that is taken has room for, in packed pixels."""
        return MINIMUM_SIDE // 2

    def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
        """Draw crops; every `CROPS_PER_CAMERA` share a camera."""
        scenes = self.held_out if held_out else self.scenes
        shares = (min(CROPS_PER_CAMERA, count - done) for done in range(0, count, CROPS_PER_CAMERA))
        return _join(
            [_capture([_draw_light(rng, scenes, size) for _ in range(share)], rng) for share in shares]
        )


def paint_scenes(
    folder: Path,
    count: int,
    *,
    seed: int = 0,
    pictures: Sequence[Path] = (),
    on_scene: Callable[[int, int], None] = lambda done, of: None,
) -> SyntheticCaptures:
    """Paint `count` scenes into a folder, unless they are there already, and add a user's pictures.

    `pictures` are in sRGB; they are reduced by two, which takes their noise and compression away. The
    same seed paints the same scenes.

    Raises:
        UnreadableError: a picture cannot be read or is too small. OutputError: the folder cannot be written.
    """
    painted = []
    for number in range(count):
        path = folder / f"scene-{seed}-{number:05}.npy"
        if not path.exists():
            _save(path, make_scene(SCENE_SIDE, SCENE_SIDE, np.random.default_rng([seed, number])))
        painted.append(path)
        on_scene(number + 1, count)
    painted += [_reduce_picture(picture, folder) for picture in pictures]
    kept = max(1, len(painted) // SCENES_PER_HELD_OUT)
    order = [painted[i] for i in np.random.default_rng(seed).permutation(len(painted))]
    return SyntheticCaptures(tuple(order[kept:]), tuple(order[:kept]))


def digest_scenes(count: int, seed: int, pictures: Sequence[Path]) -> str:
    """Identify the scenes that `paint_scenes` would give."""
    files = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures)
    return hashlib.sha256(json.dumps([count, seed, SCENE_SIDE, files]).encode()).hexdigest()


def _reduce_picture(image: Path, folder: Path) -> Path:
    """Bring a picture to linear sRGB at half its size, in a file of its own."""
    try:
        with Image.open(image) as opened:
            srgb = np.asarray(opened.convert("RGB"), np.float32) / 255
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableError(image, "is no picture that can be read") from error
    linear = decode_srgb(srgb).astype(np.float32)
    height, width = (length // 2 for length in linear.shape[:2])
    if min(height, width) < MINIMUM_SIDE:
        raise UnreadableError(
            image, f"is too small to learn from: {2 * MINIMUM_SIDE} pixels a side are needed"
        )
    half = linear[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    stem = hashlib.sha256(image.read_bytes()).hexdigest()[:16]
    path = folder / f"image-{stem}.npy"
    if not path.exists():
        _save(path, half)
    return path


def _save(path: Path, scene: Float32[np.ndarray, "h w 3"]) -> None:
    with atomic_output(path) as temporary, temporary.open("wb") as file:
        np.save(file, scene.astype(np.float16))


def _draw_light(rng: Generator, scenes: Sequence[Path], size: int) -> Float32[np.ndarray, "h w 3"]:
    """Draw a crop of a scene, turned or mirrored, in linear sRGB."""
    scene = np.load(scenes[int(rng.integers(len(scenes)))], mmap_mode="r")
    side, factor = 2 * size, 1
    if rng.random() < HALF_SIZE_CHANCE and min(scene.shape[:2]) >= 2 * side:
        factor = 2
    reach = factor * side
    top, left = (int(rng.integers(length - reach + 1)) for length in scene.shape[:2])
    light = np.asarray(scene[top : top + reach, left : left + reach], np.float32)
    if factor == 2:
        quarters = light[::2, ::2] + light[1::2, ::2] + light[::2, 1::2] + light[1::2, 1::2]
        light = np.asarray(quarters / 4, np.float32)
    way = int(rng.integers(8))
    if way & 4:
        light = light.transpose(1, 0, 2)
    return np.ascontiguousarray(light[:: -1 if way & 2 else 1, :: -1 if way & 1 else 1])


def _capture(lights: Sequence[Float32[np.ndarray, "h w 3"]], rng: Generator) -> Batch:
    """Take crops of light with one camera."""
    full_well = float(np.exp(rng.uniform(*np.log(FULL_WELL_RANGE))))
    read = READ_NOISES[int(rng.integers(len(READ_NOISES)))]
    tail = TAIL_SHAPES[int(rng.integers(len(TAIL_SHAPES)))]
    noise = NoiseModel((1 / full_well,) * 4, ((read / full_well) ** 2,) * 4, tail=tail)
    to_camera = _draw_camera_colors(rng)
    dark, bright = np.log(EXPOSURE_RANGE)
    exposure = np.exp(rng.uniform(dark, bright, (len(lights), 1, 1, 1)))
    clean = np.stack([_mosaic(light @ to_camera) for light in lights]) * exposure.astype(np.float32)
    noisy = rng.poisson(clean * full_well) + read * _draw_read_noise(rng, clean.shape, tail)
    noisy = np.minimum(noisy / full_well, 1).astype(np.float32)
    planes = torch.from_numpy(noisy)
    white = stabilized_white(noise).expand(len(lights), 4)
    target = stabilized_mean(torch.from_numpy(np.minimum(clean, 1)), noise)
    return Batch(stabilize(planes, noise), planes < 1, white, target, (noise,) * len(lights))


def _join(batches: Sequence[Batch]) -> Batch:
    noisy, valid, white, target = (
        torch.cat([getattr(batch, name) for batch in batches])
        for name in ("noisy", "valid", "white", "target")
    )
    return Batch(noisy, valid, white, target, tuple(model for batch in batches for model in batch.noise))


def _draw_camera_colors(rng: Generator) -> Float32[np.ndarray, "3 3"]:
    """Draw a matrix from linear sRGB to raw colours, by multiplication from the right; white's green is 1."""
    mixed = (1 - CROSSTALK) * np.eye(3) + CROSSTALK * rng.dirichlet((1.0, 1.0, 1.0), 3)
    return (mixed * np.array([[rng.uniform(*RED_RANGE)], [1.0], [rng.uniform(*BLUE_RANGE)]])).T.astype(
        np.float32
    )


def _mosaic(raw: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "4 h2 w2"]:
    red, green, blue = raw[..., 0], raw[..., 1], raw[..., 2]
    return np.stack([red[::2, ::2], green[::2, 1::2], green[1::2, ::2], blue[1::2, 1::2]])


def _draw_read_noise(
    rng: Generator, shape: tuple[int, ...], tail: float | None
) -> Float32[np.ndarray, "b 4 h w"]:
    if tail is None:
        return rng.standard_normal(shape, dtype=np.float32)
    uniform = rng.uniform(1e-6, 1 - 1e-6, shape)
    return (tukey_lambda(uniform, tail) / _deviation(tail)).astype(np.float32)


@lru_cache
def _deviation(tail: float) -> float:
    return tukey_lambda_deviation(tail)
