"""Where raws keep further TIFFs with their tags: Canon's CR3, and the JPEGs in Fujifilm's and Panasonic's.

Nothing here trusts a file: sizes are held against what surrounds them, and every walk has an end.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import BufferedIOBase
from itertools import islice
from uuid import UUID

from rawdenoise.formats.tiff.reading import TiffHeader, read_header

RAF_MAGIC = b"FUJIFILMCCD-RAW "
_CANON = UUID("85c0b687-820f-11e0-8111-f4ce462b6a48").bytes
_MAXIMUM_PARTS = 256  # boxes or segments in a row; real files have about two dozen
_RAF_MODEL, _RAF_JPEG = slice(28, 60), 84
_START_OF_SCAN, _APP1, _EXIF = 0xDA, 0xE1, b"Exif\0\0"


@dataclass(frozen=True, slots=True)
class _Box:
    """A box of the ISO base media format (ISO 14496-12): its kind and where its content lies."""

    kind: bytes
    start: int
    end: int


def cr3_tiffs(file: BufferedIOBase) -> Mapping[bytes, TiffHeader]:
    """The TIFFs in a CR3 by their box: CMT1 is IFD0, CMT2 EXIF, CMT3 the MakerNote, CMT4 GPS.

    Empty for all other files.
    """
    end = file.seek(0, os.SEEK_END)
    if _read_at(file, 4, 8, end) != b"ftypcrx ":
        return {}
    for movie in _boxes(file, 0, end):
        for canon in _boxes(file, movie.start, movie.end) if movie.kind == b"moov" else ():
            if canon.kind == b"uuid" and _read_at(file, canon.start, 16, canon.end) == _CANON:
                inside = _boxes(file, canon.start + 16, canon.end)
                headers = {box.kind: _tiff(file, box.start, box.end) for box in inside}
                return {kind: header for kind, header in headers.items() if header is not None}
    return {}


def raf_model(file: BufferedIOBase) -> str:
    """The camera that a RAF names in its header; empty for all other files."""
    file.seek(0)
    head = file.read(_RAF_MODEL.stop)
    if not head.startswith(RAF_MAGIC):
        return ""
    return head[_RAF_MODEL].split(b"\0")[0].decode("ascii", "replace").strip()


def raf_tiff(file: BufferedIOBase) -> TiffHeader | None:
    """The TIFF with the EXIF of the JPEG preview in a RAF; None for all other files."""
    end = file.seek(0, os.SEEK_END)
    place = _read_at(file, _RAF_JPEG, 8, end)
    if _read_at(file, 0, len(RAF_MAGIC), end) != RAF_MAGIC or len(place) < 8:
        return None
    start, length = struct.unpack(">II", place)
    return jpeg_tiff(file, start, min(start + length, end))


def jpeg_tiff(file: BufferedIOBase, start: int, end: int) -> TiffHeader | None:
    """The TIFF with the EXIF of the JPEG that lies there; None if there is none."""
    for kind, where, until in _segments(file, start, end):
        if kind == _APP1 and _read_at(file, where, len(_EXIF), until) == _EXIF:
            return _tiff(file, where + len(_EXIF), until)
    return None


def _boxes(file: BufferedIOBase, start: int, end: int) -> Iterator[_Box]:
    return islice(_all_boxes(file, start, end), _MAXIMUM_PARTS)


def _all_boxes(file: BufferedIOBase, start: int, end: int) -> Iterator[_Box]:
    """The boxes one after the other, until one does not fit into what surrounds it."""
    while len(head := _read_at(file, start, 8, end)) == 8:
        size, kind = struct.unpack(">I4s", head)
        content = start + 8
        if size == 1:  # a size of 64 bits follows
            wide = _read_at(file, content, 8, end)
            size, content = int.from_bytes(wide, "big"), content + 8
        elif size == 0:  # it reaches to the end
            size = end - start
        if not content <= start + size <= end:
            return
        yield _Box(kind, content, start + size)
        start += size


def _segments(file: BufferedIOBase, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG before its picture: marker, where the content begins and ends."""
    if _read_at(file, start, 2, end) != b"\xff\xd8":
        return
    start += 2
    for _ in range(_MAXIMUM_PARTS):
        head = _read_at(file, start, 4, end)
        if len(head) < 4 or head[0] != 0xFF or head[1] == _START_OF_SCAN:
            return
        _, kind, length = struct.unpack(">BBH", head)
        until = start + 2 + length
        if length < 2 or until > end:
            return
        yield kind, start + 4, until
        start = until


def _tiff(file: BufferedIOBase, start: int, end: int) -> TiffHeader | None:
    """The header of a TIFF from `start`, beyond whose `end` nothing is read."""
    header = read_header(file, start)
    return None if header is None else replace(header, end=min(header.end, end))


def _read_at(file: BufferedIOBase, start: int, size: int, end: int) -> bytes:
    file.seek(start)
    return file.read(max(0, min(size, end - start)))
