"""A small DNG writer for inputs that our own never makes: every byte order, layout and tag as asked."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np

SHAPES = {
    1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 16: "Q"
}  # fmt: skip
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12
Entry = tuple[int, object]  # a type and the values; rationals as pairs
MATRIX = (10000, -3000, -1000, -4000, 13000, 1000, -1000, 2000, 6000)


@dataclass(frozen=True)
class Odd:
    """How a mosaic is to be stored; `block` is rows and columns of a tile, or rows of a strip."""

    compression: int = 1
    bits: int = 16
    block: tuple[int, int] | int | None = None
    components: int = 2
    predictor: int = 1
    big_endian: bool = False
    big_tiff: bool = False
    gap: int = 0  # bytes between blocks
    tags: Mapping[int, Entry | None] = field(default_factory=dict)  # None leaves one out


def noisy(height: int, width: int, *, low: int = 300, high: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (height, width)).astype(np.uint16)


def rationals(*values: float) -> list[tuple[int, int]]:
    return [(round(value * 10000), 10000) for value in values]


def write_odd(path: Path, mosaic: np.ndarray, odd: Odd = Odd()) -> Path:
    """Write a one-directory DNG of RGGB, black 256, white 4095, unless its tags say otherwise."""
    height, width = mosaic.shape
    order = ">" if odd.big_endian else "<"
    blocks, layout = _blocks(mosaic, odd)
    entries: dict[int, Entry | None] = {
        254: (LONG, [0]), 256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [odd.bits]),
        259: (SHORT, [odd.compression]), 262: (SHORT, [32803]), 271: (ASCII, b"Testmake\0"),
        272: (ASCII, b"Odd One\0"), 274: (SHORT, [1]), 277: (SHORT, [1]), 284: (SHORT, [1]),
        33421: (SHORT, [2, 2]), 33422: (BYTE, [0, 1, 1, 2]), 50706: (BYTE, [1, 4, 0, 0]),
        50707: (BYTE, [1, 1, 0, 0]), 50708: (ASCII, b"Odd One\0"), 50710: (BYTE, [0, 1, 2]),
        50711: (SHORT, [1]), 50714: (SHORT, [256]), 50717: (LONG, [4095]),
        50721: (SRATIONAL, [(value, 10000) for value in MATRIX]), 50728: (RATIONAL, rationals(0.5, 1, 0.65)),
        50778: (SHORT, [21]), **layout, **odd.tags,
    }  # fmt: skip
    head = struct.pack(order + "HHHQ", 43, 8, 0, 0) if odd.big_tiff else struct.pack(order + "HI", 42, 0)
    out = bytearray((b"MM" if odd.big_endian else b"II") + head)

    def put(data: bytes) -> int:
        out.extend(bytes(len(out) % 2))
        out.extend(data)
        return len(out) - len(data)

    offsets = []
    for block in blocks:
        offsets.append(put(block))
        out.extend(bytes(odd.gap))
    tiled = 322 in layout
    pointer = 16 if odd.big_tiff else LONG
    entries.setdefault(324 if tiled else 273, (pointer, offsets))
    entries.setdefault(325 if tiled else 279, (pointer, [len(block) for block in blocks]))
    room, table = 8 if odd.big_tiff else 4, b""
    for code, entry in sorted(entries.items()):
        if entry is None:
            continue
        kind, values = entry
        count, data = _packed(kind, values, order)
        inline = data.ljust(room, b"\0") if len(data) <= room else _number(put(data), room, order)
        table += struct.pack(order + "HH", code, kind) + _number(count, room, order) + inline
    count = len(table) // (12 if room == 4 else 20)
    first = put(_number(count, 8 if odd.big_tiff else 2, order) + table + bytes(room))
    at = 8 if odd.big_tiff else 4
    out[at : at + room] = _number(first, room, order)
    path.write_bytes(out)
    return path


def opcode_list(*opcodes: tuple[int, bytes]) -> Entry:
    """An opcode list of (number, parameters); big-endian, as in every DNG."""
    data = struct.pack(">I", len(opcodes))
    for number, parameters in opcodes:
        data += struct.pack(">4I", number, 0x01030000, 0, len(parameters)) + parameters
    return UNDEFINED, data


def lossless_jpeg(block: np.ndarray, components: int, predictor: int = 1, bits: int = 16) -> bytes:
    pixels = block.reshape(block.shape[0], -1, components).squeeze()
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits))


def _blocks(mosaic: np.ndarray, odd: Odd) -> tuple[list[bytes], dict[int, Entry | None]]:
    height, width = mosaic.shape
    if isinstance(odd.block, tuple):
        rows, columns = odd.block
        parts = []
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                part = mosaic[top : top + rows, left : left + columns]
                parts.append(np.pad(part, ((0, rows - part.shape[0]), (0, columns - part.shape[1])), "edge"))
        layout: dict[int, Entry | None] = {322: (LONG, [columns]), 323: (LONG, [rows])}
    else:
        rows = odd.block or height
        parts = [mosaic[top : top + rows] for top in range(0, height, rows)]
        layout = {278: (LONG, [rows])}
    return [_encoded(part, odd) for part in parts], layout


def _encoded(part: np.ndarray, odd: Odd) -> bytes:
    if odd.compression == 7:
        return lossless_jpeg(part, odd.components, odd.predictor, odd.bits)
    if odd.bits == 8:
        return part.astype(np.uint8).tobytes()
    if odd.bits == 16:
        return part.astype(">u2" if odd.big_endian else "<u2").tobytes()
    rows = ["".join(f"{value:0{odd.bits}b}" for value in row) for row in part.tolist()]
    padded = [row + "0" * (-len(row) % 8) for row in rows]
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in padded)


def _packed(kind: int, values: object, order: str) -> tuple[int, bytes]:
    if isinstance(values, bytes):
        return len(values), values
    assert isinstance(values, list | tuple)
    flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return len(values), struct.pack(order + SHAPES[kind][0] * len(flat), *flat)


def _number(value: int, size: int, order: str) -> bytes:
    return value.to_bytes(size, "big" if order == ">" else "little")
