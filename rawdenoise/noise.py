"""How noisy a camera is: the record, and a simple estimate of it from ordinary captures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

FLOOR = 1e-12  # variance: nothing is free of noise, and the transforms divide by it

FourFloats = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Poisson-Gaussian noise per plane (R, G1, G2, B): variance = shot * signal + read_variance."""

    shot: FourFloats
    read_variance: FourFloats

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

    The residual is the second difference in both directions (Immerkaer 1996): blind to linear gradients and
    to edges along an axis. Its variance is taken over small blocks; among blocks of about the same level the
    flattest tenth speaks, corrected for being the lowest tenth of a chi-squared law.
    """
    if valid is None:
        valid = np.ones(planes.shape, bool)
    return tuple(_sample_plane(plane, mask) for plane, mask in zip(planes, valid, strict=True))


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


def _sample_plane(plane: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> NoiseSamples:
    step, lowest = _step(plane), plane.min()
    floor = max(step**2 / 12, FLOOR)
    block = 16 if min(plane.shape) >= 384 else 8
    if min(plane.shape) < 2 * block + 2:
        return NoiseSamples(np.empty(0), np.empty(0), np.empty(0), floor)

    across = plane[:, :-2] - 2 * plane[:, 1:-1] + plane[:, 2:]
    residual = (across[:-2] - 2 * across[1:-1] + across[2:]) / 6  # keeps the variance of white noise
    centre, inside = plane[1:-1, 1:-1], valid[1:-1, 1:-1]
    variance = _block_means(residual**2, block)
    level = _block_means(centre, block)
    whole = _block_means(inside.astype(np.float32), block) > 0.999
    unclipped = (
        _block_means((centre <= lowest).astype(np.float32), block) < 0.3
    )  # a pile at the lowest value: cut off
    kept = whole & unclipped
    variance, level = variance[kept], level[kept]

    # Sorted by level and cut into groups; in each, the flattest tenth.
    order = np.argsort(level)
    groups = [group for group in np.array_split(order, max(1, min(32, level.size // 24))) if group.size >= 8]
    freedom = block**2 / 3.78  # the residual's neighbours are correlated: sum of squared correlations 1.944^2
    tenth = (1 - 2 / (9 * freedom) - 1.2816 * np.sqrt(2 / (9 * freedom))) ** 3  # Wilson-Hilferty
    return NoiseSamples(
        np.array([level[group].mean() for group in groups], np.float64),
        np.array([np.quantile(variance[group], 0.1) / tenth for group in groups], np.float64),
        np.array([group.size for group in groups], np.float64),
        floor,
    )


def _block_means(values: Float32[np.ndarray, "h w"], block: int) -> Float32[np.ndarray, " n"]:
    rows, columns = values.shape[0] // block, values.shape[1] // block
    blocks = values[: rows * block, : columns * block].reshape(rows, block, columns, block)
    means: Float32[np.ndarray, " n"] = blocks.mean(axis=(1, 3)).reshape(-1)
    return means


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
