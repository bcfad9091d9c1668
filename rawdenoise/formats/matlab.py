"""MATLAB files held against themselves before a library takes memory, opens other files, or trips over them.

Version 5 (MAT-File Format, The MathWorks, 2024) is walked element by element: every size must fit into what
holds it, every type be one that may stand there. Of version 7.3, which is HDF5, only plain arrays are read
that lie in the file itself.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from rawdenoise.errors import NotAnImageError, TruncatedError, UnreadableError

MAXIMUM_ARRAY_BYTES = 1 << 30  # bytes; SIDD's blocks as doubles are 0.63 of it
MAXIMUM_RATIO = 1040  # inflated to deflated: deflate cannot do better than 1032
MAXIMUM_ELEMENTS, MAXIMUM_DEPTH = 200_000, 16
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32"}

_MATRIX, _COMPRESSED, _UINT32, _INT32, _INT8 = 14, 15, 6, 5, 1
_SIZES: Mapping[int, int] = MappingProxyType(
    {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # numeric types to bytes
)
_TEXTS = {1, 2, 3, 4, 5, 6, 16, 17, 18}
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)
_COMPLEX = 0x08


def check_matlab5(path: Path) -> None:
    """Walk a MATLAB file of version 5, compressed variables included.

    Raises:
        TruncatedError: a size does not fit, or a type stands where it must not.
        UnreadableError: larger, deeper or stranger than any file of raw frames or of notes on them.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
        if order is None:
            raise TruncatedError(path, "is damaged: its header names no byte order")
        walk = _Walk(path, order)
        while (left := size - file.tell()) > 0:
            if left < 8:
                raise TruncatedError(path, "is truncated: its last variable is incomplete")
            kind, length = struct.unpack(order + "II", file.read(8))
            if length > left - 8:
                raise TruncatedError(path, "is truncated: its last variable is incomplete")
            if kind == _COMPRESSED:
                walk.walk_variable(_Inflated(path, file, length))
            elif kind == _MATRIX:
                walk.walk_matrix(_Plain(path, file, length), length)
            else:
                raise TruncatedError(path, f"is damaged: an element of type {kind} is no variable")


class _Plain:
    """The bytes of an element as they lie in the file."""

    def __init__(self, path: Path, file: BinaryIO, length: int) -> None:
        self._path, self._file, self._left = path, file, length

    def read(self, size: int) -> bytes:
        self._take(size)
        return self._file.read(size)

    def skip(self, size: int) -> None:
        self._take(size)
        self._file.seek(size, 1)

    def _take(self, size: int) -> None:
        if size > self._left:
            raise TruncatedError(self._path, "is damaged: a part is larger than what holds it")
        self._left -= size


class _Inflated:
    """The bytes of a compressed element, inflated piece by piece."""

    def __init__(self, path: Path, file: BinaryIO, length: int) -> None:
        self._path, self._file, self._left = path, file, length
        self._most = min(MAXIMUM_ARRAY_BYTES + (1 << 20), MAXIMUM_RATIO * length + 1024)
        self._inflate, self._ready = zlib.decompressobj(), b""

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._piece(size - len(data))
            data += piece
        return bytes(data)

    def skip(self, size: int) -> None:
        while size:
            size -= len(self._piece(size))

    def finish(self) -> None:
        """Leave the file after the element."""
        self._file.seek(self._left, 1)

    def _piece(self, most: int) -> bytes:
        """Inflate some bytes, at least one."""
        while True:
            if not self._ready and self._left:
                self._ready = self._file.read(min(self._left, 1 << 16))
                self._left -= len(self._ready)
            try:
                piece = self._inflate.decompress(self._ready, min(most, 1 << 20))
            except zlib.error as error:
                raise TruncatedError(self._path, f"is damaged: {error}") from error
            self._ready = self._inflate.unconsumed_tail
            self._most -= len(piece)
            if self._most < 0:
                raise UnreadableError(self._path, "holds more than any raw frame: it is not read")
            if piece:
                return piece
            if self._inflate.eof or not (self._ready or self._left):
                raise TruncatedError(self._path, "is truncated: a compressed variable ends too early")


