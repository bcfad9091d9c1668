"""Directories of tags written as one little-endian TIFF file, with the pixels and all that hangs on them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedIOBase
from types import MappingProxyType

from rawdenoise.capture.raw import Ifd, Tag
from rawdenoise.formats.tiff.reading import BIG, CLASSIC, LONG, LONG8, numbers_tag

_MINIMUM_BYTES_AFTER_PINS = 1024  # bytes, more than readers of MakerNotes take at once


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The strips or tiles of a directory to be written; `blocks` is consumed once, during the writing."""

    offsets_tag: int
    counts_tag: int
    count: int
    blocks: Iterable[bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A directory to be written, and what hangs on it.

    `children` are directories and `blobs` opaque bytes, each reached through the offsets in the tag that is
    their key. `pinned` gives tags whose value must lie at a given offset of the file.
    """

    tags: Ifd
    children: Mapping[int, tuple[Node, ...]] = field(default_factory=lambda: MappingProxyType({}))
    blobs: Mapping[int, tuple[bytes, ...]] = field(default_factory=lambda: MappingProxyType({}))
    pinned: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    pixels: Pixels | None = None


def write_tree(file: BufferedIOBase, root: Node, *, magic: int = CLASSIC) -> None:
    """Write `root` and all that hangs on it as one file: little-endian, tags sorted, values word-aligned.

    `magic` is CLASSIC, BIG for more than 4 GB, or PROFILE for a DNG camera profile. Pixel blocks are written
    as they are produced, never held together.

    Raises:
        ValueError: pinned values overlap each other or the header, or a classic file grew beyond 4 GB.
    """
    big = magic == BIG
    first = write_directories(file, root, start=16 if big else 8, big=big)
    head = (
        struct.pack("<2sHHHQ", b"II", BIG, 8, 0, first) if big else struct.pack("<2sHI", b"II", magic, first)
    )
    _write_at(file, 0, head)
    file.seek(0, os.SEEK_END)


def write_directories(file: BufferedIOBase, root: Node, *, start: int, big: bool = False) -> int:
    """Write `root` and all that hangs on it from `start` on; return the offset of its directory.

    Raises:
        ValueError: as `write_tree`.
    """
    nodes = list(_walk(root))
    room = 8 if big else 4
    pinned = [(at, len(node.tags[code].data)) for node in nodes for code, at in _pins(node, room).items()]
    space = _Space(start, pinned)
    where = {id(node): space.take(_directory_size(node, big)) for node in nodes}
    tables = [_table(file, node, where, space, big) for node in nodes]
    places = [
        {
            code: space.take(len(tag.data))
            for code, tag in table.items()
            if len(tag.data) > room and code not in node.pinned
        }
        | _pins(node, room)
        for node, table in zip(nodes, tables, strict=True)
    ]
    for node, table in zip(nodes, tables, strict=True):
        if node.pixels is not None:
            offsets, counts = _write_pixels(file, space, node.pixels)
            table[node.pixels.offsets_tag], table[node.pixels.counts_tag] = (
                _pointers(offsets, big),
                _pointers(counts, big),
            )
    if not big and space.position > 0xFFFFFFFF:
        raise ValueError("a classic TIFF file cannot be larger than 4 GB")
    for node, table, values in zip(nodes, tables, places, strict=True):
        _write_directory(file, where[id(node)], table, values, big)
    _extend(file, max((at + size for at, size in pinned), default=0))
    return where[id(root)]


class _Space:
    """Hands out places in a file one after the other, around what is pinned."""

    def __init__(self, start: int, pinned: list[tuple[int, int]]) -> None:
        self.position = start
        self._pinned = sorted(pinned)
        for (at, _), (before, size) in zip(self._pinned, [(0, start), *self._pinned], strict=False):
            if at < before + size:
                raise ValueError(f"what is pinned at {at} overlaps what lies before it")

    def take(self, size: int) -> int:
        """The next place of `size` bytes."""
        while self._pinned and self.position + size > self._pinned[0][0]:
            at, length = self._pinned.pop(0)
            self.position = max(self.position, at + length + (at + length) % 2)
        place = self.position
        self.position += size + size % 2
        return place


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for children in node.children.values():
        for child in children:
            yield from _walk(child)


def _pins(node: Node, room: int) -> dict[int, int]:
    """The pins of values that do not stand in the directory itself, where TIFF puts the short ones."""
    return {code: at for code, at in node.pinned.items() if len(node.tags[code].data) > room}


def _directory_size(node: Node, big: bool) -> int:
    pixels = () if node.pixels is None else (node.pixels.offsets_tag, node.pixels.counts_tag)
    entries = len({*node.tags, *node.children, *node.blobs, *pixels})
    return 8 + entries * 20 + 8 if big else 2 + entries * 12 + 4


def _table(
    file: BufferedIOBase, node: Node, where: Mapping[int, int], space: _Space, big: bool
) -> dict[int, Tag]:
    """All tags of a directory, those that point to others included; its blobs are written on the way."""
    table = dict(node.tags)
    for code, blobs in node.blobs.items():
        table[code] = _pointers([_write_at(file, space.take(len(blob)), blob) for blob in blobs], big)
    for code, children in node.children.items():
        table[code] = _pointers([where[id(child)] for child in children], big)
    if node.pixels is not None:
        not_yet = _pointers([0] * node.pixels.count, big)
        table[node.pixels.offsets_tag] = table[node.pixels.counts_tag] = not_yet
    return table


def _write_directory(
    file: BufferedIOBase, offset: int, table: Mapping[int, Tag], values: Mapping[int, int], big: bool
) -> None:
    """Write a directory, and the values that do not fit into it at their places."""
    data = struct.pack("<Q" if big else "<H", len(table))
    for code, tag in sorted(table.items()):
        data += struct.pack("<HHQ" if big else "<HHI", code, tag.type, tag.count)
        if code in values:
            _write_at(file, values[code], tag.data)
            data += struct.pack("<Q" if big else "<I", values[code])
        else:
            data += tag.data.ljust(8 if big else 4, b"\0")
    _write_at(file, offset, data + bytes(8 if big else 4))


def _pointers(offsets: list[int], big: bool) -> Tag:
    return numbers_tag(LONG8 if big else LONG, *offsets)


def _write_pixels(file: BufferedIOBase, space: _Space, pixels: Pixels) -> tuple[list[int], list[int]]:
    offsets, counts = [], []
    for block in pixels.blocks:
        offsets.append(_write_at(file, space.take(len(block)), block))
        counts.append(len(block))
    if len(offsets) != pixels.count:
        raise ValueError(f"{len(offsets)} pixel blocks were given where {pixels.count} were announced")
    return offsets, counts


def _extend(file: BufferedIOBase, last: int) -> None:
    """See to it that a file does not end with a pinned value: dcraw reads on, and calls the file cut."""
    end = file.seek(0, os.SEEK_END)
    if last and end < last + _MINIMUM_BYTES_AFTER_PINS:
        file.write(bytes(last + _MINIMUM_BYTES_AFTER_PINS - end))


def _write_at(file: BufferedIOBase, offset: int, data: bytes) -> int:
    if file.tell() != offset:
        file.seek(offset)
    file.write(data)
    return offset
