"""The noise of a camera's captures at each ISO: as a profile knows it, else as they show it together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from rawdenoise.capture.raw import Camera, Levels
from rawdenoise.errors import TrainingError
from rawdenoise.noise.fit import estimate_with_interval
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.noise.samples import NoiseSamples

log = logging.getLogger(__name__)


def look_up_noise(
    profiles: ProfileStore | None, camera: Camera, iso: int | None, levels: Levels
) -> NoiseModel | None:
    """What a profile of this camera knows of its noise, None where it knows none.

    Raises:
        ProfileError: the profile cannot be understood.
    """
    return None if profiles is None else profiles.noise_of(camera, iso, levels)


def pool_noise(
    camera: Camera,
    samples: Mapping[int | None, Sequence[tuple[NoiseSamples, ...]]],
    calibrated: Mapping[int | None, NoiseModel | None],
) -> Iterator[IsoNoise]:
    """The noise at each ISO, calibrated or as its captures show it; an ISO whose captures do not is left out.

    Raises:
        TrainingError: none shows it: a model would learn texture for noise.
    """
    unknown = []
    for iso in sorted(samples, key=lambda iso: -1 if iso is None else iso):
        noise = calibrated[iso]
        if noise is None:
            estimate = estimate_with_interval(samples[iso])
            if estimate.failed and estimate.samples:  # of none it is said later what is wrong
                unknown.append("unstated ISO" if iso is None else f"ISO {iso}")
                continue
            noise = estimate.noise
        yield IsoNoise(iso, noise, len(samples[iso]))
    reason = f"the noise of the captures of {', '.join(unknown)} cannot be told from their texture"
    if len(unknown) == len(samples):
        remedy = "add plainer or larger ones, or measure it with `rawdenoise calibrate`"
        raise TrainingError(f"{camera.name}: {reason}: {remedy}")
    if unknown:
        log.warning("%s: %s: they are left out", camera.name, reason)
