"""Noise2Void (Krull, Buchholz and Jug, CVPR 2019): a pixel told from its neighbours, itself hidden."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32
from torch import Tensor

from rawdenoise.training.objectives.step import Mask, Planes, Step, squared_error

CELL = 8  # one pixel is hidden in a square of this side: 64 in 64x64, as in the paper


def noise2void(step: Step) -> Float32[Tensor, ""]:
    """|f(y~) - y|^2 at the hidden pixels alone, y~ being y with these replaced (equation 10 there).

    Needs no noise model, but noise of mean 0 that tells nothing of its neighbours' (equations 3 and 4).

    At inference the network sees every pixel, which it has never been taught to use.
    """
    hidden, spots = hide(step.noisy, step.valid, step.generator)
    return squared_error(step.denoise(hidden), step.noisy, spots)


def hide(y: Planes, valid: Mask, generator: torch.Generator) -> tuple[Planes, Mask]:
    """Put another pixel of the same cell in the place of one in each; returns the planes, and where.

    As one pixel of a cell is hidden and another takes its place, no hidden value is left anywhere. Each plane
    has spots of its own: its neighbours in the other planes are other photosites, whose noise is independent,
    and what the paper hides is the pixel that is asked for, not what lies beside it.

    Spots do not count where they, or what takes their place, are not valid.
    """
    batch, _, height, width = y.shape
    rows, columns = height // CELL, width // CELL
    inside = ..., slice(rows * CELL), slice(columns * CELL)
    shape = batch, 4, 1, rows, columns
    spot = torch.randint(CELL**2, shape, generator=generator)
    other = (spot + torch.randint(1, CELL**2, shape, generator=generator)) % CELL**2
    spot, other = spot.to(y.device), other.to(y.device)

    cells, known = _split_cells(y[inside]), _split_cells(valid[inside])
    counts = torch.zeros_like(known).scatter(2, spot, known.gather(2, spot) & known.gather(2, other))
    hidden, spots = y.clone(), torch.zeros_like(valid)
    hidden[inside] = _join_cells(cells.scatter(2, spot, cells.gather(2, other)))
    spots[inside] = _join_cells(counts)
    return hidden, spots


def _split_cells(planes: Float32[Tensor, "b 4 h w"] | Bool[Tensor, "b 4 h w"]) -> Tensor:
    """Sort pixels by their cells: (b, 4, pixels of a cell, rows of cells, columns of cells)."""
    apart = F.pixel_unshuffle(planes, CELL)
    batch, _, rows, columns = apart.shape
    return apart.reshape(batch, 4, CELL**2, rows, columns)


def _join_cells(cells: Float32[Tensor, "b 4 n r c"] | Bool[Tensor, "b 4 n r c"]) -> Tensor:
    return F.pixel_shuffle(cells.flatten(1, 2), CELL)
