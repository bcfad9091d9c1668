"""Trainings for the papers' tables: each is done once, looked at on the way if asked for, and kept."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from methods import (
    BLIND_SPOT,
    BM3D,
    GAMMAS,
    METHODS,
    SELF2SELF,
    UNGUARDED,
    Ground,
    Method,
    base,
    fit_method,
    keep_net,
    kept_net,
    taught,
)
from sheets import Curve, Figures, tell

import rawdenoise
from rawdenoise.atomic import write_bytes
from rawdenoise.errors import TrainingError
from rawdenoise.nets import Network, build_net
from rawdenoise.training import TrainingOptions, TrainingStopped
from rawdenoise.training.checkpoint import load_checkpoint
from rawdenoise.training.loop import Fitted
from rawdenoise.training.progress import Progress

GR2R = "gr2r"
# What is trained from nothing to the end of its budget, and what is not trained: each of METHODS is a row.
ROWS: Mapping[str, Method] = {
    GR2R if name == UNGUARDED else name: method
    for name, method in METHODS.items()
    # Not users' trainings, whose looks and bases are no part of the papers, nor one for each picture.
    if not method.guard and name != SELF2SELF
}

Look = Callable[[Network], float]  # PSNR in dB


class OfMethod(Protocol):
    """A line of a table."""

    @property
    def method(self) -> str:
        """The method it is of."""
        ...


Line = TypeVar("Line", bound=OfMethod)


@dataclass(frozen=True, slots=True)
class Trial:
    """One training; the same record, the same network.

    `ground` says what it is trained on, `looked_at` what it is looked at with, in `looks`: they do not change
    it, and do not count.
    """

    ground: str
    method: str
    net: str
    seed: int
    crops: int | None
    minutes: float | None
    batch: int
    crop: int
    looks: int = 0
    looked_at: str = ""

    @property
    def name(self) -> str:
        """Names its files: readable, and its own."""
        whole = json.dumps(asdict(self.unseen), sort_keys=True).encode()
        return f"{self.method}.{hashlib.sha256(whole).hexdigest()[:12]}"

    @property
    def unseen(self) -> Self:
        """The same without looks."""
        return replace(self, looks=0, looked_at="")

    @property
    def options(self) -> TrainingOptions:
        """How it is trained."""
        return TrainingOptions(
            net=net_of(self.method, self.net),
            objective=ROWS[self.method].objective or "",
            gamma=ROWS[self.method].gamma,
            crops=self.crops,
            minutes=self.minutes,
            batch=self.batch,
            crop_size=self.crop,
            seed=self.seed,
            guard=False,
        )


@dataclass(frozen=True, slots=True)
class Point:
    """What the averaged network was worth after so many crops."""

    crops: int
    psnr: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training took, and how it went."""

    crops: int
    training_s: float
    curve: tuple[Point, ...]
    versions: Mapping[str, str]


class NotDoneError(Exception):
    """What is asked for is not in the folder."""


class Kept:
    """A folder of results: JSON, and the networks beside it.

    A `frozen` one has what it has: it raises NotDoneError where others answer None, that is, "do it".
    """

    def __init__(self, folder: Path, *, frozen: bool = False) -> None:
        self.folder, self.frozen = folder, frozen

    def trained(self, trial: Trial) -> Trained | None:
        """What is known of a training, None where it is still to be done, with its looks if it has any."""
        fields = self._read(f"{trial.name}.json")
        if fields is None:
            return self._nothing()
        seen = fields["trial"]["looks"], fields["trial"]["looked_at"]
        if trial.looks and seen != (trial.looks, trial.looked_at) and not self.frozen:
            return None
        curve = tuple(Point(**point) for point in fields["curve"])
        return Trained(fields["crops"], fields["training_s"], curve, fields["versions"])

    def save_trained(self, trial: Trial, trained: Trained, net: Network) -> None:
        """Keep a network, then what is known of it."""
        keep_net(self.folder / f"{trial.name}.safetensors", net)
        self._write(f"{trial.name}.json", {"trial": asdict(trial), **asdict(trained)})

    def net(self, trial: Trial) -> Network:
        """The network of a training that has been done."""
        return kept_net(self.folder / f"{trial.name}.safetensors", net_of(trial.method, trial.net))

    def figures(self, name: str) -> Figures | None:
        """The figures of a test, None where it is still to be done."""
        fields = self._read(f"{name}.json")
        return self._nothing() if fields is None else Figures(tuple(fields["psnr"]), tuple(fields["ssim"]))

    def save_figures(self, name: str, figures: Figures, **more: object) -> None:
        """Keep the figures of a test, and what else there is to say of it."""
        self._write(f"{name}.json", {**asdict(figures), **more, "versions": versions()})

    def scratch(self, trial: Trial) -> Path:
        """Where checkpoint and looks lie until the training is done."""
        return self.folder / "training" / f"{trial.name}-{trial.looks}"

    def curve(self, trial: Trial) -> list[Point]:
        """The looks that an interrupted training has had."""
        fields = self._read(self._looks(trial))
        return [Point(**point) for point in fields or ()]

    def save_curve(self, trial: Trial, curve: list[Point]) -> None:
        """Keep the looks so far."""
        self._write(self._looks(trial), [asdict(point) for point in curve])

    def _looks(self, trial: Trial) -> str:
        return f"{self.scratch(trial).relative_to(self.folder)}/curve.json"

    def _nothing(self) -> None:
        if self.frozen:
            raise NotDoneError

    def _read(self, name: str) -> Any:
        path = self.folder / name
        return json.loads(path.read_bytes()) if path.exists() else None

    def _write(self, name: str, fields: object) -> None:
        write_bytes(self.folder / name, json.dumps(fields, indent=1).encode())


