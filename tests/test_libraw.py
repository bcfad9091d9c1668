from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import captures
import numpy as np
import pytest
import tifffile
from conftest import make_raw
from PIL import Image

from rawdenoise.capture.packing import pack, unpack
from rawdenoise.capture.raw import NO_TAGS, Area, Cfa, Metadata, Provenance, Tag
from rawdenoise.errors import (
    DirectoryError,
    EmptyFileError,
    LayoutError,
    LinearRawError,
    NotAnImageError,
    NotFoundError,
    RawDenoiseError,
    TruncatedError,
    UnreadableError,
    UnsupportedCompressionError,
)
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.libraw import _orientation, read_libraw
from rawdenoise.formats.metadata.exposure import find_camera_by_signature
from rawdenoise.formats.tiff.reading import LONG, SHORT, numbers_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, write_tree

DECODABLE = {
    "canon-eos-d30.crw": (
        "Canon EOS D30", Cfa.RGGB, (1456, 2224), Area(6, 48, 1454, 2224), 127.0, 4095.0, 100,
    ),
    "canon-kiss-x4-colorchart.dng": (
        "Canon EOS Kiss X4", Cfa.RGGB, (1182, 1888), Area(26, 152, 1182, 1886), 2056.0, 15000.0, None,
    ),
    "kodak-dc50.kdc": (
        "Eastman Kodak Company Kodak Digital Science DC50 Zoom Camera",
        Cfa.GRBG, (512, 768), Area(0, 0, 512, 768), 0.0, 16383.0, 84,
    ),
    "nikon-d1.nef": ("NIKON D1", Cfa.BGGR, (1324, 2012), Area(0, 0, 1324, 2012), 0.0, 4095.0, 200),
    "tiny-10bit.dng": ("unknown camera", Cfa.GBRG, (480, 640), Area(0, 0, 480, 640), 0.0, 1023.0, None),
}  # fmt: skip


@pytest.mark.parametrize("name", DECODABLE)
def test_real_captures_are_read_as_they_are(name: str, shared_data: Path) -> None:
    camera, cfa, shape, active, black, white, iso = DECODABLE[name]
    raw = read_raw(shared_data / "raws" / name)
    assert raw.camera.name == camera
    assert (raw.cfa, raw.mosaic.shape, raw.active) == (cfa, shape, active)
    assert raw.levels.black[0] == black
    assert raw.levels.white == white
    assert raw.exposure.iso == iso
    assert np.array_equal(unpack(pack(raw), like=raw).mosaic, raw.mosaic)


def test_an_unknown_white_balance_is_said_not_guessed(shared_data: Path) -> None:
    raw = read_raw(shared_data / "raws" / "canon-eos-d30.crw")
    assert raw.color.as_shot_neutral is None
    assert raw.color.neutral == raw.color.daylight_neutral
    assert any("white balance unknown: daylight" in note for note in raw.notes)


