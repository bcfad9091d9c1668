"""A denoiser and its card, and its weights as safetensors: nothing is ever unpickled."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from rawdenoise.errors import ModelFileError
from rawdenoise.models.card import ModelCard, name_after_weights
from rawdenoise.nets import Network, build_net


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A denoiser ready for use (in eval mode) and its card."""

    card: ModelCard
    net: Network

    def network_on(self, device: torch.device) -> Network:
        """The network on a device: on the CPU itself, elsewhere a copy that is kept."""
        return self.net if device.type == "cpu" else _copy_on(self, device)


@lru_cache(maxsize=4)
def _copy_on(model: Model, device: torch.device) -> Network:
    return copy.deepcopy(model.net).to(device)


def new_model(net: Network, card: ModelCard) -> Model:
    """Finish the card of a trained network: its id, date and the digest of its weights."""
    now = datetime.now(UTC).replace(microsecond=0)
    digest = hashlib.sha256(encode_weights(net)).hexdigest()
    return Model(name_after_weights(replace(card, created=now.isoformat()), digest), net.eval())


def encode_weights(net: nn.Module, kind: torch.dtype = torch.float32) -> bytes:
    """The weights of a network as safetensors."""
    state = {name: tensor.detach().cpu().to(kind).contiguous() for name, tensor in net.state_dict().items()}
    return safetensors.torch.save(state)


def parse_weights(data: bytes, card: ModelCard, path: Path) -> Network:
    """Build the network of a card with these weights, checked whole.

    Raises:
        ModelFileError: they are not those of the card, or of its network.
    """
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
