"""What is not a capture's white noise: defect pixels and row noise, left out of statistics and taken off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from rawdenoise.noise.defects import find_defects, repair_defects
from rawdenoise.noise.estimate import sample_noise
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.rows import add_rows, estimate_row_offsets
from rawdenoise.noise.samples import NoiseSamples

MAXIMUM_HARMLESS_SHARE = 1e-5  # share of defects that changes no statistics


@dataclass(frozen=True, slots=True, eq=False)
class WithoutArtefacts:
    """A capture's planes without artefacts; which pixels were repaired, and the offset taken off each row."""

    planes: Float32[np.ndarray, "4 h w"]
    defects: Bool[np.ndarray, "4 h w"]
    offsets: Float32[np.ndarray, "2 h"]


def sample_sound_pixels(
    planes: Float32[np.ndarray, "4 h w"], *, valid: Bool[np.ndarray, "4 h w"]
) -> tuple[NoiseSamples, ...]:
    """Measure the noise as `sample_noise` does, hot and dead pixels left out as well."""
    samples = sample_noise(planes, valid=valid)
    defects = find_defects(planes, fit_noise([samples]), valid=valid)
    if defects.mean() <= MAXIMUM_HARMLESS_SHARE:
        return samples
    return sample_noise(planes, valid=valid & ~defects)


def remove_artefacts(
    planes: Float32[np.ndarray, "4 h w"],
    noise: NoiseModel,
    *,
    valid: Bool[np.ndarray, "4 h w"],
    known: Bool[np.ndarray, "4 h w"] | None = None,
) -> WithoutArtefacts:
    """Repair the `known` defects and those that show, and take off row noise where it shows.

    Pixels outside `valid` (clipped) are taken for no defects unless they are known for it, and say nothing
    about their row.
    """
    defects = find_defects(planes, noise, valid=valid)
    if known is not None:
        defects |= known
    whole = repair_defects(planes, defects)
    offsets = estimate_row_offsets(whole, noise, valid=valid & ~defects)
    return WithoutArtefacts(add_rows(whole, -offsets), defects, offsets)
