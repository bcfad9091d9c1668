"""Stein's divergence of one picture: how its denoised values follow the capture, probed in tiles.

A Monte-Carlo probe (Ramani, Blu & Unser, IEEE TIP 2008) of unit size in the stabilised domain, in as many
tiles as cost little beside the denoising; what structure blocks show says how much is left in those between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from rawdenoise.inference.stages import OnShare, unheard
from rawdenoise.noise.model import NoiseModel
from rawdenoise.quality.block_sums import (
    BLOCK_SIDE,
    STRATA_COUNT,
    BlockSums,
    Planes,
    Strata,
    sum_in_blocks,
    trim_to_blocks,
)
from rawdenoise.refinement.refine import Refinement
from rawdenoise.refinement.removal import Removal

PROBE_SEED = 20
ALL_REMOVED = Removal()
PROBE_SIGMAS = 0.05  # by which a capture is moved
LARGEST_SIGNAL = 1e9  # whose squares are numbers still; what is beyond is no signal


@dataclass(frozen=True, slots=True)
class ProbeBudget:
    """How many tiles are probed: as many as add `share` to the picture's pixels, halos included.

    That is a tenth of the network's time for 24 megapixels, and more for smaller pictures. `tile_side` is in
    packed pixels.
    """

    share: float
    minimum_tiles: int
    maximum_tiles: int
    tile_side: int


PROBE_BUDGET = ProbeBudget(share=0.16, minimum_tiles=24, maximum_tiles=40, tile_side=64)


@dataclass(frozen=True, slots=True)
class LocalDenoiser:
    """A denoiser that is asked about part of a picture: `halo` around it, in multiples of `multiple`."""

    denoise: Callable[[Planes], Planes]
    halo: int
    multiple: int


@dataclass(frozen=True, slots=True)
class Left:
    """What a removal leaves: of the noise's variance, of its product with the answer's error, and of this.

    With A what takes away, n the noise and e the answer's error, that of the written picture is
    (1 - A) n + A e. These are tr((1 - A)'(1 - A) V) in units of tr V, and tr((1 - A)'A V J) and tr(A'A V J)
    in units of tr(V J): of an even removal by s they are (1 - s)^2, s (1 - s) and s^2. The last takes the
    error to be spread over luminance and colour as V J is, which for the posterior mean is its covariance.
    """

    noise: float
    product: float
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class ProbedBlocks:
    """Blocks that were probed: where, in which group of neighbours, and the sums of V dg/dy and of V.

    `left` is what the removal leaves.
    """

    block: Int[np.ndarray, "n 2"]
    group: Int[np.ndarray, " n"]
    divergence: Float64[np.ndarray, " n"]
    variance: Float64[np.ndarray, " n"]
    left: Left


def probe_blocks(
    planes: Planes,
    clean: Planes,
    noise: NoiseModel,
    denoiser: LocalDenoiser,
    valid: Bool[np.ndarray, "4 h w"],
    *,
    refinement: Refinement | None = None,
    removal: Removal = ALL_REMOVED,
    on_share: OnShare = unheard,
) -> ProbedBlocks:
    """Ask how the answer changes with the capture: in tiles all over it, or everywhere where that is less.

    `clean` is the answer of `denoiser`, to which `refinement` has given back some.
    """
    rng = np.random.default_rng(PROBE_SEED)
    parts, products, tiles = [], np.zeros(5), list(_choose_tiles(planes.shape, denoiser))
    for group, (rows, columns) in enumerate(tiles):
        window = tuple(_add_halo(span, length, denoiser)
                       for span, length in zip((rows, columns), planes.shape[1:], strict=True))  # fmt: skip
        part = planes[:, *window]
        signs = rng.integers(0, 2, part.shape, np.int8).astype(np.float32) * 2 - 1
        disturbance = np.float32(PROBE_SIGMAS) * signs * np.sqrt(noise.variance(part))
        disturbed = denoiser.denoise(part + disturbance)
        answer = clean[:, *window] if refinement is None else refinement.find_answer(clean, *window)
        answered = find_signals(disturbed)
        moved = np.where(answered, disturbed, answer) - answer
        if refinement is not None:
            moved = refinement.follow(disturbance, moved, valid[:, *window] & answered, *window)
        inside = np.s_[
            :,
            rows.start - window[0].start : rows.stop - window[0].start,
            columns.start - window[1].start : columns.stop - window[1].start,
        ]
        variance = noise.variance(clean[:, rows, columns])
        change = np.sqrt(variance) * signs[inside] * moved[inside] / np.float32(PROBE_SIGMAS)
        sound = valid[:, rows, columns] & answered[inside]
        if not removal.is_even:
            products += _multiply(disturbance, moved, removal, inside, sound)
        sums = [sum(sum_in_blocks(plane) for plane in term * sound) for term in (change, variance)]
        down, across = np.mgrid[rows.start // BLOCK_SIDE : rows.stop // BLOCK_SIDE,
                                columns.start // BLOCK_SIDE : columns.stop // BLOCK_SIDE]  # fmt: skip
        place = np.stack([down.ravel(), across.ravel()], axis=1)
        parts.append((place, np.full(len(place), group), *(np.ravel(term) for term in sums)))
        on_share(len(parts) / len(tiles))
    place, group_of, divergence, variance_sum = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(parts) == 1:
        group_of = np.arange(len(place))
    return ProbedBlocks(place, group_of, divergence, variance_sum, _find_left(removal, products))


def _multiply(
    disturbance: Planes,
    moved: Planes,
    removal: Removal,
    inside: tuple[slice, slice, slice],
    sound: Bool[np.ndarray, "4 h w"],
) -> Float64[np.ndarray, "5"]:
    """Sum u u', l l', u d, l Ad and Au Ad, u being the disturbance, d what it moves, l what is left of u."""
    taken, moved_taken = removal.take(disturbance)[inside], removal.take(moved)[inside]
    own = disturbance[inside]
    left = own - taken
    pairs = ((own, own), (left, left), (own, moved[inside]), (left, moved_taken), (taken, moved_taken))
    return np.array([float((one * other).sum(where=sound, dtype=np.float64)) for one, other in pairs])


def _find_left(removal: Removal, products: Float64[np.ndarray, "5"]) -> Left:
    """What a removal leaves; where the answer follows hardly anything, no less than either part does."""
    luminance = removal.luminance
    chroma = luminance if removal.chroma is None else removal.chroma
    if removal.is_even:
        return find_even_left(luminance)
    noise, left, followed, product, error = products.tolist()
    if not followed > 1e-3 * noise > 0:
        least, most = sorted((luminance, chroma))
        return Left((1 - least) ** 2, most * (1 - least), most**2)
    return Left(left / noise, product / followed, error / followed)


def find_even_left(strength: float) -> Left:
    """What an even removal leaves."""
    return Left((1 - strength) ** 2, strength * (1 - strength), strength**2)


def find_signals(planes: Planes) -> Bool[np.ndarray, "4 h w"]:
    """Which values are numbers that can be squared."""
    return np.abs(planes) < LARGEST_SIGNAL


def spread_divergence(
    sums: BlockSums, strata: Strata, probed: ProbedBlocks
) -> tuple[Float64[np.ndarray, " strata"], float]:
    """D relative to V in each stratum, and the standard error of its sum over the picture.

    What structure there is decides how much a denoiser leaves: with the strata, places that were not probed
    are known from those that were.
    """
    stratum = strata[probed.block[:, 0], probed.block[:, 1]]
    divergence = np.bincount(stratum, probed.divergence, STRATA_COUNT)
    variance = np.bincount(stratum, probed.variance, STRATA_COUNT)
    overall = probed.divergence.sum() / max(float(probed.variance.sum()), 1e-30)
    few = (
        0.01 * variance.sum() / STRATA_COUNT
    )  # a stratum that was hardly probed is taken for the average one
    shares = (divergence + few * overall) / np.maximum(variance + few, 1e-30)
    missed = np.bincount(probed.group, probed.divergence - shares[stratum] * probed.variance)
    scale = float(sums.variance.sum()) / max(float(probed.variance.sum()), 1e-30)
    return shares, scale * math.sqrt(float(np.square(missed).sum()))


def _choose_tiles(shape: tuple[int, ...], denoiser: LocalDenoiser) -> Iterator[tuple[slice, slice]]:
    """Where to probe: tiles spread evenly over the picture, or all of it where those would be more work."""
    (height, width), side = shape[1:], PROBE_BUDGET.tile_side
    down, across = height // side, width // side
    cost = (side + 2 * denoiser.halo) ** 2
    count = min(
        max(round(PROBE_BUDGET.share * height * width / cost), PROBE_BUDGET.minimum_tiles),
        PROBE_BUDGET.maximum_tiles,
    )
    if down * across <= count or height * width <= count * cost:
        rows, columns = trim_to_blocks(shape)
        yield slice(0, rows), slice(0, columns)
        return
    # Roberts' sequence (2018): evenly spread however many are taken.
    ratio = 1.32471795724474602596
    steps = np.arange(4 * count)
    order = zip(
        (down * ((0.5 + steps / ratio) % 1)).astype(int),
        (across * ((0.5 + steps / ratio**2) % 1)).astype(int),
        strict=True,
    )
    for row, column in list(dict.fromkeys(order))[:count]:
        yield slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)


def _add_halo(span: slice, length: int, denoiser: LocalDenoiser) -> slice:
    start = max(0, span.start - denoiser.halo) // denoiser.multiple * denoiser.multiple
    return slice(start, min(length, span.stop + denoiser.halo))
