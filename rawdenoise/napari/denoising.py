"""A layer denoised in a thread: what is asked for, how far it is, and what came of it; knows no napari."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from rawdenoise.app.progress import expect_seconds
from rawdenoise.app.public import denoise
from rawdenoise.app.stores import Stores
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import Stopped, explain, never
from rawdenoise.extensions.registry import PACKAGE, extensions
from rawdenoise.inference.devices import pick_device
from rawdenoise.inference.stages import Stage
from rawdenoise.models.bundled import BUNDLED
from rawdenoise.models.store import ModelStore
from rawdenoise.napari.layers import MosaicFacts, captures_from_array, captures_of
from rawdenoise.pipeline import Denoised
from rawdenoise.recipe import Recipe


class NoiseSource(StrEnum):
    """From where the noise of a capture may be known."""

    ALL = "profile, file or pixels"
    CAPTURE = "file or pixels, no profile"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A layer to denoise, and how; `facts` stand in for what a plain array does not say."""

    name: str
    pixels: Any
    metadata: Mapping[str, Any]
    facts: MosaicFacts
    recipe: Recipe
    noise: NoiseSource
    stores: Stores


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The captures of a layer and what they became; or `failure` in a line; or nothing, if it was stopped."""

    captures: tuple[RawImage, ...] = ()
    results: tuple[Denoised, ...] = ()
    failure: str = ""


class Run:
    """A job under way, as both of its threads see it; `abandoned` says whether napari waits for its end."""

    def __init__(self) -> None:
        self.fraction = 0.0
        self.abandoned: Callable[[], bool] = never
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Give it up, soon."""
        self._cancelled.set()

    def stopped(self) -> bool:
        """Whether it is to be given up."""
        return self._cancelled.is_set() or self.abandoned()


def run_job(job: Job, run: Run) -> Outcome:
    """Denoise a layer frame by frame; nothing is raised, for napari would show more than a line of it."""
    try:
        captures = find_captures(job.pixels, job.metadata, job.facts, job.name)
        results = []
        for index, capture in enumerate(captures):
            results.append(_denoise_one(capture, job, run, (index, len(captures))))
        return Outcome(captures, tuple(results))
    except Stopped:
        return Outcome()
    except Exception as error:
        return Outcome(failure=explain(error))


def find_captures(
    data: Any, metadata: Mapping[str, Any], facts: MosaicFacts, name: str
) -> tuple[RawImage, ...]:
    """Give the captures that a layer shows: the raws that it came from, or a plain array with these facts.

    Raises:
        RawDenoiseError: it is no mosaic.
    """
    pixels = np.asarray(data)
    return captures_of(pixels, metadata) or captures_from_array(pixels, facts, name)


def _denoise_one(capture: RawImage, job: Job, run: Run, place: tuple[int, int]) -> Denoised:
    """Denoise the capture at a place among so many, and tell how far all of them are."""
    if run.stopped():
        raise Stopped
    index, count = place
    expected = expect_seconds(job.recipe, is_cpu=pick_device("auto").type == "cpu")
    seconds = expected.weigh(capture.mosaic.size)
    judging = seconds[Stage.JUDGE] / (seconds[Stage.DENOISE] + seconds[Stage.JUDGE])

    def note(stage: Stage, share: float) -> None:
        done = share * (1 - judging) if stage is Stage.DENOISE else 1 - judging * (1 - share)
        run.fraction = (index + done) / count

    use_profile = job.noise is NoiseSource.ALL
    result = denoise(
        capture, None, job.recipe, stores=job.stores, use_profile=use_profile, stop=run.stopped, on_stage=note
    )
    run.fraction = (index + 1) / count
    return result


def list_denoisers(models: ModelStore) -> list[tuple[str, Recipe]]:
    """List by what a layer can be denoised: a name to show, and the recipe that says so."""
    bundled = [(f"{name} (bundled)", Recipe(model=name)) for name in BUNDLED]
    own = [(card.id, Recipe(model=card.id)) for card in models.cards()]
    foreign = [
        (f"{name} ({extension.package})", Recipe(method=name))
        for name, extension in sorted(extensions("denoisers").items())
        if extension.package != PACKAGE
    ]
    return [("the camera's own, else fast", Recipe()), *bundled, *own, *foreign]


def sum_up(results: tuple[Denoised, ...]) -> str:
    """Say what results gained, a line for each."""
    lines = [_sum_up_one(result) for result in results]
    return lines[0] if len(lines) == 1 else "\n".join(f"{i}: {line}" for i, line in enumerate(lines))


def _sum_up_one(result: Denoised) -> str:
    if result.left:
        return f"left as it was: {result.left}"
    quality = result.quality
    if quality is None or not quality.told:
        return f"denoised; its gain {'was not estimated' if quality is None else 'is not known'}"
    low, high = quality.interval
    flags = "".join(f"; look at it: {flag.words}" for flag in quality.flags)
    return f"{quality.gain_db:+.1f} dB estimated (95 %: {low:+.1f} to {high:+.1f}){flags}"
