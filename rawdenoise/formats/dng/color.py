"""A DNG's colour model: camera matrices under up to three lights, the white balance however it is stated.

DNG 1.7, chapter 6 (Mapping Camera Color Space to CIE XYZ Space): camera = AnalogBalance * CameraCalibration *
ColorMatrix * XYZ, matrices of two lights interpolated by the inverse of the correlated colour temperature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rawdenoise.capture.raw import ColorMatrix, Ifd, Neutral
from rawdenoise.formats.tiff.reading import numbers, text
from rawdenoise.formats.tiff.tags import Code

Matrix = Float64[np.ndarray, "3 3"]

# Of each light: its ColorMatrix, CameraCalibration and CalibrationIlluminant.
_LIGHTS = (
    (Code.ColorMatrix1, Code.CameraCalibration1, Code.CalibrationIlluminant1),
    (Code.ColorMatrix2, Code.CameraCalibration2, Code.CalibrationIlluminant2),
    (Code.ColorMatrix3, Code.CameraCalibration3, Code.CalibrationIlluminant3),
)
# Kelvin of EXIF's light sources, as Adobe's DNG SDK takes them: of fluorescent lamps the middle of a range.
_KELVIN = {
    1: 5500, 2: 4150, 3: 2850, 4: 5500, 9: 5500, 10: 6500, 11: 7500, 12: 6400, 13: 5050, 14: 4150, 15: 3525,
    16: 2925, 17: 2850, 18: 5500, 19: 6500, 20: 5500, 21: 6500, 22: 7500, 23: 5000, 24: 3200,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Light:
    """XYZ to camera under one light source, and how this very camera differs from its model."""

    illuminant: int
    matrix: Matrix
    calibration: Matrix

    @property
    def kelvin(self) -> int | None:
        return _KELVIN.get(self.illuminant)


def read_matrices(tags: Ifd) -> tuple[ColorMatrix, ...]:
    """XYZ to the camera's stored RGB under each light, this very camera's calibration included."""
    balance = _analog_balance(tags)
    return tuple(
        color_matrix(light.illuminant, balance @ light.calibration @ light.matrix) for light in _lights(tags)
    )


def color_matrix(illuminant: int, values: Matrix) -> ColorMatrix:
    """A matrix as a record."""
    red, green, blue = ((float(row[0]), float(row[1]), float(row[2])) for row in values)
    return ColorMatrix(illuminant, (red, green, blue))


def read_neutral(tags: Ifd) -> Neutral | None:
    """Camera RGB of a grey, as AsShotNeutral or AsShotWhiteXY say it; None where neither can be used."""
    neutral = _finite_values(tags, Code.AsShotNeutral, 3)
    if neutral is None or min(neutral) <= 0:
        white = _finite_values(tags, Code.AsShotWhiteXY, 2)
        neutral = None if white is None else _neutral_of_white(tags, *white)
    if neutral is None:
        return None
    red, green, blue = neutral
    return red / green, 1.0, blue / green


def color_temperature(x: float, y: float) -> float:
    """Kelvin of a chromaticity (McCamy 1992, Color Res. Appl. 17(2), 142-144), within 1,500 and 50,000."""
    if y == 0.1858:
        return 50_000.0
    n = (x - 0.3320) / (0.1858 - y)
    return min(max(449 * n**3 + 3525 * n**2 + 6823.3 * n + 5520.33, 1_500.0), 50_000.0)


def _neutral_of_white(tags: Ifd, x: float, y: float) -> list[float] | None:
    """What the camera gives for a white of this chromaticity."""
    lights = _lights(tags)
    if not lights or not (x > 0 and y > 0 and x + y < 1):
        return None
    white = np.array([x / y, 1.0, (1 - x - y) / y])
    neutral: list[float] = (
        _analog_balance(tags) @ _interpolate_lights(lights, color_temperature(x, y)) @ white
    ).tolist()
    return neutral if min(neutral) > 0 else None


def _interpolate_lights(lights: tuple[_Light, ...], kelvin: float) -> Matrix:
    """Calibration and matrix at a temperature: between the neighbouring lights, beyond them the nearest.

    Where the temperature of any light is not known the first one stands for all, as in Adobe's SDK.
    """
    known = {light.kelvin: light for light in reversed(lights) if light.kelvin is not None}
    if len(known) < len(lights):
        return lights[0].calibration @ lights[0].matrix
    warm_to_cold = sorted(known)
    position = np.interp(-1 / kelvin, [-1 / light for light in warm_to_cold], range(len(warm_to_cold)))
    below, above = known[warm_to_cold[math.floor(position)]], known[warm_to_cold[math.ceil(position)]]
    share = position % 1
    calibration = (1 - share) * below.calibration + share * above.calibration
    matrix: Matrix = calibration @ ((1 - share) * below.matrix + share * above.matrix)
    return matrix


def _lights(tags: Ifd) -> tuple[_Light, ...]:
    """The lights that have a matrix. A calibration counts where it was made for this profile's matrices."""
    calibrated = text(tags.get(Code.CameraCalibrationSignature)) == text(
        tags.get(Code.ProfileCalibrationSignature)
    )
    lights = []
    for matrix_code, calibration_code, illuminant_code in _LIGHTS:
        matrix = _finite_values(tags, matrix_code, 9)
        if matrix is None or not any(matrix):
            continue
        calibration = _finite_values(tags, calibration_code, 9) if calibrated else None
        illuminant = numbers(tags.get(illuminant_code)) or (0.0,)
        lights.append(
            _Light(
                int(illuminant[0]),
                np.reshape(matrix, (3, 3)),
                np.eye(3) if calibration is None else np.reshape(calibration, (3, 3)),
            )
        )
    return tuple(lights)


def _analog_balance(tags: Ifd) -> Matrix:
    """The gains that the stored values have already had."""
    balance = _finite_values(tags, Code.AnalogBalance, 3)
    return np.eye(3) if balance is None or min(balance) <= 0 else np.diag(balance)


def _finite_values(tags: Ifd, code: Code, count: int) -> list[float] | None:
    """The numbers of a tag, if there are as many as there must be and all are numbers."""
    values = list(numbers(tags.get(code)))
    return values if len(values) == count and all(map(math.isfinite, values)) else None
