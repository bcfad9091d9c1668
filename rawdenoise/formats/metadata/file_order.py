"""Numbers inside values that TIFF calls bytes: they follow the byte order of their file, and no reader knows.

DNG 1.7.1 and EXIF 2.32 put whole structures into values of type UNDEFINED. Those that hold numbers in the
order of the file are turned here where that is big-endian, for all that is written is little-endian. Always
big-endian by their own rules, and so left alone: opcode lists, OriginalRawFileData, DNGPrivateData, ICC
profiles, Photoshop's resources, ImageSequenceInfo (52548) and ImageStats (52550).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rawdenoise.capture.raw import Ifd, Tag

_BYTES = (1, 7)  # TIFF's types BYTE and UNDEFINED
_WIDTHS = {3: 2, 4: 4, 8: 2, 9: 4}  # bytes of a SHORT, LONG, SSHORT, SLONG
# XMP, IPTC, Photoshop's resources and ICC profiles are bytes, whatever type a writer has given them.
_ALWAYS_BYTES = (700, 33723, 34377, 34675)
_MAXIMUM_TABLES = 20  # RGBTables: as many as Adobe's SDK reads


def turn_tags(tags: Ifd, little_endian: bool) -> Ifd:
    """The tags of a directory, with the numbers inside their values in little-endian order.

    `tags` are as the container reads them: numbers of numeric types are turned already.
    """
    if little_endian:
        return tags
    turned = dict(tags)
    for code, turn in _STRUCTURES.items():
        if code in tags and tags[code].type in _BYTES:
            turned[code] = Tag(tags[code].type, tags[code].count, turn(_Structure(tags[code].data)))
    for code in _ALWAYS_BYTES:
        if code in tags and tags[code].type in _WIDTHS:
            data = _turn(tags[code].data, _WIDTHS[tags[code].type])
            turned[code] = Tag(tags[code].type, tags[code].count, data)
    return turned


def turn_gps_tags(tags: Ifd, little_endian: bool) -> Ifd:
    """The same for GPS, whose codes mean other things: two texts after the name of their encoding."""
    if little_endian:
        return tags
    texts = {
        code: Tag(tags[code].type, tags[code].count, _text(_Structure(tags[code].data)))
        for code in (27, 28)  # GPSProcessingMethod, GPSAreaInformation
        if code in tags and tags[code].type in _BYTES
    }
    return {**tags, **texts}


class _Structure:
    """A big-endian structure, turned from its beginning to its end; never longer or shorter than it was."""

    def __init__(self, data: bytes) -> None:
        self._rest = data
        self._turned: list[bytes] = []

    def turn(self, size: int, count: int | None = None) -> None:
        """Turn that many numbers of `size` bytes, by default all that are left."""
        length = len(self._rest) if count is None else size * count
        part, self._rest = self._rest[:length], self._rest[length:]
        self._turned.append(_turn(part, size))

    def number(self, size: int) -> int:
        """Turn one whole number and give it; 0 where the structure has ended."""
        value = int.from_bytes(self._rest[:size], "big") if len(self._rest) >= size else 0
        self.turn(size, 1)
        return value

    def keep(self, length: int) -> bytes:
        """Keep that many bytes as they are, and give them."""
        part, self._rest = self._rest[:length], self._rest[length:]
        self._turned.append(part)
        return part

    def keep_text(self) -> None:
        """Keep a text and its closing zero."""
        self.keep(self._rest.find(b"\0") + 1 or len(self._rest))

    def finish(self) -> bytes:
        """All of it; what nothing was said of stays as it is."""
        return b"".join((*self._turned, self._rest))


def _turn(data: bytes, size: int) -> bytes:
    whole = len(data) // size * size
    return np.frombuffer(data[:whole], f">u{size}").byteswap().tobytes() + data[whole:]


def _gain_table_map(value: _Structure) -> bytes:
    """ProfileGainTableMap, DNG 1.6: 2 counts, 4 doubles, 1 count, 5 floats of weights, floats."""
    value.turn(4, 2)
    value.turn(8, 4)
    value.turn(4)
    return value.finish()


def _gain_table_map_2(value: _Structure) -> bytes:
    """ProfileGainTableMap2, DNG 1.7: the same head, the type of the table, 3 floats, the table."""
    value.turn(4, 2)
    value.turn(8, 4)
    value.turn(4, 6)
    kind = value.number(4)  # 0 and 1 are whole numbers of 8 and 16 bits, 2 and 3 floats of 16 and 32
    value.turn(4, 3)
    value.turn((1, 2, 2, 4)[min(kind, 3)])
    return value.finish()


def _illuminant(value: _Structure) -> bytes:
    """IlluminantData, DNG 1.6: xy as two rationals, or a spectrum: a count, then rationals."""
    value.turn(2, 1)
    value.turn(4)
    return value.finish()


def _rgb_tables(value: _Structure) -> bytes:
    """RGBTables, DNG 1.6: count and method, then tables, each with a name and a head of 5 bytes."""
    count = value.number(4)
    value.number(4)
    for _ in range(min(count, _MAXIMUM_TABLES)):
        value.keep(value.number(2))
        head = value.keep(5)
        if len(head) < 5:
            break
        value.turn((1, 2, 4)[min(head[1], 2)], head[0] ** 3 * 3)
    return value.finish()


def _dynamic_range(value: _Structure) -> bytes:
    """ProfileDynamicRange, DNG 1.7: version and range of 16 bits, a float."""
    value.turn(2, 2)
    value.turn(4, 1)
    return value.finish()


def _cfa_pattern(value: _Structure) -> bytes:
    """EXIF CFAPattern: columns and rows of 16 bits, then the colours."""
    value.turn(2, 2)
    return value.finish()


def _response(value: _Structure) -> bytes:
    """EXIF OECF and SpatialFrequencyResponse: columns and rows, a name per column, rationals."""
    columns = value.number(2)
    value.number(2)
    for _ in range(min(columns, 256)):
        value.keep_text()
    value.turn(4)
    return value.finish()


def _device_settings(value: _Structure) -> bytes:
    """EXIF DeviceSettingDescription: columns and rows, then texts in UCS-2."""
    value.turn(2)
    return value.finish()


def _composite_exposures(value: _Structure) -> bytes:
    """EXIF SourceExposureTimesOfCompositeImage: 7 rationals, 2 counts of 16 bits, rationals."""
    value.turn(4, 14)
    value.turn(2, 2)
    value.turn(4)
    return value.finish()


def _text(value: _Structure) -> bytes:
    """A text of EXIF after the 8 bytes that name its encoding: UserComment and two of GPS."""
    if value.keep(8) == b"UNICODE\0":
        value.turn(2)
    return value.finish()


_STRUCTURES: Mapping[int, Callable[[_Structure], bytes]] = {
    34856: _response,  # OECF
    37388: _response,  # SpatialFrequencyResponse, of TIFF/EP
    37510: _text,  # UserComment
    41484: _response,  # SpatialFrequencyResponse
    41730: _cfa_pattern,
    41995: _device_settings,
    42082: _composite_exposures,
    52525: _gain_table_map,
    52533: _illuminant,
    52534: _illuminant,
    52535: _illuminant,
    52543: _rgb_tables,
    52544: _gain_table_map_2,
    52551: _dynamic_range,
}
