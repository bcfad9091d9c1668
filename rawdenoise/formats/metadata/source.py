"""What a raw file says about itself: its tags, byte for byte where it is or holds a TIFF."""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from dataclasses import replace
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import exifread

from rawdenoise.capture.raw import NO_TAGS, Ifd, Metadata, Tag
from rawdenoise.errors import guard_file
from rawdenoise.formats.metadata.embedded_tiff import cr3_tiffs, jpeg_tiff, raf_model, raf_tiff
from rawdenoise.formats.metadata.file_order import turn_gps_tags, turn_tags
from rawdenoise.formats.metadata.xmp import read_history
from rawdenoise.formats.tiff.reading import (
    MAXIMUM_DIRECTORIES,
    PANASONIC,
    PROFILE,
    UNDEFINED,
    Directory,
    TiffHeader,
    ascii_tag,
    bytes_tag,
    numbers,
    numbers_tag,
    offsets,
    read_directory,
    read_header,
    text,
    walk_directories,
)
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, write_directories

_CFA = 32803  # a PhotometricInterpretation
_CR2_SLICES = 50752
_JPEG_FROM_RAW = 0x2E  # of Panasonic: the JPEG that the camera made of the capture
_ABOUT_JPEG = {Code.PixelXDimension, Code.PixelYDimension, Code.InteroperabilityIFD}
_ABOUT_PICTURE = {*(270, Code.Make, Code.Model, Code.Software, Code.DateTime, 315, 18246, 18249, 33432)}
_CANON_NOTE_OFFSET = 4096  # bytes from the start of a file: behind its first directories


def read_metadata(path: Path) -> Metadata:
    """The tags of a raw file by directory; fewer where it is damaged, none where its format is unknown.

    Raises:
        UnreadableError: the file cannot be opened or read at all.
    """
    with guard_file(path), path.open("rb") as file:
        header = read_header(file)
        metadata = _from_tiff(file, header) if header is not None else _from_cr3(file) or _from_raf(file)
        return metadata if metadata is not None and metadata.root else _from_exifread(file)


def is_denoised_by_us(metadata: Metadata, source: Path) -> bool:
    """Whether a capture is an output of this program, whose noise is no longer the camera's.

    Captures of a simulated camera and outputs at strength 0 are our writer's too, but nothing was denoised in
    them; that they state noise reduction may be their cameras' doing. TIFF files that say nothing of it are
    our renderings. Other programs put their name into Software, and leave our history as it is.
    """
    is_ours = text(metadata.root.get(Code.Software)).startswith("rawdenoise")
    applied = [tags.get(Code.NoiseReductionApplied) for tags in (metadata.raw, metadata.root)]
    if is_ours and source.suffix.lower() != ".dng" and applied == [None, None]:
        return True
    packet = metadata.root.get(Code.XMP)
    entries = () if packet is None else read_history(packet.data)
    if entries:
        return any(entry.get("Strength", "0") != "0" for entry in entries)
    return is_ours and any(number for tag in applied for number in numbers(tag))


def _from_tiff(file: BufferedIOBase, header: TiffHeader) -> Metadata:
    directories = [
        directory for directory in walk_directories(file, header, (Code.SubIFDs,)) if directory.tags
    ]
    if not directories:
        return Metadata()
    root = directories[0].tags
    raw = max((d.tags for d in directories), key=_mosaic_likelihood)
    exif = _read_pointed(file, header, Code.ExifIFD, root, raw)
    order = header.little_endian
    metadata = Metadata(
        is_dng=Code.DNGVersion in root,
        root=turn_tags(root, order),
        raw=turn_tags(raw, order),
        exif=turn_tags(exif.tags, order),
        gps=turn_gps_tags(_read_pointed(file, header, Code.GPSInfo, root, raw).tags, order),
        interop=_read_pointed(file, header, Code.InteroperabilityIFD, exif.tags).tags,
        maker_note_offset=exif.value_offsets.get(Code.MakerNote),
        extra=_camera_profiles(file, header, root),
        tables=_big_tables(file, header, root),
        little_endian=order,
    )
    if header.magic == PANASONIC and _JPEG_FROM_RAW in root:
        start = header.base + directories[0].value_offsets[_JPEG_FROM_RAW]
        embedded = jpeg_tiff(file, start, start + len(root[_JPEG_FROM_RAW].data))
        if embedded is not None:
            return _complete(metadata, _from_tiff(file, embedded))
    return metadata


def _complete(own: Metadata, preview: Metadata) -> Metadata:
    """What a raw says, and besides what only the EXIF of its camera's JPEG does, but for the JPEG's size.

    The MakerNote is the JPEG's: its offsets count from the TIFF that it lay in there.
    """
    exif = {code: tag for code, tag in preview.exif.items() if code not in _ABOUT_JPEG}
    picture = {code: tag for code, tag in preview.root.items() if code in _ABOUT_PICTURE}
    note_is_own = Code.MakerNote in own.exif or Code.MakerNote not in preview.exif
    return replace(
        own,
        root={**picture, **own.root},
        exif={**exif, **own.exif},
        gps=own.gps or preview.gps,
        interop=own.interop or preview.interop,
        maker_note_offset=own.maker_note_offset if note_is_own else preview.maker_note_offset,
        little_endian=own.little_endian if note_is_own else preview.little_endian,
    )


def _mosaic_likelihood(tags: Ifd) -> tuple[bool, bool, float]:
    """Orders directories: a colour filter array first, the main picture first, the larger first.

    The raw of a CR2 says nothing of its colours and its size, but how it is sliced.
    """

    def first(code: Code) -> float:
        return (numbers(tags.get(code)) or (0.0,))[0]

    main = Code.NewSubfileType in tags and first(Code.NewSubfileType) == 0
    size = first(Code.ImageWidth) * first(Code.ImageLength)
    mosaic = first(Code.PhotometricInterpretation) == _CFA or _CR2_SLICES in tags
    return mosaic, main, size


