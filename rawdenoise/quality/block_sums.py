"""What a whole picture shows of its noise: sums over blocks, and which of them are flat or structured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from rawdenoise.noise.model import NoiseModel

Planes = Float32[np.ndarray, "4 h w"]
Blocks = Float64[np.ndarray, "rows columns"]
Strata = Int[np.ndarray, "rows columns"]

BLOCK_SIDE = 8  # packed pixels
STRATA_COUNT = 12  # of blocks, by how much structure they show


@dataclass(frozen=True, slots=True, eq=False)
class BlockSums:
    """Sums over the sound pixels of blocks of all planes.

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

    def rank_by_structure(self) -> Strata:
        """Number the blocks from the flattest to the most structured, in strata of one size."""
        sound = self.variance > 0  # clipped blocks show nothing, and are neither flat nor dark
        if not sound.any():
            return np.zeros(self.structure.shape, np.int64)
        bounds = np.quantile(self.structure[sound], np.arange(1, STRATA_COUNT) / STRATA_COUNT)
        return np.searchsorted(bounds, self.structure, side="left")


def trim_to_blocks(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of what whole blocks cover of packed planes."""
    height, width = (length // BLOCK_SIDE * BLOCK_SIDE for length in shape[1:])
    return height, width


def sum_blocks(
    planes: Planes, clean: Planes, noise: NoiseModel, valid: Bool[np.ndarray, "4 h w"]
) -> BlockSums:
    """Sum plane by plane, so that little memory is needed."""
    height, width = trim_to_blocks(planes.shape)
    blocks = np.zeros((4, height // BLOCK_SIDE, width // BLOCK_SIDE))
    total = spread = 0.0
    beside = np.zeros(2)
    reach = np.s_[:height, :width]
    for y, g, sound, shot, read in zip(planes, clean, valid, noise.shot, noise.read_variance, strict=True):
        y, g, sound = y[reach], g[reach], sound[reach]
        variance = np.float32(shot) * np.maximum(g, 0) + np.float32(read)
        residual = (y - g) * sound
        square = residual**2
        blocks[0] += sum_in_blocks(variance * sound)
        blocks[1] += sum_in_blocks(square)
        blocks[2] += sum_in_blocks(g * sound)
        blocks[3] += sum_in_blocks(_measure_variation(g) * sound / variance)
        total += shot * float(y.sum(where=sound, dtype=np.float64)) + read * np.count_nonzero(sound)
        spread += float(((square - variance) ** 2).sum(where=sound, dtype=np.float64))
        residual /= np.sqrt(variance)
        for one, other in ((residual[1:], residual[:-1]), (residual[:, 1:], residual[:, :-1])):
            beside += float((one * other).sum(dtype=np.float64)), float((one * one).sum(dtype=np.float64))
    pixels = int(np.count_nonzero(valid[:, :height, :width]))
    variance_sum, residual_sum, level, structure = blocks
    return BlockSums(
        variance_sum,
        residual_sum,
        level,
        structure,
        total=max(total, 1e-3 * float(variance_sum.sum())),
        chance=math.sqrt(spread),
        pixels=pixels,
        correlation=float(beside[0] / max(beside[1], 1e-30)),
    )


def sum_in_blocks(plane: Float32[np.ndarray, "h w"]) -> Blocks:
    """Sum each block of a plane whose sides are whole blocks."""
    height, width = plane.shape
    tall = plane.reshape(height // BLOCK_SIDE, BLOCK_SIDE, width).sum(axis=1)
    return tall.reshape(height // BLOCK_SIDE, width // BLOCK_SIDE, BLOCK_SIDE).sum(axis=2, dtype=np.float64)


def _measure_variation(plane: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Squared differences to the next pixel down and across."""
    squares = np.zeros_like(plane)
    squares[:-1] += np.diff(plane, axis=0) ** 2
    squares[:, :-1] += np.diff(plane, axis=1) ** 2
    return squares
