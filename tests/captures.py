"""Small captures of every kind that the readers know, written here byte by byte as a camera would have.

Pixels come of whole numbers alone, so that they are the same on every machine. There is no CR3, CRW and X3F:
nobody but the camera packs them. `python tests/captures.py` prints the table of tests/golden.json anew.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import imagecodecs
import numpy as np
import tifffile
from scipy import io

from rawdenoise.capture.raw import Cfa, RawImage
from rawdenoise.formats import read_raw
from rawdenoise.formats.headerless import PlainLayout

HEIGHT, WIDTH = 128, 192
BLACK = 256
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12
SIZES = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, RATIONAL: 8, UNDEFINED: 1, SRATIONAL: 8, 16: 8}
RGGB, GBRG = bytes((0, 1, 1, 2)), bytes((1, 2, 0, 1))

Value = tuple[int, object]  # a type and what it holds


def mosaic(bits: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A slope with noise of some ten DN: large enough for a camera's, small enough for lossless JPEG."""
    rows, columns = np.mgrid[:height, :width].astype(np.int64)
    noise = (rows * 7919 + columns * 104729 + rows * columns * 31) % 23
    green = (rows + columns) % 2 * 40
    scale = 1 << (bits - 10)
    return (BLACK // (1 << max(0, 12 - bits)) + scale * (columns + rows + noise + green)).astype(np.uint16)


@dataclass(frozen=True)
class Directory:
    """Tags, the directories that tags point to, and the picture in one strip or tile."""

    tags: Mapping[int, Value]
    children: Mapping[int, Directory] = field(default_factory=dict)
    pixels: bytes = b""
    tiled: bool = False


def tiff(
    root: Directory, *, order: str = "<", big: bool = False, magic: int = 42, head: bytes = b""
) -> bytes:
    """Lay out a TIFF: a header, `head`, all that directories point to, the first directory last."""
    data = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else magic))
    data += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    data += head
    at = _directory(data, root, order, big)
    struct.pack_into(order + ("Q" if big else "I"), data, 8 if big else 4, at)
    return bytes(data)


def _append(data: bytearray, block: bytes) -> int:
    data += bytes(-len(data) % 4)
    at = len(data)
    data += block
    return at


def _directory(data: bytearray, node: Directory, order: str, big: bool) -> int:
    table = {code: as_bytes(value, order) for code, value in node.tags.items()}
    pointer = 16 if big else LONG
    for code, child in node.children.items():
        table[code] = as_bytes((pointer, _directory(data, child, order, big)), order)
    if node.pixels:
        offsets, counts = (324, 325) if node.tiled else (273, 279)
        table[offsets] = as_bytes((pointer, _append(data, node.pixels)), order)
        table[counts] = as_bytes((pointer, len(node.pixels)), order)
    room, entry = (8, "HHQ") if big else (4, "HHI")
    entries = struct.pack(order + ("Q" if big else "H"), len(table))
    for code, (kind, count, value) in sorted(table.items()):
        entries += struct.pack(order + entry, code, kind, count)
        if len(value) <= room:
            entries += value.ljust(room, b"\0")
        else:
            entries += struct.pack(order + ("Q" if big else "I"), _append(data, value))
    return _append(data, entries + bytes(room))


def as_bytes(value: Value, order: str) -> tuple[int, int, bytes]:
    """Type, count and bytes, as in a directory."""
    kind, held = value
    if isinstance(held, bytes):
        return kind, len(held), held
    if isinstance(held, str):
        text = held.encode() + b"\0"
        return kind, len(text), text
    numbers = held if isinstance(held, tuple) else (held,)
    if kind in (RATIONAL, SRATIONAL):
        parts = [part for number in numbers for part in (round(number * 10000), 10000)]
        return (
            kind,
            len(numbers),
            struct.pack(f"{order}{len(parts)}{'I' if kind == RATIONAL else 'i'}", *parts),
        )
    letter = {BYTE: "B", SHORT: "H", LONG: "I", DOUBLE: "d", 16: "Q"}[kind]
    return kind, len(numbers), struct.pack(f"{order}{len(numbers)}{letter}", *numbers)


# ---------------------------------------------------------------- what cameras say


