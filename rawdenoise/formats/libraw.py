"""Everything LibRaw decodes as a Bayer mosaic."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import rawpy
from jaxtyping import Float64, UInt8

from rawdenoise.errors import (
    FoveonError,
    LayoutError,
    LinearRawError,
    MonochromeError,
    NotAnImageError,
    RawDenoiseError,
    TruncatedError,
    UnreadableError,
    UnsupportedCfaError,
    UnsupportedCompressionError,
    XTransError,
)
from rawdenoise.formats.metadata import read_metadata
from rawdenoise.formats.shooting import stated_camera, stated_exposure
from rawdenoise.formats.tags import Code
from rawdenoise.formats.tiff_container import numbers
from rawdenoise.raw import (
    Area,
    Camera,
    Cfa,
    Color,
    ColorMatrix,
    Exposure,
    Ifd,
    Levels,
    Metadata,
    RawImage,
    Tag,
)

D65 = 21
_PANASONIC_RAW_OFFSET, _NO_OFFSET = 280, 0xFFFFFFFF
_ORIENTATION = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's flip to EXIF's orientation
_TEXT = bytes([*range(32, 127), 9, 10, 13])
_COMPRESSIONS = {9: "GoPro VC-5", 34892: "lossy JPEG", 52546: "JPEG XL", 8: "deflate", 32946: "deflate"}


def read_libraw(path: Path) -> RawImage:
    """Read any raw file whose Bayer mosaic LibRaw can decode, DNG included.

    Levels, colours and metadata of a DNG come from its own tags. Of other files the camera and the
    exposure come from their tags, the rest from LibRaw.

    Raises: as `read_raw`.
    """
    metadata = read_metadata(path)
    _refuse_headerless(path, metadata)
    _refuse_truncated(path, metadata)
    with _open(path, metadata) as raw:
        pattern = _bayer_pattern(path, raw, metadata)
        mosaic = raw.raw_image.copy()
        sizes = raw.sizes
        libraw_black = raw.black_level_per_channel
        libraw_white = float(raw.white_level)
        camera_wb, daylight_wb = raw.camera_whitebalance, raw.daylight_whitebalance
        xyz_to_camera = np.asarray(raw.rgb_xyz_matrix, float)[:3]
        other = getattr(raw, "other", None)  # rawpy before 0.25 has none
    _refuse_blank_tail(path, mosaic, metadata)

    red = np.argwhere(pattern == 0)[0]
    cfa = Cfa.with_red_at(int(red[0]), int(red[1]))
    active = _active_area(metadata, sizes, mosaic.shape)
    levels = (
        _dng_levels(metadata.raw, cfa.shifted(active.top, active.left), active) if metadata.is_dng else None
    )
    if levels is None:
        green = int(pattern[red[0], 1 - red[1]])  # the green of the red rows: LibRaw numbers it 1 or 3
        order = (0, green, 4 - green, 2)
        r, g1, g2, b = (float(libraw_black[i]) for i in order)
        levels = Levels((r, g1, g2, b), libraw_white)
    camera = _camera(path, metadata, active, levels)
    color, notes = _color(metadata, xyz_to_camera, camera_wb, daylight_wb)
    return RawImage(
        mosaic=mosaic,
        cfa=cfa,
        active=active,
        levels=levels,
        source=path,
        camera=camera,
        exposure=_exposure(metadata, other),
        color=color,
        orientation=_orientation(metadata, sizes.flip),
        metadata=metadata,
        notes=notes,
    )


# ---------------------------------------------------------------- refusals


@contextmanager
def _open(path: Path, metadata: Metadata) -> Iterator[rawpy.RawPy]:
    """Open and decode; LibRaw's errors become ours."""
    try:
        with rawpy.imread(libraw_source(path)) as raw:
            yield raw
    except RawDenoiseError:
        raise
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawNotImplementedError) as error:
        compression = _numbers(metadata.raw.get(Code.Compression))
        if metadata.is_dng and compression:
            name = _COMPRESSIONS.get(int(compression[0]), f"number {int(compression[0])}")
            raise UnsupportedCompressionError(
                path, f"its raw data is packed by {name}, which LibRaw cannot decode"
            ) from error
        raise NotAnImageError(path, "is of no raw format that LibRaw knows") from error
    except (rawpy.LibRawIOError, rawpy.LibRawDataError, rawpy.LibRawUnspecifiedError) as error:
        raise TruncatedError(path, f"is damaged or truncated (LibRaw: {_words(error)})") from error
    except rawpy.LibRawError as error:
        raise UnreadableError(path, f"LibRaw cannot read it ({_words(error)})") from error


