"""What a DNG says of the noise in it: how much there is, and how much of it was taken away."""

from __future__ import annotations

import math

import numpy as np

from rawdenoise.capture.raw import NO_TAGS, Ifd, Provenance, RawImage, Tag
from rawdenoise.formats.tiff.reading import DOUBLE, RATIONAL, numbers, numbers_tag
from rawdenoise.formats.tiff.tags import Code


def noise_tags(image: RawImage, provenance: Provenance) -> tuple[Ifd, Ifd]:
    """NoiseProfile and NoiseReductionApplied of IFD0 and of the mosaic's directory.

    Readers look in either, so what is stated is stated in both. Where nothing was denoised the source's
    NoiseProfile stays where it stood.
    """
    source = image.metadata
    root, raw = (source.root, source.raw) if source.is_dng else (NO_TAGS, NO_TAGS)
    applied = _applied_tags(provenance, root, raw, stated=not source.is_dng)
    if provenance.largest_strength == 0:
        return ({**_profile_in(root), **applied}, {**_profile_in(raw), **applied})
    left = _noise_left(image, provenance)
    both = applied if left is None else {**applied, Code.NoiseProfile: left}
    return both, both


def _profile_in(tags: Ifd) -> dict[int, Tag]:
    return {Code.NoiseProfile: tags[Code.NoiseProfile]} if Code.NoiseProfile in tags else {}


def _applied_tags(provenance: Provenance, root: Ifd, raw: Ifd, *, stated: bool) -> dict[int, Tag]:
    """NoiseReductionApplied, never lowered; `stated` where the output says that nothing was applied, too."""
    tags = [tags[Code.NoiseReductionApplied] for tags in (root, raw) if Code.NoiseReductionApplied in tags]
    former = max(tags, key=_amount, default=None)
    if former is not None and _amount(former) >= provenance.largest_strength:
        return {Code.NoiseReductionApplied: former}
    if former is None and not stated and provenance.largest_strength == 0:
        return {}
    return {Code.NoiseReductionApplied: numbers_tag(RATIONAL, provenance.largest_strength)}


def _amount(tag: Tag) -> float:
    """What a NoiseReductionApplied says; 0/0, which is unknown, counts as nothing."""
    value = next(iter(numbers(tag)), 0.0)
    return value if math.isfinite(value) else 0.0


def _noise_left(image: RawImage, provenance: Provenance) -> Tag | None:
    """The noise that is left, for R, G and B; None where it is not known.

    A NoiseProfile must be positive (DNG 1.7, tag 51041), and no less can be left than whole numbers make:
    rounding has a variance of 1/12.
    """
    if provenance.noise_left is not None:
        red, green1, green2, blue = (np.array(pair, float) for pair in provenance.noise_left)
        left = np.concatenate([red, (green1 + green2) / 2, blue])
    elif provenance.strength == 1 and provenance.chroma_strength in (None, 1):
        left = np.zeros(6)
    else:
        return None
    rounding = 1 / 12 / (image.levels.white - min(image.levels.black)) ** 2
    return numbers_tag(DOUBLE, *np.maximum(left, rounding).tolist())
