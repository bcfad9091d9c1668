"""Photon transfer: what darks, flats and ordinary captures tell about a camera's noise.

The method is that of the EMVA 1288 standard (release 4.0, linear cameras): the temporal variance comes from
the differences of frames taken at equal exposure, which the fixed pattern leaves, and grows along a line with
the mean signal. Its slope is the gain, its value in the dark the read noise.
"""

from rawdenoise.calibration.frames import Frame, Frames, sort_frames
from rawdenoise.calibration.from_captures import (
    SampledCapture,
    add_gain,
    calibrate_from_captures,
    pool_captures,
    sample_captures,
)
from rawdenoise.calibration.points import (
    CalibrationPoint,
    CurvePoint,
    DarkPattern,
    DefectMap,
    RowSpectrum,
)
from rawdenoise.calibration.transfer import calibrate_from_frames

__all__ = [
    "CalibrationPoint",
    "CurvePoint",
    "DarkPattern",
    "DefectMap",
    "Frame",
    "Frames",
    "RowSpectrum",
    "SampledCapture",
    "add_gain",
    "calibrate_from_captures",
    "calibrate_from_frames",
    "pool_captures",
    "sample_captures",
    "sort_frames",
]
