"""Plain mosaics come in as they are, or are refused with the reason."""

from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.capture.packing import pack
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
from rawdenoise.errors import LayoutError, LinearRawError, NotAnImageError, TruncatedError
from rawdenoise.formats import read_raw
from rawdenoise.formats.headerless import PlainLayout, list_possible_sizes, read_plain
from rawdenoise.formats.tiff.mosaic_layout import format_layout
from rawdenoise.formats.tiff.pictures import write_mosaic_tiff

FOURTEEN_BITS = PlainLayout(cfa=Cfa.GBRG, black=600.0, white=16383.0, bits=14, size=(12, 8))
LAYOUT = PlainLayout(cfa=Cfa.RGGB)


def words(seed: int = 0, height: int = 8, width: int = 12, top: int = 16383) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top + 1, (height, width)).astype(np.uint16)


def saved_npy(folder: Path, array: np.ndarray) -> Path:
    path = folder / "mosaic.npy"
    np.save(path, array)
    return path


def saved_raw(folder: Path, array: np.ndarray) -> Path:
    path = folder / "mosaic.raw"
    array.astype("<u2").tofile(path)
    return path


def saved_tiff(folder: Path, array: np.ndarray, **options: object) -> Path:
    path = folder / "mosaic.tif"
    tifffile.imwrite(path, array, **options)
    return path