def _read_pointed(file: BufferedIOBase, header: TiffHeader, code: int, *parents: Ifd) -> Directory:
    """The directory that a tag of the first parent having it points to; an empty one if there is none."""
    for parent in parents:
        places = offsets(parent.get(code))
        if places:
            return read_directory(file, header, places[0])
    return Directory(NO_TAGS, {}, 0)


def _camera_profiles(file: BufferedIOBase, main: TiffHeader, root: Ifd) -> Mapping[int, tuple[Ifd, ...]]:
    """ExtraCameraProfiles: small TIFF files inside the DNG, with their own byte order and offsets."""
    profiles = []
    for base in offsets(root.get(Code.ExtraCameraProfiles))[:MAXIMUM_DIRECTORIES]:
        header = read_header(file, base, main.budget)
        if header is not None and header.magic == PROFILE:
            tags = read_directory(file, header, header.first).tags
            profiles.append(turn_tags(tags, header.little_endian))
    return {Code.ExtraCameraProfiles: tuple(profiles)} if profiles else {}


def _big_tables(file: BufferedIOBase, header: TiffHeader, root: Ifd) -> tuple[bytes, ...]:
    """What BigTableOffsets points to (DNG 1.6: look tables and masks of the settings in the XMP packet)."""
    places, sizes = offsets(root.get(Code.BigTableOffsets)), offsets(root.get(Code.BigTableByteCounts))
    ends = [place + size for place, size in zip(places, sizes, strict=False)]
    if len(places) != len(sizes) or max(ends, default=0) > header.end or not header.budget.spend(sum(sizes)):
        return ()
    tables: list[bytes] = []
    for place, size in zip(places, sizes, strict=True):
        file.seek(header.base + place)
        tables.append(file.read(size))
    return tuple(tables)


def _from_cr3(file: BufferedIOBase) -> Metadata | None:
    """Of a CR3: IFD0, EXIF, GPS and MakerNote, each in a TIFF of its own."""
    tiffs = cr3_tiffs(file)
    if not tiffs:
        return None

    def tags(kind: bytes) -> Ifd:
        header = tiffs.get(kind)
        if header is None:
            return NO_TAGS
        return turn_tags(read_directory(file, header, header.first).tags, header.little_endian)

    exif, note = dict(tags(b"CMT2")), tags(b"CMT3")
    if note:
        exif[Code.MakerNote] = _canon_note(note)
    gps = turn_gps_tags(tags(b"CMT4"), b"CMT4" not in tiffs or tiffs[b"CMT4"].little_endian)
    return Metadata(
        root=tags(b"CMT1"), exif=exif, gps=gps, maker_note_offset=_CANON_NOTE_OFFSET if note else None
    )


def _canon_note(tags: Ifd) -> Tag:
    """The MakerNote as Canon's other raws have it: a bare directory, its offsets counted in the file."""
    stream = BytesIO()
    write_directories(stream, Node(tags), start=_CANON_NOTE_OFFSET)
    return bytes_tag(stream.getvalue()[_CANON_NOTE_OFFSET:], UNDEFINED)


def _from_raf(file: BufferedIOBase) -> Metadata | None:
    """Of a RAF: the EXIF of its JPEG preview, and its header's camera where that names none."""
    model, header = raf_model(file), raf_tiff(file)
    preview = Metadata() if header is None else _from_tiff(file, header)
    root = dict(preview.root)
    if model and not text(root.get(Code.Model)):
        root |= {Code.Make: ascii_tag("FUJIFILM"), Code.Model: ascii_tag(model)}
    # The preview's directories tell nothing of the mosaic.
    return _complete(Metadata(root=root), replace(preview, root=NO_TAGS)) if root else None


def _from_exifread(file: BufferedIOBase) -> Metadata:
    """Tags rebuilt from what exifread understands of other containers (JPEG, HEIF, ...)."""
    logging.getLogger("exifread").setLevel(
        logging.CRITICAL
    )  # broken files are no news to the user's terminal
    file.seek(0)
    try:
        values = exifread.process_file(cast(BinaryIO, file), details=False)
    except Exception:  # exifread raises whatever a damaged file provokes; metadata is never worth a failure
        return Metadata()
    directories: dict[str, dict[int, Tag]] = {"Image": {}, "EXIF": {}, "GPS": {}, "Interoperability": {}}
    for name, value in values.items():
        directory = directories.get(name.split(" ")[0])
        tag = _rebuild_tag(value)
        if directory is not None and tag is not None:
            directory[value.tag] = tag
    root = directories["Image"]
    return Metadata(
        root=root,
        raw=root,
        exif=directories["EXIF"],
        gps=directories["GPS"],
        interop=directories["Interoperability"],
    )


def _rebuild_tag(value: object) -> Tag | None:
    """A tag from exifread's record of it, or None where its value makes no such tag."""
    kind, values = int(getattr(value, "field_type", 0)), getattr(value, "values", None)
    try:
        if isinstance(values, str):
            return ascii_tag(values)
        if isinstance(values, bytes):
            return bytes_tag(values, kind)
        if not isinstance(values, list) or not values:
            return None
        if kind in (5, 10):
            pairs = [part for ratio in values for part in (ratio.num, ratio.den)]
            return Tag(kind, len(values), struct.pack(f"<{len(pairs)}{'I' if kind == 5 else 'i'}", *pairs))
        return numbers_tag(kind, *values)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, struct.error):
        return None
