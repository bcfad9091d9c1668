"""The flats of one ISO: grouped by exposure, refused where they mislead, measured in pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool

from rawdenoise.calibration.darks import Darks, measure_step
from rawdenoise.calibration.defect_map import find_dead_pixels, map_defects
from rawdenoise.calibration.frame_pairs import Pair, measure_pair
from rawdenoise.calibration.frames import MOSTLY_SATURATED, Frame
from rawdenoise.calibration.points import DefectMap
from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import Levels
from rawdenoise.errors import CalibrationError
from rawdenoise.noise.model import FourFloats

BRIGHTEST_SIGNAL = 0.75  # of the way from black to saturation
MINIMUM_USABLE = 0.2  # share of a frame that has to lie below the limit
HEADROOM_SIGMAS = 4.0  # standard deviations that have to fit below saturation, too
MAXIMUM_DRIFT = 0.025  # difference of two means that were exposed alike
MAXIMUM_STRUCTURE = 0.05  # structure from pixel to pixel; a sensor's own response varies by 0.3 to 2 %
CLEAR_NOISE = 0.1  # noise relative to the signal below which single pixels can be judged
MINIMUM_EXPOSURES = 3  # for a linearity error
LINEAR_RANGE = (0.05, 0.95)  # EMVA 1288's, of saturation


@dataclass(frozen=True, slots=True, eq=False)
class ExposedAlike:
    """Flats of one exposure, measured in pairs; `used` is false where they lie too near saturation."""

    frames: tuple[Frame, ...]
    pairs: tuple[Pair, ...]
    used: bool

    @property
    def exposure_s(self) -> float | None:
        """Shutter time, where the files say it."""
        return self.frames[0].exposure.exposure_s


@dataclass(frozen=True, slots=True, eq=False)
class Flats:
    """What the flats of one ISO tell; `saturation` in DN, `saturated` where a frame has reached it."""

    levels: Levels
    exposures: tuple[ExposedAlike, ...]
    step: float
    saturation: float
    saturated: bool
    linearity_error_percent: float | None
    response_sigma: float | None
    defects: DefectMap
    frames: int
    notes: tuple[str, ...]


def measure_flats(flats: Sequence[Frame], dark: Darks | None, name: str) -> Flats:
    """Measure the flats of one ISO; what misleads is left out, with a note.

    Raises:
        CalibrationError: nothing is left; the line tells why.
    """
    refused: list[str] = []
    groups = _group_by_exposure(_select_evenly_lit(flats, refused), refused)
    first = flats[0].read()
    step = measure_step(first) if dark is None else dark.step
    reached = [flat.saturation for flat in flats if flat.saturated > 1e-3]
    saturation = min(reached, default=first.levels.white)
    full = min((saturation - black) / (first.levels.white - black) for black in first.levels.black)
    measured = []
    for group in groups:
        exposure = _measure(group, dark, full, step)
        reason = _find_texture(exposure)
        if reason:
            refused.append(reason)
        else:
            measured.append(exposure)
    used = [exposure for exposure in measured if exposure.used]
    if not used:
        bright = "every flat is too near saturation; expose shorter" if measured else ""
        raise CalibrationError(f"{name}: {bright or refused[0]}")
    used.sort(key=lambda exposure: exposure.pairs[0].signal)
    return Flats(
        levels=first.levels,
        exposures=tuple(measured),
        step=step,
        saturation=saturation,
        saturated=bool(reached),
        linearity_error_percent=measure_linearity_error(measured, dark, full),
        response_sigma=_measure_response(used[-1]),
        defects=_find_dead(used[-1]),
        frames=sum(len(exposure.frames) for exposure in measured),
        notes=tuple(refused),
    )


def _select_evenly_lit(flats: Sequence[Frame], refused: list[str]) -> list[Frame]:
    """Leave out what shows no light, nothing but clipping, or a picture."""
    kept = []
    for flat in flats:
        if flat.saturated > MOSTLY_SATURATED:
            refused.append(f"{flat.source}: clipped ({flat.saturated:.0%} of the pixels); expose shorter")
        elif flat.is_dark:
            refused.append(f"{flat.source}: black, not a flat; expose longer")
        elif not flat.is_even:
            structure = f"{100 * flat.structure:.2g} % of structure beyond vignetting"
            refused.append(f"{flat.source}: textured, not a flat ({structure})")
        else:
            kept.append(flat)
    return kept


def _group_by_exposure(flats: Sequence[Frame], refused: list[str]) -> list[list[Frame]]:
    """Group frames that were exposed alike and have the same mean.

    The shutter time alone does not tell, for people dim the lamp instead; nor do the means, where a lamp
    flickers. Frames of one shutter time and aperture that fall apart into groups of equal means count as
    several exposures, and a frame that is left alone is refused.
    """
    settings: dict[tuple[float | None, float | None], list[Frame]] = defaultdict(list)
    for flat in flats:
        settings[flat.exposure.exposure_s, flat.exposure.f_number].append(flat)
    groups = []
    for (exposure_s, _), alike in settings.items():
        runs = _split_by_mean(alike)
        for run in runs:
            if len(run) > 1:
                groups.append(run)
            elif exposure_s is None or len(alike) == 1:
                refused.append(f"{run[0].source}: a single flat of its exposure; take two or more of each")
            else:
                other = min(
                    (flat for flat in alike if flat is not run[0]),
                    key=lambda flat: abs(_mean_signal(flat) - _mean_signal(run[0])),
                )
                change = abs(_mean_signal(other) / _mean_signal(run[0]) - 1)
                refused.append(
                    f"{run[0].source}: drifting light ({change:.1%} from {other.source}, exposed alike)"
                )
    return groups


def _mean_signal(flat: Frame) -> float:
    return sum(flat.signal) / 4


def _split_by_mean(flats: Sequence[Frame]) -> list[list[Frame]]:
    runs: list[list[Frame]] = []
    for flat in sorted(flats, key=_mean_signal):
        if runs and _mean_signal(flat) < (1 + MAXIMUM_DRIFT) * _mean_signal(runs[-1][-1]):
            runs[-1].append(flat)
        else:
            runs.append([flat])
    return runs


def _measure(group: Sequence[Frame], dark: Darks | None, full: float, step: float) -> ExposedAlike:
    """Measure the successive pairs of one exposure; `full` is saturation on the packed scale."""
    pairs = _measure_pairs(group, dark, BRIGHTEST_SIGNAL * full, step)
    if all(pair.usable > MINIMUM_USABLE and _fits_below(pair, full) for pair in pairs):
        return ExposedAlike(tuple(group), pairs, used=True)
    return ExposedAlike(tuple(group), _measure_pairs(group, dark, np.inf, step), used=False)


def _measure_pairs(group: Sequence[Frame], dark: Darks | None, limit: float, step: float) -> tuple[Pair, ...]:
    levels = group[0].read().levels
    zero: FourFloats = (0.0, 0.0, 0.0, 0.0) if dark is None else dark.zero
    measured = []
    for first, second in pairwise(pack(frame.read()) for frame in group):
        usable = np.ones(first.shape, bool) if dark is None else ~dark.hot
        measured.append(measure_pair(first, second, usable, levels, zero=zero, limit=limit, step=step))
    return tuple(measured)


def _fits_below(pair: Pair, full: float) -> bool:
    """Whether the noise is not cut off at saturation."""
    return all(
        s + HEADROOM_SIGMAS * np.sqrt(v) < full for s, v in zip(pair.signal, pair.variance, strict=True)
    )


def _find_texture(exposure: ExposedAlike) -> str | None:
    """Why a measured exposure cannot speak, if so."""
    for pair in exposure.pairs:
        if pair.usable and pair.structure > MAXIMUM_STRUCTURE and _is_clear(pair):
            grain = f"{100 * pair.structure:.2g} % from pixel to pixel"
            return f"{exposure.frames[0].source}: textured, not a flat ({grain}); put it out of focus"
    return None


def _is_clear(pair: Pair) -> bool:
    return all(v < (CLEAR_NOISE * s) ** 2 for s, v in zip(pair.signal, pair.variance, strict=True))


def _measure_response(brightest: ExposedAlike) -> float | None:
    """Standard deviation of the pixels' response (EMVA 1288's PRNU, its fine part), relative."""
    clear = [pair.structure for pair in brightest.pairs if _is_clear(pair)]
    return float(np.mean(clear)) if clear else None


def _find_dead(brightest: ExposedAlike) -> DefectMap:
    """Pixels that stay dark in every frame of the brightest exposure, where that can be told."""
    raw = brightest.frames[0].read()
    dead: Bool[np.ndarray, "4 h w"] = find_dead_pixels(pack(raw))
    if not all(_is_clear(pair) for pair in brightest.pairs):
        dead[:] = False
    for frame in brightest.frames[1:]:
        dead &= find_dead_pixels(pack(frame.read()))
    return map_defects(raw, np.zeros_like(dead), dead)


def measure_linearity_error(
    exposures: Sequence[ExposedAlike], dark: Darks | None, full: float
) -> float | None:
    """The largest deviation from a line through signal against shutter time, in percent (EMVA 1288, 4.0).

    Over the means from 5 to 95 % of saturation, the relative deviations squared being least. None where
    fewer than three shutter times tell, or the light was changed between them.
    """
    low, high = LINEAR_RANGE
    zero = 0.0 if dark is None else sum(dark.zero) / 4
    means: dict[float, list[float]] = defaultdict(list)
    apertures = set()
    for exposure in exposures:
        for frame in exposure.frames:
            level = _mean_signal(frame) - zero
            if exposure.exposure_s and low * full < level < high * full and frame.saturated < 1e-3:
                means[exposure.exposure_s].append(level)
                apertures.add(frame.exposure.f_number)
    spread = [max(alike) / min(alike) - 1 for alike in means.values()]
    if len(means) < MINIMUM_EXPOSURES or len(apertures) > 1 or max(spread) > 2 * MAXIMUM_DRIFT:
        return None
    times, levels = np.array(list(means)), np.array([np.mean(alike) for alike in means.values()])
    terms = np.stack([np.ones_like(times), times], axis=1)
    line = terms @ np.linalg.lstsq(terms / levels[:, None], np.ones_like(levels), rcond=None)[0]
    return float(100 * np.abs(levels / line - 1).max())
