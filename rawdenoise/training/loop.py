"""The training loop. To resume an interrupted run, run the same command again."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from rawdenoise import __version__
from rawdenoise.devices import pick_device
from rawdenoise.errors import RawDenoiseError, TrainingError
from rawdenoise.models import Model, ModelCard, new_model
from rawdenoise.nets import NETS, StabilisedDenoiser, build_net
from rawdenoise.training.captures import Batch, CaptureSet, TileStore, build_store, tiles_digest
from rawdenoise.training.checkpoint import Counters, load_checkpoint, save_checkpoint
from rawdenoise.training.objectives import OBJECTIVES, Step

WARM_UP = 0.02  # share of the budget over which the learning rate rises
SETTLE = 0.3  # share from which it stays before it falls to zero
LARGEST_GRADIENT = 1.0
SMALLEST_CROP = 16
RETRIES = 4  # losses that are no numbers, each answered by going back and halving the learning rate


class TrainingStopped(TrainingError):  # noqa: N818, not a failure
    """Training was asked to stop, and left a checkpoint."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How to train. The budget is `images` (crops seen; repeatable) if given, else `minutes`.

    `crop` is in packed pixels, and is cut down to what the captures have room for. `gamma` weighs the
    pseudo-supervised term.
    """

    net: str = "fast"
    objective: str = "gr2r"
    gamma: float = 1.0
    minutes: float | None = 10.0
    images: int | None = None
    batch: int = 4
    crop: int = 64
    learning_rate: float = 1e-3
    ema_decay: float = 0.995
    seed: int = 0
    device: str = "auto"
    min_captures: int = 3
    checkpoint_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is. `stage` is "reading captures" or "training"; `done` runs from 0 to 1 in each.

    `loss` is a running average; `remaining_s` is None until it can be told.
    """

    stage: str
    done: float
    images: int = 0
    elapsed_s: float = 0.0
    remaining_s: float | None = None
    loss: float = 0.0


def train(
    captures: CaptureSet,
    options: TrainingOptions = TrainingOptions(),
    *,
    folder: Path,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Model:
    """Train a camera's model on its noisy captures alone; checkpoints lie under `folder`.

    The same captures and options go on where an earlier call stopped, unless the captures are now read in
    another way, a profile says otherwise of their noise, or this is another version of rawdenoise. With a
    budget in images the result is the same on the same machine, interrupted or not.

    Raises:
        TrainingStopped: `stop` answered true, or Ctrl-C; a checkpoint was left. TrainingError: too few or too
        small captures, an unknown network or objective, a folder that cannot be written, a loss that
        diverges, or another process at the same training. ProfileError: the noise profile of this camera
        cannot be understood.
    """
    _check(captures, options)
    run = run_id(captures, options)
    with _alone(folder, run):
        return _trained(captures, options, run, folder / run, on_progress, stop)


def _trained(
    captures: CaptureSet,
    options: TrainingOptions,
    run: str,
    folder: Path,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Model:
    state: _State | None = None
    try:
        # Captures: tiles on disk, noise per ISO.
        store = _read_captures(captures, folder, options, on_progress, stop)
        crop = _crop_size(store, options)

        # Network, its running average and optimiser; or those of the last checkpoint.
        state = _State(options, run)
        if not state.resume(folder):
            state.save(folder)

        # Loop.
        saved = time.monotonic()
        while (done := _done(state.counters, options)) < 1:
            if stop():
                raise KeyboardInterrupt
            start = time.monotonic()
            rng = np.random.default_rng([options.seed, state.counters.step])
            batch = store.draw(rng, options.batch, crop)
            loss = state.step(batch, done, options)
            if not math.isfinite(loss):
                state.back_off(folder)
                continue
            state.count(loss, options.batch, time.monotonic() - start)
            on_progress(_progress(state.counters, options))
            if time.monotonic() - saved > options.checkpoint_s:
                state.save(folder)
                saved = time.monotonic()
        state.save(folder)
    except KeyboardInterrupt:
        seen = 0
        if state is not None:
            seen = state.counters.images
            if not state.updating:  # caught half-way through an update, the last checkpoint is the better one
                state.save(folder)
        raise TrainingStopped(f"stopped after {seen} crops; to resume, run the same command again") from None

    # The averaged weights are the model.
    net = state.average.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return new_model(net, _card(captures, store, state, options, crop))


def run_id(captures: CaptureSet, options: TrainingOptions) -> str:
    """Name the checkpoint folder of a training: the same for the same tiles and the same kind of model.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    kind = {
        name: value
        for name, value in asdict(options).items()
        if name not in {"minutes", "images", "device", "min_captures", "checkpoint_s"}
    }
    return hashlib.sha256(json.dumps([tiles_digest(captures), kind]).encode()).hexdigest()[:16]


def forget(captures: CaptureSet, options: TrainingOptions, *, folder: Path) -> None:
    """Remove the tiles and the checkpoint of a training, once its model is safe in a store.

    They stay where another process has taken them up meanwhile.
    """
    run = run_id(captures, options)
    with suppress(TrainingError), _alone(folder, run):
        shutil.rmtree(folder / run, ignore_errors=True)


@contextmanager
def _alone(folder: Path, run: str) -> Iterator[None]:
    """Keep other processes out of a training; the lock is the system's, and gone with the process.

    Raises:
        TrainingError: another process is at the same training, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{run}.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise TrainingError("another process is training on these captures: wait for it or stop it") from None
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error})"
        raise TrainingError(f"{folder}: {reason}; choose another folder with --scratch") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps it while it is open
            Path(lock.lock_file).unlink()
        lock.release()


