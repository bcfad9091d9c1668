"""The pixels of a DNG without LibRaw: where LibRaw reads others than are there, or cannot open the file.

LibRaw (0.20 to 0.22) decodes legal DNGs to garbage, without an error, where two times the components of a
lossless JPEG, as wide as it is, make the raw width; where tiles are wider than the picture; where lossless
JPEG or uncompressed data comes in several strips that do not follow each other; where uncompressed data comes
in tiles; and where rows or columns are interleaved.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import islice
from pathlib import Path

import imagecodecs
import numpy as np
from jaxtyping import UInt16

from rawdenoise.capture.raw import Ifd, Metadata
from rawdenoise.errors import UnreadableError
from rawdenoise.formats.tiff.reading import numbers
from rawdenoise.formats.tiff.tags import Code

UNCOMPRESSED, JPEG = 1, 7
MINIMUM_BITS = 1  # of a pixel in lossless JPEG: every Huffman code has at least one (ITU T.81, C.2 and H.1.2)
_LOSSLESS_MARKER, _START_OF_SCAN = 0xC3, 0xDA
_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame, of any kind of JPEG
_MAXIMUM_SEGMENTS = 64  # before the frame of a JPEG; real ones have a handful
_FILL_ORDER, _PREDICTOR = 266, 317
_STANDARD_JPEG = bytes((1, 1))  # DNG 1.0 stored 16 needless bits after some differences, as LibRaw knows
_BATCH_BLOCKS = 64  # blocks in memory at a time
_STRIP_ROWS = 256  # rows compared at a time


class UndecodableError(Exception):
    """Why the second decoder cannot have the pixels; for its caller, not for a user."""


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Where the strips or tiles of a mosaic lie in its file, and how they are packed.

    `rows` and `columns` are those of a block; the last strip may have fewer rows.
    """

    width: int
    height: int
    rows: int
    columns: int
    tiled: bool
    compression: int
    bits: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def needed(self) -> int:
        """How many blocks the picture takes."""
        return math.ceil(self.height / self.rows) * math.ceil(self.width / self.columns)

    def rows_of(self, index: int) -> int:
        """The rows of a block: tiles are always whole, the last strip ends with the picture."""
        return self.rows if self.tiled else min(self.rows, self.height - index * self.rows)


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """The frame of a JPEG, as its header tells."""

    lossless: bool
    bits: int
    height: int
    width: int
    components: int


def read_block_layout(ifd: Ifd) -> BlockLayout | None:
    """The blocks of a directory's picture, or None where its tags do not tell them."""

    def whole(code: int, default: int = 0) -> int:
        value = (numbers(ifd.get(code)) or (float(default),))[0]
        return int(value) if math.isfinite(value) else 0

    width, height = whole(Code.ImageWidth), whole(Code.ImageLength)
    tiled = Code.TileOffsets in ifd
    if tiled:
        rows, columns = whole(Code.TileLength), whole(Code.TileWidth)
        offsets, counts = numbers(ifd.get(Code.TileOffsets)), numbers(ifd.get(Code.TileByteCounts))
    else:
        rows, columns = min(whole(Code.RowsPerStrip, height), height), width
        offsets, counts = numbers(ifd.get(Code.StripOffsets)), numbers(ifd.get(Code.StripByteCounts))
    if min(width, height, rows, columns) < 1 or not offsets or len(offsets) != len(counts):
        return None
    if not all(0 <= value < 2**63 for value in (*offsets, *counts)):  # also of NaN
        return None
    return BlockLayout(
        width=width,
        height=height,
        rows=rows,
        columns=columns,
        tiled=tiled,
        compression=whole(Code.Compression, UNCOMPRESSED),
        bits=whole(Code.BitsPerSample, 1),
        offsets=tuple(int(value) for value in offsets),
        counts=tuple(int(value) for value in counts),
    )


def read_first_frame(file: BufferedIOBase, blocks: BlockLayout) -> JpegFrame | None:
    """The JPEG frame of the first block; None where it is no JPEG."""
    if blocks.compression != JPEG:
        return None
    return read_jpeg_frame(_bytes_at(file, blocks.offsets[0], min(blocks.counts[0], 1 << 16)))