@given(
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    bits=st.sampled_from([8, 10, 12, 14, 16]),
    cfa=st.sampled_from(Cfa),
    kind=st.sampled_from(["npy", "raw", "tif"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_container_gives_back_the_very_mosaic(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    bits: int,
    cfa: Cfa,
    kind: str,
    seed: int,
) -> None:
    mosaic = words(seed, height, width, 2**bits - 1)
    save = {"npy": saved_npy, "raw": saved_raw, "tif": saved_tiff}[kind]
    path = save(tmp_path_factory.mktemp("plain"), mosaic)
    raw = read_raw(path, layout=PlainLayout(cfa=cfa, bits=bits, size=(width, height)))
    np.testing.assert_array_equal(raw.mosaic, mosaic)
    assert raw.mosaic.dtype == np.uint16
    assert raw.cfa is cfa
    assert raw.active == Area(0, 0, height, width)
    assert raw.levels == Levels((0.0,) * 4, 2.0**bits - 1)
    assert raw.camera == Camera(mode=f"{width}x{height} {bits}-bit")


def test_black_per_plane_is_taken_in_plane_order(tmp_path: Path) -> None:
    layout = replace(FOURTEEN_BITS, black=(600.0, 601.0, 602.0, 603.0))
    assert read_plain(saved_npy(tmp_path, words()), layout).levels.black == (600.0, 601.0, 602.0, 603.0)


@pytest.mark.parametrize("dtype", [">u2", "<i4", "u1", "i8"])
def test_integers_of_any_kind_are_taken(tmp_path: Path, dtype: str) -> None:
    array = words(top=255).astype(dtype)
    raw = read_plain(saved_npy(tmp_path, np.asfortranarray(array)), FOURTEEN_BITS)
    np.testing.assert_array_equal(raw.mosaic, array.astype(np.uint16))
    assert raw.mosaic.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_fractions_are_kept_on_sixteen_bits(tmp_path: Path, dtype: str) -> None:
    array = np.random.default_rng(0).random((8, 12)).astype(dtype)
    raw = read_plain(saved_npy(tmp_path, array), PlainLayout(cfa=Cfa.RGGB, black=0.0625, white=0.9375))
    assert np.abs(raw.mosaic / 65535 - array.astype(np.float64)).max() <= 0.5001 / 65535
    assert raw.levels.black == pytest.approx((0.0625 * 65535,) * 4)
    assert raw.levels.white == pytest.approx(0.9375 * 65535)


def test_pixels_above_white_are_told(tmp_path: Path) -> None:
    array = np.full((10, 10), 900, np.uint16)
    array[0, :3] = 1000
    raw = read_plain(saved_npy(tmp_path, array), PlainLayout(cfa=Cfa.RGGB, white=950.0, bits=10))
    assert raw.notes == ("3 pixels (3 %) are above white 950 and count as saturated",)


def test_nothing_is_told_where_nothing_is_above_white(tmp_path: Path) -> None:
    assert read_plain(saved_npy(tmp_path, words()), FOURTEEN_BITS).notes == ()


@pytest.mark.parametrize(
    ("array", "layout", "says"),
    [
        (words(), None, "give at least --cfa"),
        (words(top=20000), replace(FOURTEEN_BITS, white=None), "more than 14 bits can"),
        (words().astype(np.int32) - 5000, FOURTEEN_BITS, "negative values"),
        (words()[None], FOURTEEN_BITS, "two dimensions"),
        (words(height=1), FOURTEEN_BITS, "two dimensions"),
        (words(), replace(FOURTEEN_BITS, size=(8, 12)), "holds 12x8 pixels, not 8x12"),
        (words(), replace(FOURTEEN_BITS, black=17000.0), "below white"),
        (words(), replace(FOURTEEN_BITS, white=20000.0), "more than 14 bits can hold"),
        (words(), replace(FOURTEEN_BITS, bits=17), "1 to 16 bits"),
        (words(), replace(FOURTEEN_BITS, size=(0, 8)), "at least 2 x 2"),
        (words() * 1.0, FOURTEEN_BITS, "not within 0 to 1"),
        (np.full((4, 4), np.nan), PlainLayout(cfa=Cfa.RGGB), "not within 0 to 1"),
        (np.full((4, 4), 0.5), PlainLayout(cfa=Cfa.RGGB, white=4095.0, bits=12), "on that scale too"),
        (words().astype(np.complex64), FOURTEEN_BITS, "not complex64"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, array: np.ndarray, layout: PlainLayout | None, says: str
) -> None:
    path = saved_npy(tmp_path, array)
    with pytest.raises(LayoutError, match=says) as caught:
        read_plain(path, layout)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mosaic.npy"
    np.save(path, np.array([[print, 1]], dtype=object), allow_pickle=True)
    with pytest.raises(LayoutError, match="Python objects"):
        read_plain(path, FOURTEEN_BITS)


def test_foreign_and_cut_arrays_are_refused(tmp_path: Path) -> None:
    path = saved_npy(tmp_path, words())
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(TruncatedError, match="truncated"):
        read_plain(path, FOURTEEN_BITS)
    path.write_bytes(whole[:20])
    with pytest.raises((TruncatedError, LayoutError)):
        read_plain(path, FOURTEEN_BITS)
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(NotAnImageError, match="not a NumPy array"):
        read_plain(path, FOURTEEN_BITS)


def test_headerless_without_a_size_proposes_some(tmp_path: Path) -> None:
    path = saved_raw(tmp_path, words(height=512, width=768))
    with pytest.raises(LayoutError, match="has no header: give --size WIDTHxHEIGHT; it would hold 768x512"):
        read_plain(path, replace(FOURTEEN_BITS, size=None))


def test_headerless_of_another_length_is_refused_with_sizes(tmp_path: Path) -> None:
    path = saved_raw(tmp_path, words(height=512, width=768))
    with pytest.raises(
        LayoutError, match=r"786432 bytes long; 768x511 .* take 784896; it would hold 768x512"
    ):
        read_plain(path, replace(FOURTEEN_BITS, size=(768, 511)))


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_packed_files_are_recognised(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "packed.raw"
    path.write_bytes(bytes(16 * 16 * bits // 8))
    with pytest.raises(LayoutError, match=f"packed {bits}-bit"):
        read_plain(path, replace(FOURTEEN_BITS, size=(16, 16)))


@given(width=st.integers(1, 60).map(lambda n: 2 * n), height=st.integers(1, 60).map(lambda n: 2 * n))
def test_proposed_sizes_fit(width: int, height: int) -> None:
    for proposed in list_possible_sizes(width * height):
        assert proposed[0] * proposed[1] == width * height
        assert proposed[0] % 2 == proposed[1] % 2 == 0


def test_likely_sizes_come_first() -> None:
    assert list_possible_sizes(6000 * 4000)[0] == (6000, 4000)
    assert list_possible_sizes(4032 * 3024)[0] == (4032, 3024)
    assert list_possible_sizes(1920 * 1080)[0] == (1920, 1080)


PROVENANCE = Provenance(version="1", method="gr2r", strength=1.0)


def described(mosaic: np.ndarray) -> RawImage:
    return RawImage(
        mosaic=mosaic,
        cfa=Cfa.BGGR,
        active=Area(1, 2, 7, 11),
        levels=Levels((60.0, 60.5, 61.0, 60.0), 4095.0, np.arange(6.0), None),
        source=Path("elsewhere.dng"),
        camera=Camera("Test", "Test One", mode="9x6 12-bit"),
        exposure=Exposure(iso=800),
        color=Color((ColorMatrix(21, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))),), (0.5, 1.0, 0.7)),
        orientation=6,
    )


def test_our_own_mosaic_tiff_says_its_layout(tmp_path: Path) -> None:
    image, path = described(words(top=4095)), tmp_path / "ours.mosaic.tif"
    write_mosaic_tiff(image, path, provenance=PROVENANCE)
    again = read_raw(path)
    np.testing.assert_array_equal(again.mosaic, image.mosaic)
    assert (again.cfa, again.active, again.camera, again.color) == (
        image.cfa,
        image.active,
        image.camera,
        image.color,
    )
    assert (again.exposure, again.orientation, again.source) == (image.exposure, 6, path)
    np.testing.assert_array_equal(pack(again), pack(image))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"active": Area(0, 0, 9, 12)}, "active area"),
        ({"active": Area(-2, 0, 8, 12)}, "active area"),
        ({"levels": Levels((60.0,) * 4, 50.0)}, "levels"),
        ({"levels": Levels((60.0,) * 4, 4095.0, None, np.arange(3.0))}, "per row or column"),
    ],
)
def test_a_mosaic_tiff_that_lies_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    image = replace(described(words(top=4095)), **change)
    path = saved_tiff(tmp_path, image.mosaic, description=format_layout(image), metadata=None)
    with pytest.raises(LayoutError, match=says):
        read_plain(path, None)


def test_tiffs_that_are_no_mosaic_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="give at least --cfa"):
        read_plain(saved_tiff(tmp_path, words()), None)
    colours = np.zeros((8, 12, 3), np.uint16)
    with pytest.raises(LinearRawError, match="finished picture"):
        read_plain(saved_tiff(tmp_path, colours, photometric="rgb"), FOURTEEN_BITS)
    with pytest.raises(LayoutError, match="3 pages"):
        read_plain(
            saved_tiff(tmp_path, np.zeros((3, 8, 12), np.uint16), photometric="minisblack"), FOURTEEN_BITS
        )
    path = tmp_path / "text.tif"
    path.write_text("not a TIFF at all")
    with pytest.raises(NotAnImageError, match="not a readable TIFF"):
        read_plain(path, FOURTEEN_BITS)


def test_a_cut_tiff_is_refused(tmp_path: Path) -> None:
    path = saved_tiff(tmp_path, words(height=200, width=300), compression="zlib")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((TruncatedError, NotAnImageError)):
        read_plain(path, replace(FOURTEEN_BITS, size=None))


def test_four_orders_of_one_scene_come_out_alike(shared_data: Path) -> None:
    """One scene sampled in the four orders: the packed planes agree but for the half-pixel shifts."""
    means = []
    for cfa in Cfa:
        path = shared_data / "raws" / "four-cfa" / f"DSC_1339_768x512_{cfa.value.lower()}.raw"
        layout = PlainLayout(cfa=cfa, black=600.0, white=16383.0, bits=14, size=(768, 512))
        means.append(pack(read_raw(path, layout=layout)).mean(axis=(1, 2)))
    spread = np.ptp(np.stack(means), axis=0) / np.mean(means, axis=0)
    assert spread.max() < 0.01


def test_an_array_whose_header_is_no_python_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (8, 8, }".ljust(118) + b"\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + bytes(128))
    with pytest.raises(LayoutError, match="broken NumPy array"):
        read_plain(path, LAYOUT)


