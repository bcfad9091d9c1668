"""The TIFF container: directories of tags as any raw has them, and the values of tags.

TIFF 6.0, BigTIFF and their cousins with another magic number (Olympus, Panasonic, DNG camera profiles).
Reading never trusts a file: offsets and sizes are held against its length, and broken tags are left out.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from io import BufferedIOBase

import numpy as np

from rawdenoise.capture.raw import NO_TAGS, Ifd, Tag

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
SRATIONAL, DOUBLE, IFD, LONG8, IFD8 = 10, 12, 13, 16, 18

CLASSIC, BIG, PROFILE, PANASONIC = 42, 43, 0x4352, 0x55
_MAGICS = {CLASSIC, BIG, PROFILE, PANASONIC, 0x4F52, 0x5352}  # 'RO' and 'RS' are Olympus

MAXIMUM_VALUE_BYTES = 256 << 20  # of all tags together: mostly an embedded original, some 200 MB at the most
MAXIMUM_NUMBERS = 1 << 20  # in one tag: a tile of 16 x 16 pixels in a picture of 268 MP
MAXIMUM_DIRECTORIES = 64  # of a file; raws have at most about a dozen, and more means a loop

# Type -> numpy code of one part, parts of one value (two for rationals).
_TYPES: Mapping[int, tuple[str, int]] = {
    1: ("u1", 1), 2: ("u1", 1), 3: ("u2", 1), 4: ("u4", 1), 5: ("u4", 2), 6: ("i1", 1), 7: ("u1", 1),
    8: ("i2", 1), 9: ("i4", 1), 10: ("i4", 2), 11: ("f4", 1), 12: ("f8", 1), 13: ("u4", 1),
    16: ("u8", 1), 17: ("i8", 1), 18: ("u8", 1), 129: ("u1", 1),
}  # fmt: skip


class Budget:
    """How many bytes of values may still be read from a file, by whichever of its directories."""

    def __init__(self, left: int) -> None:
        self.left = min(left, MAXIMUM_VALUE_BYTES)

    def spend(self, size: int) -> bool:
        """Take a value's bytes, if there are as many left."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """How a TIFF file is to be read; offsets in it count from `base`, and nothing lies beyond `end`.

    `budget` is shared by all that is read of one file: many directories may all claim its every byte.
    """

    little_endian: bool
    magic: int
    first: int
    base: int
    end: int
    budget: Budget = field(compare=False)

    @property
    def order(self) -> str:
        """The byte order as struct and numpy spell it."""
        return "<" if self.little_endian else ">"

    @property
    def big(self) -> bool:
        """Whether it is a BigTIFF."""
        return self.magic == BIG


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory as read: its tags, where in the file their values lie, the offset of the next or 0.

    `is_cut` where the file ends before the directory or one of its values does.
    """

    tags: Ifd
    value_offsets: Mapping[int, int]
    following: int
    is_cut: bool = False


def read_header(file: BufferedIOBase, base: int = 0, budget: Budget | None = None) -> TiffHeader | None:
    """The header of the TIFF that starts at `base`, or None if there is none.

    `budget` is that of the TIFF it lies in, if it does.
    """
    end = file.seek(0, os.SEEK_END)
    start = _bytes_at(file, base, 16, end)
    if start[:2] not in (b"II", b"MM") or len(start) < 8:
        return None
    order = "<" if start[:2] == b"II" else ">"
    (magic,) = struct.unpack_from(order + "H", start, 2)
    if magic not in _MAGICS or (magic == BIG and len(start) < 16):
        return None
    (first,) = struct.unpack_from(order + ("Q" if magic == BIG else "I"), start, 8 if magic == BIG else 4)
    return TiffHeader(order == "<", magic, first, base, end, budget or Budget(end))


