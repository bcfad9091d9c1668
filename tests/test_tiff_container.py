from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.capture.raw import Ifd, Tag
from rawdenoise.formats.tiff.reading import (
    ASCII,
    BIG,
    CLASSIC,
    PROFILE,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    ascii_tag,
    bytes_tag,
    numbers,
    numbers_tag,
    read_directory,
    read_header,
    text,
)
from rawdenoise.formats.tiff.writing import Node, Pixels, write_directories, write_tree

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SIZES |= {16: 8, 17: 8, 18: 8, 129: 1}
PARTS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@st.composite
def ifds(draw: Callable[..., object], codes: range = range(1, 300)) -> Ifd:
    tags = {}
    for code in draw(st.sets(st.sampled_from(codes), min_size=1, max_size=8)):
        kind, count = draw(st.sampled_from(sorted(SIZES))), draw(st.integers(1, 9))
        size = SIZES[kind] * count
        tags[code] = Tag(kind, count, draw(st.binary(min_size=size, max_size=size)))
    return tags


def written(node: Node, magic: int = CLASSIC) -> io.BytesIO:
    file = io.BytesIO()
    write_tree(file, node, magic=magic)
    return file


def first_directory(file: io.BytesIO) -> Ifd:
    header = read_header(file)
    assert header is not None
    return read_directory(file, header, header.first).tags


def big_endian_file(tags: Ifd) -> io.BytesIO:
    """A classic TIFF with one directory, written the other way round and by other means."""
    entries, values, free = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for code, tag in sorted(tags.items()):
        size = PARTS.get(tag.type, 1)
        data = b"".join(tag.data[i : i + size][::-1] for i in range(0, len(tag.data), size))
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(">I", free + len(values))
        values += data if len(data) > 4 else b""
        entries += struct.pack(">HHI", code, tag.type, tag.count) + place
    return io.BytesIO(struct.pack(">2sHIH", b"MM", 42, 8, len(tags)) + entries + bytes(4) + values)


@given(ifds(), ifds(), ifds(range(400, 600)), st.sampled_from([CLASSIC, BIG]))
def test_a_tree_reads_back_as_it_was_written(root: Ifd, child: Ifd, grandchild: Ifd, magic: int) -> None:
    file = written(Node(root, children={330: (Node(child, children={700: (Node(grandchild),)}),)}), magic)
    header = read_header(file)
    assert header is not None
    assert header.big is (magic == BIG)
    found = read_directory(file, header, header.first).tags
    assert {code: tag for code, tag in found.items() if code != 330} == root
    below = read_directory(file, header, int(numbers(found[330])[0])).tags
    assert {code: tag for code, tag in below.items() if code != 700} == child
    assert read_directory(file, header, int(numbers(below[700])[0])).tags == grandchild


@given(ifds())
def test_both_byte_orders_give_the_same_tags(tags: Ifd) -> None:
    assert first_directory(big_endian_file(tags)) == tags


@given(ifds(), st.integers(8, 3000), st.binary(min_size=9, max_size=200), st.sampled_from([CLASSIC, BIG]))
def test_a_pinned_value_lies_where_it_is_pinned(tags: Ifd, at: int, note: bytes, magic: int) -> None:
    at += 8
    root = Node({**tags, 37500: bytes_tag(note, UNDEFINED)}, pinned={37500: at}, blobs={900: (b"x" * 99,)})
    root = Node(
        root.tags, pinned=root.pinned, blobs=root.blobs, pixels=Pixels(273, 279, 2, [b"p" * 501, b"q" * 7])
    )
    file = written(root, magic)
    assert file.getvalue()[at : at + len(note)] == note
    found = first_directory(file)
    assert {code: found[code] for code in root.tags if code not in (273, 279)} == {
        code: tag for code, tag in root.tags.items() if code not in (273, 279)
    }
    blob = int(numbers(found[900])[0])
    assert file.getvalue()[blob : blob + 99] == b"x" * 99
    blocks = [
        file.getvalue()[int(offset) : int(offset + count)]
        for offset, count in zip(numbers(found[273]), numbers(found[279]), strict=True)
    ]
    assert blocks == [b"p" * 501, b"q" * 7]


def test_pins_that_overlap_are_refused() -> None:
    tags = {1: bytes_tag(bytes(100)), 2: bytes_tag(bytes(100))}
    with pytest.raises(ValueError, match="pinned"):
        written(Node(tags, pinned={1: 500, 2: 550}))
    with pytest.raises(ValueError, match="pinned"):
        written(Node(tags, pinned={1: 4}))


