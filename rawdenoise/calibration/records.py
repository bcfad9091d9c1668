"""What a calibration finds: the noise of a camera at one ISO, its faulty pixels, and the points it saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from jaxtyping import Float64, Int

from rawdenoise.noise import FourFloats, NoiseModel
from rawdenoise.raw import Camera


class Method(StrEnum):
    """How a camera's noise became known."""

    PHOTON_TRANSFER = "photon transfer"
    CAPTURES = "captures"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True, eq=False)
class DefectMap:
    """Faulty pixels as rows and columns of the mosaic, margins included: bright in the dark, or blind."""

    hot: Int[np.ndarray, "hot 2"] = field(default_factory=lambda: np.empty((0, 2), int))
    dead: Int[np.ndarray, "dead 2"] = field(default_factory=lambda: np.empty((0, 2), int))

    def __len__(self) -> int:
        """How many pixels are faulty."""
        return len(self.hot) + len(self.dead)

    def joined(self, other: DefectMap) -> DefectMap:
        """The faulty pixels of both maps."""
        return DefectMap(
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

    `pixel_sigma` is EMVA 1288's DSNU, rows and columns included, hot pixels left out. `drift` is the largest
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

    `noise` is on the packed scale. `gain` (DN per electron), `read_noise_e` and `full_well_e` (electrons) are
    None where nothing lit was measured: darks alone; `noise.shot` is then 0 and must not be used. `black` and
    `saturation` in DN; `saturated` tells whether a frame has reached the latter or the file only says so.
    `linearity_error` is EMVA 1288's, in percent. The intervals hold 95 % and are relative to the shot noise
    and to the read noise's standard deviation. `captures` counts the frames that spoke.
    """

    camera: Camera
    iso: int | None
    method: Method
    noise: NoiseModel
    black: FourFloats
    saturation: float
    captures: int
    shot_interval: tuple[float, float] | None = None
    read_interval: tuple[float, float] | None = None
    gain: FourFloats | None = None
    read_noise_e: FourFloats | None = None
    full_well_e: FourFloats | None = None
    saturated: bool = False
    linearity_error: float | None = None
    response_sigma: float | None = None
    dark: DarkPattern | None = None
    spectrum: RowSpectrum | None = None
    defects: DefectMap = field(default_factory=DefectMap)
    curve: tuple[CurvePoint, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the shot noise is known too, so that the model holds for lit pixels."""
        return self.gain is not None
