"""Where a MakerNote can go in another file and still be understood."""

from __future__ import annotations

import struct

from rawdenoise.capture.raw import Metadata
from rawdenoise.formats.tiff.reading import numbers
from rawdenoise.formats.tiff.tags import Code

# These name their byte order or have a fixed one, and count their offsets from their own beginning.
_SELF_RELATIVE = (b"Nikon\0\x02", b"OLYMPUS\0", b"OM SYSTEM\0", b"FUJIFILM", b"Apple iOS\0", b"PENTAX \0")

_SAFE = (1.0,)
_MAXIMUM_HOLE = 4 << 20  # bytes that a pin may leave empty in a file that is shorter than where the note lay


def can_move(metadata: Metadata) -> bool:
    """Whether the MakerNote stays readable wherever it lies: by its form, or as its DNG says."""
    is_safe = metadata.is_dng and numbers(metadata.root.get(Code.MakerNoteSafety)) == _SAFE
    return is_safe or metadata.exif[Code.MakerNote].data.startswith(_SELF_RELATIVE)


def can_stay(metadata: Metadata, room: int = 0) -> bool:
    """Whether it can lie at the offset it had, in a little-endian file, so that its offsets still hold.

    `room` is how many bytes the file will have at least.
    """
    offset = metadata.maker_note_offset
    return metadata.little_endian and offset is not None and 16 <= offset <= room + _MAXIMUM_HOLE


def make_private_data(metadata: Metadata) -> bytes | None:
    """The MakerNote as DNGPrivateData keeps it, with its byte order and former offset; None without one.

    This is the form of Adobe's DNG Converter.
    """
    data, offset = metadata.exif[Code.MakerNote].data, metadata.maker_note_offset
    if offset is None or offset > 0xFFFFFFFF:
        return None
    order = b"II" if metadata.little_endian else b"MM"
    block = order + struct.pack(">I", offset) + data
    return b"Adobe\0MakN" + struct.pack(">I", len(block)) + block + b"\0" * (len(block) % 2)