class _State:
    """All that changes during a training."""

    def __init__(self, options: TrainingOptions, run: str) -> None:
        self.device = pick_device(options.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            net = build_net(options.net).train()
        # Channels last: a sixth faster to train on a CPU, and more on a GPU.
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net: StabilisedDenoiser = net.to(self.device)
        self.average: StabilisedDenoiser = copy.deepcopy(self.net).requires_grad_(False).eval()
        self.adam = torch.optim.Adam(self.net.parameters(), lr=options.learning_rate)
        self.counters = Counters(run)
        self.updating = False

    def step(self, batch: Batch, done: float, options: TrainingOptions) -> float:
        """Make one update; returns the loss, and makes none where loss or gradient are no numbers."""
        counters, white = self.counters, batch.white.to(self.device)
        step = Step(
            denoise=lambda noisy: self.net(noisy, white),
            teacher=torch.no_grad()(lambda noisy: self.average(noisy, white)),
            noisy=batch.noisy.to(self.device),
            valid=batch.valid.to(self.device),
            done=done,
            gamma=options.gamma,
            generator=torch.Generator().manual_seed(options.seed << 32 | counters.step),
        )
        loss = OBJECTIVES[options.objective](step)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = nn.utils.clip_grad_norm_(self.net.parameters(), LARGEST_GRADIENT)
        if not bool(torch.isfinite(gradient)):
            return math.nan
        for group in self.adam.param_groups:
            group["lr"] = options.learning_rate * counters.learning_rate_scale * _schedule(done)
        self.updating = True
        self.adam.step()
        decay = min(options.ema_decay, (1 + counters.step) / (10 + counters.step))
        for averaged, current in zip(self.average.parameters(), self.net.parameters(), strict=True):
            averaged.lerp_(current.detach(), 1 - decay)
        self.updating = False
        return float(loss.detach())

    def count(self, loss: float, images: int, seconds: float) -> None:
        """Note that a step was made."""
        old = self.counters
        share = max(0.01, 1 / (old.step + 1))
        self.counters = replace(
            old,
            step=old.step + 1,
            images=old.images + images,
            elapsed_s=old.elapsed_s + seconds,
            loss=old.loss + share * (loss - old.loss),
        )

    def back_off(self, folder: Path) -> None:
        """Return to the last checkpoint with half the learning rate, past the crops that broke it.

        Raises:
            TrainingError: it was tried often enough.
        """
        counters = self.counters
        if counters.learning_rate_scale <= 0.5**RETRIES:
            raise TrainingError(
                f"training diverged after {counters.images} crops, {RETRIES} times: lower the learning rate"
            )
        self.resume(folder)
        self.counters = replace(
            counters, step=counters.step + 1, learning_rate_scale=counters.learning_rate_scale / 2
        )

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        save_checkpoint(folder, self.counters, dict(self._tensors()))

    def resume(self, folder: Path) -> bool:
        """Take up the checkpoint of this run; false where there is none, or of another network."""
        found = load_checkpoint(folder, self.counters.run)
        networks = {name: tensor.shape for name, tensor in self._tensors() if not name.startswith("adam")}
        if found is None or networks != {name: found[1][name].shape for name in networks if name in found[1]}:
            return False
        self.counters, tensors = found
        self.adam.load_state_dict({"state": _adam_state(tensors), **_without_state(self.adam)})
        with torch.no_grad():
            for name, tensor in self._tensors():
                tensor.copy_(tensors[name])
        return True

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.net.state_dict().items():
            yield f"net.{name}", tensor
        for name, tensor in self.average.state_dict().items():
            yield f"average.{name}", tensor
        for index, moments in self.adam.state_dict()["state"].items():
            for name, tensor in moments.items():
                yield f"adam.{index}.{name}", tensor


def _adam_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "adam":
            index, _, moment = rest.partition(".")
            state.setdefault(int(index), {})[moment] = tensor
    return state


def _without_state(adam: torch.optim.Adam) -> dict[str, object]:
    return {"param_groups": adam.state_dict()["param_groups"]}


def _check(captures: CaptureSet, options: TrainingOptions) -> None:
    name, count = captures.camera.name, len(captures.captures)
    if count < options.min_captures:
        raise TrainingError(f"{name}: {count} captures, at least {options.min_captures} are needed")
    if options.net not in NETS:
        raise TrainingError(f"no network called {options.net!r}; there are {', '.join(NETS)}")
    if options.objective not in OBJECTIVES:
        raise TrainingError(f"no objective called {options.objective!r}; there are {', '.join(OBJECTIVES)}")
    if options.images is None and options.minutes is None:
        raise TrainingError("training needs a budget, in minutes or in images")


def _read_captures(
    captures: CaptureSet,
    folder: Path,
    options: TrainingOptions,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> TileStore:
    read = 0

    def on_file(path: Path, error: RawDenoiseError | None) -> None:
        nonlocal read
        read += 1
        on_progress(Progress("reading captures", read / len(captures.captures)))
        if stop():
            raise KeyboardInterrupt

    return build_store(captures, folder, seed=options.seed, on_file=on_file)


def _crop_size(store: TileStore, options: TrainingOptions) -> int:
    multiple = build_net(options.net).multiple
    size = min(options.crop, store.largest_crop) // multiple * multiple
    if size < max(SMALLEST_CROP, multiple):
        raise TrainingError(f"the captures are too small to train on ({2 * store.largest_crop} pixels)")
    return size


def _done(counters: Counters, options: TrainingOptions) -> float:
    """How much of the budget is used up, 0 to 1."""
    if options.images is not None:
        return min(1.0, counters.images / max(1, options.images))
    return min(1.0, counters.elapsed_s / max(1e-9, 60 * (options.minutes or 0)))


def _schedule(done: float) -> float:
    """Learning rate over the budget: a linear rise, a plateau, a half cosine down to zero."""
    if done < SETTLE:
        return min(1.0, (done + 1e-3) / WARM_UP)
    return 0.5 + 0.5 * math.cos(math.pi * (done - SETTLE) / (1 - SETTLE))


def _progress(counters: Counters, options: TrainingOptions) -> Progress:
    done = _done(counters, options)
    remaining = counters.elapsed_s * (1 - done) / done if done > 0 else None
    return Progress("training", done, counters.images, counters.elapsed_s, remaining, counters.loss)


def _card(
    captures: CaptureSet, store: TileStore, state: _State, options: TrainingOptions, crop: int
) -> ModelCard:
    return ModelCard(
        id="",
        camera=captures.camera,
        net=options.net,
        iso_range=captures.iso_range,
        noise=store.noise,
        captures=tuple(capture.digest for capture in captures.captures),
        objective=options.objective,
        options={**asdict(options), "crop": crop},
        seed=options.seed,
        versions={
            "rawdenoise": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        created="",
        figures={
            "images": float(state.counters.images),
            "training_s": round(state.counters.elapsed_s, 1),
            "loss": round(state.counters.loss, 5),
            **_held_out_figures(state, store, crop, options.seed),
        },
        weights_sha256="",
    )


@torch.no_grad()
def _held_out_figures(state: _State, store: TileStore, crop: int, seed: int) -> dict[str, float]:
    """How the model does on tiles it has not trained on, in sigmas of the noise.

    `chi2` is the mean squared residual: near 0 the model has collapsed to the identity. `bias` is the mean
    residual. `risk` is Stein's unbiased estimate of the mean squared error (1 for the capture itself), with a
    Monte-Carlo divergence (Ramani, Blu & Unser 2008); `gain_db` says the same in dB. The latter two are as
    right as the noise model.
    """
    if not store.held_out:
        return {}
    rng, generator = np.random.default_rng([seed, 1 << 40]), torch.Generator().manual_seed(seed)
    sums = np.zeros(4)
    for _ in range(8):
        batch = store.draw(rng, 8, crop, held_out=True)
        noisy, white = batch.noisy.to(state.device), batch.white.to(state.device)
        probe = torch.randn(noisy.shape, generator=generator).to(noisy)
        clean = state.average(noisy, white)
        divergence = probe * (state.average(noisy + 0.01 * probe, white) - clean) / 0.01
        valid, residual = batch.valid.to(noisy), noisy - clean
        terms = (torch.ones_like(valid), residual.square(), residual, divergence)
        sums += [float((term * valid).sum()) for term in terms]
    count, square, plain, divergence_sum = (float(total) for total in sums)
    chi2, bias, slope = (total / max(count, 1) for total in (square, plain, divergence_sum))
    risk = chi2 - 1 + 2 * slope
    return {
        "chi2": round(chi2, 4),
        "bias": round(bias, 5),
        "risk": round(risk, 4),
        "gain_db": round(-10 * math.log10(max(risk, 1e-4)), 2),
    }
