"""All of a capture but its pixels, as JSON: what a mosaic TIFF carries in its ImageDescription."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import UInt16
from msgspec import Meta

from rawdenoise.capture.raw import Area, Camera, Cfa, Color, Exposure, Levels, Metadata, Provenance, RawImage
from rawdenoise.formats.json_records import make_record
from rawdenoise.formats.metadata.xmp import add_provenance
from rawdenoise.formats.rendering.framing import is_sound_scale
from rawdenoise.formats.tiff.reading import RATIONAL, ascii_tag, bytes_tag, numbers_tag
from rawdenoise.formats.tiff.tags import Code

LAYOUT_FORMAT = "rawdenoise mosaic 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class MosaicLayout:
    """What a mosaic TIFF says of itself, field by field as in its JSON; files of old lack what has a default.

    The levels are those of `rawdenoise.capture.raw.Levels`.
    """

    cfa: Cfa
    active_area: Area
    black_level: tuple[float, float, float, float]
    white_level: float
    black_delta_rows: tuple[float, ...] | None
    black_delta_columns: tuple[float, ...] | None
    black_repeat: tuple[tuple[float, ...], ...] | None = None
    camera: Camera
    exposure: Exposure
    color: Color
    orientation: Annotated[int, Meta(ge=1, le=8)]
    crop: Area | None = None
    pixel_scale: tuple[float, float] = (1.0, 1.0)
    notes: tuple[str, ...]
    provenance: Provenance | None

    def image(self, mosaic: UInt16[np.ndarray, "h w"], source: Path) -> RawImage:
        """The raw image with these pixels, whose tags say what was done to it."""
        rows, columns, repeat = (
            None if values is None else np.asarray(values, np.float64)
            for values in (self.black_delta_rows, self.black_delta_columns, self.black_repeat)
        )
        return RawImage(
            mosaic=mosaic,
            cfa=self.cfa,
            active=self.active_area,
            levels=Levels(self.black_level, self.white_level, rows, columns, repeat),
            source=source,
            camera=self.camera,
            exposure=self.exposure,
            color=self.color,
            orientation=self.orientation,
            crop=self.crop,
            pixel_scale=self.pixel_scale,
            notes=self.notes,
            metadata=_stated_metadata(self.provenance),
        )


def format_layout(image: RawImage, provenance: Provenance | None = None) -> str:
    """Everything about an image but its pixels and its source's tags, as ASCII JSON; see `parse_layout`."""
    levels = image.levels
    rows, columns, repeat = (
        None if values is None else values.tolist()
        for values in (levels.black_delta_rows, levels.black_delta_columns, levels.black_repeat)
    )
    layout = MosaicLayout(
        cfa=image.cfa,
        active_area=image.active,
        black_level=levels.black,
        white_level=levels.white,
        black_delta_rows=None if rows is None else tuple(rows),
        black_delta_columns=None if columns is None else tuple(columns),
        black_repeat=None if repeat is None else tuple(map(tuple, repeat)),
        camera=image.camera,
        exposure=image.exposure,
        color=image.color,
        orientation=image.orientation,
        crop=image.crop,
        pixel_scale=image.pixel_scale,
        notes=image.notes,
        provenance=provenance,
    )
    return json.dumps({"format": LAYOUT_FORMAT, **asdict(layout)})


def parse_layout(text: str) -> MosaicLayout:
    """Read what `format_layout` wrote.

    Raises:
        ValueError: the text is not such a layout, or a broken one.
    """
    try:
        stated = json.loads(text)
    except RecursionError as error:
        raise ValueError("its layout is broken: it has no end of brackets") from error
    if not isinstance(stated, dict) or stated.get("format") != LAYOUT_FORMAT:
        raise ValueError("it does not say its layout")
    known = {name: stated[name] for name in (field.name for field in fields(MosaicLayout)) if name in stated}
    try:
        layout = make_record(known, MosaicLayout)
    except ValueError as error:
        raise ValueError(f"its layout is broken: {error}") from error
    _check(layout)
    return layout


def _check(layout: MosaicLayout) -> None:
    """Refuse what is of the right types and nevertheless impossible."""
    active, crop, repeat, color = layout.active_area, layout.crop, layout.black_repeat, layout.color
    if crop is not None and not (
        active.top <= crop.top < crop.bottom <= active.bottom
        and active.left <= crop.left < crop.right <= active.right
    ):
        raise ValueError(f"its crop {crop} lies outside the active area")
    if not is_sound_scale(*layout.pixel_scale):
        raise ValueError(f"its pixel scale {layout.pixel_scale} is impossible")
    if repeat is not None and (not repeat or not repeat[0] or len({len(row) for row in repeat}) > 1):
        raise ValueError("a pattern of black levels that is no grid")
    if any(len(matrix.matrix) != 3 for matrix in color.matrices):
        raise ValueError("a colour matrix of other than three rows")
    if any(min(neutral) <= 0 for neutral in (color.as_shot_neutral, color.daylight_neutral) if neutral):
        raise ValueError("a neutral that is not positive")


def _stated_metadata(provenance: Provenance | None) -> Metadata:
    """The tags by which an output is known as ours, and how strongly it was denoised."""
    if provenance is None:
        return Metadata()
    return Metadata(
        root={
            Code.Software: ascii_tag(f"rawdenoise {provenance.version}"),
            Code.XMP: bytes_tag(add_provenance(b"", provenance) or b""),
        },
        raw={Code.NoiseReductionApplied: numbers_tag(RATIONAL, provenance.largest_strength)},
    )
