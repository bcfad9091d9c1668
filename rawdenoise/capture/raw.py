"""The domain's records: a raw capture and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64, UInt16

PLANES = ("R", "G1", "G2", "B")
UNKNOWN_CAMERA = "unknown camera"


class Cfa(StrEnum):
    """A 2x2 Bayer pattern, read from the mosaic's top-left: two rows of two letters."""

    RGGB = "RGGB"
    GRBG = "GRBG"
    GBRG = "GBRG"
    BGGR = "BGGR"

    @property
    def red(self) -> tuple[int, int]:
        """Row and column (0 or 1) of the red site."""
        return divmod(self.value.index("R"), 2)

    @classmethod
    def with_red_at(cls, row: int, column: int) -> Cfa:
        """The pattern whose red site has this row and column parity."""
        return _BY_RED[row % 2, column % 2]

    def shift(self, rows: int, columns: int) -> Cfa:
        """The pattern seen from `rows` further down and `columns` further right."""
        row, column = self.red
        return Cfa.with_red_at(row - rows, column - columns)


_BY_RED = {(0, 0): Cfa.RGGB, (0, 1): Cfa.GRBG, (1, 0): Cfa.GBRG, (1, 1): Cfa.BGGR}


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of the mosaic, in pixels; bottom and right are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as an index into the mosaic."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, slots=True)
class Levels:
    """Black and white of a mosaic, in DN.

    `black` has one value per plane (R, G1, G2, B; G1 is the green of the red rows). The deltas are the
    DNG's BlackLevelDeltaV (one per row of the active area) and BlackLevelDeltaH (one per column).
    `black_repeat` is what the sites of a larger pattern add to the black of their planes: a grid with even
    sides that repeats from the active area's top-left (the DNG's BlackLevelRepeatDim beyond 2x2).
    """

    black: tuple[float, float, float, float]
    white: float
    black_delta_rows: Float64[np.ndarray, " rows"] | None = None
    black_delta_columns: Float64[np.ndarray, " columns"] | None = None
    black_repeat: Float64[np.ndarray, "rows2 columns2"] | None = None


@dataclass(frozen=True, slots=True)
class Camera:
    """Which device took a capture; `mode` tells apart read-outs of one body (size and bit depth)."""

    make: str = ""
    model: str = ""
    serial: str = ""
    mode: str = ""

    @property
    def name(self) -> str:
        """Make and model as a person would say them, without saying the make twice."""
        make, model = self.make.strip(), self.model.strip()
        if make and model.lower().startswith(make.split()[0].lower()):
            return model
        return f"{make} {model}".strip() or UNKNOWN_CAMERA

    def is_like(self, other: Camera) -> bool:
        """Whether make, model and mode are the same, however they are spaced or capitalised."""
        return self.is_same_model(other) and _is_alike(self.mode, other.mode)

    def is_same_model(self, other: Camera) -> bool:
        """Whether make and model are the same, in whatever mode."""
        return _is_alike(self.make, other.make) and _is_alike(self.model, other.model)


def _is_alike(one: str, other: str) -> bool:
    """The same, however they are spaced or capitalised."""
    return one.strip().lower() == other.strip().lower()


@dataclass(frozen=True, slots=True)
class Exposure:
    """How a capture was taken; None where the file does not say."""

    iso: int | None = None
    exposure_s: float | None = None
    f_number: float | None = None
    focal_length_mm: float | None = None
    taken_at: str | None = None


@dataclass(frozen=True, slots=True)
class ColorMatrix:
    """XYZ to camera RGB (3x3, rows R, G, B) under an EXIF light source (21 is D65)."""

    illuminant: int
    matrix: tuple[tuple[float, float, float], ...]


Neutral = tuple[float, float, float]
"""Camera RGB of a grey, green at 1."""


