from __future__ import annotations

import errno
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
import tifffile
from conftest import make_raw, raw_images
from hypothesis import HealthCheck, given, settings

from rawdenoise.capture.raw import (
    Area,
    Camera,
    Cfa,
    Color,
    ColorMatrix,
    Exposure,
    Levels,
    Provenance,
    RawImage,
)
from rawdenoise.errors import DiskFullError, OutputExistsError, VerificationError
from rawdenoise.formats.dng import codes as dng_codes
from rawdenoise.formats.dng import writer as dng_module
from rawdenoise.formats.dng.writer import list_compromises, write_dng
from rawdenoise.formats.libraw import read_libraw
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.tiff.reading import (
    DOUBLE,
    LONG,
    PROFILE,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    ascii_tag,
    bytes_tag,
    numbers,
    numbers_tag,
    text,
)
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, Pixels, write_tree

MATRIX = ((0.7, -0.2, -0.05), (-0.4, 1.2, 0.25), (-0.05, 0.15, 0.6))
PROVENANCE = Provenance("1.2.3", "gr2r", 0.75, "model-7", "sha256:abc", ((2e-4, 3e-6),) * 4)
UNTOUCHED = Provenance("1.2.3", "gr2r", 0.0)


def make_capture(height: int = 300, width: int = 420, **more: Any) -> RawImage:
    """A capture with everything known that a raw file can tell."""
    settings = {
        "color": Color((ColorMatrix(17, MATRIX), ColorMatrix(21, MATRIX)), (0.5, 1.0, 0.625)),
        "camera": Camera("ACME", "ACME One", "SN 5", "420x300"),
        "exposure": Exposure(800, 0.004, 2.8, 35.0, "2024:05:06 07:08:09"),
    }
    return make_raw(height, width, **{**settings, **more})


def red_of(pattern: np.ndarray) -> tuple[int, int]:
    row, column = np.argwhere(pattern == 0)[0]
    return int(row), int(column)


def check_readers(image: RawImage, path: Path) -> None:
    """LibRaw and tifffile find the mosaic, pattern and levels that the image has."""
    with rawpy.imread(str(path)) as raw:
        assert np.array_equal(raw.raw_image, image.mosaic)
        assert red_of(raw.raw_pattern) == image.cfa.red
        sizes, area = raw.sizes, image.active  # LibRaw rounds odd margins up
        assert (sizes.top_margin, sizes.left_margin) == (area.top + area.top % 2, area.left + area.left % 2)
        assert sizes.top_margin + sizes.height == area.bottom
        assert area.right - 1 <= sizes.left_margin + sizes.width <= area.right
        assert raw.white_level == image.levels.white
        row, column = image.cfa.red
        sites = (row, column), (row, 1 - column), (1 - row, column), (1 - row, 1 - column)
        black = np.array(raw.black_level_per_channel, float)[raw.raw_pattern]
        assert [black[site] for site in sites] == pytest.approx(image.levels.black, abs=1)
    with tifffile.TiffFile(path) as tif:
        assert np.array_equal(tif.pages[0].pages[0].asarray(), image.mosaic)


@pytest.mark.parametrize("cfa", list(Cfa))
@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (3, 5, 1, 2), (2, 1, 0, 3)])
def test_readers_find_what_was_written(tmp_path: Path, cfa: Cfa, margins: tuple[int, int, int, int]) -> None:
    image = make_capture(cfa=cfa, margins=margins, black=(500.0, 501.0, 502.0, 503.0))
    write_dng(image, tmp_path / "a.dng", provenance=PROVENANCE)
    check_readers(image, tmp_path / "a.dng")


@pytest.mark.parametrize(
    "size", [(301, 421), (300, 421), (301, 420), (256, 256), (257, 258), (40, 700), (700, 40), (50, 37)]
)
def test_every_size_is_read_back(tmp_path: Path, size: tuple[int, int]) -> None:
    image = make_capture(*size)
    write_dng(image, tmp_path / "a.dng", provenance=PROVENANCE)
    check_readers(image, tmp_path / "a.dng")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw_images(max_side=60))
