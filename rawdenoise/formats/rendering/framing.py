"""What of a mosaic is the picture: crops and the scale of its pixels.

DNG 1.7, chapter 4: DefaultCropOrigin and DefaultCropSize count from the active area's top-left, and
DefaultUserCrop within them; whole pixels are made of them as Adobe's SDK does, by rounding.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Shaped

from rawdenoise.capture.raw import Area, Ifd, RawImage
from rawdenoise.formats.tiff.reading import numbers
from rawdenoise.formats.tiff.tags import Code

_MINIMUM_CROP_SHARE = 0.55  # of a side
_MINIMUM_SCALE, _MAXIMUM_SCALE = 0.25, 4.0  # rows or columns of a pixel; Nikon's D1X has 2


def default_crop(tags: Ifd, active: Area) -> Area:
    """The crop that a DNG states, in the mosaic; the active area where it states none or an empty one."""
    origin, size = (_finite_values(tags, code) for code in (Code.DefaultCropOrigin, Code.DefaultCropSize))
    if len(size) != 2:
        return active
    left, top = (_round(value) for value in (origin if len(origin) == 2 else (0, 0)))
    width, height = map(_round, size)
    return _intersect(active, top, left, height, width) or active


def user_crop(tags: Ifd, crop: Area) -> Area:
    """What DefaultUserCrop (top, left, bottom, right, each 0..1) leaves of a crop."""
    fractions = _finite_values(tags, Code.DefaultUserCrop)
    if len(fractions) != 4:
        return crop
    top, left, bottom, right = (min(max(value, 0.0), 1.0) for value in fractions)
    rows = [_round(value * crop.height) for value in (top, bottom)]
    columns = [_round(value * crop.width) for value in (left, right)]
    return _intersect(crop, rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0]) or crop


def pixel_scale(tags: Ifd) -> tuple[float, float]:
    """How many rows and columns of the picture a pixel makes, by DefaultScale; 1 where that is no scale."""
    scale = _finite_values(tags, Code.DefaultScale)
    if len(scale) != 2 or not is_sound_scale(*scale):
        return 1.0, 1.0
    across, down = scale
    return down, across


def makers_crop(sizes: object, active: Area) -> Area | None:
    """What the maker of another raw than a DNG shows, where LibRaw's sizes say it and that can be."""
    top, left, height, width = (
        int(getattr(sizes, f"crop_{name}", 0)) for name in ("top_margin", "left_margin", "height", "width")
    )
    crop = Area(top, left, top + height, left + width)
    inside = (
        active.top <= top < crop.bottom <= active.bottom and active.left <= left < crop.right <= active.right
    )
    # LibRaw, too, disbelieves crops of less than about half a side: makers' tags mean other things as well.
    large = height >= _MINIMUM_CROP_SHARE * active.height and width >= _MINIMUM_CROP_SHARE * active.width
    return crop if inside and large else None


def libraw_scale(aspect: float) -> tuple[float, float]:
    """Rows and columns of a picture for a pixel, from LibRaw's aspect; nothing is made smaller."""
    if aspect == 1 or not is_sound_scale(aspect):
        return 1.0, 1.0
    return (1 / aspect, 1.0) if aspect < 1 else (1.0, aspect)


def is_sound_scale(*scales: float) -> bool:
    """Whether pixels can be meant to become so large, rather than it being a mistake or a trap."""
    return all(_MINIMUM_SCALE <= scale <= _MAXIMUM_SCALE for scale in scales)


def shown_area(image: RawImage) -> Area:
    """What is shown of a mosaic."""
    return image.active if image.crop is None else image.crop


def picture_shape(image: RawImage) -> tuple[int, int]:
    """Height and width of the picture, before it is turned upright."""
    area, (down, across) = shown_area(image), image.pixel_scale
    return max(1, _round(area.height * down)), max(1, _round(area.width * across))


def turn_upright(picture: Shaped[np.ndarray, "h w *c"], orientation: int) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """Turn and mirror a picture as EXIF's Orientation (1..8) asks."""
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    # Of 1..8: whether rows, and whether columns, then run the other way.
    rows = orientation in (3, 4, 7, 8)
    columns = orientation in (2, 3, 6, 7)
    return picture[:: -1 if rows else 1, :: -1 if columns else 1]


def _intersect(area: Area, top: int, left: int, height: int, width: int) -> Area | None:
    """The part of an area with this origin and size, as far as it reaches; None where nothing is left."""
    bottom, right = min(top + height, area.height), min(left + width, area.width)
    top, left = max(top, 0), max(left, 0)
    if bottom <= top or right <= left:
        return None
    return Area(area.top + top, area.left + left, area.top + bottom, area.left + right)


def _round(value: float) -> int:
    return math.floor(min(max(value, -1e9), 1e9) + 0.5)


def _finite_values(tags: Ifd, code: Code) -> tuple[float, ...]:
    """The numbers of a tag; none where one of them is no number."""
    values = numbers(tags.get(code))
    return values if all(map(math.isfinite, values)) else ()
