"""The networks, by name: nothing here knows files or cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from rawdenoise.nets.stabilised import Backbone, StabilisedDenoiser
from rawdenoise.nets.unet import BestUNet, FastUNet, PaperUNet

NETS: Mapping[str, Callable[[], Backbone]] = MappingProxyType(
    {"fast": FastUNet, "best": BestUNet, "paper": PaperUNet}
)


def build_net(name: str) -> StabilisedDenoiser:
    """Build an untrained denoiser by its name in `NETS`; it begins as a mild blur.

    Raises:
        KeyError: no such network.
    """
    return StabilisedDenoiser(NETS[name]())


__all__ = ["NETS", "Backbone", "StabilisedDenoiser", "build_net"]