def test_any_image_survives(tmp_path: Path, image: RawImage) -> None:
    path = tmp_path / "a.dng"
    write_dng(image, path, provenance=PROVENANCE)
    with tifffile.TiffFile(path) as tif:
        assert np.array_equal(tif.pages[0].pages[0].asarray(), image.mosaic)
    tags = read_metadata(path).raw
    red_row, red_column = image.cfa.red
    top, left, bottom, right = numbers(tags[Code.ActiveArea])
    assert 0 <= top - image.active.top <= 1
    assert 0 <= left - image.active.left <= 1
    assert bottom == image.active.bottom
    assert 0 <= image.active.right - right <= 1
    pattern = np.frombuffer(tags[Code.CFAPattern].data, np.uint8).reshape(2, 2)
    assert red_of(pattern) == ((red_row - top) % 2, (red_column - left) % 2)
    black = np.array(numbers(tags[Code.BlackLevel])).reshape(2, 2)
    assert black[red_of(pattern)] == pytest.approx(image.levels.black[0], abs=1e-3)


@pytest.mark.parametrize(("orientation", "flip"), [(1, 0), (3, 3), (6, 6), (8, 5)])
def test_the_orientation_is_a_tag_and_pixels_stay(tmp_path: Path, orientation: int, flip: int) -> None:
    image = make_capture(orientation=orientation)
    write_dng(image, tmp_path / "a.dng", provenance=PROVENANCE)
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        assert raw.sizes.flip == flip
        assert np.array_equal(raw.raw_image, image.mosaic)
    with tifffile.TiffFile(tmp_path / "a.dng") as tif:
        assert tif.pages[0].shape == (300, 420, 3)


def test_white_balance_and_matrix_reach_the_readers(tmp_path: Path) -> None:
    write_dng(make_capture(), tmp_path / "a.dng", provenance=PROVENANCE)
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        balance = np.array(raw.camera_whitebalance[:3])
    assert balance / balance[1] == pytest.approx([2.0, 1.0, 1.6], rel=1e-4)
    root = read_metadata(tmp_path / "a.dng").root
    assert numbers(root[Code.ColorMatrix2]) == pytest.approx(np.ravel(MATRIX))
    assert numbers(root[Code.CalibrationIlluminant1]) == (17,)


def test_the_recipe_is_followed(tmp_path: Path) -> None:
    write_dng(make_capture(black=(512.5, 512.0, 512.0, 512.25)), tmp_path / "a.dng", provenance=PROVENANCE)
    found = read_metadata(tmp_path / "a.dng")
    root, raw = found.root, found.raw
    assert root[Code.DNGVersion].data == bytes((1, 4, 0, 0))
    assert root[Code.DNGBackwardVersion].data == bytes((1, 1, 0, 0))
    assert root[Code.SubIFDs].type == LONG
    assert numbers(root[Code.NewSubfileType]) == (1,)
    assert numbers(raw[Code.NewSubfileType]) == (0,)
    assert numbers(raw[Code.TileWidth]) == numbers(raw[Code.TileLength]) == (256,)
    assert numbers(raw[Code.Compression]) == (7,)
    assert numbers(raw[Code.BitsPerSample]) == (16,)
    assert raw[Code.BlackLevel].type == RATIONAL
    assert numbers(raw[Code.BlackLevel]) == (512.5, 512.0, 512.0, 512.25)
    assert numbers(raw[Code.NoiseReductionApplied]) == (0.75,)
    assert numbers(raw[Code.DefaultCropOrigin]) == (2, 2)
    assert numbers(raw[Code.DefaultCropSize]) == (416, 296)
    assert numbers(root[Code.NoiseProfile]) == (2e-4, 3e-6) * 3
    assert text(root[Code.Software]) == "rawdenoise 1.2.3"
    assert b"<rawdenoise:ModelDigest>sha256:abc<" in root[Code.XMP].data
    assert numbers(found.exif[Code.ISOSpeedRatings]) == (800,)
    assert numbers(found.exif[Code.ExposureTime]) == (0.004,)
    assert text(found.exif[Code.DateTimeOriginal]) == "2024:05:06 07:08:09"


