"""The models that come with the package, for cameras that have none of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.resources import as_file, files

from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ModelMissingError
from rawdenoise.inference.devices import pick_device
from rawdenoise.models.archive import read_model
from rawdenoise.models.model import Model
from rawdenoise.models.store import ModelStore
from rawdenoise.recipe import Recipe

BASES = ("fast", "best")  # named after their networks
BASE_PREFIX = "base-"
Models = Callable[[Camera], Model | None]


def is_base(id: str) -> bool:
    """Whether a model's id is that of one made for all cameras."""
    return id.startswith(BASE_PREFIX)


@cache
def load_base(name: str) -> Model:
    """Load a bundled model; it serves any camera.

    Raises:
        ModelMissingError: there is none of that name. ModelFileError: the installation is damaged.
    """
    resource = files("rawdenoise") / "_base" / f"{name}.rawdenoise"
    if name not in BASES or not resource.is_file():
        raise ModelMissingError(f"no bundled model called {name!r}; there are {', '.join(BASES)}")
    with as_file(resource) as path:
        return read_model(path)


def model_for(camera: Camera, store: ModelStore, *, base: str = "fast") -> Model:
    """Load the newest model of exactly this make, model and mode, or else a bundled one.

    Raises:
        ModelFileError: the camera's own model is broken.
    """
    try:
        return store.find(camera)
    except ModelMissingError:
        return load_base(base)


def model_called(id: str, store: ModelStore) -> Model:
    """Load a model by its id, any unique beginning of it, or the name of a bundled one.

    Raises:
        ModelMissingError: no such model, or several begin like this. ModelFileError: it is broken.
    """
    return load_base(id) if id in BASES else store.load(id)


def models_for(id: str | None, *, base: str, device: str, strength: float) -> Models:
    """Choose the model asked for, whatever the camera; else its camera's own or a base; at strength 0 none.

    Raises:
        SetupError: the device is absent. Said now, it fails once and not for every file.
        ModelError: the model asked for is missing or broken.
    """
    if not strength:
        return lambda camera: None
    pick_device(device)
    store = ModelStore()
    if id is None:
        return cache(partial(model_for, store=store, base=base))
    chosen = model_called(id, store)
    return lambda camera: chosen


def current_models(recipe: Recipe, store: ModelStore) -> Callable[[str], frozenset[str] | None]:
    """Tell by which models captures of a camera, called so, may be done now; None where any is right.

    Of each mode of a camera that is the newest; a camera of which there is none, or whose files do not name
    it as its model does, gets a bundled one or any of those.
    """
    if recipe.model or not recipe.strength:
        return lambda camera: None

    @cache
    def ids() -> dict[str, frozenset[str]]:
        newest = {(card.camera.name, card.camera.mode): card.id for card in reversed(store.cards())}
        names = {name for name, _ in newest}
        own = {name: frozenset(id for (of, _), id in newest.items() if of == name) for name in names}
        return own | {"": frozenset({load_base(recipe.base).card.id, *newest.values()})}

    return lambda camera: ids().get(camera, ids()[""])
