"""The models of a folder: one folder per model, holding its card (JSON) and its weights (safetensors)."""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from rawdenoise.atomic import check_output, remove_abandoned, write_bytes
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ModelFileError, ModelMissingError, OutputError
from rawdenoise.files.parsed import ParsedFiles
from rawdenoise.models.archive import SUFFIX, read_archive, write_archive
from rawdenoise.models.card import (
    CARD,
    LARGEST_PART,
    MODEL_ID,
    WEIGHTS,
    ModelCard,
    camera_slug,
    encode_card,
    guard_model,
    parse_camera,
    parse_card,
    read_part,
)
from rawdenoise.models.model import Model, encode_weights, parse_weights

PAGE = "card.html"  # of the store alone: it shows pieces of the captures, and is trusted by who opens it
_MODEL_NAME = re.compile(r"(?P<slug>[a-z0-9-]+)-(?P<day>\d{8})-[0-9a-f]{8}")


def _may_be_newest_of(camera: Camera, broken: Path, own: ModelCard | None) -> bool:
    """Whether a card that cannot be read may be of this camera, and no older than its `own` that can.

    A newer or older format may still say whose card it is. Else the folder's name does; of a folder that is
    not named as ours are, nothing can be excluded.
    """
    named = _MODEL_NAME.fullmatch(broken.parent.name)
    day = named["day"] if named else ""
    if own is not None and day and day < f"{datetime.fromisoformat(own.created):%Y%m%d}":
        return False
    with suppress(ModelFileError):
        whose = parse_camera(read_part(broken, LARGEST_PART[CARD]))
        if whose is not None:
            return whose.is_like(camera)
    return named is None or named["slug"] == camera_slug(camera)


