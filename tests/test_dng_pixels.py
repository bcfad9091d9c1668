"""The pixels of other writers' DNGs: decoded right whatever LibRaw makes of them, or refused."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import rawpy
from conftest import PATIENCE_S
from hypothesis import given
from hypothesis import strategies as st
from odd_dngs import BYTE, LONG, RATIONAL, SHORT, UNDEFINED, Odd, lossless_jpeg, noisy, rationals, write_odd

from rawdenoise.capture.raw import Area, Cfa, Metadata, Provenance
from rawdenoise.errors import (
    LinearRawError,
    MonochromeError,
    RawDenoiseError,
    TruncatedError,
    UnreadableError,
    UnsupportedCfaError,
    UnsupportedCompressionError,
    UnsupportedRawError,
    XTransError,
)
from rawdenoise.formats import libraw, read_raw
from rawdenoise.formats.dng import pixels as dng_pixels
from rawdenoise.formats.dng.pixels import (
    SecondOpinion,
    UndecodableError,
    decode_mosaic,
    read_block_layout,
    read_jpeg_frame,
)
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.tiff.reading import numbers
from rawdenoise.formats.tiff.tags import Code

PROVENANCE = Provenance("1.2.3", "gr2r", 0.0)
MISREAD = {
    "tiles half as wide": ((96, 128), Odd(7, block=(48, 64))),
    "tiles wider than the picture": ((64, 94), Odd(7, block=(64, 128))),
    "tiles wider, one component": ((64, 94), Odd(7, block=(64, 128), components=1)),
    "several lossless strips": ((96, 96), Odd(7, block=32)),
    "several lossless strips, the last short": ((90, 96), Odd(7, block=32)),
    "four components, a quarter wide": ((64, 256), Odd(7, block=(64, 64), components=4)),
    "strips apart": ((96, 96), Odd(block=32, gap=64)),
    "interleaved rows": ((64, 96), Odd(tags={Code.RowInterleaveFactor: (SHORT, [2])})),
}


def test_the_second_decoder_works_beside_libraw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = threading.Event()
    second_opinion, refuse = libraw.second_opinion, libraw._refuse_no_mosaic

    def tell(path: Path, metadata: Metadata) -> SecondOpinion:
        began.set()
        return second_opinion(path, metadata)

    def decode(path: Path, raw: rawpy.RawPy) -> None:  # what first asks LibRaw for pixels
        assert began.wait(PATIENCE_S)
        refuse(path, raw)

    monkeypatch.setattr(libraw, "second_opinion", tell)
    monkeypatch.setattr(libraw, "_refuse_no_mosaic", decode)
    mosaic = noisy(64, 96)
    assert np.array_equal(read_raw(write_odd(tmp_path / "a.dng", mosaic)).mosaic, mosaic)


@pytest.mark.parametrize("name", MISREAD)
def test_legal_layouts_that_libraw_misreads_are_read_right(name: str, tmp_path: Path) -> None:
    shape, odd = MISREAD[name]
    mosaic = noisy(*shape)
    stored = mosaic
    if Code.RowInterleaveFactor in odd.tags:  # the even rows first, then the odd ones
        stored = np.concatenate([mosaic[0::2], mosaic[1::2]])
    path = write_odd(tmp_path / "odd.dng", stored, odd)
    with rawpy.imread(str(path)) as raw:  # first: where it reads nothing, it shows what memory held
        misread = not np.array_equal(raw.raw_image, mosaic)
    assert np.array_equal(read_raw(path).mosaic, mosaic)
    if not misread:
        pytest.skip("this LibRaw reads it right: it proves nothing")


def test_lossless_jpeg_of_dng_1_0_is_left_to_libraw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writers put 16 bits after differences of 32768, which no standard decoder expects."""
    tags = {50706: (BYTE, [1, 0, 0, 0])}
    path = write_odd(tmp_path / "a.dng", noisy(64, 96), Odd(7, block=(64, 64), tags=tags))
    assert dng_pixels.second_opinion(path, read_metadata(path)).mosaic is None
    half = write_odd(tmp_path / "half.dng", noisy(96, 128), Odd(7, block=(48, 64), tags=tags))
    assert np.array_equal(read_raw(half).mosaic, noisy(96, 128))


