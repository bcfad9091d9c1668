"""Make the noise of any camera at any ISO Gaussian of unit variance, and undo it without bias.

The generalised Anscombe transform z = (2/a) (sqrt(a y + c) - sqrt(c)), c = 3/8 a^2 + s^2 (Murtagh, Starck &
Bijaoui 1995), written so that black is 0 and that it stays exact as the shot noise vanishes, and continued
below black as a straight line, for there is read noise alone. It stabilises perfectly only above some ten
electrons, and its closed-form inverse (Makitalo & Foi, IEEE TIP 2013, eq. 10) is wrong by up to 0.04
electrons. Two tables mend both, made once per ratio of read noise to shot noise:

- `bend` is added to z. It is the fixed point of dividing the slope of the transform by the standard deviation
  that is left (after Foi, "Optimization of variance-stabilizing transformations", 2009).
- `lift` is added to the algebraic inverse: what makes E[z | y] -> y exact for Poisson-Gaussian noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from rawdenoise.noise.model import MINIMUM_VARIANCE, NoiseModel
from rawdenoise.noise.tukey import tukey_lambda, tukey_lambda_deviation

# Of the tables, in sigmas; 26 sigmas are at least 185 electrons.
TABLE_FIRST, TABLE_LAST, TABLE_STEP = -8.0, 26.0, 1 / 16
# Read noise in electrons for which tables are made; beyond, they no longer change shape.
TABLE_READ = (0.1, 16.0)
TABLE_TAIL = (-0.4, 1.0)  # from tails so long that they hardly have a variance to none at all
MINIMUM_STABILIZED_READ = 0.3  # with less the values of a dark pixel are discrete, and no transform helps
ITERATIONS = 6
REACH_SIGMAS = 9.0  # sigmas over which distributions are summed
VALUES_PER_SIGMA = 6  # values a read-noise sigma in the sums over the distribution of a pixel


def stabilize(planes: Float32[Tensor, "*b 4 h w"], noise: NoiseModel) -> Float32[Tensor, "*b 4 h w"]:
    """Transform packed planes so that their noise has unit variance; black goes to 0."""
    transform = _transform(noise, planes.device)
    root = (transform.shot * planes.clamp_min(0) + transform.at_black**2).sqrt()
    z = 2 * planes / (root + transform.at_black)
    return z + _look_up(transform.bend, z)


def unstabilize(stabilized: Float32[Tensor, "*b 4 h w"], noise: NoiseModel) -> Float32[Tensor, "*b 4 h w"]:
    """Invert `stabilize` without bias: from the mean of stabilised values to the mean of the values."""
    transform = _transform(noise, stabilized.device)
    z = stabilized - transform.bent
    algebraic = z * transform.at_black + transform.shot / 4 * z.clamp_min(0) ** 2
    return algebraic + transform.shot * _look_up(transform.lift, z)


def stabilized_mean(planes: Float32[Tensor, "*b 4 h w"], noise: NoiseModel) -> Float32[Tensor, "*b 4 h w"]:
    """Give the mean of the stabilised noisy values of a clean signal: `unstabilize` leads back to the signal.

    It is what a denoiser has to answer; `stabilize` of a clean signal is not, at a few electrons.
    """
    transform = _transform(noise, planes.device)
    signal = planes - transform.shot * transform.lifted
    z = (
        2
        * signal
        / ((transform.shot * signal.clamp_min(0) + transform.at_black**2).sqrt() + transform.at_black)
    )
    return z + _look_up(transform.rise, z) + transform.bent


def stabilized_white(noise: NoiseModel) -> Float32[Tensor, "4"]:
    """Where white lies after `stabilize`, per plane: the range in sigmas, the same for every tile."""
    return stabilize(torch.ones(4, 1, 1), noise).reshape(4)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """A piecewise linear function per plane, offset + slope z, with `size` pieces from `first` on."""

    first: Float32[Tensor, "4 1 1"]
    offset: Float32[Tensor, " n"]
    slope: Float32[Tensor, " n"]
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class _Transform:
    """The constants and tables of one noise model.

    `bent` and `lifted` are what `bend` and `lift` come to at high signals; `rise` undoes both tables at once.
    """

    shot: Float32[Tensor, "4 1 1"]
    at_black: Float32[Tensor, "4 1 1"]
    bent: Float32[Tensor, "4 1 1"]
    lifted: Float32[Tensor, "4 1 1"]
    bend: _Table
    lift: _Table
    rise: _Table


@lru_cache(maxsize=64)
def _transform(noise: NoiseModel, device: torch.device) -> _Transform:
    shot, read = np.asarray(noise.shot), np.asarray(noise.read_variance)
    electrons = np.sqrt(read) / np.maximum(shot, MINIMUM_VARIANCE)
    tail = None if noise.tail is None else round(min(max(noise.tail, TABLE_TAIL[0]), TABLE_TAIL[1]), 3)
    curves = [make_curves(_round(float(np.clip(ratio, *TABLE_READ))), tail) for ratio in electrons]
    # Above the largest ratio the bend goes on falling as one over it, and the lift stays as it is.
    far = TABLE_READ[1] / np.maximum(electrons, TABLE_READ[1])
    bend = np.stack([curve.bend for curve in curves]) * far[:, None]
    lift = np.stack([curve.lift for curve in curves])
    lift_first = np.array([curve.lift_first for curve in curves]) - bend[:, -1]
    rise = np.stack(
        [_rise(*of) for of in zip(lift, lift_first, np.hypot(math.sqrt(3 / 8), electrons), strict=True)]
    )
    with torch.inference_mode(False):  # they outlive the call, and training needs gradients through them
        return _Transform(
            shot=_per_plane(shot, device),
            at_black=_per_plane(np.sqrt(3 / 8 * shot**2 + read), device),
            bent=_per_plane(bend[:, -1], device),
            lifted=_per_plane(lift[:, -1], device),
            bend=_table(bend, np.full(4, TABLE_FIRST), device),
            lift=_table(lift, lift_first, device),
            rise=_table(rise, np.full(4, TABLE_FIRST), device),
        )


def _per_plane(values: Float64[np.ndarray, "4"], device: torch.device) -> Float32[Tensor, "4 1 1"]:
    return torch.from_numpy(values.astype(np.float32).reshape(4, 1, 1)).to(device)


def _table(
    entries: Float64[np.ndarray, "4 n"], first: Float64[np.ndarray, "4"], device: torch.device
) -> _Table:
    slope = np.diff(entries, axis=1, append=entries[:, -1:]) / TABLE_STEP
    offset = entries - slope * (first[:, None] + _steps())
    return _Table(
        _per_plane(first, device), _flatten(offset, device), _flatten(slope, device), entries.shape[1]
    )


def _flatten(entries: Float64[np.ndarray, "4 n"], device: torch.device) -> Float32[Tensor, " n4"]:
    return torch.from_numpy(entries.astype(np.float32).reshape(-1)).to(device)


def _steps() -> Float64[np.ndarray, " n"]:
    """Where the tables have their entries, from the first one on."""
    return np.arange(0, TABLE_LAST - TABLE_FIRST + TABLE_STEP / 2, TABLE_STEP)


def _round(ratio: float) -> float:
    """To three digits: planes of nearly one noise share their tables."""
    return float(f"{ratio:.3g}")


def _look_up(table: _Table, z: Float32[Tensor, "*b 4 h w"]) -> Float32[Tensor, "*b 4 h w"]:
    """Interpolate between entries; on below the first as a line, and constant above the last."""
    last = table.size - 1
    at = (z.detach() - table.first) * (1 / TABLE_STEP)
    # The second clamp is for what is no number: it stays none, but must not become an index.
    piece = at.clamp_(0, last).int().clamp_(0, last)
    piece += table.size * torch.arange(4, device=z.device, dtype=torch.int32).reshape(4, 1, 1)
    offset, slope = (torch.index_select(of, 0, piece.reshape(-1)) for of in (table.offset, table.slope))
    return torch.addcmul(offset.reshape(z.shape), slope.reshape(z.shape), z)


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """What the tables hold, for one plane in electrons; `lift` starts where z is `lift_first`."""

    bend: Float64[np.ndarray, " n"]
    lift: Float64[np.ndarray, " n"]
    lift_first: float


@lru_cache(maxsize=256)
def make_curves(read: float, tail: float | None) -> Curves:
    """Make the tables for a read noise in electrons, with tails of Tukey's law or Gaussian ones."""
    grid = TABLE_FIRST + _steps()
    at_black = math.sqrt(3 / 8 + read**2)
    levels = _invert_anscombe(np.arange(TABLE_FIRST - 4, TABLE_LAST + 2, 1 / 8), at_black)

    values, density = _densities(levels, max(read, MINIMUM_STABILIZED_READ), tail)
    transformed = _anscombe(values, at_black)
    for _ in range(ITERATIONS):
        slope = np.diff(transformed) / np.diff(values)
        spread = np.sqrt(density @ transformed**2 - (density @ transformed) ** 2)
        slope /= np.interp((values[1:] + values[:-1]) / 2, levels, spread)
        transformed = np.concatenate([[0.0], np.cumsum(slope * np.diff(values))])
        transformed -= np.interp(0.0, values, transformed)
    bend = np.interp(_invert_anscombe(grid, at_black), values, transformed - _anscombe(values, at_black))
    bend -= np.interp(0.0, grid, bend)  # black goes to 0, to the last bit

    # The mean of the transform as `stabilize` will take it, entry by entry.
    if read < MINIMUM_STABILIZED_READ:
        values, density = _densities(levels, read, tail)
    z = _anscombe(values, at_black)
    below = (bend[1] - bend[0]) / TABLE_STEP * np.minimum(z - TABLE_FIRST, 0)
    mean = density @ (z + np.interp(z, grid, bend) + below)
    at_zero = float(np.interp(0.0, levels, mean))  # an entry lies here, where shot noise sets in
    lift = np.interp(at_zero + grid, mean, levels - _invert_anscombe(mean - bend[-1], at_black))
    return Curves(bend, lift, at_zero + TABLE_FIRST)


