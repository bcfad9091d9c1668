"""Which noise a capture is taken to have: the best evidence there is, and why it is the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
from jaxtyping import Float32

from rawdenoise.capture.packing import find_clipped
from rawdenoise.capture.raw import PLANES, RawImage
from rawdenoise.formats.metadata.source import is_denoised_by_us
from rawdenoise.formats.tiff.reading import numbers
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.noise.artefacts import sample_sound_pixels
from rawdenoise.noise.estimate import sample_noise
from rawdenoise.noise.fit import NoiseEstimate, estimate_with_interval
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import MINIMUM_VARIANCE, NoiseModel
from rawdenoise.noise.model_agreement import agreement, agreement_by_plane, least_agreement
from rawdenoise.noise.profiles.profile import point_at
from rawdenoise.noise.profiles.store import MeasurementMethod, ProfilePoint, ProfileStore
from rawdenoise.noise.samples import NoiseSamples

# A phone's tag has been seen to promise 2.4 to 2.9 times the variance there is, whereas what one textured
# capture shows is seldom this far from the truth.
MAXIMUM_AGREEMENT_FACTOR = 1.6
# Upper over lower bound of what a plane shows: where it is more, texture may be what is seen.
MAXIMUM_INTERVAL_RATIO = 1.5
# Even the flattest blocks of a small capture that is textured all over have been seen to show 60 times the
# true variance, never hundreds: what is known of the camera is then not of this capture.
MINIMUM_CONTRADICTION = 300.0
MAXIMUM_CHECKED_BLOCKS = 4000  # per plane, enough for that
# Relative standard errors of the variance, where the evidence states none of its own. Bodies of one model
# differ by a few percent, and what is published or pooled is of other bodies or other scenes; tags are worse,
# if within a factor of MAXIMUM_AGREEMENT_FACTOR.
CALIBRATED_ERROR, OTHERS_ERROR, TAG_ERROR = 0.02, 0.04, 0.15
MAXIMUM_ERROR = 1.0


class Kind(StrEnum):
    """The kinds of evidence, the strongest first."""

    PROFILE = "profile"
    POOLED = "pooled"
    TAG = "tag"
    CAPTURE = "capture"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The noise a capture is taken to have, where that comes from, and why from nowhere else.

    `error` is the relative standard error of its variance. `doubt` says why it is not believed, though
    nothing better is known; `notes` are what a user should be told, as that a profile was not believed.
    """

    noise: NoiseModel
    kind: Kind
    why: str
    considered: tuple[str, ...]
    error: float
    doubt: str = ""
    notes: tuple[str, ...] = ()


class _UnfitError(Exception):
    """Why a kind of evidence does not speak for a capture."""


class _ContradictedError(_UnfitError):
    """The pixels contradict what is known of a camera: the user should hear of it."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a kind of evidence says: see `Evidence`."""

    noise: NoiseModel
    why: str
    error: float
    doubt: str = ""


TEXTURE_DOUBT = "its noise cannot be told from its texture"


def evidence_for(
    raw: RawImage,
    planes: Float32[np.ndarray, "4 h w"],
    *,
    profiles: ProfileStore | None = None,
    card_noise: Sequence[IsoNoise] | None = None,
) -> Evidence:
    """Take the noise of a capture from the best evidence: profile, pooled captures, tag, its own pixels.

    `card_noise` is what a model's captures showed, None where there is no model of this camera. A few of the
    pixels are looked at to see that they do not contradict what is known, all where nothing is.

    Raises:
        ProfileError: the profile of this camera cannot be understood.
    """
    valid = ~find_clipped(raw)
    samples = _Once(lambda: sample_sound_pixels(planes, valid=valid))
    few = _Once(lambda: sample_noise(planes, valid=valid, most_blocks=MAXIMUM_CHECKED_BLOCKS))
    looks: dict[Kind, Callable[[], _Answer]] = {
        Kind.PROFILE: lambda: _refuse_contradicted(_from_profile(raw, profiles), few),
        Kind.POOLED: lambda: _refuse_contradicted(_from_pool(raw, card_noise), few),
        Kind.TAG: partial(_from_tag, raw, samples),
        Kind.CAPTURE: lambda: _from_pixels(samples()),
    }
    considered: list[str] = []
    notes: list[str] = []
    best: tuple[Kind, _Answer] | None = None
    for kind, look in looks.items():
        if best is not None:
            considered.append(f"{kind}: weaker evidence, not looked at")
            continue
        try:
            best = kind, look()
        except _UnfitError as reason:
            considered.append(f"{kind}: {reason}")
            if isinstance(reason, _ContradictedError):
                notes.append(str(reason))
    assert best is not None  # a capture always has pixels
    kind, answer = best
    return Evidence(
        answer.noise, kind, answer.why, tuple(considered), answer.error, answer.doubt, tuple(notes)
    )