class _Walk:
    """Goes through the matrices of one file, whose elements are counted together."""

    def __init__(self, path: Path, order: str) -> None:
        self._path, self._order, self._elements = path, order, 0

    def walk_variable(self, data: _Inflated) -> None:
        """Walk a compressed variable."""
        kind, length = struct.unpack(self._order + "II", data.read(8))
        if kind != _MATRIX:
            raise self.make_error(f"a compressed element of type {kind} is no variable")
        self.walk_matrix(data, length)
        data.finish()

    def walk_matrix(self, data: _Plain | _Inflated, length: int, depth: int = 0) -> None:
        """Walk what is inside a matrix of so many bytes.

        Raises: as `check_matlab5`.
        """
        self._elements += 1
        if self._elements > MAXIMUM_ELEMENTS or depth > MAXIMUM_DEPTH:
            raise UnreadableError(self._path, "holds more, or deeper, structures than notes on raw frames do")
        if not length:
            return  # an empty cell
        inside = _Inside(self, data, length)
        flags = inside.read_small({_UINT32}, 8)
        if len(flags) != 2:
            raise self.make_error("an array without flags")
        kind, complex_ = flags[0] & 0xFF, bool(flags[0] >> 8 & _COMPLEX)
        sides = inside.read_small({_INT32}, 4 * 32)
        if len(sides) < 2 or min(sides) < 0 or 8 * prod(sides) > MAXIMUM_ARRAY_BYTES:
            raise self.make_error(f"an array of size {sides[:8]}")
        inside.read_small({_INT8, 2}, 256)  # the name
        count = prod(sides)
        if kind in _NUMERIC:
            for _ in range(1 + complex_):
                inside.skip_numbers(count)
        elif kind == _CHAR:
            inside.skip_text(count)
        elif kind in (_CELL, _STRUCT):
            fields = self._fields(inside) if kind == _STRUCT else 1
            for _ in range(count * fields):
                inside.walk_nested(depth + 1)
        else:
            raise UnreadableError(self._path, f"holds a variable of MATLAB's class {kind}, which no frame is")
        inside.finish()

    def _fields(self, inside: _Inside) -> int:
        (width,) = inside.read_small({_INT32}, 4) or (0,)
        if not 0 < width <= 4096:
            raise self.make_error(f"field names of {width} letters")
        names = inside.measure_element({_INT8}, 1 << 20)
        if names % width:
            raise self.make_error("field names that end half-way")
        return names // width

    def parse_tag(self, head: bytes) -> tuple[int, int, bool]:
        """Type and length of an element, and whether its data stand in the tag itself."""
        first, second = struct.unpack(self._order + "II", head)
        if first >> 16:
            return first & 0xFFFF, first >> 16, True
        return first, second, False

    def parse_numbers(self, data: bytes, signed: bool) -> tuple[int, ...]:
        """32-bit whole numbers."""
        if len(data) % 4:
            raise self.make_error("whole numbers that end half-way")
        return struct.unpack(f"{self._order}{len(data) // 4}{'i' if signed else 'I'}", data)

    def make_error(self, what: str) -> TruncatedError:
        """Say what is wrong with the file."""
        return TruncatedError(self._path, f"is damaged: {what}")


