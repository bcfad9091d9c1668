"""Many captures denoised: what is asked for, the plan of it, and a result for each file as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rawdenoise.app.batch import Signing, Steps, add_sidecars, digest_recipe, make_steps, run_batch
from rawdenoise.app.planning import FileJob, IfExists, Naming, plan
from rawdenoise.app.progress import BatchMeter, OnProgress, expect_seconds
from rawdenoise.app.results import FileResult, Status
from rawdenoise.app.stores import Stores
from rawdenoise.atomic import remove_abandoned
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import SetupError, Stop, never
from rawdenoise.files.digests import Digests
from rawdenoise.files.names import NamePattern, mirror_of
from rawdenoise.files.outputs import Judge
from rawdenoise.files.sidecars import CAPTURE_ONE_FOLDER, Sidecars
from rawdenoise.files.sources import signature_of
from rawdenoise.formats import raw_suffixes
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.writers import find_writer
from rawdenoise.inference.devices import pick_device
from rawdenoise.inference.stages import unheard
from rawdenoise.isolation.isolated_reader import read_alone, shared_reader
from rawdenoise.models.choice import choose_by_camera, list_current_models
from rawdenoise.models.method import Method, load_method
from rawdenoise.models.model import Model
from rawdenoise.models.store import ModelStore
from rawdenoise.recipe import Recipe


@dataclass(frozen=True, slots=True)
class DenoiseRequest:
    """Files and folders to denoise, how, and where to.

    `output` is the folder for outputs, None for beside their sources. Outputs of ours are sources only where
    they are `named`. `root` is the folder below which the tree is mirrored, by default that of the `inputs`;
    these are a `is_list` where they come from a file, and say of no tree. `layout` tells how plain mosaics
    are to be read. `in_flight` is how many files are in memory at a time.
    """

    inputs: tuple[Path, ...]
    output: Path | None
    recipe: Recipe = Recipe()  # noqa: RUF009 - frozen
    if_exists: IfExists = IfExists.SKIP
    pattern: NamePattern = NamePattern()  # noqa: RUF009 - frozen
    root: Path | None = None
    recursive: bool = False
    named: tuple[Path, ...] = ()
    is_list: bool = False
    layout: PlainLayout | None = None
    in_flight: int = 2
    device: str = "auto"
    keep_mtime: bool = False
    sidecars: bool = False


def choose_denoisers(
    recipe: Recipe, models: ModelStore, *, device: str
) -> Callable[[Camera], Model | Method | None]:
    """Tell by what a camera's captures are denoised; what is not there is said now, not at every file.

    Raises:
        SetupError: the device or the method is absent. ModelError: the model asked for is missing or broken.
    """
    if not recipe.takes_nothing:
        pick_device(device)
    if not recipe.takes_nothing and recipe.method is not None:
        method = load_method(recipe.method)
        return lambda camera: method
    return choose_by_camera(models, id=recipe.model, bundled=recipe.bundled, strength=recipe.largest_strength)


def plan_batch(request: DenoiseRequest, stores: Stores, digests: Digests) -> list[FileJob]:
    """Say which files are to be done and which output each one gets; nothing is written or decoded."""
    recipe, layout = request.recipe, request.layout
    current = list_current_models(
        stores.models,
        id=recipe.model or recipe.method,
        bundled=recipe.bundled,
        strength=recipe.largest_strength,
    )
    mirror = mirror_of(request.inputs, request.root, is_list=request.is_list)
    return plan(
        request.inputs,
        request.output,
        suffix=find_writer(recipe.format).suffix,
        recursive=request.recursive,
        if_exists=request.if_exists,
        suffixes=raw_suffixes(layout),
        naming=Naming(request.pattern, mirror),
        judge=Judge(digests.look_up, partial(digest_recipe, recipe, layout), current),
        named=request.named,
    )


def denoise_batch(
    request: DenoiseRequest,
    jobs: Sequence[FileJob],
    stores: Stores,
    digests: Digests,
    *,
    stop: Stop = never,
    on_progress: OnProgress = unheard,
    is_isolated: bool = False,
) -> Iterator[FileResult]:
    """Do the jobs of a plan, and give each one's result as soon as it is there.

    Several files are read in processes of their own, and a single one where `is_isolated`. When `stop` turns
    true, files under way are given up and leave nothing. `on_progress` is told how far it all is.

    Raises:
        SetupError: the device is absent, or the folder cannot be made.
        ModelError: the model asked for is missing or broken.
    """
    recipe, layout = request.recipe, request.layout
    models = choose_denoisers(recipe, stores.models, device=request.device)
    _prepare_folders(request.output, jobs)
    planned = [job.source for job in jobs if job.status is Status.PLANNED]
    is_cpu = recipe.takes_nothing or pick_device(request.device).type == "cpu"
    expected = expect_seconds(recipe, is_cpu=is_cpu)
    meter = BatchMeter({path: _find_size(path) for path in planned}, len(jobs), expected, on_progress)
    steps = make_steps(
        recipe,
        models,
        profiles=stores.profiles,
        device=request.device,
        layout=layout,
        overwrite=request.if_exists is IfExists.OVERWRITE,
        keep_mtime=request.keep_mtime,
        signing=Signing(partial(digest_recipe, recipe, layout), digests.keep),
        remade={job.output for job in jobs if job.replaces and job.output is not None},
        read=shared_reader().read if len(planned) > 1 or is_isolated else read_alone,
        on_stage=meter.note,
    )
    return _stream_results(request, jobs, steps, meter, stop)


def _stream_results(
    request: DenoiseRequest, jobs: Sequence[FileJob], steps: Steps, meter: BatchMeter, stop: Stop
) -> Iterator[FileResult]:
    with closing(run_batch(jobs, steps, in_flight=request.in_flight, stop=stop)) as results:
        for result in add_sidecars(results, Sidecars()) if request.sidecars else results:
            yield result
            meter.finish(result.source)


def _find_size(path: Path) -> int:
    """Bytes of a file; none of one that is gone."""
    signature = signature_of(path)
    return signature.size if signature else 0


def _prepare_folders(output: Path | None, jobs: Sequence[FileJob]) -> None:
    """Make the output folder, and remove from all folders what killed runs have left.

    Raises:
        SetupError: it cannot be made.
    """
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"{output}: cannot be made ({error.strerror})") from error
    for folder in {job.output.parent for job in jobs if job.output is not None}:
        remove_abandoned(folder)
        remove_abandoned(folder / CAPTURE_ONE_FOLDER, recursive=True)
