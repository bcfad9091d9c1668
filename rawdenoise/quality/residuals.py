"""What a denoiser takes away from captures it was not trained on, and whether that is noise.

There is no clean capture to compare with, so the residual r = z - f(z) has to tell, z being a stabilised
capture, whose noise is white and of unit variance where the noise model is right. The residual of a perfect
denoiser is neither: it lacks the noise that is left in. But what it lacks is known. For the mean of the
posterior, E[r_i r_j] = E[z's noise]_ij - E[d f_i / d z_j] (Tweedie's formula, Efron 2011), and a mean that
depends on nothing but other planes is uncorrelated with it. So everything here is the residual's statistic
plus the derivative of the denoiser that belongs to it, which random probes tell (Ramani, Blu & Unser 2008).
Both formulae want a denoiser that is the best there is for this noise: an unfinished one fails as well.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Shaped, UInt8
from PIL import Image
from torch import Tensor

from rawdenoise.capture.srgb import encoded_srgb
from rawdenoise.nets import Network
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.quality.stein import LEAST_RISK, probed

if TYPE_CHECKING:
    from rawdenoise.training.captures import Tile, TileStore

Planes = Float32[np.ndarray, "4 h w"]
Stabilised = Float32[Tensor, "1 4 h w"]

MOST_ISOS, MOST_TILES = 12, 24  # tiles of all ISOs, a quarter of a million pixels each: seconds on two cores
TILES_AN_ISO = 4
BLOCK = 32  # packed pixels; blocks of this side are taken for independent
CROP = 160  # packed pixels of the pictures' sides
DETAIL = (1, 4)  # radii of the boxes between which detail is looked for, in packed pixels
MOST_LIGHT = 64.0  # times the light that a dark crop is shown with

# From here on a statistic is to be looked at, and from there it is not as it should be: see `verdicts`.
MEAN_LIMITS = (0.03, 0.1)
STRONGER, WEAKER = (1.04, 1.15), (0.97, 0.93)
NEIGHBOUR_LIMITS = (0.03, 0.08)
STRUCTURE_LIMITS = (0.05, 0.12)


@dataclass(frozen=True, slots=True)
class ResidualTests:
    """The statistics of a residual, over the valid pixels of all planes, in sigmas of the noise.

    `mean` should be 0. `chi2` is the mean square and `divergence` the mean of the denoiser's own derivative:
    together 1 where the noise is as strong as the model says. `autocorrelation` is that of the noise with its
    next neighbour in the plane, across and down, what the denoiser adds taken off: 0 for white noise.
    `structure` is the correlation of the residual with the detail that the other planes have: 0 where none of
    the scene was taken away.
    """

    mean: float
    chi2: float
    divergence: float
    autocorrelation: tuple[float, float]
    structure: float


@dataclass(frozen=True, slots=True, eq=False)
class IsoEvidence:
    """What a model does to held-out captures of one ISO (None where the files do not say).

    `before_png` and `after_png` show the same place, one pixel for every CFA cell, in the camera's colours
    with grey as the average. `gain_db` is Stein's unbiased estimate of what the mean squared error becomes
    less, in the stabilised domain, and `error_db` its standard error. `pixels` had a say, of so many `tiles`.
    """

    iso: int | None
    before_png: bytes
    after_png: bytes
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a statistic says, in plain words."""

    level: Literal["good", "fair", "poor"]
    words: str


