"""Many files through the pipeline, without waiting for each other and without filling the memory."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from rawdenoise.app.planning import FileJob, begin_result
from rawdenoise.app.results import FileResult, Status
from rawdenoise.capture.raw import Camera, RawImage
from rawdenoise.errors import OutputError, RawDenoiseError, Stop, Stopped, exit_code_of, never
from rawdenoise.files.outputs import STANDINGS_OF_SOURCE
from rawdenoise.files.sidecars import Sidecars, copy_missing
from rawdenoise.files.sources import is_same_file, name_of, read_digested
from rawdenoise.formats import LAYOUT_SUFFIXES
from rawdenoise.formats.dng.writer import list_compromises
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.output_levels import level_notes
from rawdenoise.inference.stages import Stage, unheard
from rawdenoise.isolation.isolated_reader import read_alone
from rawdenoise.models.method import Method
from rawdenoise.models.model import Model
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.pipeline import Denoised, denoise, write
from rawdenoise.recipe import Recipe

log = logging.getLogger(__name__)


Read = Callable[[Path, PlainLayout | None, Stop], RawImage]
OnFileStage = Callable[[Path, Stage, float], None]
"""Is told how much of a file's stage is done, from 0 to 1, by whatever thread does it."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done to a file, in this order.

    `read` and `denoise` raise `Stopped` soon after their last argument says so; `why_unwanted` gives the
    reason why a result is not written, or nothing.
    """

    read: Callable[[Path, Stop], RawImage]
    denoise: Callable[[RawImage, Stop], Denoised]
    write: Callable[[Denoised, Path], Path]
    why_unwanted: Callable[[Denoised], str] = lambda denoised: ""


@dataclass(frozen=True, slots=True)
class Signing:
    """What outputs say of their making: `recipe_of` gives the digest of the recipe for a source.

    `keep` is given the digest of a source's content as soon as it is known.
    """

    recipe_of: Callable[[Path], str]
    keep: Callable[[Path, str], object] = lambda source, digest: None


def digest_recipe(recipe: Recipe, layout: PlainLayout | None, source: Path) -> str:
    """Give the digest of the recipe by which a source is done; pictures are left out by it, but not changed.

    How plain mosaics are laid out changes the pixels of those alone.
    """
    is_plain = source.suffix.lower() in LAYOUT_SUFFIXES | {".raw"}
    return replace(recipe, min_gain=None).digest_for(layout if is_plain else None)


def make_steps(
    recipe: Recipe,
    models: Callable[[Camera], Model | Method | None],
    *,
    profiles: ProfileStore | None = None,
    device: str = "auto",
    layout: PlainLayout | None = None,
    overwrite: bool = False,
    keep_mtime: bool = False,
    signing: Signing | None = None,
    remade: Collection[Path] = (),
    read: Read = read_alone,
    on_stage: OnFileStage = unheard,
) -> Steps:
    """Make the steps that denoise a file; `models` gives a camera's model, or None where none is needed.

    Pictures that gained less than the recipe's least gain by their estimate are not written. With `signing`
    outputs say of which content they were made and by which recipe. `remade` are outputs that are written
    over even where others are not; a source never is. Where there are many files, `read` is to do it in
    processes of their own, so that what crashes is one file's. `on_stage` is told how far each file is.
    """

    def read_one(path: Path, stop: Stop) -> RawImage:
        def read_file(path: Path) -> RawImage:
            return read(path, layout, stop)

        on_stage(path, Stage.READ, 0.0)
        raw = read_file(path) if signing is None else read_digested(path, read_file)
        if signing is not None:
            signing.keep(path, raw.source_digest)
        notes = list_compromises(raw) if recipe.format == Format.DNG else ()
        notes_of_levels = level_notes(raw, recipe.levels, strength=recipe.largest_strength)
        return replace(raw, notes=(*raw.notes, *notes, *notes_of_levels))

    def denoise_one(raw: RawImage, stop: Stop) -> Denoised:
        on_stage(raw.source, Stage.DENOISE, 0.0)
        told = partial(on_stage, raw.source)
        model = models(raw.camera)
        return denoise(raw, model, recipe, profiles=profiles, device=device, stop=stop, on_stage=told)

    def write_one(denoised: Denoised, output: Path) -> Path:
        on_stage(denoised.image.source, Stage.WRITE, 0.0)
        if signing is not None:
            image = denoised.image
            denoised = sign(denoised, image.source_digest, signing.recipe_of(image.source))
        if is_same_file(denoised.image.source, output):
            raise OutputError(output, "is the source itself; give another folder, or another name")
        written = write(denoised, output, format=recipe.format, replace=overwrite or output in remade)
        if keep_mtime:
            times = denoised.image.source.stat()
            os.utime(written, ns=(times.st_atime_ns, times.st_mtime_ns))
        return written

    def why_unwanted(denoised: Denoised) -> str:
        quality, min_gain = denoised.quality, recipe.min_gain
        if min_gain is None or quality is None or (quality.told and quality.gain_db >= min_gain):
            return ""
        if not quality.told:
            return f"how much it would gain is not known: {denoised.left}"
        return f"gained {quality.gain_db:+.1f} dB only, less than {min_gain:g} dB"

    return Steps(read_one, denoise_one, write_one, why_unwanted)


def sign(denoised: Denoised, source_digest: str, recipe_digest: str) -> Denoised:
    """Have a result say of which content it was made, what that file was called, and by which recipe."""
    provenance = replace(
        denoised.provenance,
        source_digest=source_digest,
        source_name=name_of(denoised.image.source),
        recipe=recipe_digest,
    )
    return replace(denoised, provenance=provenance)


def add_sidecars(results: Iterable[FileResult], sidecars: Sidecars) -> Iterator[FileResult]:
    """Copy what belongs to each capture beside its output, as soon as that is there, or was.

    A sidecar that cannot be copied does not undo its picture: a note says so.
    """
    for result in results:
        there = result.status is Status.DONE or result.standing in STANDINGS_OF_SOURCE
        if result.output is None or not there or result.status is Status.FAILED:
            yield result
            continue
        try:
            copied = copy_missing(sidecars.find(result.source), result.source, result.output)
            yield replace(result, sidecars=tuple(copied))
        except RawDenoiseError as error:
            yield replace(result, notes=(*result.notes, f"not copied: {error}"))


def run_batch(
    jobs: Iterable[FileJob], steps: Steps, *, in_flight: int = 2, stop: Stop = never
) -> Generator[FileResult, None, None]:
    """Do the jobs and give each one's result as soon as it is there.

    At most `in_flight` files are in memory; one is in the network while others are read and written. Errors
    and bugs become failed results. When `stop` turns true, or the iterator is closed, files under way
    are given up and leave nothing; those already complete are still given.
    """
    closed = threading.Event()

    def stopped() -> bool:
        return closed.is_set() or stop()

    pending, running = iter(jobs), set[Future[FileResult | None]]()
    with ThreadPoolExecutor(1, "network") as network, ThreadPoolExecutor(in_flight, "file") as files:
        try:
            while not stopped():
                for job in islice(pending, in_flight - len(running)):
                    running.add(files.submit(run_file, job, steps, network, stopped))
                if not running:
                    return
                finished, running = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
                yield from _gather_results(finished)
            yield from _gather_results(running)
        finally:
            closed.set()


def _gather_results(futures: Iterable[Future[FileResult | None]]) -> Iterator[FileResult]:
    return (result for future in futures if (result := future.result()))


def run_file(job: FileJob, steps: Steps, network: Executor, stop: Stop) -> FileResult | None:
    """Read, denoise (in `network`) and write one file; None if it was given up."""
    result = begin_result(job)
    if job.status is not Status.PLANNED or job.output is None:
        return result
    try:
        start = time.perf_counter()
        raw = steps.read(job.source, stop)
        read_s = time.perf_counter() - start
        result = replace(
            result,
            camera=raw.camera.name,
            megapixels=raw.mosaic.size / 1e6,
            read_s=read_s,
            notes=(*result.notes, *raw.notes),
        )
        denoised = network.submit(_run_unless_stopped, stop, steps.denoise, raw).result()
        del raw
        result = replace(
            result,
            model_id=denoised.provenance.model_id,
            network_s=denoised.network_s,
            quality=denoised.quality,
            left=denoised.left,
            notes=(*result.notes, *denoised.notes),
        )
        if stop():
            return None
        if reason := steps.why_unwanted(denoised):
            return replace(result, output=None, status=Status.SKIPPED, reason=reason)
        start = time.perf_counter()
        output = steps.write(denoised, job.output)
        return replace(result, output=output, status=Status.DONE, write_s=time.perf_counter() - start)
    except Stopped:
        return None
    except Exception as error:
        log.debug("%s failed", job.source, exc_info=True)
        return replace(
            result,
            status=Status.FAILED,
            reason=explain_failure(error, job.source),
            exit_code=exit_code_of(error),
            error=error,
        )


def _run_unless_stopped(stop: Stop, step: Callable[[RawImage, Stop], Denoised], raw: RawImage) -> Denoised:
    if stop():
        raise Stopped
    return step(raw, stop)


def explain_failure(error: Exception, source: Path) -> str:
    """One line for a person: our own errors as they are, bugs with the name of their type."""
    if isinstance(error, RawDenoiseError):
        return str(error).removeprefix(f"{source}: ")
    if isinstance(error, MemoryError):
        return "not enough memory; try --jobs 1"
    first = str(error).strip().partition("\n")[0]
    return f"unexpected {type(error).__name__}: {first}".removesuffix(": ")