@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (3, 1, 2, 2)])
def test_no_reader_mixes_up_unequal_blacks(tmp_path: Path, margins: tuple[int, int, int, int]) -> None:
    black = (600.0, 1200.0, 1800.0, 2400.0)
    mosaic = np.zeros((64 + margins[0] + margins[2], 80 + margins[1] + margins[3]), np.uint16)
    mosaic[::2, ::2], mosaic[::2, 1::2], mosaic[1::2, ::2], mosaic[1::2, 1::2] = (
        3000 + int(b) for b in black
    )
    write_dng(
        make_capture(64, 80, margins=margins, black=black, mosaic=mosaic),
        tmp_path / "a.dng",
        provenance=PROVENANCE,
    )
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        signal = raw.postprocess(
            user_wb=[1, 1, 1, 1],
            no_auto_scale=True,
            no_auto_bright=True,
            output_color=rawpy.ColorSpace.raw,
            gamma=(1, 1),
            output_bps=16,
            half_size=True,
        )
    assert set(np.unique(signal[:-1, :-1])) == {3000}


def test_black_level_deltas_are_kept(tmp_path: Path) -> None:
    image = make_capture(40, 60)
    rows, columns = np.linspace(-1, 1, 40), np.linspace(0, 2, 60)
    image = replace(image, levels=Levels(image.levels.black, image.levels.white, rows, columns))
    write_dng(image, tmp_path / "a.dng", provenance=PROVENANCE)
    raw = read_metadata(tmp_path / "a.dng").raw
    assert numbers(raw[Code.BlackLevelDeltaV]) == pytest.approx(rows, abs=1e-6)
    assert numbers(raw[Code.BlackLevelDeltaH]) == pytest.approx(columns, abs=1e-6)


def test_deltas_are_those_of_the_rows_and_columns_that_are_left(tmp_path: Path) -> None:
    """With unequal blacks a row and a column of odd margins go, and the last column of an odd width."""
    image = make_capture(40, 62, margins=(3, 5, 0, 0), black=(500.0, 501.0, 502.0, 503.0))
    rows, columns = np.arange(40) / 8, np.arange(62) / 4
    levels = replace(image.levels, black_delta_rows=rows, black_delta_columns=columns)
    write_dng(replace(image, levels=levels), tmp_path / "a.dng", provenance=PROVENANCE)
    raw = read_metadata(tmp_path / "a.dng").raw
    assert numbers(raw[Code.ActiveArea]) == (4, 6, 43, 66)
    assert numbers(raw[Code.BlackLevelDeltaV]) == pytest.approx(rows[1:])
    assert numbers(raw[Code.BlackLevelDeltaH]) == pytest.approx(columns[1:61])


@pytest.mark.parametrize(("white", "written"), [(16382.75, 16383), (16382.25, 16382)])
def test_white_is_the_nearest_whole_number(tmp_path: Path, white: float, written: int) -> None:
    write_dng(make_capture(40, 60, white=white), tmp_path / "a.dng", provenance=PROVENANCE)
    assert numbers(read_metadata(tmp_path / "a.dng").raw[Code.WhiteLevel]) == (written,)


def test_the_preview_shows_the_mosaic_that_is_written(tmp_path: Path) -> None:
    mosaic = np.full((300, 420), 512, np.uint16)
    mosaic[:, 210:] = 12000
    write_dng(make_capture(mosaic=mosaic), tmp_path / "a.dng", provenance=PROVENANCE)
    preview = tifffile.imread(tmp_path / "a.dng", key=0)
    assert preview[:, :200].mean() < 5
    assert preview[:, 220:].mean() > 150


def test_equal_images_are_equal_files(tmp_path: Path) -> None:
    write_dng(make_capture(), tmp_path / "a.dng", provenance=PROVENANCE)
    write_dng(make_capture(), tmp_path / "b.dng", provenance=PROVENANCE)
    assert (tmp_path / "a.dng").read_bytes() == (tmp_path / "b.dng").read_bytes()