def read_directory(file: BufferedIOBase, header: TiffHeader, offset: int) -> Directory:
    """The directory at `offset`; tags that point outside the file or have an unknown type are left out.

    Of a tag that occurs twice the last one counts, as in LibRaw, ExifTool and Adobe's SDK. All values of all
    directories together are at most as long as the file, so that overlapping ones cannot fill the memory.
    """
    count_code, entry_code, room = ("Q", "HHQ", 8) if header.big else ("H", "HHI", 4)
    entry_size, head_size = struct.calcsize("<" + entry_code) + room, struct.calcsize("<" + count_code)
    head = _bytes_at(file, header.base + offset, head_size, header.end)
    if offset <= 0 or len(head) < head_size:
        return Directory(NO_TAGS, {}, 0, is_cut=True)
    entries = min(struct.unpack(header.order + count_code, head)[0], 65535)
    body = _bytes_at(file, header.base + offset + head_size, entries * entry_size + room, header.end)
    tags: dict[int, Tag] = {}
    offsets: dict[int, int] = {}
    is_cut = len(body) < entries * entry_size
    for start in range(0, min(entries, len(body) // entry_size) * entry_size, entry_size):
        code, kind, count = struct.unpack_from(header.order + entry_code, body, start)
        value_at = start + entry_size - room
        part, parts = _TYPES.get(kind, ("u1", 0))
        size = count * parts * int(part[1])
        if not parts or not count:
            continue
        if size > header.budget.left:
            is_cut = True
            continue
        where = header.base + offset + head_size + value_at
        if size > room:
            (relative,) = struct.unpack_from(header.order + ("Q" if header.big else "I"), body, value_at)
            where = header.base + relative
        data = _bytes_at(file, where, size, header.end)
        if len(data) < size or not header.budget.spend(size):
            is_cut = True
            continue
        swapped = data if header.little_endian else np.frombuffer(data, ">" + part).byteswap().tobytes()
        tags[code], offsets[code] = Tag(kind, count, swapped), where - header.base
    tail = body[entries * entry_size :]
    following = (
        struct.unpack(header.order + ("Q" if header.big else "I"), tail)[0] if len(tail) == room else 0
    )
    return Directory(tags, offsets, following, is_cut)


def walk_directories(
    file: BufferedIOBase, header: TiffHeader, pointers: Sequence[int]
) -> Iterator[Directory]:
    """IFD0, the directories chained to it and those that tags of these codes point to, each once.

    At most MAXIMUM_DIRECTORIES of them, in the order in which they are pointed to.
    """
    waiting, seen = [header.first], set[int]()
    while waiting and len(seen) < MAXIMUM_DIRECTORIES:
        offset = waiting.pop(0)
        if offset in seen:
            continue
        seen.add(offset)
        directory = read_directory(file, header, offset)
        yield directory
        for code in pointers:
            waiting += offsets(directory.tags.get(code))[:MAXIMUM_DIRECTORIES]
        waiting += [directory.following] * bool(directory.following)


def ascii_tag(text: str) -> Tag:
    """A text with its closing zero; UTF-8 where ASCII does not reach, as the field does.

    Of names of files that are no UTF-8 the bytes are kept.
    """
    data = text.encode("utf-8", "surrogateescape") + b"\0"
    return Tag(ASCII, len(data), data)


def bytes_tag(data: bytes, kind: int = BYTE) -> Tag:
    """Bytes as they are, BYTE or UNDEFINED."""
    return Tag(kind, len(data), data)


def numbers_tag(kind: int, *values: float) -> Tag:
    """Numbers of any numeric type; a RATIONAL is the closest fraction that fits its 32-bit parts."""
    part, parts = _TYPES[kind]
    flat = (
        [number for value in values for number in _ratio(value, signed=kind == SRATIONAL)]
        if parts == 2
        else values
    )
    return Tag(kind, len(values), np.array(flat).astype("<" + part).tobytes())


def numbers(tag: Tag | None) -> tuple[float, ...]:
    """The numbers of a tag; rationals as floats, x/0 as nan; nothing for no tag, texts and far too many."""
    if tag is None or tag.type not in _TYPES or tag.type in (ASCII, 129) or tag.count > MAXIMUM_NUMBERS:
        return ()
    part, parts = _TYPES[tag.type]
    flat = np.frombuffer(tag.data, "<" + part)
    if parts == 1:
        return tuple(flat.tolist())
    return tuple(top / bottom if bottom else float("nan") for top, bottom in flat.reshape(-1, 2).tolist())


def finite_numbers(tag: Tag | None) -> list[float]:
    """The numbers of a tag, those that are none (x/0) as 0."""
    return [float(value) if math.isfinite(value) else 0.0 for value in numbers(tag)]


def offsets(tag: Tag | None) -> tuple[int, ...]:
    """The places that a tag points to; nothing for no tag, and for numbers that can be no place."""
    if tag is None or tag.type not in (SHORT, LONG, IFD, LONG8, IFD8):
        return ()
    return tuple(int(number) for number in numbers(tag) if number)


def text(tag: Tag | None) -> str:
    """The text of a tag up to its closing zero, without surrounding blanks; empty for no tag."""
    return "" if tag is None else tag.data.split(b"\0")[0].decode("utf-8", "replace").strip()


def _bytes_at(file: BufferedIOBase, offset: int, size: int, end: int) -> bytes:
    if offset < 0 or offset >= end:
        return b""
    file.seek(offset)
    return file.read(min(size, end - offset))


def _ratio(value: float, *, signed: bool) -> tuple[int, int]:
    limit = 0x7FFFFFFF if signed else 0xFFFFFFFF
    exact = Fraction(value)
    bound = 10**6
    while True:
        fraction = exact.limit_denominator(bound)
        if abs(fraction.numerator) <= limit or bound == 1:
            break
        bound //= 10
    return max(-limit, min(fraction.numerator, limit)) if signed else max(
        0, min(fraction.numerator, limit)
    ), fraction.denominator
