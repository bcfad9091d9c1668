"""Opcode lists of a DNG (DNG 1.7, chapter 7), and the bad pixels they name; big-endian in every file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Bool

from rawdenoise.capture.raw import Ifd, Metadata, RawImage, Tag
from rawdenoise.formats.dng.pixels import read_linearization_table
from rawdenoise.formats.tiff.tags import Code

_HEAD = struct.Struct(">4I")  # opcode, DNG version, flags, bytes that follow
_MAXIMUM_OPCODES = 1024


class OpcodeId(IntEnum):
    """What an opcode's number means."""

    WarpRectilinear = 1
    WarpFisheye = 2
    FixVignetteRadial = 3
    FixBadPixelsConstant = 4
    FixBadPixelsList = 5
    TrimBounds = 6
    MapTable = 7
    MapPolynomial = 8
    GainMap = 9
    DeltaPerRow = 10
    DeltaPerColumn = 11
    ScalePerRow = 12
    ScalePerColumn = 13
    WarpRectilinear2 = 14


@dataclass(frozen=True, slots=True)
class Opcode:
    """One opcode; `start` is where its parameters lie in the list."""

    number: int
    start: int
    data: bytes


def read_opcodes(data: bytes) -> Iterator[Opcode]:
    """The opcodes of a list, up to the first that is not whole."""
    count = int.from_bytes(data[:4], "big")
    at = 4
    for _ in range(min(count, _MAXIMUM_OPCODES)):
        if len(data) < at + _HEAD.size:
            return
        number, _version, _flags, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if len(data) < at + size:
            return
        yield Opcode(number, at, data[at : at + size])
        at += size


def read_whole_list(tag: Tag | None) -> tuple[Opcode, ...] | None:
    """All opcodes of a list; none for no tag, None where the list is cut or is none."""
    if tag is None:
        return ()
    opcodes = tuple(read_opcodes(tag.data))
    count = int.from_bytes(tag.data[:4], "big")
    return opcodes if len(tag.data) >= 4 and len(opcodes) == count else None


def find_named_bad_pixels(raw: RawImage) -> Bool[np.ndarray, "h w"] | None:
    """Which pixels of the mosaic a DNG names as bad, by their value or their place; None for none.

    OpcodeList1 counts from the mosaic's corner, before anything is done to it; OpcodeList2 from the active
    area's, where values are others already.
    """
    bad = np.zeros(raw.mosaic.shape, bool)
    for opcode in _opcodes(raw.metadata.raw, Code.OpcodeList1):
        if opcode.number == OpcodeId.FixBadPixelsConstant and len(opcode.data) >= 4:
            bad |= raw.mosaic == int.from_bytes(opcode.data[:4], "big")
        elif opcode.number == OpcodeId.FixBadPixelsList:
            _mark_list(bad, opcode.data)
    for opcode in _opcodes(raw.metadata.raw, Code.OpcodeList2):
        if opcode.number == OpcodeId.FixBadPixelsList:
            _mark_list(bad[raw.active.slices], opcode.data)
    return bad if bad.any() else None


def linearize_opcodes(metadata: Metadata) -> Metadata:
    """Let FixBadPixelsConstant name the value that its pixels have once LinearizationTable is applied."""
    table = read_linearization_table(metadata.raw).tolist()
    if not table or Code.OpcodeList1 not in metadata.raw:
        return metadata
    root = metadata.root
    if Code.OpcodeList1 in root:
        root = _linearize(root, table)
    return replace(metadata, root=root, raw=_linearize(metadata.raw, table))


def _linearize(tags: Ifd, table: list[int]) -> Ifd:
    tag = tags[Code.OpcodeList1]
    data = bytearray(tag.data)
    for opcode in read_opcodes(tag.data):
        if opcode.number == OpcodeId.FixBadPixelsConstant and len(opcode.data) >= 4:
            stored = int.from_bytes(opcode.data[:4], "big")
            linear = table[min(stored, len(table) - 1)]
            data[opcode.start : opcode.start + 4] = linear.to_bytes(4, "big")
    return {**tags, Code.OpcodeList1: Tag(tag.type, tag.count, bytes(data))}


def _opcodes(tags: Ifd, code: Code) -> Iterator[Opcode]:
    return read_opcodes(tags[code].data) if code in tags else iter(())


def _mark_list(bad: Bool[np.ndarray, "h w"], data: bytes) -> None:
    """FixBadPixelsList: Bayer phase, counts of points and rectangles, then rows and columns of each."""
    if len(data) < 12:
        return
    words = np.frombuffer(data[: len(data) // 4 * 4], ">u4").astype(np.int64)
    points, rectangles = (int(count) for count in words[1:3])
    height, width = bad.shape
    places = words[3 : 3 + 2 * points]
    rows, columns = places[: len(places) // 2 * 2].reshape(-1, 2).T
    inside = (rows < height) & (columns < width)
    bad[rows[inside], columns[inside]] = True
    rest = words[3 + 2 * points :][: 4 * rectangles]
    budget = 4 * bad.size  # pixels; rectangles that lie on each other must not cost hours
    for top, left, bottom, right in rest[: len(rest) // 4 * 4].reshape(-1, 4).tolist():
        part = bad[top:bottom, left:right]
        budget -= part.size + 1
        if budget < 0:
            return
        part[...] = True
