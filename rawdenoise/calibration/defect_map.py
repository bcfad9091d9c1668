"""Frames added up in the dark: black level, fixed pattern, hot pixels; and dead pixels from flats."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from rawdenoise.calibration.points import DarkPattern, DefectMap
from rawdenoise.capture.raw import RawImage
from rawdenoise.noise.model import FourFloats

NEIGHBORHOOD_SIDE = 32  # packed pixels: side of the block whose median a pixel is compared with
HOT_SIGMAS, HOT_SIGMAS_ALONE = 6.0, 12.0  # in every one of several darks; in the only one
DEAD_RESPONSE = 0.5

Planes = Float32[np.ndarray, "4 h w"]
Mask = Bool[np.ndarray, "4 h w"]


class DarkStack:
    """Darks of one camera added up as they come: two frames' worth of memory, however many they are."""

    def __init__(self) -> None:
        self.frames = 0
        self.means: list[float] = []
        self._sum: Planes = np.empty((4, 0, 0), np.float32)
        self._lowest: Planes = np.empty((4, 0, 0), np.float32)

    def add(self, planes: Planes) -> None:
        """Add one dark."""
        above = planes - _local_medians(planes)
        for plane in above:
            plane /= np.float32(_estimate_sigma(plane))
        self.means.append(float(planes.mean(dtype=np.float64, where=np.abs(above) < HOT_SIGMAS)))
        if self.frames:
            self._sum += planes
            np.minimum(self._lowest, above, out=self._lowest)
        else:
            self._sum, self._lowest = planes.copy(), above
        self.frames += 1

    @property
    def mean(self) -> Planes:
        """The mean of the darks."""
        return self._sum / np.float32(self.frames)

    @property
    def hot(self) -> Mask:
        """Pixels that stand far above their neighbourhood in every dark."""
        return self._lowest > (HOT_SIGMAS if self.frames > 1 else HOT_SIGMAS_ALONE)

    def black(self) -> FourFloats:
        """Mean level of each plane, hot pixels left out."""
        hot = self.hot
        a, b, c, d = (
            float(plane.mean(dtype=np.float64, where=~mask))
            for plane, mask in zip(self.mean, hot, strict=True)
        )
        return a, b, c, d

    def pattern(self, temporal: float, row_variance: float, range_dn: float) -> DarkPattern:
        """What stands still, once the temporal noise that is left in the mean is taken off."""
        mean, hot = self.mean, self.hot
        for plane, mask, black in zip(mean, hot, self.black(), strict=True):
            plane[mask] = black
            plane -= np.float32(black)
        height, width = mean.shape[1:]
        rows = (mean[::2] + mean[1::2]).mean(axis=2, dtype=np.float64) / 2
        columns = (mean[:2] + mean[2:]).mean(axis=1, dtype=np.float64) / 2
        noise, shared = temporal / self.frames, row_variance / self.frames
        pixel = _excess_sigma(mean, noise + shared)
        row = _excess_sigma(rows, noise / (2 * width) + shared)
        column = _excess_sigma(columns, (noise + shared) / (2 * height))
        drift = max(self.means) - min(self.means)
        return DarkPattern(self.frames, *(range_dn * figure for figure in (pixel, row, column, drift)))


def find_dead_pixels(planes: Planes) -> Mask:
    """Pixels of a well-lit flat that answer to less than half of the light around them."""
    return planes < DEAD_RESPONSE * _local_medians(planes)


def map_defects(raw: RawImage, hot: Mask, dead: Mask) -> DefectMap:
    """Turn masks of packed pixels into places on the mosaic of `raw`."""
    height, width = raw.mosaic.shape
    return DefectMap((height, width), _place_on_mosaic(raw, hot), _place_on_mosaic(raw, dead))


def _place_on_mosaic(raw: RawImage, mask: Mask) -> Int[np.ndarray, "n 2"]:
    """Where packed pixels lie on the mosaic, sorted: the way back through the mirroring of `pack`."""
    area = raw.active
    red_row, red_column = raw.cfa.shift(area.top, area.left).red
    plane, row, column = np.nonzero(mask)
    row, column = 2 * row + plane // 2, 2 * column + plane % 2
    if red_row:
        row = 2 * mask.shape[1] - 1 - row
    if red_column:
        column = 2 * mask.shape[2] - 1 - column
    inside = (row < area.height) & (column < area.width)  # an odd side was completed by reflection
    places = np.stack([row + area.top, column + area.left], axis=1)[inside]
    return places[np.lexsort((places[:, 1], places[:, 0]))]


def _local_medians(planes: Planes) -> Planes:
    """Give each pixel the median of its block; what is left over at an edge joins the last block."""
    medians = np.empty_like(planes)
    height, width = planes.shape[1:]
    for top, bottom in _split(height):
        for left, right in _split(width):
            window = slice(None), slice(top, bottom), slice(left, right)
            medians[window] = np.median(planes[window], axis=(1, 2), keepdims=True)
    return medians


def _split(length: int) -> list[tuple[int, int]]:
    starts = list(range(0, max(length - NEIGHBORHOOD_SIDE + 1, 1), NEIGHBORHOOD_SIDE))
    return list(zip(starts, [*starts[1:], length], strict=True))


def _estimate_sigma(values: Float32[np.ndarray, "h w"]) -> float:
    """Standard deviation from the middle 99 %: blind to hot pixels, not to long tails or to rounding."""
    sample = values.reshape(-1)[:: max(1, values.size // 2**18)]
    low, high = np.quantile(sample, (0.005, 0.995))
    return max(float(high - low) / 5.15, 1e-7)


def _excess_sigma(
    seen: Float32[np.ndarray, "..."] | Float64[np.ndarray, "..."], expected_variance: float
) -> float:
    """Standard deviation beyond the expected noise, 0 where the difference does not show."""
    variance = float(seen.var(dtype=np.float64))
    surplus = variance - expected_variance
    doubtful = (0.02 + 2 * np.sqrt(2 / seen.size)) * expected_variance
    return float(np.sqrt(surplus)) if surplus > doubtful else 0.0
