"""Training as a user asks for it: captures in, and a model for each camera, kept where it is better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rawdenoise.app.stores import Stores
from rawdenoise.app.training_events import (
    CameraBegun,
    CameraFound,
    CameraTrained,
    FileRefused,
    FilesRead,
    ModelUnsaved,
    OnEvent,
    TrainingResumed,
    ignore,
    list_isos,
)
from rawdenoise.errors import (
    NothingMatchedError,
    OutputError,
    RawDenoiseError,
    Stop,
    TooFewCapturesError,
    TrainingError,
    UnusableCleanError,
    never,
)
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.inference.devices import pick_device
from rawdenoise.models.bundled import BUNDLED, load_bundled
from rawdenoise.models.choice import choose_model
from rawdenoise.models.model import Model
from rawdenoise.models.store import ModelStore
from rawdenoise.terminal.text import count_noun
from rawdenoise.training.camera_training import CameraTraining
from rawdenoise.training.captures import CaptureSet, gather_captures
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress, TrainingStopped
from rawdenoise.training.train_camera import remove_training, train
from rawdenoise.training.unpaired import Unpaired


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """Captures to train on, files and folders, and what is to come of them.

    With `camera` only captures of this one are taken, and those that name none; `layout` tells how plain
    mosaics are to be read. Training starts `from_bundled`, if there is a bundled model of the network.
    `unpaired` asks for unpaired learning, with the captures under `clean`, if any are named, as clean ones.
    A model that is not better than the camera's present one is left `keep_if_worse`. Tiles and checkpoints
    lie in the folder `scratch`, by default that of the stores.
    """

    inputs: tuple[Path, ...]
    options: TrainingOptions = TrainingOptions()  # noqa: RUF009 - frozen
    camera: str | None = None
    layout: PlainLayout | None = None
    from_bundled: bool = True
    unpaired: Unpaired | None = None
    clean: tuple[Path, ...] = ()
    keep_if_worse: bool = False
    scratch: Path | None = None


@dataclass(frozen=True, slots=True)
class FoundCameras:
    """The captures of each camera that has enough of them, and the clean ones that were named apart."""

    cameras: tuple[CaptureSet, ...]
    clean: tuple[CaptureSet, ...] = ()


def find_cameras(request: TrainRequest, *, on_event: OnEvent = ignore) -> FoundCameras:
    """Read every capture once and say which cameras there are; nothing is written.

    Raises:
        NothingMatchedError: no file there is a raw file.
        TooFewCapturesError: no camera has captures enough. TrainingError: no capture can be used.
        SetupError: the device is absent.
    """
    pick_device(request.options.device)  # said now, it is not said after minutes of reading
    needed = request.options.min_captures
    groups = _gather_captures(request, request.inputs, on_event)
    for group in groups:
        count, isos = len(group.captures), list_isos(group.captures)
        on_event(CameraFound(group.camera, count, isos, needed))
    cameras = tuple(group for group in groups if len(group.captures) >= needed)
    if not cameras:
        raise TooFewCapturesError(f"no camera has {count_noun(needed, 'capture')}")
    clean = _gather_captures(request, request.clean, on_event, "clean captures: ") if request.clean else []
    return FoundCameras(cameras, tuple(clean))


def train_cameras(
    request: TrainRequest,
    found_cameras: FoundCameras,
    stores: Stores,
    *,
    on_event: OnEvent = ignore,
    stop: Stop = never,
) -> Iterator[CameraTrained]:
    """Train one camera after the other, and give what came of each as soon as it is known.

    One that fails is no reason to leave out the others. The same request goes on where one was stopped.

    Raises:
        TrainingStopped: `stop` answered true, or Ctrl-C; a checkpoint was left.
    """
    net = request.options.net
    start = load_bundled(net) if request.from_bundled and net in BUNDLED else None
    scratch = request.scratch or stores.scratch / "training"
    for number, captures in enumerate(found_cameras.cameras, 1):
        on_event(CameraBegun(number, len(found_cameras.cameras), captures.camera))
        try:
            everything, unpaired = _add_clean_captures(captures, found_cameras.clean, request.unpaired)
            training = CameraTraining(everything, request.options, start, unpaired, stores.profiles)
            # The model these captures would be denoised with now: a broken one is said before time is spent.
            rival = choose_model(captures.camera, stores.models, bundled=start.card.net if start else "fast")
            result = train_and_keep(
                training, stores.models, scratch=scratch, rival=rival,
                keep_if_worse=request.keep_if_worse, on_event=on_event, stop=stop,
            )  # fmt: skip
        except TrainingStopped:
            raise
        except Exception as error:  # a bug that one camera's captures bring to light is not the others'
            result = CameraTrained(captures, None, False, scratch, error)
        yield result


def train_and_keep(
    training: CameraTraining,
    models: ModelStore,
    *,
    scratch: Path,
    rival: Model,
    keep_if_worse: bool = False,
    on_event: OnEvent = ignore,
    stop: Stop = never,
) -> CameraTrained:
    """Train a camera, and keep its model if it is better than its rival, or `keep_if_worse`.

    Raises:
        OutputError: the store takes no model. TrainingStopped, TrainingError, ProfileError: as `train`.
    """
    models.check_writable()
    trained = train(
        training, folder=scratch, rival=rival,
        on_progress=_note_resumption(on_event, training.options.batch), stop=stop,
    )  # fmt: skip
    is_kept = trained.better or keep_if_worse
    if is_kept:
        try:
            models.save(trained.model, trained.page)
        except OutputError:
            on_event(ModelUnsaved(scratch))
            raise
        remove_training(training, folder=scratch)
    return CameraTrained(training.captures, trained, is_kept, scratch)


def _gather_captures(
    request: TrainRequest, paths: Sequence[Path], on_event: OnEvent, where: str = ""
) -> list[CaptureSet]:
    """Look at all captures and tell what was refused and why."""
    refused: list[RawDenoiseError] = []
    count = 0

    def on_file(path: Path, error: RawDenoiseError | None) -> None:
        nonlocal count
        count += 1
        on_event(FilesRead(count))
        if error is not None:
            refused.append(error)

    groups = gather_captures(paths, camera_name=request.camera, layout=request.layout, on_file=on_file)
    for error in refused:
        on_event(FileRefused(error))
    if not count:
        raise NothingMatchedError(f"{where}no raw files found")
    if not groups:
        raise TrainingError(f"{where}none of {count_noun(count, 'file')} can be trained on")
    return groups


def _add_clean_captures(
    captures: CaptureSet, clean: Sequence[CaptureSet], unpaired: Unpaired | None
) -> tuple[CaptureSet, Unpaired | None]:
    """Add the clean captures of a camera to its others, and name them.

    Raises:
        TrainingError: clean ones were named, but none is of this camera.
    """
    if unpaired is None or not clean:
        return captures, unpaired
    alike = [group for group in clean if group.camera.is_like(captures.camera)]
    own = [capture for group in alike for capture in group.captures]
    if not own:
        raise UnusableCleanError(f"none of the captures given as clean is of {captures.camera.name}")
    everything = {capture.digest: capture for capture in (*captures.captures, *own)}
    one_body = {group.camera.serial for group in (captures, *alike)} == {captures.camera.serial}
    camera = captures.camera if one_body else replace(captures.camera, serial="")
    digests = tuple(sorted(capture.digest for capture in own))
    in_order = tuple(everything[digest] for digest in sorted(everything))
    return CaptureSet(camera, in_order), replace(unpaired, clean=digests)


def _note_resumption(on_event: OnEvent, batch: int) -> Callable[[Progress], None]:
    """Tell progress, and once, before it, how much of it is an earlier run's."""
    before = 0

    def on_progress(progress: Progress) -> None:
        nonlocal before
        if not before and progress.crops > batch:
            on_event(TrainingResumed(progress.crops - batch))
        before = progress.crops or before
        on_event(progress)

    return on_progress