def asked_for(only: Sequence[str] | None, left_out: Collection[str], *, bm3d: bool) -> list[str]:
    """The methods that are asked for, or all but some, and can be had."""
    left_out = set(left_out) if bm3d else {*left_out, BM3D}
    wanted = [name for name in ROWS if (name in only if only else name not in left_out)]
    if BM3D in wanted and importlib.util.find_spec("bm3d") is None:
        tell("no BM3D: its package is for non-commercial use; `pip install bm3d` where that is what it is")
        wanted.remove(BM3D)
    return [name for name in wanted if (kind := ROWS[name].base) is None or base(kind) is not None]


def passes(folder: Path, wanted: Sequence[str]) -> tuple[tuple[Kept, Sequence[str]], ...]:
    """First what is there of all methods, which does nothing; then what is asked for."""
    return (Kept(folder, frozen=True), list(ROWS)), (Kept(folder), wanted)


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Lines of a table by their methods, in the order of ROWS; among them as they come."""
    order = list(ROWS)
    return sorted(lines, key=lambda line: order.index(line.method))


def seeds_of(method: str, seeds: Sequence[int]) -> Sequence[int]:
    """The seeds that make a difference: what is not trained has but one result."""
    return seeds if ROWS[taught(method, ROWS)].objective is not None else seeds[:1]


def net_of(method: str, chosen: str) -> str:
    """The network of a method: the chosen one, but for those that need a blind spot."""
    return BLIND_SPOT if ROWS[method].net == BLIND_SPOT else chosen


def train(
    trial: Trial, kept: Kept, source: Callable[[], Ground], *, device: str, look: Look | None = None
) -> Trained:
    """Train, or go on where an interrupted run has stopped, or take what is there."""
    found = kept.trained(trial)
    if found is not None:
        return found
    if look is not None and not kept.curve(trial):
        kept.save_curve(trial, [Point(0, look(untrained(trial)))])
    crops = source()
    for due in looks_due(trial)[len(kept.curve(trial)) - 1 :] if look is not None else ():
        net, seen = _trained_until(due, trial, kept, crops, device)
        kept.save_curve(trial, [*kept.curve(trial), Point(seen, look(net))])
    fitted = _fit(trial, kept, crops, device)
    curve = kept.curve(trial)
    if look is not None:
        curve.append(Point(fitted.crops, look(fitted.last)))
    trained = Trained(fitted.crops, fitted.training_s, tuple(curve), versions())
    kept.save_trained(trial, trained, fitted.last)
    shutil.rmtree(kept.scratch(trial), ignore_errors=True)
    end = f"; {curve[-1].psnr:.2f} dB" if curve else ""
    tell(f"{trial.ground}, {trial.method}: {trained.crops} crops in {trained.training_s:.0f} s{end}")
    return trained


def untrained(trial: Trial) -> Network:
    """The network that a training begins with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        return build_net(net_of(trial.method, trial.net)).eval()


def looks_due(trial: Trial) -> list[float]:
    """Shares of the budget after which to look, closer at the beginning; the first and the last are apart."""
    return [(number / trial.looks) ** 2 for number in range(1, trial.looks)]


def _trained_until(due: float, trial: Trial, kept: Kept, ground: Ground, device: str) -> tuple[Network, int]:
    """Train for so much of the budget; returns the averaged network, and the crops it has seen.

    It is interrupted, and read from its checkpoint: to go on is to train on as if nothing had been.
    """
    reached = _reached(trial, kept)

    def note(progress: Progress) -> None:
        nonlocal reached
        reached = progress.done

    try:
        _fit(trial, kept, ground, device, note, lambda: reached >= due)
    except TrainingStopped:
        if reached < due:
            raise  # by the user
    found = load_checkpoint(kept.scratch(trial), trial.name)
    if found is None:
        raise TrainingError(f"{kept.scratch(trial)}: no checkpoint to look at; start in a new folder")
    counters, tensors = found
    net = build_net(net_of(trial.method, trial.net))
    kind = "average."
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith(kind)}
    net.load_state_dict({name.removeprefix(kind): tensor for name, tensor in weights.items()})
    return net.eval(), counters.crops


def _reached(trial: Trial, kept: Kept) -> float:
    """How much of its budget an interrupted training has used."""
    found = load_checkpoint(kept.scratch(trial), trial.name)
    if found is None:
        return 0.0
    return found[0].crops / trial.crops if trial.crops else found[0].elapsed_s / (60 * (trial.minutes or 1))


def _fit(
    trial: Trial,
    kept: Kept,
    ground: Ground,
    device: str,
    note: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    options, folder = replace(trial.options, device=device), kept.scratch(trial)
    method = ROWS[trial.method]
    return fit_method(method, ground, options, folder=folder, run=trial.name, on_progress=note, stop=stop)


def curves(trainings: Mapping[str, Sequence[Trained]]) -> list[Curve]:
    """A curve per method that was looked at, the mean over its trainings."""
    drawn = []
    for method, each in trainings.items():
        if not all(trained.curve for trained in each):
            continue
        looks = list(zip(*(trained.curve for trained in each), strict=True))
        published = method.startswith("paper-")
        drawn.append(
            Curve(
                "calibrated GR2R" if method == GR2R else ROWS[method].title,
                [fmean(point.crops for point in look) for look in looks],
                [fmean(point.psnr for point in look) for look in looks],
                shade=GAMMAS.index(int(ROWS[method].gamma)) / (len(GAMMAS) - 1) if published else None,
                bar=method == "supervised",
            )
        )
    return drawn


def versions() -> dict[str, str]:
    """What a result was made with."""
    return {
        "rawdenoise": rawdenoise.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