# ---------------------------------------------------------------- a DNG as the source

KEPT_ROOT = {
    Code.Make: ascii_tag("ACME"),
    Code.Model: ascii_tag("ACME One"),
    Code.UniqueCameraModel: ascii_tag("ACME One (unique)"),
    Code.ColorMatrix1: numbers_tag(SRATIONAL, *np.ravel(MATRIX).tolist()),
    Code.CalibrationIlluminant1: numbers_tag(SHORT, 21),
    Code.AsShotNeutral: numbers_tag(RATIONAL, 0.5, 1, 0.625),
    Code.BaselineExposure: numbers_tag(SRATIONAL, -0.35),
    Code.Orientation: numbers_tag(SHORT, 6),
    50964: numbers_tag(SRATIONAL, *np.ravel(MATRIX).tolist()),  # ForwardMatrix1
    50740: bytes_tag(b"private data of the maker"),
    51125 - 9999: bytes_tag(b"a tag nobody knows"),
}
KEPT_RAW = {
    Code.CFARepeatPatternDim: numbers_tag(SHORT, 2, 2),
    Code.CFAPattern: bytes_tag(bytes((2, 1, 1, 0))),
    Code.BlackLevelRepeatDim: numbers_tag(SHORT, 2, 2),
    Code.BlackLevel: numbers_tag(RATIONAL, 60.25, 60.5, 60.5, 60.75),
    Code.BlackLevelDeltaV: numbers_tag(SRATIONAL, *np.linspace(0, 0.5, 94).tolist()),
    Code.WhiteLevel: numbers_tag(SHORT, 1023),
    Code.ActiveArea: numbers_tag(SHORT, 3, 4, 97, 132),
    Code.DefaultCropOrigin: numbers_tag(RATIONAL, 8, 6),
    Code.DefaultCropSize: numbers_tag(RATIONAL, 100, 80),
    Code.OpcodeList1: bytes_tag(b"opcodes for the stored pixels", UNDEFINED),
    Code.OpcodeList3: bytes_tag(b"lens corrections", UNDEFINED),
    Code.AntiAliasStrength: numbers_tag(RATIONAL, 1),
}
STALE = {
    Code.RawDataUniqueID: bytes_tag(bytes(16)),
    Code.NewRawImageDigest: bytes_tag(bytes(16)),
    Code.RawImageDigest: bytes_tag(bytes(16)),
    Code.PreviewSettingsDigest: bytes_tag(bytes(16)),
}
SOURCE_XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF '
    b'xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about="uuid:1" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></r:RDF></x:xmpmeta><?xpacket end="w"?>'
)
EXIF = {
    Code.ExposureTime: numbers_tag(RATIONAL, 0.01),
    42036: ascii_tag("ACME 35mm"),
    Code.ExifVersion: bytes_tag(b"0230", UNDEFINED),
}
NOTE = b"a maker note whose offsets count from the start of the file"


def write_source(path: Path, *, one_directory: bool = False) -> np.ndarray:
    """A camera's DNG, uncompressed, with all kinds of tags."""
    mosaic = np.random.default_rng(1).integers(50, 1024, (100, 140)).astype(np.uint16)
    strip = Pixels(273, 279, 1, [mosaic.tobytes()])
    layout = {254: numbers_tag(LONG, 0), 256: numbers_tag(LONG, 140), 257: numbers_tag(LONG, 100)}
    layout |= {
        code: numbers_tag(SHORT, value) for code, value in ((258, 16), (259, 1), (262, 32803), (277, 1))
    }
    profile = io.BytesIO()
    write_tree(profile, Node({Code.ProfileName: ascii_tag("Portrait")}), magic=PROFILE)
    exif = Node(
        {**EXIF, Code.MakerNote: bytes_tag(NOTE, UNDEFINED)},
        children={Code.InteroperabilityIFD: (Node({1: ascii_tag("R98")}),)},
        pinned={Code.MakerNote: 2222},
    )
    tags = {
        **KEPT_ROOT,
        **STALE,
        Code.XMP: bytes_tag(SOURCE_XMP),
        Code.DNGVersion: bytes_tag(bytes((1, 6, 0, 0))),
        Code.DNGBackwardVersion: bytes_tag(bytes((1, 3, 0, 0))),
        Code.NoiseProfile: numbers_tag(DOUBLE, 1e-3, 1e-5),
    }
    links = {Code.ExifIFD: (exif,), Code.GPSInfo: (Node({0: bytes_tag(b"\2\3\0\0"), 1: ascii_tag("N")}),)}
    blobs = {Code.ExtraCameraProfiles: (profile.getvalue(),)}
    if one_directory:
        root = Node({**tags, **KEPT_RAW, **layout}, children=links, blobs=blobs, pixels=strip)
    else:
        links[Code.SubIFDs] = (Node({**KEPT_RAW, **layout}, pixels=strip),)
        root = Node({**tags, 254: numbers_tag(LONG, 1)}, children=links, blobs=blobs)
    with path.open("wb") as file:
        write_tree(file, root)
    return mosaic


