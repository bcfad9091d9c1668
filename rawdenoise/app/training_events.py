"""What a training tells while it runs, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rawdenoise.capture.raw import Camera
from rawdenoise.errors import RawDenoiseError, TrainingError, exit_code_of, explain
from rawdenoise.models.card import CLEAN_OPTION, ModelCard
from rawdenoise.terminal.text import count_noun
from rawdenoise.training.captures import Capture, CaptureSet
from rawdenoise.training.progress import Progress
from rawdenoise.training.train_camera import Trained

KEPT_THOUGH_IT_LOSES = (
    "kept as asked for, though it loses: `denoise` leaves pictures alone that it would make worse"
)
MORE_CAPTURES = (
    "more captures, plainer ones, or `rawdenoise calibrate` would tell their noise from their texture"
)


@dataclass(frozen=True, slots=True)
class FilesRead:
    """So many files have been looked at."""

    count: int


@dataclass(frozen=True, slots=True)
class FileRefused:
    """A file that cannot be trained on, and why."""

    error: RawDenoiseError


@dataclass(frozen=True, slots=True)
class CameraFound:
    """A camera and what there is of it; it is left out where it has fewer captures than are `needed`."""

    camera: Camera
    captures: int
    isos: tuple[int, ...]
    needed: int

    @property
    def is_enough(self) -> bool:
        """Whether it will be trained."""
        return self.captures >= self.needed


@dataclass(frozen=True, slots=True)
class CameraBegun:
    """The training of a camera begins, one of `count`."""

    number: int
    count: int
    camera: Camera


@dataclass(frozen=True, slots=True)
class TrainingResumed:
    """A training goes on after so many crops of an earlier run."""

    crops: int


@dataclass(frozen=True, slots=True)
class ModelUnsaved:
    """The store refused a model; what was learned stays in a folder, and the same training goes on there."""

    folder: Path


Event = FilesRead | FileRefused | CameraFound | CameraBegun | TrainingResumed | ModelUnsaved | Progress
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Take no note of an event."""


class TrainingOutcome(StrEnum):
    """What came of a camera's training."""

    KEPT = "kept"
    LOSES = "loses"  # it is estimated to make captures worse
    NOT_BETTER = "not better"  # than the model there is
    FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class CameraTrained:
    """What came of the training of a camera: of these captures, clean ones among them.

    `trained` is the new model and its comparison with the present one, kept or not, None where the training
    failed by an `error`. What a model that was not kept has learned stays in `scratch`.
    """

    captures: CaptureSet
    trained: Trained | None
    is_kept: bool
    scratch: Path
    error: Exception | None = None

    @property
    def card(self) -> ModelCard | None:
        """That of the new model."""
        return self.trained.model.card if self.trained else None

    @property
    def outcome(self) -> TrainingOutcome:
        """Whether the model was kept, or why not."""
        if self.trained is None:
            return TrainingOutcome.FAILED
        if self.is_kept:
            return TrainingOutcome.KEPT
        return TrainingOutcome.LOSES if self.trained.loses else TrainingOutcome.NOT_BETTER

    @property
    def exit_code(self) -> int:
        """That of its error, 1 of a bug, 0 where there is none."""
        return 0 if self.error is None else exit_code_of(self.error)

    def as_json(self) -> dict[str, object]:
        """Give it as what JSON holds; estimates in dB."""
        trained, card = self.trained, self.card
        before = trained.before if trained else None
        return {
            "camera": self.captures.camera.name,
            "mode": self.captures.camera.mode,
            "captures": len(self.captures.captures),
            "outcome": str(self.outcome),
            "reason": self.reason or None,
            "model": card.id if card and self.is_kept else None,
            "figures": dict(card.figures) if card else None,
            "gain_db": round(trained.risk.gain_db, 2) if trained else None,
            "against": (trained.rival_id or None) if trained else None,
            "against_gain_db": round(before.gain_db, 2) if before else None,
            "ended_early": (trained.ended or None) if trained else None,
            "scratch": None if self.outcome is TrainingOutcome.KEPT else str(self.scratch),
            "exit_code": self.exit_code,
        }

    @property
    def reason(self) -> str:
        """Why there is no new model, in words; empty where there is one."""
        match self.outcome:
            case TrainingOutcome.KEPT:
                return ""
            case TrainingOutcome.FAILED:
                return explain(self.error or TrainingError("for no known reason"))
            case TrainingOutcome.LOSES:
                lost = -self.trained.risk.gain_db if self.trained else 0.0
                return f"this one is estimated to make captures held out worse, by {lost:.2f} dB"
            case _:
                return "the present one is as good on held-out captures"

    @property
    def clean(self) -> tuple[Capture, ...]:
        """The captures that were taken for clean ones, in unpaired learning."""
        digests = self.card.options.get(CLEAN_OPTION) if self.card else None
        digests = digests if isinstance(digests, list) else []
        return tuple(capture for capture in self.captures.captures if capture.digest in digests)

    def describe(self) -> Iterator[str]:
        """Say which model there is now, how good it is, and what it was compared with, a line each."""
        trained = self.trained
        if trained is None:
            yield f"failed: {self.reason}"
            return
        card, risk, before = trained.model.card, trained.risk, trained.before
        yield f"model {card.id}" if self.is_kept else f"no new model: {self.reason}"
        yield from list_figures(card)
        if self.clean:
            yield f"  clean: {count_noun(len(self.clean), 'capture')}, {name_isos(list_isos(self.clean))}"
        if trained.ended:
            yield f"  ended early: {trained.ended}"
        if before is not None and trained.rival_id:
            yield f"  against {trained.rival_id}: {risk.gain_db - before.gain_db:+.2f} dB"
        if trained.loses:
            if self.is_kept:
                yield KEPT_THOUGH_IT_LOSES
            if before is not None and before.gain_db < 0:
                lost = -before.gain_db
                yield f"the present one loses too, by {lost:.2f} dB: `denoise` leaves such pictures alone"
            yield MORE_CAPTURES


def list_figures(card: ModelCard) -> Iterator[str]:
    """Say the figures of a card, a line each."""
    for name, value in card.figures.items():
        yield f"  {name}: {value:.5g}"


def list_isos(captures: Sequence[Capture]) -> tuple[int, ...]:
    """The ISOs of captures, each once, the lowest first."""
    return tuple(sorted({capture.iso for capture in captures if capture.iso is not None}))


def name_isos(isos: Sequence[int]) -> str:
    """Say ISOs in words."""
    return f"ISO {', '.join(map(str, isos))}" if isos else "ISO not stated"
