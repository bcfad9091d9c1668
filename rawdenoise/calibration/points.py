"""What a calibration finds: the noise of a camera at one ISO, its faulty pixels, and the points it saw."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int

from rawdenoise.capture.raw import Camera, Levels
from rawdenoise.noise.model import FourFloats, NoiseModel
from rawdenoise.noise.profiles.profile import MeasurementMethod

DARKS_ALONE = "darks alone: the gain needs flats or ordinary captures"


@dataclass(frozen=True, slots=True, eq=False)
class DefectMap:
    """Faulty pixels as rows and columns of the mosaic, margins included: bright in the dark, or blind.

    `shape` is the mosaic's, 0 x 0 where nobody has looked.
    """

    shape: tuple[int, int] = (0, 0)
    hot: Int[np.ndarray, "hot 2"] = field(default_factory=lambda: np.empty((0, 2), int))
    dead: Int[np.ndarray, "dead 2"] = field(default_factory=lambda: np.empty((0, 2), int))

    def __len__(self) -> int:
        """How many pixels are faulty."""
        return len(self.hot) + len(self.dead)

    def join(self, other: DefectMap) -> DefectMap:
        """The faulty pixels of both maps."""
        return DefectMap(
            max(self.shape, other.shape),
            np.unique(np.concatenate([self.hot, other.hot]), axis=0),
            np.unique(np.concatenate([self.dead, other.dead]), axis=0),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RowSpectrum:
    """Power of the row means of a dark, by frequency: flat where rows are offset independently.

    `power` in DN^2 per frequency (its mean is the variance of the row means); `white` is what pixel noise
    alone would give.
    """

    cycles_per_row: Float64[np.ndarray, " n"]
    power: Float64[np.ndarray, " n"]
    white: float


@dataclass(frozen=True, slots=True, eq=False)
class DarkPattern:
    """What stands still in the dark: standard deviations in DN of pixels, rows and columns.

    Each is 0 where the noise hides it. `pixel_sigma` is EMVA 1288's DSNU, rows and columns included, hot
    pixels left out. `drift` is the largest
    difference between the mean levels of the darks.
    """

    frames: int
    pixel_sigma: float
    row_sigma: float
    column_sigma: float
    drift: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One exposure of the photon-transfer curve: signal (DN above black) and variance (DN^2) per plane.

    `used` is false where it lies too near saturation to speak for the line.
    """

    exposure_s: float | None
    signal: FourFloats
    variance: FourFloats
    pairs: int
    used: bool


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationPoint:
    """A camera's noise at one ISO, and how sure of it we are.

    `noise` is on the packed scale of `levels`, the file's; its shot noise is 0, and must not be used, where
    nothing lit was measured. `black` and `saturation` are what was seen, in DN; `saturated` tells whether a
    frame has reached the latter or the file only says so. `linearity_error_percent` is EMVA 1288's;
    `response_sigma` how much pixels differ in their answer to light, relative. The intervals hold 95 % and
    are relative, to the shot noise and to the standard deviation of the read noise. `captures` counts the
    frames that spoke.
    """

    camera: Camera
    iso: int | None
    method: MeasurementMethod
    noise: NoiseModel
    levels: Levels
    black: FourFloats
    saturation: float
    captures: int
    shot_interval: tuple[float, float] | None = None
    read_interval: tuple[float, float] | None = None
    saturated: bool = False
    linearity_error_percent: float | None = None
    response_sigma: float | None = None
    dark: DarkPattern | None = None
    spectrum: RowSpectrum | None = None
    defects: DefectMap = field(default_factory=DefectMap)
    curve: tuple[CurvePoint, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the shot noise is known too, so that the model holds for lit pixels."""
        return min(self.noise.shot) > 0

    @property
    def spans(self) -> FourFloats:
        """White minus black of the file per plane: DN in 1 of the packed scale."""
        return to_four(self.levels.white - black for black in self.levels.black)

    @property
    def gain(self) -> FourFloats | None:
        """DN per electron."""
        if not self.complete:
            return None
        return to_four(shot * span for shot, span in zip(self.noise.shot, self.spans, strict=True))

    @property
    def read_noise(self) -> FourFloats:
        """Standard deviation in DN, quantisation included and row noise not."""
        variances = zip(self.noise.read_variance, self.spans, strict=True)
        return to_four(math.sqrt(variance) * span for variance, span in variances)

    @property
    def read_noise_e(self) -> FourFloats | None:
        """Standard deviation in electrons."""
        if self.gain is None:
            return None
        return to_four(sigma / gain for sigma, gain in zip(self.read_noise, self.gain, strict=True))

    @property
    def full_well_e(self) -> FourFloats | None:
        """Electrons at saturation; at least so many where no frame has reached it."""
        if self.gain is None:
            return None
        return to_four((self.saturation - b) / gain for b, gain in zip(self.black, self.gain, strict=True))


def to_four(values: Iterable[float]) -> FourFloats:
    """One value per plane: R, G1, G2, B."""
    a, b, c, d = (float(value) for value in values)
    return a, b, c, d