@pytest.mark.parametrize("one_directory", [False, True])
def test_a_source_dng_keeps_every_tag(tmp_path: Path, one_directory: bool) -> None:
    mosaic = write_source(tmp_path / "source.dng", one_directory=one_directory)
    before = (tmp_path / "source.dng").read_bytes()
    image = read_libraw(tmp_path / "source.dng")
    assert np.array_equal(image.mosaic, mosaic)
    write_dng(image, tmp_path / "out.dng", provenance=PROVENANCE)
    assert (tmp_path / "source.dng").read_bytes() == before
    found = read_metadata(tmp_path / "out.dng")
    assert {code: found.root.get(code) for code in KEPT_ROOT} == KEPT_ROOT
    assert {code: found.raw.get(code) for code in KEPT_RAW} == KEPT_RAW
    assert {code: found.exif.get(code) for code in EXIF} == EXIF
    assert not STALE.keys() & (found.root.keys() | found.raw.keys())
    assert found.root[Code.DNGVersion].data == bytes((1, 6, 0, 0))
    assert found.root[Code.DNGBackwardVersion].data == bytes((1, 3, 0, 0))
    assert found.gps == image.metadata.gps
    assert found.interop == image.metadata.interop
    assert found.extra == image.metadata.extra
    assert found.exif[Code.MakerNote].data == NOTE
    assert found.maker_note_offset == image.metadata.maker_note_offset == 2222
    with rawpy.imread(str(tmp_path / "out.dng")) as raw:
        assert np.array_equal(raw.raw_image, mosaic)


def test_a_fractional_crop_becomes_whole(tmp_path: Path) -> None:
    write_source(tmp_path / "source.dng")
    image = read_libraw(tmp_path / "source.dng")
    crop = {
        Code.DefaultCropOrigin: numbers_tag(RATIONAL, 8.5, 6),
        Code.DefaultCropSize: numbers_tag(RATIONAL, 100.25, 80),
    }
    image = replace(image, metadata=replace(image.metadata, raw={**image.metadata.raw, **crop}))
    write_dng(image, tmp_path / "out.dng", provenance=PROVENANCE)
    raw = read_metadata(tmp_path / "out.dng").raw
    assert numbers(raw[Code.DefaultCropOrigin]) == (9, 6)  # as it is shown: rounded
    assert numbers(raw[Code.DefaultCropSize]) == (100, 80)


def test_every_tag_of_real_dngs_is_kept(shared_data: Path, tmp_path: Path) -> None:
    changed = {*dng_codes.PIXEL_CODES, *dng_codes.STALE_CODES, *dng_codes.PREVIEW_CODES}
    changed |= {Code.SubIFDs, Code.ExifIFD, Code.Software, Code.DNGVersion, Code.DNGBackwardVersion, Code.XMP}
    for name in (
        "raws/canon-kiss-x4-colorchart.dng",
        "raws/tiny-10bit.dng",
        "imx296/train/image__c21ff2bc.dng",
    ):
        image = read_libraw(shared_data / name)
        write_dng(image, tmp_path / "out.dng", provenance=UNTOUCHED)
        found = read_metadata(tmp_path / "out.dng")
        everything = {**found.root, **found.raw, **found.exif}
        source = {**image.metadata.root, **image.metadata.exif}
        lost = {code for code, tag in source.items() if code not in changed and everything.get(code) != tag}
        assert not lost


