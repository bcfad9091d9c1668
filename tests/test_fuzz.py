"""Damaged files of every kind end in one of two ways: read, or refused by an error that names them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from conftest import make_raw

from rawdenoise.capture.raw import Cfa, Color, ColorMatrix
from rawdenoise.capture.srgb import SRGB_TO_XYZ
from rawdenoise.errors import (
    NO_MEMORY,
    UNFORESEEN,
    FileError,
    LayoutError,
    ModelFileError,
    NotAnImageError,
    OutOfMemoryError,
    RawDenoiseError,
    TruncatedError,
    UnreadableError,
    guard,
    guard_file,
)
from rawdenoise.formats import read_raw
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.rendering.preview import camera_to_srgb
from rawdenoise.formats.tiff.reading import MAXIMUM_VALUE_BYTES
from rawdenoise.isolation.isolated_reader import IsolatedReader

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
INPUTS = 2000
TAGS_ALONE = ("canon.cr3", "canon.crw", "minolta.mrw", "picture.jpg.nef")  # raws without a picture
LAYOUT = PlainLayout(Cfa.RGGB)


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        from tables import fuzz

        yield fuzz


@pytest.fixture(scope="module")
def isolated() -> Iterator[IsolatedReader]:
    reader = IsolatedReader()
    yield reader
    reader.close()


def test_every_seed_is_read_as_it_is(fuzz: ModuleType, isolated: IsolatedReader, tmp_path: Path) -> None:
    """Of a seed that is refused at once, damage would show nothing."""
    for reader in fuzz.readers(tmp_path, isolated):
        for name, data in reader.seeds.items():
            if not reader.name.startswith("raw: ") or name not in TAGS_ALONE:
                (tmp_path / name).write_bytes(data)
                reader.read(tmp_path / name)


def test_no_damaged_file_ends_otherwise_than_read_or_refused(
    fuzz: ModuleType, isolated: IsolatedReader, tmp_path: Path
) -> None:
    """Nor is one refused by the last guard alone: what only that caught, its reader did not foresee."""
    tallies = dict(fuzz.run(fuzz.readers(tmp_path, isolated), INPUTS, 14, tmp_path))
    assert [line for tally in tallies.values() for line in tally.lines] == []
    assert {name for name, tally in tallies.items() if not tally.counts["read"]} <= {"model file"}
    assert sum(tally.counts.total() for tally in tallies.values()) == INPUTS


@pytest.mark.long
def test_nor_do_twenty_thousand(fuzz: ModuleType, isolated: IsolatedReader, tmp_path: Path) -> None:
    tallies = dict(fuzz.run(fuzz.readers(tmp_path, isolated), 20_000, 15, tmp_path))
    assert [line for tally in tallies.values() for line in tally.lines] == []


# ---------------------------------------------------------------- the guard


def test_the_guard_names_the_file_and_what_nobody_foresaw(tmp_path: Path) -> None:
    with (
        pytest.raises(UnreadableError, match=rf"a\.dng: {UNFORESEEN} \(ValueError: x\)"),
        guard_file(tmp_path / "a.dng"),
    ):
        raise ValueError("x\nand more")


def test_the_guard_lets_our_own_errors_through_and_ctrl_c(tmp_path: Path) -> None:
    for error in (NotAnImageError(tmp_path, "is a text"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as caught, guard_file(tmp_path):
            raise error
        assert caught.value is error


def test_the_guard_says_that_memory_runs_out(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError, match=NO_MEMORY), guard_file(tmp_path):
        raise MemoryError
    with pytest.raises(ModelFileError, match=NO_MEMORY), guard(ModelFileError):
        raise MemoryError


def test_the_guard_tells_a_device_from_a_defect(tmp_path: Path) -> None:
    with (
        pytest.raises(UnreadableError, match="cannot be read \\(Input/output error\\)"),
        guard_file(tmp_path),
    ):
        raise OSError(5, "Input/output error")


# ---------------------------------------------------------------- kinds of damage that once got through


def entry(code: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", code, kind, count, value)


def tiff(*entries: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries) + bytes(4) + data


@pytest.mark.parametrize("code", [330, 34665, 34853, 50933])
@pytest.mark.parametrize(
    ("kind", "value"), [(12, struct.pack("<d", float("nan"))), (5, struct.pack("<II", 1, 0))]
)
def test_pointers_that_are_no_places_are_none(tmp_path: Path, code: int, kind: int, value: bytes) -> None:
    path = tmp_path / "a.dng"
    start = 8 + 2 + 12 * 2 + 4
    path.write_bytes(tiff(entry(271, 2, 4, 0x004B494E), entry(code, kind, 1, start), data=value + bytes(100)))
    assert 271 in read_metadata(path).root


def test_all_directories_share_one_budget(tmp_path: Path) -> None:
    """Each says that one value is nearly the whole file; together they may not be more than that."""
    path, size, count = tmp_path / "a.dng", 4 << 20, 40
    data, at = b"II*\0" + struct.pack("<I", 8), 8
    for number in range(count):
        at += 2 + 12 * 2 + 4
        following = at if number < count - 1 else 0
        data += struct.pack("<H", 2) + entry(271, 2, 4, 0x004B494E) + entry(700, 7, size - 4096, 4096)
        data += struct.pack("<I", following)
    with path.open("wb") as file:
        file.write(data)
        file.truncate(size)
    found = read_metadata(path)
    assert sum(len(tag.data) for tags in (found.root, found.raw) for tag in tags.values()) <= 2 * size
    with pytest.raises(RawDenoiseError):
        read_raw(path)


def test_no_value_is_larger_than_the_budget_however_large_the_file(tmp_path: Path) -> None:
    path, size = tmp_path / "a.dng", MAXIMUM_VALUE_BYTES + (1 << 20)
    with path.open("wb") as file:
        file.write(tiff(entry(271, 2, 4, 0x004B494E), entry(700, 7, size - 4096, 4096)))
        file.truncate(size)
    assert read_metadata(path).root.keys() == {271}


FARTHEST = (1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


@pytest.mark.parametrize("offset", FARTHEST)
def test_a_directory_beyond_what_a_file_can_be_is_refused(
    fuzz: ModuleType, tmp_path: Path, offset: int
) -> None:
    data = bytearray(fuzz.seeds.raws(tmp_path)["big.dng"])
    struct.pack_into("<Q", data, 8, offset)
    (tmp_path / "far.dng").write_bytes(data)
    with pytest.raises(UnreadableError, match="truncated") as caught:
        read_raw(tmp_path / "far.dng")
    assert UNFORESEEN not in str(caught.value)


@pytest.mark.parametrize("offset", FARTHEST)
@pytest.mark.parametrize("count", [0, 3072])
def test_a_strip_beyond_what_a_file_can_be_is_refused(
    fuzz: ModuleType, tmp_path: Path, offset: int, count: int
) -> None:
    data = bytearray(fuzz.seeds.raws(tmp_path)["big.dng"])
    (start,) = struct.unpack_from("<Q", data, 8)
    (entries,) = struct.unpack_from("<Q", data, start)
    for at in range(start + 8, start + 8 + 20 * entries, 20):
        (code,) = struct.unpack_from("<H", data, at)
        if code in (273, 279):
            struct.pack_into("<Q", data, at + 12, offset if code == 273 else count)
    (tmp_path / "far.dng").write_bytes(data)
    with pytest.raises(UnreadableError) as caught:
        read_raw(tmp_path / "far.dng")
    assert UNFORESEEN not in str(caught.value)


@pytest.mark.parametrize("row", [(0.0, 0.0, 0.0), (1.0, -1.0, 0.0), (1e-320, 0.0, 0.0)])
def test_a_matrix_to_which_white_is_black_makes_no_picture_of_nothing(
    row: tuple[float, float, float],
) -> None:
    sound = np.array([[0.9, -0.3, 0.0], [-0.4, 1.2, 0.2], [0.0, 0.1, 0.7]]) @ np.linalg.inv(SRGB_TO_XYZ)
    odd = np.array(row) @ np.linalg.inv(SRGB_TO_XYZ)
    rows = tuple(tuple(map(float, each)) for each in (odd, sound[1], sound[2]))
    assert np.isfinite(camera_to_srgb(Color((ColorMatrix(21, rows),)))).all()


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    ("header", "error", "says"),
    [
        ("{'descr': '<u2', 'fortran_order': False, 'shape': (4, 4", LayoutError, "broken NumPy array"),
        ("(((((((((((((((((((((((", LayoutError, "broken NumPy array"),
        ("{'descr': '<u2', 'fortran_order': False, 'shape': (-4, -4), }", LayoutError, "integers or 0..1"),
        (
            "{'descr': '<u2', 'fortran_order': False, 'shape': (99999999, 99999999), }",
            TruncatedError,
            "before its array",
        ),
        (
            "{'descr': '<u2', 'fortran_order': False, 'shape': (4, 99999999999999999999), }",
            TruncatedError,
            "before its",
        ),
        (
            "{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (2, 2), }",
            LayoutError,
            "integers or 0..1",
        ),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }", LayoutError, "Python objects"),
    ],
)
def test_an_arrays_header_is_held_against_the_file(
    tmp_path: Path, header: str, error: type[FileError], says: str
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(header, bytes(64)))
    with pytest.raises(error, match=says) as caught:
        read_raw(path, layout=LAYOUT)
    assert UNFORESEEN not in str(caught.value)


def test_a_tiff_whose_pixels_are_out_of_proportion_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint16), compression="zlib", rowsperstrip=64)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            struct.pack_into("<HI", data, tags[name].offset + 2, 4, 1)
            struct.pack_into("<I", data, tags[name].offset + 8, 30_000)
    path.write_bytes(data)
    with pytest.raises(TruncatedError, match="claims 30000x30000 pixels"):
        read_raw(path, layout=LAYOUT)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: said.update(black_level=[float("nan")] * 4),
        lambda said: said.update(white_level="1023"),
        lambda said: said["active_area"].update(top=0.5),
        lambda said: said["exposure"].update(iso=[100]),
        lambda said: said["color"].update(as_shot_neutral=[0, 1, 1]),
        lambda said: said.update(orientation=10**400),
        lambda said: said.update(black_delta_rows=[[1], [2, 3]]),
        lambda said: said["camera"].update(owner="me"),
        lambda said: said.pop("color"),
    ],
)
def test_a_layout_is_held_against_its_types(
    tmp_path: Path, spoil: Callable[[dict[str, object]], object]
) -> None:
    from rawdenoise.formats.tiff.mosaic_layout import format_layout

    image = make_raw(8, 12)
    said = json.loads(format_layout(image))
    spoil(said)
    tifffile.imwrite(tmp_path / "a.tif", image.mosaic, description=json.dumps(said), metadata=None)
    with pytest.raises(RawDenoiseError, match=r"does not say how its mosaic is laid out|tells") as caught:
        read_raw(tmp_path / "a.tif")
    assert UNFORESEEN not in str(caught.value)