def libraw_source(path: Path) -> str | BytesIO:
    """LibRaw takes names in UTF-8 only; a file whose name is not is read for it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return BytesIO(path.read_bytes())
    return str(path)


def _bayer_pattern(path: Path, raw: rawpy.RawPy, metadata: Metadata) -> UInt8[np.ndarray, "2 2"]:
    """The colour indices of the mosaic's top-left 2x2 sites, if it is a Bayer mosaic."""
    if path.suffix.lower() == ".x3f":
        raise FoveonError(path, "is from a Foveon sensor, which has no mosaic to denoise")
    if raw.raw_type != rawpy.RawType.Flat:
        raise LinearRawError(
            path, "holds linear RGB (sRAW, mRAW or a linear DNG), not a mosaic; use the camera's full raw"
        )
    pattern = raw.raw_pattern
    if pattern is None:
        raise MonochromeError(path, "is from a monochrome sensor; only Bayer mosaics are supported")
    if pattern.shape == (6, 6):
        raise XTransError(path, "is a Fujifilm X-Trans mosaic; only Bayer mosaics are supported")
    names = "".join("RGBG"[i] if raw.color_desc == b"RGBG" else "?" for i in pattern.ravel())
    if pattern.shape != (2, 2) or names not in {c.value for c in Cfa}:
        raise UnsupportedCfaError(
            path, f"has an unusual colour filter array ({raw.color_desc.decode()}, {pattern.shape})"
        )
    if raw.raw_image is None or raw.raw_image.dtype != np.uint16:
        raise UnsupportedCompressionError(
            path, "holds floating-point raw data; only integer mosaics are supported"
        )
    return pattern.astype(np.uint8)


def _refuse_headerless(path: Path, metadata: Metadata) -> None:
    """LibRaw guesses from its length what an array of bare numbers is; texts it calls damaged."""
    if metadata.root:
        return
    if path.suffix.lower() == ".raw":
        raise LayoutError(path, "has no header: give --cfa, --black, --white, --bits and --size")
    with path.open("rb") as file:
        start = file.read(512)
    if not start.strip(_TEXT):
        raise NotAnImageError(path, "is a text, not an image")


def _refuse_truncated(path: Path, metadata: Metadata) -> None:
    """LibRaw fills what is missing with zeros and says nothing: compare the tags with the file's length."""
    strips, tiles = {Code.StripOffsets, Code.StripByteCounts}, {Code.TileOffsets, Code.TileByteCounts}
    if metadata.is_dng and not (strips <= metadata.raw.keys() or tiles <= metadata.raw.keys()):
        raise TruncatedError(path, "is truncated: where its picture lies is missing")
    size, end = path.stat().st_size, max(_block_ends(path, metadata), default=0)
    if end > size:
        raise TruncatedError(path, f"is truncated: {size} bytes, but its picture ends at {end}")


def _block_ends(path: Path, metadata: Metadata) -> Iterator[int]:
    """Where the strips and tiles of the picture end, or begin where their lengths cannot be believed."""
    panasonic = _is_panasonic(path)
    for offsets_tag, counts_tag in ((Code.StripOffsets, Code.StripByteCounts),
                                    (Code.TileOffsets, Code.TileByteCounts)):  # fmt: skip
        offsets, counts = (_numbers(metadata.raw.get(tag)) for tag in (offsets_tag, counts_tag))
        if panasonic:
            # The offset may be a mere mark, and the count that of unpacked data (ExifTool, PanasonicRaw).
            offsets, counts = _numbers(metadata.raw.get(_PANASONIC_RAW_OFFSET)) or offsets, [1.0]
        for start, count in zip(offsets, counts, strict=False):
            if start != _NO_OFFSET and count > 0:
                yield int(start + count)


