"""What is taken off a capture before its noise is white: defect pixels, then row noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from rawdenoise.defects import find_defects, repaired
from rawdenoise.noise import NoiseModel
from rawdenoise.rows import add_rows, row_offsets


@dataclass(frozen=True, slots=True, eq=False)
class Cleared:
    """A capture's planes without artefacts; which pixels were repaired, and the offset taken off each row."""

    planes: Float32[np.ndarray, "4 h w"]
    defects: Bool[np.ndarray, "4 h w"]
    offsets: Float32[np.ndarray, "2 h"]


def cleared(
    planes: Float32[np.ndarray, "4 h w"],
    noise: NoiseModel,
    *,
    valid: Bool[np.ndarray, "4 h w"],
    known: Bool[np.ndarray, "4 h w"] | None = None,
) -> Cleared:
    """Repair the `known` defects and those that show, and take off row noise where it shows.

    Pixels outside `valid` (clipped) are taken for no defects, and say nothing about their row.
    """
    defects = find_defects(planes, noise, valid=valid)
    if known is not None:
        defects |= known & valid
    whole = repaired(planes, defects)
    offsets = row_offsets(whole, noise, valid=valid & ~defects)
    return Cleared(add_rows(whole, -offsets), defects, offsets)
