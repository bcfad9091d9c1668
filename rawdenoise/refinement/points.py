"""Points of light that stay: stars and glints stand out in all planes, and are given back what they lost.

A network takes part of a faint point for noise, and rounds a bright one off. Where something no wider than
what a lens makes of a point stands out of even surroundings, the capture itself is the better answer: its
noise is the point's own. A hot pixel lights one pixel of one plane, so that a point stands out without its
two brightest pixels, too, and without its brightest plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int

from rawdenoise.noise.model import NoiseModel

Planes = Float32[np.ndarray, "4 h w"]
Map = Float32[np.ndarray, "h w"]
_Places = tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]  # rows and columns

BOX = 2  # packed pixels that a point is looked for in, 4 x 4 of the mosaic
RING = (5, 9)  # packed pixels: sides of the squares between which its surroundings are
STRIP_ROWS = 128  # packed rows in memory at a time
MARGIN = 6  # packed pixels that a place depends on around it
TAPER = (0.5, 1.0, 1.0, 1.0, 1.0, 0.5)  # of what is given back, from two before a box to two after it
SHINES = (1.0, 3.0)  # sigmas of a packed pixel, from which a point shines there, and to which it does wholly


@dataclass(frozen=True, slots=True)
class PointLimits:
    """From when on something is a point: how far a box is above its surroundings, all its pixels together.

    `all` is in sigmas of the noise, `protrusion` in spreads of the surroundings; `rest` and `planes` are the
    sigmas that are left without the two brightest pixels, and without the brightest plane. Few photons are
    far more often many than a Gaussian is: so many `electrons` come on top.
    """

    all: float
    protrusion: float
    rest: float
    planes: float
    electrons: float


POINT_LIMITS = PointLimits(all=10.0, protrusion=12.0, rest=3.5, planes=4.0, electrons=8.0)
SCALE_SIDE = 64  # packed pixels of a block that shows by how much the noise is more than the model says


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Where points are: packed pixels, the share of each that is the capture's, and what that added."""

    rows: Int[np.ndarray, " n"]
    columns: Int[np.ndarray, " n"]
    shares: Float32[np.ndarray, " n"]
    added: Float32[np.ndarray, "4 n"]

    def find_inside(self, rows: slice, columns: slice) -> Bool[np.ndarray, " n"]:
        """Which of the pixels lie in a window."""
        return (
            (self.rows >= rows.start) & (self.rows < rows.stop)
            & (self.columns >= columns.start) & (self.columns < columns.stop)
        )  # fmt: skip


def give_back_points(
    planes: Planes, clean: Planes, noise: NoiseModel, *, valid: Bool[np.ndarray, "4 h w"]
) -> Points | None:
    """Find points and give `clean`, in place, what was taken from them; None where there are none.

    Pixels outside `valid` (clipped, repaired) show nothing.
    """
    if min(planes.shape[1:]) < RING[1]:
        return None
    places = [*_find_places(planes, clean, noise, valid)]
    if not places:
        return None
    rows, columns, shares = _spread(np.concatenate(places), clean, noise)
    lost = planes[:, rows, columns] - clean[:, rows, columns]
    added = np.where(valid[:, rows, columns], lost * shares, np.float32(0))
    clean[:, rows, columns] += added
    return Points(rows, columns, shares, added)


def _find_places(
    planes: Planes, clean: Planes, noise: NoiseModel, valid: Bool[np.ndarray, "4 h w"]
) -> Iterator[Int[np.ndarray, "n 2"]]:
    """The top-left packed pixels of boxes that hold a point, strip by strip."""
    height = planes.shape[1]
    for top in range(0, height, STRIP_ROWS):
        first, last = max(0, top - MARGIN), min(height, top + STRIP_ROWS + MARGIN)
        strip = np.s_[:, first:last]
        found = _search(planes[strip], clean[strip], noise, valid[strip])
        found[:, 0] += first
        inside = (found[:, 0] >= top) & (found[:, 0] < top + STRIP_ROWS)
        if inside.any():
            yield found[inside]