# ---------------------------------------------------------------- other raws as the source


def test_a_big_endian_maker_note_moves_to_private_data(shared_data: Path, tmp_path: Path) -> None:
    image = read_libraw(shared_data / "raws" / "nikon-d1.nef")
    write_dng(image, tmp_path / "out.dng", provenance=UNTOUCHED)
    found = read_metadata(tmp_path / "out.dng")
    note = image.metadata.exif[Code.MakerNote].data
    assert Code.MakerNote not in found.exif
    private = found.root[Code.DNGPrivateData].data
    assert private.startswith(
        b"Adobe\0MakN" + (len(note) + 6).to_bytes(4, "big") + b"MM" + (830).to_bytes(4, "big") + note
    )
    assert any("DNGPrivateData" in line for line in list_compromises(image))
    kept = {code: tag for code, tag in image.metadata.exif.items() if code != Code.MakerNote}
    assert {code: found.exif.get(code) for code in kept} == kept


def test_what_a_source_does_not_tell_is_made_up_and_said(shared_data: Path, tmp_path: Path) -> None:
    image = read_libraw(shared_data / "raws" / "tiny-10bit.dng")
    write_dng(image, tmp_path / "out.dng", provenance=UNTOUCHED)
    root = read_metadata(tmp_path / "out.dng").root
    assert {
        Code.Make,
        Code.Model,
        Code.UniqueCameraModel,
        Code.ColorMatrix1,
        Code.AsShotNeutral,
    } <= root.keys()
    said = " ".join((*image.notes, *list_compromises(image)))
    assert "camera unknown" in said
    assert "matrix unknown" in said
    assert "white balance unknown" in said
    assert list_compromises(make_capture()) == ()


# ---------------------------------------------------------------- whole or not at all


def test_an_output_that_does_not_read_back_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = dng_module._encode_tile

    def with_a_wrong_pixel(tile: np.ndarray, rows: int, columns: int) -> bytes:
        broken = tile.copy()
        broken[0, 0] ^= 1
        return encode(broken, rows, columns)

    monkeypatch.setattr(dng_module, "_encode_tile", with_a_wrong_pixel)
    (tmp_path / "a.dng").write_bytes(b"what was there before")
    with pytest.raises(VerificationError, match="mosaic"):
        write_dng(make_capture(), tmp_path / "a.dng", provenance=PROVENANCE)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"what was there before"]


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("active_area", Area(0, 0, 200, 200), "active area"),
        ("active_cfa", Cfa.BGGR, "pattern"),
        ("black_grid", np.ones((2, 2)), "BlackLevel"),
    ],
)
def test_wrong_tags_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, wrong: object, reason: str
) -> None:
    monkeypatch.setattr(dng_module, name, lambda image: wrong)
    with pytest.raises(VerificationError, match=reason):
        write_dng(make_capture(), tmp_path / "a.dng", provenance=PROVENANCE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_: object) -> bytes:
        raise failure

    monkeypatch.setattr(dng_module, "_encode_tile", fail)
    expected = DiskFullError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_dng(make_capture(), tmp_path / "a.dng", provenance=PROVENANCE)
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_there_can_be_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        write_dng(make_capture(), tmp_path / "a.dng", provenance=PROVENANCE, replace=False)
    assert (tmp_path / "a.dng").read_bytes() == b"mine"


def test_a_capture_without_a_camera_s_name_stays_nameless(tmp_path: Path) -> None:
    image = replace(make_capture(), camera=Camera(mode="test"))
    write_dng(image, tmp_path / "out.dng", provenance=UNTOUCHED)
    assert read_metadata(tmp_path / "out.dng").root[Code.UniqueCameraModel].data == b"unknown camera\0"
    again = read_libraw(tmp_path / "out.dng").camera
    assert (again.make, again.model) == ("", "")
