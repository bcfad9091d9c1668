"""MATLAB files that would take memory, open other files or crash their libraries are refused before."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import io

from rawdenoise.errors import UNFORESEEN, FileError, NotAnImageError, TruncatedError, UnreadableError
from rawdenoise.formats.matlab import MAXIMUM_ARRAY_BYTES, check_matlab5
from rawdenoise.formats.sidd import read_sidd
from rawdenoise.isolation.isolated_reader import shared_reader

NAME = "0001_001_S6_00100_00060_3200_L.mat"
X = np.random.default_rng(0).random((16, 24)).astype("f4")


def saved(folder: Path, *, packed: bool = False, **variables: object) -> Path:
    path = folder / NAME
    io.savemat(path, variables or {"x": X}, do_compression=packed)
    return path


# ---------------------------------------------------------------- version 5

leaves = (
    st.integers(-5, 5).map(float)
    | st.text(st.characters(codec="ascii", min_codepoint=32), max_size=6)
    | st.just(np.zeros((0, 0)))
    | st.just(np.arange(6).reshape(2, 3).astype("i2"))
    | st.just(np.ones((2, 2, 2), "c16"))
    | st.just(np.array([1, "a"], object))
)
structs = st.recursive(
    leaves,
    lambda inner: st.dictionaries(st.sampled_from(["a", "bc", "Make", "x1"]), inner, min_size=1, max_size=3),
)


@given(structs, st.booleans())
def test_whatever_scipy_writes_is_sound(
    tmp_path_factory: pytest.TempPathFactory, value: object, packed: bool
) -> None:
    check_matlab5(saved(tmp_path_factory.mktemp("sound"), packed=packed, v=value, x=X))


def patched(path: Path, at: int, data: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    path.write_bytes(whole)
    return path


# A plain variable: 128 bytes of header, then tag, flags, size, name and data, each with a tag of eight bytes.
TAG, FLAGS, SIZE, NAME_TAG, DATA = 128, 136, 152, 168, 176


@pytest.mark.parametrize(
    ("at", "data", "says"),
    [
        (DATA, struct.pack("<I", 15), "type 15 for an array"),  # of which scipy dies
        (DATA, struct.pack("<I", 255), "type 255 for an array"),
        (DATA + 4, struct.pack("<I", 4), "4 bytes of type 7 for an array of 384"),
        (SIZE + 8, struct.pack("<ii", -1, 24), "an array of size"),
        (SIZE + 8, struct.pack("<ii", 1 << 30, 1 << 30), "an array of size"),
        (SIZE + 4, struct.pack("<I", 4), "an array of size"),
        (FLAGS + 8, b"\x03", "class 3"),
        (FLAGS + 8, b"\x11", "class 17"),
        (FLAGS + 8, b"\x05", "class 5"),
        (FLAGS, struct.pack("<I", 9), "in a variable's header"),
        (TAG, struct.pack("<I", 3), "is no variable"),
        (TAG + 4, struct.pack("<I", 1 << 20), "its last variable is incomplete"),
        (126, b"XY", "no byte order"),
    ],
)
def test_a_part_that_cannot_be_is_refused(tmp_path: Path, at: int, data: bytes, says: str) -> None:
    path = patched(saved(tmp_path), at, data)
    with pytest.raises(UnreadableError, match=says) as caught:
        read_sidd(path)
    assert UNFORESEEN not in str(caught.value)


def test_a_variable_that_inflates_to_less_than_it_says_is_refused(tmp_path: Path) -> None:
    """What says it is a frame of 67 MP and holds eight: it is walked, and refused before it is held."""
    head = struct.pack("<IIIIIIiiII", 6, 8, 6, 0, 5, 8, 1 << 13, 1 << 13, 0x00010001, ord("x"))
    squeeze = zlib.compressobj(9)
    data = squeeze.compress(struct.pack("<II", 14, 0xFFFFFFFF) + head + struct.pack("<II", 2, 1 << 26))
    data += b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(8)) + squeeze.flush()
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:128] + struct.pack("<II", 15, len(data)) + data)
    with pytest.raises(UnreadableError, match="ends too early"):
        read_sidd(path)


def test_nesting_has_an_end(tmp_path: Path) -> None:
    value: object = 1.0
    for _ in range(40):
        value = {"a": value}
    with pytest.raises(UnreadableError, match="deeper"):
        check_matlab5(saved(tmp_path, v=value))


@given(st.data())
def test_one_changed_byte_is_read_or_refused_and_crashes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = saved(tmp_path_factory.mktemp("changed"))
    patched(
        path,
        data.draw(st.integers(126, path.stat().st_size - 1)),
        data.draw(st.binary(min_size=1, max_size=1)),
    )
    refused = ""
    try:
        assert shared_reader().read(path).mosaic.ndim == 2
    except FileError as error:
        refused = str(error)
    assert UNFORESEEN not in refused
    assert "crashed" not in refused


# ---------------------------------------------------------------- version 7.3


def external(folder: Path, file: h5py.File) -> None:
    secret = folder / "secret.bin"
    secret.write_bytes(bytes(range(256)) * 64)
    file.create_dataset("x", (64, 64), "u2", external=[(str(secret), 0, 64 * 64 * 2)])


def fifo(folder: Path, file: h5py.File) -> None:
    os.mkfifo(folder / "fifo")
    file.create_dataset("x", (64, 64), "u2", external=[(str(folder / "fifo"), 0, 64 * 64 * 2)])


def linked(folder: Path, file: h5py.File) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = X
    file["x"] = h5py.ExternalLink(str(folder / "other.h5"), "x")


def soft(folder: Path, file: h5py.File) -> None:
    file["y"] = X
    file["x"] = h5py.SoftLink("/y")


def virtual(folder: Path, file: h5py.File) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = X
    layout = h5py.VirtualLayout(X.shape, "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", X.shape)
    file.create_virtual_dataset("x", layout)


def huge(folder: Path, file: h5py.File) -> None:
    file.create_dataset("x", (20_000, 20_000), "f8", chunks=(1000, 1000))


def hollow(folder: Path, file: h5py.File) -> None:
    file.create_dataset("x", (4000, 4000), "f4", chunks=(1000, 1000))


def one_chunk(folder: Path, file: h5py.File) -> None:
    file.create_dataset("x", (64, 64), "f4", chunks=(30_000, 20_000), maxshape=(None, None))


def strange(folder: Path, file: h5py.File) -> None:
    file.create_dataset("x", data=X, compression="lzf")


def compound(folder: Path, file: h5py.File) -> None:
    file["x"] = np.zeros((4, 4), [("a", "f4"), ("b", "f4")])


def strings(folder: Path, file: h5py.File) -> None:
    file.create_dataset("x", data=np.array([["a", "b"]], object), dtype=h5py.string_dtype())


def nothing(folder: Path, file: h5py.File) -> None:
    file["x"] = h5py.Empty("f4")


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (external, UnreadableError, "in other files"),
        (fifo, UnreadableError, "in other files"),
        (linked, UnreadableError, "keeps its x elsewhere"),
        (soft, UnreadableError, "keeps its x elsewhere"),
        (virtual, UnreadableError, "in other files"),
        (huge, NotAnImageError, "more than any file of raw frames"),
        (hollow, TruncatedError, "says it holds 64000000 bytes of pixels, but has 0"),
        (one_chunk, NotAnImageError, "more than any file of raw frames"),
        (strange, UnreadableError, "HDF5 filter 32000"),
        (compound, NotAnImageError, "not an array of numbers"),
        (strings, NotAnImageError, "not an array of numbers"),
        (nothing, NotAnImageError, "not an array of numbers"),
    ],
)
def test_what_is_no_plain_array_in_the_file_itself_is_refused_before_it_is_read(
    tmp_path: Path, make: Callable[[Path, h5py.File], None], error: type[FileError], says: str
) -> None:
    path = tmp_path / NAME
    with h5py.File(path, "w") as file:
        make(tmp_path, file)
    assert path.stat().st_size < MAXIMUM_ARRAY_BYTES
    with pytest.raises(error, match=says):
        read_sidd(path)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_every_width_of_fractions_is_read_right(tmp_path: Path, dtype: str) -> None:
    with h5py.File(tmp_path / NAME, "w") as file:
        file["x"] = np.full((64, 64), 0.5, dtype)
    assert set(np.unique(read_sidd(tmp_path / NAME).mosaic)) <= {32767, 32768}
