"""Values whose numbers nobody turns, laid out as DNG 1.7.1 and EXIF 2.32 say, in both byte orders."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.capture.raw import Tag
from rawdenoise.formats.metadata.file_order import turn_gps_tags, turn_tags
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.tiff.reading import BYTE, LONG, SHORT, UNDEFINED

SPECTRUM = (1, 31, *(380, 1, 10, 1), *(number for sample in range(31) for number in (sample, 100)))
RGB_TABLES = [("H3s5B", (3, b"sky", 2, 0, 1, 2, 0), "24B", tuple(range(24))),
              ("H0s5B", (0, b"", 2, 1, 1, 2, 0), "24H", tuple(range(300, 324))),
              ("H4s5B", (4, b"skin", 2, 2, 1, 2, 0), "24f", tuple(0.5 * i for i in range(24)))]  # fmt: skip


def packed(order: str, *parts: object) -> bytes:
    """Formats and their values, one after the other, without any gaps."""
    return b"".join(
        struct.pack(order + code, *values) for code, values in zip(parts[::2], parts[1::2], strict=True)
    )


def gain_table_map_2(order: str, kind: int) -> bytes:
    code = "BHHf"[kind]
    return packed(
        order, "2I", (2, 2), "4d", (0.5, 0.5, 0.1, 0.2), "I", (3,), "5f", (0.1, 0.2, 0.3, 0.4, 0.0),
        "I", (kind,), "3f", (1.5, 0.5, 2.0), f"12{code}", tuple(range(12)),
    )  # fmt: skip


STRUCTURES = {
    "ProfileGainTableMap": (
        52525,
        lambda o: packed(o, "2I4dI5f4f", (2, 2, 0.5, 0.5, 0, 0, 1, *(0.2,) * 5, 1.0, 1.1, 1.2, 1.3)),
    ),
    **{
        f"ProfileGainTableMap2 of type {kind}": (52544, lambda o, kind=kind: gain_table_map_2(o, kind))
        for kind in range(4)
    },
    "IlluminantData1, xy": (52533, lambda o: packed(o, "H", (0,), "4I", (3127, 10000, 3290, 10000))),
    "IlluminantData3, spectrum": (52535, lambda o: packed(o, "H", SPECTRUM[:1], "67I", SPECTRUM[1:])),
    "RGBTables": (
        52543,
        lambda o: packed(o, "2I", (3, 1), *(part for table in RGB_TABLES for part in table)),
    ),
    "ProfileDynamicRange": (52551, lambda o: packed(o, "2Hf", (1, 1, 4.0))),
    "CFAPattern": (41730, lambda o: packed(o, "2H4B", (2, 2, 0, 1, 1, 2))),
    "OECF": (34856, lambda o: packed(o, "2H4s2s", (2, 2, b"log\0", b"v\0"), "8i", tuple(range(-4, 4)))),
    "SpatialFrequencyResponse": (41484, lambda o: packed(o, "2H2s", (1, 1, b"f\0"), "2I", (5, 6))),
    "DeviceSettingDescription": (41995, lambda o: packed(o, "2H", (1, 1)) + "Å\0".encode(UTF16[o])),
    "SourceExposureTimesOfCompositeImage": (
        42082,
        lambda o: packed(o, "14I", tuple(range(14)), "2H", (1, 2), "4I", (1, 30, 1, 60)),
    ),
    "UserComment": (37510, lambda o: b"UNICODE\0" + "hé".encode(UTF16[o])),
    "UserComment, ASCII": (37510, lambda o: b"ASCII\0\0\0hello"),
    "ImageStats": (52550, lambda o: packed(">", "3If", (1, 1, 4, 0.18))),
    "ImageSequenceInfo": (52548, lambda o: b"sequence\0burst\0\0" + packed(">", "2IB", (1, 8, 0))),
    "OpcodeList3": (51022, lambda o: packed(">", "I", (0,))),
    "DNGPrivateData": (50740, lambda o: b"Adobe\0MakN\0\0\0\x08MM\0\0\0\x10ab"),
}
UTF16 = {"<": "utf-16-le", ">": "utf-16-be"}


@pytest.mark.parametrize("name", STRUCTURES)
def test_numbers_inside_a_value_are_turned(name: str) -> None:
    code, layout = STRUCTURES[name]
    for kind in (UNDEFINED, BYTE):
        big, little = (Tag(kind, len(layout(order)), layout(order)) for order in "><")
        assert turn_tags({code: big}, False) == {code: little}
        assert turn_tags({code: little}, True) == {code: little}


def test_texts_of_gps_are_turned() -> None:
    area = {28: Tag(UNDEFINED, 12, b"UNICODE\0" + "hé".encode("utf-16-be"))}
    assert turn_gps_tags(area, False)[28].data == b"UNICODE\0" + "hé".encode("utf-16-le")
    assert turn_gps_tags(area, True) == area


@pytest.mark.parametrize("kind", [BYTE, UNDEFINED, SHORT, LONG])
@pytest.mark.parametrize("code", [700, 33723, 34377, 34675])
def test_bytes_stay_bytes_whatever_their_type(tmp_path: Path, code: int, kind: int) -> None:
    """IPTC has the type LONG in most files, as Photoshop writes it."""
    data = b"\x1c\x02\x05\0\x0bTitle of it"
    size = {SHORT: 2, LONG: 4}.get(kind, 1)
    path = tmp_path / "a.dng"
    entry = struct.pack(">HHII", code, kind, len(data) // size, 26)
    path.write_bytes(struct.pack(">2sHIH", b"MM", 42, 8, 1) + entry + bytes(4) + data)
    assert read_metadata(path).root[code].data == data


@given(st.sampled_from(sorted(STRUCTURES)), st.data())
def test_what_is_cut_or_made_up_keeps_its_length(name: str, data: st.DataObject) -> None:
    code, layout = STRUCTURES[name]
    whole = layout(">")
    value = data.draw(
        st.one_of(st.binary(max_size=200), st.integers(0, len(whole)).map(lambda end: whole[:end]))
    )
    turned = turn_tags({code: Tag(UNDEFINED, len(value), value)}, False)[code]
    assert len(turned.data) == turned.count == len(value)