def _search(
    planes: Planes, clean: Planes, noise: NoiseModel, valid: Bool[np.ndarray, "4 h w"]
) -> Int[np.ndarray, "n 2"]:
    """Boxes of a strip that hold a point."""
    limits = POINT_LIMITS
    lost = np.zeros(planes.shape[1:], np.float32)
    variance, level, light = np.zeros_like(lost), np.zeros_like(lost), np.zeros_like(lost)
    for y, g, sound, shot, read in zip(planes, clean, valid, noise.shot, noise.read_variance, strict=True):
        variance += np.float32(shot) * np.maximum(g, 0) + np.float32(read)
        lost += (y - g) * sound
        light += np.where(sound, y, g)
        level += g
    sigma = np.sqrt(_sum_boxes(variance))
    scale = _measure_scale(_sum_boxes(lost) / sigma)
    mean, spread = _look_around(level)
    excess = _sum_boxes(light) - BOX**2 * mean
    found = excess > limits.all * scale * sigma + np.float32(limits.electrons * max(noise.shot))
    found &= excess > BOX**2 * limits.protrusion * spread
    found &= _is_highest(excess)
    found[1 - BOX :] = found[:, 1 - BOX :] = False  # no whole boxes
    rows, columns = np.nonzero(found)
    sure = _stands_out_in_all_planes(planes, clean, noise, valid, (rows, columns), scale[found])
    return np.stack([rows[sure], columns[sure]], axis=1)


