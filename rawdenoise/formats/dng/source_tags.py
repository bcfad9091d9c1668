"""What a source DNG says of its mosaic by its own tags: colours, active area, levels; and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from rawdenoise.capture.black_levels import split_black
from rawdenoise.capture.raw import Area, Cfa, Ifd, Levels, Metadata, Tag
from rawdenoise.errors import (
    LinearRawError,
    MonochromeError,
    UnsupportedCfaError,
    UnsupportedCompressionError,
    UnsupportedRawError,
    XTransError,
)
from rawdenoise.formats.tiff.reading import bytes_tag, finite_numbers, numbers
from rawdenoise.formats.tiff.tags import Code

_LINEAR_RAW, _SAMPLE_FORMAT, _SUB_TILES = 34892, 339, Code.SubTileBlockSize
_RGB = (0, 1, 2)
_MAXIMUM_SITES = 4096  # of a pattern of black levels; real ones have at most 64
# Tags whose values stand in the order of CFAPlaneColor, as arrays of these shapes; n is a plane, x is not.
_PLANE_AXES = {
    **dict.fromkeys((Code.AsShotNeutral, 50727), "n"),  # 50727 is AnalogBalance
    **dict.fromkeys((Code.ColorMatrix1, Code.ColorMatrix2, 52531), "nx"),
    **dict.fromkeys((50723, 50724, 52530), "nn"),  # CameraCalibration
    **dict.fromkeys((50964, 50965, 52532), "xn"),  # ForwardMatrix
    Code.NoiseProfile: "np",
}


def check_mosaic(path: Path, metadata: Metadata) -> None:
    """Refuse a DNG whose pixels are no Bayer mosaic of integers, by its tags.

    Raises:
        UnsupportedRawError: with the reason; the subclass says which kind.
    """
    raw = metadata.raw
    samples = _whole_number(raw, Code.SamplesPerPixel, 1)
    if _whole_number(raw, Code.PhotometricInterpretation, 0) == _LINEAR_RAW:
        if samples == 1:
            raise MonochromeError(path, "is from a monochrome sensor; only Bayer mosaics are supported")
        raise LinearRawError(
            path, "holds linear RGB (sRAW, mRAW or a linear DNG), not a mosaic; use the camera's full raw"
        )
    if samples != 1:
        raise UnsupportedCfaError(path, f"has {samples:g} samples for a pixel; a Bayer mosaic has one")
    if _whole_number(raw, _SAMPLE_FORMAT, 1) != 1:
        kind = "floating-point" if _whole_number(raw, _SAMPLE_FORMAT, 1) == 3 else "signed"
        raise UnsupportedCompressionError(
            path, f"holds {kind} raw data; only mosaics of unsigned integers are supported"
        )
    if _whole_number(raw, Code.BitsPerSample, 16) > 16:
        raise UnsupportedCompressionError(
            path,
            f"has {_whole_number(raw, Code.BitsPerSample, 16):g} bits for a pixel; up to 16 are supported",
        )
    layout = _whole_number(raw, Code.CFALayout, 1)
    if layout != 1:
        raise UnsupportedCfaError(
            path, f"has staggered rows or columns (CFALayout {layout:g}); only square mosaics are supported"
        )
    if any(value != 1 for value in numbers(raw.get(_SUB_TILES))):
        raise UnsupportedCompressionError(path, "has tiles in blocks (SubTileBlockSize), which nothing reads")
    _check_crop(path, raw)


def _check_crop(path: Path, raw: Ifd) -> None:
    origin, size = numbers(raw.get(Code.DefaultCropOrigin)), numbers(raw.get(Code.DefaultCropSize))
    if not all(math.isfinite(value) and value >= 0 for value in (*origin, *size)) or any(
        value < 1 for value in size
    ):
        words = " x ".join(f"{value:g}" if math.isfinite(value) else "0/0" for value in size)
        raise UnsupportedRawError(path, f"shows nothing of its picture: its DefaultCropSize is {words}")


def read_cfa(path: Path, ifd: Ifd) -> Cfa | None:
    """The Bayer pattern from the active area's top-left, however often it is repeated; None if unsaid.

    Raises:
        XTransError, UnsupportedCfaError: the pattern is another one.
    """
    values = _integers(ifd.get(Code.CFAPattern))
    repeat = _integers(ifd.get(Code.CFARepeatPatternDim)) or [2, 2]
    planes = plane_colors(ifd)
    if not values:
        return None
    rows, columns = repeat if len(repeat) == 2 else (0, 0)
    if (rows, columns) == (6, 6):
        raise XTransError(path, "is a Fujifilm X-Trans mosaic; only Bayer mosaics are supported")
    words = f"{columns}x{rows}, colours {' '.join(map(str, values[:16]))}"
    if min(rows, columns) < 2 or rows * columns != len(values) or sorted(planes) != list(_RGB):
        raise UnsupportedCfaError(path, f"has an unusual colour filter array ({words})")
    grid = np.reshape(values, (rows, columns))
    name = "".join("RGB"[color] if color in _RGB else "?" for color in grid[:2, :2].ravel())
    tiled = np.tile(grid[:2, :2], (math.ceil(rows / 2), math.ceil(columns / 2)))
    bayer = rows % 2 == columns % 2 == 0 and np.array_equal(tiled, grid) and name in set(Cfa)
    if not bayer:
        raise UnsupportedCfaError(path, f"has an unusual colour filter array ({words})")
    return Cfa(name)


def plane_colors(ifd: Ifd) -> tuple[int, ...]:
    """CFAPlaneColor: which colour each plane is."""
    return tuple(_integers(ifd.get(Code.CFAPlaneColor))) or _RGB


def sort_planes(path: Path, metadata: Metadata) -> Metadata:
    """Put what a DNG says of its planes in the order R, G, B, which is the only one that all readers know.

    Raises:
        UnsupportedCfaError: its opcodes after demosaicing count planes in an order of their own.
    """
    planes = plane_colors(metadata.raw)
    if planes == _RGB or sorted(planes) != list(_RGB):
        return metadata
    if Code.OpcodeList3 in metadata.raw:
        reason = f"has opcodes (OpcodeList3) for planes in the order {planes}; only R, G, B is supported"
        raise UnsupportedCfaError(path, reason)
    order = [planes.index(color) for color in _RGB]

    def turn(tags: Ifd) -> Ifd:
        turned = {code: _reorder(tag, _PLANE_AXES.get(code, ""), order) for code, tag in tags.items()}
        if Code.CFAPlaneColor in turned:
            turned[Code.CFAPlaneColor] = bytes_tag(bytes(_RGB))
        return turned

    extra: Mapping[int, tuple[Ifd, ...]] = {
        code: tuple(turn(tags) for tags in directories) for code, directories in metadata.extra.items()
    }
    return replace(metadata, root=turn(metadata.root), raw=turn(metadata.raw), extra=extra)


def _reorder(tag: Tag, axes: str, order: list[int]) -> Tag:
    """Reorder the planes of a tag; one that is not of the shape it should have stays as it is."""
    if not axes or tag.count == 0:
        return tag
    shape = [2 if axis == "p" else 3 for axis in axes]
    if tag.count != math.prod(shape):
        return tag
    values = np.frombuffer(tag.data, f"V{len(tag.data) // tag.count}").reshape(shape)
    for axis, name in enumerate(axes):
        if name == "n":
            values = values.take(order, axis)
    return replace(tag, data=values.tobytes())


def read_area(path: Path, ifd: Ifd, shape: tuple[int, ...]) -> Area:
    """ActiveArea, within the picture.

    Raises:
        UnsupportedRawError: it holds nothing, or is no area.
    """
    height, width = shape
    values = numbers(ifd.get(Code.ActiveArea)) or (0, 0, height, width)
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise UnsupportedRawError(path, f"has an ActiveArea of {len(values)} numbers instead of four")
    top, left, bottom, right = (int(value) for value in values)
    area = Area(max(top, 0), max(left, 0), min(bottom, height), min(right, width))
    if min(area.height, area.width) < 2:
        raise UnsupportedRawError(path, f"has an empty active area ({top}, {left}, {bottom}, {right})")
    return area


def read_levels(path: Path, ifd: Ifd, cfa: Cfa, active: Area, white: float) -> Levels:
    """Levels by the DNG's own tags, which keep fractions and deltas that LibRaw rounds off.

    `cfa` is from the active area's top-left, from where BlackLevel repeats (DNG 1.7); the deltas add to it.
    `white` counts where there is no WhiteLevel.

    Raises:
        UnsupportedRawError: they contradict themselves.
    """
    values = finite_numbers(ifd.get(Code.BlackLevel)) or [0.0]
    repeat = finite_numbers(ifd.get(Code.BlackLevelRepeatDim)) or [1, 1]
    rows, columns = (int(repeat[0]), int(repeat[1])) if len(repeat) == 2 else (0, 0)
    if len(values) == 1 and 0 < rows * columns <= _MAXIMUM_SITES:  # one for all, though the repeat is larger
        values *= rows * columns
    if min(rows, columns) < 1 or len(values) < rows * columns:
        words = "x".join(f"{value:g}" for value in repeat[:4])
        raise UnsupportedRawError(path, f"has {len(values)} black levels for a repeat of {words}")
    black, offsets = split_black(np.reshape(values[: rows * columns], (rows, columns)), cfa)
    return Levels(
        black,
        (finite_numbers(ifd.get(Code.WhiteLevel)) or [white])[0],
        black_delta_rows=_delta(ifd.get(Code.BlackLevelDeltaV), active.height),
        black_delta_columns=_delta(ifd.get(Code.BlackLevelDeltaH), active.width),
        black_repeat=offsets,
    )


def _delta(tag: Tag | None, length: int) -> Float64[np.ndarray, " n"] | None:
    values = np.asarray(finite_numbers(tag), float)
    return values if values.size == length and values.any() else None


def _integers(tag: Tag | None) -> list[int]:
    """The values of a tag that should be whole; what is no number as -1."""
    return [int(value) if math.isfinite(value) else -1 for value in numbers(tag)]


def _whole_number(ifd: Ifd, code: int, default: int) -> float:
    return (numbers(ifd.get(code)) or (float(default),))[0]
