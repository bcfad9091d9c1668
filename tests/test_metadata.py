from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rawdenoise.errors import UnreadableError
from rawdenoise.formats.metadata import read_metadata
from rawdenoise.formats.tags import Code
from rawdenoise.formats.tiff_container import (
    LONG,
    PROFILE,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Node,
    ascii_tag,
    bytes_tag,
    numbers,
    numbers_tag,
    text,
    write_tree,
)

NOTE = b"a maker note with offsets of its own"


def raw_file() -> bytes:
    """A raw as cameras write it: preview in IFD0, a smaller picture and the mosaic below it, EXIF, GPS."""
    mosaic = Node({254: numbers_tag(LONG, 0), 256: numbers_tag(LONG, 600), 257: numbers_tag(LONG, 400),
                   Code.PhotometricInterpretation: numbers_tag(SHORT, 32803)})  # fmt: skip
    medium = Node({254: numbers_tag(LONG, 1), 256: numbers_tag(LONG, 900), 257: numbers_tag(LONG, 900)})
    interop = Node({1: ascii_tag("R98")})
    exif = Node(
        {Code.ExposureTime: numbers_tag(RATIONAL, 0.004), Code.MakerNote: bytes_tag(NOTE, UNDEFINED)},
        children={Code.InteroperabilityIFD: (interop,)},
        pinned={Code.MakerNote: 1000},
    )
    profile = io.BytesIO()
    write_tree(profile, Node({Code.ProfileName: ascii_tag("Portrait")}), magic=PROFILE)
    root = Node(
        {271: ascii_tag("Maker"), Code.DNGVersion: bytes_tag(bytes((1, 4, 0, 0)))},
        children={
            Code.SubIFDs: (medium, mosaic),
            Code.ExifIFD: (exif,),
            Code.GPSInfo: (Node({0: bytes_tag(b"\2\3\0\0")}),),
        },
        blobs={Code.ExtraCameraProfiles: (profile.getvalue(),)},
    )
    file = io.BytesIO()
    write_tree(file, root)
    return file.getvalue()


def test_every_directory_of_a_raw_is_found(tmp_path: Path) -> None:
    source = tmp_path / "a.dng"
    source.write_bytes(raw_file())
    found = read_metadata(source)
    assert found.is_dng
    assert found.little_endian
    assert text(found.root[271]) == "Maker"
    assert numbers(found.raw[256]) == (600,)
    assert found.exif[Code.MakerNote].data == NOTE
    assert found.maker_note_offset == 1000
    assert found.gps[0].data == b"\2\3\0\0"
    assert text(found.interop[1]) == "R98"
    (profile,) = found.extra[Code.ExtraCameraProfiles]
    assert text(profile[Code.ProfileName]) == "Portrait"


@pytest.mark.parametrize("magic", [b"RO", b"RS", b"U\0"])
def test_tiff_with_another_magic_number_is_read(tmp_path: Path, magic: bytes) -> None:
    source = tmp_path / "a.orf"
    data = bytearray(raw_file())
    data[2:4] = magic
    source.write_bytes(data)
    assert text(read_metadata(source).root[271]) == "Maker"


def test_values_in_the_byte_order_of_a_big_endian_file_are_turned(tmp_path: Path) -> None:
    pattern = struct.pack(">HH4B", 2, 2, 0, 1, 1, 2)
    comment = b"UNICODE\0" + "hé".encode("utf-16-be")
    exif = struct.pack(">HHHII", 2, 37510, UNDEFINED, len(comment), 80) + struct.pack(
        ">HHIII", 41730, UNDEFINED, len(pattern), 100, 0
    )
    data = struct.pack(">2sHIHHHIII", b"MM", 42, 8, 1, Code.ExifIFD, LONG, 1, 30, 0).ljust(30, b"\0") + exif
    source = tmp_path / "a.nef"
    source.write_bytes(data.ljust(80, b"\0") + comment.ljust(20, b"\0") + pattern)
    found = read_metadata(source)
    assert not found.little_endian
    assert found.exif[41730].data == struct.pack("<HH4B", 2, 2, 0, 1, 1, 2)
    assert found.exif[37510].data == b"UNICODE\0" + "hé".encode("utf-16-le")


def test_directories_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    entry = struct.pack("<HHII", Code.SubIFDs, LONG, 1, 8)
    source = tmp_path / "a.dng"
    source.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, 1) + entry + struct.pack("<I", 8))
    assert set(read_metadata(source).root) == {Code.SubIFDs}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=4)), max_size=6),
    st.integers(0, 10**6),
)
def test_damage_is_never_fatal(tmp_path: Path, damage: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(raw_file())
    for at, replacement in damage:
        at %= len(data)
        data[at : at + len(replacement)] = replacement
    source = tmp_path / "damaged.nef"
    source.write_bytes(data[: len(data) - cut % len(data)])
    found = read_metadata(source)
    assert sum(len(tag.data) for tag in {**found.root, **found.raw, **found.exif}.values()) <= 6 * len(data)


@pytest.mark.parametrize(
    "content",
    [b"", b"FUJIFILMCCD-RAW " + bytes(300), b"\0\0\0\x18ftypcrx " + bytes(300), b"\xff\xd8\xff\xe1"],
)
def test_nothing_is_known_of_what_is_no_raw(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "a.raf"
    source.write_bytes(content)
    found = read_metadata(source)
    assert not found.is_dng
    assert not found.root


def test_exif_of_other_containers_comes_through_exifread(tmp_path: Path) -> None:
    exif = Node(
        {Code.ExposureTime: numbers_tag(RATIONAL, 0.004), Code.ISOSpeedRatings: numbers_tag(SHORT, 800)}
    )
    file = io.BytesIO()
    write_tree(
        file,
        Node({Code.Make: ascii_tag("Maker"), Code.Model: ascii_tag("One")}, children={Code.ExifIFD: (exif,)}),
    )
    block = b"Exif\0\0" + file.getvalue()
    source = tmp_path / "a.jpg"
    source.write_bytes(
        b"\xff\xd8\xff\xe1" + struct.pack(">H", len(block) + 2) + block + b"\xff\xda\0\2\xff\xd9"
    )
    found = read_metadata(source)
    assert text(found.root[Code.Make]) == "Maker"
    assert numbers(found.exif[Code.ExposureTime]) == (0.004,)
    assert numbers(found.exif[Code.ISOSpeedRatings]) == (800,)


def test_a_file_that_cannot_be_opened_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="missing"):
        read_metadata(tmp_path / "missing.dng")


def test_real_raws_keep_their_tags(shared_data: Path) -> None:
    nikon = read_metadata(shared_data / "raws" / "nikon-d1.nef")
    assert not nikon.is_dng
    assert not nikon.little_endian
    assert numbers(nikon.raw[256]) == (2012,)
    assert nikon.maker_note_offset == 830
    source = (shared_data / "raws" / "nikon-d1.nef").read_bytes()
    note = nikon.exif[Code.MakerNote].data
    assert source[830 : 830 + len(note)] == note
    twice = read_metadata(shared_data / "raws" / "tiny-10bit.dng")
    assert twice.root[Code.DNGBackwardVersion].data == bytes((1, 2, 0, 0))
    assert len(read_metadata(shared_data / "raws" / "unsupported-gopro-hero6.gpr").gps) == 8
