"""Plain mosaics of people with their own sensors: arrays, headerless files and one-page TIFFs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from jaxtyping import Float32, Shaped, UInt16

from rawdenoise.capture.raw import Area, Camera, Cfa, Levels, RawImage
from rawdenoise.errors import LayoutError, LinearRawError, NotAnImageError, RawDenoiseError, TruncatedError
from rawdenoise.formats.refusals import MINIMUM_RANGE
from rawdenoise.formats.tiff.mosaic_layout import parse_layout

FULL_SCALE = 65535
NPY_MAGIC = b"\x93NUMPY"
COMMON_ASPECTS = (3 / 2, 4 / 3, 16 / 9, 5 / 4)
MAXIMUM_PACKING = 1500  # bytes from one: deflate makes 1032 at most of a flat picture, LZW some 1300
MAXIMUM_UNCHECKED_BYTES = 1 << 26  # bytes of a picture that may come from as few as a newer packing needs


@dataclass(frozen=True, slots=True)
class PlainLayout:
    """What a plain mosaic does not say of itself.

    `black` is one level or one per plane (R, G1, G2, B). `white` is the highest value of `bits` where it is
    not given. Both are in DN; for floating-point arrays, whose full scale is 1, they lie in 0..1. `size` is
    width and height, needed for files without a header.
    """

    cfa: Cfa
    black: float | tuple[float, float, float, float] = 0.0
    white: float | None = None
    bits: int = 16
    size: tuple[int, int] | None = None


def read_plain(path: Path, layout: PlainLayout | None) -> RawImage:
    """Read a `.npy` array, a one-page TIFF or, under any other suffix, little-endian 16-bit words.

    A mosaic TIFF written by this package says its own layout and needs none. Floating-point arrays are kept
    as 16 bits over their full scale. The whole mosaic is the active area.

    Raises:
        LayoutError: the layout is missing, contradicts itself, or the file does not fit it.
        LinearRawError: a TIFF with colours is a finished picture, not a mosaic.
        NotAnImageError: neither an array nor a TIFF, whatever its name says.
        TruncatedError: the file ends before its pixels do.
    """
    suffix = path.suffix.lower()
    if suffix in {".tif", ".tiff"}:
        return _read_tiff(path, layout)
    if layout is None:
        raise LayoutError(path, "does not say how its mosaic is laid out; give at least --cfa")
    _check_layout(path, layout)
    if suffix == ".npy":
        return _from_array(path, _load_array(path), layout)
    return _from_array(path, _load_words(path, layout), layout)


def _check_layout(path: Path, layout: PlainLayout) -> None:
    if not 1 <= layout.bits <= 16:
        raise LayoutError(path, f"a mosaic has 1 to 16 bits, not {layout.bits}")
    top = 2**layout.bits - 1
    white = top if layout.white is None else layout.white
    blacks = _repeat_per_plane(layout.black)
    if not 0 <= min(blacks) <= max(blacks) < white:
        raise LayoutError(path, f"black {layout.black} must lie in 0 to below white {white:g}")
    if white - max(blacks) < MINIMUM_RANGE * white:
        raise LayoutError(
            path, f"black {layout.black} is so near to white {white:g} that nothing lies between"
        )
    if white > top:
        raise LayoutError(path, f"white {white:g} is more than {layout.bits} bits can hold ({top})")
    if layout.size is not None and min(layout.size) < 2:
        raise LayoutError(path, "a Bayer mosaic has at least 2 x 2 pixels; --size is WIDTHxHEIGHT")


def _repeat_per_plane(black: float | tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if isinstance(black, tuple):
        return black
    return black, black, black, black


# ---------------------------------------------------------------- pixels to a raw image


def _from_array(path: Path, array: Shaped[np.ndarray, "..."], layout: PlainLayout) -> RawImage:
    """Check the values against the layout and give the raw image they make."""
    if array.ndim != 2 or min(array.shape) < 2:
        raise LayoutError(path, f"a mosaic has two dimensions of at least 2, not shape {array.shape}")
    height, width = array.shape
    if layout.size is not None and layout.size != (width, height):
        raise LayoutError(path, f"holds {width}x{height} pixels, not {layout.size[0]}x{layout.size[1]}")
    if array.dtype.kind == "f":
        mosaic, levels, bits = *_from_fractions(path, array.astype(np.float32), layout), 16
    elif array.dtype.kind in "ui":
        mosaic, levels, bits = *_from_integers(path, array, layout), layout.bits
    else:
        raise LayoutError(path, f"a mosaic is made of integers or 0..1 fractions, not {array.dtype}")
    return RawImage(
        mosaic=mosaic,
        cfa=layout.cfa,
        active=Area(0, 0, height, width),
        levels=levels,
        source=path,
        camera=Camera(mode=f"{width}x{height} {bits}-bit"),
        notes=_notes(mosaic, levels),
    )


def _from_integers(
    path: Path, array: Shaped[np.ndarray, "h w"], layout: PlainLayout
) -> tuple[UInt16[np.ndarray, "h w"], Levels]:
    top = 2**layout.bits - 1
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0:
        raise LayoutError(path, f"holds negative values (down to {lowest}); add the black level back first")
    if highest > top:
        raise LayoutError(path, f"holds values up to {highest}, more than {layout.bits} bits can ({top})")
    white = float(top if layout.white is None else layout.white)
    return np.ascontiguousarray(array, dtype=np.uint16), Levels(_repeat_per_plane(layout.black), white)


def _from_fractions(
    path: Path, array: Float32[np.ndarray, "h w"], layout: PlainLayout
) -> tuple[UInt16[np.ndarray, "h w"], Levels]:
    """Scale 0..1 to 16 bits: finer than any sensor's steps, so nothing is lost."""
    lowest, highest = float(array.min()), float(array.max())
    if not (lowest >= 0 and highest <= 1):  # also true of NaN
        raise LayoutError(path, f"holds fractions from {lowest:g} to {highest:g}, not within 0 to 1")
    white = 1.0 if layout.white is None else layout.white
    if white > 1:
        raise LayoutError(path, f"holds fractions of full scale: white {white:g} must be on that scale too")
    red, green1, green2, blue = (FULL_SCALE * black for black in _repeat_per_plane(layout.black))
    mosaic = np.rint(array * np.float32(FULL_SCALE)).astype(np.uint16)
    return mosaic, Levels((red, green1, green2, blue), FULL_SCALE * white)


