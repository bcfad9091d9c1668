"""Where a MakerNote can go in another file and still be understood."""

from __future__ import annotations

import struct

from rawdenoise.formats.tags import Code
from rawdenoise.raw import Metadata

# These name their byte order or have a fixed one, and count their offsets from their own beginning.
_SELF_RELATIVE = (b"Nikon\0\x02", b"OLYMPUS\0", b"OM SYSTEM\0", b"FUJIFILM", b"Apple iOS\0", b"PENTAX \0")

_FARTHEST_PIN = 1 << 20  # raws hold it near their start; farther out a pin would leave a hole in the file


def can_move(metadata: Metadata) -> bool:
    """Whether the MakerNote stays readable wherever it lies."""
    return metadata.exif[Code.MakerNote].data.startswith(_SELF_RELATIVE)


def can_stay(metadata: Metadata) -> bool:
    """Whether it can lie at the offset it had, in a little-endian file, so that its offsets still hold."""
    offset = metadata.maker_note_offset
    return metadata.little_endian and offset is not None and 16 <= offset <= _FARTHEST_PIN


def adobe_private_data(metadata: Metadata) -> bytes | None:
    """The MakerNote as DNGPrivateData keeps it, with its byte order and former offset; None without one.

    This is the form of Adobe's DNG Converter.
    """
    data, offset = metadata.exif[Code.MakerNote].data, metadata.maker_note_offset
    if offset is None or offset > 0xFFFFFFFF:
        return None
    order = b"II" if metadata.little_endian else b"MM"
    block = order + struct.pack(">I", offset) + data
    return b"Adobe\0MakN" + struct.pack(">I", len(block)) + block + b"\0" * (len(block) % 2)
