"""The training loop, for any source of crops. To resume an interrupted run, call it again."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from rawdenoise.atomic import remove_abandoned
from rawdenoise.errors import ScratchError, TrainingError
from rawdenoise.inference.devices import pick_device, prefers_bfloat16
from rawdenoise.nets import BLIND_SPOTS, NETS, BlindSpotDenoiser, Network, build_net
from rawdenoise.nets.gaussians import Prediction
from rawdenoise.training.batches import Batch, Source
from rawdenoise.training.checkpoint import Check, Counters, load_checkpoint, save_checkpoint
from rawdenoise.training.objectives import NEED_BLIND_SPOTS, OBJECTIVES, Step
from rawdenoise.training.risk import RiskFigures, crop_sums, summarise

WARM_UP = 0.02  # share of the budget over which the learning rate rises
SETTLE = 0.3  # share from which it stays before it falls to zero
LARGEST_GRADIENT = 1.0
SMALLEST_CROP = 16
RETRIES = 4  # losses that are no numbers, each answered by going back and halving the learning rate
LOOKS, STEPS_APART = 12, 10  # at the estimated risk in a training, and the least steps between two
LOOKED_AT = (4, 16)  # batches, and crops in each
FROM_NOTHING, FROM_TRAINED = 1e-3, 3e-4  # learning rates
FLAT = (4, 0.002, 20_000)  # looks without a gain of such a share, and crops before which nothing is flat
RISING = (3, 1.1)  # looks in a row that are so many times worse than the best one


class TrainingStopped(TrainingError):  # noqa: N818, not a failure
    """Training was asked to stop after so many crops, and left a checkpoint."""

    exit_code = 130

    def __init__(self, images: int, doing: str = "") -> None:
        self.images = images
        super().__init__(f"stopped {doing or f'after {images} crops'}; to resume, run the same command again")


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How to train. The budget is `images` (crops seen; repeatable) if given, else `minutes`.

    `crop` is in packed pixels, cut down to what there is room for. `gamma` weighs the pseudo-supervised term.
    Without a `learning_rate` it is 1e-3 from nothing and 3e-4 from a trained network. `precision` is
    float32, bfloat16 (weights and losses stay float32), or auto: bfloat16 where the device is faster at it.
    With `guard` the training ends where nothing more is gained, and where the estimated risk rises for good.
    """

    net: str = "fast"
    objective: str = "gr2r"
    gamma: float = 1.0
    minutes: float | None = 10.0
    images: int | None = None
    batch: int = 16
    crop: int = 64
    learning_rate: float | None = None
    ema_decay: float = 0.998
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    guard: bool = True
    min_captures: int = 3
    checkpoint_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is: `stage` says what it is at, `done` runs from 0 to 1 while it reads, then again.

    `loss` is a running average; `remaining_s` and the estimated `gain_db` are None until they can be told.
    """

    stage: str
    done: float
    images: int = 0
    elapsed_s: float = 0.0
    remaining_s: float | None = None
    loss: float = 0.0
    gain_db: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a training gave, in eval mode on the CPU.

    `net` is the averaged network at the look where its estimated risk was least, `figures` that look's;
    `last` is the averaged network at the end. `stopped` says why the training ended before its budget did.
    """

    net: Network
    last: Network
    figures: RiskFigures
    history: tuple[Check, ...]
    images: int
    training_s: float
    crop: int
    stopped: str = ""


