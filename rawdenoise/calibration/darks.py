"""The darks of one ISO: black level, read and row noise, fixed pattern, hot pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool

from rawdenoise.calibration.defect_map import DarkStack, map_defects
from rawdenoise.calibration.frame_pairs import Pair, measure_pair
from rawdenoise.calibration.frames import LIT_SIGNAL, Frame
from rawdenoise.calibration.points import DarkPattern, DefectMap, RowSpectrum
from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import Levels, RawImage
from rawdenoise.errors import CalibrationError
from rawdenoise.noise.model import FourFloats

CUT_OFF_SHARE = 0.3  # share of pixels at the lowest value from which the noise is cut off there
NOTABLE_GROWTH = 1.1  # growth of the read noise with exposure time from which the user is told

Mask = Bool[np.ndarray, "4 h w"]


@dataclass(frozen=True, slots=True, eq=False)
class Darks:
    """What the darks of one ISO tell.

    `zero` is how far black lies above the file's level, on the packed scale; `step` the quantisation step in
    DN. `pairs` are of the shortest exposure that has two frames: longer ones add the noise of dark current.
    """

    levels: Levels
    zero: FourFloats
    step: float
    hot: Mask
    defects: DefectMap
    pairs: tuple[Pair, ...]
    row_variance: float
    pattern: DarkPattern | None
    spectrum: RowSpectrum | None
    frames: int
    notes: tuple[str, ...]


def measure_darks(darks: Sequence[Frame]) -> Darks:
    """Measure the darks of one ISO.

    Raises:
        CalibrationError: one holds light, or no noise, or they are of different sizes.
    """
    _check_darkness(darks)
    stack, step = DarkStack(), 0.0
    for dark in darks:
        raw = dark.read()
        _check_noise_shows(raw)
        step = max(step, measure_step(raw))
        stack.add(pack(raw))
    levels, zero, hot = raw.levels, stack.black(), stack.hot
    exposures = [
        tuple(
            measure_pair(first, second, ~hot, levels, zero=zero, step=step)
            for first, second in pairwise(pack(frame.read()) for frame in group)
        )
        for group in _group_by_exposure(darks)
        if len(group) > 1
    ]
    pairs = exposures[0] if exposures else ()
    if pairs and not min(pairs[0].variance) > 0:
        raise CalibrationError(f"{darks[0].source}: too small to calibrate from, or unlike the other darks")
    everything = [pair for pairs_of_one in exposures for pair in pairs_of_one]
    range_dn = levels.white - sum(levels.black) / 4
    row_variance = float(np.mean([pair.row_variance for pair in everything])) if everything else 0.0
    return Darks(
        levels=levels,
        zero=zero,
        step=step,
        hot=hot,
        defects=map_defects(raw, hot, np.zeros_like(hot)),
        pairs=pairs,
        row_variance=row_variance,
        pattern=stack.pattern(_mean_variance(everything), row_variance, range_dn) if everything else None,
        spectrum=measure_row_spectrum(everything, range_dn) if everything else None,
        frames=len(darks),
        notes=_note_growth(exposures),
    )


def measure_step(raw: RawImage) -> float:
    """The smallest difference between two values that occur, in DN; 0 where there is but one."""
    sample = raw.mosaic[raw.active.slices].reshape(-1)
    values = np.unique(sample[:: max(1, sample.size // 2**18)])
    return float(np.diff(values).min()) if values.size > 1 else 0.0


def measure_row_spectrum(pairs: Sequence[Pair], range_dn: float) -> RowSpectrum:
    """Average the power spectra of the row offsets of several pairs, in DN^2."""
    profiles = np.stack([pair.row_profile - pair.row_profile.mean() for pair in pairs]) * range_dn
    rows = profiles.shape[1]
    power = (np.abs(np.fft.rfft(profiles, axis=1)) ** 2).mean(axis=0) / rows
    white = float(np.mean([pair.row_white for pair in pairs])) * range_dn**2
    return RowSpectrum(np.fft.rfftfreq(rows)[1:], power[1:], white)


def _check_darkness(darks: Sequence[Frame]) -> None:
    for dark in darks:
        if max(dark.signal) >= LIT_SIGNAL:
            share = f"{100 * max(dark.signal):.3g} % of the range"
            raise CalibrationError(f"{dark.source}: a dark that holds light ({share}); cover the lens")


def _check_noise_shows(raw: RawImage) -> None:
    """Refuse a dark without noise, or with half of it: some cameras cut off what lies below black."""
    values, counts = np.unique(raw.mosaic[raw.active.slices], return_counts=True)
    share = counts / counts.sum()
    if values.size == 1:
        raise CalibrationError(f"{raw.source}: holds no noise at all, every pixel is {values[0]}")
    tail = share[2:].sum() > 0.01  # rounding alone leaves two values, never a long tail on one side only
    if share[0] > CUT_OFF_SHARE and (values[0] == 0 or tail):
        raise CalibrationError(
            f"{raw.source}: {share[0]:.0%} of its pixels are cut off at {values[0]}, their noise with them; "
            "this camera's darks tell nothing, use its captures"
        )


def _group_by_exposure(darks: Sequence[Frame]) -> list[list[Frame]]:
    groups: dict[float, list[Frame]] = defaultdict(list)
    for dark in darks:
        groups[dark.exposure.exposure_s or 0.0].append(dark)
    return [groups[exposure_s] for exposure_s in sorted(groups)]


def _mean_variance(pairs: Sequence[Pair]) -> float:
    return float(np.mean([pair.variance for pair in pairs]))


def _note_growth(exposures: Sequence[Sequence[Pair]]) -> tuple[str, ...]:
    if not exposures:
        return ("no two darks of one exposure: they tell the black level, not the noise",)
    growth = float(np.sqrt(_mean_variance(exposures[-1]) / _mean_variance(exposures[0])))
    if growth > NOTABLE_GROWTH:
        return (f"read noise grows {growth:.2f} times from the shortest darks to the longest (dark current)",)
    return ()
