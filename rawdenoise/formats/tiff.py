"""TIFF files out: the mosaic as it is for science, and a rendering for everyone else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import UInt16

from rawdenoise.atomic import atomic_output
from rawdenoise.errors import VerificationError
from rawdenoise.raw import Area, Camera, Cfa, Color, ColorMatrix, Exposure, Levels, Provenance, RawImage

LAYOUT_FORMAT = "rawdenoise mosaic 1"


@dataclass(frozen=True, slots=True, eq=False)
class MosaicLayout:
    """All of a `RawImage` but its pixels, as a mosaic TIFF carries it in its ImageDescription."""

    cfa: Cfa
    active: Area
    levels: Levels
    camera: Camera
    exposure: Exposure
    color: Color
    orientation: int
    notes: tuple[str, ...]
    provenance: Provenance | None

    def image(self, mosaic: UInt16[np.ndarray, "h w"], source: Path) -> RawImage:
        """The raw image with these pixels."""
        return RawImage(
            mosaic=mosaic,
            cfa=self.cfa,
            active=self.active,
            levels=self.levels,
            source=source,
            camera=self.camera,
            exposure=self.exposure,
            color=self.color,
            orientation=self.orientation,
            notes=self.notes,
        )


def write_mosaic_tiff(image: RawImage, output: Path, *, provenance: Provenance, replace: bool = True) -> None:
    """Write the mosaic as a one-page 16-bit TIFF (deflate, horizontal predictor) that tells its own layout.

    Raises:
        OutputError: it could not be written, or did not read back as it was meant; nothing is left behind.
    """
    with atomic_output(output, replace=replace) as temporary:
        tifffile.imwrite(
            temporary,
            image.mosaic,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            rowsperstrip=256,
            description=layout_json(image, provenance),
            software=f"rawdenoise {provenance.version}",
            metadata=None,
            maxworkers=2,
        )
        if not np.array_equal(tifffile.imread(temporary), image.mosaic):
            raise VerificationError(
                output, "the mosaic did not read back as it was written; nothing was kept"
            )


def layout_json(image: RawImage, provenance: Provenance | None = None) -> str:
    """Everything about an image but its pixels and its source's tags, as ASCII JSON; see `parse_layout`."""
    levels = image.levels
    return json.dumps(
        {
            "format": LAYOUT_FORMAT,
            "cfa": image.cfa.value,
            "active_area": asdict(image.active),
            "black_level": levels.black,
            "white_level": levels.white,
            "black_delta_rows": None if levels.black_delta_rows is None else levels.black_delta_rows.tolist(),
            "black_delta_columns": None
            if levels.black_delta_columns is None
            else levels.black_delta_columns.tolist(),
            "camera": asdict(image.camera),
            "exposure": asdict(image.exposure),
            "color": asdict(image.color),
            "orientation": image.orientation,
            "notes": image.notes,
            "provenance": None if provenance is None else asdict(provenance),
        }
    )


def parse_layout(text: str) -> MosaicLayout:
    """Read what `layout_json` wrote.

    Raises:
        ValueError: the text is not such a layout, or a broken one.
    """
    try:
        found = json.loads(text)
        if not isinstance(found, dict) or found.get("format") != LAYOUT_FORMAT:
            raise ValueError("it does not say its layout")
        return MosaicLayout(
            cfa=Cfa(found["cfa"]),
            active=Area(**found["active_area"]),
            levels=_levels(found),
            camera=Camera(**found["camera"]),
            exposure=Exposure(**found["exposure"]),
            color=_color(found["color"]),
            orientation=int(found["orientation"]),
            notes=tuple(found["notes"]),
            provenance=_provenance(found["provenance"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"its layout is broken ({error})") from error


def _levels(found: Mapping[str, Any]) -> Levels:
    rows, columns = (
        None if values is None else np.asarray(values, np.float64)
        for values in (found["black_delta_rows"], found["black_delta_columns"])
    )
    red, green1, green2, blue = (float(value) for value in found["black_level"])
    return Levels((red, green1, green2, blue), float(found["white_level"]), rows, columns)


def _color(found: Mapping[str, Any]) -> Color:
    matrices = tuple(
        ColorMatrix(entry["illuminant"], tuple(_triple(row) for row in entry["matrix"]))
        for entry in found["matrices"]
    )
    as_shot, daylight = (
        None if neutral is None else _triple(neutral)
        for neutral in (found["as_shot_neutral"], found["daylight_neutral"])
    )
    return Color(matrices, as_shot, daylight)


def _triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _provenance(found: Mapping[str, Any] | None) -> Provenance | None:
    if found is None:
        return None
    left = found["noise_left"]
    pairs = None if left is None else tuple((float(shot), float(read)) for shot, read in left)
    return Provenance(**{**found, "noise_left": pairs})
