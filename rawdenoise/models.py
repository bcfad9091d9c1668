"""The model store: one folder per model, holding its card (JSON) and its weights (safetensors)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from rawdenoise.atomic import atomic_output, check_output, remove_abandoned, write_bytes
from rawdenoise.errors import ModelFileError, ModelMissingError, OutputError
from rawdenoise.guard import guarded
from rawdenoise.nets import NETS, Network, build_net
from rawdenoise.noise import NoiseModel
from rawdenoise.raw import Camera

FORMAT = 1
SUFFIX = ".rawdenoise"
CARD, WEIGHTS = "card.json", "weights.safetensors"
PAGE = "card.html"  # of the store alone: it shows pieces of the captures, and is trusted by who opens it
LARGEST = {CARD: 64 << 20, WEIGHTS: 2 << 30}  # bytes; more is no model of ours
CLEAN = "clean"  # the option of a card that lists, by digest, the captures that were taken for clean
T = TypeVar("T")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,120}")
_NAMED = re.compile(r"(?P<slug>[a-z0-9-]+)-(?P<day>\d{8})-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class IsoNoise:
    """The noise a model's captures showed at one ISO (None where the files do not say)."""

    iso: int | None
    noise: NoiseModel
    captures: int


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model: whose it is, what it was trained on and how, and how well it does.

    `captures` are the SHA-256 of the files; `created` is ISO 8601 in UTC. `history` is the training's curve,
    `evidence` what the model did to held-out captures, ISO by ISO (`rawdenoise.residuals`).
    """

    id: str
    camera: Camera
    net: str
    iso_range: tuple[int, int] | None
    noise: tuple[IsoNoise, ...]
    captures: tuple[str, ...]
    objective: str
    options: Mapping[str, object]
    seed: int
    versions: Mapping[str, str]
    created: str
    figures: Mapping[str, float]
    weights_sha256: str
    history: tuple[Mapping[str, float], ...] = ()
    evidence: tuple[Mapping[str, object], ...] = ()

    @property
    def captures_text(self) -> str:
        """How many captures it was trained on, and how many of them were taken for clean, if any."""
        clean = self.options.get(CLEAN)
        also = f", {len(clean)} of them as clean ones" if isinstance(clean, Sequence) and clean else ""
        return f"{len(self.captures)}{also}"


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A denoiser ready for use (in eval mode) and its card."""

    card: ModelCard
    net: Network


def new_model(net: Network, card: ModelCard) -> Model:
    """Finish the card of a trained network: its id, date and the digest of its weights."""
    now = datetime.now(UTC).replace(microsecond=0)
    digest = hashlib.sha256(_weights(net)).hexdigest()
    return Model(_named(replace(card, created=now.isoformat()), digest), net.eval())


def _named(card: ModelCard, digest: str) -> ModelCard:
    """Name a model after its camera, its day and its weights."""
    day = datetime.fromisoformat(card.created)
    return replace(card, id=f"{_slug(card.camera)}-{day:%Y%m%d}-{digest[:8]}", weights_sha256=digest)


def _slug(camera: Camera) -> str:
    return re.sub(r"[^a-z0-9]+", "-", camera.name.lower()).strip("-")[:60].rstrip("-") or "camera"


def _may_be_newest_of(camera: Camera, broken: Path, own: ModelCard | None) -> bool:
    """Whether a card that cannot be read may be of this camera, and no older than its `own` that can.

    A newer or older format may still say whose card it is. Else the folder's name does; of a folder that is
    not named as ours are, nothing can be excluded.
    """
    named = _NAMED.fullmatch(broken.parent.name)
    day = named["day"] if named else ""
    if own is not None and day and day < f"{datetime.fromisoformat(own.created):%Y%m%d}":
        return False
    whose = _stated_camera(broken)
    if whose is not None:
        return whose.is_like(camera)
    return named is None or named["slug"] == _slug(camera)


def _stated_camera(path: Path) -> Camera | None:
    """The camera that a card of whatever format states, if it does."""
    try:
        stated = json.loads(_read(path, LARGEST[CARD]))["camera"]
        return Camera(**{name: _typed(stated[name], str) for name in ("make", "model", "serial", "mode")})
    except (ModelFileError, ValueError, KeyError, TypeError, RecursionError):
        return None


