"""What training minimises: one file per method, and the one place that names them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rawdenoise.training.objectives import gr2r
from rawdenoise.training.objectives.step import Objective, Step

OBJECTIVES: Mapping[str, Objective] = MappingProxyType({"gr2r": gr2r.calibrated, "gr2r-paper": gr2r.paper})

__all__ = ["OBJECTIVES", "Objective", "Step"]