class ModelStore:
    """The models of a folder; each card is parsed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cards = ParsedFiles(_read_card)

    def cards(self) -> list[ModelCard]:
        """Every readable card, newest first; the weights are not looked at."""
        return self._survey()[0]

    def broken(self) -> list[ModelFileError]:
        """What is wrong with the cards that cannot be read."""
        return self._survey()[1]

    def find(self, camera: Camera) -> Model:
        """Load the newest model of exactly this make, model and mode.

        A card that cannot be read, and may be that of this camera's newest model, is no reason to take
        another: whose it is, is known from its camera where that can be read, else from its folder's name.

        Raises:
            ModelMissingError: there is none; the line says how to train one, or to choose one where the files
            do not name their camera.
            ModelFileError: it is broken.
        """
        cards, broken = self._survey()
        own = next((card for card in cards if card.camera.is_like(camera)), None)
        for error in broken:
            if _may_be_newest_of(camera, error.path, own):
                id = error.path.parent.name
                remedy = f"mend it, remove it (`rawdenoise models remove {id}`), or choose one with --model"
                line = f"{error}; it may be the model of {camera.name}: {remedy}"
                raise ModelFileError(line, error.path) from error
        if own is not None:
            return self.load(own.id)
        reason = (
            _explain_missing(camera, cards)
            if camera.make or camera.model
            else _explain_nameless(camera, cards)
        )
        hint = f" ({len(broken)} broken: `rawdenoise models verify` says why)" if broken else ""
        raise ModelMissingError(reason + hint)

    def load(self, id: str) -> Model:
        """Load a model by its id or any unique beginning of it, checking all of it first.

        Raises:
            ModelMissingError: no such model, or several begin like this.
            ModelFileError: broken, altered or foreign.
        """
        folder = self._folder(id)
        with guard_model(folder):
            data, weights = (read_part(folder / name, LARGEST_PART[name]) for name in (CARD, WEIGHTS))
            card = parse_card(data, folder / CARD)
        if card.id != folder.name:
            raise ModelFileError(f"{folder / CARD}: the card is of another model ({card.id})")
        with guard_model(folder / WEIGHTS):
            return Model(card, parse_weights(weights, card, folder / WEIGHTS))

    def verify(self, id: str) -> ModelCard:
        """Check a model as `load` does, and return its card."""
        return self.load(id).card

    def check_writable(self) -> None:
        """Refuse a folder that takes no model, before the work that would be lost.

        Raises:
            OutputError: the file system refuses.
        """
        check_output(self.folder / CARD)

    def save(self, model: Model, page: str | None = None) -> Path:
        """Keep a model, and its page; the card is written last, so that a folder with a card is whole.

        Raises:
            ModelFileError: the weights are not those the card was made for.
        """
        weights = encode_weights(model.net)
        if hashlib.sha256(weights).hexdigest() != model.card.weights_sha256:
            raise ModelFileError(f"{model.card.id}: the network's weights are not those of its card")
        return self._write(model.card, weights, page)

    def export(self, id: str, target: Path) -> Path:
        """Write a model as one file, into `target` if that is a folder; returns its path.

        Its page stays: that shows pieces of somebody's captures, and a stranger's could show anything.
        """
        model = self.load(id)
        folder = self.folder / model.card.id
        output = target / f"{model.card.id}{SUFFIX}" if target.is_dir() else target
        write_archive(output, {name: (folder / name).read_bytes() for name in (CARD, WEIGHTS)})
        return output

    def import_file(self, path: Path) -> ModelCard:
        """Take in a file that `export` made, checked whole before anything is written.

        Raises:
            ModelFileError: it is not such a file, is altered, or its id is taken by other weights.
        """
        with guard_model(path):
            parts = read_archive(path)
            card = parse_card(parts[CARD], path)
            parse_weights(parts[WEIGHTS], card, path)
        if (self.folder / card.id / CARD).exists():
            try:
                there = self.verify(card.id).weights_sha256
            except ModelFileError:  # the store's copy is broken: this one mends it
                there = card.weights_sha256
            if there != card.weights_sha256:
                raise ModelFileError(f"{path}: the store has another model called {card.id}; remove it first")
        self._write(card, parts[WEIGHTS])
        return card

    def remove(self, id: str) -> None:
        """Delete a model, broken ones too; the card first, so that an interruption leaves no half."""
        folder = self._folder(id)
        (folder / CARD).unlink(missing_ok=True)
        shutil.rmtree(folder)

    def _write(self, card: ModelCard, weights: bytes, page: str | None = None) -> Path:
        folder = self.folder / card.id
        for place in (self.folder, folder):  # what killed ones have left
            remove_abandoned(place)
        try:
            write_bytes(folder / WEIGHTS, weights)
            if page is None:
                (folder / PAGE).unlink(missing_ok=True)  # of another card
            else:
                write_bytes(folder / PAGE, page.encode())
            write_bytes(folder / CARD, encode_card(card))
        except OutputError:
            with suppress(OSError):  # only if there is nothing in it
                folder.rmdir()
            raise
        return folder

    def _folder(self, id: str) -> Path:
        names = _list_models(self.folder)
        matches = [name for name in names if name == id] or [
            name for name in names if id and name.startswith(id)
        ]
        if not matches:
            raise ModelMissingError(
                f"no model called {id!r} in {self.folder}: `rawdenoise models list` shows all"
            )
        if len(matches) > 1:
            raise ModelMissingError(
                f"{id!r} fits {len(matches)} models ({', '.join(matches)}): give more of the id"
            )
        return self.folder / matches[0]

    def _survey(self) -> tuple[list[ModelCard], list[ModelFileError]]:
        cards, errors = [], []
        for name in _list_models(self.folder):
            path = self.folder / name / CARD
            try:
                with guard_model(path):
                    cards.append(self._cards(path))
            except ModelFileError as error:
                errors.append(ModelFileError(str(error), path))
        return sorted(cards, key=lambda card: (card.created, card.id), reverse=True), errors


def _read_card(path: Path) -> ModelCard:
    return parse_card(read_part(path, LARGEST_PART[CARD]), path)


def _list_models(folder: Path) -> list[str]:
    """The folders that hold a card; one without is what an interrupted save left."""
    return sorted(
        path.parent.name for path in folder.glob(f"*/{CARD}") if MODEL_ID.fullmatch(path.parent.name)
    )


def _explain_missing(camera: Camera, cards: list[ModelCard]) -> str:
    modes = sorted({card.camera.mode for card in cards if card.camera.is_same_model(camera)})
    others = f" in mode {camera.mode or 'unknown'} (there is one for {', '.join(modes)})" if modes else ""
    return f"no model for {camera.name}{others}: train one with `rawdenoise train` on its captures"


def _explain_nameless(camera: Camera, cards: list[ModelCard]) -> str:
    ids = [card.id for card in cards if card.camera.mode == camera.mode]
    fitting = f"; in its mode ({camera.mode or 'unknown'}) there is {', '.join(ids)}" if ids else ""
    return f"the file does not name its camera: give --model ID{fitting}"
