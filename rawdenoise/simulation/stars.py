"""A night sky for a mosaic: stars of all widths, colours and magnitudes, each at a place of its own."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Int
from numpy.random import Generator

SPACING = 40  # pixels of the mosaic between stars, give or take a quarter
REACH = 10  # pixels around the middle that a star lights
SIGMAS = (0.6, 2.0)  # pixels: standard deviations of what a lens makes of a point
MAGNITUDES = 3.0  # powers of ten between the faintest peak and the brightest, which nearly clips
FAINTEST_COLOR = 0.4  # of the strongest colour's light


def scatter_stars(
    height: int, width: int, *, sky: float, full: float, rng: Generator
) -> tuple[Float64[np.ndarray, "h w"], Int[np.ndarray, "n 2"]]:
    """Electrons in an RGGB mosaic of stars over a `sky`, none beyond `full`; and where they are."""
    electrons = np.full((height, width), float(sky))
    color = np.array([[0, 1], [1, 2]])[np.arange(height)[:, None] % 2, np.arange(width) % 2]
    reach, places = np.arange(-REACH, REACH + 1), []
    for down in range(SPACING // 2, height - SPACING // 2 + 1, SPACING):
        for across in range(SPACING // 2, width - SPACING // 2 + 1, SPACING):
            y, x = (middle + rng.uniform(-SPACING / 8, SPACING / 8) for middle in (down, across))
            row, column, sigma = int(y), int(x), rng.uniform(*SIGMAS)
            light = np.outer(_integrate(row + reach - y, sigma), _integrate(column + reach - x, sigma))
            peak = full * 10 ** rng.uniform(-MAGNITUDES, math.log10(0.9))
            tint = rng.uniform(FAINTEST_COLOR, 1, 3)
            window = np.s_[row - REACH : row + REACH + 1, column - REACH : column + REACH + 1]
            electrons[window] += peak * light / light.max() * (tint / tint.max())[color[window]]
            places.append((row, column))
    return electrons, np.array(places, np.int64).reshape(-1, 2)


def _integrate(edges: Float64[np.ndarray, " n"], sigma: float) -> Float64[np.ndarray, " n"]:
    """What falls of a Gaussian on pixels that begin at these edges, from its middle."""
    below = np.array([math.erf(edge / sigma / math.sqrt(2)) for edge in (*edges, edges[-1] + 1)])
    return np.diff(below) / 2
