"""Normal distributions of the four planes together, one at each pixel: their factors, likelihood, posterior.

A covariance is given by its Cholesky factor, ten maps: the lower triangle, row by row. All is written out in
maps, which is several times faster than small matrices in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

PLANES = 4
FACTOR = PLANES * (PLANES + 1) // 2  # maps of a factor
_INDEX = {(row, column): row * (row + 1) // 2 + column for row in range(PLANES) for column in range(row + 1)}
DIAGONAL = [at for (row, column), at in _INDEX.items() if row == column]
BELOW = [at for (row, column), at in _INDEX.items() if row != column]

Planes = Float32[Tensor, "b 4 h w"]
Factor = Float32[Tensor, "b 10 h w"]
Mask = Bool[Tensor, "b 4 h w"]
Map = Float32[Tensor, "b h w"]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What is expected at each pixel before it is looked at: the signal, N(mean, S), and its noise, N(0, N).

    `signal` and `noise` are the factors of S and N, stabilised.
    """

    mean: Planes
    signal: Factor
    noise: Factor


def posterior_mean(prediction: Prediction, y: Planes) -> Planes:
    """The signal that is expected once it is seen: mean + S (S + N)^-1 (y - mean).

    Laine et al. 2019, equation 5; Wu et al. 2020, equation 11, there for one plane.
    """
    covariance = outer(prediction.signal)
    total = cholesky(covariance + outer(prediction.noise))
    weighted = _solve_upper(total, _solve_lower(total, y - prediction.mean))
    return prediction.mean + _multiply(covariance, weighted)


def negative_log_likelihood(prediction: Prediction, y: Planes, valid: Mask) -> Map:
    """-log N(y; mean, S + N) at each pixel, but for a constant; of the valid planes alone."""
    factor = cholesky(_keep_valid(outer(prediction.signal) + outer(prediction.noise), valid))
    unlikely = _solve_lower(factor, torch.where(valid, y - prediction.mean, 0)).square().sum(dim=1)
    return 0.5 * (unlikely + log_determinant(factor))


def constrained_negative_log_likelihood(prediction: Prediction, y: Planes, valid: Mask) -> Map:
    """An upper bound that sees in the noise what signal need not explain (Wu et al. 2020, equation 9).

    r' (S + N)^-1 r + log |N| + tr(N^-1 S), halved, for log |S + N| <= log |N| + tr(N^-1 S): near where S is
    small, and far above where it is not.
    """
    noise = outer(prediction.noise)
    total = cholesky(_keep_valid(outer(prediction.signal) + noise, valid))
    unlikely = _solve_lower(total, torch.where(valid, y - prediction.mean, 0)).square().sum(dim=1)
    factor = cholesky(_keep_valid(noise, valid))
    share = sum(
        (
            _solve_lower(factor, column * valid).square().sum(dim=1)
            for column in _list_columns(prediction.signal)
        ),
        start=torch.zeros_like(unlikely),
    )
    return 0.5 * (unlikely + log_determinant(factor) + share)


def outer(factor: Factor) -> Factor:
    """The lower triangle of L L'."""
    return torch.stack(
        [
            sum(
                (factor[:, _INDEX[row, k]] * factor[:, _INDEX[column, k]] for k in range(column + 1)),
                start=torch.zeros_like(factor[:, 0]),
            )
            for row, column in _INDEX
        ],
        dim=1,
    )


def cholesky(covariance: Factor) -> Factor:
    """Factor L of L L', of the lower triangle of a positive definite matrix (Cholesky-Banachiewicz)."""
    entries: dict[tuple[int, int], Tensor] = {}
    for (row, column), at in _INDEX.items():
        rest = covariance[:, at]
        for k in range(column):
            rest = rest - entries[row, k] * entries[column, k]
        entries[row, column] = (
            rest.clamp_min(1e-12).sqrt() if row == column else rest / entries[column, column]
        )
    return torch.stack(list(entries.values()), dim=1)


def log_determinant(factor: Factor) -> Map:
    """Log |L L'|."""
    return 2 * factor[:, DIAGONAL].log().sum(dim=1)


def diagonal_factor(deviation: Planes) -> Factor:
    """The factor of planes that are independent, with these standard deviations."""
    batch, _, height, width = deviation.shape
    factor = deviation.new_zeros(batch, FACTOR, height, width)
    factor[:, DIAGONAL] = deviation
    return factor


def mix(factor: Factor, independent: Planes) -> Planes:
    """L n: what independent numbers of unit variance become when they have this covariance."""
    return torch.stack(
        [
            sum(
                (factor[:, _INDEX[row, k]] * independent[:, k] for k in range(row + 1)),
                start=torch.zeros_like(independent[:, 0]),
            )
            for row in range(PLANES)
        ],
        dim=1,
    )


def _keep_valid(covariance: Factor, valid: Mask) -> Factor:
    """Leave the other planes out: on their own, of variance 1, they add nothing to a likelihood."""
    known = valid.to(covariance)
    entries = []
    for (row, column), at in _INDEX.items():
        entry = covariance[:, at] * known[:, row] * known[:, column]
        entries.append(entry + (1 - known[:, row]) if row == column else entry)
    return torch.stack(entries, dim=1)


def _list_columns(factor: Factor) -> list[Planes]:
    nothing = torch.zeros_like(factor[:, 0])
    return [
        torch.stack(
            [factor[:, _INDEX[row, column]] if row >= column else nothing for row in range(PLANES)], dim=1
        )
        for column in range(PLANES)
    ]


def _solve_lower(factor: Factor, planes: Planes) -> Planes:
    """L^-1 b."""
    solved: list[Tensor] = []
    for row in range(PLANES):
        rest = planes[:, row]
        for k in range(row):
            rest = rest - factor[:, _INDEX[row, k]] * solved[k]
        solved.append(rest / factor[:, _INDEX[row, row]])
    return torch.stack(solved, dim=1)


def _solve_upper(factor: Factor, planes: Planes) -> Planes:
    """L'^-1 b."""
    solved: dict[int, Tensor] = {}
    for row in reversed(range(PLANES)):
        rest = planes[:, row]
        for k in range(row + 1, PLANES):
            rest = rest - factor[:, _INDEX[k, row]] * solved[k]
        solved[row] = rest / factor[:, _INDEX[row, row]]
    return torch.stack([solved[row] for row in range(PLANES)], dim=1)


def _multiply(covariance: Factor, planes: Planes) -> Planes:
    """A symmetric matrix, given by its lower triangle, times a vector."""
    return torch.stack(
        [
            sum(
                (covariance[:, _INDEX[max(row, k), min(row, k)]] * planes[:, k] for k in range(PLANES)),
                start=torch.zeros_like(planes[:, 0]),
            )
            for row in range(PLANES)
        ],
        dim=1,
    )
