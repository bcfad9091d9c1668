"""A store whose models stay loaded, for a program that denoises again and again."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from rawdenoise.files.sources import Signature, signature_of
from rawdenoise.models.card import CARD, WEIGHTS
from rawdenoise.models.model import Model
from rawdenoise.models.store import ModelStore

MOST_LOADED = 8


class LoadedModels(ModelStore):
    """A store that loads a model again only when its files have changed; the latest stay in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._loaded: OrderedDict[tuple[Path, Signature | None, Signature | None], Model] = OrderedDict()

    def load(self, id: str) -> Model:
        """Give a model as `ModelStore.load` does.

        Raises: as there.
        """
        folder = self._folder(id)
        key = folder, signature_of(folder / CARD), signature_of(folder / WEIGHTS)
        model = self._loaded.get(key)
        if model is None:
            model = super().load(id)
            self._loaded[key] = model
        self._loaded.move_to_end(key)
        while len(self._loaded) > MOST_LOADED:
            self._loaded.popitem(last=False)
        return model
