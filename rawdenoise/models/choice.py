"""Which model denoises the captures of a camera."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ModelMissingError
from rawdenoise.models.bundled import BUNDLED, load_bundled
from rawdenoise.models.model import Model
from rawdenoise.models.store import ModelStore

ModelOf = Callable[[Camera], Model | None]


def choose_model(camera: Camera, store: ModelStore, *, bundled: str = "fast") -> Model:
    """Load the newest model of exactly this make, model and mode, or else a bundled one.

    Raises:
        ModelFileError: the camera's own model is broken.
    """
    try:
        return store.find(camera)
    except ModelMissingError:
        return load_bundled(bundled)


def find_model(id: str, store: ModelStore) -> Model:
    """Load a model by its id, any unique beginning of it, or the name of a bundled one.

    Raises:
        ModelMissingError: no such model, or several begin like this. ModelFileError: it is broken.
    """
    return load_bundled(id) if id in BUNDLED else store.load(id)


def choose_by_camera(
    store: ModelStore, *, id: str | None = None, bundled: str = "fast", strength: float = 1.0
) -> ModelOf:
    """Choose the model asked for, whatever the camera; else its camera's own or a bundled one; none at 0.

    Raises:
        ModelError: the model asked for is missing or broken.
    """
    if not strength:
        return lambda camera: None
    if id is None:
        return cache(partial(choose_model, store=store, bundled=bundled))
    chosen = find_model(id, store)
    return lambda camera: chosen


def list_current_models(
    store: ModelStore, *, id: str | None, bundled: str, strength: float
) -> Callable[[str], frozenset[str] | None]:
    """Tell by which models captures of a camera, called so, may be done now; None where any is right.

    Of each mode of a camera that is the newest; a camera of which there is none, or whose files do not name
    it as its model does, gets a bundled one or any of those.
    """
    if id or not strength:
        return lambda camera: None

    @cache
    def ids() -> dict[str, frozenset[str]]:
        newest = {(card.camera.name, card.camera.mode): card.id for card in reversed(store.cards())}
        names = {name for name, _ in newest}
        own = {name: frozenset(id for (of, _), id in newest.items() if of == name) for name in names}
        return own | {"": frozenset({load_bundled(bundled).card.id, *newest.values()})}

    return lambda camera: ids().get(camera, ids()[""])
