"""Everything LibRaw decodes as a Bayer mosaic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import rawpy
from jaxtyping import Float64, UInt16

from rawdenoise.capture.raw import (
    Area,
    Camera,
    Cfa,
    Color,
    Exposure,
    Levels,
    Metadata,
    Neutral,
    RawImage,
)
from rawdenoise.errors import (
    NO_MEMORY,
    FoveonError,
    LinearRawError,
    MonochromeError,
    NotAnImageError,
    OutOfMemoryError,
    RawDenoiseError,
    TruncatedError,
    UnreadableError,
    UnsupportedCfaError,
    UnsupportedCompressionError,
    UnsupportedRawError,
    XTransError,
)
from rawdenoise.formats.dng.color import color_matrix, read_matrices, read_neutral
from rawdenoise.formats.dng.opcodes import linearize_opcodes
from rawdenoise.formats.dng.pixels import JPEG, UNCOMPRESSED, choose_mosaic, read_block_layout, second_opinion
from rawdenoise.formats.dng.source_tags import (
    check_mosaic,
    read_area,
    read_cfa,
    read_levels,
    sort_planes,
)
from rawdenoise.formats.metadata.exposure import find_camera_by_signature, read_camera, read_exposure
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.refusals import (
    refuse_blank_tail,
    refuse_disproportion,
    refuse_headerless,
    refuse_impossible_levels,
    refuse_picture,
    refuse_tiff_picture,
    refuse_truncated,
)
from rawdenoise.formats.rendering.framing import (
    default_crop,
    libraw_scale,
    makers_crop,
    pixel_scale,
    user_crop,
)
from rawdenoise.formats.tiff.reading import finite_numbers, read_header
from rawdenoise.formats.tiff.tags import Code

D65 = 21
_ORIENTATION = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's flip to EXIF's orientation
_COMPRESSIONS = {9: "GoPro VC-5", 34892: "lossy JPEG", 52546: "JPEG XL", 8: "deflate", 32946: "deflate"}


def read_libraw(path: Path) -> RawImage:
    """Read any raw file whose Bayer mosaic LibRaw can decode, and BigTIFF DNGs, which it cannot.

    Levels, colours, the pattern and metadata of a DNG come from its own tags, and a second decoder has to
    give the same pixels where it can. Of other files the camera and the exposure come from their tags, the
    rest from LibRaw.

    Raises: as `read_raw`.
    """
    metadata = read_metadata(path)
    refuse_headerless(path, metadata)
    refuse_truncated(path, metadata)
    refuse_tiff_picture(path, metadata)
    stated = None
    if metadata.is_dng:
        check_mosaic(path, metadata)
        stated = read_cfa(path, metadata.raw)
        metadata = linearize_opcodes(sort_planes(path, metadata))
    decoded = _decode_big(path, metadata) if _is_big(path) else _decode(path, metadata, stated)
    mosaic, cfa, active, levels = decoded.mosaic, decoded.cfa, decoded.active, decoded.levels
    refuse_blank_tail(path, mosaic, metadata)
    if metadata.is_dng:
        active = read_area(path, metadata.raw, mosaic.shape)
        cfa = cfa if stated is None else stated.shift(-active.top, -active.left)
        inside = cfa.shift(active.top, active.left)
        levels = read_levels(path, metadata.raw, inside, active, levels.white)
    refuse_impossible_levels(path, levels, _bits(metadata))
    camera = _camera(path, metadata, active, levels)
    color, notes = _color(metadata, decoded.xyz_to_camera, decoded.camera_wb, decoded.daylight_wb)
    return RawImage(
        mosaic=mosaic,
        cfa=cfa,
        active=active,
        levels=levels,
        source=path,
        camera=camera,
        exposure=_exposure(metadata, decoded.other),
        color=color,
        orientation=_orientation(metadata, decoded.flip),
        crop=user_crop(metadata.raw, default_crop(metadata.raw, active)) if metadata.is_dng else decoded.crop,
        pixel_scale=pixel_scale(metadata.raw) if metadata.is_dng else decoded.pixel_scale,
        metadata=metadata,
        notes=notes,
    )


# ---------------------------------------------------------------- decoding


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """A mosaic and what its decoder knows of it; `other` is LibRaw's record of the exposure.

    A DNG's own tags know better: then `cfa`, `active`, the black levels, crop and scale do not count.
    """

    mosaic: UInt16[np.ndarray, "h w"]
    cfa: Cfa
    active: Area
    levels: Levels
    xyz_to_camera: Float64[np.ndarray, "3 3"]
    camera_wb: list[float]
    daylight_wb: list[float]
    other: object = None
    flip: int = 0
    crop: Area | None = None
    pixel_scale: tuple[float, float] = (1.0, 1.0)


def _decode(path: Path, metadata: Metadata, stated: Cfa | None) -> _Decoded:
    """Decode by LibRaw, and a DNG by the second decoder as well; `stated` is a DNG's pattern by its tags."""
    with ThreadPoolExecutor(1) as pool, _open(path, metadata) as raw:
        sizes = raw.sizes
        refuse_disproportion(path, sizes.raw_width, sizes.raw_height, metadata)
        # Beside LibRaw, which decodes when it is first asked for what it has decoded.
        second = pool.submit(second_opinion, path, metadata) if metadata.is_dng else None
        _refuse_no_mosaic(path, raw)
        cfa, order = (stated, (0, 1, 3, 2)) if stated else _bayer_pattern(path, raw)
        mosaic = raw.raw_image.copy()
        active = _visible_area(sizes, mosaic.shape)
        black = raw.black_level_per_channel
        r, g1, g2, b = (float(black[channel]) for channel in order)
        return _Decoded(
            mosaic=mosaic if second is None else choose_mosaic(path, mosaic, second.result()),
            cfa=cfa,
            active=active,
            levels=Levels((r, g1, g2, b), float(raw.white_level)),
            xyz_to_camera=np.asarray(raw.rgb_xyz_matrix, float)[:3],
            camera_wb=raw.camera_whitebalance,
            daylight_wb=raw.daylight_whitebalance,
            other=getattr(raw, "other", None),  # rawpy before 0.25 has none
            flip=sizes.flip,
            crop=makers_crop(sizes, active),
            pixel_scale=libraw_scale(sizes.pixel_aspect),
        )