def read_jpeg_frame(data: bytes) -> JpegFrame | None:
    """The frame of a JPEG (ITU T.81, B.2.2); None where none begins in `data`."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    for _ in range(_MAXIMUM_SEGMENTS):
        if len(data) < at + 10 or data[at] != 0xFF or data[at + 1] == _START_OF_SCAN:
            return None
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if kind in _FRAME_MARKERS:
            height, width = (int.from_bytes(data[at + n : at + n + 2], "big") for n in (5, 7))
            return JpegFrame(kind == _LOSSLESS_MARKER, data[at + 4], height, width, data[at + 9])
        at += 2 + length
    return None


def libraw_fault(blocks: BlockLayout, frame: JpegFrame | None, metadata: Metadata) -> str:
    """Name why LibRaw is known to misread a picture that is packed like this; nothing where it is right."""
    if max(_interleave(metadata.raw)) > 1:
        return "interleaved rows or columns"
    if blocks.tiled and blocks.compression == UNCOMPRESSED:
        return "uncompressed tiles"
    if not blocks.tiled and len(blocks.offsets) > 1 and (frame is not None or not _is_contiguous(blocks)):
        return "several strips"
    if blocks.columns > blocks.width:
        return "tiles wider than the picture"
    if frame is not None and frame.components > 1 and frame.components**2 * frame.width == blocks.width:
        return "tiles of half the picture's width"
    return ""


def decode_mosaic(path: Path, blocks: BlockLayout, metadata: Metadata) -> UInt16[np.ndarray, "h w"]:
    """Decode a DNG's mosaic: lossless JPEG, or uncompressed with 8 to 16 bits; linear, as LibRaw gives it.

    Raises:
        UndecodableError: it is packed in another way, or damaged.
    """
    if len(blocks.offsets) < blocks.needed:
        raise UndecodableError("blocks are missing")
    if blocks.compression not in (UNCOMPRESSED, JPEG) or not 8 <= blocks.bits <= 16:
        raise UndecodableError("it is packed in another way")
    if _whole_number(metadata.raw, _FILL_ORDER, 1) != 1 or (
        blocks.compression == UNCOMPRESSED and _whole_number(metadata.raw, _PREDICTOR, 1) != 1
    ):
        raise UndecodableError("its bits are in an unusual order")
    mosaic = np.empty((blocks.height, blocks.width), np.uint16)
    per_row = math.ceil(blocks.width / blocks.columns)

    def place(index: int, data: bytes) -> None:
        block = _decode_block(data, blocks.rows_of(index), blocks, metadata.little_endian)
        top, left = index // per_row * blocks.rows, index % per_row * blocks.columns
        part = mosaic[top : top + blocks.rows, left : left + blocks.columns]
        part[...] = block[: part.shape[0], : part.shape[1]]

    with path.open("rb") as file, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        reads = _read_blocks(file, blocks)
        while batch := list(islice(reads, _BATCH_BLOCKS)):
            for _ in pool.map(lambda job: place(*job), batch):
                pass
    table = read_linearization_table(metadata.raw)
    if table.size:
        mosaic = table.take(mosaic, mode="clip")
    return _deinterleave(mosaic, *_interleave(metadata.raw))


def read_linearization_table(ifd: Ifd) -> UInt16[np.ndarray, " n"]:
    """What stored values mean; those beyond the table mean its last (DNG 1.7). Empty where there is none."""
    values = np.nan_to_num(np.asarray(numbers(ifd.get(Code.LinearizationTable)), float))
    return np.clip(values, 0, 65535).astype(np.uint16)


def _read_blocks(file: BufferedIOBase, blocks: BlockLayout) -> Iterator[tuple[int, bytes]]:
    places = zip(blocks.offsets[: blocks.needed], blocks.counts, strict=False)
    for index, (offset, count) in enumerate(places):
        yield index, _bytes_at(file, offset, count)


def _bytes_at(file: BufferedIOBase, offset: int, count: int) -> bytes:
    """What there is of a block: nothing beyond the end, where BigTIFF's 64 bits may point far beyond."""
    if offset >= file.seek(0, os.SEEK_END):
        return b""
    file.seek(offset)
    return file.read(count)


