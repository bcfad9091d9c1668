"""What a model does to captures it was not trained on: its gain, its residual, and a place to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32, Shaped

from rawdenoise.nets import Network
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.quality.residuals import ResidualSums, ResidualTests
from rawdenoise.quality.stein import probe_network

if TYPE_CHECKING:
    from rawdenoise.training.tiles import Tile, TileStore

Planes = Float32[np.ndarray, "4 h w"]

CROP_SIDE = 160  # packed pixels


@dataclass(frozen=True, slots=True)
class HeldOutLimits:
    """How much is denoised: so many ISOs, tiles of an ISO and of all, which take seconds on two cores."""

    isos: int
    tiles: int
    tiles_per_iso: int


HELD_OUT_LIMITS = HeldOutLimits(isos=12, tiles=24, tiles_per_iso=4)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One place of a capture in the camera's RGB, a pixel for every CFA cell, before and after.

    `neutral` is what a grey is to the camera there, green at 1.
    """

    before: Float32[np.ndarray, "h w 3"]
    after: Float32[np.ndarray, "h w 3"]
    neutral: Float32[np.ndarray, "3"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutResult:
    """What a model does to held-out captures of one ISO (None where the files do not say).

    `gain_db` is Stein's unbiased estimate of what the mean squared error becomes less, in the stabilised
    domain, and `error_db` its standard error. `pixels` had a say, of so many `tiles`; `crop` is a place to
    look at.
    """

    iso: int | None
    crop: Crop
    gain_db: float
    error_db: float
    residual: ResidualTests
    tiles: int
    pixels: int

    def as_json(self) -> dict[str, object]:
        """All but the pictures, in JSON's own types, as the card keeps it."""
        tests = self.residual
        across, down = tests.autocorrelation
        return {
            "iso": self.iso,
            "tiles": self.tiles,
            "pixels": self.pixels,
            "gain_db": round(self.gain_db, 3),
            "error_db": round(self.error_db, 3),
            "mean": round(tests.mean, 5),
            "chi2": round(tests.chi2, 5),
            "divergence": round(tests.divergence, 5),
            "autocorrelation": [round(across, 5), round(down, 5)],
            "structure": round(tests.structure, 5),
        }


def measure_held_out(net: Network, store: TileStore, *, seed: int) -> tuple[HeldOutResult, ...]:
    """Denoise held-out tiles of each ISO and measure what is taken away; the lowest ISO first.

    At most so many as `HELD_OUT_LIMITS` says, spread evenly. ISOs of which no tile was held out are left out,
    as are those without a valid pixel. `net` is in eval mode, on the CPU.
    """
    rng, generator = np.random.default_rng([seed, 2 << 40]), torch.Generator().manual_seed(seed)
    per_iso = [
        (entry, [tile for tile in store.held_out if tile.noise == index])
        for index, entry in enumerate(store.noise)
    ]
    present = [(entry, tiles) for entry, tiles in per_iso if tiles]
    places = np.linspace(0, len(present) - 1, min(HELD_OUT_LIMITS.isos, len(present))).round().astype(int)
    count = min(HELD_OUT_LIMITS.tiles_per_iso, HELD_OUT_LIMITS.tiles // max(1, len(places)))
    results = []
    for place in places:
        entry, tiles = present[place]
        chosen = [tiles[i] for i in rng.permutation(len(tiles))[:count]]
        results.append(_measure_iso(net, store, entry, chosen, generator))
    return tuple(result for result in results if result is not None)


@torch.inference_mode()
def _measure_iso(
    net: Network,
    store: TileStore,
    iso_noise: IsoNoise,
    tiles: Sequence[Tile],
    generator: torch.Generator,
) -> HeldOutResult | None:
    white = stabilized_white(iso_noise.noise)[None]
    sums, denoised = ResidualSums(), []
    for tile in tiles:
        planes, valid = (_trim(array, net.multiple) for array in store.read_whole(tile))
        noisy = stabilize(torch.from_numpy(planes), iso_noise.noise)[None]
        clean, probe, slope = probe_network(net, noisy, white, generator)
        sums.add(noisy, clean, probe, slope, torch.from_numpy(valid)[None])
        denoised.append((planes, unstabilize(clean[0], iso_noise.noise).numpy()))
    if not sums.pixels:
        return None
    gain_db, error_db = sums.measure_gain()
    return HeldOutResult(
        iso_noise.iso, _choose_crop(denoised), gain_db, error_db, sums.run_tests(), len(tiles), sums.pixels
    )


def _trim(array: Shaped[np.ndarray, "4 h w"], multiple: int) -> Shaped[np.ndarray, "4 h2 w2"]:
    """Cut packed planes down to sides that the network takes."""
    height, width = (length // multiple * multiple for length in array.shape[1:])
    return np.ascontiguousarray(array[:, :height, :width])


# ---------------------------------------------------------------- a place to look at


def _choose_crop(tiles: Sequence[tuple[Planes, Planes]]) -> Crop:
    """Cut out the place with most detail among tiles (before, after)."""
    windows = [(tile, window) for tile, (_, after) in enumerate(tiles) for window in _cover(after)]
    tile, window = max(windows, key=lambda place: _measure_detail(tiles[place[0]][1][:, *place[1]]))
    before, after = tiles[tile]
    return Crop(_to_rgb(before[:, *window]), _to_rgb(after[:, *window]), _find_neutral(after))


def _cover(planes: Planes) -> list[tuple[slice, slice]]:
    """Squares of `CROP_SIDE` that cover a tile, in steps of half of one; all of a tile that is smaller."""
    rows, columns = (range(0, max(1, length - CROP_SIDE + 1), CROP_SIDE // 2) for length in planes.shape[1:])
    return [
        (slice(row, row + CROP_SIDE), slice(column, column + CROP_SIDE)) for row in rows for column in columns
    ]


def _measure_detail(planes: Planes) -> float:
    """How much of detail there is to an eye, which sees about the root of the light."""
    green = np.sqrt(np.maximum(planes[1], 0))
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())


def _find_neutral(planes: Planes) -> Float32[np.ndarray, "3"]:
    """What a grey is to the camera if the tile is grey on average: two stops from green at most."""
    means = np.maximum(_to_rgb(planes).mean(axis=(0, 1)), 1e-6)
    return np.clip(means / means[1], 0.25, 4).astype(np.float32)


def _to_rgb(planes: Planes) -> Float32[np.ndarray, "h w 3"]:
    return np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]], axis=-1)
