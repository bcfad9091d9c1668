"""Mosaic DNGs that every raw developer opens: DNG 1.4, in the shape that all readers were seen to decode."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedIOBase
from pathlib import Path

import imagecodecs
import numpy as np
import rawpy
from jaxtyping import UInt16

from rawdenoise.atomic import atomic_output
from rawdenoise.capture.raw import Cfa, Ifd, Provenance, RawImage, Tag
from rawdenoise.errors import VerificationError
from rawdenoise.formats.dng.directories import active_area, active_cfa, black_grid, dng_tree, list_compromises
from rawdenoise.formats.dng.pixels import are_mosaics_equal
from rawdenoise.formats.libraw import libraw_source
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.tiff.reading import BIG, CLASSIC, LONG, SHORT, numbers, numbers_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Pixels, write_tree

__all__ = ["dng_bytes", "list_compromises", "write_dng"]

_TILE_SIDE = 256
_MINIMUM_TILE_SIDE = 16  # TIFF 6.0: the sides of tiles are multiples of 16
_TILE_COMPONENTS = 2  # of a tile's lossless JPEG: the even and the odd columns
# LibRaw takes no picture of less than 22 pixels a side, after rounding odd margins up.
_MINIMUM_LIBRAW_SIDE = 24
# Bytes of mosaic that fit into a classic TIFF for sure, metadata included.
_MAXIMUM_CLASSIC_BYTES = 0xF0000000
_UNCOMPRESSED, _JPEG, _CFA = 1, 7, 32803


def write_dng(image: RawImage, output: Path, *, provenance: Provenance, replace: bool = True) -> None:
    """Write a mosaic as a DNG, whole or not at all, and read it back before it gets its name.

    The frame is written with its margins and in the scale of its sensor, in losslessly compressed tiles; of a
    source DNG every tag is kept but those that describe the former pixels. Two decoders must give the mosaic
    back: libjpeg-turbo, and LibRaw, on which most raw developers are built.

    Raises:
        VerificationError: it did not read back as it was meant; nothing is left behind.
        OutputError: it could not be written.
    """
    with atomic_output(output, replace=replace) as temporary, ThreadPoolExecutor(_threads()) as pool:
        with temporary.open("wb") as file:
            _write(file, image, provenance, pool)
        reason = _find_difference(temporary, image, pool)
        if reason:
            raise VerificationError(output, f"{reason} did not read back as written; nothing was kept")


def dng_bytes(image: RawImage, *, provenance: Provenance) -> io.BytesIO:
    """The same DNG in memory, unverified."""
    stream = io.BytesIO()
    with ThreadPoolExecutor(_threads()) as pool:
        _write(stream, image, provenance, pool)
    stream.seek(0)
    return stream


def _write(file: BufferedIOBase, image: RawImage, provenance: Provenance, pool: ThreadPoolExecutor) -> None:
    encoding, pixels = _encode(image.mosaic, pool)
    magic = BIG if _is_big(image) else CLASSIC
    write_tree(file, dng_tree(image, provenance, encoding, pixels), magic=magic)


def _is_big(image: RawImage) -> bool:
    """Whether it needs a BigTIFF, which few programs read, and LibRaw is not among them."""
    return image.mosaic.nbytes > _MAXIMUM_CLASSIC_BYTES


def _threads() -> int:
    return min(8, os.cpu_count() or 1)


# ---------------------------------------------------------------- pixels


def _encode(mosaic: UInt16[np.ndarray, "h w"], pool: ThreadPoolExecutor) -> tuple[Ifd, Pixels]:
    """The mosaic's blocks, made while they are written, and the tags that describe them.

    A picture narrower than a tile is sheared by several readers, so tiles shrink with it; what no tile fits
    is one uncompressed strip.
    """
    height, width = mosaic.shape
    tags: dict[int, Tag] = {
        Code.NewSubfileType: numbers_tag(LONG, 0),
        Code.ImageWidth: numbers_tag(LONG, width),
        Code.ImageLength: numbers_tag(LONG, height),
        Code.BitsPerSample: numbers_tag(SHORT, 16),
        Code.PhotometricInterpretation: numbers_tag(SHORT, _CFA),
        Code.SamplesPerPixel: numbers_tag(SHORT, 1),
        Code.PlanarConfiguration: numbers_tag(SHORT, 1),
    }
    if min(height, width) < _MINIMUM_TILE_SIDE:
        tags[Code.Compression] = numbers_tag(SHORT, _UNCOMPRESSED)
        tags[Code.RowsPerStrip] = numbers_tag(LONG, height)
        return tags, Pixels(Code.StripOffsets, Code.StripByteCounts, 1, [mosaic.astype("<u2").tobytes()])
    rows, columns = tile_shape(height, width)
    tags[Code.Compression] = numbers_tag(SHORT, _JPEG)
    tags[Code.TileWidth] = numbers_tag(LONG, columns)
    tags[Code.TileLength] = numbers_tag(LONG, rows)
    count = math.ceil(height / rows) * math.ceil(width / columns)
    blocks = _encode_tiles(mosaic, rows, columns, pool)
    return tags, Pixels(Code.TileOffsets, Code.TileByteCounts, count, blocks)


def tile_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the tiles for a mosaic whose sides are at least 16.

    No wider than the picture, or LibRaw, dcraw and RawTherapee shear it; and never half as wide: where
    components x tile width equals the raw width, LibRaw (0.20 to 0.22, lossless_dng_load_raw) takes a stream
    for rows of Canon's kind, and decodes garbage without an error.
    """
    rows, columns = (
        min(_TILE_SIDE, side // _MINIMUM_TILE_SIDE * _MINIMUM_TILE_SIDE) for side in (height, width)
    )
    if _TILE_COMPONENTS * columns == width:
        columns += _MINIMUM_TILE_SIDE
    return rows, columns


def _encode_tiles(
    mosaic: UInt16[np.ndarray, "h w"], rows: int, columns: int, pool: ThreadPoolExecutor
) -> Iterator[bytes]:
    """Tiles from left to right and top to bottom; one row of them is in memory at a time."""
    height, width = mosaic.shape
    for top in range(0, height, rows):
        band = mosaic[top : top + rows]
        tiles = [band[:, left : left + columns] for left in range(0, width, columns)]
        yield from pool.map(lambda tile: _encode_tile(tile, rows, columns), tiles)


def _encode_tile(tile: UInt16[np.ndarray, "h w"], rows: int, columns: int) -> bytes:
    """Lossless JPEG (ITU T.81 process 14, predictor 1) of two components: the even and the odd columns."""
    height, width = tile.shape
    full = np.pad(tile, ((0, rows - height), (0, columns - width)), mode="edge")
    pairs = full.reshape(rows, columns // _TILE_COMPONENTS, _TILE_COMPONENTS)
    return bytes(imagecodecs.jpeg8_encode(pairs, lossless=True, predictor=1, bitspersample=16))


# ---------------------------------------------------------------- reading back


def _find_difference(path: Path, image: RawImage, pool: ThreadPoolExecutor) -> str:
    """Name what the file at `path` says otherwise than the image; nothing if it is all the same."""
    tags = read_metadata(path).raw
    area = active_area(image)
    size = (float(image.mosaic.shape[1]), float(image.mosaic.shape[0]))
    if numbers(tags.get(Code.ImageWidth)) + numbers(tags.get(Code.ImageLength)) != size:
        return "the size"
    if numbers(tags.get(Code.ActiveArea)) != (area.top, area.left, area.bottom, area.right):
        return "the active area"
    if _pattern(tags) is not active_cfa(image):
        return "the colour pattern"
    white = (image.levels.white,)
    levels = ((Code.WhiteLevel, np.array(white), 0.5), (Code.BlackLevel, black_grid(image).ravel(), 1e-3))
    for code, meant, tolerance in levels:
        if image.metadata.is_dng and code in image.metadata.raw:  # kept as it was, byte for byte
            continue
        values = np.array(numbers(tags.get(code)))
        if values.shape != meant.shape or not np.allclose(values, meant, rtol=0, atol=tolerance):
            return code.name
    libraw = pool.submit(_find_libraw_difference, path, image)  # while the other threads compare tiles
    with path.open("rb") as file:
        same = all(_compare_tiles(file, tags, image.mosaic, pool))
    seen_by_libraw = libraw.result()
    return seen_by_libraw if same else "the mosaic"


def _find_libraw_difference(path: Path, image: RawImage) -> str:
    """Name what LibRaw reads otherwise; nothing where it reads no such file (tiny pictures, BigTIFF)."""
    area = active_area(image)
    if min(area.height, area.width) < _MINIMUM_LIBRAW_SIDE or _is_big(image):
        return ""
    try:
        with rawpy.imread(libraw_source(path)) as raw:
            if raw.raw_image is None or not are_mosaics_equal(raw.raw_image, image.mosaic):
                return "the mosaic as LibRaw decodes it"
            pattern = raw.raw_pattern
            red = () if pattern is None else tuple(np.argwhere(pattern == 0)[0])
            return "" if red == image.cfa.red else "the colour pattern as LibRaw understands it"
    except rawpy.LibRawError as error:
        return f"the file, which LibRaw does not open ({error}),"


def _pattern(tags: Ifd) -> Cfa | None:
    name = "".join("RGB"[int(color)] for color in numbers(tags.get(Code.CFAPattern)))
    return Cfa(name) if name in set(Cfa) else None


def _compare_tiles(
    file: BufferedIOBase, tags: Ifd, mosaic: UInt16[np.ndarray, "h w"], pool: ThreadPoolExecutor
) -> Iterator[bool]:
    """Decode a file one row of tiles at a time, and compare each tile with its part of the mosaic."""
    height, width = mosaic.shape
    if Code.TileOffsets not in tags:
        offset, count = (int(numbers(tags[code])[0]) for code in (Code.StripOffsets, Code.StripByteCounts))
        file.seek(offset)
        yield file.read(count) == mosaic.astype("<u2").tobytes()
        return
    rows, columns = (int(numbers(tags[code])[0]) for code in (Code.TileLength, Code.TileWidth))
    places = zip(numbers(tags[Code.TileOffsets]), numbers(tags[Code.TileByteCounts]), strict=True)
    for top in range(0, height, rows):
        jobs = []
        for left in range(0, width, columns):
            offset, count = (int(number) for number in next(places))
            file.seek(offset)
            jobs.append((file.read(count), mosaic[top : top + rows, left : left + columns]))
        yield from pool.map(lambda job: _is_tile_equal(job[0], job[1], columns), jobs)


def _is_tile_equal(data: bytes, meant: UInt16[np.ndarray, "h w"], columns: int) -> bool:
    decoded = imagecodecs.jpeg8_decode(data).reshape(-1, columns)
    return np.array_equal(decoded[: meant.shape[0], : meant.shape[1]], meant)