@pytest.mark.parametrize(
    ("name", "error", "word"),
    [
        ("unsupported-gopro-hero6.gpr", UnsupportedCompressionError, "VC-5"),
        ("unsupported-linearraw.dng", LinearRawError, "linear RGB"),
    ],
)
def test_what_is_no_bayer_mosaic_is_refused_by_name(
    name: str, error: type[RawDenoiseError], word: str, shared_data: Path
) -> None:
    with pytest.raises(error, match=word) as caught:
        read_raw(shared_data / "raws" / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*DECODABLE, "../imx296/burst/image_0__9ee9ba86.dng"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_a_truncated_capture_is_refused(name: str, share: float, shared_data: Path, tmp_path: Path) -> None:
    whole = (shared_data / "raws" / name).read_bytes()
    cut = tmp_path / Path(name).name
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises((UnreadableError, NotAnImageError), match=cut.name):
        read_raw(cut)


def panasonic(path: Path, *, offset: int, length: int, sizes: Mapping[int, Tag] = NO_TAGS) -> Path:
    """The beginning of an RW2: no strip offset, the byte count of unpacked data, where the raw data lies."""
    tags = {
        Code.StripOffsets: numbers_tag(LONG, 0xFFFFFFFF),
        Code.StripByteCounts: numbers_tag(LONG, 10**7),
        280: numbers_tag(LONG, offset),
        **sizes,
    }
    with path.open("wb") as file:
        write_tree(file, Node(tags), magic=0x55)
        file.truncate(length)
    return path


@pytest.mark.parametrize(
    ("packing", "needed"),
    [(4, 3724 * 2754 * 8 // 7), (5, 3724 * 2754 * 16 // 10), (6, 3724 * 2754 * 16 // 14)],
)
def test_a_panasonic_holds_as_many_bytes_as_its_pixels_take(
    packing: int, needed: int, tmp_path: Path
) -> None:
    sizes = {2: numbers_tag(SHORT, 3724), 3: numbers_tag(SHORT, 2754), 45: numbers_tag(SHORT, packing)}
    path = panasonic(tmp_path / "cut.rw2", offset=1024, length=needed + 1000, sizes=sizes)
    with pytest.raises(TruncatedError, match=f"its picture ends at {1024 + needed}"):
        read_libraw(path)
    path = panasonic(tmp_path / "whole.rw2", offset=1024, length=needed + 1025, sizes=sizes)
    with pytest.raises(RawDenoiseError) as refused:  # no camera is named in it
        read_libraw(path)
    assert "its picture ends at" not in str(refused.value)


def test_a_cr2_is_held_against_the_strips_of_its_raw_not_of_its_previews(tmp_path: Path) -> None:
    """Its raw is the fourth directory, and the only one that says how it is sliced."""

    def strip(offset: int, count: int) -> dict[int, Tag]:
        return {Code.StripOffsets: numbers_tag(LONG, offset), Code.StripByteCounts: numbers_tag(LONG, count)}

    preview = {Code.ImageWidth: numbers_tag(LONG, 2000), Code.ImageLength: numbers_tag(LONG, 3000)}
    raw = {**strip(3000, 9000), 50752: numbers_tag(SHORT, 1, 1000, 1000)}
    path = tmp_path / "cut.cr2"
    with path.open("wb") as file:
        tree = Node({**preview, **strip(1000, 500)}, children={Code.SubIFDs: (Node(raw),)})
        write_tree(file, tree)
        file.truncate(11_999)
    with pytest.raises(TruncatedError, match="11999 bytes, but its picture ends at 12000"):
        read_libraw(path)


def test_a_picture_named_as_a_raw_is_called_what_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    color, grey = rng.integers(0, 255, (120, 160, 3), np.uint8), rng.integers(0, 65535, (120, 160), np.uint16)
    Image.fromarray(color).save(tmp_path / "a.nef", "JPEG")
    Image.fromarray(color).save(tmp_path / "headerless.raw", "JPEG")
    Image.fromarray(color).save(tmp_path / "b.cr2", "PNG")
    canon = [(271, "s", 0, "Canon", True), (272, "s", 0, "Canon EOS 5D", True)]
    tifffile.imwrite(tmp_path / "c.dng", grey)  # LibRaw takes it for an RGGB mosaic
    tifffile.imwrite(tmp_path / "d.cr2", color, photometric="rgb", extratags=canon)
    tifffile.imwrite(tmp_path / "e.arw", color, photometric="rgb", compression="zlib")
    (tmp_path / "f.cr3").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    kinds = {"a.nef": "JPEG", "headerless.raw": "JPEG", "b.cr2": "PNG", "f.cr3": "HEIF"}
    for name in (*kinds, "c.dng", "d.cr2", "e.arw"):
        words = f"{name}: is a {kinds.get(name, 'TIFF')} picture, whatever its name says"
        with pytest.raises(NotAnImageError, match=words):
            read_raw(tmp_path / name)


def test_a_quicktake_is_named_by_its_first_bytes(tmp_path: Path) -> None:
    for start, model in ((b"qktk\0\0", "100"), (b"qktn\0\0", "150"), (b"qktn\0\x04", "200"), (b"qkt?", "")):
        (tmp_path / "a.qtk").write_bytes(start + bytes(100))
        expected = ("Apple", f"QuickTake {model}") if model else ("", "")
        assert find_camera_by_signature(tmp_path / "a.qtk") == expected


def test_a_dng_that_is_cut_within_its_tables_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.dng", tmp_path / "cut.dng"
    write_dng(make_raw(48, 64), whole, provenance=Provenance("0", "simulated", 0.0))
    data = whole.read_bytes()
    for length in range(8, min(len(data), 4000), 29):
        cut.write_bytes(data[:length])
        with pytest.raises(TruncatedError):
            read_raw(cut)


def raf_with_last_rows_of(value: int, path: Path) -> Path:
    data = captures.raf()
    tail = np.full(4 * captures.WIDTH, value, "<u2").tobytes()
    path.write_bytes(data[: -len(tail)] + tail)
    return path


def test_a_picture_whose_last_rows_are_blown_out_is_not_truncated(tmp_path: Path) -> None:
    raw = read_raw(raf_with_last_rows_of(4095, tmp_path / "a.raf"))
    assert np.all(raw.mosaic[-4:] == 4095)


@pytest.mark.parametrize("value", [0, 300])
def test_a_picture_whose_last_rows_hold_nothing_is_truncated(value: int, tmp_path: Path) -> None:
    with pytest.raises(TruncatedError, match="last rows of its picture are missing"):
        read_raw(raf_with_last_rows_of(value, tmp_path / "a.raf"))


def test_a_panasonic_that_marks_its_strip_offset_as_unknown_is_not_truncated(tmp_path: Path) -> None:
    whole = panasonic(tmp_path / "whole.rw2", offset=1024, length=4096)
    with pytest.raises(RawDenoiseError) as refused:  # it has no picture; LibRaw is the one to say so
        read_libraw(whole)
    assert "but its picture ends at" not in str(refused.value)
    cut = panasonic(tmp_path / "cut.rw2", offset=1024, length=1000)
    with pytest.raises(TruncatedError, match="1000 bytes, but its picture ends at 1025"):
        read_libraw(cut)


def test_a_strip_without_offset_or_length_says_nothing_of_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.nef"
    tags = {
        Code.StripOffsets: numbers_tag(LONG, 0xFFFFFFFF, 9000),
        Code.StripByteCounts: numbers_tag(LONG, 100, 0),
    }
    with path.open("wb") as file:
        write_tree(file, Node(tags))
    with pytest.raises(RawDenoiseError) as refused:
        read_libraw(path)
    assert "but its picture ends at" not in str(refused.value)


def test_what_is_no_file_or_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="is a directory"):
        read_raw(tmp_path)
    with pytest.raises(NotFoundError, match="no such file"):
        read_raw(tmp_path / "absent.dng")
    (tmp_path / "empty.nef").touch()
    with pytest.raises(EmptyFileError, match="empty"):
        read_raw(tmp_path / "empty.nef")
    (tmp_path / "letter.cr2").write_text("Dear Sir or Madam,\n" * 200)
    with pytest.raises(NotAnImageError, match="is a text"):
        read_raw(tmp_path / "letter.cr2")
    (tmp_path / "noise.cr2").write_bytes(np.random.default_rng(0).bytes(4000))
    with pytest.raises((NotAnImageError, UnreadableError), match=r"noise\.cr2"):
        read_raw(tmp_path / "noise.cr2")
    os.mkfifo(tmp_path / "pipe.dng")
    with pytest.raises(UnreadableError, match="regular file"):
        read_raw(tmp_path / "pipe.dng")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_forbidden_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.dng").write_bytes(b"II*\0")
    (tmp_path / "secret.dng").chmod(0)
    with pytest.raises(UnreadableError, match="Permission"):
        read_raw(tmp_path / "secret.dng")


@pytest.mark.parametrize(("flip", "orientation"), [(0, 1), (3, 3), (5, 8), (6, 6), (90, 1)])
def test_where_no_tag_says_it_libraw_knows_how_a_camera_was_held(flip: int, orientation: int) -> None:
    assert _orientation(Metadata(), flip) == orientation
    stated = Metadata(root={Code.Orientation: numbers_tag(SHORT, 8)})
    assert _orientation(stated, flip) == 8


def test_bare_numbers_are_not_guessed_at(tmp_path: Path) -> None:
    np.zeros((512, 768), "<u2").tofile(tmp_path / "frame.raw")  # a length LibRaw takes for another camera's
    with pytest.raises(LayoutError, match="--cfa"):
        read_raw(tmp_path / "frame.raw")


def test_reading_leaves_the_source_as_it_was(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "capture.dng"
    shutil.copyfile(shared_data / "raws" / "tiny-10bit.dng", source)
    before = (source.read_bytes(), source.stat().st_mtime_ns)
    read_raw(source)
    assert (source.read_bytes(), source.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [source]
