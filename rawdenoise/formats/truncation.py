"""Whether a TIFF or DNG is all there, told by its structure: nothing is decoded."""

from __future__ import annotations

import hashlib
import math
from io import BufferedIOBase
from pathlib import Path

from rawdenoise.capture.raw import Ifd
from rawdenoise.formats.tiff.reading import numbers, read_header, walk_directories
from rawdenoise.formats.tiff.tags import Code

_POINTERS = (Code.SubIFDs, Code.ExifIFD, Code.GPSInfo, Code.InteroperabilityIFD)
_CHUNK_BYTES = 1 << 20
# Bytes that other writers may put behind the end of a JPEG; a lost sector has more zeros.
_MAXIMUM_PADDING = 64
_LOSSLESS_JPEG = 7
_JPEG_OFFSET, _JPEG_SIZE = 513, 514  # JPEGInterchangeFormat and its length: old previews
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def find_missing(path: Path) -> str:
    """Say what a TIFF or DNG lacks to be whole; nothing where all that its directories promise is there.

    It is cheap: directories, the places of strips and tiles, and the last block's two ends are read. Bits
    that have turned inside a block are not seen.
    """
    try:
        with path.open("rb") as file:
            return _find_missing(file)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"


def digest_picture(path: Path) -> str:
    """SHA-256 of the largest picture's blocks as they are encoded, in hexadecimal; empty if it is not whole.

    Whoever edits tags, which may move the blocks about, leaves it as it is.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return "" if _find_missing(file) else _digest(file)


def _digest(file: BufferedIOBase) -> str:
    header = read_header(file)
    assert header is not None  # nothing is missing
    pictures = [_blocks_of(directory.tags) or [] for directory in walk_directories(file, header, _POINTERS)]
    largest = max(pictures, key=lambda blocks: sum(size for _, size in blocks))
    digest = hashlib.sha256()
    for offset, size in largest:
        file.seek(offset)
        while size and (chunk := file.read(min(size, _CHUNK_BYTES))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def _find_missing(file: BufferedIOBase) -> str:
    header = read_header(file)
    if header is None:
        return "it is empty" if not file.seek(0, 2) else "it is no TIFF"
    if header.first >= header.end:
        return "it ends before its first directory"
    blocks: list[tuple[int, int]] = []
    last_compression = 0
    for directory in walk_directories(file, header, _POINTERS):
        if directory.is_cut or not directory.tags:
            return "it ends before its tags do"
        picture_blocks = _blocks_of(directory.tags)
        if picture_blocks is None:
            return "it does not say where its pixels lie"
        if picture_blocks and max(picture_blocks) >= max(blocks, default=(0, 0)):
            last_compression = next(iter(_counts(directory.tags, Code.Compression)), 0)
        blocks += picture_blocks
    if not blocks:
        return "it holds no picture"
    if any(not offset or not size or offset + size > header.end for offset, size in blocks):
        return "it ends before its pixels do"
    if last_compression == _LOSSLESS_JPEG and not _is_jpeg(file, *max(blocks)):
        return "the end of its pixels is damaged"
    return ""


def _blocks_of(tags: Ifd) -> list[tuple[int, int]] | None:
    """Give the (offset, size) of a directory's strips or tiles; None where they are not as many as it has."""
    if Code.ImageWidth not in tags:
        return []
    for offsets_code, counts_code in (
        (Code.TileOffsets, Code.TileByteCounts),
        (Code.StripOffsets, Code.StripByteCounts),
    ):
        offsets, counts = _counts(tags, offsets_code), _counts(tags, counts_code)
        if offsets and len(offsets) == len(counts) == _count_expected(tags, offsets_code):
            return list(zip(offsets, counts, strict=True))
    return list(zip(_counts(tags, _JPEG_OFFSET), _counts(tags, _JPEG_SIZE), strict=False)) or None


def _counts(tags: Ifd, code: int) -> list[int]:
    """Give a tag's values where they count or point at something; damaged files hold any number."""
    values = numbers(tags.get(code))
    return [int(value) for value in values] if all(0 <= value < 2**64 for value in values) else []


def _count_expected(tags: Ifd, offsets_code: int) -> int:
    """How many blocks a picture of this size is made of."""

    def first(code: Code, default: int) -> int:
        return next(iter(_counts(tags, code)), default)

    width, height = first(Code.ImageWidth, 0), first(Code.ImageLength, 0)
    pages = first(Code.SamplesPerPixel, 1) if first(Code.PlanarConfiguration, 1) == 2 else 1
    if offsets_code == Code.TileOffsets:
        columns, rows = first(Code.TileWidth, 0), first(Code.TileLength, 0)
        if not columns or not rows:
            return 0
        return math.ceil(width / columns) * math.ceil(height / rows) * pages
    rows = min(first(Code.RowsPerStrip, height), height)
    return math.ceil(height / rows) * pages if rows else 0


def _is_jpeg(file: BufferedIOBase, offset: int, size: int) -> bool:
    """Whether a block begins and ends as a JPEG: a disk that lost power leaves zeros at a file's end."""
    file.seek(offset)
    start = file.read(2)
    tail = min(size, _MAXIMUM_PADDING)
    file.seek(offset + size - tail)
    return start == _JPEG_START and _JPEG_END in file.read(tail)
