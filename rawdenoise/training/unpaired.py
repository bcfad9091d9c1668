"""Unpaired learning (Wu, Liu, Cao, Ren and Zuo, ECCV 2020): from noisy captures and others that are clean.

First a blind-spot network and a noise estimator learn, from the noisy captures alone, what the scene is at
each pixel and how noisy it is. Then an ordinary network is taught by pairs of two kinds: clean captures, of
whatever else, with noise drawn anew; and noisy captures with what the first stage makes of them.

A camera's captures at its base ISO are clean enough. Their little noise is taken off by a trained network:
left in, it would be taught to stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32
from numpy.random import Generator
from torch import Tensor

from rawdenoise.errors import NoCleanCapturesError, TrainingError, UnusableCleanError
from rawdenoise.models.model import Model
from rawdenoise.nets import BlindSpotDenoiser, Network
from rawdenoise.nets.gaussians import mix
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilized_mean
from rawdenoise.pipeline import denoise_planes
from rawdenoise.training.batches import Batch, Source
from rawdenoise.training.captures import CaptureSet
from rawdenoise.training.crops import crop_rggb, mosaic_rggb
from rawdenoise.training.loop import Fitted, fit
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress, TrainingStopped
from rawdenoise.training.redrawn_noise import redraw
from rawdenoise.training.tiles import Tile, TileStore, draw_tiles, name_tile_file

FIRST_STAGE, SECOND_STAGE = "first", "second"  # folders of the stages' checkpoints
FIRST_STAGE_SHARE = 0.1  # of the budget, for the blind-spot network
PSEUDO_SHARE = 1 / 11  # of the pairs: the paper weighs them 0.1 to 1
NOISE_JITTER = (0.9, 1.1)  # factors on the noise that is drawn, as in the authors' code
MAXIMUM_CLEAN_VARIANCE = 0.1  # noise variance, against that of the noisiest ISO
GRAY_SIGNAL = 0.18  # the signal at which they are compared
MAXIMUM_CLEAN_TILES = 400  # tiles of clean captures, half a megabyte each
MINIMUM_BRIGHTNESS = 0.25  # a clean capture is shown at down to this share of its brightness


@dataclass(frozen=True, slots=True)
class Unpaired:
    """How to learn from clean captures as well.

    `clean` are the digests of those captures; without them they are the camera's own whose noise has at most
    a tenth of the variance of the noisiest ones'. `learned_noise` draws noise as the first stage found it, in
    place of the calibrated one.
    """

    clean: tuple[str, ...] | None = None
    blind_spot: str = "d-bsn-light"
    learned_noise: bool = False


@runtime_checkable
class CleanSource(Protocol):
    """Where clean crops come from."""

    def draw(
        self, rng: Generator, count: int, size: int
    ) -> tuple[Float32[Tensor, "b 4 h w"], Bool[Tensor, "b 4 h w"]]:
        """Draw crops on the packed scale, and where they are valid."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CleanCaptures:
    """Crops of captures at base ISO, cleaned of what noise they have, and some of them darkened.

    Each tile is cleaned when it is first drawn, and stays in memory.
    """

    store: TileStore
    cleaner: Model
    _cleaned: dict[Tile, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def draw(
        self, rng: Generator, count: int, size: int
    ) -> tuple[Float32[Tensor, "b 4 h w"], Bool[Tensor, "b 4 h w"]]:
        """Draw crops on the packed scale, and where they are valid."""
        crops = [crop_rggb(self._clean(tile), rng, size) for tile in draw_tiles(self.store.tiles, rng, count)]
        planes, valid = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*crops, strict=True))
        factors = torch.from_numpy(np.exp(rng.uniform(np.log(MINIMUM_BRIGHTNESS), 0, (count, 1, 1, 1))))
        return planes.float() * factors.float(), valid

    def _clean(self, tile: Tile) -> tuple[Float16[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
        """Give a tile without its noise, as a mosaic, and where it is valid."""
        if tile not in self._cleaned:
            planes, valid = self.store.read_whole(tile)
            noise = self.store.noise[tile.noise].noise
            clean = denoise_planes(planes, noise, self.cleaner, device="cpu")
            self._cleaned[tile] = mosaic_rggb(clean.clip(0)).astype(np.float16), mosaic_rggb(valid)
        return self._cleaned[tile]


@dataclass(frozen=True, slots=True, eq=False)
class Distillation:
    """Pairs for the second stage: clean crops with noise drawn anew, and what `first` made of noisy ones.

    The noise is that of noisy crops drawn beside the clean ones, so ISOs are as frequent as there.
    """

    noisy: Source
    clean: CleanSource
    first: BlindSpotDenoiser
    learned_noise: bool = False

    @property
    def largest_crop(self) -> int:
        """What the noisy captures have room for."""
        return self.noisy.largest_crop

    @torch.no_grad()
    def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
        """Draw pairs; held-out ones are noisy captures alone."""
        batch = self.noisy.draw(rng, count, size, held_out=held_out)
        if held_out:
            return batch
        pseudo = torch.from_numpy(rng.random(count) < PSEUDO_SHARE)
        noisy, valid, target = self._synthesize(rng, batch, size)
        if pseudo.any():
            target[pseudo] = self.first(batch.noisy[pseudo], batch.white[pseudo])
            noisy[pseudo], valid[pseudo] = batch.noisy[pseudo], batch.valid[pseudo]
        return Batch(noisy, valid, batch.white, target, batch.noise)

    def _synthesize(
        self, rng: Generator, like: Batch, size: int
    ) -> tuple[Float32[Tensor, "b 4 h w"], Bool[Tensor, "b 4 h w"], Float32[Tensor, "b 4 h w"]]:
        """Expose clean crops anew with the noise of others."""
        planes, valid = self.clean.draw(rng, len(like.noisy), size)
        target = _stabilized_mean(planes, like)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        noise = redraw(target, like.noise, generator) - target
        if self.learned_noise:
            noise = mix(self.first.noise(target, like.white[..., None, None]), noise)
        jitter = torch.from_numpy(rng.uniform(*NOISE_JITTER, (len(target), 1, 1, 1)).astype(np.float32))
        return target + jitter * noise, valid.clone(), target


def _stabilized_mean(planes: Float32[Tensor, "b 4 h w"], like: Batch) -> Float32[Tensor, "b 4 h w"]:
    """Bring clean crops to where those of a batch are; without noise models, by their white alone."""
    if not like.noise:
        return planes * like.white[..., None, None]
    return torch.cat(
        [stabilized_mean(crop[None], noise) for crop, noise in zip(planes, like.noise, strict=True)]
    )


@dataclass(frozen=True, slots=True, eq=False)
class UnpairedCrops:
    """What unpaired learning learns from: noisy crops, and clean ones of whatever else."""

    noisy: Source
    clean: CleanSource


def fit_unpaired(
    crops: UnpairedCrops,
    options: TrainingOptions,
    unpaired: Unpaired,
    *,
    folder: Path,
    run: str,
    start: Network | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train both stages, the second from `start` or from nothing; the checkpoints lie in `folder`.

    The budget is shared. To resume, call it again.

    Raises: as `fit`.
    """
    last_minutes = (1 - FIRST_STAGE_SHARE) * (options.minutes or 0.0)

    def on_first(progress: Progress) -> None:
        remaining = progress.remaining_s
        whole = remaining + 60 * last_minutes if remaining is not None and last_minutes else None
        done = FIRST_STAGE_SHARE * progress.done
        on_progress(replace(progress, stage="learning the noise", done=done, remaining_s=whole))

    def on_second(progress: Progress) -> None:
        count, elapsed_s = first.crops + progress.crops, first.training_s + progress.elapsed_s
        done = FIRST_STAGE_SHARE + (1 - FIRST_STAGE_SHARE) * progress.done
        on_progress(replace(progress, done=done, crops=count, elapsed_s=elapsed_s))

    # To the end, and the end: the estimated risk believes in the calibration, which this stage is to mend.
    blind = replace(_take_share(options, FIRST_STAGE_SHARE), net=unpaired.blind_spot, objective="unpaired")
    first = fit(
        crops.noisy, replace(blind, learning_rate=None, guard=False),
        folder=folder / FIRST_STAGE, run=run, on_progress=on_first, stop=stop,
    )  # fmt: skip
    assert isinstance(first.last, BlindSpotDenoiser)
    try:
        second = fit(
            Distillation(crops.noisy, crops.clean, first.last, unpaired.learned_noise),
            replace(_take_share(options, 1 - FIRST_STAGE_SHARE), objective="supervised"),
            folder=folder / SECOND_STAGE, run=run, start=start, on_progress=on_second, stop=stop,
        )  # fmt: skip
    except TrainingStopped as stopped:
        raise TrainingStopped(first.crops + stopped.crops) from None
    seconds, count = first.training_s + second.training_s, first.crops + second.crops
    return replace(second, training_s=seconds, crops=count)


def clean_captures(store: TileStore, captures: CaptureSet, unpaired: Unpaired) -> TileStore:
    """The tiles of a camera's captures that are clean.

    Raises:
        TrainingError: there are none, or none that is not held out.
    """
    named = unpaired.clean
    isos = set(clean_isos([at_iso.noise for at_iso in store.noise], named=named is not None))
    numbered = enumerate(captures.captures)
    files = {name_tile_file(number) for number, capture in numbered if named and capture.digest in named}

    def is_clean(tile: Tile) -> bool:
        return tile.noise in isos and (named is None or tile.file in files)

    tiles = tuple(filter(is_clean, store.tiles))
    if not tiles and named is not None and not any(map(is_clean, store.held_out)):
        raise UnusableCleanError(
            f"of the {len(files)} captures given as clean none has a tenth of the others' noise variance"
        )
    if not tiles:
        raise TrainingError("the only clean capture is held out, to judge by; add captures at base ISO")
    return replace(store, tiles=tiles[:MAXIMUM_CLEAN_TILES], held_out=())


def clean_isos(noise: Sequence[NoiseModel], *, named: bool = False) -> list[int]:
    """Which of a camera's noise models are clean against the noisiest; `named` captures are meant to be.

    Raises:
        TrainingError: none is.
    """
    variances = [
        float(np.mean(model.variance(np.full((4, 1, 1), GRAY_SIGNAL, np.float32)))) for model in noise
    ]
    noisiest = max(variances)
    clean = [at for at, variance in enumerate(variances) if variance <= MAXIMUM_CLEAN_VARIANCE * noisiest]
    if not clean:
        ratio = noisiest / min(variances)
        what = (
            "none of the captures given as clean is clean beside the others" if named
            else "no capture here is clean"
        )  # fmt: skip
        remedy = "" if named else "; add captures at base ISO"
        raise (UnusableCleanError if named else NoCleanCapturesError)(
            f"{what}: the noise variance differs by a factor of {ratio:.1f}, and "
            f"{1 / MAXIMUM_CLEAN_VARIANCE:.0f} is needed{remedy}"
        )
    return clean


def _take_share(options: TrainingOptions, share: float) -> TrainingOptions:
    minutes = None if options.minutes is None else share * options.minutes
    crops = None if options.crops is None else max(1, round(share * options.crops))
    return replace(options, minutes=minutes, crops=crops)