def _visible_area(sizes: rawpy.ImageSizes, shape: tuple[int, ...]) -> Area:
    height, width = shape
    top, left = min(max(sizes.top_margin, 0), height - 2), min(max(sizes.left_margin, 0), width - 2)
    bottom, right = min(top + sizes.height, height), min(left + sizes.width, width)
    return Area(top, left, max(bottom, top + 2), max(right, left + 2))


def _decode_big(path: Path, metadata: Metadata) -> _Decoded:
    """Decode a BigTIFF DNG, which LibRaw does not open; all that is known of it stands in its tags."""
    cfa = read_cfa(path, metadata.raw) if metadata.is_dng else None
    if cfa is None:
        raise NotAnImageError(path, "is a BigTIFF, but no DNG: there is no raw in it that can be read")
    blocks = read_block_layout(metadata.raw)
    assert blocks is not None  # or it had been refused as truncated
    refuse_disproportion(path, blocks.width, blocks.height, metadata)
    mosaic = second_opinion(path, metadata).mosaic
    if mosaic is None:
        compression = _compression_name(metadata)
        reason = f"is a BigTIFF with raw data packed by {compression}, which cannot be decoded or is damaged"
        raise UnsupportedCompressionError(path, reason)
    unknown = [0.0, 0.0, 0.0, 0.0]
    return _Decoded(
        mosaic=mosaic,
        cfa=cfa,
        active=Area(0, 0, blocks.height, blocks.width),
        levels=Levels((0.0, 0.0, 0.0, 0.0), float(2 ** _bits(metadata) - 1)),
        xyz_to_camera=np.zeros((3, 3)),
        camera_wb=unknown,
        daylight_wb=unknown,
    )


def _is_big(path: Path) -> bool:
    with path.open("rb") as file:
        header = read_header(file)
    return header is not None and header.big


def _bits(metadata: Metadata) -> int:
    """How many bits the values of the mosaic can have: what a DNG states, unless a table has widened them."""
    bits = finite_numbers(metadata.raw.get(Code.BitsPerSample))
    stated = metadata.is_dng and bits and Code.LinearizationTable not in metadata.raw
    return int(bits[0]) if stated and 1 <= bits[0] <= 16 else 16


@contextmanager
def _open(path: Path, metadata: Metadata) -> Iterator[rawpy.RawPy]:
    """Open and decode; LibRaw's errors become ours."""
    try:
        with rawpy.imread(libraw_source(path)) as raw:
            yield raw
    except RawDenoiseError:
        raise
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawNotImplementedError) as error:
        compression = finite_numbers(metadata.raw.get(Code.Compression))
        if metadata.is_dng and compression[:1] in ([UNCOMPRESSED], [JPEG]):
            reason = "is a DNG that LibRaw does not read: too small, or laid out as no other"
            raise UnsupportedRawError(path, reason) from error
        if metadata.is_dng and compression:
            name = _compression_name(metadata)
            raise UnsupportedCompressionError(
                path, f"its raw data is packed by {name}, which LibRaw cannot decode"
            ) from error
        refuse_picture(path, metadata)
        raise NotAnImageError(path, "is of no raw format that LibRaw knows") from error
    except (rawpy.LibRawIOError, rawpy.LibRawDataError, rawpy.LibRawUnspecifiedError) as error:
        refuse_picture(path, metadata)
        raise TruncatedError(path, f"is damaged or truncated (LibRaw: {_words(error)})") from error
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise OutOfMemoryError(path, NO_MEMORY) from error
    except rawpy.LibRawError as error:
        raise UnreadableError(path, f"LibRaw cannot read it ({_words(error)})") from error


