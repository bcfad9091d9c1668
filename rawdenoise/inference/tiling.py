"""Overlapping tiles with blended seams: a picture of any size in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.inference.stages import OnShare, unheard

Denoiser = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a picture is cut, in packed pixels: the tile's side, and half the width of the blended seams."""

    size: int = 512
    blend: int = 16


@dataclass(frozen=True, slots=True)
class _Span:
    """One tile along one axis: read [read_start, read_stop), write [start, stop) with these weights."""

    read_start: int
    read_stop: int
    start: int
    stop: int
    weights: Float32[np.ndarray, " n"]


def denoise_tiled(
    planes: Float32[np.ndarray, "4 h w"],
    denoiser: Denoiser,
    *,
    halo: int,
    multiple: int,
    tiles: Tiles = Tiles(),
    device: torch.device | None = None,
    on_share: OnShare = unheard,
) -> Float32[np.ndarray, "4 h w"]:
    """Run a denoiser over tiles and blend them: the same result as over the whole, in bounded memory.

    `denoiser` maps a (1, 4, h, w) tensor on `device` to one of the same shape, h and w being multiples of
    `multiple`. An output pixel may depend on inputs up to `halo` packed pixels away; tiles are read with that
    much around them, and start at multiples of `multiple` so that pooling grids agree. Beyond the right and
    bottom edges the picture is continued by reflection. `on_share` is told of every tile that is done.
    """
    height, width = planes.shape[1:]
    clean = np.zeros_like(planes)
    spans = (_split_axis(length, tiles, halo, multiple) for length in (height, width))
    grid = list(product(*spans))
    for number, (rows, columns) in enumerate(grid, 1):
        tile = _read_tile(planes, rows, columns)
        with torch.inference_mode():
            out = denoiser(torch.from_numpy(tile)[None].to(device))[0].cpu().numpy()
        part = out[
            :,
            rows.start - rows.read_start : rows.stop - rows.read_start,
            columns.start - columns.read_start : columns.stop - columns.read_start,
        ]
        weights = rows.weights[:, None] * columns.weights[None, :]
        clean[:, rows.start : rows.stop, columns.start : columns.stop] += part * weights
        on_share(number / len(grid))
    return clean


def _split_axis(length: int, tiles: Tiles, halo: int, multiple: int) -> Iterator[_Span]:
    padded = -(-length // multiple) * multiple
    count = -(-length // max(tiles.size, multiple))
    count = max(1, min(count, length // (2 * tiles.blend + 1)))  # a seam reaches no further than one tile
    edges = [round(i * length / count) for i in range(count + 1)]
    for first, last in pairwise(edges):
        start = max(0, first - tiles.blend) if first else 0
        stop = min(length, last + tiles.blend) if last < length else length
        read_start = max(0, start - halo) // multiple * multiple
        read_stop = min(padded, -(-(stop + halo) // multiple) * multiple)
        yield _Span(
            read_start, read_stop, start, stop, _ramp_weights(start, stop, first, last, length, tiles.blend)
        )


def _ramp_weights(
    start: int, stop: int, first: int, last: int, length: int, blend: int
) -> Float32[np.ndarray, " n"]:
    """Rise over the seam at `first` and fall over the one at `last`; both neighbours add up to one."""
    at = np.arange(start, stop) + 0.5
    weights = np.ones(stop - start)
    if blend and first > 0:
        weights = np.minimum(weights, np.clip((at - first + blend) / (2 * blend), 0, 1))
    if blend and last < length:
        weights = np.minimum(weights, np.clip((last + blend - at) / (2 * blend), 0, 1))
    return weights.astype(np.float32)


def _read_tile(
    planes: Float32[np.ndarray, "4 h w"], rows: _Span, columns: _Span
) -> Float32[np.ndarray, "4 th tw"]:
    height, width = planes.shape[1:]
    ys = _reflect(np.arange(rows.read_start, rows.read_stop), height)
    xs = _reflect(np.arange(columns.read_start, columns.read_stop), width)
    return np.ascontiguousarray(planes[:, ys[:, None], xs[None, :]])


def _reflect(index: np.ndarray, length: int) -> np.ndarray:
    """Fold indices beyond the end back into the picture, without repeating the edge."""
    period = max(1, 2 * (length - 1))
    index = index % period
    return np.where(index < length, index, period - index)