def test_an_array_of_more_pixels_than_bytes_is_refused(tmp_path: Path) -> None:
    path = saved_npy(tmp_path, np.zeros((4, 4), np.uint16))
    path.write_bytes(path.read_bytes().replace(b"(4, 4)", b"(90000, 90000)").replace(b" " * 8, b"", 1))
    with pytest.raises(TruncatedError, match="truncated"):
        read_plain(path, LAYOUT)


def claiming(path: Path, width: int, height: int) -> Path:
    """A TIFF of one compressed strip that says it is as large as this."""
    tifffile.imwrite(path, np.zeros((64, 64), np.uint16), compression="zlib", rowsperstrip=64, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages.first.tags
        tags["ImageWidth"].overwrite(width, dtype="I")
        tags["ImageLength"].overwrite(height, dtype="I")
        tags["RowsPerStrip"].overwrite(height, dtype="I")
    return path


def test_a_tiff_out_of_proportion_to_its_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TruncatedError, match="claims 30000x30000 pixels, more than its"):
        read_plain(claiming(tmp_path / "a.tif", 30_000, 30_000), LAYOUT)


def test_a_tiff_that_lacks_parts_of_its_picture_is_refused(tmp_path: Path) -> None:
    """Else tifffile fills them with zeros."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, words(), rowsperstrip=4, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        counts = tiff.pages.first.tags["StripByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(TruncatedError, match="parts of its picture are not in the file"):
        read_plain(path, LAYOUT)


@pytest.mark.parametrize("compression", ["zlib", "lzw", None])
def test_an_even_picture_packed_as_tightly_as_can_be_is_read(compression: str | None, tmp_path: Path) -> None:
    path, even = tmp_path / "a.tif", np.full((4000, 4000), 64, np.uint16)
    tifffile.imwrite(path, even, compression=compression, rowsperstrip=4000, metadata=None)
    assert np.array_equal(read_plain(path, LAYOUT).mosaic, even)


def can_pack_bits() -> bool:
    """Whether this imagecodecs writes values that share bytes; what reads them is ours."""
    try:
        imagecodecs.packints_encode(np.zeros(8, np.uint16), 10)
    except NotImplementedError:
        return False
    return True


packs_bits = pytest.mark.skipif(
    not can_pack_bits(), reason="this imagecodecs writes no values that share bytes"
)


@packs_bits
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_an_uncompressed_picture_whose_values_share_bytes_is_read(bits: int, tmp_path: Path) -> None:
    mosaic = words(height=64, width=98, top=2**bits - 1)
    path = saved_tiff(tmp_path, mosaic, bitspersample=bits, rowsperstrip=16, metadata=None)
    assert path.stat().st_size < mosaic.nbytes
    assert np.array_equal(read_plain(path, replace(LAYOUT, bits=bits)).mosaic, mosaic)


@packs_bits
def test_an_uncompressed_picture_of_more_pixels_than_bytes_is_refused(tmp_path: Path) -> None:
    path = saved_tiff(tmp_path, words(top=4095), bitspersample=12, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        counts = tiff.pages.first.tags["StripByteCounts"]
        counts.overwrite(counts.value[0] - 1)
    with pytest.raises(TruncatedError, match="claims 12x8 pixels, more than its 143 bytes"):
        read_plain(path, LAYOUT)


def test_black_next_to_white_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="so near to white"):
        read_plain(saved_npy(tmp_path, words()), PlainLayout(cfa=Cfa.RGGB, black=1020, white=1023, bits=10))