def exif(iso: int = 800) -> Directory:
    return Directory(
        {
            33434: (RATIONAL, 0.004),
            33437: (RATIONAL, 2.8),
            34855: (SHORT, iso),
            36867: (ASCII, "2024:05:06 07:08:09"),
            37386: (RATIONAL, 35.0),
        }
    )


def camera(make: str, model: str, orientation: int = 1) -> dict[int, Value]:
    return {271: (ASCII, make), 272: (ASCII, model), 274: (SHORT, orientation)}


def picture(bits: int, compression: int = 1, photometric: int = 32803) -> dict[int, Value]:
    return {
        254: (LONG, 0),
        256: (LONG, WIDTH),
        257: (LONG, HEIGHT),
        258: (SHORT, bits),
        259: (SHORT, compression),
        262: (SHORT, photometric),
        277: (SHORT, 1),
        278: (LONG, HEIGHT),
        284: (SHORT, 1),
        33421: (SHORT, (2, 2)),
        33422: (BYTE, RGGB),
    }


DNG = {
    50706: (BYTE, bytes((1, 4, 0, 0))),
    50707: (BYTE, bytes((1, 1, 0, 0))),
    50708: (ASCII, "Maker One"),
    50721: (SRATIONAL, (0.7, -0.2, -0.05, -0.4, 1.2, 0.25, -0.05, 0.15, 0.6)),
    50728: (RATIONAL, (0.5, 1.0, 0.625)),
    50778: (SHORT, 21),
}
DNG_LEVELS = {
    50713: (SHORT, (2, 2)),
    50714: (RATIONAL, (250.0, 255.5, 256.0, 260.25)),
    50717: (LONG, 4095),
    50829: (LONG, (2, 4, HEIGHT - 2, WIDTH - 4)),
}
THUMBNAIL = {
    254: (LONG, 1), 256: (LONG, 4), 257: (LONG, 4), 258: (SHORT, (8, 8, 8)), 259: (SHORT, 1), 262: (SHORT, 2),
    277: (SHORT, 3), 278: (LONG, 4), 284: (SHORT, 1),
}  # fmt: skip


def words(pixels: np.ndarray, order: str = "<") -> bytes:
    return pixels.astype(order + "u2").tobytes()


def packed(pixels: np.ndarray, bits: int) -> bytes:
    """Most significant bit first, as TIFF has it."""
    shifts = np.arange(bits - 1, -1, -1)
    return np.packbits(
        (pixels[..., None] >> shifts & 1).astype(np.uint8).reshape(len(pixels), -1), axis=1
    ).tobytes()


def lossless_jpeg(pixels: np.ndarray, bits: int) -> bytes:
    """Two components side by side, as DNG and CR2 have them."""
    pairs = np.ascontiguousarray(pixels.reshape(pixels.shape[0], -1, 2))
    return bytes(imagecodecs.jpeg8_encode(pairs, lossless=True, predictor=1, bitspersample=bits))


def one_directory_dng(order: str = "<", big: bool = False) -> bytes:
    tags = {**camera("Maker", "One", 6), **picture(16), **DNG, **DNG_LEVELS}
    return tiff(Directory(tags, {34665: exif()}, words(mosaic(12), order)), order=order, big=big)


def sub_directory_dng(order: str = "<", compression: int = 1) -> bytes:
    pixels = words(mosaic(12), order) if compression == 1 else lossless_jpeg(mosaic(12), 12)
    tags = {**picture(16, compression), **DNG_LEVELS, 33422: (BYTE, GBRG)}
    if compression == 7:
        tags |= {322: (LONG, WIDTH), 323: (LONG, HEIGHT)}
    raw = Directory(tags, pixels=pixels, tiled=compression == 7)
    root = {**camera("Maker", "One", 3), **DNG, **THUMBNAIL}
    return tiff(Directory(root, {330: raw, 34665: exif()}, bytes(range(48))), order=order)


def packed_dng() -> bytes:
    """Ten bits a pixel, as small cameras write it."""
    levels = {50714: (SHORT, 64), 50717: (SHORT, 1023)}
    tags = {**camera("Maker", "Ten Bits"), **picture(10), **DNG, **levels}
    return tiff(Directory(tags, {34665: exif()}, packed(mosaic(10), 10)))


def nef(bits: int = 12) -> bytes:
    raw = Directory(picture(bits), pixels=packed(mosaic(bits), bits))
    root = {**camera("NIKON CORPORATION", "NIKON D100"), **THUMBNAIL}
    return tiff(Directory(root, {330: raw, 34665: exif(200)}, bytes(range(48))), order=">")


