"""What captures of one camera showed at one ISO."""

from __future__ import annotations

from dataclasses import dataclass

from rawdenoise.noise.model import NoiseModel


@dataclass(frozen=True, slots=True)
class IsoNoise:
    """The noise a model's captures showed at one ISO (None where the files do not say)."""

    iso: int | None
    noise: NoiseModel
    captures: int
