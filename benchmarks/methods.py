"""The ways to denoise that are compared: what each learns from, how it is trained, what it answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float32
from sheets import tell
from simulated import Target
from torch import Tensor

from rawdenoise.atomic import write_bytes
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import RawDenoiseError
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import Model, new_model
from rawdenoise.nets import BlindSpotDenoiser, Network, build_net
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.training import TrainingOptions
from rawdenoise.training.batches import Source
from rawdenoise.training.loop import Fitted, fit
from rawdenoise.training.objectives.self2self import FILLED_FROM, average_passes
from rawdenoise.training.unpaired import CleanSource, Unpaired, UnpairedCrops, fit_unpaired

NET = "fast"
GAMMAS = (0, 1, 2, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Method:
    """A way to denoise: trained with an `objective`, from nothing or from a `base`; or as it is.

    With `guard` the training may end early, and its best look counts, as for users; without, its end does.
    `as_trained` names the method whose network it takes. `mean` asks a blind-spot network for what it expects
    without the pixel itself; `distilled` is unpaired learning with both its stages.
    """

    title: str
    objective: str | None = None
    gamma: float = 1.0
    target: Target = Target.NOTHING
    base: str | None = None
    guard: bool = False
    net: str = NET
    as_trained: str | None = None
    mean: bool = False
    distilled: bool = False
    learned_noise: bool = False


BLIND_SPOT = "d-bsn-light"
NOISY, BM3D, GUARDED = "noisy", "bm3d", "guarded"
SELF2SELF = "self2self"  # a training for each capture
FROM_BASE, UNGUARDED = "guarded-from-base", "unguarded"
BLIND2UNBLIND = "blind2unblind"  # seventeen passes a step
METHODS: Mapping[str, Method] = {
    NOISY: Method("noisy"),
    BM3D: Method("BM3D, stabilised, sigma 1"),
    "base-fast": Method("base `fast`", base="fast"),
    "base-best": Method("base `best`", base="best"),
    **{
        f"paper-{gamma}": Method(f"GR2R as published, gamma {gamma}", "gr2r-paper", gamma) for gamma in GAMMAS
    },
    "neighbor2neighbor": Method("Neighbor2Neighbor", "neighbor2neighbor"),
    "noise2void": Method("Noise2Void", "noise2void"),
    BLIND2UNBLIND: Method("Blind2Unblind", "blind2unblind"),
    "noisier2noise": Method("Noisier2Noise", "noisier2noise"),
    SELF2SELF: Method("Self2Self, one training a capture"),
    "noise2grad": Method("Noise2Grad-style transfer", "noise2grad"),
    "r2r": Method("R2R", "r2r"),
    UNGUARDED: Method("calibrated GR2R to the end, from nothing", "gr2r"),
    GUARDED: Method("guarded GR2R, from nothing", "gr2r", guard=True),
    FROM_BASE: Method("guarded GR2R, from the base", "gr2r", base=NET, guard=True),
    "laine19": Method("Laine19, posterior mean", "laine19", net=BLIND_SPOT),
    "laine19-mean": Method("Laine19, mu", net=BLIND_SPOT, as_trained="laine19", mean=True),
    "d-bsn": Method("D-BSN with CNN_est and Bayes' rule", "unpaired", net=BLIND_SPOT),
    "d-bsn-mean": Method("D-BSN", net=BLIND_SPOT, as_trained="d-bsn", mean=True),
    "d-bsn-paper": Method("D-BSN with CNN_est, bound alone", "unpaired-paper", net=BLIND_SPOT),
    "unpaired": Method("unpaired learning, from nothing", "unpaired", distilled=True),
    "unpaired-learned": Method(
        "unpaired learning, learned noise", "unpaired", distilled=True, learned_noise=True
    ),
    "unpaired-from-base": Method(
        "unpaired learning, from the base", "unpaired", base=NET, distilled=True, guard=True
    ),
    "noise2noise": Method("Noise2Noise (needs pairs)", "noise2noise", target=Target.CAPTURE),
    "supervised": Method("supervised (needs clean scenes)", "supervised", target=Target.CLEAN),
}


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What a method is trained on; `clean` for those that learn from clean pictures of something else."""

    source: Source
    clean: CleanSource | None = None