def arw() -> bytes:
    raw = Directory(picture(16), pixels=words(mosaic(14)))
    root = {**camera("SONY", "ILCE-7M3"), **THUMBNAIL}
    return tiff(Directory(root, {330: raw, 34665: exif()}, bytes(range(48))))


def pef() -> bytes:
    tags = {**camera("PENTAX Corporation", "PENTAX *ist D", 8), **picture(16)}
    return tiff(Directory(tags, {34665: exif()}, words(mosaic(12), ">")), order=">")


def srw() -> bytes:
    raw = Directory(picture(12), pixels=packed(mosaic(12), 12))
    root = {**camera("SAMSUNG", "NX10"), **THUMBNAIL}
    return tiff(Directory(root, {330: raw, 34665: exif()}, bytes(range(48))))


def orf() -> bytes:
    """Twelve bits a pixel, in words of four bytes that are turned round."""
    turned = np.frombuffer(packed(mosaic(12), 12), np.uint8).reshape(-1, 4)[:, ::-1].tobytes()
    tags = {**camera("OLYMPUS IMAGING CORP.", "E-400"), **picture(12)}
    return tiff(Directory(tags, {34665: exif()}, turned), magic=0x4F52)


def rw2() -> bytes:
    """As Panasonic's first raws are: sixteen bits a pixel, the value in the upper twelve."""
    borders = {2: WIDTH, 3: HEIGHT, 4: 2, 5: 4, 6: HEIGHT - 2, 7: WIDTH - 4, 9: 1, 10: 12, 23: 400}
    tags = {code: (SHORT, value) for code, value in borders.items()} | {1: (UNDEFINED, b"0200")}
    tags |= camera("Panasonic", "DMC-FZ50")
    return tiff(Directory(tags, {34665: exif(400)}, words(mosaic(12) << 4)), magic=0x55)


def raf() -> bytes:
    """A header, a JPEG with the EXIF, a table of sizes, and the pixels."""
    inside = tiff(Directory(camera("FUJIFILM", "FinePix X100"), {34665: exif(200)}))
    exif_segment = b"Exif\0\0" + inside
    jpeg = b"\xff\xd8\xff\xe1" + struct.pack(">H", 2 + len(exif_segment)) + exif_segment + b"\xff\xd9"
    sizes = struct.pack(">HH", HEIGHT, WIDTH)
    table = struct.pack(">I", 2) + struct.pack(">HH", 0x100, 4) + sizes + struct.pack(">HH", 0x121, 4) + sizes
    head = b"FUJIFILMCCD-RAW 0201FF383501" + b"FinePix X100".ljust(32, b"\0")
    head = head.ljust(84, b"\0")
    jpeg_at = 160
    table_at = jpeg_at + len(jpeg) + -len(jpeg) % 4
    pixels_at = table_at + len(table)
    pixels = words(mosaic(12))
    head += struct.pack(">6I", jpeg_at, len(jpeg), table_at, len(table), pixels_at, len(pixels))
    whole = head.ljust(jpeg_at, b"\0") + jpeg
    return whole.ljust(table_at, b"\0") + table + pixels


def cr2() -> bytes:
    raw = Directory({**picture(12, 6), 50752: (SHORT, (0, 0, WIDTH))}, pixels=lossless_jpeg(mosaic(12), 12))
    root = {**camera("Canon", "Canon EOS 400D DIGITAL"), **THUMBNAIL}
    return tiff(Directory(root, {330: raw, 34665: exif()}, bytes(range(48))), head=b"CR\2\0" + bytes(4))


# ---------------------------------------------------------------- files that are no camera's


def save_plain(path: Path) -> None:
    pixels = mosaic(14)
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="minisblack")
    else:
        path.write_bytes(words(pixels))


