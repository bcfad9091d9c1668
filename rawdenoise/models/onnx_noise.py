"""The stabilisation of `rawdenoise.noise.stabilize` as nodes of an ONNX graph, for noise that is an input.

The tables that mend the transform depend on the ratio of read noise to shot noise alone. The graph holds
those of `RATIOS` and takes the mean of the two nearest ones, by the ratio's logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float32, Float64

from rawdenoise.models.onnx_graph import Graph, Value
from rawdenoise.noise.model import MINIMUM_VARIANCE
from rawdenoise.noise.stabilize import (
    MINIMUM_STABILIZED_READ,
    TABLE_FIRST,
    TABLE_LAST,
    TABLE_READ,
    TABLE_STEP,
    make_curves,
)

ONE = np.int32(1)
MINIMUM_DEVIATION = 1e-15  # of a noise that is said to be none: nothing is divided by 0
# The curves have a kink where less read noise is no longer stabilised.
RATIOS = np.concatenate(
    [
        np.geomspace(TABLE_READ[0], MINIMUM_STABILIZED_READ, 17)[:-1],
        np.geomspace(MINIMUM_STABILIZED_READ, TABLE_READ[1], 48),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Stabilization:
    """The transform of the noise that a graph is given, and its inverse.

    `shot`, `at_black` and `bent`, what the bend comes to at high signals, are (4, 1, 1).
    """

    graph: Graph
    shot: Value
    at_black: Value
    bend: _Table
    lift: _Table
    bent: Value

    def stabilize(self, planes: Value) -> Value:
        """Transform planes so that their noise has unit variance; black goes to 0."""
        lit = self.graph.clip(planes, 0.0)
        root = self.graph.add("Sqrt", self.shot * lit + self.at_black * self.at_black)
        z = 2.0 * planes / (root + self.at_black)
        return z + self.bend.look_up(z)

    def unstabilize(self, stabilized: Value) -> Value:
        """Invert `stabilize` without bias."""
        z = stabilized - self.bent
        lit = self.graph.clip(z, 0.0)
        return z * self.at_black + self.shot * (lit * lit * 0.25 + self.lift.look_up(z))


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """A piecewise linear function per plane, offset + slope z, flat; `first` (4, 1, 1) is where it starts."""

    graph: Graph
    first: Value
    offset: Value
    slope: Value

    def look_up(self, z: Value) -> Value:
        """Interpolate between entries; on below the first as a line, and constant above the last."""
        graph, last = self.graph, len(_steps()) - 1
        at = graph.cast(graph.clip((z - self.first) * (1 / TABLE_STEP), 0.0, float(last)), np.int32)
        # The second clip is for what is no number, which must not become an index.
        piece = graph.clip(at, np.int32(0), np.int32(last))
        index = piece + ((last + 1) * np.arange(4, dtype=np.int32)).reshape(4, 1, 1)
        offset, slope = (graph.add("Gather", of, index, axis=0) for of in (self.offset, self.slope))
        return offset + slope * z


def add_stabilization(graph: Graph, shot: Value, read_variance: Value) -> Stabilization:
    """Make what depends on the noise alone, of `shot` and `read_variance` per plane, both (4)."""
    column, per_plane = np.array([4, 1]), np.array([4, 1, 1])
    shot = graph.clip(graph.add("Reshape", shot, column), 0.0)
    read = graph.clip(graph.add("Reshape", read_variance, column), 0.0)
    at_black = graph.clip(graph.add("Sqrt", shot * shot * (3 / 8) + read), MINIMUM_DEVIATION)
    ratio = graph.add("Sqrt", read) / graph.clip(shot, MINIMUM_VARIANCE)

    bends, lifts, lift_firsts = _make_tables()
    between = _find_between(graph, graph.clip(ratio, *TABLE_READ))
    # Above the largest ratio the bend goes on falling as one over it, and the lift stays as it is.
    bend = between.mix(bends) * (TABLE_READ[1] / graph.clip(ratio, TABLE_READ[1]))
    lift = between.mix(lifts)
    bent = graph.add("Gather", bend, np.array([bends.shape[1] - 1]), axis=1)
    bend_first = np.full((4, 1), TABLE_FIRST, np.float32)
    return Stabilization(
        graph,
        graph.add("Reshape", shot, per_plane),
        graph.add("Reshape", at_black, per_plane),
        _add_table(graph, bend, graph.add("Identity", bend_first)),
        _add_table(graph, lift, between.mix(lift_firsts) - bent),
        graph.add("Reshape", bent, per_plane),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Between:
    """Between which of `RATIOS` four ratios lie: the `lower` one of each, and how far from it, 0 to 1."""

    graph: Graph
    lower: Value
    share: Value

    def mix(self, rows: Float32[np.ndarray, "ratios n"]) -> Value:
        """Take from a table with a row for each ratio what lies between two rows, for each of the four."""
        low, high = (self.graph.add("Gather", rows, at, axis=0) for at in (self.lower, self.lower + ONE))
        return low + self.share * (high - low)


def _find_between(graph: Graph, ratio: Value) -> _Between:
    """Find four ratios, (4, 1), among `RATIOS`."""
    logs = np.log(RATIOS).astype(np.float32)
    at = graph.add("Log", ratio)
    above = graph.cast(graph.add("GreaterOrEqual", at, logs[None, 1:-1]), np.int32)
    lower = graph.add("ReduceSum", above, np.array([1]), keepdims=0)
    low, width = (
        graph.add("Reshape", graph.add("Gather", of, lower, axis=0), np.array([4, 1]))
        for of in (logs[:-1], np.diff(logs))
    )
    return _Between(graph, lower, (at - low) / width)


def _add_table(graph: Graph, entries: Value, first: Value) -> _Table:
    """Make a table of its entries, (4, n), the first of which is at `first`, (4, 1)."""
    steps = _steps().astype(np.float32)
    last = len(steps) - 1
    columns = [graph.add("Gather", entries, np.arange(start, start + last), axis=1) for start in (0, 1)]
    rises = (columns[1] - columns[0]) * (1 / TABLE_STEP)
    slope = graph.add("Pad", rises, np.array([0, 0, 0, 1]))
    offset = entries - slope * (first + steps)
    flat, per_plane = np.array([-1]), np.array([4, 1, 1])
    return _Table(
        graph,
        graph.add("Reshape", first, per_plane),
        graph.add("Reshape", offset, flat),
        graph.add("Reshape", slope, flat),
    )


@cache
def _make_tables() -> tuple[
    Float32[np.ndarray, "ratios n"], Float32[np.ndarray, "ratios n"], Float32[np.ndarray, "ratios 1"]
]:
    """The bend and the lift for each of `RATIOS`, and where it starts before the last bend is taken off."""
    curves = [make_curves(float(ratio), None) for ratio in RATIOS]
    bends = np.array([curve.bend for curve in curves], np.float32)
    lifts = np.array([curve.lift for curve in curves], np.float32)
    return bends, lifts, np.array([[curve.lift_first] for curve in curves], np.float32)


def _steps() -> Float64[np.ndarray, " n"]:
    """Where the tables have their entries, from the first one on."""
    return np.arange(0, TABLE_LAST - TABLE_FIRST + TABLE_STEP / 2, TABLE_STEP)