@dataclass(frozen=True, slots=True)
class Color:
    """What is known of a camera's colours; neutrals are camera RGB of a grey, green at 1."""

    matrices: tuple[ColorMatrix, ...] = ()
    as_shot_neutral: Neutral | None = None
    daylight_neutral: Neutral | None = None

    @property
    def neutral(self) -> Neutral:
        """As-shot if known, else daylight, else grey."""
        return self.as_shot_neutral or self.daylight_neutral or (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Tag:
    """One TIFF tag as it stands in a file, its value in little-endian bytes."""

    type: int
    count: int
    data: bytes


Ifd = Mapping[int, Tag]

NO_TAGS: Ifd = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Metadata:
    """The tags of the source, byte for byte, by the directory they belong to.

    `root` is IFD0 (or the preview's), `raw` the directory of the mosaic (the same tags as `root` where the
    source has one directory). `maker_note_offset` is where the MakerNote's bytes lay in the source, for its
    absolute offsets; its inside may follow the byte order of the source, which `little_endian` tells.
    `extra` holds DNG camera profiles and other directories by the tag that points to them, `tables` what
    DNG's BigTableOffsets points to.
    """

    is_dng: bool = False
    root: Ifd = field(default_factory=lambda: NO_TAGS)
    raw: Ifd = field(default_factory=lambda: NO_TAGS)
    exif: Ifd = field(default_factory=lambda: NO_TAGS)
    gps: Ifd = field(default_factory=lambda: NO_TAGS)
    interop: Ifd = field(default_factory=lambda: NO_TAGS)
    maker_note_offset: int | None = None
    extra: Mapping[int, tuple[Ifd, ...]] = field(default_factory=lambda: MappingProxyType({}))
    tables: tuple[bytes, ...] = ()
    little_endian: bool = True


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was done to a picture, as its output says it (XMP, Software, NoiseReductionApplied).

    `strength` is that for luminance, and for colour where `chroma_strength` is None.
    `noise_left` is the (shot, read_variance) pair per plane (R, G1, G2, B) that remains after denoising,
    on the packed scale, or None where it is not known. `gain_db` is the estimated gain in PSNR.
    `source_digest` (SHA-256 of the source's content), `source_name` (its file's) and `recipe` say of what it
    was made, and how.
    """

    version: str
    method: str
    strength: float
    model_id: str = ""
    model_digest: str = ""
    noise_left: tuple[tuple[float, float], ...] | None = None
    gain_db: float | None = None
    source_digest: str = ""
    recipe: str = ""
    source_name: str = ""
    chroma_strength: float | None = None

    @property
    def largest_strength(self) -> float:
        """How much of any noise was taken away; 0 where nothing was done."""
        return max(self.strength, self.chroma_strength or 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """A raw capture: the whole Bayer mosaic in DN with its margins, and what its file says about it.

    `cfa` is read from the mosaic's top-left whatever the margins; `active` is the part that sees light, and
    `crop` what of it is shown (None: all). `pixel_scale` is how many rows and columns of a picture a pixel
    makes, where pixels are not square. `orientation` is EXIF's 1..8 (pixels are never rotated); `notes` are
    things a user should be told.
    `source_digest` is the SHA-256 of the file's content, where it was taken.
    """

    mosaic: UInt16[np.ndarray, "h w"]
    cfa: Cfa
    active: Area
    levels: Levels
    source: Path
    camera: Camera = Camera()
    exposure: Exposure = Exposure()
    color: Color = Color()
    orientation: int = 1
    crop: Area | None = None
    pixel_scale: tuple[float, float] = (1.0, 1.0)
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    source_digest: str = ""

    @classmethod
    def from_mosaic(
        cls,
        mosaic: UInt16[np.ndarray, "h w"],
        *,
        cfa: Cfa | str,
        black: float | tuple[float, float, float, float],
        white: float,
        camera: str = "",
        iso: int | None = None,
    ) -> RawImage:
        """Make a capture of an array: a Bayer mosaic in DN, all of it active.

        `cfa` is read from its top-left ("RGGB", ...); `black` is one level or one per plane (R, G1, G2, B).
        `camera` and `iso` say whose noise it has, where that is known.

        Raises:
            ValueError: not two-dimensional, of another type, or levels that make no sense.
        """
        if mosaic.ndim != 2 or mosaic.dtype != np.uint16 or min(mosaic.shape, default=0) < 2:
            raise ValueError(
                f"a mosaic is an array of (height, width) and uint16, not {mosaic.shape} and {mosaic.dtype}"
            )
        levels = black if isinstance(black, tuple) else (black,) * 4
        if len(levels) != 4 or not 0 <= min(levels) <= max(levels) < white <= 65535:
            raise ValueError(f"black {black} and white {white} make no sense: 0 <= black < white <= 65535")
        height, width = mosaic.shape
        return cls(
            np.ascontiguousarray(mosaic),
            Cfa(str(cfa).upper()),
            Area(0, 0, height, width),
            Levels((levels[0], levels[1], levels[2], levels[3]), white),
            source=Path("array"),
            camera=Camera(model=camera),
            exposure=Exposure(iso=iso),
        )
