"""Trainings with a budget: each is done once, looked at on the way if asked for, and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import safetensors.torch
import torch

from lab.methods import BLIND_SPOT, GR2R, METHODS, NET, Ground, base, net_of
from lab.report import tell
from lab.store import Lab, Settings
from rawdenoise.atomic import write_bytes
from rawdenoise.errors import TrainingError
from rawdenoise.nets import Network, build_net
from rawdenoise.training import TrainingOptions, TrainingStopped
from rawdenoise.training.checkpoint import load_checkpoint
from rawdenoise.training.loop import Fitted, fit
from rawdenoise.training.progress import Progress, compute_budget_used
from rawdenoise.training.unpaired import Unpaired, UnpairedCrops, fit_unpaired

AVERAGE = "average."  # what the averaged weights are called in a checkpoint

Look = Callable[[Network], float]  # PSNR in dB
Curve = Sequence[tuple[int, float]]  # crops, and what the averaged network was worth after them


@dataclass(frozen=True, slots=True)
class Trial:
    """One training; the same record, the same network. `ground` says what it is trained on."""

    ground: str
    method: str
    seed: int = 0
    net: str = NET
    crops: int | None = None
    minutes: float | None = None
    batch: int = 16
    crop: int = 64
    base: str | None = None  # digest of its weights

    @property
    def settings(self) -> Settings:
        """What its result is kept under."""
        return {"kind": "training", **asdict(self)}

    def options(self, device: str) -> TrainingOptions:
        """How it is trained."""
        method = METHODS[self.method]
        return TrainingOptions(
            net=net_of(self.method, self.net), objective=method.objective or "", gamma=method.gamma,
            crops=self.crops, minutes=self.minutes, batch=self.batch, crop_size=self.crop, seed=self.seed,
            device=device, guard=method.guard,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looks:
    """At a network in training: how many, with what, and what it says. They do not change the training."""

    number: int
    at: str
    look: Look

    @property
    def due(self) -> list[float]:
        """Shares of the budget after which to look, closer at the beginning; first and last are apart."""
        return [(number / self.number) ** 2 for number in range(1, self.number)]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training took, and how it went."""

    crops: int
    training_s: float
    curve: Curve = ()


def train(
    lab: Lab, trial: Trial, ground: Callable[[], Ground], looks: Looks | None = None, *, wanted: bool = True
) -> Trained | None:
    """Train, or go on where an interrupted run has stopped, or take what is there."""
    do, known = wanted and not lab.report, lab.store.find(trial.settings)
    if known and (looks is None or not do or known["looks"] == [looks.number, looks.at]):
        return Trained(known["crops"], known["training_s"], known["curve"])
    return _train(lab, trial, ground(), looks) if do else None


def kept_net(lab: Lab, trial: Trial) -> Network:
    """The network of a training that has been done."""
    net = build_net(net_of(trial.method, trial.net))
    net.load_state_dict(safetensors.torch.load_file(lab.store.path(trial.settings, ".safetensors")))
    return net.eval()


def untrained(trial: Trial) -> Network:
    """The network that a training begins with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        return build_net(net_of(trial.method, trial.net)).eval()


def _train(lab: Lab, trial: Trial, ground: Ground, looks: Looks | None) -> Trained:
    run = _Run(lab, trial, ground, looks.number if looks else 0)
    if looks is not None and not run.curve:
        run.note(0, looks.look(untrained(trial)))
    for due in looks.due[len(run.curve) - 1 :] if looks is not None else ():
        net, crops = run.fit_until(due)
        run.note(crops, looks.look(net))
    fitted = run.fit()
    net = fitted.net if METHODS[trial.method].guard else fitted.last
    curve = [*run.curve, *([(fitted.crops, looks.look(net))] if looks else [])]
    trained = Trained(fitted.crops, fitted.training_s, curve)
    weights = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    write_bytes(lab.store.path(trial.settings, ".safetensors"), safetensors.torch.save(weights))
    lab.store.save(trial.settings, {**asdict(trained), "looks": [looks.number, looks.at] if looks else None})
    shutil.rmtree(run.folder, ignore_errors=True)
    end = f"; {curve[-1][1]:.2f} dB" if curve else ""
    tell(f"{trial.ground}, {trial.method}: {trained.crops} crops in {trained.training_s:.0f} s{end}")
    return trained


class _Run:
    """A training that is under way: its checkpoint, and the looks it has had."""

    def __init__(self, lab: Lab, trial: Trial, ground: Ground, looks: int) -> None:
        self._trial, self._ground, self._name = trial, ground, lab.store.name(trial.settings)
        self._options = trial.options(lab.device)
        self.folder = lab.store.scratch(trial.settings).with_name(f"{self._name}-{looks}")
        self._looks = self.folder / "curve.json"
        self.curve: list[tuple[int, float]] = (
            json.loads(self._looks.read_bytes()) if self._looks.exists() else []
        )

    def note(self, crops: int, psnr: float) -> None:
        """Keep a look."""
        self.curve.append((crops, psnr))
        write_bytes(self._looks, json.dumps(self.curve).encode())

    def fit(self, **how: Any) -> Fitted:
        """Train to the end: in one stage, or, where it learns from clean pictures as well, in two."""
        method, source, clean = METHODS[self._trial.method], self._ground.source, self._ground.clean
        start = base(method.base) if method.base is not None else None
        how |= {"folder": self.folder, "run": self._name, "start": None if start is None else start.net}
        if clean is None:
            return fit(source, self._options, **how)
        unpaired = Unpaired(blind_spot=BLIND_SPOT, learned_noise=method.learned_noise)
        return fit_unpaired(UnpairedCrops(source, clean), self._options, unpaired, **how)

    def fit_until(self, due: float) -> tuple[Network, int]:
        """Train for so much of the budget; returns the averaged network, and the crops it has seen.

        It is interrupted, and read from its checkpoint: to go on is to train on as if nothing had been.
        """
        reached = self._reached()

        def note(progress: Progress) -> None:
            nonlocal reached
            reached = progress.done

        try:
            self.fit(on_progress=note, stop=lambda: reached >= due)
        except TrainingStopped:
            if reached < due:
                raise  # by the user
        checkpoint = load_checkpoint(self.folder, self._name)
        if checkpoint is None:
            raise TrainingError(f"{self.folder}: no checkpoint to look at; start in a new folder")
        counters, tensors = checkpoint
        net = build_net(self._options.net)
        weights = {name: tensor for name, tensor in tensors.items() if name.startswith(AVERAGE)}
        net.load_state_dict({name.removeprefix(AVERAGE): tensor for name, tensor in weights.items()})
        return net.eval(), counters.crops

    def _reached(self) -> float:
        """How much of its budget an interrupted training has used."""
        checkpoint = load_checkpoint(self.folder, self._name)
        used, budget = compute_budget_used(checkpoint[0], self._options) if checkpoint else (0.0, 1.0)
        return used / budget


def mean_curves(trainings: Mapping[str, Sequence[Trained]]) -> dict[str, Sequence[tuple[float, float]]]:
    """A curve per method that was looked at, by a short title, the mean over its trainings."""
    curves = {}
    for method, several in trainings.items():
        if all(trained.curve for trained in several):
            looks = zip(*(trained.curve for trained in several), strict=True)
            points = [(fmean(crops for crops, _ in look), fmean(psnr for _, psnr in look)) for look in looks]
            title = METHODS[method].title.removeprefix("GR2R as published, ").split(" (")[0]
            curves["calibrated GR2R" if method == GR2R else title] = points
    return curves