def libraw_source(path: Path) -> str | BytesIO:
    """LibRaw takes names in UTF-8 only; a file whose name is not is read for it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return BytesIO(path.read_bytes())
    return str(path)


def _refuse_no_mosaic(path: Path, raw: rawpy.RawPy) -> None:
    if path.suffix.lower() == ".x3f":
        raise FoveonError(path, "is from a Foveon sensor, which has no mosaic to denoise")
    if raw.raw_type != rawpy.RawType.Flat:
        raise LinearRawError(
            path, "holds linear RGB (sRAW, mRAW or a linear DNG), not a mosaic; use the camera's full raw"
        )
    if raw.raw_image is None or raw.raw_image.dtype != np.uint16:
        raise UnsupportedCompressionError(
            path, "holds floating-point raw data; only integer mosaics are supported"
        )


def _bayer_pattern(path: Path, raw: rawpy.RawPy) -> tuple[Cfa, tuple[int, int, int, int]]:
    """The pattern from the mosaic's corner, and LibRaw's numbers of the channels R, G1, G2, B."""
    try:
        pattern = raw.raw_pattern
    except NotImplementedError as error:  # rawpy's, of patterns that nobody makes
        raise UnsupportedCfaError(path, f"has an unusual colour filter array ({error})") from error
    if pattern is None:
        raise MonochromeError(path, "is from a monochrome sensor; only Bayer mosaics are supported")
    if pattern.shape == (6, 6):
        raise XTransError(path, "is a Fujifilm X-Trans mosaic; only Bayer mosaics are supported")
    names = "".join("RGBG"[i] if raw.color_desc == b"RGBG" else "?" for i in pattern.ravel())
    if pattern.shape != (2, 2) or names not in set(Cfa):
        raise UnsupportedCfaError(
            path, f"has an unusual colour filter array ({raw.color_desc.decode()}, {pattern.shape})"
        )
    red = np.argwhere(pattern == 0)[0]
    green = int(pattern[red[0], 1 - red[1]])  # the green of the red rows: LibRaw numbers it 1 or 3
    return Cfa.with_red_at(int(red[0]), int(red[1])), (0, green, 4 - green, 2)


def _compression_name(metadata: Metadata) -> str:
    number = int((finite_numbers(metadata.raw.get(Code.Compression)) or [1.0])[0])
    return _COMPRESSIONS.get(number, f"number {number}")


def _words(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


# ---------------------------------------------------------------- what the file says of its taking


def _exposure(metadata: Metadata, other: object) -> Exposure:
    """What the tags say of the exposure, and where they are silent what LibRaw knows."""
    exposure = read_exposure(metadata)

    def known(name: str) -> float | None:
        value = float(getattr(other, name, 0.0) or 0.0)
        return value if value > 0 and math.isfinite(value) else None

    iso = exposure.iso or known("iso_speed")
    taken_at, timestamp = exposure.taken_at, getattr(other, "timestamp", None)
    if taken_at is None and timestamp is not None and timestamp.year > 1970:
        taken_at = timestamp.strftime("%Y:%m:%d %H:%M:%S")
    return Exposure(
        iso=round(iso) if iso else None,
        exposure_s=exposure.exposure_s or known("shutter_speed"),
        f_number=exposure.f_number or known("aperture"),
        focal_length_mm=exposure.focal_length_mm or known("focal_length"),
        taken_at=taken_at,
    )


def _camera(path: Path, metadata: Metadata, active: Area, levels: Levels) -> Camera:
    bits = max(1, math.ceil(math.log2(levels.white + 1)))
    camera = read_camera(metadata, f"{active.width}x{active.height} {bits}-bit")
    if camera.model:
        return camera
    make, model = find_camera_by_signature(path)
    return replace(camera, make=make, model=model)


def _orientation(metadata: Metadata, flip: int) -> int:
    stated = finite_numbers(metadata.root.get(Code.Orientation))
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
    matrices = read_matrices(root) if metadata.is_dng else ()
    if not matrices and np.abs(xyz_to_camera).sum() > 0:
        matrices = (color_matrix(D65, xyz_to_camera),)
    if not matrices:
        notes.append("colour matrix unknown: raw developers will show approximate colours")
    as_shot = (read_neutral(root) if metadata.is_dng else None) or _neutral(camera_wb)
    daylight = _neutral(daylight_wb)
    if as_shot is None:
        notes.append(
            "camera white balance unknown: " + ("daylight is used" if daylight else "none is applied")
        )
    return Color(matrices, as_shot, daylight), tuple(notes)


def _neutral(multipliers: list[float]) -> Neutral | None:
    """Camera RGB of a grey from multipliers of R, G, B; None where the camera did not say (-1, 0)."""
    red, green, blue = (list(multipliers) + [0.0] * 3)[:3]
    if min(red, green, blue) <= 0:
        return None
    return green / red, 1.0, green / blue