def _stands_out_in_all_planes(
    planes: Planes,
    clean: Planes,
    noise: NoiseModel,
    valid: Bool[np.ndarray, "4 h w"],
    places: _Places,
    scale: Float32[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Which boxes stand out without their brightest pixels, too, and without their brightest plane."""
    steps = np.arange(BOX)
    rows, columns = (
        start[:, None, None] + step for start, step in zip(places, (steps[:, None], steps), strict=True)
    )
    around = _find_around(clean, places)[:, :, None, None]
    excess = np.where(valid[:, rows, columns], planes[:, rows, columns] - around, np.float32(0))
    excess = excess.reshape(4, len(scale), BOX**2).transpose(1, 0, 2)
    shot, read = (np.asarray(values, np.float32)[:, None] for values in (noise.shot, noise.read_variance))
    level = clean[:, rows, columns].reshape(4, len(scale), BOX**2).transpose(1, 0, 2)
    sigma = np.sqrt((shot * np.maximum(level, 0) + read).sum(axis=(1, 2))) * scale
    pixels, of_planes = np.sort(excess.reshape(len(scale), 4 * BOX**2), axis=1), excess.sum(axis=2)
    broad: Bool[np.ndarray, " n"] = pixels[:, :-2].sum(axis=1) > POINT_LIMITS.rest * sigma
    return broad & (of_planes.sum(axis=1) - of_planes.max(axis=1) > POINT_LIMITS.planes * sigma)


def _find_around(clean: Planes, places: _Places) -> Float32[np.ndarray, "4 n"]:
    """The level of each plane around boxes: the median over a ring of single pixels."""
    height, width = clean.shape[1:]
    reach = range(-4, BOX + 4)
    ring = [(y, x) for y in reach for x in reach if min(y, x) <= -3 or max(y, x) >= BOX + 2]
    rows, columns = places
    around = np.stack(
        [clean[:, (rows + y).clip(0, height - 1), (columns + x).clip(0, width - 1)] for y, x in ring]
    )
    return np.median(around, axis=0).astype(np.float32)


def _measure_scale(ratio: Map) -> Map:
    """How many times the model's the noise is, block by block, by the median; 1 where it is less."""
    height, width = ratio.shape
    sampled = np.abs(ratio[::4, ::4])
    side = SCALE_SIDE // 4
    down, across = max(1, sampled.shape[0] // side), max(1, sampled.shape[1] // side)
    medians = np.array([
        [np.median(part) for part in np.array_split(band, across, axis=1)]
        for band in np.array_split(sampled, down, axis=0)
    ])  # fmt: skip
    rows, columns = np.arange(height) * down // height, np.arange(width) * across // width
    scale = np.maximum(medians / 0.6745, 1.0).astype(np.float32)
    return scale[rows[:, None], columns]


def _look_around(level: Map) -> tuple[Map, Map]:
    """Mean and spread of a map between two squares around each box."""
    (inner, outer), count = RING, RING[1] ** 2 - RING[0] ** 2
    base = np.float32(level.mean())
    centred = level - base
    mean = (_sum_square(centred, outer) - _sum_square(centred, inner)) / count
    square = centred * centred
    spread = (_sum_square(square, outer) - _sum_square(square, inner)) / count - mean * mean
    return mean + base, np.sqrt(np.maximum(spread, 0))


def _sum_boxes(values: Map) -> Map:
    """Sum over the box that begins at each pixel; beyond the edges the last values go on."""
    down = values + np.concatenate([values[1:], values[-1:]])
    return down + np.concatenate([down[:, 1:], down[:, -1:]], axis=1)


def _sum_square(values: Map, side: int) -> Map:
    """Sum over a square around each pixel; beyond the edges the last values go on."""
    values = np.pad(values, side // 2, mode="edge")
    steps = (3, 3) if side == 9 else (side,)  # of nine, threes of threes are the same and less work
    for axis in (0, 1):
        stride = 1
        for count in steps:
            length = values.shape[axis] - stride * (count - 1)
            parts = [values[(slice(None),) * axis + (slice(at, at + length),)]
                     for at in range(0, stride * count, stride)]  # fmt: skip
            values = parts[0] + parts[1]
            for part in parts[2:]:
                values += part
            stride *= count
    return values


def _is_highest(values: Map) -> Bool[np.ndarray, "h w"]:
    """Where none of the eight next is higher."""
    wide = np.pad(values, 1, mode="edge")
    highest = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
    highest = np.maximum(np.maximum(highest[:, :-2], highest[:, 1:-1]), highest[:, 2:])
    found: Bool[np.ndarray, "h w"] = values >= highest
    return found


def _spread(
    places: Int[np.ndarray, "n 2"], clean: Planes, noise: NoiseModel
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Float32[np.ndarray, " m"]]:
    """The pixels of and around boxes, each once, and the share of the capture there.

    Around a box that is as much as the point shines there: beyond it there is but noise to give back.
    """
    height, width = clean.shape[1:]
    steps = np.arange(-2, BOX + 2)
    shape = (len(places), len(steps), len(steps))
    rows = np.broadcast_to(places[:, 0, None, None] + steps[:, None], shape)
    columns = np.broadcast_to(places[:, 1, None, None] + steps, shape)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    patch = clean[:, rows.clip(0, height - 1), columns.clip(0, width - 1)]
    shot, read = (
        np.asarray(values, np.float32)[:, None, None, None] for values in (noise.shot, noise.read_variance)
    )
    around = _find_around(clean, (places[:, 0], places[:, 1])).sum(axis=0)
    shine = patch.sum(axis=0) - around[:, None, None]
    shine /= np.sqrt((shot * np.maximum(patch, 0) + read).sum(axis=0))
    taper = np.minimum(np.asarray(TAPER, np.float32)[:, None], np.asarray(TAPER, np.float32))
    shares = taper * ((shine - SHINES[0]) / (SHINES[1] - SHINES[0])).clip(0, 1)
    shares[:, 2 : 2 + BOX, 2 : 2 + BOX] = 1
    flat, index = np.unique(rows[inside] * width + columns[inside], return_inverse=True)
    largest = np.zeros(len(flat), np.float32)
    np.maximum.at(largest, index, shares[inside])
    lit = largest > 0
    return flat[lit] // width, flat[lit] % width, largest[lit]
