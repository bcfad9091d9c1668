"""The ways to denoise that are compared: what each learns from, how it is trained, what it answers with."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from lab.captures import Target
from lab.report import tell
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import RawDenoiseError
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import Model, new_model
from rawdenoise.nets import BlindSpotDenoiser, Network
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.training.batches import Source
from rawdenoise.training.objectives.self2self import FILLED_FROM, average_passes
from rawdenoise.training.unpaired import CleanSource

NET, BLIND_SPOT = "fast", "d-bsn-light"
GAMMAS = (0, 1, 2, 5, 10, 20)
NOISY, BM3D, GR2R, GUARDED, FROM_BASE = "noisy", "bm3d", "gr2r", "guarded", "guarded-from-base"
SELF2SELF = "self2self"  # a training for each capture
BLIND2UNBLIND = "blind2unblind"  # seventeen passes a step


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
    GR2R: Method("calibrated GR2R to the end, from nothing", "gr2r"),
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
# The papers': not users' trainings, whose looks and bases are no part of them, nor one for each picture.
PAPERS = {name: method for name, method in METHODS.items() if not method.guard and name != SELF2SELF}


@dataclass(frozen=True, slots=True)
class Figures:
    """What came out, image by image, and the gain that is told without the truth."""

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]
    estimated_gain_db: float | None = None

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Figures:
        """Read what was kept of them."""
        return cls(tuple(fields["psnr"]), tuple(fields["ssim"]), fields["estimated_gain_db"])

    def as_fields(self) -> dict[str, Any]:
        """As they are kept."""
        return asdict(self)

    @property
    def mean_psnr(self) -> float:
        """In dB, over the images."""
        return float(np.mean(self.psnr))

    @property
    def mean_ssim(self) -> float:
        """Over the images."""
        return float(np.mean(self.ssim))


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What a method is trained on; `clean` for those that learn from clean pictures of something else."""

    source: Source
    clean: CleanSource | None = None

    @classmethod
    def of(cls, source: Any, method: str) -> Ground:
        """All of a source; or noisy crops of most of it, and clean ones of the rest, as a method asks."""
        return cls(*source.unpaired()) if METHODS[method].distilled else cls(source)


@lru_cache(maxsize=2)
def base(name: str) -> Model | None:
    """A bundled base, None where this copy of rawdenoise has none."""
    try:
        return load_bundled(name)
    except RawDenoiseError as error:
        tell(f"no base {name}: {error}")
        return None


@cache
def is_there(name: str) -> bool:
    """Whether a method has what it needs: its base, or its package."""
    if name == BM3D and importlib.util.find_spec("bm3d") is None:
        tell("no BM3D: its package is for non-commercial use; `pip install bm3d` where that is what it is")
        return False
    kind = METHODS[name].base
    return kind is None or base(kind) is not None


def base_digest(name: str) -> str | None:
    """The digest of the weights of a method's base, where it has one."""
    kind = METHODS[name].base
    model = None if kind is None else base(kind)
    return None if model is None else model.card.weights_sha256


def taught(name: str) -> str:
    """The method whose training gives this one its network: itself, as a rule."""
    return METHODS[name].as_trained or name


def net_of(name: str, chosen: str = NET) -> str:
    """The network of a method: the chosen one, but for those that need a blind spot."""
    return BLIND_SPOT if METHODS[name].net == BLIND_SPOT else chosen


def as_model(
    net: Network, camera: Camera, *, kind: str = NET, objective: str = "", noise: Sequence[IsoNoise] = ()
) -> Model:
    """A network as the pipeline takes it, of a camera whose noise may be known."""
    card = ModelCard(
        id="", camera=camera, net=kind, iso_range=None, noise=tuple(noise), captures=(), objective=objective,
        options={}, seed=0, versions={}, created="", figures={}, weights_sha256="",
    )  # fmt: skip
    return new_model(net, card)


def answering(name: str, net: Network) -> Network:
    """A trained network as the method uses it."""
    return BlindSpotMean(net) if METHODS[name].mean and isinstance(net, BlindSpotDenoiser) else net


class BlindSpotMean(Network):
    """A blind-spot network that never looks at the pixel itself."""

    multiple, radius = 1, 0

    def __init__(self, net: BlindSpotDenoiser) -> None:
        super().__init__()
        self.net, self.radius = net, net.radius

    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        """Tell each pixel from those around."""
        return self.net.predict(stabilized, white).mean


class Bm3d(Network):
    """BM3D (Dabov et al., IEEE TIP 2007) on each stabilised plane, with the noise's deviation of 1."""

    multiple, radius = 1, 0  # it searches wider, and has no edge that a tile could agree on

    def forward(self, stabilized: Float32[Tensor, "b 4 h w"], white: Tensor) -> Float32[Tensor, "b 4 h w"]:
        """Denoise plane by plane."""
        from bm3d import bm3d

        planes = stabilized.flatten(0, 1).numpy()
        clean = np.stack([np.asarray(bm3d(plane, 1.0), np.float32) for plane in planes])
        return torch.from_numpy(clean).reshape(stabilized.shape)


class Alone(Network):
    """Self2Self's network, whose answers are averaged over what is hidden from it."""

    multiple, radius = 1, 0

    def __init__(self, net: Network, seed: int) -> None:
        super().__init__()
        self.net, self.seed = net, seed
        self.multiple, self.radius = net.multiple, net.radius + FILLED_FROM

    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        """Denoise several times."""
        generator = torch.Generator().manual_seed(self.seed)
        everywhere = torch.ones_like(stabilized, dtype=torch.bool)
        return average_passes(
            lambda noisy, sigma=1.0: self.net(noisy, white), stabilized, everywhere, generator
        )