def _notes(mosaic: UInt16[np.ndarray, "h w"], levels: Levels) -> tuple[str, ...]:
    above = np.count_nonzero(mosaic > levels.white)
    if not above:
        return ()
    share = 100 * above / mosaic.size
    return (f"{above} pixels ({share:.2g} %) are above white {levels.white:g} and count as saturated",)


# ---------------------------------------------------------------- files


def _load_array(path: Path) -> Shaped[np.ndarray, "..."]:
    """Read an array whose header says no more than the file holds; never mapped, as files may shrink."""
    with path.open("rb") as file:
        if file.read(len(NPY_MAGIC)) != NPY_MAGIC:
            raise NotAnImageError(path, "is not a NumPy array, whatever its name says")
        file.seek(0)
        shape, by_columns, dtype = _array_header(path, file)
        if dtype.hasobject:
            raise LayoutError(path, "holds Python objects, which are never loaded; save numbers")
        if dtype.kind not in "uif" or min(shape, default=1) < 0:
            raise LayoutError(path, f"a mosaic is made of integers or 0..1 fractions, not {dtype}")
        count, room = math.prod(shape), path.stat().st_size - file.tell()
        if count * dtype.itemsize > room:
            raise TruncatedError(path, "is truncated: it ends before its array does")
        array = np.fromfile(file, dtype, count)
        if array.size < count:
            raise TruncatedError(path, "is truncated: it ends before its array does")
        return array.reshape(shape, order="F" if by_columns else "C")


def _array_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # its header is an expression, parsed by Python's own tools
        reason = str(error).partition("\n")[0]
        raise LayoutError(path, f"is a broken NumPy array ({reason})") from error
    raise LayoutError(path, f"is a NumPy array of version {version[0]}.{version[1]}, not 1.0 or 2.0")


def _load_words(path: Path, layout: PlainLayout) -> UInt16[np.ndarray, "h w"]:
    """Read a file without a header: its length must be that of the stated size, to the byte."""
    length = path.stat().st_size
    if layout.size is None:
        raise LayoutError(path, f"has no header: give --size WIDTHxHEIGHT{_propose_sizes(length)}")
    width, height = layout.size
    if length != 2 * width * height:
        hint = _hint_packing(length, width * height) or _propose_sizes(length)
        reason = f"is {length} bytes long; {width}x{height} pixels of 16 bits take {2 * width * height}"
        raise LayoutError(path, reason + hint)
    return np.fromfile(path, dtype="<u2").astype(np.uint16, copy=False).reshape(height, width)


def _hint_packing(length: int, pixels: int) -> str:
    for bits in (8, 10, 12, 14):
        if 8 * length == bits * pixels:
            return f" (it may be packed {bits}-bit data: unpack it to one 16-bit word per pixel)"
    return ""


