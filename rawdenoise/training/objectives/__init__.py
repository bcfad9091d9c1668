"""What training minimises: one file per method, and the one place that names them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rawdenoise.training.objectives import gr2r
from rawdenoise.training.objectives.blind2unblind import blind2unblind
from rawdenoise.training.objectives.blind_spots import laine19, unpaired, unpaired_paper
from rawdenoise.training.objectives.neighbor2neighbor import neighbor2neighbor
from rawdenoise.training.objectives.noise2grad import noise2grad
from rawdenoise.training.objectives.noise2void import noise2void
from rawdenoise.training.objectives.noisier2noise import noisier2noise
from rawdenoise.training.objectives.pairs import noise2noise, supervised, supervised_decibels
from rawdenoise.training.objectives.r2r import r2r
from rawdenoise.training.objectives.self2self import self2self
from rawdenoise.training.objectives.step import Objective, Step

OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "gr2r": gr2r.calibrated,
        "gr2r-paper": gr2r.paper,
        "r2r": r2r,
        "neighbor2neighbor": neighbor2neighbor,
        "noise2void": noise2void,
        "noisier2noise": noisier2noise,
        "blind2unblind": blind2unblind,
        "noise2grad": noise2grad,
        "self2self": self2self,
        "unpaired": unpaired,
        "unpaired-paper": unpaired_paper,
        "laine19": laine19,
        "noise2noise": noise2noise,
        "supervised": supervised,
        "supervised-decibels": supervised_decibels,
    }
)
NEED_PAIRS = frozenset(
    {"noise2noise", "supervised", "supervised-decibels"}
)  # a camera's captures alone will not do
NEED_BLIND_SPOTS = frozenset({"unpaired", "unpaired-paper", "laine19"})

__all__ = ["NEED_BLIND_SPOTS", "NEED_PAIRS", "OBJECTIVES", "Objective", "Step"]
