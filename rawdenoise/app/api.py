"""What `import rawdenoise` offers: a capture read, denoised, judged and written in four lines."""

from __future__ import annotations

from pathlib import Path

from rawdenoise import formats, pipeline
from rawdenoise.app.stores import Stores, user_stores
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import OutputError
from rawdenoise.extensions.registry import extensions
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.formats.writers import writer_for
from rawdenoise.models.archive import SUFFIX, read_model
from rawdenoise.models.choice import model_called, model_for
from rawdenoise.models.method import Method, method_called
from rawdenoise.models.model import Model
from rawdenoise.pipeline import Denoised
from rawdenoise.recipe import Recipe

DEFAULT = Recipe()


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
    recipe: Recipe = DEFAULT,
    *,
    stores: Stores | None = None,
    device: str = "auto",
) -> Denoised:
    """Denoise a capture with the camera's own model, else the bundled one, else the one given.

    `model` is a model, or the id of one (`"fast"` and `"best"` are the bundled ones). Models and noise
    profiles are looked up in `stores`, by default the user's. The result's `image` is a `RawImage` like the
    capture, its `quality` says how much better it became, without ground truth.

    Raises:
        ModelError: the model is missing or broken. SetupError: the device is absent.
        ProfileError: the noise profile of this camera cannot be understood.
    """
    known = user_stores() if stores is None else stores
    return pipeline.denoise(
        raw, _chosen(raw, model, recipe, known), recipe, profiles=known.profiles, device=device
    )


def _chosen(
    raw: RawImage, model: Model | Method | str | None, recipe: Recipe, stores: Stores
) -> Model | Method | None:
    if recipe.strength == 0 or isinstance(model, Model | Method):
        return model if isinstance(model, Model | Method) else None
    if model is None and recipe.method is not None:
        return method_called(recipe.method)
    id = recipe.model if model is None else model
    if id is not None:
        return model_called(id, stores.models)
    return model_for(raw.camera, stores.models, bundled=recipe.bundled)


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
    denoised = result if isinstance(result, Denoised) else pipeline.untouched(result)
    name = _format_of(path) if format is None else format
    if _is_source(denoised.image.source, path):
        raise OutputError(path, "is the source itself; give another name")
    return pipeline.write(denoised, path, format=name, replace=overwrite)


def _format_of(output: Path) -> str:
    name = output.name.lower()
    suffixes = {writer_for(each).suffix: each for each in extensions("writers")}
    fitting = [suffix for suffix in suffixes if name.endswith(suffix)]
    if not fitting and name.endswith(".tiff"):
        return Format.TIFF
    if not fitting:
        raise OutputError(output, f"is of no known format; its name may end in {', '.join(sorted(suffixes))}")
    return suffixes[max(fitting, key=len)]


def _is_source(source: Path, output: Path) -> bool:
    try:
        return output.samefile(source)
    except OSError:
        return False


def load_model(name: str | Path, *, stores: Stores | None = None) -> Model:
    """Load a model: `"fast"`, `"best"`, the id of one in the store, or a file that was exported.

    Raises:
        ModelMissingError: there is none, or several begin like this. ModelFileError: it is broken.
    """
    if str(name).endswith(SUFFIX):
        return read_model(Path(name))
    return model_called(str(name), (user_stores() if stores is None else stores).models)
