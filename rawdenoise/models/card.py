"""A model's card: whose it is, what it was trained on and how well it does; read from JSON as untrusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ModelFileError, guard
from rawdenoise.files.tables import shorten
from rawdenoise.nets import NETS
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel

CARD_FORMAT = 1
CARD, WEIGHTS = "card.json", "weights.safetensors"
LARGEST_PART = {CARD: 64 << 20, WEIGHTS: 2 << 30}  # bytes; more is no model of ours
CLEAN_OPTION = "clean"  # the option of a card that lists, by digest, the captures that were taken for clean
MODEL_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,120}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model: whose it is, what it was trained on and how, and how well it does.

    `captures` are the SHA-256 of the files; `created` is ISO 8601 in UTC. `history` is the training's curve,
    `evidence` what the model did to held-out captures, ISO by ISO (`rawdenoise.quality.residuals`).
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
        clean = self.options.get(CLEAN_OPTION)
        also = f", {len(clean)} of them as clean ones" if isinstance(clean, Sequence) and clean else ""
        return f"{len(self.captures)}{also}"


def name_after_weights(card: ModelCard, digest: str) -> ModelCard:
    """Name a model after its camera, its day and its weights."""
    day = datetime.fromisoformat(card.created)
    return replace(card, id=f"{camera_slug(card.camera)}-{day:%Y%m%d}-{digest[:8]}", weights_sha256=digest)


def camera_slug(camera: Camera) -> str:
    """A camera's name as the beginning of its models' ids."""
    return re.sub(r"[^a-z0-9]+", "-", camera.name.lower()).strip("-")[:60].rstrip("-") or "camera"


def encode_card(card: ModelCard) -> bytes:
    """A card as JSON."""
    return json.dumps({"format": CARD_FORMAT, **asdict(card)}, indent=1, sort_keys=True).encode()


def read_part(path: Path, largest: int) -> bytes:
    """Read a part of a model that is no larger than any of ours.

    Raises:
        ModelFileError: it is larger, or cannot be read.
    """
    try:
        if path.stat().st_size > largest:
            raise ModelFileError(f"{path}: too large to be part of a model")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error})") from error


def guard_model(path: Path) -> AbstractContextManager[None]:
    """Let no exception out of the reader of a model but our own."""
    return guard(lambda reason: ModelFileError(f"{path}: {reason}"))


def parse_card(data: bytes, path: Path) -> ModelCard:
    """Read a card, as untrusted as a stranger's file.

    Raises:
        ModelFileError: it is none that this version reads.
    """
    try:
        stated = json.loads(data)
        version = msgspec.convert(stated, _OfSomeFormat).format
        if version != CARD_FORMAT:
            raise ModelFileError(
                f"{path}: a card of format {shorten(version)}; this version reads {CARD_FORMAT}"
            )
        card = _parse(stated)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise ModelFileError(f"{path}: not a model's card ({error})") from error
    if not MODEL_ID.fullmatch(card.id):
        raise ModelFileError(f"{path}: {card.id[:40]!r} cannot be a model's id")
    if card.net not in NETS:
        raise ModelFileError(f"{path}: an unknown network, {card.net[:40]!r}; a newer version may know it")
    return card


def parse_camera(data: bytes) -> Camera | None:
    """The camera that a card of whatever format states, if it does."""
    try:
        return _camera(json.loads(data))
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


# What a card's JSON must say, besides what the record's own types ask for. Cards of old lack what has a
# default there, and what a newer card says beyond that is passed over.


class _OfSomeFormat(msgspec.Struct):
    format: object


class _Camera(msgspec.Struct):
    make: str
    model: str
    serial: str
    mode: str


class _OfSomeCamera(msgspec.Struct):
    camera: _Camera


@dataclass(frozen=True, slots=True)
class _Evidence:
    iso: int | None
    tiles: int
    pixels: int
    gain_db: float
    error_db: float
    mean: float
    chi2: float
    divergence: float
    structure: float
    autocorrelation: Annotated[list[float], Meta(min_length=2, max_length=2)]


class _OfEvidence(msgspec.Struct):
    evidence: tuple[_Evidence, ...] = ()


def _parse(stated: dict[str, Any]) -> ModelCard:
    card = msgspec.convert(stated, ModelCard)
    for entry in card.noise:
        _check_noise(entry.noise)
    evidence = msgspec.convert(stated, _OfEvidence).evidence
    return replace(
        card,
        camera=_camera(stated),
        created=datetime.fromisoformat(card.created).isoformat(),
        evidence=tuple(asdict(entry) for entry in evidence),
    )


def _camera(stated: object) -> Camera:
    """The camera of a card, which states all of it."""
    camera = msgspec.convert(stated, _OfSomeCamera).camera
    return Camera(camera.make, camera.model, camera.serial, camera.mode)


def _check_noise(noise: NoiseModel) -> None:
    if not all(0 < variance < 1e6 for variance in noise.shot + noise.read_variance):
        raise ValueError("noise must be four positive numbers per kind")
    if not (0 <= noise.row_variance < 1e6 and 0 <= noise.step < 1e3):
        raise ValueError("row noise and quantisation step must not be negative")
    if noise.tail is not None and not -0.4 < noise.tail < 1:
        raise ValueError("the tails of the read noise are none that read noise has")
