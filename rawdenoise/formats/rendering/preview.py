"""A quick rendering of a mosaic, for the preview that a DNG carries."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from rawdenoise.capture.raw import Area, Color, RawImage
from rawdenoise.capture.srgb import SRGB_TO_XYZ, encode_srgb
from rawdenoise.formats.rendering.demosaicing import demosaic
from rawdenoise.formats.rendering.framing import picture_shape, shown_area
from rawdenoise.formats.rendering.linearization import visit_linear_bands

MAXIMUM_LONG_SIDE = 2048  # of the preview of a picture that is as long, or longer
_BAND_ROWS = 64  # rows of the preview, or of squares that are averaged, at a time
_MINIMUM_CELLS = 0.75  # a pixel of the preview, each way; with fewer the colours by themselves are too coarse
_MINIMUM_WHITE = 1e-6  # camera RGB; less is a matrix of nonsense

Picture = Float32[np.ndarray, "h w 3"]


def encode_preview(image: RawImage, *, long_side: int = MAXIMUM_LONG_SIDE) -> tuple[bytes, int, int]:
    """Encode what `render_preview` gives as a baseline JPEG (4:2:0); its bytes, width and height."""
    pixels = render_preview(image, long_side=long_side)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90, subsampling="4:2:0")
    return stream.getvalue(), pixels.shape[1], pixels.shape[0]


def render_preview(image: RawImage, *, long_side: int = MAXIMUM_LONG_SIDE) -> UInt8[np.ndarray, "h w 3"]:
    """Render what is shown of a mosaic as sRGB, at most `long_side` pixels, without turning it upright.

    The brightness is raised where the capture is dark, by two stops at most.
    """
    balanced = _balance(image, long_side)
    np.clip(balanced, 0, 1, out=balanced)
    to_srgb = camera_to_srgb(image.color).T.astype(np.float32)
    bright = float(np.quantile((balanced[::2, ::2] @ to_srgb).max(axis=2), 0.995))
    to_srgb *= np.float32(np.clip(0.95 / max(bright, 1e-6), 1, 4) * (len(_TONES) - 1))
    finished = np.empty(balanced.shape, np.uint8)
    for top in range(0, len(balanced), _BAND_ROWS):
        linear = balanced[top : top + _BAND_ROWS] @ to_srgb
        np.clip(linear, 0, len(_TONES) - 1, out=linear)
        finished[top : top + _BAND_ROWS] = _TONES[np.rint(linear).astype(np.uint16)]
    return finished


def camera_to_srgb(color: Color) -> Float64[np.ndarray, "3 3"]:
    """White-balanced camera RGB to linear sRGB, keeping white white; the identity for no matrix."""
    matrix = rendering_matrix(color)
    if matrix is None:
        return np.eye(3)
    srgb_to_camera = matrix @ SRGB_TO_XYZ
    white = srgb_to_camera.sum(axis=1, keepdims=True)
    if not (np.abs(white) > _MINIMUM_WHITE).all():  # a matrix to which white is black is none
        return np.eye(3)
    try:
        return np.linalg.inv(srgb_to_camera / white)
    except np.linalg.LinAlgError:
        return np.eye(3)


def rendering_matrix(color: Color) -> Float64[np.ndarray, "3 3"] | None:
    """XYZ to camera RGB as pictures are made with it: for D65 (EXIF light source 21), else the last one."""
    if not color.matrices:
        return None
    best = next((entry for entry in color.matrices if entry.illuminant == 21), color.matrices[-1])
    return np.array(best.matrix)


_TONES: UInt8[np.ndarray, " 65536"] = np.rint(255 * encode_srgb(np.linspace(0, 1, 65536))).astype(np.uint8)


def _balance(image: RawImage, long_side: int) -> Picture:
    """White-balanced camera RGB of what is shown, 0 black 1 white, at the preview's size.

    Where a mosaic has cells enough for it, each colour is averaged and resized by itself: nothing has to be
    guessed. A smaller one is demosaiced first.
    """
    area, (height, width) = shown_area(image), picture_shape(image)
    share = min(1.0, long_side / max(height, width))
    shape = max(1, round(height * share)), max(1, round(width * share))
    cells = min(area.height / 2 / shape[0], area.width / 2 / shape[1])  # for a pixel of the preview, each way
    if cells >= _MINIMUM_CELLS:
        return _average(image, area, shape, max(1, int(cells)))
    return _demosaic(image, area, shape)


def _average(image: RawImage, area: Area, shape: tuple[int, int], cells: int) -> Picture:
    """The mean of each colour in squares of `cells` by `cells` CFA cells, resized.

    The red sites lie off the middle of their square, and so do the blue ones. Resizing brings the colours
    together, so that edges stay without any.
    """
    side = 2 * cells
    height, width = -(-area.height // side), -(-area.width // side)
    planes = np.empty((3, height + 2, width + 2), np.float32)  # with an edge for what lies off the middle
    (y, x), *greens, _ = _sites(image, area)

    def average(start: int, band: Float32[np.ndarray, "h w"]) -> None:
        first, shape = start // side, (-(-len(band) // side), width)
        red, green, blue = planes[:, 1 + first : 1 + first + shape[0], 1:-1]
        red[:] = _means(band[y::2, x::2], cells, shape)
        blue[:] = _means(band[1 - y :: 2, 1 - x :: 2], cells, shape)
        one, other = (_means(band[row::2, column::2], cells, shape) for row, column in greens)
        np.add(one, other, out=green)
        green *= np.float32(0.5)

    visit_linear_bands(image, area, average, rows=_BAND_ROWS * side)
    planes[:, 0], planes[:, -1] = planes[:, 1], planes[:, -2]
    planes[:, :, 0], planes[:, :, -1] = planes[:, :, 1], planes[:, :, -2]
    offsets = ((0.5 - y, 0.5 - x), (0.0, 0.0), (y - 0.5, x - 0.5))

    balanced = np.empty((*shape, 3), np.float32)
    for plane, (down, across) in enumerate(offsets):
        top, left = 1 + down / side, 1 + across / side
        box = left, top, left + area.width / side, top + area.height / side
        balanced[..., plane] = _resize(planes[plane], box, shape)
    balanced /= np.array(image.color.neutral, np.float32)
    return balanced


def _demosaic(image: RawImage, area: Area, shape: tuple[int, int]) -> Picture:
    """Every colour at every pixel, resized where the preview has another size."""
    active = image.active
    mosaic = np.empty((active.height, active.width), np.float32)
    sites = _sites(image, active)
    red, green, blue = image.color.neutral

    def balance(start: int, band: Float32[np.ndarray, "h w"]) -> None:
        for (y, x), neutral in zip(sites, (red, green, green, blue), strict=True):
            site = mosaic[start + y : start + len(band) : 2, x::2]
            np.minimum(band[y::2, x::2] / np.float32(neutral), 1, out=site)

    visit_linear_bands(image, active, balance, rows=2 * _BAND_ROWS)
    rgb = demosaic(mosaic, image.cfa.shift(active.top, active.left))
    top, left = area.top - active.top, area.left - active.left
    if shape == (area.height, area.width):
        return rgb[top : top + area.height, left : left + area.width].copy()
    box = float(left), float(top), float(left + area.width), float(top + area.height)
    return np.stack([_resize(rgb[..., plane], box, shape) for plane in range(3)], axis=-1)


def _sites(image: RawImage, area: Area) -> tuple[tuple[int, int], ...]:
    """Row and column of R, G1, G2 and B in the first CFA cell of an area."""
    row, column = image.cfa.shift(area.top, area.left).red
    return (row, column), (row, 1 - column), (1 - row, column), (1 - row, 1 - column)


def _means(
    site: Float32[np.ndarray, "h w"], cells: int, shape: tuple[int, int]
) -> Float32[np.ndarray, "h2 w2"]:
    """The means of squares, the last ones completed by what is at the edge."""
    missing = [(0, count * cells - length) for count, length in zip(shape, site.shape, strict=True)]
    if any(after for _, after in missing):
        site = np.pad(site, missing, mode="edge")
    if cells == 1:
        return site
    total = np.zeros(shape, np.float32)
    for down in range(cells):
        for across in range(cells):
            total += site[down::cells, across::cells]
    total /= cells**2
    return total


def _resize(
    plane: Float32[np.ndarray, "h w"], box: tuple[float, float, float, float], shape: tuple[int, int]
) -> Float32[np.ndarray, "h2 w2"]:
    """Resize to a height and width what lies in `box`: left, top, right, bottom in pixels with fractions."""
    smaller = shape[1] < box[2] - box[0]
    way = Image.Resampling.HAMMING if smaller else Image.Resampling.BICUBIC
    picture = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize((shape[1], shape[0]), way, box=box))
