"""Gain maps: the lens shading that a DNG asks its readers to take away.

DNG 1.7, chapter 7, opcode 9 (GainMap), of OpcodeList2: for the linear mosaic, black subtracted. There are
usually four, one for each site of the CFA.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from rawdenoise.capture.raw import RawImage
from rawdenoise.formats.dng.opcodes import OpcodeId, read_opcodes
from rawdenoise.formats.tiff.tags import Code

_HEADER = ">10I4dI"
_MAXIMUM_GAIN = 1000.0  # beyond it a map is damaged


@dataclass(frozen=True, slots=True, eq=False)
class GainMap:
    """Gains at the points of a grid, for some pixels of the active area.

    `rows` and `columns` are (first, end, step). `spacing` and `origin` (vertical, horizontal) are fractions
    of the active area's height and width.
    """

    rows: tuple[int, int, int]
    columns: tuple[int, int, int]
    spacing: tuple[float, float]
    origin: tuple[float, float]
    gains: Float32[np.ndarray, "points_v points_h"]


def read_gain_maps(image: RawImage) -> tuple[GainMap, ...]:
    """The gain maps of an image's file, in the order in which they are applied; broken ones are left out."""
    metadata = image.metadata
    if not metadata.is_dng:
        return ()
    tag = metadata.raw.get(Code.OpcodeList2)
    opcodes = () if tag is None else read_opcodes(tag.data)
    maps = (_parse_gain_map(opcode.data) for opcode in opcodes if opcode.number == OpcodeId.GainMap)
    return tuple(entry for entry in maps if entry is not None)


def apply_gains(
    band: Float32[np.ndarray, "h w"], top: int, maps: tuple[GainMap, ...], shape: tuple[int, int]
) -> None:
    """Multiply some rows of an active area, of which `top` is the first, in place; `shape` is the area's."""
    for entry in maps:
        first, end, step = entry.rows
        start = first + max(0, -(-(top - first) // step)) * step
        rows = np.arange(start, min(end, top + band.shape[0]), step)
        columns = np.arange(entry.columns[0], min(entry.columns[1], band.shape[1]), entry.columns[2])
        if not rows.size or not columns.size:
            continue
        site = band[
            rows[0] - top : rows[-1] - top + 1 : step, columns[0] : columns[-1] + 1 : entry.columns[2]
        ]
        site *= _gains_at(entry, (rows + 0.5) / shape[0], (columns + 0.5) / shape[1])


def _gains_at(
    entry: GainMap, down: Float64[np.ndarray, " h"], across: Float64[np.ndarray, " w"]
) -> Float32[np.ndarray, "h w"]:
    """Interpolate between the grid's points, and beyond them take the nearest."""
    points_v, points_h = entry.gains.shape
    above, below, share = _find_neighbors((down - entry.origin[0]) / entry.spacing[0], points_v)
    lines = entry.gains[above] + share[:, None] * (entry.gains[below] - entry.gains[above])
    left, right, share = _find_neighbors((across - entry.origin[1]) / entry.spacing[1], points_h)
    gains: Float32[np.ndarray, "h w"] = lines[:, left]
    gains += share * (lines[:, right] - gains)
    return gains


def _find_neighbors(
    position: Float64[np.ndarray, " n"], points: int
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
    """The points before and after each position, and the share of the way between them."""
    position = np.clip(position, 0, points - 1)
    before = position.astype(np.int64)
    return before, np.minimum(before + 1, points - 1), (position - before).astype(np.float32)


def _parse_gain_map(parameters: bytes) -> GainMap | None:
    """Parse an opcode's parameters; None where they are cut, make no sense, or are for another plane."""
    size = struct.calcsize(_HEADER)
    if len(parameters) < size:
        return None
    fields = struct.unpack_from(_HEADER, parameters)
    top, left, bottom, right, plane, planes, row_pitch, column_pitch, points_v, points_h = fields[:10]
    spacing, origin, map_planes = fields[10:12], fields[12:14], fields[14]
    count = points_v * points_h * map_planes
    if not count or len(parameters) < size + 4 * count or plane != 0 or not planes:
        return None
    gains = np.frombuffer(parameters, ">f4", count, size).reshape(points_v, points_h, map_planes)[..., 0]
    spacing, origin = (  # one point holds for all; as in Adobe's SDK, its place is not looked at
        tuple(
            usual if points == 1 else value for value, points in zip(pair, (points_v, points_h), strict=True)
        )
        for pair, usual in ((spacing, 1.0), (origin, 0.0))
    )
    sound = np.isfinite((*spacing, *origin)).all() and min(spacing) > 0 and min(row_pitch, column_pitch) > 0
    if not sound or not ((gains >= 0) & (gains <= _MAXIMUM_GAIN)).all():
        return None
    return GainMap(
        (top, bottom, row_pitch), (left, right, column_pitch), spacing, origin, gains.astype(np.float32)
    )
