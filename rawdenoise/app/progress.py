"""How far a command is, and how long it may still take: what is told while it runs, for whoever shows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rawdenoise.inference.stages import Stage

if TYPE_CHECKING:
    from rawdenoise.recipe import Recipe

FINISHED = "finished"  # what a file is at when its result is there, instead of a stage
BYTES_PER_PIXEL = 1.3  # of a raw file, more or less: what a picture weighs is known before it is read
SMALLEST_JUDGED = 2.2e6  # pixels whose judgement takes as long as denoising them
EARLIEST_FRACTION, EARLIEST_S = 0.02, 0.5  # before which no time left is told: it would be a guess


@dataclass(frozen=True, slots=True)
class WorkProgress:
    """How far a command is: `fraction` of the whole, 0 to 1, and seconds left; None where they are not known.

    `file` is what was last heard of, at `stage`. `files_done` of `files` have their result.
    """

    stage: str
    fraction: float | None = None
    file: Path | None = None
    files_done: int = 0
    files: int = 0
    seconds_left: float | None = None


OnProgress = Callable[[WorkProgress], None]


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """What each stage takes for a megapixel, relative to each other, on one kind of machine."""

    read: float
    denoise: float
    judge: float
    write: float

    def weigh(self, pixels: float) -> Mapping[Stage, float]:
        """What the stages of a picture take; small ones are judged in more places than large ones."""
        judge = self.denoise * min(1.0, max(self.judge, SMALLEST_JUDGED / max(pixels, 1.0)))
        shares = (self.read, self.denoise, judge if self.judge else 0.0, self.write)
        return {stage: share * pixels for stage, share in zip(Stage, shares, strict=True)}


def expect_seconds(recipe: Recipe, *, is_cpu: bool) -> StageSeconds:
    """What is expected of a recipe, by `benchmarks/run.py throughput` on two cores; `judge` is relative.

    It shapes the way from 0 to 1 within a file; how long that takes is measured while it runs.
    """
    if recipe.takes_nothing:
        return StageSeconds(1.0, 0.1, 0.0, 1.6)
    network = (20.0 if "best" in (recipe.bundled, recipe.model) else 8.7) if is_cpu else 1.5
    return StageSeconds(1.0, network, 0.16 if recipe.estimate else 0.0, 1.6)


class BatchMeter:
    """Hears of files' stages, from any thread, and tells `on_progress`: the fraction never falls.

    A file weighs what it is expected to take, by its size in bytes. Those of the `files` that have no size
    here, for planning has settled them, weigh nothing.
    """

    def __init__(
        self, sizes: Mapping[Path, int], files: int, expected: StageSeconds, on_progress: OnProgress
    ) -> None:
        self._weights = {
            source: expected.weigh(max(size, 1) / BYTES_PER_PIXEL) for source, size in sizes.items()
        }
        self._total = sum(sum(weights.values()) for weights in self._weights.values())
        self._done = dict.fromkeys(sizes, 0.0)
        self._sum = self._fraction = 0.0
        self._waiting, self._files_done, self._files = len(sizes), 0, files
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._began: float | None = None

    def note(self, source: Path, stage: Stage, share: float) -> None:
        """Hear how much of a stage of a file is done."""
        weights = self._weights.get(source)
        if weights is None:
            return
        before = sum(weight for earlier, weight in weights.items() if _comes_before(earlier, stage))
        with self._lock:
            self._began = self._began or time.monotonic()
            self._advance(source, before + share * weights[stage])
            self._tell(source, stage)

    def finish(self, source: Path) -> None:
        """Hear that a file has its result, whatever that is."""
        with self._lock:
            self._files_done += 1
            if source in self._weights:
                self._waiting -= 1
                self._advance(source, sum(self._weights[source].values()))
            self._tell(source, FINISHED)

    def _advance(self, source: Path, done: float) -> None:
        if done > self._done[source]:
            self._sum += done - self._done[source]
            self._done[source] = done

    def _tell(self, source: Path, stage: str) -> None:
        if not self._waiting:
            self._fraction = 1.0
        elif self._total > 0:  # rounding alone makes no whole of it
            self._fraction = max(self._fraction, min(self._sum / self._total, 0.9999))
        elapsed = time.monotonic() - self._began if self._began else 0.0
        left = expect_seconds_left(elapsed, self._fraction)
        self._on_progress(WorkProgress(stage, self._fraction, source, self._files_done, self._files, left))


def expect_seconds_left(elapsed_s: float, fraction: float) -> float | None:
    """How long the rest takes at the pace so far; None at the beginning."""
    if fraction >= 1:
        return 0.0
    if fraction < EARLIEST_FRACTION or elapsed_s < EARLIEST_S:
        return None
    return elapsed_s * (1 - fraction) / fraction


def _comes_before(stage: Stage, other: Stage) -> bool:
    order = list(Stage)
    return order.index(stage) < order.index(other)
