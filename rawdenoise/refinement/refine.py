"""A network's answer refined: points and levels that it lost are given back, and the judge can follow it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from rawdenoise.noise.model import NoiseModel
from rawdenoise.refinement.levels import Cells, add_levels, average_levels, find_levels, find_lost_levels
from rawdenoise.refinement.points import Points, give_back_points

Planes = Float32[np.ndarray, "4 h w"]
Window = Float32[np.ndarray, "4 rows columns"]


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """What was given back to a network's answer: the levels of cells, and points where there are any."""

    levels: Cells
    points: Points | None

    def find_answer(self, refined: Planes, rows: slice, columns: slice) -> Window:
        """The network's own answer in a window of the refined planes."""
        answer: Window = refined[:, rows, columns] - find_levels(self.levels, rows, columns)
        if self.points is not None:
            inside = self.points.find_inside(rows, columns)
            place = self.points.rows[inside] - rows.start, self.points.columns[inside] - columns.start
            answer[:, *place] -= self.points.added[:, inside]
        return answer

    def follow(
        self,
        disturbance: Planes,
        moved: Planes,
        valid: Bool[np.ndarray, "4 h w"],
        rows: slice,
        columns: slice,
    ) -> Planes:
        """How the refined answer moves in a window where that of the network moves by `moved`.

        What is given back is linear in what was taken away, but for where it is given back.
        """
        taken = disturbance - moved
        if self.points is not None:
            inside = self.points.find_inside(rows, columns)
            place = self.points.rows[inside] - rows.start, self.points.columns[inside] - columns.start
            taken[:, *place] *= 1 - valid[:, *place] * self.points.shares[inside]
        followed: Planes = disturbance - taken + average_levels(taken, valid)
        return followed


def refine(
    planes: Planes, clean: Planes, noise: NoiseModel, *, valid: Bool[np.ndarray, "4 h w"]
) -> Refinement:
    """Give back to `clean`, in place, what a denoiser of `planes` should not have taken away.

    First the points, so that what they lost does not shine around them. Pixels outside `valid` (clipped,
    repaired) have no say. Row noise has been taken off `planes`, and does not come back.
    """
    points = give_back_points(planes, clean, noise, valid=valid)
    levels = find_lost_levels(planes, clean, noise, valid=valid)
    add_levels(clean, levels)
    return Refinement(levels, points)
