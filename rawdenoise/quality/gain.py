"""How much better one picture became, told without its clean version.

With g(y) the denoised capture, V the noise's variance and D the mean of V dg/dy, Stein's unbiased estimate of
the mean squared error is |y - g|^2 - V + 2 D, D by a Monte-Carlo probe (Ramani, Blu & Unser, IEEE TIP 2008).
Taken on the signal every pixel weighs as in its PSNR, and the first two terms are exact for any noise of
that variance; the probe is of unit size in the stabilised domain. It is as right as V: a variance wrong by
1 % moves it by nearly 1 % of V, which is a fifth of what is left after a gain of 13 dB.

D alone is a second estimate, which knows nothing of |y - g|^2: the error of a network that has learnt how
much noise to take away is uncorrelated with what it takes away, and then their equality follows from Stein's
lemma (for the posterior mean it is Tweedie's formula). That holds on average over a training, and for one
picture give or take `OWN`. The two are weighed by their errors; where the first is larger than those explain,
it is kept. Their difference, |y - g|^2 + D - V, also tells in flat parts how far the noise model is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from rawdenoise.noise.model import NoiseModel

SEED = 20
TILE = 64  # probed at once, packed pixels
# How many tiles are probed: as many as add this share to the picture's pixels, halos included, within limits.
# That is a tenth of the network's time for 24 megapixels, and more for smaller pictures.
SHARE, FEWEST, MOST = 0.16, 24, 40
BLOCK = 8  # packed pixels
STRATA = 12  # of blocks, by how much structure they show
LEVELS = 6  # groups of blocks by signal
LEAST = 1024  # sound pixels, below which nothing is said
PROBE = 0.05  # in sigmas
OWN = 0.2  # relative standard error of D as an estimate of the error; 0.11 on pictures like those learnt from
FIT_ERROR = 0.02  # standard error of the variance that flat parts show
# What raises a flag: see `_flags`.
KEPT, FITS, LEVEL_FITS, STRUCTURED, CORRELATED = 0.15, 1.08, 1.25, 0.4, 0.1
NO_STRUCTURE = 4.0  # times the noise: what flat parts show beyond it is no structure that leaks into them
UNKNOWN = 1.0  # relative standard error of the variance from which it is no knowledge
LARGEST = 1e9  # of a signal whose squares are numbers still; what is beyond is no signal
DB = 10 / math.log(10)

Planes = Float32[np.ndarray, "4 h w"]
Blocks = Float64[np.ndarray, "rows columns"]


class Flag(StrEnum):
    """What may be wrong with a result; `words` says it to a person."""

    NOISE = "noise-model"
    STRUCTURE = "structure"
    COLLAPSED = "collapsed"
    OVERSMOOTHED = "over-smoothed"

    @property
    def words(self) -> str:
        """The flag in words."""
        return {
            "noise-model": "the noise model does not fit",
            "structure": "what was taken away holds structure",
            "collapsed": "hardly anything was taken away",
            "over-smoothed": "no better than the capture",
        }[self.value]


@dataclass(frozen=True, slots=True)
class PictureQuality:
    """How much better a picture became: PSNR in dB (peak: white above black), estimated, never measured.

    `interval` holds the gain with 95 %: by chance, and by what the noise model may be wrong. The rest is of
    the network's full answer, in units of the noise's variance: `chi2` is the mean squared residual and
    `divergence` the share of the noise that is left, by Stein's lemma. Their sum is 1 where noise model and
    network are right: `fit` is that of flat parts, `level_fit` of the level where it is farthest from 1, and
    `structure` is how much more it is in structured parts. `correlation` is that of neighbouring residuals.
    Where the noise is not known, `told` is false: what is in dB then means nothing, and is for nobody.
    """

    psnr_before: float
    psnr_after: float
    interval: tuple[float, float]
    flags: tuple[Flag, ...]
    chi2: float
    divergence: float
    fit: float
    level_fit: float
    structure: float
    correlation: float
    told: bool = True

    @property
    def loses(self) -> bool:
        """Whether the picture is likelier to have become worse than better."""
        return self.told and self.gain_db < 0

    @property
    def gain_db(self) -> float:
        """PSNR won."""
        return self.psnr_after - self.psnr_before


@dataclass(frozen=True, slots=True)
class NetworkReach:
    """How a network is asked about part of a picture: `halo` around it, in multiples of `multiple`."""

    halo: int
    multiple: int


def assess(
    planes: Planes,
    clean: Planes,
    noise: NoiseModel,
    denoiser: Callable[[Planes], Planes],
    reach: NetworkReach,
    *,
    valid: Bool[np.ndarray, "4 h w"],
    strength: float = 1.0,
    variance_error: float = 0.0,
    rounding: float = 0.0,
    doubted: bool = False,
) -> PictureQuality | None:
    """Estimate the PSNR of a denoised capture; None where it has too few sound pixels to tell.

    `clean` is the full answer of `denoiser` to `planes`, of which `strength` is written, in whole steps of
    `rounding`. Pixels outside `valid` (clipped, repaired), and those that are no numbers, are left out.
    `variance_error` is the relative standard error of the noise model's variance; a noise model that is
    `doubted` is flagged, and nothing told in dB. The same picture has the same estimate.
    """
    if not all(0 < each < math.inf for each in (*noise.shot, *noise.read_variance)):
        return None
    height, width = (length // BLOCK * BLOCK for length in planes.shape[1:])
    sound = _are_signals(planes) & _are_signals(clean)
    if not sound.all():
        planes, clean = (np.where(sound, each, np.float32(0)) for each in (planes, clean))
        valid = valid & sound
    if np.count_nonzero(valid[:, :height, :width]) < LEAST:
        return None
    counts = _count(planes, clean, noise, valid, height, width)
    strata = _stratified(counts)
    probed = _probe(planes, clean, noise, denoiser, reach, valid, counts.variance.shape)
    shares, divergence_error = _divergence(counts, strata, probed)
    quality = _judge(
        counts, strata, shares, divergence_error,
        strength=strength, variance_error=variance_error, rounding=rounding,
    )  # fmt: skip
    return _untold(quality) if doubted else quality


def _untold(quality: PictureQuality) -> PictureQuality:
    """Say of an estimate that the noise it stands on is not known."""
    return replace(quality, flags=tuple(dict.fromkeys((Flag.NOISE, *quality.flags))), told=False)


def _are_signals(planes: Planes) -> Bool[np.ndarray, "4 h w"]:
    """Which values are numbers that can be squared."""
    return np.abs(planes) < LARGEST


# ---------------------------------------------------------------- what the whole picture shows


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Sums over the sound pixels of blocks of 8x8 of all planes.

    `variance` is the noise model's, `residual` what was taken away, squared; `level` and `structure` are the
    block's mean signal, and how much the denoised picture varies inside of it for its noise. `total` is the
    variance without the bias of cutting it off at black, `chance` the standard error of the sum of
    residuals, `pixels` the number of sound ones, `correlation` that of neighbouring residuals.
    """

    variance: Blocks
    residual: Blocks
    level: Blocks
    structure: Blocks
    total: float
    chance: float
    pixels: int
    correlation: float


