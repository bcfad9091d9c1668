"""How noisy a camera is: the record, and a simple estimate of it from ordinary captures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Shaped

BLOCK = 8
FLOOR = 1e-12  # variance: nothing is free of noise, and the transforms divide by it

FourFloats = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Poisson-Gaussian noise per plane (R, G1, G2, B): variance = shot * signal + read_variance.

    On the packed scale. `read_variance` is all that does not depend on the signal, quantisation by `step`
    included; `row_variance` is that of the offset which the pixels of a mosaic row share, and comes on top.
    """

    shot: FourFloats
    read_variance: FourFloats
    row_variance: float = 0.0
    step: float = 0.0

    def variance(self, signal: Float32[np.ndarray, "4 h w"]) -> Float32[np.ndarray, "4 h w"]:
        """The variance at a signal; below black it is that of black."""
        shot = np.asarray(self.shot, np.float32)[:, None, None]
        read = np.asarray(self.read_variance, np.float32)[:, None, None]
        variance: Float32[np.ndarray, "4 h w"] = shot * np.maximum(signal, 0) + read
        return variance


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSamples:
    """Signal levels of one plane, the noise variance seen at each, and how many blocks say so."""

    level: Float64[np.ndarray, " n"]
    variance: Float64[np.ndarray, " n"]
    blocks: Float64[np.ndarray, " n"]
    floor: float


def estimate_noise(
    planes: Float32[np.ndarray, "4 h w"], *, valid: Bool[np.ndarray, "4 h w"] | None = None
) -> NoiseModel:
    """Estimate the noise of one capture, textured or not; pixels outside `valid` (clipped) are left out."""
    return fit_noise([sample_noise(planes, valid=valid)])