class _Once:
    """Samples that are taken when first asked for."""

    def __init__(self, take: Callable[[], Sequence[NoiseSamples]]) -> None:
        self._take = take
        self._samples: Sequence[NoiseSamples] | None = None

    def __call__(self) -> Sequence[NoiseSamples]:
        """Give the samples."""
        if self._samples is None:
            self._samples = self._take()
        return self._samples


def _refuse_contradicted(answer: _Answer, samples: Callable[[], Sequence[NoiseSamples]]) -> _Answer:
    """Take an answer that the pixels do not contradict beyond all texture.

    Raises:
        _ContradictedError: they do.
    """
    seen = least_agreement(samples(), answer.noise)
    if seen > MINIMUM_CONTRADICTION:
        raise _ContradictedError(
            f"the pixels show at least {seen:,.0f} times the noise variance {answer.why}: it is not believed"
        )
    return answer


def _from_profile(raw: RawImage, profiles: ProfileStore | None) -> _Answer:
    if profiles is None:
        raise _UnfitError("not asked for")
    _refuse_denoised(raw)
    stored = profiles.find(raw.camera)
    if stored is None:
        raise _UnfitError(f"none of {raw.camera.name}; `rawdenoise calibrate` makes one")
    profile, iso = stored.profile, raw.exposure.iso
    known = profile.noise_at(iso, levels=raw.levels)
    if known is not None:
        noise, how = known
        points = profile.points_for(raw.levels)
        measured = all(point.method is MeasurementMethod.PHOTON_TRANSFER for point in points)
        error = CALIBRATED_ERROR if measured else OTHERS_ERROR
        return _Answer(noise, f"{_describe_points(points, iso, how)} in the profile {profile.id}", error)
    if iso is None:
        raise _UnfitError(f"{profile.id} is for stated ISO, and the file states none")
    if profile.noise_at(iso) is not None:
        raise _UnfitError(f"{profile.id} was made with other levels ({_levels_text(raw)} here)")
    known_range = "no stated ISO" if profile.iso_range is None else "ISO {}-{}".format(*profile.iso_range)
    raise _UnfitError(f"{profile.id} knows {known_range}, not ISO {iso}")


def _refuse_denoised(raw: RawImage) -> None:
    """What is known of a camera says nothing of a file whose noise has been taken away."""
    if is_denoised_by_us(raw.metadata, raw.source):
        raise _UnfitError("the file has been denoised already")


def _describe_points(points: Sequence[ProfilePoint], iso: int | None, how: str) -> str:
    """Say how a profile's points know the noise at an ISO."""
    if how != "measured":
        isos = [point.iso for point in points if point.iso is not None]
        low, high = max(i for i in isos if i < (iso or 0)), min(i for i in isos if i > (iso or 0))
        return f"interpolated between ISO {low} and {high}"
    nearest = point_at(points, iso)
    assert nearest is not None  # for then it would not be measured
    point = nearest[0]
    wording = {
        MeasurementMethod.PHOTON_TRANSFER: "measured by photon transfer",
        MeasurementMethod.CAPTURES: "measured from captures",
        MeasurementMethod.PUBLISHED: "published",
    }
    return f"{wording[point.method]} for {_iso_text(point.iso)}"


def _iso_text(iso: int | None) -> str:
    return "unstated ISO" if iso is None else f"ISO {iso}"


def _levels_text(raw: RawImage) -> str:
    return f"{max(raw.levels.black):g} to {raw.levels.white:g} DN"


def _from_pool(raw: RawImage, card_noise: Sequence[IsoNoise] | None) -> _Answer:
    if card_noise is None:
        raise _UnfitError(f"no model of {raw.camera.name}")
    _refuse_denoised(raw)
    iso = raw.exposure.iso
    at = _iso_text(iso)
    for known in card_noise:
        if known.iso == iso:
            number = f"{known.captures} capture{'' if known.captures == 1 else 's'}"
            why = f"as the model was trained with, on {number} of {at}"
            return _Answer(known.noise, why, OTHERS_ERROR)
    raise _UnfitError(f"the model was trained on no capture of {at}")