class _Inside:
    """The elements of one matrix, one after the other."""

    def __init__(self, walk: _Walk, data: _Plain | _Inflated, length: int) -> None:
        self._walk, self._data, self._left = walk, data, length

    def read_small(self, kinds: set[int], most: int) -> tuple[int, ...]:
        """Read an element of a few whole numbers; texts are passed over."""
        kind, data = self._element(kinds, most)
        return self._walk.parse_numbers(data, signed=kind == _INT32) if kind in (_INT32, _UINT32) else ()

    def measure_element(self, kinds: set[int], most: int) -> int:
        """Read an element for its length alone."""
        return len(self._element(kinds, most)[1])

    def skip_numbers(self, count: int) -> None:
        """Pass over an array's numbers, which must be as many as it says."""
        kind, length, within = self._head()
        if kind not in _SIZES or length != count * _SIZES[kind]:
            raise self._walk.make_error(f"{length} bytes of type {kind} for an array of {count} numbers")
        self._pass_over(length, within)

    def skip_text(self, count: int) -> None:
        """Pass over a text's letters."""
        kind, length, within = self._head()
        if kind not in _TEXTS or length > 4 * count:
            raise self._walk.make_error(f"{length} bytes of type {kind} for a text of {count} letters")
        self._pass_over(length, within)

    def walk_nested(self, depth: int) -> None:
        """Walk a matrix inside."""
        kind, length, within = self._head()
        if kind != _MATRIX or within:
            raise self._walk.make_error(f"an element of type {kind} where a matrix should be")
        self._take(length)
        self._walk.walk_matrix(self._data, length, depth)

    def finish(self) -> None:
        """Pass over what is left."""
        self._data.skip(self._left)

    def _head(self) -> tuple[int, int, bool]:
        self._take(8)
        self._tag = self._data.read(8)
        kind, length, within = self._walk.parse_tag(self._tag)
        if within and length > 4:
            raise self._walk.make_error(f"a small element of {length} bytes")
        return kind, length, within

    def _element(self, kinds: set[int], most: int) -> tuple[int, bytes]:
        kind, length, within = self._head()
        if kind not in kinds or length > most:
            raise self._walk.make_error(f"{length} bytes of type {kind} in a variable's header")
        if within:
            return kind, self._tag[4 : 4 + length]
        data = self._data.read(length)
        self._take(length)
        self._pad(length)
        return kind, data

    def _pass_over(self, length: int, within: bool) -> None:
        if not within:
            self._take(length)
            self._data.skip(length)
            self._pad(length)

    def _pad(self, length: int) -> None:
        """Elements begin at multiples of eight bytes; the last one may end where the matrix does."""
        rest = min(-length % 8, self._left)
        self._take(rest)
        self._data.skip(rest)

    def _take(self, size: int) -> None:
        if size > self._left:
            raise self._walk.make_error("a part is larger than the variable that holds it")
        self._left -= size


def check_dataset(path: Path, dataset: Any) -> None:
    """Hold an HDF5 data set (h5py's) against what it takes to read it, before anything of it is read.

    Raises:
        UnreadableError: its values lie in other files or data sets, or need filters that MATLAB does not use.
        NotAnImageError: it holds no numbers, or more than any file of raw frames.
        TruncatedError: it says that it holds far more than is there.
    """
    if dataset.external or dataset.is_virtual:
        raise UnreadableError(path, "keeps its values in other files, which are not opened for it")
    kind, shape = dataset.dtype, dataset.shape
    if kind.kind not in "uif" or not shape:
        raise NotAnImageError(path, f"holds {kind} {shape}, not an array of numbers")
    size = prod(shape) * kind.itemsize
    chunk = prod(dataset.chunks or (1,)) * kind.itemsize
    if max(size, chunk) > MAXIMUM_ARRAY_BYTES:
        raise NotAnImageError(path, f"says it holds {kind} {shape}: more than any file of raw frames")
    plan = dataset.id.get_create_plist()
    foreign = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())} - FILTERS.keys()
    if foreign:
        raise UnreadableError(path, f"is packed by HDF5 filter {min(foreign)}, which MATLAB does not use")
    held = dataset.id.get_storage_size()
    if size > held * (MAXIMUM_RATIO if dataset.chunks else 1):
        raise TruncatedError(path, f"says it holds {size} bytes of pixels, but has {held} bytes of data")