def _rise(lift: Float64[np.ndarray, " n"], first: float, at_black: float) -> Float64[np.ndarray, " n"]:
    """What lacks the algebraic transform of a signal in electrons, less the last `lift`, to undo `lift`."""
    z = first + _steps()
    algebraic = _anscombe(_invert_anscombe(z, at_black) + lift - lift[-1], at_black)
    return np.interp(TABLE_FIRST + _steps(), algebraic, z - algebraic)


def _anscombe(values: Float64[np.ndarray, " n"], at_black: float) -> Float64[np.ndarray, " n"]:
    """The transform in electrons, a line below black."""
    return 2 * values / (np.sqrt(np.maximum(values, 0) + at_black**2) + at_black)


def _invert_anscombe(z: Float64[np.ndarray, " n"], at_black: float) -> Float64[np.ndarray, " n"]:
    return z * at_black + np.maximum(z, 0) ** 2 / 4


def _densities(
    levels: Float64[np.ndarray, " levels"], read: float, tail: float | None
) -> tuple[Float64[np.ndarray, " values"], Float64[np.ndarray, "levels values"]]:
    """How the values of a pixel are distributed at each level, in electrons: Poisson plus read noise.

    Below black, where only an offset can have brought a level, it is read noise alone.
    """
    highest = levels[-1]
    values = np.arange(
        levels[0] - REACH_SIGMAS * read,
        highest + REACH_SIGMAS * math.sqrt(highest + read**2) + 1,
        read / VALUES_PER_SIGMA,
    )
    electrons = np.arange(int(highest + 8 * math.sqrt(highest) + 10))
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(electrons[1:]))])
    lit = np.maximum(levels, 1e-300)[:, None]
    poisson = np.exp(electrons * np.log(lit) - lit - log_factorials)
    density = poisson @ _read_density((values - electrons[:, None]) / read, tail)
    dark = levels < 0
    density[dark] = _read_density((values - levels[dark, None]) / read, tail)
    return values, density / density.sum(axis=1, keepdims=True)


def _read_density(sigmas: Float64[np.ndarray, "n m"], tail: float | None) -> Float64[np.ndarray, "n m"]:
    """The density of read noise of unit variance, but for a factor."""
    if tail is None:
        return np.asarray(np.exp(-(sigmas**2) / 2))
    logits = np.linspace(-30, 30, 4001)
    probability = 1 / (1 + np.exp(-logits))
    quantiles = tukey_lambda(probability, tail) / tukey_lambda_deviation(tail)
    middles = (quantiles[1:] + quantiles[:-1]) / 2
    return np.interp(sigmas, middles, np.diff(probability) / np.diff(quantiles), left=0, right=0)