def fit(
    source: Source,
    options: TrainingOptions,
    *,
    folder: Path,
    run: str,
    start: Network | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train a network, `start` or a new one, on what `source` draws; the checkpoint lies in `folder`.

    A checkpoint there of the same `run` is taken up, whatever budget it was made for. With a budget in images
    the result is the same on the same CPU, interrupted or not.

    Raises:
        TrainingStopped: `stop` answered true, or Ctrl-C; a checkpoint was left. TrainingError: too small
        captures, an unknown network, objective or precision, or a loss that diverges. OutputError: the
        checkpoint cannot be written; the last one is still there.
    """
    check_options(options)
    remove_abandoned(folder)
    crop = _crop_size(source, start or build_net(options.net), options)
    state = _State(source, options, run, crop, start)
    try:
        if not state.resume(folder):
            state.look()
            state.save(folder)
        ended = _run(state, folder, on_progress, stop)
    except KeyboardInterrupt:
        if not state.updating:  # caught half-way through an update, the last checkpoint is the better one
            state.save(folder)
        raise TrainingStopped(state.counters.images) from None
    finally:
        state.ahead.close()
    counters = state.counters
    best = counters.history[counters.best]
    return Fitted(
        _finished(state.best), _finished(state.average), best.figures, counters.history, counters.images,
        counters.elapsed_s, crop, ended,
    )  # fmt: skip


def _run(
    state: _State, folder: Path, on_progress: Callable[[Progress], None], stop: Callable[[], bool]
) -> str:
    """Train to the end of the budget; returns why it ended before, if it did."""
    options, saved, ended = state.options, time.monotonic(), ""
    while (done := _done(state.counters, options)) < 1 and not ended:
        if stop():
            raise KeyboardInterrupt
        start = time.monotonic()
        loss = state.step(done)
        if not math.isfinite(loss):
            state.back_off(folder)
            continue
        state.count(loss, time.monotonic() - start)
        if state.due(done):
            state.look()
            ended = state.verdict(done) if options.guard else ""
        on_progress(_progress(state.counters, options))
        if time.monotonic() - saved > options.checkpoint_s:
            state.save(folder)
            saved = time.monotonic()
    if state.counters.images > state.counters.history[-1].images:
        state.look()
    state.save(folder)
    return ended


def check_options(options: TrainingOptions) -> None:
    """Refuse options that no training can have.

    Raises:
        TrainingError: an unknown network, objective or precision, or no budget.
    """
    known = (
        ("network", options.net, (*NETS, *BLIND_SPOTS)),
        ("objective", options.objective, OBJECTIVES),
        ("precision", options.precision, ("auto", "float32", "bfloat16")),
    )
    for kind, chosen, names in known:
        if chosen not in names:
            raise TrainingError(f"no {kind} called {chosen!r}; there are {', '.join(names)}")
    if options.objective in NEED_BLIND_SPOTS and options.net not in BLIND_SPOTS:
        one_of = ", ".join(BLIND_SPOTS)
        raise TrainingError(f"the objective {options.objective!r} needs a blind-spot network ({one_of})")
    if options.images is None and options.minutes is None:
        raise TrainingError("training needs a budget, in minutes or in images")


def kind_of(options: TrainingOptions) -> dict[str, object]:
    """What of the options makes it another training; the rest says how long, and where it runs."""
    aside = {"minutes", "images", "device", "precision", "min_captures", "checkpoint_s"}
    return {name: value for name, value in asdict(options).items() if name not in aside}


class Alone:
    """Keeps other processes out of a training; the lock is the system's, and gone with the process.

    Raises, on entering:
        TrainingError: another process is at the same training, or the folder cannot be written.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._lock = FileLock(folder / f"{run}.lock", timeout=0)

    def __enter__(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            reason = "another process is training on these captures: wait for it or stop it"
            raise TrainingError(reason) from None
        except OSError as error:
            reason = f"cannot be written ({error.strerror or error})"
            raise ScratchError(f"{self._folder}: {reason}") from error

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # Windows keeps it while it is open
            Path(self._lock.lock_file).unlink()
        self._lock.release()


class _Ahead:
    """Draws the crops of the next step while this one runs; what a step gets depends on its number alone."""

    def __init__(self, source: Source, options: TrainingOptions, crop: int) -> None:
        self._source, self._options, self._crop = source, options, crop
        self._pool = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Batch]] | None = None

    def batch(self, step: int) -> Batch:
        """The crops of a step."""
        waiting, self._next = self._next, None
        ready = waiting[1] if waiting and waiting[0] == step else self._pool.submit(self._draw, step)
        batch = ready.result()
        self._next = step + 1, self._pool.submit(self._draw, step + 1)
        return batch

    def _draw(self, step: int) -> Batch:
        return self._source.draw(
            np.random.default_rng([self._options.seed, step]), self._options.batch, self._crop
        )

    def close(self) -> None:
        """Let go of the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _State:
    """All that changes during a training."""

    def __init__(
        self, source: Source, options: TrainingOptions, run: str, crop: int, start: Network | None
    ) -> None:
        self.options = options
        self.device = pick_device(options.device)
        self.taught = start is not None
        self.rate = options.learning_rate or (FROM_NOTHING if start is None else FROM_TRAINED)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            net = (copy.deepcopy(start) if start is not None else build_net(options.net)).train()
        # Channels last: a sixth faster to train on a CPU, and more on a GPU.
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net: Network = net.to(self.device).requires_grad_(True)
        self.average: Network = copy.deepcopy(self.net).requires_grad_(False).eval()
        self.best: Network = copy.deepcopy(self.average)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=self.rate)
        self.counters = Counters(run)
        self.updating = False
        self.ahead = _Ahead(source, options, crop)
        batches, crops = LOOKED_AT
        rng = np.random.default_rng([options.seed, 1 << 40])
        self.held_out = [source.draw(rng, crops, crop, held_out=True) for _ in range(batches)]
        wanted = options.precision == "bfloat16"
        self.bfloat16 = prefers_bfloat16(self.device) if options.precision == "auto" else wanted

    def step(self, done: float) -> float:
        """Make one update; returns the loss, and makes none where loss or gradient are no numbers."""
        options, counters = self.options, self.counters
        batch = self.ahead.batch(counters.step).to(self.device)
        step = Step(
            denoise=self._denoiser(self.net, batch.white),
            teacher=torch.no_grad()(self._denoiser(self.average, batch.white)),
            noisy=batch.noisy,
            valid=batch.valid,
            target=batch.target,
            done=done,
            gamma=options.gamma,
            generator=torch.Generator().manual_seed(options.seed << 32 | counters.step),
            taught=self.taught,
            noise=batch.noise,
            predict=self._predictor(batch.white),
        )
        loss = OBJECTIVES[options.objective](step)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = nn.utils.clip_grad_norm_(self.net.parameters(), LARGEST_GRADIENT)
        if not bool(torch.isfinite(gradient)):
            return math.nan
        for group in self.adam.param_groups:
            group["lr"] = self.rate * counters.learning_rate_scale * _schedule(done)
        self.updating = True
        self.adam.step()
        decay = min(options.ema_decay, (1 + counters.step) / (10 + counters.step))
        for averaged, current in zip(self.average.parameters(), self.net.parameters(), strict=True):
            averaged.lerp_(current.detach(), 1 - decay)
        self.updating = False
        return float(loss.detach())

    def _denoiser(self, net: Network, white: Tensor) -> Callable[..., Tensor]:
        """A network as objectives see it: its noise is always of unit variance, whatever theirs is."""

        def denoise(noisy: Tensor, sigma: float = 1.0) -> Tensor:
            with self._autocast():
                clean: Tensor = net(noisy / sigma, white / sigma)
            return clean.float() * sigma

        return denoise

    def _predictor(self, white: Tensor) -> Callable[[Tensor], Prediction] | None:
        net = self.net
        if not isinstance(net, BlindSpotDenoiser):
            return None

        def predict(noisy: Tensor) -> Prediction:
            with self._autocast():
                return net.predict(noisy, white)

        return predict

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bfloat16 else nullcontext()

    def due(self, before: float) -> bool:
        """Whether the last step, `before` which so much was done, is one to look after."""
        since = self.counters.images - self.counters.history[-1].images
        crossed = math.floor(before * LOOKS) < math.floor(_done(self.counters, self.options) * LOOKS)
        return crossed and since >= STEPS_APART * self.options.batch

    def look(self) -> None:
        """Estimate the risk of the averaged network, and keep it if it is the best so far."""
        self.updating = True
        counters = self.counters
        figures = summarise(crop_sums(self.average, self.held_out, self.options.seed))
        check = Check(counters.images, counters.elapsed_s, counters.loss, figures)
        history = (*counters.history, check)
        best = counters.best
        if len(history) == 1 or not figures.risk >= history[best].figures.risk:
            best = len(history) - 1
            self.best.load_state_dict(self.average.state_dict())
        self.counters = replace(counters, history=history, best=best)
        self.updating = False

    def verdict(self, done: float) -> str:
        """Begin to settle where nothing more is gained; returns why to end, where the risk rises for good."""
        counters = self.counters
        risks = [check.figures.risk for check in counters.history]
        looks, worse = RISING
        if len(risks) > looks and min(risks[-looks:]) > worse * risks[counters.best] > 0:
            crops = counters.history[counters.best].images
            return f"the estimated risk rises; the best was after {crops} crops"
        looks, share, crops = FLAT
        settled = counters.flat_since or done >= SETTLE
        enough = counters.images >= crops and len(risks) > looks
        if not settled and enough and min(risks[-looks:]) > (1 - share) * min(risks[:-looks]):
            self.counters = replace(counters, flat_since=_used(counters, self.options)[0])
        return ""

    def count(self, loss: float, seconds: float) -> None:
        """Note that a step was made."""
        old = self.counters
        share = max(0.01, 1 / (old.step + 1))
        self.counters = replace(
            old,
            step=old.step + 1,
            images=old.images + self.options.batch,
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
        kept = self.counters  # the looks whose weights are still there
        self.counters = replace(
            counters,
            step=counters.step + 1,
            learning_rate_scale=counters.learning_rate_scale / 2,
            flat_since=kept.flat_since,
            best=kept.best,
            history=kept.history,
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
        self.updating = True
        self.counters, tensors = found
        if self.counters.flat_since and _done(self.counters, self.options) >= 1:
            self.counters = replace(self.counters, flat_since=0.0)  # settled, or of a budget of another kind
        self.adam.load_state_dict({"state": _adam_state(tensors), **_without_state(self.adam)})
        with torch.no_grad():
            for name, tensor in self._tensors():
                tensor.copy_(tensors[name])
        self.updating = False
        return True

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for kind in ("net", "average", "best"):
            for name, tensor in getattr(self, kind).state_dict().items():
                yield f"{kind}.{name}", tensor
        for index, moments in self.adam.state_dict()["state"].items():
            for name, tensor in moments.items():
                yield f"adam.{index}.{name}", tensor


def _finished(net: Network) -> Network:
    plain: Network = net.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return plain.eval()


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


def _crop_size(source: Source, net: Network, options: TrainingOptions) -> int:
    multiple = net.multiple * (2 if options.objective == "neighbor2neighbor" else 1)  # it halves the crops
    size = min(options.crop, source.largest_crop) // multiple * multiple
    if size < max(SMALLEST_CROP, multiple):
        raise TrainingError(f"the captures are too small to train on ({2 * source.largest_crop} pixels)")
    return size


def _used(counters: Counters, options: TrainingOptions) -> tuple[float, float]:
    """How much of the budget is used, and what it is, in images or in seconds."""
    if options.images is not None:
        return float(counters.images), float(options.images)
    return counters.elapsed_s, 60 * (options.minutes or 0.0)


def _done(counters: Counters, options: TrainingOptions) -> float:
    """How far the training is, 0 to 1; where nothing more was gained, it takes as long again to settle."""
    used, budget = _used(counters, options)
    natural = used / budget if budget > 0 else 1.0
    if counters.flat_since:
        settling = (used - counters.flat_since) / counters.flat_since
        natural = max(natural, SETTLE + (1 - SETTLE) * settling)
    return min(1.0, natural)


def _schedule(done: float) -> float:
    """Learning rate over the budget: a linear rise, a plateau, a half cosine down to zero."""
    if done < SETTLE:
        return min(1.0, (done + 1e-3) / WARM_UP)
    return 0.5 + 0.5 * math.cos(math.pi * (done - SETTLE) / (1 - SETTLE))


def _progress(counters: Counters, options: TrainingOptions) -> Progress:
    done = _done(counters, options)
    remaining = counters.elapsed_s * (1 - done) / done if done > 0 else None
    gain = counters.history[-1].figures.gain_db if counters.history else None
    return Progress("training", done, counters.images, counters.elapsed_s, remaining, counters.loss, gain)