def _count(
    planes: Planes,
    clean: Planes,
    noise: NoiseModel,
    valid: Bool[np.ndarray, "4 h w"],
    height: int,
    width: int,
) -> _Counts:
    """Count plane by plane, so that little memory is needed."""
    blocks = np.zeros((4, height // BLOCK, width // BLOCK))
    total = spread = 0.0
    beside = np.zeros(2)
    reach = np.s_[:height, :width]
    for y, g, sound, shot, read in zip(planes, clean, valid, noise.shot, noise.read_variance, strict=True):
        y, g, sound = y[reach], g[reach], sound[reach]
        variance = np.float32(shot) * np.maximum(g, 0) + np.float32(read)
        residual = (y - g) * sound
        square = residual**2
        blocks[0] += _in_blocks(variance * sound)
        blocks[1] += _in_blocks(square)
        blocks[2] += _in_blocks(g * sound)
        blocks[3] += _in_blocks(_variation(g) * sound / variance)
        total += shot * float(y.sum(where=sound, dtype=np.float64)) + read * np.count_nonzero(sound)
        spread += float(((square - variance) ** 2).sum(where=sound, dtype=np.float64))
        residual /= np.sqrt(variance)
        for one, other in ((residual[1:], residual[:-1]), (residual[:, 1:], residual[:, :-1])):
            beside += float((one * other).sum(dtype=np.float64)), float((one * one).sum(dtype=np.float64))
    pixels = int(np.count_nonzero(valid[:, :height, :width]))
    variance_sum, residual_sum, level, structure = blocks
    return _Counts(
        variance_sum,
        residual_sum,
        level,
        structure,
        total=max(total, 1e-3 * float(variance_sum.sum())),
        chance=math.sqrt(spread),
        pixels=pixels,
        correlation=float(beside[0] / max(beside[1], 1e-30)),
    )


def _in_blocks(plane: Float32[np.ndarray, "h w"]) -> Blocks:
    height, width = plane.shape
    tall = plane.reshape(height // BLOCK, BLOCK, width).sum(axis=1)
    return tall.reshape(height // BLOCK, width // BLOCK, BLOCK).sum(axis=2, dtype=np.float64)


def _variation(plane: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Squared differences to the next pixel down and across."""
    squares = np.zeros_like(plane)
    squares[:-1] += np.diff(plane, axis=0) ** 2
    squares[:, :-1] += np.diff(plane, axis=1) ** 2
    return squares


def _stratified(counts: _Counts) -> Int[np.ndarray, "rows columns"]:
    """Number the blocks from the flattest to the most structured, in strata of one size."""
    sound = counts.variance > 0  # clipped blocks show nothing, and are neither flat nor dark
    if not sound.any():
        return np.zeros(counts.structure.shape, np.int64)
    bounds = np.quantile(counts.structure[sound], np.arange(1, STRATA) / STRATA)
    return np.searchsorted(bounds, counts.structure, side="left")


# ---------------------------------------------------------------- the divergence


@dataclass(frozen=True, slots=True, eq=False)
class _Probed:
    """Blocks that were probed: where, in which group of neighbours, and the sums of V dg/dy and of V."""

    block: Int[np.ndarray, "n 2"]
    group: Int[np.ndarray, " n"]
    divergence: Float64[np.ndarray, " n"]
    variance: Float64[np.ndarray, " n"]


def _probe(
    planes: Planes,
    clean: Planes,
    noise: NoiseModel,
    denoiser: Callable[[Planes], Planes],
    reach: NetworkReach,
    valid: Bool[np.ndarray, "4 h w"],
    blocks: tuple[int, int],
) -> _Probed:
    """Ask how the answer changes with the capture: in tiles all over it, or everywhere where that is less."""
    rng = np.random.default_rng(SEED)
    parts = []
    for group, (rows, columns) in enumerate(_places(planes.shape[1], planes.shape[2], blocks, reach)):
        window = tuple(_with_halo(span, length, reach)
                       for span, length in zip((rows, columns), planes.shape[1:], strict=True))  # fmt: skip
        part = planes[:, *window]
        signs = rng.integers(0, 2, part.shape, np.int8).astype(np.float32) * 2 - 1
        disturbed = denoiser(part + np.float32(PROBE) * signs * np.sqrt(noise.variance(part)))
        inside = np.s_[
            :,
            rows.start - window[0].start : rows.stop - window[0].start,
            columns.start - window[1].start : columns.stop - window[1].start,
        ]
        here = clean[:, rows, columns]
        variance = noise.variance(here)
        answered = _are_signals(disturbed[inside])
        moved = np.where(answered, disturbed[inside], here) - here
        change = np.sqrt(variance) * signs[inside] * moved / np.float32(PROBE)
        sound = valid[:, rows, columns] & answered
        sums = [sum(_in_blocks(plane) for plane in each * sound) for each in (change, variance)]
        down, across = np.mgrid[rows.start // BLOCK : rows.stop // BLOCK,
                                columns.start // BLOCK : columns.stop // BLOCK]  # fmt: skip
        place = np.stack([down.ravel(), across.ravel()], axis=1)
        parts.append((place, np.full(len(place), group), *(np.ravel(each) for each in sums)))
    place, group_of, divergence, variance_sum = (np.concatenate(each) for each in zip(*parts, strict=True))
    if len(parts) == 1:
        group_of = np.arange(len(place))
    return _Probed(place, group_of, divergence, variance_sum)


def _places(
    height: int, width: int, blocks: tuple[int, int], reach: NetworkReach
) -> Iterator[tuple[slice, slice]]:
    """Where to probe: tiles spread evenly over the picture, or all of it where those would be more work."""
    down, across = height // TILE, width // TILE
    cost = (TILE + 2 * reach.halo) ** 2
    count = min(max(round(SHARE * height * width / cost), FEWEST), MOST)
    if down * across <= count or height * width <= count * cost:
        yield slice(0, blocks[0] * BLOCK), slice(0, blocks[1] * BLOCK)
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
        yield slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE)


def _with_halo(span: slice, length: int, reach: NetworkReach) -> slice:
    start = max(0, span.start - reach.halo) // reach.multiple * reach.multiple
    return slice(start, min(length, span.stop + reach.halo))


def _divergence(
    counts: _Counts, strata: Int[np.ndarray, "rows columns"], probed: _Probed
) -> tuple[Float64[np.ndarray, " strata"], float]:
    """D relative to V in each stratum, and the standard error of its sum over the picture.

    What structure there is decides how much a denoiser leaves: with the strata, places that were not probed
    are known from those that were.
    """
    of = strata[probed.block[:, 0], probed.block[:, 1]]
    divergence = np.bincount(of, probed.divergence, STRATA)
    variance = np.bincount(of, probed.variance, STRATA)
    overall = probed.divergence.sum() / max(float(probed.variance.sum()), 1e-30)
    few = 0.01 * variance.sum() / STRATA  # a stratum that was hardly probed is taken for the average one
    shares = (divergence + few * overall) / np.maximum(variance + few, 1e-30)
    missed = np.bincount(probed.group, probed.divergence - shares[of] * probed.variance)
    scale = float(counts.variance.sum()) / max(float(probed.variance.sum()), 1e-30)
    return shares, scale * math.sqrt(float(np.square(missed).sum()))


# ---------------------------------------------------------------- the verdict


def _judge(
    counts: _Counts,
    strata: Int[np.ndarray, "rows columns"],
    shares: Float64[np.ndarray, " strata"],
    divergence_error: float,
    *,
    strength: float,
    variance_error: float,
    rounding: float,
) -> PictureQuality:
    before = counts.total
    residual = float(counts.residual.sum())
    divergence = float((counts.variance * shares[strata]).sum())
    seen = _residuals(counts, strata, shares)
    variance_error = _confirmed(variance_error, seen)

    stein = residual - before + 2 * divergence
    # By chance and, if the noise's variance is another, for that.
    unsure = math.hypot(counts.chance, 2 * divergence_error, variance_error * abs(before - 2 * divergence))
    own = max(divergence, 1e-4 * before)
    # What Stein's estimate has more than its error explains is true: a network that errs in its own way. No
    # network does so well that the truth is far below D.
    own_error = math.sqrt(max((OWN * own) ** 2, max(stein - own, 0) ** 2 - unsure**2))
    weight = own_error**2 / (own_error**2 + unsure**2)
    error = max(weight * stein + (1 - weight) * own, own / 4)
    error_error = math.sqrt(weight) * unsure

    left = 1 - strength  # of the noise, beside what the network leaves
    known = max(left**2 * before + 2 * strength * left * divergence, 0.0)
    after = known + strength**2 * error + counts.pixels * rounding**2 / 12
    after_error = math.hypot(strength**2 * error_error, known * variance_error)
    gain = DB * math.log(before / after)
    reach = 1.96 * DB * (after_error / after + variance_error)
    quality = PictureQuality(
        psnr_before=-DB * math.log(before / counts.pixels),
        psnr_after=-DB * math.log(after / counts.pixels),
        interval=(float(gain - reach), float(gain + reach)),
        flags=(),
        chi2=float(residual / before),
        divergence=float(divergence / before),
        fit=seen.fit,
        level_fit=seen.level_fit,
        structure=seen.structure,
        correlation=counts.correlation,
    )
    quality = replace(quality, flags=tuple(_flags(quality, seen)))
    return _untold(quality) if variance_error >= UNKNOWN else quality


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the residual shows; see `PictureQuality`. `flat_divergence` is that of flat parts."""

    fit: float
    level_fit: float
    structure: float
    correlation: float
    flat_divergence: float

    @property
    def structured(self) -> bool:
        """Whether more than white noise was taken away."""
        return self.structure > STRUCTURED or self.correlation > CORRELATED

    @property
    def misfit(self) -> bool:
        """Whether flat parts show another noise than the model's.

        A residual that holds structure makes flat parts, too, show more than the noise, so that only what
        they lack is then put down to the noise model, or what no structure explains.
        """
        off = [math.log(max(each, 1e-3)) for each in (self.fit, self.level_fit)]
        if self.structured and self.fit < NO_STRUCTURE:
            off = [min(each, 0.0) for each in off]
        return abs(off[0]) > math.log(FITS) or abs(off[1]) > math.log(LEVEL_FITS)


def _residuals(
    counts: _Counts, strata: Int[np.ndarray, "rows columns"], shares: Float64[np.ndarray, " strata"]
) -> _Seen:
    """Look at chi2 plus divergence in flat and structured parts, dark and bright ones."""
    left = shares[strata] * counts.variance
    shown = counts.residual + left

    def ratio(of: Bool[np.ndarray, "rows columns"], part: Blocks = shown) -> float:
        return float(part[of].sum() / max(float(counts.variance[of].sum()), 1e-30))

    flat = (strata < STRATA // 2) & (counts.variance > 0)
    fit = ratio(flat)
    bounds = np.quantile(counts.level[flat], np.arange(1, LEVELS) / LEVELS)
    level = np.searchsorted(bounds, counts.level, side="left")
    groups = [flat & (level == each) for each in range(LEVELS)]
    of_level = [ratio(group) for group in groups if group.any()]
    return _Seen(
        fit=fit,
        level_fit=max(of_level, key=lambda each: abs(math.log(max(each, 1e-30)))),
        structure=ratio(strata >= STRATA - STRATA // 6) - fit,
        correlation=counts.correlation,
        flat_divergence=ratio(flat, left),
    )


def _confirmed(variance_error: float, seen: _Seen) -> float:
    """The standard error of the noise model's variance, now that the residual has been seen.

    Where that is white, flat parts show the variance itself, as far as their noise is taken away: less error
    than was claimed where they agree, and more where they do not.
    """
    off = abs(seen.fit - 1)
    sensitivity = max(1 - seen.flat_divergence, 0.05)
    if seen.misfit:
        return max(variance_error, off / sensitivity)
    if seen.structured:
        return variance_error
    return min(variance_error, math.hypot(off, FIT_ERROR) / sensitivity)


def _flags(quality: PictureQuality, seen: _Seen) -> Iterator[Flag]:
    """Tell what may be wrong.

    The thresholds were set with `benchmarks/risk.py`, on 14 pictures of three cameras, a network of 95 000
    crops and noise models from calibration. Where all is right, flat parts fit to 3 % (their worst level to
    13 %), structure is below 0.1, the correlation between -0.1 and 0, and chi2 above 0.27; a network that was
    trained on few captures had a structure of 0.23 where it still gained 4 dB. A variance that is wrong by
    25 % moves the fit by 4 to 22 %, the less the more of the noise is left. Networks that take all detail
    have a structure or correlation far above the thresholds, those that take nothing a chi2 below 0.14.
    """
    collapsed = quality.chi2 < KEPT
    if seen.misfit:
        yield Flag.NOISE
    if seen.structured and not collapsed:
        yield Flag.STRUCTURE
    if collapsed:
        yield Flag.COLLAPSED
    elif quality.interval[1] < 0:
        yield Flag.OVERSMOOTHED