def _decode_block(
    data: bytes, rows: int, blocks: BlockLayout, little_endian: bool
) -> UInt16[np.ndarray, "h w"]:
    """One block; what it claims to hold is compared with its bytes before memory is taken."""
    columns, bits = blocks.columns, blocks.bits
    if blocks.compression == JPEG:
        frame = read_jpeg_frame(data)
        if frame is None or not frame.lossless:
            raise UndecodableError("it is no lossless JPEG")
        samples = frame.height * frame.width * frame.components
        if samples != rows * columns or MINIMUM_BITS * samples > 8 * len(data):
            raise UndecodableError("a block is not of the size that its tags say")
        try:
            pixels = np.asarray(imagecodecs.jpeg8_decode(data))
        except (RuntimeError, ValueError) as error:
            raise UndecodableError(str(error)) from error
        if pixels.size != samples:
            raise UndecodableError("a block is not of the size that its header says")
        return pixels.reshape(rows, columns).astype(np.uint16, copy=False)
    length = math.ceil(columns * bits / 8)
    if len(data) < rows * length:
        raise UndecodableError("a block is too short")
    data = data[: rows * length]
    if bits == 8:
        return np.frombuffer(data, np.uint8).reshape(rows, columns).astype(np.uint16)
    if bits == 16:
        order = "<u2" if little_endian else ">u2"
        return np.frombuffer(data, order).reshape(rows, columns).astype(np.uint16)
    return np.asarray(imagecodecs.packints_decode(data, "=u2", bits, runlen=columns)).reshape(rows, columns)


def _interleave(ifd: Ifd) -> tuple[int, int]:
    return _whole_number(ifd, Code.RowInterleaveFactor, 1), _whole_number(ifd, Code.ColumnInterleaveFactor, 1)


def _deinterleave(mosaic: UInt16[np.ndarray, "h w"], rows: int, columns: int) -> UInt16[np.ndarray, "h w"]:
    """Put rows and columns, which are stored field by field, to their places (DNG 1.7)."""
    for axis, fields in ((0, rows), (1, columns)):
        length = mosaic.shape[axis]
        if 1 < fields <= length:
            places = np.concatenate([np.arange(field, length, fields) for field in range(fields)])
            mosaic = np.take(mosaic, np.argsort(places), axis=axis)
    return mosaic


def _whole_number(ifd: Ifd, code: int, default: int) -> int:
    value = (numbers(ifd.get(code)) or (float(default),))[0]
    return int(value) if math.isfinite(value) else default


def _is_contiguous(blocks: BlockLayout) -> bool:
    """Whether strips follow each other without gaps, as LibRaw reads uncompressed ones."""
    ends = [offset + count for offset, count in zip(blocks.offsets, blocks.counts, strict=True)]
    return all(end == start for end, start in zip(ends, blocks.offsets[1:], strict=False))


# ---------------------------------------------------------------- two decoders


@dataclass(frozen=True, slots=True, eq=False)
class SecondOpinion:
    """A DNG's mosaic without LibRaw, or None where that is not to be had; and LibRaw's fault that applies."""

    mosaic: UInt16[np.ndarray, "h w"] | None
    fault: str = ""


def second_opinion(path: Path, metadata: Metadata) -> SecondOpinion:
    """Decode a DNG's mosaic for comparison with LibRaw's."""
    blocks = read_block_layout(metadata.raw)
    if blocks is None:
        return SecondOpinion(None)
    with path.open("rb") as file:
        fault = libraw_fault(blocks, read_first_frame(file, blocks), metadata)
    if not fault and blocks.compression == JPEG and metadata.root[Code.DNGVersion].data < _STANDARD_JPEG:
        return SecondOpinion(None)
    try:
        return SecondOpinion(decode_mosaic(path, blocks, metadata), fault)
    except UndecodableError:
        return SecondOpinion(None, fault)


def choose_mosaic(
    path: Path, mosaic: UInt16[np.ndarray, "h w"], second: SecondOpinion
) -> UInt16[np.ndarray, "h w"]:
    """LibRaw's mosaic where it can be believed, else the second decoder's.

    Raises:
        UnreadableError: LibRaw is known to misread such a file, and nothing else decodes it; or the decoders
            disagree, and nothing tells which of them is right.
    """
    if second.mosaic is None:
        if second.fault:
            reason = f"has {second.fault}, which LibRaw misreads, and the second decoder cannot read it"
            raise UnreadableError(path, reason)
        return mosaic
    if are_mosaics_equal(mosaic, second.mosaic):
        return mosaic
    if not second.fault:
        raise UnreadableError(path, "is damaged or ambiguous: two decoders (LibRaw, libjpeg-turbo) disagree")
    return second.mosaic


def are_mosaics_equal(one: UInt16[np.ndarray, "h w"], other: UInt16[np.ndarray, "rows columns"]) -> bool:
    """Whether two mosaics are the same, compared in strips to save memory."""
    strips = (slice(top, top + _STRIP_ROWS) for top in range(0, len(one), _STRIP_ROWS))
    return one.shape == other.shape and all(np.array_equal(one[rows], other[rows]) for rows in strips)