class ModelStore:
    """The models of this machine, or of any folder."""

    def __init__(self, folder: Path | None = None) -> None:
        chosen = os.environ.get("RAWDENOISE_MODELS")
        default = Path(chosen) if chosen else platformdirs.user_data_path("rawdenoise") / "models"
        self.folder = folder or default

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
        reason = _missing(camera, cards) if camera.make or camera.model else _nameless(camera, cards)
        hint = f" ({len(broken)} broken: `rawdenoise models verify` says why)" if broken else ""
        raise ModelMissingError(reason + hint)

    def load(self, id: str) -> Model:
        """Load a model by its id or any unique beginning of it, checking all of it first.

        Raises:
            ModelMissingError: no such model, or several begin like this.
            ModelFileError: broken, altered or foreign.
        """
        folder = self._folder(id)
        with _guarded(folder):
            card_bytes, weights = (_read(folder / name, LARGEST[name]) for name in (CARD, WEIGHTS))
            card = _parse_card(card_bytes, folder / CARD)
        if card.id != folder.name:
            raise ModelFileError(f"{folder / CARD}: the card is of another model ({card.id})")
        with _guarded(folder / WEIGHTS):
            return Model(card, _parse_weights(weights, card, folder / WEIGHTS))

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
        weights = _weights(model.net)
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
        _write_archive(output, {name: (folder / name).read_bytes() for name in (CARD, WEIGHTS)})
        return output

    def import_file(self, path: Path) -> ModelCard:
        """Take in a file that `export` made, checked whole before anything is written.

        Raises:
            ModelFileError: it is not such a file, is altered, or its id is taken by other weights.
        """
        with _guarded(path):
            parts = _read_archive(path)
            card = _parse_card(parts[CARD], path)
            _parse_weights(parts[WEIGHTS], card, path)
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
            write_bytes(folder / CARD, _card_bytes(card))
        except OutputError:
            with suppress(OSError):  # only if there is nothing in it
                folder.rmdir()
            raise
        return folder

    def _folder(self, id: str) -> Path:
        names = self._names()
        found = [name for name in names if name == id] or [
            name for name in names if id and name.startswith(id)
        ]
        if not found:
            raise ModelMissingError(
                f"no model called {id!r} in {self.folder}: `rawdenoise models list` shows all"
            )
        if len(found) > 1:
            raise ModelMissingError(
                f"{id!r} fits {len(found)} models ({', '.join(found)}): give more of the id"
            )
        return self.folder / found[0]

    def _names(self) -> list[str]:
        """The folders that hold a card; one without is what an interrupted save left."""
        return sorted(
            path.parent.name for path in self.folder.glob(f"*/{CARD}") if _ID.fullmatch(path.parent.name)
        )

    def _survey(self) -> tuple[list[ModelCard], list[ModelFileError]]:
        cards, errors = [], []
        for name in self._names():
            path = self.folder / name / CARD
            try:
                with _guarded(path):
                    cards.append(_parse_card(_read(path, LARGEST[CARD]), path))
            except ModelFileError as error:
                errors.append(ModelFileError(str(error), path))
        return sorted(cards, key=lambda card: (card.created, card.id), reverse=True), errors


def _missing(camera: Camera, cards: list[ModelCard]) -> str:
    modes = sorted({card.camera.mode for card in cards if card.camera.is_same_model(camera)})
    others = f" in mode {camera.mode or 'unknown'} (there is one for {', '.join(modes)})" if modes else ""
    return f"no model for {camera.name}{others}: train one with `rawdenoise train` on its captures"


def _nameless(camera: Camera, cards: list[ModelCard]) -> str:
    ids = [card.id for card in cards if card.camera.mode == camera.mode]
    fitting = f"; in its mode ({camera.mode or 'unknown'}) there is {', '.join(ids)}" if ids else ""
    return f"the file does not name its camera: give --model ID{fitting}"


def _weights(net: nn.Module, kind: torch.dtype = torch.float32) -> bytes:
    state = {name: tensor.detach().cpu().to(kind).contiguous() for name, tensor in net.state_dict().items()}
    return safetensors.torch.save(state)


def _card_bytes(card: ModelCard) -> bytes:
    return json.dumps({"format": FORMAT, **asdict(card)}, indent=1, sort_keys=True).encode()


def _read(path: Path, largest: int) -> bytes:
    try:
        if path.stat().st_size > largest:
            raise ModelFileError(f"{path}: too large to be part of a model")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error})") from error


def export_halved(model: Model, output: Path) -> Path:
    """Write a model as one file with float16 weights: half the size, under another id and digest."""
    weights = _weights(model.net, torch.float16)
    card = _named(model.card, hashlib.sha256(weights).hexdigest())
    _write_archive(output, {CARD: _card_bytes(card), WEIGHTS: weights})
    return output


def read_model(path: Path) -> Model:
    """Load a model from a file that `export` or `export_halved` made, checked whole.

    Raises:
        ModelFileError: it is not such a file, or is altered.
    """
    with _guarded(path):
        parts = _read_archive(path)
        card = _parse_card(parts[CARD], path)
        return Model(card, _parse_weights(parts[WEIGHTS], card, path))


def _guarded(path: Path) -> AbstractContextManager[None]:
    return guarded(lambda reason: ModelFileError(f"{path}: {reason}"))