SOUND = {
    "one strip": ((60, 96), Odd()),
    "big-endian": ((60, 96), Odd(big_endian=True)),
    "strips in a row": ((60, 96), Odd(block=16)),
    "uncompressed tiles": ((60, 96), Odd(block=(32, 32))),
    "10 bits": ((60, 90), Odd(bits=10, tags={50717: (SHORT, [1023])})),
    "12 bits": ((60, 91), Odd(bits=12)),
    "14 bits": ((60, 90), Odd(bits=14)),
    "one component": ((60, 96), Odd(7, components=1)),
    "predictor 6": ((60, 96), Odd(7, predictor=6)),
    "tiles of 14 bits": ((64, 96), Odd(7, bits=14, block=(32, 32))),
}


@pytest.mark.parametrize("name", SOUND)
def test_both_decoders_give_what_is_stored(name: str, tmp_path: Path) -> None:
    shape, odd = SOUND[name]
    mosaic = noisy(*shape, high=1000 if odd.bits == 10 else 4000)
    path = write_odd(tmp_path / "odd.dng", mosaic, odd)
    assert np.array_equal(read_raw(path).mosaic, mosaic)
    metadata = read_metadata(path)
    blocks = read_block_layout(metadata.raw)
    assert blocks is not None
    assert np.array_equal(decode_mosaic(path, blocks, metadata), mosaic)