def gather(net: Network, store: TileStore, *, seed: int) -> tuple[IsoEvidence, ...]:
    """Denoise held-out tiles of each ISO and measure what is taken away; the lowest ISO first.

    At most `MOST_ISOS`, spread evenly, and `TILES_AN_ISO` of each, fewer where there are many. ISOs of which
    no tile was held out are left out, as are those without a valid pixel. `net` is in eval mode, on the CPU.
    """
    rng, generator = np.random.default_rng([seed, 2 << 40]), torch.Generator().manual_seed(seed)
    per_iso = [
        (entry, [tile for tile in store.held_out if tile.noise == index])
        for index, entry in enumerate(store.noise)
    ]
    present = [(entry, tiles) for entry, tiles in per_iso if tiles]
    places = np.linspace(0, len(present) - 1, min(MOST_ISOS, len(present))).round().astype(int)
    count = min(TILES_AN_ISO, MOST_TILES // max(1, len(places)))
    found = []
    for place in places:
        entry, tiles = present[place]
        chosen = [tiles[i] for i in rng.permutation(len(tiles))[:count]]
        found.append(_evidence(net, store, entry, chosen, generator))
    return tuple(evidence for evidence in found if evidence is not None)


@torch.inference_mode()
def _evidence(
    net: Network,
    store: TileStore,
    iso_noise: IsoNoise,
    tiles: Sequence[Tile],
    generator: torch.Generator,
) -> IsoEvidence | None:
    white = stabilized_white(iso_noise.noise)[None]
    sums, seen = _Sums(), []
    for tile in tiles:
        planes, valid = (_aligned(array, net.multiple) for array in store.whole(tile))
        noisy = stabilize(torch.from_numpy(planes), iso_noise.noise)[None]
        clean, probe, slope = probed(net, noisy, white, generator)
        sums.add(noisy, clean, probe, slope, torch.from_numpy(valid)[None])
        seen.append((planes, unstabilize(clean[0], iso_noise.noise).numpy()))
    if not sums.pixels:
        return None
    before, after = _pictures(seen)
    gain_db, error_db = sums.gain()
    return IsoEvidence(iso_noise.iso, before, after, gain_db, error_db, sums.tests(), len(tiles), sums.pixels)


def _aligned(array: Shaped[np.ndarray, "4 h w"], multiple: int) -> Shaped[np.ndarray, "4 h2 w2"]:
    """Cut packed planes down to sides that the network takes."""
    height, width = (length // multiple * multiple for length in array.shape[1:])
    return np.ascontiguousarray(array[:, :height, :width])


# ---------------------------------------------------------------- verdicts


def residual_of(figures: Mapping[str, Any]) -> ResidualTests:
    """Take the statistics out of the figures that a card keeps."""
    across, down = figures["autocorrelation"]
    mean, chi2, divergence, structure = (
        figures[name] for name in ("mean", "chi2", "divergence", "structure")
    )
    return ResidualTests(mean, chi2, divergence, (across, down), structure)


def verdicts(tests: ResidualTests, *, pixels: int) -> dict[str, Verdict]:
    """Say what the statistics of so many pixels mean: `mean`, `strength`, `autocorrelation`, `structure`.

    The limits were set on a simulated camera at three ISOs, each case with a model of its own, trained from
    nothing. As benchmarks/residuals.py trains (300 updates of 16 crops), the true noise model gave means
    within 0.012 sigma, strengths of 1.00 to 1.02, neighbours within 0.004 and structure of 0.01; one of 0.8
    times the true variance gave strengths of 1.07 to 1.09, of 1.25 times 0.84 to 0.90. Trained by
    recorruption alone (600 updates of 8 crops), the true one gave strengths of 1.03 to 1.05, neighbours
    within 0.02 and structure of 0.03; after only 60 updates up to 1.17, 0.07 and 0.21. There twice the true
    variance gave strengths of 0.68 to 0.79, and neighbours that shared noise, with a correlation of 0.29,
    showed 0.19 to 0.22. So noise that is stronger than claimed by a quarter looks like a training cut short:
    the words name both.
    """
    chance = 3 / math.sqrt(max(pixels, 1))
    strength = tests.chi2 + tests.divergence
    return {
        "mean": _judge_mean(tests.mean, chance),
        "strength": _judge_strength(strength, math.sqrt(2) * chance),
        "autocorrelation": _judge_neighbours(tests.autocorrelation, chance),
        "structure": _judge_structure(tests.structure, chance),
    }


def _judge_mean(mean: float, chance: float) -> Verdict:
    level = _level(abs(mean), MEAN_LIMITS, chance)
    if level == "good":
        return Verdict(level, "The brightness stays as it is.")
    moved = "darker" if mean > 0 else "brighter"
    return Verdict(level, f"Pictures become {moved}, by {abs(mean):.2f} sigma of their noise on average.")


def _judge_strength(strength: float, chance: float) -> Verdict:
    if strength < 1:
        level = _level(-strength, (-WEAKER[0], -WEAKER[1]), chance)
        words = (
            f"Only {100 * strength:.0f} % of the noise that the noise model promises is found: it takes the "
            "captures for noisier than they are, and the gain for larger than it is."
        )
    else:
        level = _level(strength, STRONGER, chance)
        words = (
            f"{100 * strength:.0f} % of the noise that the noise model promises is found: there is more "
            "than it says, or the model is not trained to its end and takes some of the scene away."
        )
    return Verdict(level, "The noise is as strong as the noise model says." if level == "good" else words)


def _judge_neighbours(autocorrelation: tuple[float, float], chance: float) -> Verdict:
    largest = max(autocorrelation, key=abs)
    level = _level(abs(largest), NEIGHBOUR_LIMITS, chance)
    if level == "good":
        return Verdict(level, "What is taken away is white: each pixel's noise is its own.")
    if largest < 0:
        return Verdict(level, "Next neighbours differ more than noise does: the captures were sharpened, or "
                       "the model sharpens.")  # fmt: skip
    return Verdict(
        level,
        "Next neighbours are alike in what is taken away: their noise is not independent (captures that were "
        "smoothed or scaled in the camera), or some of the scene goes with it.",
    )


def _judge_structure(structure: float, chance: float) -> Verdict:
    level = _level(abs(structure), STRUCTURE_LIMITS, chance)
    if level == "good":
        return Verdict(level, "Hardly any of the scene is seen in what is taken away.")
    if structure < 0:
        return Verdict(
            level, "The model adds detail of the scene that one plane of the captures does not have."
        )
    return Verdict(level, "Detail of the scene is taken away with the noise: training longer may help.")


def _level(value: float, limits: tuple[float, float], chance: float) -> Literal["good", "fair", "poor"]:
    """Judge a value that should be small; `chance` is what it may be off by nothing but chance."""
    if not value > limits[0] + chance:
        return "good" if math.isfinite(value) else "poor"
    return "fair" if value <= limits[1] + chance else "poor"


# ---------------------------------------------------------------- statistics


class _Sums:
    """Sums over tiles, from which the statistics are made."""

    def __init__(self) -> None:
        self.total = np.zeros(4)  # pixels, residual, its square, divergence
        self.lagged = np.zeros((2, 2))  # across and down: pairs, their product with the denoiser's share
        self.detail = np.zeros(3)  # residual by detail, squares of the two
        self.risks: list[Tensor] = []  # of each block, with its pixels
        self.shares: list[Tensor] = []

    @property
    def pixels(self) -> int:
        """How many values had a say, all planes together."""
        return int(self.total[0])

    def add(
        self,
        noisy: Stabilised,
        clean: Stabilised,
        probe: Stabilised,
        slope: Stabilised,
        valid: Bool[Tensor, "1 4 h w"],
    ) -> None:
        """Count a tile in; `slope` is how the denoiser follows the capture moved along `probe`."""
        weight, residual, ones = valid.to(noisy), noisy - clean, torch.ones_like(noisy)
        own = probe * slope
        self.total += _totals(weight, ones, residual, residual.square(), own)

        for place, axis in enumerate((3, 2)):
            missing = (_product(probe, slope, axis) + _product(slope, probe, axis)) / 2
            pairs = _product(residual, residual, axis) + missing
            self.lagged[place] += _totals(_product(weight, weight, axis), torch.ones_like(pairs), pairs)

        # Strong edges, of which there are few, must not have all the say.
        others = (noisy.sum(dim=1, keepdim=True) - noisy) / 3
        detail = torch.asinh(_box(others, DETAIL[0]) - _box(others, DETAIL[1]))
        sound = weight.amin(dim=1, keepdim=True).expand_as(weight)
        self.detail += _totals(sound, residual * detail, residual.square(), detail.square())

        side = min(BLOCK, *noisy.shape[2:])
        share = F.avg_pool2d(weight, side).mean(dim=1)
        risk = F.avg_pool2d(weight * (residual.square() - 1 + 2 * own), side).mean(dim=1)
        self.risks.append(risk.reshape(-1))
        self.shares.append(share.reshape(-1))

    def tests(self) -> ResidualTests:
        """The statistics, 0 where nothing can be told."""
        _, mean, chi2, divergence = (float(value) for value in self.total / max(self.total[0], 1))
        across, down = (float(product) / max(float(pairs), 1) for pairs, product in self.lagged)
        variance = max(chi2 + divergence, LEAST_RISK)
        product, square, detail = (float(value) for value in self.detail)
        return ResidualTests(
            mean=mean,
            chi2=chi2,
            divergence=divergence,
            autocorrelation=(across / variance, down / variance),
            structure=product / math.sqrt(max(square * detail, 1e-12)),
        )

    def gain(self) -> tuple[float, float]:
        """Decibels gained, and their standard error from how the blocks of the tiles differ."""
        risk, share = torch.cat(self.risks).double(), torch.cat(self.shares).double()
        mean = float(risk.sum() / share.sum())
        spread = float((risk - mean * share).square().sum().sqrt() / share.sum())
        risk_told = max(mean, LEAST_RISK)
        return -10 * math.log10(risk_told), 10 / math.log(10) * spread / risk_told


def _totals(weight: Tensor, *terms: Tensor) -> list[float]:
    """Sum each of the terms over the pixels that count."""
    return [float((weight * term).sum(dtype=torch.float64)) for term in terms]


def _product(one: Tensor, other: Tensor, axis: int) -> Tensor:
    """Multiply each pixel of one with the next of the other along an axis."""
    length = one.shape[axis] - 1
    return one.narrow(axis, 0, length) * other.narrow(axis, 1, length)


def _box(planes: Float32[Tensor, "b 4 h w"], radius: int) -> Float32[Tensor, "b 4 h w"]:
    """Mean over a square, of what there is of it at the edges."""
    return F.avg_pool2d(planes, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)


# ---------------------------------------------------------------- pictures


def _pictures(seen: Sequence[tuple[Planes, Planes]]) -> tuple[bytes, bytes]:
    """Show the place with most detail among tiles (before, after), both in the same light, as PNGs."""
    windows = [(tile, window) for tile, (_, after) in enumerate(seen) for window in _windows(after)]
    tile, window = max(windows, key=lambda place: _detail(seen[place[0]][1][:, *place[1]]))
    before, after = (planes[:, *window] for planes in seen[tile])
    balance = _grey_world(seen[tile][1])
    light = 0.9 / max(float(np.quantile(_camera_rgb(after) / balance, 0.99)), 0.9 / MOST_LIGHT)
    first, second = (_png(_rendered(planes, balance, light)) for planes in (before, after))
    return first, second


def _windows(planes: Planes) -> list[tuple[slice, slice]]:
    """Squares of `CROP` that cover a tile, in steps of half of one; all of a tile that is smaller."""
    starts = [range(0, max(1, length - CROP + 1), CROP // 2) for length in planes.shape[1:]]
    return [
        (slice(row, row + CROP), slice(column, column + CROP)) for row in starts[0] for column in starts[1]
    ]


def _detail(planes: Planes) -> float:
    """How much of detail there is to an eye, which sees about the root of the light."""
    green = np.sqrt(np.maximum(planes[1], 0))
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())


def _grey_world(planes: Planes) -> Float32[np.ndarray, "3"]:
    """What a grey looks like to the camera if the tile is grey on average, green at 1: two stops at most."""
    means = np.maximum(_camera_rgb(planes).mean(axis=(0, 1)), 1e-6)
    return np.clip(means / means[1], 0.25, 4).astype(np.float32)


def _camera_rgb(planes: Planes) -> Float32[np.ndarray, "h w 3"]:
    return np.stack([planes[0], (planes[1] + planes[2]) / 2, planes[3]], axis=-1)


def _rendered(planes: Planes, balance: Float32[np.ndarray, "3"], light: float) -> UInt8[np.ndarray, "h w 3"]:
    """Render packed planes, a pixel for every CFA cell, with the tone curve of sRGB."""
    linear = np.clip(_camera_rgb(planes) / balance * np.float32(light), 0, 1)
    return np.asarray(np.rint(255 * encoded_srgb(linear)), dtype=np.uint8)


def _png(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", optimize=True)
    return stream.getvalue()