def save_sidd(path: Path) -> None:
    """A frame as SIDD has it, the metadata beside it in the older format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fractions = (mosaic(10) / 1023).astype(np.float32)
    if "v73" in path.parts[-3]:
        with h5py.File(path, "w", userblock_size=512) as file:
            data = file.create_dataset("x", data=fractions.T)
            data.attrs["MATLAB_class"] = np.bytes_("single")
        header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(116) + bytes(8)
        with path.open("r+b") as file:
            file.write(header + b"\x00\x02IM")
    else:
        io.savemat(path, {"x": fractions})
    said = {"Make": "samsung", "Model": "SM-G925I", "ISOSpeedRatings": 100.0, "Orientation": 1.0}
    io.savemat(path.with_name("0001_METADATA_RAW_010.MAT"), {"metadata": said})


SCENE = "0001_001_S6_00100_00060_3200_L/0001_NOISY_RAW_010.MAT"
LAYOUT = PlainLayout(cfa=Cfa.GRBG, black=256.0, white=16000.0, bits=14, size=(WIDTH, HEIGHT))
KINDS: Mapping[str, tuple[Callable[[], bytes], int]] = {
    "classic.dng": (one_directory_dng, 12),
    "big-endian.dng": (lambda: one_directory_dng(">"), 12),
    "bigtiff.dng": (lambda: one_directory_dng(big=True), 12),
    "subifd.dng": (sub_directory_dng, 12),
    "subifd-big-endian.dng": (lambda: sub_directory_dng(">"), 12),
    "subifd-lossless.dng": (lambda: sub_directory_dng(compression=7), 12),
    "packed.dng": (packed_dng, 10),
    "canon.cr2": (cr2, 12),
    "fuji.raf": (raf, 12),
    "nikon.nef": (nef, 12),
    "olympus.orf": (orf, 12),
    "panasonic.rw2": (rw2, 12),
    "pentax.pef": (pef, 12),
    "samsung.srw": (srw, 12),
    "sony.arw": (arw, 14),
}  # how to write it, and the bits of its pixels
PLAIN = ("plain.npy", "plain.tif", "plain.raw")
SIDD = (f"v5/{SCENE}", f"v73/{SCENE}")
ALL = (*KINDS, *PLAIN, *SIDD)


def write(name: str, folder: Path) -> Path:
    """Write the capture of this name."""
    path = folder / name
    if name in KINDS:
        path.write_bytes(KINDS[name][0]())
    elif name in PLAIN:
        save_plain(path)
    else:
        save_sidd(path)
    return path


def read(name: str, folder: Path) -> RawImage:
    """Write a capture, and read it as a user would."""
    return read_raw(write(name, folder), layout=LAYOUT if name in PLAIN else None)


def written(name: str) -> np.ndarray:
    """The mosaic that was put into a capture."""
    if name in SIDD:
        return np.rint((mosaic(10) / 1023).astype(np.float32) * np.float32(65535)).astype(np.uint16)
    return mosaic(14 if name in PLAIN else KINDS[name][1])


def facts(raw: RawImage) -> dict[str, object]:
    """All that a capture says of itself, in one form, whatever order its file has it in."""
    metadata = raw.metadata
    tags = {
        part: {str(int(code)): [tag.type, tag.count, tag.data.hex()] for code, tag in sorted(ifd.items())}
        for part, ifd in (("root", metadata.root), ("raw", metadata.raw), ("exif", metadata.exif))
    }
    for part in tags.values():  # where pixels and directories lie is the file's, not the capture's
        for code in ("273", "279", "324", "325", "330", "34665"):
            part.pop(code, None)
    levels, color = raw.levels, raw.color
    return {
        "camera": [raw.camera.make, raw.camera.model, raw.camera.serial, raw.camera.mode],
        "cfa": raw.cfa.value,
        "active": [raw.active.top, raw.active.left, raw.active.bottom, raw.active.right],
        "levels": [*levels.black, levels.white],
        "exposure": [
            raw.exposure.iso, raw.exposure.exposure_s, raw.exposure.f_number, raw.exposure.focal_length_mm,
            raw.exposure.taken_at,
        ],
        "neutral": [round(value, 5) for value in color.as_shot_neutral or ()],
        "orientation": raw.orientation,
        "tags": tags,
    }  # fmt: skip


def digests(raw: RawImage) -> list[str]:
    """SHA-256 of the mosaic, as little-endian words, and of the facts, as JSON."""
    said = json.dumps(facts(raw), sort_keys=True).encode()
    return [hashlib.sha256(words(raw.mosaic)).hexdigest(), hashlib.sha256(said).hexdigest()]


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        table = {name: digests(read(name, Path(folder))) for name in ALL}
        print(json.dumps(table, indent=1))  # noqa: T201