def sample_noise(
    planes: Float32[np.ndarray, "4 h w"], *, valid: Bool[np.ndarray, "4 h w"] | None = None
) -> tuple[NoiseSamples, ...]:
    """Measure the noise variance against the signal, per plane.

    The residual is the second difference in both directions (Immerkaer 1996), blind to linear gradients and
    to edges along an axis; its variance is taken over blocks of 8x8. Of the blocks of about one level, the
    tenth that is flattest in the other three planes speaks: texture shows in all planes, whereas their noise
    is independent, so that this choice does not favour blocks with little noise.
    """
    floors = [max(_step(plane) ** 2 / 12, FLOOR) for plane in planes]
    if min(planes.shape[1:]) < 2 * BLOCK + 2:
        return tuple(NoiseSamples(np.empty(0), np.empty(0), np.empty(0), floor) for floor in floors)
    across = planes[:, :, :-2] - 2 * planes[:, :, 1:-1] + planes[:, :, 2:]
    residual = (across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]) / 6  # keeps the variance of white noise
    lowest = planes == planes.min(axis=(1, 2), keepdims=True)
    kept = (
        _block_means(lowest[:, 1:-1, 1:-1]) < 0.3
    )  # where many pixels share the lowest value, noise is cut off
    if valid is not None:
        kept &= _block_means(_touched(~valid)) == 0
    everywhere = kept.all(axis=0)
    variance = _block_means(residual**2)[:, everywhere]
    level = _block_means(planes[:, 1:-1, 1:-1])[:, everywhere]

    groups = [_groups_of_one_level(levels) for levels in level]
    relative = np.ones_like(variance)
    for plane, members in enumerate(groups):
        for group in members:
            relative[plane, group] = variance[plane, group] / max(
                np.quantile(variance[plane, group], 0.25), FLOOR
            )
    samples = []
    for plane, (members, floor) in enumerate(zip(groups, floors, strict=True)):
        texture = relative.sum(axis=0) - relative[plane]
        flattest = [group[np.argsort(texture[group])[: max(8, group.size // 10)]] for group in members]
        samples.append(
            NoiseSamples(
                np.array([level[plane, group].mean() for group in flattest], np.float64),
                np.array([variance[plane, group].mean() for group in flattest], np.float64),
                np.array([group.size for group in flattest], np.float64),
                floor,
            )
        )
    return tuple(samples)


def fit_noise(captures: Iterable[Sequence[NoiseSamples]]) -> NoiseModel:
    """Fit one noise model to the samples of captures that share camera and ISO.

    One line for all planes, which read out of one sensor, and one digital gain per plane beside it: a plane
    that is dark all over has no slope of its own to show.
    """
    per_plane = [_joined(samples) for samples in zip(*captures, strict=True)]
    both = _joined(per_plane)
    if not both.level.size:  # everything clipped, or smaller than a few blocks: assume quantisation alone
        floor = max(both.floor, FLOOR)
        return NoiseModel((floor,) * 4, (floor,) * 4)
    shot, read = _fit_line(both)
    gains = [_median_ratio(samples, shot, read) for samples in per_plane]
    a, b, c, d = (max(shot * gain, FLOOR) for gain in gains)
    e, f, g, h = (max(read * gain, samples.floor) for gain, samples in zip(gains, per_plane, strict=True))
    return NoiseModel((a, b, c, d), (e, f, g, h))


def _groups_of_one_level(level: Float32[np.ndarray, " n"]) -> list[Int[np.ndarray, " group"]]:
    order = np.argsort(level)
    return [group for group in np.array_split(order, max(1, min(24, order.size // 32))) if group.size >= 8]


def _block_means(values: Shaped[np.ndarray, "4 h w"]) -> Float32[np.ndarray, "4 n"]:
    rows, columns = (length // BLOCK for length in values.shape[1:])
    blocks = values[:, : rows * BLOCK, : columns * BLOCK].reshape(4, rows, BLOCK, columns, BLOCK)
    means: Float32[np.ndarray, "4 n"] = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(4, -1)
    return means


def _touched(mask: Bool[np.ndarray, "4 h w"]) -> Bool[np.ndarray, "4 h2 w2"]:
    """Where a residual has a pixel of the mask among the nine it is made of."""
    across = mask[:, :, :-2] | mask[:, :, 1:-1] | mask[:, :, 2:]
    touched: Bool[np.ndarray, "4 h2 w2"] = across[:, :-2] | across[:, 1:-1] | across[:, 2:]
    return touched


def _step(plane: Float32[np.ndarray, "h w"]) -> float:
    """The quantisation step: the smallest difference between two values that occur."""
    sample = plane.reshape(-1)[:: max(1, plane.size // 65536)]
    values = np.unique(sample)
    return float(np.diff(values).min()) if values.size > 1 else 0.0


def _joined(samples: Iterable[NoiseSamples]) -> NoiseSamples:
    listed = list(samples)
    return NoiseSamples(
        np.concatenate([s.level for s in listed]),
        np.concatenate([s.variance for s in listed]),
        np.concatenate([s.blocks for s in listed]),
        max(s.floor for s in listed),
    )


def _fit_line(samples: NoiseSamples) -> tuple[float, float]:
    """Fit variance = shot * level + read, by the size of relative errors, not their square.

    Texture only ever adds: a sample far above the line counts for little.
    """
    x, y, floor = np.maximum(samples.level, 0), np.maximum(samples.variance, samples.floor), samples.floor
    shot, read = 0.0, float(np.median(y))
    for _ in range(30):
        expected = shot * x + read
        excess = y / expected - 1
        weight = (
            samples.blocks / expected**2 / np.maximum(np.abs(excess), 0.05) / np.where(excess > 0.5, 4, 1)
        )
        shot, read = _nonnegative_line(x, y, weight, floor)
    return max(shot, FLOOR), max(read, floor)


def _nonnegative_line(
    x: Float64[np.ndarray, " n"],
    y: Float64[np.ndarray, " n"],
    weight: Float64[np.ndarray, " n"],
    floor: float,
) -> tuple[float, float]:
    total, mean_x, mean_y = weight.sum(), np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float(weight @ (x - mean_x) ** 2)
    # One level only (a flat field, a dark frame) has no slope to show: then all of it is read noise.
    if spread <= 1e-6 * total * max(mean_x, 1e-3) ** 2:
        return 0.0, max(float(mean_y), floor)
    shot = float(weight @ ((x - mean_x) * (y - mean_y))) / spread
    read = float(mean_y - shot * mean_x)
    if read < floor:
        read = floor
        shot = float(weight @ (x * (y - floor)) / (weight @ x**2))
    if shot < 0:
        shot, read = 0.0, max(float(mean_y), floor)
    return shot, read


def _median_ratio(samples: NoiseSamples, shot: float, read: float) -> float:
    """How much noisier this plane is than the line (a digital gain per plane); 1 where nothing tells."""
    if not samples.level.size:
        return 1.0
    return float(np.clip(np.median(samples.variance / (shot * np.maximum(samples.level, 0) + read)), 0.25, 4))