def _from_tag(raw: RawImage, samples: Callable[[], Sequence[NoiseSamples]]) -> _Answer:
    promised = tag_noise(raw)
    if promised is None:
        raise _UnfitError(
            "the file has no NoiseProfile that makes sense" if raw.metadata.is_dng else "the file is no DNG"
        )
    seen = agreement(samples(), promised)
    if math.isnan(seen):
        raise _UnfitError("the pixels show too little to check the file's NoiseProfile")
    if not 1 / MAXIMUM_AGREEMENT_FACTOR <= seen <= MAXIMUM_AGREEMENT_FACTOR:
        raise _UnfitError(
            f"the pixels show {seen:.2g} times the variance that the file's NoiseProfile promises"
        )
    for plane, (low, high) in zip(PLANES, agreement_by_plane(samples(), promised), strict=True):
        if (
            high < 1 / MAXIMUM_AGREEMENT_FACTOR
            or MAXIMUM_AGREEMENT_FACTOR < low <= high < MAXIMUM_INTERVAL_RATIO * low
        ):
            raise _UnfitError(
                f"the pixels show {low:.2g} to {high:.2g} times the variance that the file's NoiseProfile "
                f"promises in {plane}"
            )
    why = f"the file's NoiseProfile, of whose variance the pixels show {seen:.2g} times"
    return _Answer(promised, why, TAG_ERROR)


def _from_pixels(samples: Sequence[NoiseSamples]) -> _Answer:
    estimate = estimate_with_interval([samples], least=True)
    if estimate.failed:
        why = "the flattest parts of this capture, where texture may be taken for noise"
        return _Answer(estimate.noise, why, MAXIMUM_ERROR, TEXTURE_DOUBT)
    error = variance_error(estimate, samples)
    return _Answer(estimate.noise, "estimated from this capture's own pixels", error)


def variance_error(estimate: NoiseEstimate, samples: Sequence[NoiseSamples]) -> float:
    """The relative standard error of the variance at the capture's levels, from its 95 % intervals."""
    if estimate.failed:
        return MAXIMUM_ERROR
    shot = read = 0.0
    for plane, gain, variance in zip(samples, estimate.noise.shot, estimate.noise.read_variance, strict=True):
        shot += float(plane.blocks @ np.maximum(plane.level, 0)) * gain
        read += float(plane.blocks.sum()) * variance
    shot_error = (estimate.shot_interval[1] - 1) / 1.96
    read_error = (estimate.read_interval[1] ** 2 - 1) / 1.96
    error = math.hypot(shot * shot_error, read * read_error) / max(shot + read, MINIMUM_VARIANCE)
    return min(error, MAXIMUM_ERROR)


def tag_noise(raw: RawImage) -> NoiseModel | None:
    """What a DNG's NoiseProfile says (DNG 1.7, tag 51041), right or wrong; None where it says nothing usable.

    One pair for all colours, or one for each in the order of CFAPlaneColor. Many phones write a read variance
    of 0: it is then that of the quantisation.
    """
    if not raw.metadata.is_dng:
        return None
    tags = {**raw.metadata.raw, **raw.metadata.root}
    values = numbers(tags.get(Code.NoiseProfile))
    pairs = list(zip(values[::2], values[1::2], strict=False))
    if len(values) not in (2, 6) or not all(s > 0 and o >= 0 and math.isfinite(s + o) for s, o in pairs):
        return None
    colors = numbers(tags.get(Code.CFAPlaneColor)) or (0, 1, 2)
    pair_of_color = dict(zip(colors, pairs if len(pairs) == 3 else pairs * 3, strict=False))
    if any(color not in pair_of_color for color in (0, 1, 2)):
        return None
    step = 1 / (raw.levels.white - max(raw.levels.black))
    least = max(step**2 / 12, MINIMUM_VARIANCE)
    (red_s, red_o), (green_s, green_o), (blue_s, blue_o) = (pair_of_color[color] for color in (0, 1, 2))
    return NoiseModel(
        (red_s, green_s, green_s, blue_s),
        (max(red_o, least), max(green_o, least), max(green_o, least), max(blue_o, least)),
        step=step,
    )
