"""EXIF of an output, and where in it the MakerNote lies."""

from __future__ import annotations

from rawdenoise.capture.raw import RawImage, Tag
from rawdenoise.formats.dng.codes import EXIF_CODES, PIXEL_CODES, POINTER_CODES
from rawdenoise.formats.metadata import maker_note
from rawdenoise.formats.tiff.reading import RATIONAL, SHORT, UNDEFINED, ascii_tag, bytes_tag, numbers_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node


def exif_node(image: RawImage) -> Node | None:
    """EXIF: the source's, also what it has astray in IFD0, then what the image itself tells."""
    source, exposure = image.metadata, image.exposure
    tags: dict[int, Tag] = {}
    if exposure.exposure_s:
        tags[Code.ExposureTime] = numbers_tag(RATIONAL, exposure.exposure_s)
    if exposure.f_number:
        tags[Code.FNumber] = numbers_tag(RATIONAL, exposure.f_number)
    if exposure.iso:
        tags[Code.ISOSpeedRatings] = numbers_tag(SHORT, min(exposure.iso, 65535))
    if exposure.focal_length_mm:
        tags[Code.FocalLength] = numbers_tag(RATIONAL, exposure.focal_length_mm)
    if exposure.taken_at:
        tags[Code.DateTimeOriginal] = ascii_tag(exposure.taken_at)
    for directory in (source.raw, source.root):
        tags.update({code: tag for code, tag in directory.items() if code in EXIF_CODES})
    gone = POINTER_CODES | PIXEL_CODES  # PiDNG has strips in EXIF, at offset 0
    tags.update({code: tag for code, tag in source.exif.items() if code not in gone})
    if not tags:
        return None
    tags.setdefault(Code.ExifVersion, bytes_tag(b"0231", UNDEFINED))
    pinned: dict[int, int] = {}
    if Code.MakerNote in tags:
        if not keeps_maker_note(image):
            del tags[Code.MakerNote]
        elif maker_note.can_stay(source, _room(image)) and source.maker_note_offset is not None:
            pinned[Code.MakerNote] = source.maker_note_offset
    interop: dict[int, tuple[Node, ...]] = {}
    if source.interop:
        interop[Code.InteroperabilityIFD] = (Node(source.interop),)
    return Node(tags, children=interop, pinned=pinned)


def keeps_maker_note(image: RawImage) -> bool:
    """Whether the MakerNote stays in EXIF: where it lay, or anywhere."""
    return maker_note.can_stay(image.metadata, _room(image)) or maker_note.can_move(image.metadata)


def _room(image: RawImage) -> int:
    """About how long the file will be at least: lossless JPEG halves a mosaic, and rarely quarters it."""
    return image.mosaic.nbytes // 4
