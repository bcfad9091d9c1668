"""The noise of an ordinary capture, textured or not, from its own blocks.

Noise is white, scenes are not: texture is strongest in coarse detail and fades towards the finest. So the
variance is measured in the finest detail, where texture is weak, and coarse detail tells how much of it is
texture nevertheless: places with little of it have the say, and what is left is taken off in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int

from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.model import MINIMUM_VARIANCE, NoiseModel
from rawdenoise.noise.row_variance import BlockStatistics, measure_row_variance
from rawdenoise.noise.samples import BLOCK_SIDE, NoiseSamples

MAXIMUM_BLOCKS = 40_000  # per plane: more tell little more
LEVEL_GROUPS = 24  # groups of blocks of about one level
FLATNESS_SHARES = (0.0, 0.01, 0.04, 0.12, 0.3, 0.6)  # shares of a group, flattest first, that are averaged
MINIMUM_GROUP_BLOCKS = 4  # blocks
MAXIMUM_SHARE_AT_LOWEST = 0.3  # share of pixels at the lowest value from which the noise is cut off there


def estimate_noise(
    planes: Float32[np.ndarray, "4 h w"], *, valid: Bool[np.ndarray, "4 h w"] | None = None
) -> NoiseModel:
    """Estimate the noise of one capture, textured or not; pixels outside `valid` (clipped) are left out."""
    return fit_noise([sample_noise(planes, valid=valid)])


def sample_noise(
    planes: Float32[np.ndarray, "4 h w"],
    *,
    valid: Bool[np.ndarray, "4 h w"] | None = None,
    most_blocks: int | None = None,
) -> tuple[NoiseSamples, ...]:
    """Measure the noise variance against the signal, per plane, on about `most_blocks` of it.

    Fine detail is the second difference in both directions (Immerkaer 1996), blind to gradients and to edges
    along an axis; coarse detail the second differences of pixels averaged two by two. Their powers are taken
    over blocks of 8x8, grouped by level and, within a level, by the coarse detail of all planes. White noise
    is independent in the two, so that this choice does not favour blocks with little noise.
    """
    steps = [_quantization_step(plane) for plane in planes]
    floors = [max(step**2 / 12, MINIMUM_VARIANCE) for step in steps]
    measured = _measure_blocks(planes, valid, most_blocks or MAXIMUM_BLOCKS)
    if measured.level.shape[1] < MINIMUM_GROUP_BLOCKS:
        nothing = np.empty(0)
        return tuple(
            NoiseSamples(nothing, nothing, nothing, nothing, floor, step)
            for floor, step in zip(floors, steps, strict=True)
        )
    limits = [math.inf] * 4
    if valid is not None:
        limits = [_saturation(plane, mask) for plane, mask in zip(planes, valid, strict=True)]
    groups = [_group_by_level(levels) for levels in measured.level]
    expected = np.ones_like(measured.coarse)
    for plane, members in enumerate(groups):
        for group in members:
            expected[plane, group] = max(
                float(np.quantile(measured.coarse[plane, group], 0.25)), MINIMUM_VARIANCE
            )
    for _ in range(2):  # how coarse detail compares with noise is known only once noise is
        texture = measured.coarse / expected
        texture = texture.sum(axis=0) - texture  # of the other three planes
        samples = [
            _average_groups(measured, plane, groups[plane], texture[plane], floors[plane], limits[plane])
            for plane in range(4)
        ]
        expected = _expected_variance(fit_noise([samples]), measured.level)
    rows = [measure_row_variance(measured, expected, pair) for pair in ((0, 1), (2, 3))]
    return tuple(
        replace(
            plane_samples, step=steps[plane], row_variance=rows[plane // 2][0], row_error=rows[plane // 2][1]
        )
        for plane, plane_samples in enumerate(samples)
    )


def _measure_blocks(
    planes: Float32[np.ndarray, "4 h w"], valid: Bool[np.ndarray, "4 h w"] | None, most: int
) -> BlockStatistics:
    """Measure blocks all over a capture, at most about so many, one row of them at a time."""
    down, across = ((length - 2) // BLOCK_SIDE for length in planes.shape[1:])
    lowest = planes.min(axis=(1, 2), keepdims=True, initial=np.inf)
    measured = [_no_blocks()]
    for row in range(0, down if across > 0 else 0, -(-max(down * across, 1) // most)):
        reach = np.s_[:, row * BLOCK_SIDE : (row + 1) * BLOCK_SIDE + 2, : across * BLOCK_SIDE + 2]
        strip = planes[reach]
        at_lowest = (
            (strip[:, 1:-1, 1:-1] == lowest).reshape(4, BLOCK_SIDE, across, BLOCK_SIDE).mean(axis=(1, 3))
        )
        good = (at_lowest < MAXIMUM_SHARE_AT_LOWEST).all(axis=0)
        if valid is not None:
            column = np.asarray(valid[reach].all(axis=(0, 1)))
            good &= column[:-2].reshape(across, BLOCK_SIDE).all(axis=1) & column[8::8] & column[9::8]
        measured.append(_measure_strip(strip, good, row))
    return BlockStatistics(
        level=np.concatenate([blocks.level for blocks in measured], axis=1),
        fine=np.concatenate([blocks.fine for blocks in measured], axis=1),
        coarse=np.concatenate([blocks.coarse for blocks in measured], axis=1),
        rows=np.concatenate([blocks.rows for blocks in measured], axis=1),
        place=np.concatenate([blocks.place for blocks in measured]),
    )


def _no_blocks() -> BlockStatistics:
    nothing = np.empty((4, 0), np.float32)
    return BlockStatistics(
        nothing, nothing, nothing, np.empty((4, 0, BLOCK_SIDE), np.float32), np.empty((0, 2), int)
    )


def _measure_strip(
    strip: Float32[np.ndarray, "4 10 w"], good: Bool[np.ndarray, " across"], row: int
) -> BlockStatistics:
    """Measure one row of blocks; the strip reaches a pixel further on every side."""
    count = good.size
    over = strip[:, :-2] - 2 * strip[:, 1:-1] + strip[:, 2:]
    fine = (over[:, :, :-2] - 2 * over[:, :, 1:-1] + over[:, :, 2:]) / 6  # keeps the variance of white noise
    halves = strip[:, ::2] + strip[:, 1::2]
    halves = (halves[:, :, ::2] + halves[:, :, 1::2]) / 2  # keeps it too
    across = halves[:, :, :-2] - 2 * halves[:, :, 1:-1] + halves[:, :, 2:]
    across = np.pad(across, ((0, 0), (0, 0), (0, 1))).reshape(4, 5, count, 4)[..., :3]
    down = halves[:, :-2, :-1] - 2 * halves[:, 1:-1, :-1] + halves[:, 2:, :-1]
    power_across = (across**2).mean(axis=(1, 3))
    power_down = (down**2).reshape(4, 3, count, 4).mean(axis=(1, 3))
    level = strip[:, 1:-1, 1:-1].reshape(4, BLOCK_SIDE, count, BLOCK_SIDE).mean(axis=(1, 3))
    rows = over[:, :, 1:-1].reshape(4, BLOCK_SIDE, count, BLOCK_SIDE).mean(axis=3).transpose(0, 2, 1)
    (columns,) = np.nonzero(good)
    return BlockStatistics(
        level=level[:, good],
        fine=(fine**2).reshape(4, BLOCK_SIDE, count, BLOCK_SIDE).mean(axis=(1, 3))[:, good],
        coarse=((power_across + power_down) / 12)[:, good],
        rows=rows[:, good],
        place=np.stack([np.full_like(columns, row), columns], axis=1),
    )


def _group_by_level(level: Float32[np.ndarray, " n"]) -> list[Int[np.ndarray, " _"]]:
    """Blocks by rising level in groups of one size, but finer at the dark end, where read noise shows."""
    order = np.argsort(level)
    groups = np.array_split(order, max(1, min(LEVEL_GROUPS, order.size // 32)))
    dark = np.array_split(groups[0], max(1, min(4, groups[0].size // 32)))
    return [group for group in [*dark, *groups[1:]] if group.size >= MINIMUM_GROUP_BLOCKS]


def _average_groups(
    blocks: BlockStatistics,
    plane: int,
    groups: Sequence[Int[np.ndarray, " _"]],
    texture: Float32[np.ndarray, " n"],
    floor: float,
    limit: float,
) -> NoiseSamples:
    """Average the blocks of a plane that are of one level and about equally textured.

    Levels whose noise reaches up to `limit` are left out: there it is cut off.
    """
    rows = []
    for group in groups:
        by_texture = group[np.argsort(texture[group])]
        bounds = [
            max(round(share * group.size), MINIMUM_GROUP_BLOCKS * i)
            for i, share in enumerate(FLATNESS_SHARES)
        ]
        for first, last in pairwise(bounds):
            part = by_texture[first:last]
            if part.size < MINIMUM_GROUP_BLOCKS:
                break
            mean, power, coarse_power = (
                float(values[plane, part].mean(dtype=np.float64))
                for values in (blocks.level, blocks.fine, blocks.coarse)
            )
            if mean + 4 * math.sqrt(power) < limit:
                rows.append((mean, power, coarse_power, part.size))
    level, fine, coarse, count = np.array(rows, np.float64).reshape(-1, 4).T
    return NoiseSamples(level, fine, coarse, count, floor)


def _expected_variance(noise: NoiseModel, level: Float32[np.ndarray, "4 n"]) -> Float32[np.ndarray, "4 n"]:
    return noise.variance(level[:, :, None])[:, :, 0]


def _quantization_step(plane: Float32[np.ndarray, "h w"]) -> float:
    """The quantisation step: the smallest difference between two values that occur."""
    sample = plane.reshape(-1)[:: max(1, plane.size // 65536)]
    values = np.unique(sample)
    return float(np.diff(values).min()) if values.size > 1 else 0.0


def _saturation(plane: Float32[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]) -> float:
    """The least value that is not valid; infinite where all are."""
    return float(plane.min(initial=np.inf, where=~valid))