@lru_cache(maxsize=2)
def base(name: str) -> Model | None:
    """A bundled base, None where this copy of rawdenoise has none."""
    try:
        return load_bundled(name)
    except RawDenoiseError as error:
        tell(f"no base {name}: {error}")
        return None


def taught(name: str, methods: Mapping[str, Method] = METHODS) -> str:
    """The method whose training gives this one its network: itself, as a rule."""
    return methods[name].as_trained or name


def fit_method(method: Method, ground: Ground, options: TrainingOptions, **how: Any) -> Fitted:
    """Train as the method has it: in one stage, or, where it learns from clean pictures as well, in two.

    `how` is what `fit` and `fit_unpaired` take alike.
    """
    if ground.clean is None:
        return fit(ground.source, options, **how)
    unpaired = Unpaired(blind_spot=BLIND_SPOT, learned_noise=method.learned_noise)
    return fit_unpaired(UnpairedCrops(ground.source, ground.clean), options, unpaired, **how)


# ---------------------------------------------------------------- networks, and what is used as one


def keep_net(path: Path, net: Network) -> None:
    """Keep a trained network."""
    state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    write_bytes(path, safetensors.torch.save(state))


def kept_net(path: Path, kind: str) -> Network:
    """Read a network of this kind."""
    net = build_net(kind)
    net.load_state_dict(safetensors.torch.load_file(path))
    return net.eval()


def as_model(
    net: Network, camera: Camera, *, kind: str = NET, objective: str = "", noise: Sequence[IsoNoise] = ()
) -> Model:
    """A network as the pipeline takes it, of a camera whose noise may be known."""
    card = ModelCard(
        id="", camera=camera, net=kind, iso_range=None, noise=tuple(noise), captures=(), objective=objective,
        options={}, seed=0, versions={}, created="", figures={}, weights_sha256="",
    )  # fmt: skip
    return new_model(net, card)


def answering(method: Method, net: Network) -> Network:
    """A trained network as the method uses it."""
    return BlindSpotMean(net) if method.mean and isinstance(net, BlindSpotDenoiser) else net


class BlindSpotMean(Network):
    """A blind-spot network that never looks at the pixel itself."""

    multiple = 1

    def __init__(self, net: BlindSpotDenoiser) -> None:
        super().__init__()
        self.net = net

    @property
    def radius(self) -> int:
        """Of the blind-spot network."""
        return self.net.radius

    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        """Tell each pixel from those around."""
        return self.net.predict(stabilized, white).mean


class Bm3d(Network):
    """BM3D (Dabov et al., IEEE TIP 2007) on each stabilised plane, with the noise's deviation of 1."""

    multiple = 1
    radius = 0  # it searches wider, and has no edge that a tile could agree on

    def forward(self, stabilized: Float32[Tensor, "b 4 h w"], white: Tensor) -> Float32[Tensor, "b 4 h w"]:
        """Denoise plane by plane."""
        from bm3d import bm3d

        planes = stabilized.flatten(0, 1).numpy()
        clean = np.stack([np.asarray(bm3d(plane, 1.0), np.float32) for plane in planes])
        return torch.from_numpy(clean).reshape(stabilized.shape)


class Alone(Network):
    """Self2Self's network, whose answers are averaged over what is hidden from it."""

    def __init__(self, net: Network, seed: int) -> None:
        super().__init__()
        self.net, self.seed = net, seed

    @property
    def multiple(self) -> int:
        """Of the network itself."""
        return self.net.multiple

    @property
    def radius(self) -> int:
        """Of the network itself, and of what gaps are filled from."""
        return self.net.radius + FILLED_FROM

    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        """Denoise several times."""
        generator = torch.Generator().manual_seed(self.seed)
        everywhere = torch.ones_like(stabilized, dtype=torch.bool)
        return average_passes(
            lambda noisy, sigma=1.0: self.net(noisy, white), stabilized, everywhere, generator
        )
