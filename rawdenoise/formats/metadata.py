"""What a raw file says about itself: its tags, byte for byte where it is or holds a TIFF."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO, cast

import exifread
import numpy as np

from rawdenoise.formats.containers import cr3_tiffs, raf_model, raf_tiff
from rawdenoise.formats.tags import Code
from rawdenoise.formats.tiff_container import (
    PROFILE,
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
)
from rawdenoise.formats.xmp import last_provenance
from rawdenoise.guard import guarded_file
from rawdenoise.raw import NO_TAGS, Ifd, Metadata, Tag

_CFA = 32803  # a PhotometricInterpretation
_CR2_SLICES = 50752
_GAIN_TABLE_MAP, _EXIF_CFA_PATTERN, _USER_COMMENT = 52525, 41730, 37510
_MOST_DIRECTORIES = 64  # raws have at most about a dozen; more means a loop


def read_metadata(path: Path) -> Metadata:
    """The tags of a raw file by directory; fewer where it is damaged, none where its format is unknown.

    Raises:
        UnreadableError: the file cannot be opened or read at all.
    """
    with guarded_file(path), path.open("rb") as file:
        header = read_header(file)
        found = _from_tiff(file, header) if header is not None else _from_cr3(file) or _from_raf(file)
        return found if found is not None and found.root else _from_exifread(file)


def denoised_by_us(metadata: Metadata, source: Path) -> bool:
    """Whether a capture is an output of this program, whose noise is no longer the camera's.

    Captures of a simulated camera are our writer's too, but say that nothing was applied to them.
    TIFF files that say nothing of it are our renderings. Other programs put their name into Software, and
    leave our history as it is.
    """
    if not text(metadata.root.get(Code.Software)).startswith("rawdenoise"):
        history = metadata.root.get(Code.XMP)
        strength = "" if history is None else last_provenance(history.data).get("Strength", "")
        return strength not in ("", "0")
    applied = metadata.raw.get(Code.NoiseReductionApplied)
    return source.suffix.lower() != ".dng" if applied is None else any(numbers(applied))


def _from_tiff(file: BufferedIOBase, header: TiffHeader) -> Metadata:
    directories = list(_image_directories(file, header))
    if not directories:
        return Metadata()
    root = directories[0].tags
    raw = max((d.tags for d in directories), key=_mosaic_likelihood)
    exif = _pointed(file, header, Code.ExifIFD, root, raw)
    order = header.little_endian
    return Metadata(
        is_dng=Code.DNGVersion in root,
        root=_in_our_order(root, order),
        raw=_in_our_order(raw, order),
        exif=_in_our_order(exif.tags, order),
        gps=_pointed(file, header, Code.GPSInfo, root, raw).tags,
        interop=_pointed(file, header, Code.InteroperabilityIFD, exif.tags).tags,
        maker_note_offset=exif.value_offsets.get(Code.MakerNote),
        extra=_camera_profiles(file, header, root),
        little_endian=header.little_endian,
    )


def _image_directories(file: BufferedIOBase, header: TiffHeader) -> Iterator[Directory]:
    """IFD0, the ones chained to it and all their SubIFDs, each once."""
    waiting, seen = [header.first], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        offset = waiting.pop(0)
        if offset in seen:
            continue
        seen.add(offset)
        directory = read_directory(file, header, offset)
        if directory.tags:
            yield directory
        waiting += offsets(directory.tags.get(Code.SubIFDs))[:_MOST_DIRECTORIES]
        waiting += [directory.following] * bool(directory.following)


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


def _pointed(file: BufferedIOBase, header: TiffHeader, code: int, *parents: Ifd) -> Directory:
    """The directory that a tag of the first parent having it points to; an empty one if there is none."""
    for parent in parents:
        places = offsets(parent.get(code))
        if places:
            return read_directory(file, header, places[0])
    return Directory(NO_TAGS, {}, 0)


def _camera_profiles(file: BufferedIOBase, main: TiffHeader, root: Ifd) -> Mapping[int, tuple[Ifd, ...]]:
    """ExtraCameraProfiles: small TIFF files inside the DNG, with their own byte order and offsets."""
    profiles = []
    for base in offsets(root.get(Code.ExtraCameraProfiles))[:_MOST_DIRECTORIES]:
        header = read_header(file, base, main.budget)
        if header is not None and header.magic == PROFILE:
            tags = read_directory(file, header, header.first).tags
            profiles.append(_in_our_order(tags, header.little_endian))
    return {Code.ExtraCameraProfiles: tuple(profiles)} if profiles else {}


def _in_our_order(tags: Ifd, little_endian: bool) -> Ifd:
    """Turn round the few values of type UNDEFINED that follow the byte order of their file."""
    if little_endian:
        return tags
    turned = dict(tags)
    for code, turn in (
        (_GAIN_TABLE_MAP, _turn_gain_table_map),
        (_EXIF_CFA_PATTERN, _turn_cfa_pattern),
        (_USER_COMMENT, _turn_comment),
    ):
        if code in tags:
            turned[code] = Tag(tags[code].type, tags[code].count, turn(tags[code].data))
    return turned


def _turn_gain_table_map(data: bytes) -> bytes:
    """ProfileGainTableMap, DNG 1.6: 2 counts, 4 doubles, 1 count, then floats."""
    return _turn(data[:8], 4) + _turn(data[8:40], 8) + _turn(data[40:], 4)


def _turn_cfa_pattern(data: bytes) -> bytes:
    """EXIF CFAPattern: 2 counts of 16 bits, then the colours."""
    return _turn(data[:4], 2) + data[4:]


def _turn_comment(data: bytes) -> bytes:
    """EXIF UserComment: 8 bytes naming the encoding, then the text."""
    return data[:8] + _turn(data[8:], 2) if data.startswith(b"UNICODE\0") else data


def _turn(data: bytes, size: int) -> bytes:
    whole = len(data) // size * size
    return np.frombuffer(data[:whole], f">u{size}").byteswap().tobytes() + data[whole:]


def _from_cr3(file: BufferedIOBase) -> Metadata | None:
    """Of a CR3: IFD0, EXIF and GPS, each in a TIFF of its own; its MakerNote, a fourth one, is left out."""
    tiffs = cr3_tiffs(file)
    if not tiffs:
        return None

    def tags(kind: bytes) -> Ifd:
        header = tiffs.get(kind)
        if header is None:
            return NO_TAGS
        return _in_our_order(read_directory(file, header, header.first).tags, header.little_endian)

    return Metadata(root=tags(b"CMT1"), exif=tags(b"CMT2"), gps=tags(b"CMT4"))


def _from_raf(file: BufferedIOBase) -> Metadata | None:
    """Of a RAF: the EXIF of its JPEG preview, and its header's camera where that names none."""
    model, header = raf_model(file), raf_tiff(file)
    found = Metadata() if header is None else _from_tiff(file, header)
    root = dict(found.root)
    if model and not text(root.get(Code.Model)):
        root |= {Code.Make: ascii_tag("FUJIFILM"), Code.Model: ascii_tag(model)}
    # The preview's directories tell nothing of the mosaic, and its MakerNote lay in no TIFF of the raw's own.
    return replace(found, is_dng=False, root=root, raw=NO_TAGS, maker_note_offset=None) if root else None


def _from_exifread(file: BufferedIOBase) -> Metadata:
    """Tags rebuilt from what exifread understands of other containers (JPEG, HEIF, ...)."""
    logging.getLogger("exifread").setLevel(
        logging.CRITICAL
    )  # broken files are no news to the user's terminal
    file.seek(0)
    try:
        found = exifread.process_file(cast(BinaryIO, file), details=False)
    except Exception:  # exifread raises whatever a damaged file provokes; metadata is never worth a failure
        return Metadata()
    directories: dict[str, dict[int, Tag]] = {"Image": {}, "EXIF": {}, "GPS": {}, "Interoperability": {}}
    for name, value in found.items():
        directory = directories.get(name.split(" ")[0])
        tag = _rebuilt(value)
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


def _rebuilt(value: object) -> Tag | None:
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
