"""sRGB pictures with Gaussian noise, as the papers train and test with: crops, and scores.

Noise of a known sigma, divided by it, is of unit variance at every level: the stabilised domain, where white
lies at 255 / sigma, which is how a network is told the sigma. A picture is three planes, and our networks
take four: the fourth is empty and never valid, so that it counts in no loss.

The noise is neither clipped nor rounded, answers are both, to whole numbers of 0 to 255, before they are
compared; PSNR is of all three colours, SSIM the mean over them, and both are means over the pictures. So does
the public code of Neighbor2Neighbor (its train.py), which repeats Kodak ten times with other noise, BSD300
three and Set14 twenty times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

import click
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.random import Generator
from PIL import Image
from torch import Tensor

from lab.captures import CLEAN, Target
from lab.compare import Test
from lab.data import digest, pictures_in
from lab.methods import BM3D, METHODS, NOISY, Figures
from lab.trials import Trial
from rawdenoise.inference.devices import pick_device
from rawdenoise.inference.tiling import denoise_tiled
from rawdenoise.nets import Network
from rawdenoise.quality.metrics import psnr, ssim
from rawdenoise.training.batches import Batch

WHITE = 255.0
COLOURS = slice(3)  # planes that hold red, green and blue
HELD_OUT = 20  # one picture in so many is never trained on
REPEATS = {"Kodak": 10, "BSD300": 3, "Set14": 20}  # what the papers do
TESTING = 101  # stream of random numbers

Picture = UInt8[np.ndarray, "3 h w"]
Pixels = Float32[np.ndarray, "3 h w"]
Denoiser = Callable[[Pixels, float], Pixels]  # a noisy picture, and its sigma


@dataclass(frozen=True, slots=True)
class Sigmas:
    """Standard deviations of noise, on the scale of 0 to 255: each crop and picture has its own."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "25" or "5-50"."""
        low, _, high = text.partition("-")
        sigmas = cls(float(low), float(high or low))
        if not 0 < sigmas.low <= sigmas.high:
            raise ValueError(f"{text}: not a sigma, nor two of them")
        return sigmas

    def __str__(self) -> str:
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"

    def draw(self, rng: Generator) -> float:
        """Draw one, evenly."""
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True, slots=True)
class TestSet:
    """A folder of pictures to test with, each of them `repeats` times, or the first `images` alone."""

    name: str
    folder: Path
    repeats: int = 1
    images: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read NAME=DIR, a set that is repeated as in the papers."""
        name, stated, folder = text.partition("=")
        if not stated:
            raise ValueError(f"{text}: it has the form NAME=DIR")
        return cls(name, Path(folder), REPEATS.get(name, 1))

    @property
    def digest(self) -> str:
        """Tells one set from another, wherever it lies."""
        paths = pictures_in(self.folder)[: self.images]
        return f"{self.name}-{digest(paths)}-{len(paths)}x{self.repeats}"


def read_picture(path: Path) -> Picture:
    """Read a picture as it is, whatever its size."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy()


# ---------------------------------------------------------------- to train on