@pytest.mark.parametrize("odd", [Odd(bits=8), Odd(7, block=(48, 64))])
def test_a_linearization_table_is_applied_by_either_decoder(odd: Odd, tmp_path: Path) -> None:
    table = (np.arange(256) ** 2 // 16).astype(int)
    stored = noisy(96, 128, low=60, high=255)
    tags = {Code.LinearizationTable: (SHORT, table[:250].tolist())}  # values beyond it are its last
    path = write_odd(tmp_path / "odd.dng", stored, Odd(odd.compression, odd.bits, odd.block, tags=tags))
    raw = read_raw(path)
    assert np.array_equal(raw.mosaic, table[np.minimum(stored, 249)])
    write_dng(raw, tmp_path / "out.dng", provenance=PROVENANCE)
    out = read_raw(tmp_path / "out.dng")
    assert Code.LinearizationTable not in out.metadata.raw
    assert np.array_equal(out.mosaic, raw.mosaic)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("odd", [Odd(), Odd(bits=12), Odd(7, block=(32, 48))])
def test_a_bigtiff_is_read_without_libraw(odd: Odd, big_endian: bool, tmp_path: Path) -> None:
    mosaic = noisy(64, 96)
    tags = {Code.ActiveArea: (LONG, [1, 2, 63, 96])}
    odd = Odd(odd.compression, odd.bits, odd.block, big_endian=big_endian, big_tiff=True, tags=tags)
    raw = read_raw(write_odd(tmp_path / "big.dng", mosaic, odd))
    assert np.array_equal(raw.mosaic, mosaic)
    assert (raw.cfa, raw.active) == (Cfa.GBRG, Area(1, 2, 63, 96))
    assert (raw.levels.black, raw.levels.white, raw.camera.name) == ((256.0,) * 4, 4095.0, "Testmake Odd One")
    assert raw.color.as_shot_neutral == pytest.approx((0.5, 1, 0.65))
    write_dng(raw, tmp_path / "out.dng", provenance=PROVENANCE)
    assert np.array_equal(read_raw(tmp_path / "out.dng").mosaic, mosaic)


def test_our_own_bigtiff_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rawdenoise.formats.dng.writer._MAXIMUM_CLASSIC_BYTES", 1000)
    raw = read_raw(write_odd(tmp_path / "a.dng", noisy(64, 512)))
    write_dng(raw, tmp_path / "big.dng", provenance=PROVENANCE)
    assert (tmp_path / "big.dng").read_bytes()[2:4] == b"\x2b\0"
    assert np.array_equal(read_raw(tmp_path / "big.dng").mosaic, raw.mosaic)


def test_a_bigtiff_that_cannot_be_decoded_is_refused_by_its_reason(tmp_path: Path) -> None:
    path = write_odd(tmp_path / "a.dng", noisy(64, 96), Odd(big_tiff=True, tags={259: (SHORT, [52546])}))
    with pytest.raises(UnsupportedCompressionError, match="BigTIFF with raw data packed by JPEG XL"):
        read_raw(path)
    path = write_odd(tmp_path / "b.tif.nef", noisy(64, 96), Odd(big_tiff=True, tags={50706: None}))
    with pytest.raises(RawDenoiseError, match="BigTIFF, but no DNG"):
        read_raw(path)


def test_decoders_that_disagree_without_a_known_fault_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_odd(tmp_path / "a.dng", noisy(96, 128), Odd(7, block=(48, 64)))
    monkeypatch.setattr(dng_pixels, "libraw_fault", lambda blocks, stream, metadata: "")
    with pytest.raises(UnreadableError, match=r"two decoders .* disagree"):
        read_raw(path)


def test_what_libraw_misreads_and_nothing_else_reads_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise UndecodableError("it is broken")

    path = write_odd(tmp_path / "a.dng", noisy(96, 128), Odd(7, block=(48, 64)))
    monkeypatch.setattr(dng_pixels, "decode_mosaic", broken)
    with pytest.raises(UnreadableError, match="half the picture's width, which LibRaw misreads"):
        read_raw(path)


def test_blocks_are_held_against_their_bytes_before_memory_is_taken(tmp_path: Path) -> None:
    header = bytearray(lossless_jpeg(noisy(32, 32), 1))
    frame = header.index(b"\xff\xc3")
    header[frame + 5 : frame + 9] = struct.pack(">HH", 60000, 60000)
    stream = read_jpeg_frame(bytes(header))
    assert stream is not None
    assert (stream.lossless, stream.height, stream.width, stream.components) == (True, 60000, 60000, 1)
    tags = {322: (LONG, [60000]), 323: (LONG, [60000]), 259: (SHORT, [7])}
    path = write_odd(tmp_path / "bomb.dng", noisy(32, 32), Odd(7, block=(32, 32), components=1, tags=tags))
    path.write_bytes(path.read_bytes().replace(lossless_jpeg(noisy(32, 32), 1), bytes(header)))
    metadata = read_metadata(path)
    blocks = read_block_layout(metadata.raw)
    assert blocks is not None
    assert blocks.rows == 60000
    with pytest.raises(UndecodableError, match="not of the size"):
        decode_mosaic(path, blocks, metadata)


@pytest.mark.parametrize("shape", [(32, 64), (16, 32)])
def test_blocks_of_another_size_than_their_tags_say_are_not_decoded(
    shape: tuple[int, int], tmp_path: Path
) -> None:
    tags = {322: (LONG, [shape[1]]), 323: (LONG, [shape[0]])}
    path = write_odd(tmp_path / "a.dng", noisy(16, 32), Odd(7, block=(32, 32), components=1, tags=tags))
    metadata = read_metadata(path)
    blocks = read_block_layout(metadata.raw)
    assert blocks is not None
    with pytest.raises(UndecodableError, match="not of the size that its tags say"):
        decode_mosaic(path, blocks, metadata)


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reader_of_jpeg_headers(data: bytes) -> None:
    read_jpeg_frame(b"\xff\xd8" + data)


# ---------------------------------------------------------------- what is refused


REFUSED = {
    "float": (
        Odd(tags={339: (SHORT, [3])}), UnsupportedCompressionError, "floating-point",
    ),
    "signed": (Odd(tags={339: (SHORT, [2])}), UnsupportedCompressionError, "signed raw data"),
    "staggered": (Odd(tags={50711: (SHORT, [3])}), UnsupportedCfaError, "CFALayout 3"),
    "monochrome": (
        Odd(tags={262: (SHORT, [34892]), 33421: None, 33422: None}), MonochromeError, "monochrome",
    ),
    "two samples": (Odd(tags={277: (SHORT, [2])}), UnsupportedCfaError, "2 samples for a pixel"),
    "linear": (Odd(tags={262: (SHORT, [34892]), 277: (SHORT, [3])}), LinearRawError, "linear RGB"),
    "white 0": (Odd(tags={50717: (LONG, [0])}), UnsupportedRawError, "black 256, white 0.*no"),
    "white below black": (Odd(tags={50717: (LONG, [200])}), UnsupportedRawError, "nothing is brighter"),
    "black near white": (Odd(tags={50714: (SHORT, [4000])}), UnsupportedRawError, "no range"),
    "one black of many": (
        Odd(tags={50713: (SHORT, [4, 4]), 50714: (SHORT, [256] * 15 + [4090])}),
        UnsupportedRawError, "no range",
    ),
    "white beyond its bits": (
        Odd(bits=12, tags={50717: (LONG, [65535])}), UnsupportedRawError, "12 bits cannot hold",
    ),
    "too few blacks": (
        Odd(tags={50713: (SHORT, [2, 2]), 50714: (SHORT, [64, 64, 64])}), UnsupportedRawError,
        "3 black levels",
    ),
    "a repeat of three": (Odd(tags={50713: (SHORT, [2, 2, 2])}), UnsupportedRawError, "repeat of 2x2x2"),
    "a crop of nothing": (Odd(tags={50720: (RATIONAL, [(0, 0), (0, 0)])}), UnsupportedRawError, "0/0 x 0/0"),
    "a crop of zero": (Odd(tags={50720: (LONG, [0, 0])}), UnsupportedRawError, "DefaultCropSize is 0 x 0"),
    "an area of eight": (Odd(tags={50829: (LONG, [0] * 8)}), UnsupportedRawError, "ActiveArea of 8 numbers"),
    "an empty area": (Odd(tags={50829: (LONG, [9, 9, 9, 9])}), UnsupportedRawError, "empty active area"),
    "quad Bayer": (
        Odd(tags={33421: (SHORT, [4, 4]), 33422: (BYTE, [0, 0, 1, 1] * 2 + [1, 1, 2, 2] * 2)}),
        UnsupportedCfaError, "unusual colour filter array",
    ),
    "X-Trans": (Odd(tags={33421: (SHORT, [6, 6]), 33422: (BYTE, [1] * 36)}), XTransError, "X-Trans"),
    "CMY": (Odd(tags={50710: (BYTE, [3, 4, 5])}), UnsupportedCfaError, "unusual colour filter array"),
    "a tile missing": (
        Odd(7, block=(32, 48), tags={257: (LONG, [128])}), TruncatedError, "4 of 8 tiles",
    ),
    "too few bytes": (Odd(tags={279: (LONG, [1000])}), TruncatedError, "1000 bytes of the 12288"),
    "blocks of blocks": (Odd(tags={50974: (SHORT, [2, 2])}), UnsupportedCompressionError, "SubTileBlockSize"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_dng_that_is_no_sound_mosaic_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    odd, error, words = REFUSED[name]
    path = write_odd(tmp_path / "odd.dng", noisy(64, 96), odd)
    with pytest.raises(error, match=words) as caught:
        read_raw(path)
    assert "odd.dng: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("white", [4095, 4096, 4000, 300])
def test_levels_that_make_sense_pass(white: int, tmp_path: Path) -> None:
    path = write_odd(tmp_path / "a.dng", noisy(64, 96), Odd(bits=12, tags={50717: (LONG, [white])}))
    assert read_raw(path).levels.white == white


def test_a_white_level_is_the_most_its_bits_hold_where_none_is_stated(tmp_path: Path) -> None:
    for odd, white in ((Odd(bits=12, big_tiff=True), 4095), (Odd(big_tiff=True), 65535)):
        tags = {50717: None}
        path = write_odd(tmp_path / "a.dng", noisy(64, 96), Odd(bits=odd.bits, big_tiff=True, tags=tags))
        assert read_raw(path).levels.white == white


@pytest.mark.parametrize("tiles", [4, 20])
def test_few_bytes_that_claim_many_pixels_are_refused(tiles: int, tmp_path: Path) -> None:
    """Tiles that lie in the same place: 1 megapixel of 9 kB, and 26 of 12 kB."""
    tile = np.full((256, 256), 300, np.uint16)
    block, side = lossless_jpeg(tile, 1), 256 * tiles
    size = {256: (LONG, [side]), 257: (LONG, [side]), 325: (LONG, [len(block)] * tiles**2)}
    first = 8  # right behind the header
    odd = Odd(7, 16, (256, 256), components=1, tags={**size, 324: (LONG, [first] * tiles**2)})
    path = write_odd(tmp_path / "a.dng", tile, odd)
    assert path.read_bytes()[first : first + len(block)] == block
    with pytest.raises(
        TruncatedError, match=rf"claims {side}x{side} pixels, more than its \d+ bytes can hold"
    ):
        read_raw(path)


def test_an_even_frame_of_the_least_bits_passes(tmp_path: Path) -> None:
    mosaic = np.full((1024, 1024), 300, np.uint16)
    path = write_odd(tmp_path / "even.dng", mosaic, Odd(7, block=(256, 256)))
    assert path.stat().st_size < mosaic.size / 7  # nearly one bit for a pixel, the least there is
    assert np.array_equal(read_raw(path).mosaic, mosaic)


# ---------------------------------------------------------------- colours


@pytest.mark.parametrize("cfa", list(Cfa))
def test_a_bayer_pattern_said_more_than_once_is_one(cfa: Cfa, tmp_path: Path) -> None:
    colors = ["RGB".index(letter) for letter in cfa.value]
    grid = np.tile(np.reshape(colors, (2, 2)), (2, 2))
    tags = {33421: (SHORT, [4, 4]), 33422: (BYTE, grid.ravel().tolist())}
    raw = read_raw(write_odd(tmp_path / "a.dng", noisy(64, 96), Odd(tags=tags)))
    assert raw.cfa is cfa
    write_dng(raw, tmp_path / "out.dng", provenance=PROVENANCE)
    tags_out = read_metadata(tmp_path / "out.dng").raw
    assert numbers(tags_out[Code.CFARepeatPatternDim]) == (2, 2)
    assert list(numbers(tags_out[Code.CFAPattern])) == colors


@pytest.mark.parametrize("planes", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_planes_in_another_order_are_put_in_that_of_all_readers(
    planes: tuple[int, int, int], tmp_path: Path
) -> None:
    neutral, noise = (0.5, 1.0, 0.65), [(1e-4, 1e-6), (2e-4, 2e-6), (3e-4, 3e-6)]
    matrix = np.array([[9000, -2000, -800], [-4000, 12000, 1500], [-900, 1700, 6000]])
    ordered = {
        50710: (BYTE, list(planes)),
        50728: (RATIONAL, rationals(*(neutral[color] for color in planes))),
        50721: (10, [(int(value), 10000) for color in planes for value in matrix[color]]),
        50964: (10, [(int(value), 10000) for row in matrix for value in row[list(planes)]]),
        51041: (12, [value for color in planes for value in noise[color]]),
    }
    raw = read_raw(write_odd(tmp_path / "a.dng", noisy(64, 96), Odd(tags=ordered)))
    assert raw.cfa is Cfa.RGGB
    assert raw.color.as_shot_neutral == pytest.approx(neutral)
    assert np.allclose(raw.color.matrices[0].matrix, matrix / 10000)
    write_dng(raw, tmp_path / "out.dng", provenance=PROVENANCE)
    out = read_metadata(tmp_path / "out.dng")
    assert numbers(out.raw[Code.CFAPlaneColor]) == (0, 1, 2)
    assert numbers(out.root[50964]) == pytest.approx((matrix / 10000).ravel())
    assert numbers(out.root[Code.NoiseProfile]) == pytest.approx([v for pair in noise for v in pair])
    with rawpy.imread(str(tmp_path / "out.dng")) as libraw:
        assert libraw.color_desc == b"RGBG"
        green = libraw.camera_whitebalance[1]
        assert [value / green for value in libraw.camera_whitebalance[:3]] == pytest.approx(
            [1 / value for value in neutral], rel=1e-3
        )


def test_opcodes_for_planes_in_another_order_are_refused(tmp_path: Path) -> None:
    tags = {50710: (BYTE, [1, 0, 2]), 51022: (UNDEFINED, bytes(4))}
    with pytest.raises(UnsupportedCfaError, match="OpcodeList3"):
        read_raw(write_odd(tmp_path / "a.dng", noisy(64, 96), Odd(tags=tags)))