def _is_panasonic(path: Path) -> bool:
    """Whether it is a RAW, RW2 or RWL of Panasonic or Leica, by its magic number."""
    with path.open("rb") as file:
        return file.read(4) == b"IIU\0"


def _refuse_blank_tail(path: Path, mosaic: np.ndarray, metadata: Metadata) -> None:
    """A file that tells no lengths (CRW, RAF, CR3, RW2): a cut one decodes to a tail without any noise."""
    tells_lengths = bool(metadata.raw) and not _is_panasonic(path)
    tail = mosaic[-max(2, mosaic.shape[0] // 50) :]
    if not tells_lengths and tail.min() == tail.max() and mosaic.min() != mosaic.max():
        raise TruncatedError(path, "is truncated: the last rows of its picture are missing")


def _words(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


# ---------------------------------------------------------------- tags


def _numbers(tag: Tag | None) -> list[float]:
    """The values of a numeric tag; x/0 as 0."""
    return [float(v) if math.isfinite(v) else 0.0 for v in numbers(tag)]


def _active_area(metadata: Metadata, sizes: object, shape: tuple[int, ...]) -> Area:
    height, width = shape
    if metadata.is_dng:
        area = _numbers(metadata.raw.get(Code.ActiveArea)) or [0, 0, height, width]
    else:
        top, left = sizes.top_margin, sizes.left_margin  # type: ignore[attr-defined]
        area = [top, left, top + sizes.height, left + sizes.width]  # type: ignore[attr-defined]
    top, left, bottom, right = (int(v) for v in area)
    top, left = min(max(top, 0), height - 2), min(max(left, 0), width - 2)
    return Area(top, left, min(max(bottom, top + 2), height), min(max(right, left + 2), width))


def _dng_levels(ifd: Ifd, cfa: Cfa, active: Area) -> Levels | None:
    """Levels by the DNG's own tags, which keep fractions and deltas that LibRaw rounds off.

    DNG 1.7, BlackLevel: repeats from the top-left of the active area; the deltas add to it.
    """
    white = _numbers(ifd.get(Code.WhiteLevel))
    if not white:
        return None
    values = _numbers(ifd.get(Code.BlackLevel)) or [0.0]
    rows, columns = (int(v) for v in _numbers(ifd.get(Code.BlackLevelRepeatDim)) or (1, 1))
    if rows < 1 or columns < 1 or len(values) < rows * columns:
        rows, columns = 1, 1
    grid = np.reshape(values[: rows * columns], (rows, columns))
    grid = np.tile(grid, (2 if rows % 2 else 1, 2 if columns % 2 else 1))
    row, column = cfa.red
    r, g1, g2, b = (
        float(grid[y::2, x::2].mean())
        for y, x in ((row, column), (row, 1 - column), (1 - row, column), (1 - row, 1 - column))
    )
    return Levels(
        (r, g1, g2, b),
        white[0],
        black_delta_rows=_delta(ifd.get(Code.BlackLevelDeltaV), active.height),
        black_delta_columns=_delta(ifd.get(Code.BlackLevelDeltaH), active.width),
    )


def _delta(tag: Tag | None, length: int) -> Float64[np.ndarray, " n"] | None:
    values = np.asarray(_numbers(tag), float)
    return values if values.size == length and values.any() else None


# ---------------------------------------------------------------- what the file says of its taking


def _exposure(metadata: Metadata, other: object) -> Exposure:
    """What the tags say of the exposure, and where they are silent what LibRaw knows."""
    said = stated_exposure(metadata)

    def known(name: str) -> float | None:
        value = float(getattr(other, name, 0.0) or 0.0)
        return value if value > 0 and math.isfinite(value) else None

    iso = said.iso or known("iso_speed")
    taken, timestamp = said.taken_at, getattr(other, "timestamp", None)
    if taken is None and timestamp is not None and timestamp.year > 1970:
        taken = timestamp.strftime("%Y:%m:%d %H:%M:%S")
    return Exposure(
        iso=round(iso) if iso else None,
        exposure_s=said.exposure_s or known("shutter_speed"),
        f_number=said.f_number or known("aperture"),
        focal_length_mm=said.focal_length_mm or known("focal_length"),
        taken_at=taken,
    )


def _camera(path: Path, metadata: Metadata, active: Area, levels: Levels) -> Camera:
    bits = max(1, math.ceil(math.log2(levels.white + 1)))
    camera = stated_camera(metadata, f"{active.width}x{active.height} {bits}-bit")
    if camera.model:
        return camera
    make, model = _ciff_owner(path)
    return replace(camera, make=make, model=model)


def _ciff_owner(path: Path) -> tuple[str, str]:
    """Make and model of a Canon CRW, which no library names: the strings of its CIFF record 0x080a."""
    if path.suffix.lower() != ".crw":
        return "", ""
    found = re.search(rb"(Canon)\0(Canon [ -~]{2,40})\0", path.read_bytes())
    return (found[1].decode(), found[2].decode().strip()) if found else ("Canon", "")


def _orientation(metadata: Metadata, flip: int) -> int:
    stated = _numbers(metadata.root.get(Code.Orientation))
    if stated and 1 <= stated[0] <= 8:
        return int(stated[0])
    return _ORIENTATION.get(flip, 1)


# ---------------------------------------------------------------- colour


def _color(
    metadata: Metadata, xyz_to_camera: np.ndarray, camera_wb: list[float], daylight_wb: list[float]
) -> tuple[Color, tuple[str, ...]]:
    """Matrices and neutrals, and what a user should know of them."""
    notes = []
    root = {**metadata.raw, **metadata.root}
    matrices = _dng_matrices(root) if metadata.is_dng else ()
    if not matrices and np.abs(xyz_to_camera).sum() > 0:
        matrices = (_matrix(D65, xyz_to_camera),)
    if not matrices:
        notes.append("colour matrix unknown: raw developers will show approximate colours")
    stated = _numbers(root.get(Code.AsShotNeutral)) if metadata.is_dng else []
    as_shot = (
        _neutral([1 / v for v in stated]) if len(stated) == 3 and min(stated) > 0 else _neutral(camera_wb)
    )
    daylight = _neutral(daylight_wb)
    if as_shot is None:
        notes.append(
            "camera white balance unknown: " + ("daylight is used" if daylight else "none is applied")
        )
    return Color(matrices, as_shot, daylight), tuple(notes)


def _dng_matrices(ifd: Ifd) -> tuple[ColorMatrix, ...]:
    found = []
    for matrix_tag, illuminant_tag in (
        (Code.ColorMatrix1, Code.CalibrationIlluminant1),
        (Code.ColorMatrix2, Code.CalibrationIlluminant2),
    ):
        values = _numbers(ifd.get(matrix_tag))
        if len(values) == 9 and any(values):
            illuminant = _numbers(ifd.get(illuminant_tag)) or [0]
            found.append(_matrix(int(illuminant[0]), np.reshape(values, (3, 3))))
    return tuple(found)


def _matrix(illuminant: int, values: np.ndarray) -> ColorMatrix:
    r, g, b = ((float(row[0]), float(row[1]), float(row[2])) for row in values)
    return ColorMatrix(illuminant, (r, g, b))


def _neutral(multipliers: list[float]) -> tuple[float, float, float] | None:
    """Camera RGB of a grey from multipliers of R, G, B; None where the camera did not say (-1, 0)."""
    red, green, blue = (list(multipliers) + [0.0] * 3)[:3]
    if min(red, green, blue) <= 0:
        return None
    return green / red, 1.0, green / blue