@dataclass(frozen=True, slots=True, eq=False)
class PictureSource:
    """Crops for any objective, the same for all of them; only `target` beside the noisy ones can be seen."""

    pictures: tuple[Picture, ...]
    held_out: tuple[Picture, ...]
    sigmas: Sigmas
    target: Target = Target.NOTHING

    @property
    def largest_crop(self) -> int:
        """In pixels."""
        return min(min(picture.shape[1:]) for picture in (*self.pictures, *self.held_out))

    def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
        """Draw random crops, each turned or mirrored in one of eight ways, and their noise."""
        crops = _draw_crops(rng, self.held_out if held_out else self.pictures, count, size)
        sigma = np.array([self.sigmas.draw(rng) for _ in crops], np.float32)[:, None, None, None]
        clean = crops / sigma
        noisy = clean + rng.standard_normal(clean.shape, dtype=np.float32)
        target = None
        match self.target:  # drawn last: the noisy crops are the same with and without
            case Target.CAPTURE:
                target = four_planes(clean + rng.standard_normal(clean.shape, dtype=np.float32))
            case Target.CLEAN:
                target = four_planes(clean)
        white = torch.from_numpy(WHITE / sigma[:, 0, 0]).expand(count, 4)
        return Batch(four_planes(noisy), _three_valid(count, size), white, target)

    def unpaired(self) -> tuple[PictureSource, CleanPictures]:
        """Noisy crops of most pictures, and clean ones of a fifth."""
        count = max(1, len(self.pictures) // CLEAN)
        return replace(self, pictures=self.pictures[:-count]), CleanPictures(self.pictures[-count:])


@dataclass(frozen=True, slots=True, eq=False)
class CleanPictures:
    """Crops of pictures without noise, 0 black and 1 white."""

    pictures: tuple[Picture, ...]

    def draw(self, rng: Generator, count: int, size: int) -> tuple[Tensor, Tensor]:
        """Draw random crops, and where they are valid."""
        crops = _draw_crops(rng, self.pictures, count, size)
        return four_planes(crops / np.float32(WHITE)), _three_valid(count, size)


def _draw_crops(
    rng: Generator, pictures: tuple[Picture, ...], count: int, size: int
) -> Float32[np.ndarray, "b 3 h w"]:
    crops = []
    for _ in range(count):
        picture = pictures[int(rng.integers(len(pictures)))]
        top, left = (int(rng.integers(length - size + 1)) for length in picture.shape[1:])
        crop = np.rot90(picture[:, top : top + size, left : left + size], int(rng.integers(4)), axes=(1, 2))
        crops.append((crop if rng.integers(2) else crop[:, :, ::-1]).astype(np.float32))
    return np.stack(crops)


def _three_valid(count: int, size: int) -> Tensor:
    valid = torch.zeros(count, 4, size, size, dtype=torch.bool)
    valid[:, COLOURS] = True
    return valid


def picture_source(folder: Path, sigmas: Sigmas, target: Target) -> PictureSource:
    """All pictures of a folder, in memory; every twentieth is held out.

    Raises:
        UsageError: there are fewer than two.
    """
    pictures = _all_pictures(folder)
    if len(pictures) < 2:
        raise click.UsageError(f"{folder}: one picture to train on, and one to hold out, are the least")
    kept = tuple(picture for index, picture in enumerate(pictures) if index % HELD_OUT)
    return PictureSource(kept, pictures[::HELD_OUT], sigmas, target)


@lru_cache(maxsize=1)
def _all_pictures(folder: Path) -> tuple[Picture, ...]:
    return tuple(read_picture(path) for path in pictures_in(folder))


def four_planes(colours: Float32[np.ndarray, "b 3 h w"]) -> Float32[Tensor, "b 4 h w"]:
    """Put nothing into a fourth plane."""
    count, _, height, width = colours.shape
    planes = torch.zeros(count, 4, height, width)
    planes[:, COLOURS] = torch.from_numpy(colours)
    return planes


# ---------------------------------------------------------------- to test with


def noisy_pixels(clean: Picture, sigmas: Sigmas, rng: Generator) -> tuple[Pixels, float]:
    """Add noise to a picture; returns it and its sigma."""
    sigma = sigmas.draw(rng)
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return clean + np.float32(sigma) * noise, sigma


def score(test: TestSet, sigmas: Sigmas, denoise: Denoiser) -> Figures:
    """Denoise all pictures as often as is asked for; the noise is the same for all methods."""
    pairs = []
    for index, path in enumerate(pictures_in(test.folder)[: test.images]):
        clean = read_picture(path)
        for repeat in range(test.repeats):
            noisy, sigma = noisy_pixels(clean, sigmas, np.random.default_rng([TESTING, index, repeat]))
            pairs.append(compare(to_whole_numbers(denoise(noisy, sigma)), clean))
    return Figures(tuple(one for one, _ in pairs), tuple(other for _, other in pairs))


def to_whole_numbers(pixels: Pixels) -> Picture:
    """Clip and round to what an 8-bit picture can hold."""
    return np.clip(pixels + 0.5, 0, WHITE).astype(np.uint8)


def compare(picture: Picture, clean: Picture) -> tuple[float, float]:
    """PSNR in dB and SSIM, of 0 to 255."""
    pair = picture.astype(np.float32), clean.astype(np.float32)
    return psnr(*pair, peak=WHITE), ssim(*pair, peak=WHITE)


def as_it_is(noisy: Pixels, sigma: float) -> Pixels:
    """Leave the noise in."""
    return noisy


def by_bm3d(noisy: Pixels, sigma: float) -> Pixels:
    """BM3D for colours (Dabov et al., ICIP 2007), told the sigma."""
    from bm3d import bm3d_rgb

    clean = bm3d_rgb(noisy.transpose(1, 2, 0) / WHITE, sigma / WHITE)
    return (WHITE * np.asarray(clean, np.float32)).transpose(2, 0, 1)


def by_net(net: Network, device: torch.device, *, of_cameras: bool = False) -> Denoiser:
    """A network, on pictures of any size, mirrored at the right and the lower edge.

    One that was trained on cameras knows R, G, G and B, and is given green twice.
    """
    net = net.to(device).eval()

    def denoise(noisy: Pixels, sigma: float) -> Pixels:
        planes = four_planes(noisy[None] / np.float32(sigma))[0].numpy()
        if of_cameras:
            planes = planes[[0, 1, 1, 2]]
        white = torch.full((1, 4), WHITE / sigma, device=device)
        clean = denoise_tiled(
            planes, lambda tile: net(tile, white), halo=net.halo, multiple=net.multiple, device=device
        )
        return sigma * (clean[[0, 1, 3]] if of_cameras else clean[COLOURS])

    return denoise


def picture_test(test: TestSet, sigmas: Sigmas, device: str) -> Test:
    """Test methods on a set of pictures."""

    def run(method: str, trial: Trial, net: Network | None) -> Figures:
        if net is None:
            return score(test, sigmas, {NOISY: as_it_is, BM3D: by_bm3d}[method])
        bundled = METHODS[method].base is not None
        return score(test, sigmas, by_net(net, pick_device(device), of_cameras=bundled))

    return Test(test.name, f"sigma {sigmas}, {test.digest}", run)
