"""The networks of a training and their optimiser: all that changes with a step, but for what is counted."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from rawdenoise.inference.devices import pick_device, prefers_bfloat16
from rawdenoise.nets import BlindSpotDenoiser, Network, build_net
from rawdenoise.nets.gaussians import Prediction
from rawdenoise.training.batches import Batch
from rawdenoise.training.checkpoint import Counters, load_checkpoint, save_checkpoint
from rawdenoise.training.objectives import OBJECTIVES, Step
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import compute_learning_rate_factor

LARGEST_GRADIENT = 1.0
RATE_FROM_NOTHING, RATE_FROM_TRAINED = 1e-3, 3e-4  # learning rates


class Learner:
    """A network in training, `start` or a new one, its running `average`, and that as it was at its `best`.

    While `is_updating`, weights and counters are not of one moment, and no checkpoint is to be made of them.
    """

    def __init__(self, options: TrainingOptions, start: Network | None) -> None:
        self._options = options
        self._device = pick_device(options.device)
        self._from_trained = start is not None
        self._rate = options.learning_rate or (RATE_FROM_NOTHING if start is None else RATE_FROM_TRAINED)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            net = (copy.deepcopy(start) if start is not None else build_net(options.net)).train()
        # Channels last: a sixth faster to train on a CPU, and more on a GPU.
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net: Network = net.to(self._device).requires_grad_(True)
        self.average: Network = copy.deepcopy(self.net).requires_grad_(False).eval()
        self.best: Network = copy.deepcopy(self.average)
        self._adam = torch.optim.Adam(self.net.parameters(), lr=self._rate)
        wanted = options.precision == "bfloat16"
        self._bfloat16 = prefers_bfloat16(self._device) if options.precision == "auto" else wanted
        self.is_updating = False

    def step(self, batch: Batch, counters: Counters, done: float) -> float:
        """Make one update; returns the loss, and makes none where loss or gradient are no numbers."""
        # The loss of a batch.
        options, batch = self._options, batch.to(self._device)
        step = Step(
            denoise=self._make_denoiser(self.net, batch.white),
            teacher=torch.no_grad()(self._make_denoiser(self.average, batch.white)),
            noisy=batch.noisy,
            valid=batch.valid,
            target=batch.target,
            done=done,
            gamma=options.gamma,
            generator=torch.Generator().manual_seed(options.seed << 32 | counters.step),
            taught=self._from_trained,
            noise=batch.noise,
            predict=self._make_predictor(batch.white),
        )
        loss = OBJECTIVES[options.objective](step)

        # Its gradient, clipped.
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = nn.utils.clip_grad_norm_(self.net.parameters(), LARGEST_GRADIENT)
        if not bool(torch.isfinite(gradient)):
            return math.nan

        # The update, of the network and of its average.
        for group in self._adam.param_groups:
            group["lr"] = self._rate * counters.learning_rate_scale * compute_learning_rate_factor(done)
        decay = min(options.ema_decay, (1 + counters.step) / (10 + counters.step))
        with self.mark_updating():
            self._adam.step()
            for averaged, current in zip(self.average.parameters(), self.net.parameters(), strict=True):
                averaged.lerp_(current.detach(), 1 - decay)
        return float(loss.detach())

    @contextmanager
    def mark_updating(self) -> Iterator[None]:
        """Say that weights are being changed; it stays so where an interruption ends the block."""
        self.is_updating = True
        yield
        self.is_updating = False

    def keep_best(self) -> None:
        """Take the average as it is for the best."""
        self.best.load_state_dict(self.average.state_dict())

    def save(self, folder: Path, counters: Counters) -> None:
        """Write a checkpoint."""
        save_checkpoint(folder, counters, dict(self._list_tensors()))

    def load(self, folder: Path, run: str) -> Counters | None:
        """Take up the checkpoint of this run; None where there is none, or one of another network."""
        checkpoint = load_checkpoint(folder, run)
        if checkpoint is None:
            return None
        counters, tensors = checkpoint
        shapes = {name: tensor.shape for name, tensor in self._list_tensors() if not name.startswith("adam")}
        if shapes != {name: tensors[name].shape for name in shapes if name in tensors}:
            return None
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": _collect_adam_state(tensors), "param_groups": groups})
        with torch.no_grad():
            for name, tensor in self._list_tensors():
                tensor.copy_(tensors[name])
        return counters

    def _make_denoiser(self, net: Network, white: Tensor) -> Callable[..., Tensor]:
        """A network as objectives see it: its noise is always of unit variance, whatever theirs is."""

        def denoise(noisy: Tensor, sigma: float = 1.0) -> Tensor:
            with self._autocast():
                clean: Tensor = net(noisy / sigma, white / sigma)
            return clean.float() * sigma

        return denoise

    def _make_predictor(self, white: Tensor) -> Callable[[Tensor], Prediction] | None:
        net = self.net
        if not isinstance(net, BlindSpotDenoiser):
            return None

        def predict(noisy: Tensor) -> Prediction:
            with self._autocast():
                return net.predict(noisy, white)

        return predict

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._bfloat16 else nullcontext()

    def _list_tensors(self) -> Iterator[tuple[str, Tensor]]:
        for kind, net in (("net", self.net), ("average", self.average), ("best", self.best)):
            for name, tensor in net.state_dict().items():
                yield f"{kind}.{name}", tensor
        for index, moments in self._adam.state_dict()["state"].items():
            for name, tensor in moments.items():
                yield f"adam.{index}.{name}", tensor


def _collect_adam_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "adam":
            index, _, moment = rest.partition(".")
            state.setdefault(int(index), {})[moment] = tensor
    return state
