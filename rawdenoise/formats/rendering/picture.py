"""A finished picture of a mosaic: demosaiced by LibRaw, cropped, scaled and upright."""

from __future__ import annotations

import io

import numpy as np
import rawpy
from jaxtyping import UInt16
from PIL import Image

from rawdenoise.capture.raw import Cfa, Color, RawImage, Tag
from rawdenoise.capture.srgb import SRGB_TO_XYZ, encode_srgb
from rawdenoise.formats.rendering.framing import picture_shape, shown_area, turn_upright
from rawdenoise.formats.rendering.linearization import Band, visit_linear_bands
from rawdenoise.formats.rendering.preview import rendering_matrix
from rawdenoise.formats.tiff.reading import (
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    ascii_tag,
    bytes_tag,
    numbers_tag,
)
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, Pixels, write_tree

_WHITE = 65535
_MARGIN = 12  # mirrored pixels around a mosaic, even: edges are demosaiced as all else, and LibRaw wants 22
_BAND_ROWS = 256  # rows
_SRGB_GAMMA = (2.4, 12.92)  # power and slope at black, as LibRaw takes them
_LINEAR_GAMMA = (1, 1)

Picture = UInt16[np.ndarray, "h w 3"]


def render(image: RawImage) -> Picture:
    """Develop a mosaic: as-shot white balance, sRGB, brightness as it was taken, cropped and upright.

    The picture is as large as the file states: DefaultCrop, DefaultUserCrop and DefaultScale of a DNG, the
    maker's crop of another raw where LibRaw knows it. Gain maps of OpcodeList2 are applied.

    Raises:
        rawpy.LibRawError: LibRaw could not do it.
    """
    active, area, shape = image.active, shown_area(image), picture_shape(image)
    resized = shape != (area.height, area.width)
    dng = _make_plain_dng(_linear_mosaic(image), image.cfa.shift(active.top, active.left), image.color)
    with rawpy.imread(dng) as raw:
        rgb: Picture = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0.0,  # white is white, whatever the brightest pixel of this capture
            user_flip=0,
            output_bps=16,
            output_color=rawpy.ColorSpace.sRGB,
            gamma=_LINEAR_GAMMA if resized else _SRGB_GAMMA,
        )
    top, left = _MARGIN + area.top - active.top, _MARGIN + area.left - active.left
    picture = rgb[top : top + area.height, left : left + area.width]
    if resized:
        picture = _encode(_resize(picture, shape))
    return turn_upright(picture, image.orientation)


def _linear_mosaic(image: RawImage) -> UInt16[np.ndarray, "h w"]:
    """The active area from 0 to `_WHITE`, mirrored at its edges to an even size with a margin all around."""
    height, width = image.active.height, image.active.width
    linear = np.empty((height, width), np.uint16)

    def keep(start: int, band: Band) -> None:
        band *= _WHITE
        np.rint(band, out=band)
        linear[start : start + len(band)] = np.clip(band, 0, _WHITE, out=band)

    visit_linear_bands(image, image.active, keep, rows=_BAND_ROWS)
    margins = ((_MARGIN, _MARGIN + height % 2), (_MARGIN, _MARGIN + width % 2))
    return np.pad(linear, margins, mode="reflect")


def _make_plain_dng(mosaic: UInt16[np.ndarray, "h w"], cfa: Cfa, color: Color) -> io.BytesIO:
    """The smallest DNG that LibRaw renders: of the source's tags only what the picture needs, said anew.

    So no parser of LibRaw sees what a stranger wrote, and no rule for a certain camera applies.
    """
    height, width = mosaic.shape
    matrix = rendering_matrix(color)
    if matrix is None:
        matrix = np.linalg.inv(SRGB_TO_XYZ)
    tags: dict[int, Tag] = {
        Code.NewSubfileType: numbers_tag(LONG, 0),
        Code.ImageWidth: numbers_tag(LONG, width),
        Code.ImageLength: numbers_tag(LONG, height),
        Code.BitsPerSample: numbers_tag(SHORT, 16),
        Code.Compression: numbers_tag(SHORT, 1),
        Code.PhotometricInterpretation: numbers_tag(SHORT, 32803),
        Code.Make: ascii_tag("rawdenoise"),
        Code.Model: ascii_tag("mosaic"),
        Code.Orientation: numbers_tag(SHORT, 1),
        Code.SamplesPerPixel: numbers_tag(SHORT, 1),
        Code.RowsPerStrip: numbers_tag(LONG, height),
        Code.PlanarConfiguration: numbers_tag(SHORT, 1),
        Code.CFARepeatPatternDim: numbers_tag(SHORT, 2, 2),
        Code.CFAPattern: bytes_tag(bytes("RGB".index(letter) for letter in cfa.value)),
        Code.DNGVersion: bytes_tag(bytes((1, 4, 0, 0))),
        Code.DNGBackwardVersion: bytes_tag(bytes((1, 1, 0, 0))),
        Code.UniqueCameraModel: ascii_tag("rawdenoise mosaic"),
        Code.BlackLevel: numbers_tag(SHORT, 0),
        Code.WhiteLevel: numbers_tag(LONG, _WHITE),
        Code.ColorMatrix1: numbers_tag(SRATIONAL, *matrix.ravel().tolist()),
        Code.CalibrationIlluminant1: numbers_tag(SHORT, 21),
        Code.AsShotNeutral: numbers_tag(RATIONAL, *color.neutral),
    }
    stream = io.BytesIO()
    strip = Pixels(Code.StripOffsets, Code.StripByteCounts, 1, [mosaic.astype("<u2").tobytes()])
    write_tree(stream, Node(tags, pixels=strip))
    stream.seek(0)
    return stream


def _resize(picture: Picture, shape: tuple[int, int]) -> UInt16[np.ndarray, "h2 w2 3"]:
    """Resize linear light to a height and width."""
    resized = np.empty((*shape, 3), np.uint16)
    for plane in range(3):
        one = Image.fromarray(picture[..., plane].astype(np.float32))
        other = one.resize(shape[::-1], Image.Resampling.BICUBIC)
        resized[..., plane] = np.rint(np.clip(np.asarray(other), 0, _WHITE))
    return resized


def _encode(picture: Picture) -> Picture:
    """Apply sRGB's tone curve."""
    curve = np.rint(_WHITE * encode_srgb(np.arange(_WHITE + 1) / _WHITE)).astype(np.uint16)
    encoded: Picture = curve[picture]
    return encoded
