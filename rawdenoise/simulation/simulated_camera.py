"""A camera in numbers: it takes captures of known scenes, so that what a denoiser gains can be measured.

y = K Poisson(x / K) + read + row, then rounding and clipping (EMVA 1288's camera model with the row noise of
Wei et al., "A physics-based noise formation model for extreme low-light raw denoising", CVPR 2020). Captures
of scenes have no fixed pattern, no hot pixels, no dark current: what a calibration would have removed. Darks
and flats may have a `FixedPattern`: what a calibration has to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Float64
from numpy.random import Generator

from rawdenoise.capture.raw import Area, Camera, Cfa, Color, ColorMatrix, Exposure, Levels, RawImage
from rawdenoise.capture.srgb import SRGB_TO_XYZ
from rawdenoise.noise.tukey import tukey_lambda, tukey_lambda_deviation

D65 = 21


@dataclass(frozen=True, slots=True)
class SensorNoise:
    """The noise of a camera at one ISO: `gain` in DN per electron, the sigmas in DN.

    With `read_lambda` the read noise follows Tukey's lambda law of that shape, long-tailed where it is
    below 0.14, and `read_sigma` is its scale, not its standard deviation.
    """

    gain: float
    read_sigma: float
    row_sigma: float = 0.0
    read_lambda: float | None = None

    @property
    def read_deviation(self) -> float:
        """Standard deviation of the read noise in DN, before rounding."""
        if self.read_lambda is None:
            return self.read_sigma
        return self.read_sigma * tukey_lambda_deviation(self.read_lambda)


@dataclass(frozen=True, slots=True)
class SimulatedCamera:
    """A sensor, its levels, colours and noise; `size` (width, height) counts the mosaic's margins too."""

    camera: Camera
    cfa: Cfa
    size: tuple[int, int]
    active: Area
    black: float
    white: float
    bits: int
    color_matrix: tuple[tuple[float, float, float], ...]
    noise: Mapping[int, SensorNoise] = field(hash=False)

    @property
    def neutral(self) -> tuple[float, float, float]:
        """Camera RGB of daylight white, green at 1."""
        white = np.asarray(self.color_matrix) @ SRGB_TO_XYZ.sum(axis=1)
        red, green, blue = (float(value) for value in white / white[1])
        return red, green, blue

    @property
    def mode(self) -> str:
        """Lit size and bit depth, as the reader of its files will tell them."""
        return f"{self.active.width}x{self.active.height} {self.bits}-bit"

    def resize(self, width: int, height: int) -> SimulatedCamera:
        """The same camera with another number of lit pixels, its margins unchanged."""
        area = self.active
        return replace(
            self,
            size=(self.size[0] - area.width + width, self.size[1] - area.height + height),
            active=Area(area.top, area.left, area.top + height, area.left + width),
        )


# A small 12-bit sensor of surveillance cameras, the kind whose noise shows. Gain and read noise: the Sony
# IMX385 as calibrated on CRVD's captures by PNNP (fenghansen/PNNP, data_process/process.py, Apache-2.0). They
# state no row noise for it: a tenth of the read noise, as on the Sony A7S2. Matrix, margins, size: ours.
SIMULATED_IMX385 = SimulatedCamera(
    camera=Camera(make="Rawdenoise", model="Simulated IMX385"),
    cfa=Cfa.RGGB,
    size=(1024 + 16, 768 + 8),
    active=Area(8, 16, 8 + 768, 16 + 1024),
    black=240.0,
    white=4095.0,
    bits=12,
    color_matrix=((0.60, -0.15, -0.03), (-0.35, 1.15, 0.23), (-0.07, 0.19, 0.58)),
    noise=MappingProxyType(
        {
            1600: SensorNoise(gain=3.513262, read_sigma=3.452201, row_sigma=0.345),
            3200: SensorNoise(gain=6.955588, read_sigma=6.173963, row_sigma=0.617),
            6400: SensorNoise(gain=13.486051, read_sigma=11.437592, row_sigma=1.144),
            12800: SensorNoise(gain=26.585953, read_sigma=22.012265, row_sigma=2.201),
            25600: SensorNoise(gain=52.032536, read_sigma=42.659328, row_sigma=4.266),
        }
    ),
)


def capture(
    scene: Float32[np.ndarray, "height width 3"], camera: SimulatedCamera, iso: int, rng: Generator
) -> tuple[RawImage, Float32[np.ndarray, "h w"]]:
    """Take a capture of a scene in linear sRGB of the camera's lit size; also give its mosaic without noise.

    A scene value of 1 in green is the white level, as after a perfect exposure; masked pixels stand at black.
    Both mosaics are in DN, black included.

    Raises:
        ValueError: the scene is not of the size of the camera's active area, or the ISO is not calibrated.
    """
    if scene.shape[:2] != (camera.active.height, camera.active.width):
        raise ValueError(f"scene of {scene.shape[:2]} for an active area of {camera.active}")
    if iso not in camera.noise:
        raise ValueError(f"{camera.camera.name} has no figures for ISO {iso}, only {sorted(camera.noise)}")
    clean = _expose(scene, camera)
    return _read_out(clean, camera, Exposure(iso=iso), rng), clean


