from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import make_raw

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
from rawdenoise.formats.dng import write_dng
from rawdenoise.formats.libraw import read_libraw
from rawdenoise.formats.tags import Code
from rawdenoise.formats.tiff_container import LONG, Node, numbers_tag, write_tree
from rawdenoise.packing import pack, unpack
from rawdenoise.raw import Area, Cfa, Provenance

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


def panasonic(path: Path, *, offset: int, length: int) -> Path:
    """The beginning of an RW2: no strip offset, the byte count of unpacked data, where the raw data lies."""
    tags = {
        Code.StripOffsets: numbers_tag(LONG, 0xFFFFFFFF),
        Code.StripByteCounts: numbers_tag(LONG, 10**7),
        280: numbers_tag(LONG, offset),
    }
    with path.open("wb") as file:
        write_tree(file, Node(tags), magic=0x55)
        file.truncate(length)
    return path


def test_a_dng_that_is_cut_within_its_tables_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.dng", tmp_path / "cut.dng"
    write_dng(make_raw(48, 64), whole, provenance=Provenance("0", "simulated", 0.0))
    data = whole.read_bytes()
    for length in range(8, min(len(data), 4000), 13):
        cut.write_bytes(data[:length])
        with pytest.raises(TruncatedError):
            read_raw(cut)


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
