from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rawdenoise.capture.raw import Camera, Exposure, Tag
from rawdenoise.errors import UnreadableError
from rawdenoise.formats.metadata import maker_note
from rawdenoise.formats.metadata.exposure import read_camera, read_exposure
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.tiff.reading import (
    LONG,
    PROFILE,
    RATIONAL,
    SHORT,
    UNDEFINED,
    ascii_tag,
    bytes_tag,
    numbers,
    numbers_tag,
    text,
)
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, write_tree

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


def tiff(tags: dict[int, Tag], exif: dict[int, Tag] | None = None) -> bytes:
    file = io.BytesIO()
    write_tree(file, Node(tags, children={Code.ExifIFD: (Node(exif),)} if exif else {}))
    return file.getvalue()


ROOT = {Code.Make: ascii_tag("Maker"), Code.Model: ascii_tag("One"), Code.DateTime: ascii_tag("later")}
EXIF = {
    Code.ExposureTime: numbers_tag(RATIONAL, 0.004),
    Code.FNumber: numbers_tag(RATIONAL, 5.6),
    Code.ISOSpeedRatings: numbers_tag(SHORT, 65535),
    Code.RecommendedExposureIndex: numbers_tag(LONG, 102400),
    Code.DateTimeOriginal: ascii_tag("2024:05:06 07:08:09"),
    Code.FocalLength: numbers_tag(RATIONAL, 35),
    Code.BodySerialNumber: ascii_tag("0123"),
}
GPS = {1: ascii_tag("N")}


def box(kind: bytes, content: bytes, *, wide: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


def cr3_file(wide: bool = False) -> bytes:
    """A CR3 as Canon's cameras lay it out, without its pictures."""
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + b"".join(
        (
            box(b"CNCV", b"CanonCR3_001/00.09.00/00.00.00"),
            box(b"CMT1", tiff(ROOT)),
            box(b"CMT2", tiff(EXIF)),
            box(b"CMT3", tiff({1: numbers_tag(SHORT, 7), 6: ascii_tag("Canon EOS R5 of some length")})),
            box(b"CMT4", tiff(GPS)),
        )
    )
    movie = box(b"uuid", bytes(16)) + box(b"uuid", canon, wide=wide) + box(b"mvhd", bytes(100))
    return (
        box(b"ftyp", b"crx \0\0\0\1crx isom")
        + box(b"moov", movie, wide=wide)
        + struct.pack(">I4s", 0, b"mdat")
        + b"\0" * 64
    )


def raf_file(
    preview: bytes = tiff(ROOT, {**EXIF, Code.MakerNote: bytes_tag(b"FUJIFILM", UNDEFINED)}),
) -> bytes:
    """The header of a RAF and its JPEG preview, without its picture."""
    block = b"Exif\0\0" + preview
    jpeg = b"\xff\xd8\xff\xe0\0\4ab\xff\xe1" + struct.pack(">H", len(block) + 2) + block + b"\xff\xda\0\2"
    head = b"FUJIFILMCCD-RAW 0201FF179502" + b"X-A1".ljust(32, b"\0")
    return head.ljust(84, b"\0") + struct.pack(">II", 148, len(jpeg)) + bytes(56) + jpeg


@pytest.mark.parametrize("content", [cr3_file(), cr3_file(wide=True), raf_file()])
def test_raws_that_hold_tiffs_keep_their_tags(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "a.raw"
    source.write_bytes(content)
    found = read_metadata(source)
    assert not found.is_dng
    assert ROOT.items() <= found.root.items()
    assert EXIF.items() <= found.exif.items()
    assert not found.raw  # no directory describes the mosaic
    assert found.gps == (GPS if b"crx" in content else {})
    assert read_camera(found, "mode") == Camera("Maker", "One", "0123", "mode")
    assert read_exposure(found) == Exposure(102400, 0.004, 5.6, 35.0, "2024:05:06 07:08:09")


def test_the_maker_note_of_a_raf_can_go_anywhere(tmp_path: Path) -> None:
    source = tmp_path / "a.raf"
    source.write_bytes(raf_file())
    assert maker_note.can_move(read_metadata(source))


def test_a_raf_without_exif_is_known_by_its_header(tmp_path: Path) -> None:
    source = tmp_path / "a.raf"
    source.write_bytes(raf_file(b"no tiff"))
    assert read_camera(read_metadata(source), "").name == "FUJIFILM X-A1"
    assert read_exposure(read_metadata(source)) == Exposure()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([cr3_file(), cr3_file(wide=True), raf_file()]),
    st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=8)), max_size=6),
    st.integers(0, 10**6),
)
def test_damage_of_other_containers_is_never_fatal(
    tmp_path: Path, whole: bytes, damage: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(whole)
    for at, replacement in damage:
        at %= len(data)
        data[at : at + len(replacement)] = replacement
    source = tmp_path / "damaged.cr3"
    source.write_bytes(data[: len(data) - cut % len(data)])
    found = read_metadata(source)
    read_exposure(found)
    assert sum(len(tag.data) for tag in {**found.root, **found.exif}.values()) <= 6 * len(data)


def test_boxes_without_a_size_come_to_an_end(tmp_path: Path) -> None:
    """A wide box of size 0 would be read for ever; a million tiny boxes would take long."""
    start = box(b"ftyp", b"crx \0\0\0\1crx isom")
    source = tmp_path / "a.cr3"
    for rest in (struct.pack(">I4sQ", 1, b"free", 0), box(b"free", b"") * 1000 + cr3_file()[24:]):
        source.write_bytes(start + rest)
        assert not read_metadata(source).root


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
