"""Files that are refused before or after decoding, each with its reason in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from rawdenoise.capture.raw import Levels, Metadata
from rawdenoise.errors import LayoutError, NotAnImageError, TruncatedError, UnsupportedRawError
from rawdenoise.formats.dng.pixels import MINIMUM_BITS, UNCOMPRESSED, read_block_layout, read_first_frame
from rawdenoise.formats.tiff.reading import BIG, CLASSIC, finite_numbers, numbers, read_header
from rawdenoise.formats.tiff.tags import Code

# A block of 64 pixels of a JPEG takes two bits at least, one code for its mean and one for its end; no
# packing of raws is tighter, so that a dark or an even frame of any camera passes.
MINIMUM_BITS_OF_ANY = 2 / 64
MINIMUM_RANGE = 1 / 16  # of white: black levels of cameras are at most a quarter of it
_PANASONIC_RAW_OFFSET, _NO_OFFSET = 280, 0xFFFFFFFF
_PANASONIC_WIDTH, _PANASONIC_HEIGHT, _PANASONIC_FORMAT = 2, 3, 45
# Bytes for a pixel, at least, by RawFormat (LibRaw, panasonic_load_raw, its C6 and C7); 8 has Huffman codes.
_PANASONIC_BYTES = {5: 16 / 10, 6: 16 / 14, 7: 16 / 10, 8: MINIMUM_BITS / 8}
_PANASONIC_BYTES_ELSE = 8 / 7
# PhotometricInterpretation: grey, RGB, palette, CMYK, YCbCr, Lab.
_PICTURE_INTERPRETATIONS = {0, 1, 2, 3, 5, 6, 8}
_CR2_SLICES = 50752
_TEXT_BYTES = bytes([*range(32, 127), 9, 10, 13])
_MAGICS = {
    b"\xff\xd8\xff": "a JPEG picture", b"\x89PNG\r\n\x1a\n": "a PNG picture", b"GIF8": "a GIF picture",
    b"8BPS": "a Photoshop picture", b"%PDF": "a PDF document", b"PK\x03\x04": "a ZIP archive",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture", b"\xff\x0a": "a JPEG XL picture",
}  # fmt: skip
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"mif1"), "a HEIF picture"),
    **dict.fromkeys((b"mp42", b"isom", b"qt  "), "a video"),
    b"avif": "an AVIF picture",
}


def refuse_headerless(path: Path, metadata: Metadata) -> None:
    """LibRaw guesses from its length what an array of bare numbers is; texts it calls damaged.

    Raises:
        NotAnImageError, LayoutError: it has no header that says what it is.
    """
    if metadata.root:
        return
    if path.suffix.lower() == ".raw":
        refuse_picture(path, metadata)
        raise LayoutError(path, "has no header: give --cfa, --black, --white, --bits and --size")
    with path.open("rb") as file:
        start = file.read(512)
    if not start.strip(_TEXT_BYTES):
        raise NotAnImageError(path, "is a text, not an image")


def refuse_tiff_picture(path: Path, metadata: Metadata) -> None:
    """LibRaw takes a grey TIFF of no camera for a mosaic.

    Raises:
        NotAnImageError: no camera has written it as a raw.
    """
    nameless = Code.Make not in metadata.root and Code.Model not in metadata.root
    if nameless and _is_tiff_picture(metadata):
        raise NotAnImageError(path, "is a TIFF picture, whatever its name says; there is no raw in it")


def refuse_picture(path: Path, metadata: Metadata) -> None:
    """Say what a file is that no reader of raws knows, where its first bytes or its tags tell.

    Raises:
        NotAnImageError: it is a finished picture, or something else that is well known.
    """
    with path.open("rb") as file:
        start = file.read(16)
    kind = next((name for magic, name in _MAGICS.items() if start.startswith(magic)), "")
    if start[4:8] == b"ftyp":
        kind = _BRANDS.get(start[8:12], kind)
    if not kind and start[:2] in (b"II", b"MM") and _is_tiff_picture(metadata):
        kind = "a TIFF picture"
    if kind:
        raise NotAnImageError(path, f"is {kind}, whatever its name says; there is no raw in it")


def _is_tiff_picture(metadata: Metadata) -> bool:
    raw = metadata.raw
    photometric = numbers(raw.get(Code.PhotometricInterpretation))
    return (
        not metadata.is_dng
        and _CR2_SLICES not in raw
        and photometric[:1] != ()
        and photometric[0] in _PICTURE_INTERPRETATIONS
    )


def refuse_truncated(path: Path, metadata: Metadata) -> None:
    """LibRaw fills what is missing with zeros and says nothing: compare the tags with the file's length.

    Raises:
        TruncatedError: the file ends before its picture, or too little of it is there.
    """
    strips, tiles = {Code.StripOffsets, Code.StripByteCounts}, {Code.TileOffsets, Code.TileByteCounts}
    if metadata.is_dng and not (strips <= metadata.raw.keys() or tiles <= metadata.raw.keys()):
        raise TruncatedError(path, "is truncated: where its picture lies is missing")
    size, end = path.stat().st_size, max(_block_ends(path, metadata), default=0)
    end = max(end, _first_directory_end(path))
    if end > size:
        raise TruncatedError(path, f"is truncated: {size} bytes, but its picture ends at {end}")
    if metadata.is_dng:
        _refuse_missing_blocks(path, metadata)


def _first_directory_end(path: Path) -> int:
    """Where the first table of tags ends; 0 where it is no TIFF."""
    with path.open("rb") as file:
        header = read_header(file)
        if header is None or header.magic not in (CLASSIC, BIG):
            return 0
        if header.first >= header.end:  # in a BigTIFF farther than a file can be
            return header.first
        file.seek(header.first)
        count_size, entry_size = (8, 20) if header.big else (2, 12)
        entries = int.from_bytes(file.read(count_size), "little" if header.little_endian else "big")
    return header.first + count_size + entries * entry_size


def _refuse_missing_blocks(path: Path, metadata: Metadata) -> None:
    """A DNG says how many blocks its picture takes, and how long uncompressed ones must be."""
    blocks = read_block_layout(metadata.raw)
    if blocks is None:
        raise TruncatedError(path, "is truncated: how its picture is laid down is missing")
    if len(blocks.offsets) < blocks.needed:
        there, kind = len(blocks.offsets), "tiles" if blocks.tiled else "strips"
        raise TruncatedError(path, f"is truncated: it has {there} of {blocks.needed} {kind} of its picture")
    if blocks.compression == UNCOMPRESSED:
        bits = blocks.columns * blocks.bits
        needed = sum(blocks.rows_of(index) for index in range(blocks.needed)) * math.ceil(bits / 8)
        if sum(blocks.counts) < needed:
            reason = f"is truncated: {sum(blocks.counts)} bytes of the {needed} that its pixels take"
            raise TruncatedError(path, reason)


def _block_ends(path: Path, metadata: Metadata) -> Iterator[int]:
    """Where the strips and tiles of the picture end."""
    if _is_panasonic(path):
        yield from _panasonic_end(metadata)
        return
    for offsets_tag, counts_tag in ((Code.StripOffsets, Code.StripByteCounts),
                                    (Code.TileOffsets, Code.TileByteCounts)):  # fmt: skip
        offsets, counts = (finite_numbers(metadata.raw.get(tag)) for tag in (offsets_tag, counts_tag))
        for start, count in zip(offsets, counts, strict=False):
            if start != _NO_OFFSET and count > 0:
                yield int(start + count)


def _panasonic_end(metadata: Metadata) -> Iterator[int]:
    """Of a RAW, RW2 or RWL: RawDataOffset, and what width x height pixels take at least by their packing.

    StripOffsets may be a mere mark, and StripByteCounts that of unpacked data (ExifTool, PanasonicRaw).
    """
    raw = metadata.raw
    offsets = finite_numbers(raw.get(_PANASONIC_RAW_OFFSET)) or finite_numbers(raw.get(Code.StripOffsets))
    if not offsets or offsets[0] == _NO_OFFSET:
        return
    width, height, packing = (
        (finite_numbers(raw.get(code)) or [0.0])[0]
        for code in (_PANASONIC_WIDTH, _PANASONIC_HEIGHT, _PANASONIC_FORMAT)
    )
    pixel_bytes = _PANASONIC_BYTES.get(int(packing), _PANASONIC_BYTES_ELSE)
    yield int(offsets[0] + max(1.0, width * height * pixel_bytes))


def _is_panasonic(path: Path) -> bool:
    """Whether it is a RAW, RW2 or RWL of Panasonic or Leica, by its magic number."""
    with path.open("rb") as file:
        return file.read(4) == b"IIU\0"


def refuse_blank_tail(path: Path, mosaic: UInt16[np.ndarray, "h w"], metadata: Metadata) -> None:
    """A file that tells no lengths (CRW, RAF, CR3, RW2): a cut one decodes to a tail without any noise.

    What is as bright as can be has none either, but is there.

    Raises:
        TruncatedError: its last rows are all the same, and others are brighter.
    """
    tells_lengths = bool(metadata.raw) and not _is_panasonic(path)
    tail = mosaic[-max(2, mosaic.shape[0] // 50) :]
    if not tells_lengths and tail.min() == tail.max() < mosaic.max():
        raise TruncatedError(path, "is truncated: the last rows of its picture are missing")


def refuse_disproportion(path: Path, width: int, height: int, metadata: Metadata) -> None:
    """A few bytes that say they are hundreds of megapixels would fill the memory with nothing.

    Raises:
        TruncatedError: the file has fewer bits than its pixels must have.
    """
    size, least = path.stat().st_size, MINIMUM_BITS_OF_ANY
    blocks = read_block_layout(metadata.raw) if metadata.is_dng else None
    if blocks is not None:
        width, height = max(width, blocks.width), max(height, blocks.height)
        with path.open("rb") as file:
            frame = read_first_frame(file, blocks)
        if frame is not None and frame.lossless:
            least = MINIMUM_BITS
    if width * height * least > 8 * size:
        reason = f"claims {width}x{height} pixels, more than its {size} bytes can hold"
        raise TruncatedError(path, reason)


def refuse_impossible_levels(path: Path, levels: Levels, bits: int = 16) -> None:
    """Levels that leave no range for a picture, or promise more than `bits` hold.

    Raises:
        UnsupportedRawError: what is black or white cannot be told.
    """
    white, blacks = levels.white, levels.black
    highest = max(blacks) + (0.0 if levels.black_repeat is None else float(levels.black_repeat.max()))
    reason = ""
    if not all(math.isfinite(value) for value in (*blacks, highest, white)) or highest >= white:
        reason = "nothing is brighter than black"
    elif white - highest < white * MINIMUM_RANGE:
        reason = "there is no range between them"
    elif white > 2**bits:  # 2**bits itself is a usual slip
        reason = f"{bits} bits cannot hold that white"
    if reason:
        words = f"black {highest:g}, white {white:g}"
        raise UnsupportedRawError(path, f"states levels that make no sense ({words}): {reason}")