def _write_archive(output: Path, parts: Mapping[str, bytes]) -> None:
    with (
        atomic_output(output) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # a fixed date: the same model gives the same file


def _read_archive(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sorted(entry.filename for entry in entries) != sorted(LARGEST):
                raise ModelFileError(
                    f"{path}: not a {SUFFIX} file: it must hold {CARD} and {WEIGHTS}, nothing else"
                )
            for entry in entries:
                # Stored only: what is not compressed cannot blow up.
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > LARGEST[entry.filename]:
                    raise ModelFileError(f"{path}: {entry.filename} is compressed or too large to be ours")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged, or not a model file"
        raise ModelFileError(f"{path}: {reason}") from error


def _parse_card(data: bytes, path: Path) -> ModelCard:
    try:
        fields = json.loads(data)
        if fields["format"] != FORMAT:
            raise ModelFileError(f"{path}: a card of format {fields['format']}; this version reads {FORMAT}")
        card = _card(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelFileError(f"{path}: not a model's card ({type(error).__name__}: {error})") from error
    if not _ID.fullmatch(card.id):
        raise ModelFileError(f"{path}: {card.id[:40]!r} cannot be a model's id")
    if card.net not in NETS:
        raise ModelFileError(f"{path}: an unknown network, {card.net[:40]!r}; a newer version may know it")
    return card


def _card(fields: dict[str, Any]) -> ModelCard:
    camera = fields["camera"]
    return ModelCard(
        id=_typed(fields["id"], str),
        camera=Camera(**{name: _typed(camera[name], str) for name in ("make", "model", "serial", "mode")}),
        net=_typed(fields["net"], str),
        iso_range=_pair(fields["iso_range"]),
        noise=tuple(_iso_noise(entry) for entry in fields["noise"]),
        captures=tuple(_typed(digest, str) for digest in fields["captures"]),
        objective=_typed(fields["objective"], str),
        options=_typed(fields["options"], dict),
        seed=_typed(fields["seed"], int),
        versions={name: _typed(version, str) for name, version in fields["versions"].items()},
        created=datetime.fromisoformat(fields["created"]).isoformat(),
        figures=_numbers(fields["figures"]),
        weights_sha256=_typed(fields["weights_sha256"], str),
        # Cards made before these were known do not speak of them.
        history=tuple(_numbers(check) for check in fields.get("history", [])),
        evidence=tuple(_evidence(entry) for entry in fields.get("evidence", [])),
    )


def _evidence(entry: dict[str, Any]) -> dict[str, object]:
    """Check what stands in a card of held-out captures at one ISO."""
    across, down = (float(value) for value in entry["autocorrelation"])
    figures = ("gain_db", "error_db", "mean", "chi2", "divergence", "structure")
    return {
        "iso": None if entry["iso"] is None else _typed(entry["iso"], int),
        **{name: _typed(entry[name], int) for name in ("tiles", "pixels")},
        **_numbers({name: entry[name] for name in figures}),
        "autocorrelation": [across, down],
    }


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in entry.items()}


def _iso_noise(entry: dict[str, Any]) -> IsoNoise:
    iso = None if entry["iso"] is None else _typed(entry["iso"], int)
    shot, read = (tuple(float(v) for v in entry["noise"][name]) for name in ("shot", "read_variance"))
    if len(shot) != 4 or len(read) != 4 or not all(0 < v < 1e6 for v in shot + read):
        raise ValueError("noise must be four positive numbers per kind")
    # Cards made before row noise was known do not speak of it.
    row, step = (float(entry["noise"].get(name, 0.0)) for name in ("row_variance", "step"))
    if not (0 <= row < 1e6 and 0 <= step < 1e3):
        raise ValueError("row noise and quantisation step must not be negative")
    tail = entry["noise"].get("tail")
    if tail is not None and not -0.4 < (tail := float(tail)) < 1:
        raise ValueError("the tails of the read noise are none that read noise has")
    return IsoNoise(iso, NoiseModel(shot, read, row, step, tail), _typed(entry["captures"], int))


def _pair(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    low, high = value
    return _typed(low, int), _typed(high, int)


def _typed(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:40]!r} is no {kind.__name__}")
    return value


def _parse_weights(data: bytes, card: ModelCard, path: Path) -> Network:
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise ModelFileError(
            f"{path}: the weights are not those the card was made for (altered or cut short)"
        )
    try:
        state = safetensors.torch.load(data)
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path}: not safetensors ({error})") from error
    net = build_net(card.net)
    expected = net.state_dict()
    if state.keys() != expected.keys():
        raise ModelFileError(f"{path}: the tensors are not those of a {card.net} network")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape or tensor.dtype not in (torch.float32, torch.float16):
            raise ModelFileError(f"{path}: {name} has another shape or type than in a {card.net} network")
        if not bool(torch.isfinite(tensor).all()):
            raise ModelFileError(f"{path}: {name} holds values that are no numbers")
    net.load_state_dict(state)  # copies: float16 becomes float32
    return net.eval()
