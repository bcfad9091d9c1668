"""A quick demosaicing in NumPy, for previews.

H. S. Malvar, L. He, R. Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color
images", ICASSP 2004, figure 2.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from rawdenoise.capture.raw import Cfa

Plane = Float32[np.ndarray, "h w"]


def demosaic(mosaic: Plane, cfa: Cfa) -> Float32[np.ndarray, "h w 3"]:
    """Every colour at every pixel, by linear filters of 5x5; the mosaic is white-balanced, and may be odd."""
    height, width = mosaic.shape
    rows, columns = height + height % 2, width + width % 2
    padded = np.pad(mosaic, ((2, 2 + height % 2), (2, 2 + width % 2)), mode="reflect")
    rgb = np.empty((rows, columns, 3), np.float32)
    row, column = cfa.red
    for y in (0, 1):
        for x in (0, 1):
            sites = _Sites(padded, y, x)
            red, green, blue = rgb[y::2, x::2].transpose(2, 0, 1)
            if (y, x) == (row, column):
                red[:], green[:], blue[:] = sites.itself, sites.cross_color(), sites.opposite_color()
            elif (y, x) == (1 - row, 1 - column):
                red[:], green[:], blue[:] = sites.opposite_color(), sites.cross_color(), sites.itself
            else:
                beside, over = sites.side_color(), sites.side_color(turned=True)
                green[:] = sites.itself
                red[:], blue[:] = (beside, over) if y == row else (over, beside)
    return rgb[:height, :width]


class _Sites:
    """One of the four sites of all CFA cells, and the filters that give it the colours it has not."""

    def __init__(self, padded: Plane, row: int, column: int) -> None:
        self._padded, self._row, self._column = padded, row, column
        self.itself = self._pixels_at(0, 0)

    def cross_color(self) -> Plane:
        """Green at red and blue: that of the four neighbours."""
        return (4 * self.itself + 2 * self._sum(*_CROSS) - self._sum(*_FAR_CROSS)) / 8

    def opposite_color(self) -> Plane:
        """Red at blue and blue at red: that of the four diagonal neighbours."""
        return (6 * self.itself + 2 * self._sum(*_DIAGONAL) - 1.5 * self._sum(*_FAR_CROSS)) / 8

    def side_color(self, *, turned: bool = False) -> Plane:
        """Red or blue at green: that of the neighbours beside it or, turned, of those over and below it."""
        near, along, across = ((0, -1), (0, 1)), ((0, -2), (0, 2)), ((-2, 0), (2, 0))
        if turned:
            near, along, across = ((-1, 0), (1, 0)), across, along
        plus = 5 * self.itself + 4 * self._sum(*near) + 0.5 * self._sum(*across)
        return (plus - self._sum(*_DIAGONAL) - self._sum(*along)) / 8

    def _pixels_at(self, down: int, across: int) -> Plane:
        height, width = self._padded.shape[0] - 4, self._padded.shape[1] - 4
        top, left = 2 + self._row + down, 2 + self._column + across
        return self._padded[top : top + height - self._row : 2, left : left + width - self._column : 2]

    def _sum(self, *offsets: tuple[int, int]) -> Plane:
        first, *others = (self._pixels_at(*offset) for offset in offsets)
        total = first.copy()
        for plane in others:
            total += plane
        return total


_CROSS = ((-1, 0), (1, 0), (0, -1), (0, 1))
_FAR_CROSS = ((-2, 0), (2, 0), (0, -2), (0, 2))
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
