"""A model's card: whose it is, what it was trained on and how well it does; read from JSON as untrusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ModelFileError, guarded
from rawdenoise.nets import NETS
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel

FORMAT = 1
CARD, WEIGHTS = "card.json", "weights.safetensors"
LARGEST = {CARD: 64 << 20, WEIGHTS: 2 << 30}  # bytes; more is no model of ours
CLEAN = "clean"  # the option of a card that lists, by digest, the captures that were taken for clean
T = TypeVar("T")
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
        clean = self.options.get(CLEAN)
        also = f", {len(clean)} of them as clean ones" if isinstance(clean, Sequence) and clean else ""
        return f"{len(self.captures)}{also}"


def name_after_weights(card: ModelCard, digest: str) -> ModelCard:
    """Name a model after its camera, its day and its weights."""
    day = datetime.fromisoformat(card.created)
    return replace(card, id=f"{camera_slug(card.camera)}-{day:%Y%m%d}-{digest[:8]}", weights_sha256=digest)


def camera_slug(camera: Camera) -> str:
    """A camera's name as the beginning of its models' ids."""
    return re.sub(r"[^a-z0-9]+", "-", camera.name.lower()).strip("-")[:60].rstrip("-") or "camera"


def card_bytes(card: ModelCard) -> bytes:
    """A card as JSON."""
    return json.dumps({"format": FORMAT, **asdict(card)}, indent=1, sort_keys=True).encode()


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


def guarded_model(path: Path) -> AbstractContextManager[None]:
    """Let no exception out of the reader of a model but our own."""
    return guarded(lambda reason: ModelFileError(f"{path}: {reason}"))


def parse_card(data: bytes, path: Path) -> ModelCard:
    """Read a card, as untrusted as a stranger's file.

    Raises:
        ModelFileError: it is none that this version reads.
    """
    try:
        fields = json.loads(data)
        if fields["format"] != FORMAT:
            raise ModelFileError(f"{path}: a card of format {fields['format']}; this version reads {FORMAT}")
        card = _card(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelFileError(f"{path}: not a model's card ({type(error).__name__}: {error})") from error
    if not MODEL_ID.fullmatch(card.id):
        raise ModelFileError(f"{path}: {card.id[:40]!r} cannot be a model's id")
    if card.net not in NETS:
        raise ModelFileError(f"{path}: an unknown network, {card.net[:40]!r}; a newer version may know it")
    return card


def _card(fields: dict[str, Any]) -> ModelCard:
    camera = fields["camera"]
    return ModelCard(
        id=typed(fields["id"], str),
        camera=Camera(**{name: typed(camera[name], str) for name in ("make", "model", "serial", "mode")}),
        net=typed(fields["net"], str),
        iso_range=_pair(fields["iso_range"]),
        noise=tuple(_iso_noise(entry) for entry in fields["noise"]),
        captures=tuple(typed(digest, str) for digest in fields["captures"]),
        objective=typed(fields["objective"], str),
        options=typed(fields["options"], dict),
        seed=typed(fields["seed"], int),
        versions={name: typed(version, str) for name, version in fields["versions"].items()},
        created=datetime.fromisoformat(fields["created"]).isoformat(),
        figures=_numbers(fields["figures"]),
        weights_sha256=typed(fields["weights_sha256"], str),
        # Cards made before these were known do not speak of them.
        history=tuple(_numbers(check) for check in fields.get("history", [])),
        evidence=tuple(_evidence(entry) for entry in fields.get("evidence", [])),
    )


def _evidence(entry: dict[str, Any]) -> dict[str, object]:
    """Check what stands in a card of held-out captures at one ISO."""
    across, down = (float(value) for value in entry["autocorrelation"])
    figures = ("gain_db", "error_db", "mean", "chi2", "divergence", "structure")
    return {
        "iso": None if entry["iso"] is None else typed(entry["iso"], int),
        **{name: typed(entry[name], int) for name in ("tiles", "pixels")},
        **_numbers({name: entry[name] for name in figures}),
        "autocorrelation": [across, down],
    }


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in entry.items()}


def _iso_noise(entry: dict[str, Any]) -> IsoNoise:
    iso = None if entry["iso"] is None else typed(entry["iso"], int)
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
    return IsoNoise(iso, NoiseModel(shot, read, row, step, tail), typed(entry["captures"], int))


def _pair(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    low, high = value
    return typed(low, int), typed(high, int)


def typed(value: Any, kind: type[T]) -> T:
    """Give a value of JSON that must be of this type.

    Raises:
        TypeError: it is of another.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:40]!r} is no {kind.__name__}")
    return value