def _propose_sizes(length: int) -> str:
    """Name the sizes that would fit, those of common aspect ratios first."""
    sizes = list_possible_sizes(length // 2) if length % 2 == 0 else []
    if not sizes:
        return ""
    return "; it would hold " + " or ".join(f"{width}x{height}" for width, height in sizes)


def list_possible_sizes(pixels: int, *, most: int = 4) -> list[tuple[int, int]]:
    """List even widths and heights, no more than 2.4 to 1, whose product is `pixels`, likely ones first."""
    sizes = []
    for height in range(2, int(pixels**0.5) + 1, 2):
        width, rest = divmod(pixels, height)
        if rest == 0 and width % 2 == 0 and width <= 2.4 * height:
            oddness = min(abs(np.log(width / height / aspect)) for aspect in COMMON_ASPECTS)
            sizes.append((oddness, (width, height)))
    return [size for _, size in sorted(sizes)[:most]]


def _read_tiff(path: Path, layout: PlainLayout | None) -> RawImage:
    """Read a TIFF mosaic by the layout it tells, else by the one given."""
    with _open_tiff(path) as page:
        try:
            own_layout = parse_layout(page.description)
        except ValueError as error:
            if layout is None:
                reason = f"does not say how its mosaic is laid out ({error}); give at least --cfa"
                raise LayoutError(path, reason) from error
            _check_layout(path, layout)
            return _from_array(path, _pixels_of_tiff(path, page), layout)
        image = own_layout.image(_words_of_tiff(path, _pixels_of_tiff(path, page)), path)
    _check_stated(path, image)
    return image


@contextmanager
def _open_tiff(path: Path) -> Iterator[tifffile.TiffPage]:
    """The one page of a TIFF that may be a mosaic, nothing of its picture decoded yet."""
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            if len(tiff.pages) > 1:
                raise LayoutError(path, f"has {len(tiff.pages)} pages; a mosaic is a single one")
            if page.samplesperpixel != 1:
                raise LinearRawError(path, "is a finished picture (colours, or alpha), not a mosaic")
            yield page
    except RawDenoiseError:
        raise
    except tifffile.TiffFileError as error:
        raise NotAnImageError(path, f"is not a readable TIFF ({error})") from error
    except MemoryError:
        raise
    except Exception as error:  # it raises what it likes on damaged data
        raise TruncatedError(path, f"is damaged or truncated ({error})") from error


def _pixels_of_tiff(path: Path, page: tifffile.TiffPage) -> Shaped[np.ndarray, "..."]:
    """Decode a page whose size is in proportion to its data."""
    try:
        _check_proportion(path, page)
        return np.asarray(page.asarray())
    except (RawDenoiseError, MemoryError):
        raise
    except Exception as error:  # its decoders raise what they like on damaged data
        raise TruncatedError(
            path, f"is damaged or truncated: its picture cannot be decoded ({error})"
        ) from error


def _check_proportion(path: Path, page: tifffile.TiffPage) -> None:
    """Hold what a page claims against the file's bytes, before memory is taken.

    tifffile fills with zeros what is missing, and says nothing.
    """
    size, counts = path.stat().st_size, page.databytecounts
    ends = [start + count for start, count in zip(page.dataoffsets, counts, strict=False)]
    if len(ends) < math.prod(page.chunked) or max(ends) > size or min(counts) == 0:
        raise TruncatedError(path, "is damaged or truncated: parts of its picture are not in the file")
    there, packed = min(sum(counts), size), int(page.compression) != 1
    bits = page.bitspersample  # 10 or 12 of them need not fill their bytes where nothing is compressed
    claimed = max(page.size, math.prod(page.chunks)) * (math.ceil(bits / 8) if packed else bits / 8)
    if claimed > there * (MAXIMUM_PACKING if packed else 1) and (
        claimed > MAXIMUM_UNCHECKED_BYTES or not packed
    ):
        width, height = page.imagewidth, page.imagelength
        reason = f"is damaged: it claims {width}x{height} pixels, more than its {there} bytes can hold"
        raise TruncatedError(path, reason)


def _words_of_tiff(path: Path, mosaic: Shaped[np.ndarray, "..."]) -> UInt16[np.ndarray, "h w"]:
    if mosaic.dtype != np.uint16 or mosaic.ndim != 2:
        raise LayoutError(
            path, f"says it is a mosaic of 16-bit words, but holds {mosaic.dtype} {mosaic.shape}"
        )
    return np.ascontiguousarray(mosaic)


def _check_stated(path: Path, image: RawImage) -> None:
    """A layout in a file is as untrusted as the file."""
    height, width = image.mosaic.shape
    area, levels = image.active, image.levels
    inside = 0 <= area.top < area.bottom - 1 <= height and 0 <= area.left < area.right - 1 <= width
    if not inside or area.bottom > height or area.right > width:
        raise LayoutError(path, f"tells an active area {area} outside its {width}x{height} pixels")
    if not 0 <= min(levels.black) <= max(levels.black) < levels.white <= FULL_SCALE:
        raise LayoutError(path, f"tells impossible levels: black {levels.black}, white {levels.white}")
    for deltas, length in ((levels.black_delta_rows, area.height), (levels.black_delta_columns, area.width)):
        if deltas is not None and deltas.shape != (length,):
            raise LayoutError(path, "tells black levels per row or column that do not match its size")
    repeat = levels.black_repeat
    if repeat is not None and (
        repeat.ndim != 2 or 0 in repeat.shape or repeat.shape[0] % 2 or repeat.shape[1] % 2
        or not np.abs(repeat).max() < levels.white
    ):  # fmt: skip
        raise LayoutError(path, "tells a pattern of black levels that makes no sense")