@dataclass(frozen=True, slots=True, eq=False)
class FixedPattern:
    """What is wrong with each pixel of a sensor, the same in every frame.

    `offset` in DN is added to black (a hot pixel's is large); `response` scales the light (1 is perfect, a
    dead pixel's is 0). Both cover the whole mosaic.
    """

    offset: Float32[np.ndarray, "h w"]
    response: Float32[np.ndarray, "h w"]


def make_fixed_pattern(
    camera: SimulatedCamera,
    rng: Generator,
    *,
    pixel_sigma: float = 0.0,
    row_sigma: float = 0.0,
    column_sigma: float = 0.0,
    response_sigma: float = 0.0,
    hot: int = 0,
    dead: int = 0,
) -> FixedPattern:
    """Draw the faults of one sensor: offsets in DN per pixel, row and column, responses, hot and dead pixels.

    Hot pixels stand 5 to 50 % of the range above black.
    """
    width, height = camera.size
    offset = pixel_sigma * rng.standard_normal((height, width))
    offset += row_sigma * rng.standard_normal((height, 1)) + column_sigma * rng.standard_normal((1, width))
    response = 1 + response_sigma * rng.standard_normal((height, width))
    faulty = rng.choice(height * width, hot + dead, replace=False)
    offset.flat[faulty[:hot]] += (camera.white - camera.black) * rng.uniform(0.05, 0.5, hot)
    response.flat[faulty[hot:]] = 0
    return FixedPattern(offset.astype(np.float32), np.maximum(response, 0).astype(np.float32))


def light_evenly(
    camera: SimulatedCamera,
    iso: int,
    level: float,
    rng: Generator,
    *,
    exposure_s: float | None = None,
    vignetting: float = 0.0,
    fixed: FixedPattern | None = None,
) -> RawImage:
    """Take a dark (`level` 0) or a flat frame: every photosite of the active area sees the same light.

    `level` is the signal as a fraction of the range from black to white, in the middle; `vignetting` is how
    much of it the corners lack.
    """
    if iso not in camera.noise:
        raise ValueError(f"{camera.camera.name} has no figures for ISO {iso}, only {sorted(camera.noise)}")
    width, height = camera.size
    clean = np.full((height, width), camera.black, np.float32)
    rows = np.linspace(-1, 1, camera.active.height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, camera.active.width, dtype=np.float32)
    fall = 1 - np.float32(vignetting / 2) * (rows**2 + columns**2)
    clean[camera.active.slices] += np.float32(level * (camera.white - camera.black)) * fall
    return _read_out(clean, camera, Exposure(iso=iso, exposure_s=exposure_s), rng, fixed)


def _read_out(
    clean: Float32[np.ndarray, "h w"],
    camera: SimulatedCamera,
    exposure: Exposure,
    rng: Generator,
    fixed: FixedPattern | None = None,
) -> RawImage:
    """Turn light in DN, black included, into a capture with all its noise."""
    noise = camera.noise[exposure.iso or 0]
    dark = _read_noise(clean.shape, noise, rng) + noise.row_sigma * rng.standard_normal((clean.shape[0], 1))
    light = clean - np.float32(camera.black)
    if fixed is not None:
        light = light * fixed.response
        dark += fixed.offset
    electrons = rng.poisson(light / np.float32(noise.gain))
    mosaic = np.rint(camera.black + noise.gain * electrons + dark)
    return RawImage(
        mosaic=np.clip(mosaic, 0, camera.white).astype(np.uint16),
        cfa=camera.cfa,
        active=camera.active,
        levels=Levels(black=(camera.black,) * 4, white=camera.white),
        source=Path(f"{camera.camera.model} ISO {exposure.iso}"),
        camera=replace(camera.camera, mode=camera.mode),
        exposure=exposure,
        color=Color(matrices=(ColorMatrix(D65, camera.color_matrix),), as_shot_neutral=camera.neutral),
    )


def _expose(
    scene: Float32[np.ndarray, "height width 3"], camera: SimulatedCamera
) -> Float32[np.ndarray, "h w"]:
    """Turn light into DN: to the camera's colours, then one of them per pixel."""
    to_camera = np.asarray(camera.color_matrix) @ SRGB_TO_XYZ
    to_camera /= to_camera[1].sum()  # green of white is 1
    width, height = camera.size
    clean = np.full((height, width), camera.black, dtype=np.float32)
    light = clean[camera.active.slices]
    cfa = camera.cfa.shift(camera.active.top, camera.active.left)
    span = camera.white - camera.black
    for index, letter in enumerate(cfa.value):
        site = slice(index // 2, None, 2), slice(index % 2, None, 2)
        weights = (span * to_camera["RGB".index(letter)]).astype(np.float32)
        light[site] += np.clip(scene[site] @ weights, 0, np.float32(span))
    return clean


def _read_noise(shape: tuple[int, int], noise: SensorNoise, rng: Generator) -> Float64[np.ndarray, "h w"]:
    if noise.read_lambda is None:
        return noise.read_sigma * rng.standard_normal(shape)
    return noise.read_sigma * tukey_lambda(rng.uniform(1e-9, 1 - 1e-9, shape), noise.read_lambda)
