"""The networks, by name: nothing here knows files or cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from rawdenoise.nets.blind_spot import BlindSpotDenoiser, d_bsn, d_bsn_light
from rawdenoise.nets.stabilized import Backbone, Network, StabilizedDenoiser
from rawdenoise.nets.unet import BestUNet, FastUNet, PaperUNet

NETS: Mapping[str, Callable[[], Backbone]] = MappingProxyType(
    {"fast": FastUNet, "best": BestUNet, "paper": PaperUNet}
)
# What a pixel is told by from its surroundings alone: to learn from, not to ship. Their noise depends on the
# signal, is the same in all of an image, or is correlated over the planes.
BLIND_SPOTS: Mapping[str, Callable[[], BlindSpotDenoiser]] = MappingProxyType(
    {
        name + suffix: partial(build, **noise)
        for name, build in (("d-bsn", d_bsn), ("d-bsn-light", d_bsn_light))
        for suffix, noise in (("", {}), ("-image", {"per_image": True}), ("-planes", {"multivariate": True}))
    }
)


def build_net(name: str) -> Network:
    """Build an untrained denoiser by its name in `NETS` or `BLIND_SPOTS`; it begins as a blur.

    Raises:
        KeyError: no such network.
    """
    return BLIND_SPOTS[name]() if name in BLIND_SPOTS else StabilizedDenoiser(NETS[name]())


__all__ = [
    "BLIND_SPOTS",
    "NETS",
    "Backbone",
    "BlindSpotDenoiser",
    "Network",
    "StabilizedDenoiser",
    "build_net",
]
