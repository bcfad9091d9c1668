"""From which DN pixels are saturated."""

from __future__ import annotations

import numpy as np

from rawdenoise.capture.raw import RawImage

_ROW_STEP = 16  # of so many rows one is looked at for the distance of values


def saturation_level(raw: RawImage) -> float:
    """Find the DN from which pixels are saturated: the white level, or less where the capture shows it.

    Some files promise a white level that their sensor never reaches. The highest value of a capture is taken
    for saturation where at least 0.01 % of the pixels, and ten times more than at the values just below it,
    pile up on it in the upper half of the range.
    """
    active = raw.mosaic[raw.active.slices]
    top = int(active.max(initial=0))
    white = raw.levels.white
    if top >= white or top < (white + max(raw.levels.black)) / 2:
        return white
    crowd = np.count_nonzero(active == top)
    # In a finer scale than the sensor's, values lie further apart than 1: the gaps say nothing.
    step = int(np.gcd.reduce(active[::_ROW_STEP], axis=None))
    below = np.count_nonzero((active >= top - 8 * step) & (active < top)) / 8
    return float(top) if crowd >= max(1e-4 * active.size, 10 * below, 16) else white