def test_pixel_blocks_are_written_one_at_a_time() -> None:
    file = io.BytesIO()

    def blocks() -> Iterator[bytes]:
        for size in (1000, 2000, 3000):
            before = len(file.getvalue())
            yield bytes(size)
            assert len(file.getvalue()) >= before + size

    write_tree(file, Node({}, pixels=Pixels(324, 325, 3, blocks())))
    assert numbers(first_directory(file)[325]) == (1000, 2000, 3000)


def test_a_wrong_number_of_pixel_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="2 pixel blocks"):
        written(Node({}, pixels=Pixels(324, 325, 3, [b"a", b"b"])))


def test_directories_can_be_appended_to_a_file() -> None:
    file = written(Node({256: numbers_tag(SHORT, 7)}))
    at = write_directories(file, Node({271: ascii_tag("a long enough text")}), start=len(file.getvalue()))
    header = read_header(file)
    assert header is not None
    assert text(read_directory(file, header, at).tags[271]) == "a long enough text"
    assert numbers(first_directory(file)[256]) == (7,)


def test_a_camera_profile_inside_a_file_counts_from_its_own_start() -> None:
    inner = written(Node({50708: ascii_tag("Camera of the profile")}), PROFILE).getvalue()
    file = io.BytesIO(b"anything before" + inner)
    header = read_header(file, 15)
    assert header is not None
    assert header.magic == PROFILE
    assert text(read_directory(file, header, header.first).tags[50708]) == "Camera of the profile"


def test_entries_are_sorted_and_values_word_aligned() -> None:
    file = written(Node({700: bytes_tag(b"x" * 7), 271: ascii_tag("Maker"), 306: ascii_tag("a date")}))
    header = read_header(file)
    assert header is not None
    directory = read_directory(file, header, header.first)
    assert list(directory.tags) == [271, 306, 700]
    assert all(offset % 2 == 0 for offset in directory.value_offsets.values())


def test_of_a_tag_that_occurs_twice_the_last_one_counts() -> None:
    entry = struct.pack("<HHIHH", 256, SHORT, 1, 5, 0) + struct.pack("<HHIHH", 256, SHORT, 1, 6, 0)
    file = io.BytesIO(struct.pack("<2sHIH", b"II", 42, 8, 2) + entry + bytes(4))
    assert numbers(first_directory(file)[256]) == (6,)


def test_values_that_share_their_bytes_cannot_fill_the_memory() -> None:
    entries = b"".join(struct.pack("<HHII", code, UNDEFINED, 60000, 8) for code in range(1, 5000))
    body = struct.pack("<2sHIH", b"II", 42, 8, 4999) + entries + bytes(4)
    file = io.BytesIO(body + bytes(70000 - len(body)))
    assert sum(len(tag.data) for tag in first_directory(file).values()) <= 70000


@given(st.binary(max_size=400), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]))
def test_any_bytes_give_tags_within_the_file_or_none(noise: bytes, start: bytes) -> None:
    file = io.BytesIO(start + noise)
    header = read_header(file)
    if header is not None:
        for offset in (header.first, 8, len(noise), -1, 2**63):
            directory = read_directory(file, header, offset)
            assert sum(len(tag.data) for tag in directory.tags.values()) <= len(start + noise)


def test_nothing_but_tiff_has_a_header() -> None:
    assert read_header(io.BytesIO(b"")) is None
    assert read_header(io.BytesIO(b"II*")) is None
    assert read_header(io.BytesIO(b"PK\3\4" + bytes(40))) is None
    assert read_header(io.BytesIO(b"II\x99\0" + bytes(40))) is None


@given(st.floats(0, 1e9))
def test_rationals_are_close_to_the_number(value: float) -> None:
    (back,) = numbers(numbers_tag(RATIONAL, value))
    assert back == pytest.approx(value, abs=1e-6, rel=1e-9)


@given(st.floats(-2000, 2000))
def test_signed_rationals_keep_the_sign(value: float) -> None:
    (back,) = numbers(numbers_tag(SRATIONAL, value))
    assert back == pytest.approx(value, abs=1e-6)


def test_numbers_of_texts_and_of_nothing_are_none() -> None:
    assert numbers(None) == ()
    assert numbers(ascii_tag("12")) == ()
    assert text(None) == ""
    assert text(Tag(ASCII, 9, b" Maker \0x")) == "Maker"
