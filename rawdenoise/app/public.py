"""What `import rawdenoise` offers: a capture read, denoised, judged and written in four lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rawdenoise import formats, pipeline
from rawdenoise.app import calibrate as calibration
from rawdenoise.app import inspect as inspection
from rawdenoise.app import train as training
from rawdenoise.app.denoise import choose_denoisers
from rawdenoise.app.stores import Stores, user_stores
from rawdenoise.app.training_events import OnEvent, ignore
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import CalibrationError, OutputError, Stop, TrainingError, never
from rawdenoise.extensions.registry import extensions
from rawdenoise.files.sources import is_same_file
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.writers import find_writer
from rawdenoise.inference.stages import OnStage, unheard
from rawdenoise.models.archive import SUFFIX, read_model
from rawdenoise.models.bundled import BUNDLED
from rawdenoise.models.choice import choose_model, find_model
from rawdenoise.models.method import Method
from rawdenoise.models.model import Model
from rawdenoise.noise.profiles.profile import CameraProfile
from rawdenoise.pipeline import DEFAULT_RECIPE, Denoised
from rawdenoise.recipe import Recipe
from rawdenoise.training.options import TrainingOptions


def read_raw(source: str | Path, *, layout: PlainLayout | None = None) -> RawImage:
    """Read a capture of any supported kind; `layout` describes a mosaic without a header.

    Raises:
        UnreadableError: missing, a directory, empty or truncated. NotAnImageError: of no known format.
        UnsupportedRawError: a raw file without a Bayer mosaic. LayoutError: it does not fit `layout`.
    """
    return formats.read_raw(Path(source), layout=layout)


def denoise(
    raw: RawImage,
    model: Model | Method | str | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
    *,
    stores: Stores | None = None,
    device: str = "auto",
    use_profile: bool = True,
    stop: Stop = never,
    on_stage: OnStage = unheard,
) -> Denoised:
    """Denoise a capture with the camera's own model, else the bundled one, else the one given.

    `model` is a model, or the id of one (`"fast"` and `"best"` are the bundled ones). Models and noise
    profiles are looked up in `stores`, by default the user's; without `use_profile` the noise is known by
    the file and its pixels alone. The result's `image` is a `RawImage` like the capture, its `quality` says
    how much better it became, without ground truth. `stop` is asked again and again, and gives it up;
    `on_stage` is told how much of a stage is done, from 0 to 1. Both may be called in any thread.

    Raises:
        Stopped: `stop` has said so.
        ModelError: the model is missing or broken. SetupError: the device is absent.
        ProfileError: the noise profile of this camera cannot be understood.
    """
    known = user_stores() if stores is None else stores
    if isinstance(model, str):
        recipe = replace(recipe, model=model, method=None)
    if not isinstance(model, Model | Method):
        model = choose_denoisers(recipe, known.models, device=device)(raw.camera)
    profiles = known.profiles if use_profile else None
    return pipeline.denoise(
        raw, model, recipe, profiles=profiles, device=device, stop=stop, on_stage=on_stage
    )


def write(
    result: Denoised | RawImage, output: str | Path, *, format: str | None = None, overwrite: bool = False
) -> Path:
    """Write a result as DNG or TIFF, by the output's suffix or as the `format`; whole, or not at all.

    Raises:
        OutputExistsError: there is a file of this name, and `overwrite` is false.
        OutputError: no format has such a suffix, it is the source itself, or it could not be written or read
        back; nothing is left behind.
    """
    path = Path(output)
    denoised = result if isinstance(result, Denoised) else pipeline.leave_untouched(result)
    name = _find_format(path) if format is None else format
    if is_same_file(denoised.image.source, path):
        raise OutputError(path, "is the source itself; give another name")
    return pipeline.write(denoised, path, format=name, replace=overwrite)


def _find_format(output: Path) -> str:
    """Tell the format by the suffix; what is built in needs nothing of other packages, broken or not."""
    name = output.name.lower()
    suffixes = {known.suffix: str(known) for known in Format} | {".tiff": str(Format.TIFF)}
    if not name.endswith(tuple(suffixes)):
        suffixes |= {find_writer(writer).suffix: writer for writer in extensions("writers")}
    fitting = [suffix for suffix in suffixes if name.endswith(suffix)]
    if not fitting:
        raise OutputError(output, f"is of no known format; its name may end in {', '.join(sorted(suffixes))}")
    return suffixes[max(fitting, key=len)]


def load_model(name: str | Path, *, stores: Stores | None = None) -> Model:
    """Load a model: `"fast"`, `"best"`, the id of one in the store, or a file that was exported.

    Raises:
        ModelMissingError: there is none, or several begin like this. ModelFileError: it is broken.
    """
    if str(name).endswith(SUFFIX):
        return read_model(Path(name))
    return find_model(str(name), (user_stores() if stores is None else stores).models)


def train(
    captures: str | Path | Sequence[str | Path],
    *,
    minutes: float | None = 10.0,
    crops: int | None = None,
    net: str = "fast",
    seed: int = 0,
    camera: str | None = None,
    stores: Stores | None = None,
    on_event: OnEvent = ignore,
) -> Model:
    """Train a camera's own model on its noisy captures, and keep it in the store if it is the better one.

    `captures` are files and folders. The budget is `minutes`, or a number of `crops`, by which the same seed
    gives the same model. Returns the model that the camera is denoised with from now on: the new one, or
    the present one where that is as good. The same call goes on where one was stopped. `on_event` is told
    what was found and how far it is (`rawdenoise.app.training_events`).

    Raises:
        TrainingError: no capture, or too few, can be used; or they are of several cameras and none is named
        as `camera`. SetupError: the device is absent. ProfileError: a noise profile cannot be understood.
    """
    known = user_stores() if stores is None else stores
    options = TrainingOptions(net=net, minutes=None if crops else minutes, crops=crops, seed=seed)
    request = training.TrainRequest(_list_paths(captures), options, camera=camera)
    found_cameras = training.find_cameras(request, on_event=on_event)
    if len(found_cameras.cameras) > 1:
        names = ", ".join(group.camera.name for group in found_cameras.cameras)
        raise TrainingError(f"these are captures of several cameras ({names}): name one")
    (result,) = training.train_cameras(request, found_cameras, known, on_event=on_event)
    if result.trained is None:
        raise result.error or TrainingError(result.reason)
    if result.is_kept:
        return result.trained.model
    return choose_model(result.captures.camera, known.models, bundled=net if net in BUNDLED else "fast")


def calibrate(
    captures: str | Path | Sequence[str | Path] = (),
    *,
    darks: str | Path | Sequence[str | Path] = (),
    flats: str | Path | Sequence[str | Path] = (),
    camera: str | None = None,
    save: bool = True,
    stores: Stores | None = None,
) -> CameraProfile:
    """Measure a camera's noise: from darks and flats, or from ordinary captures of one ISO or several.

    What was known of the camera before is merged with what was measured; unless `save` is false the profile
    is kept in the store, for training and denoising to use from then on.

    Raises:
        CalibrationError: nothing could be measured, or the frames are of several cameras and none is named
        as `camera`. ProfileError: the present profile cannot be understood, and stays.
    """
    known = user_stores() if stores is None else stores
    request = calibration.CalibrationRequest(
        paths=_list_paths(captures),
        darks=_list_paths(darks),
        flats=_list_paths(flats),
        camera=camera,
        dry_run=not save,
    )
    cameras = calibration.find_cameras(request)
    if len(cameras) > 1:
        names = ", ".join(group.camera.name for group in cameras)
        raise CalibrationError(f"these are frames of several cameras ({names}): name one")
    result = calibration.calibrate(cameras[0], request, known)
    if result.error is not None or result.profile is None:
        raise result.error or CalibrationError("nothing could be measured")
    return result.profile


def inspect(
    source: str | Path,
    *,
    layout: PlainLayout | None = None,
    estimate: bool = False,
    stores: Stores | None = None,
) -> inspection.CaptureFacts:
    """Tell what a capture is and what would be done with it, and why.

    With `estimate` it is denoised in memory, to say what it would gain.

    Raises:
        RawDenoiseError: it cannot be read.
    """
    known = user_stores() if stores is None else stores
    return inspection.inspect(Path(source), known, layout=layout, estimate=estimate)


def _list_paths(given: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    return (Path(given),) if isinstance(given, str | Path) else tuple(map(Path, given))
