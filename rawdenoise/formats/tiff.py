"""TIFF files out: the mosaic as it is for science, and a rendering for everyone else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rawpy
import tifffile
from jaxtyping import Float64, UInt16
from PIL import ImageCms

from rawdenoise.atomic import atomic_output
from rawdenoise.capture.raw import (
    Area,
    Camera,
    Cfa,
    Color,
    Exposure,
    Ifd,
    Levels,
    Metadata,
    Provenance,
    RawImage,
    Tag,
)
from rawdenoise.capture.records import record_of, value_of
from rawdenoise.errors import OutputError, VerificationError
from rawdenoise.formats import maker_note
from rawdenoise.formats.dng_directories import provenance_packet
from rawdenoise.formats.dng_exif import exif_node
from rawdenoise.formats.framing import sound_scale
from rawdenoise.formats.rendering import render
from rawdenoise.formats.tags import Code
from rawdenoise.formats.tiff_container import (
    RATIONAL,
    SHORT,
    UNDEFINED,
    Node,
    ascii_tag,
    bytes_tag,
    numbers_tag,
    read_directory,
    read_header,
    write_directories,
)
from rawdenoise.formats.xmp import with_provenance

LAYOUT_FORMAT = "rawdenoise mosaic 1"
_THREADS = min(8, os.cpu_count() or 1)
# Of IFD0; the numbers are ImageDescription, Artist, Rating, Copyright and IPTC.
_KEPT = (Code.Make, Code.Model, Code.DateTime, 270, 315, 18246, 33432, 33723)


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
    crop: Area | None
    pixel_scale: tuple[float, float]
    notes: tuple[str, ...]
    provenance: Provenance | None

    def image(self, mosaic: UInt16[np.ndarray, "h w"], source: Path) -> RawImage:
        """The raw image with these pixels, whose tags say what was done to it."""
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
            crop=self.crop,
            pixel_scale=self.pixel_scale,
            notes=self.notes,
            metadata=_stated(self.provenance),
        )


def write_tiff(image: RawImage, output: Path, *, provenance: Provenance, replace: bool = True) -> None:
    """Write a 16-bit sRGB rendering with its colour profile, upright, with EXIF, GPS and provenance.

    Raises:
        OutputError: LibRaw could not render it, it could not be written, or did not read back as it was
            meant; nothing is left behind.
    """
    with atomic_output(output, replace=replace) as temporary:
        try:
            rgb = render(image)
        except rawpy.LibRawError as error:
            raise OutputError(output, f"LibRaw could not render it ({error})") from error
        tifffile.imwrite(
            temporary,
            rgb,
            photometric="rgb",
            compression="zlib",
            compressionargs={"level": 4},
            predictor=True,
            rowsperstrip=64,
            software=f"rawdenoise {provenance.version}",
            iccprofile=_srgb_profile(),
            metadata=None,
            byteorder="<",
            maxworkers=_THREADS,
        )
        _add_tags(temporary, _picture_tags(image, provenance), _rendering_exif(image), image.metadata.gps)
        _verify(temporary, rgb, output)


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
            maxworkers=_THREADS,
        )
        _verify(temporary, image.mosaic, output)


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
            "black_repeat": None if levels.black_repeat is None else levels.black_repeat.tolist(),
            "camera": asdict(image.camera),
            "exposure": asdict(image.exposure),
            "color": asdict(image.color),
            "orientation": image.orientation,
            "crop": None if image.crop is None else asdict(image.crop),
            "pixel_scale": image.pixel_scale,
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
            cfa=Cfa(value_of(str, found["cfa"])),
            active=record_of(Area, found["active_area"]),
            levels=_levels(found),
            camera=record_of(Camera, found["camera"]),
            exposure=record_of(Exposure, found["exposure"]),
            color=_color(found["color"]),
            orientation=_orientation(found["orientation"]),
            crop=_crop(found.get("crop"), record_of(Area, found["active_area"])),
            pixel_scale=_scale(found.get("pixel_scale", [1.0, 1.0])),
            notes=value_of(tuple[str, ...], found["notes"]),
            provenance=value_of(Provenance | None, found["provenance"]),
        )
    except KeyError as error:
        raise ValueError(f"its layout is broken: it has no {error}") from error
    except RecursionError as error:
        raise ValueError("its layout is broken: it has no end of brackets") from error


def _verify(temporary: Path, pixels: UInt16[np.ndarray, "h w *c"], output: Path) -> None:
    """Read a file back before it gets its name."""
    try:
        found = tifffile.imread(temporary)
    except (OSError, MemoryError):  # of the disk or the machine, not of the file
        raise
    except Exception as error:  # tifffile raises what it likes on damaged files
        raise VerificationError(output, f"did not read back ({error}); nothing was kept") from error
    if not np.array_equal(found, pixels):
        raise VerificationError(output, "did not read back as it was written; nothing was kept")


def _stated(provenance: Provenance | None) -> Metadata:
    """The tags by which an output is known as ours, and how strongly it was denoised."""
    if provenance is None:
        return Metadata()
    return Metadata(
        root={
            Code.Software: ascii_tag(f"rawdenoise {provenance.version}"),
            Code.XMP: bytes_tag(with_provenance(b"", provenance) or b""),
        },
        raw={Code.NoiseReductionApplied: numbers_tag(RATIONAL, provenance.strength)},
    )


def _srgb_profile() -> bytes:
    """LittleCMS's sRGB profile, its creation date left out so that equal pictures are equal files."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


def _picture_tags(image: RawImage, provenance: Provenance) -> Ifd:
    """What the source says of the picture, and what was done to it."""
    source, camera = image.metadata, image.camera
    tags: dict[int, Tag] = {code: source.root[code] for code in _KEPT if code in source.root}
    if camera.make:
        tags.setdefault(Code.Make, ascii_tag(camera.make))
    if camera.model:
        tags.setdefault(Code.Model, ascii_tag(camera.model))
    tags[Code.Orientation] = numbers_tag(SHORT, 1)
    packet = provenance_packet(image, provenance, media_type="image/tiff")
    if packet is not None:
        tags[Code.XMP] = bytes_tag(packet)
    return tags


def _rendering_exif(image: RawImage) -> Node:
    """EXIF of a rendering: its colours, not its size, and a MakerNote only if that can lie anywhere."""
    found = exif_node(image) or Node({})
    gone = {Code.PixelXDimension, Code.PixelYDimension}
    if Code.MakerNote in found.tags and not maker_note.can_move(image.metadata):
        gone.add(Code.MakerNote)
    tags = {code: tag for code, tag in found.tags.items() if code not in gone}
    tags[Code.ColorSpace] = numbers_tag(SHORT, 1)
    tags.setdefault(Code.ExifVersion, bytes_tag(b"0231", UNDEFINED))
    tags.setdefault(Code.FlashpixVersion, bytes_tag(b"0100", UNDEFINED))
    return Node(tags, children=found.children)


def _add_tags(path: Path, tags: Ifd, exif: Node, gps: Ifd) -> None:
    """Give a TIFF file that tifffile wrote the directories it cannot write, through a new first directory."""
    children: dict[int, tuple[Node, ...]] = {Code.ExifIFD: (exif,)}
    if gps:
        children[Code.GPSInfo] = (Node(gps),)
    with path.open("r+b") as file:
        header = read_header(file)
        if header is None:
            raise OutputError(path, "is not the TIFF file that was written")
        picture = read_directory(file, header, header.first).tags
        start = header.end + header.end % 2
        root = Node({**picture, **tags}, children=children)
        first = write_directories(file, root, start=start, big=header.big)
        file.seek(8 if header.big else 4)
        file.write(first.to_bytes(8 if header.big else 4, "little"))


def _crop(found: object, active: Area) -> Area | None:
    """The crop, where it lies in the active area."""
    if found is None:
        return None
    crop: Area = record_of(Area, found)
    if not (
        active.top <= crop.top < crop.bottom <= active.bottom
        and active.left <= crop.left < crop.right <= active.right
    ):
        raise ValueError(f"its crop {found} lies outside the active area")
    return crop


def _scale(found: object) -> tuple[float, float]:
    down, across = value_of(tuple[float, float], found)
    if not sound_scale(down, across):
        raise ValueError(f"its pixel scale {found} is impossible")
    return down, across


def _levels(found: Mapping[str, Any]) -> Levels:
    rows, columns = (
        None if values is None else np.asarray(value_of(tuple[float, ...], values), np.float64)
        for values in (found["black_delta_rows"], found["black_delta_columns"])
    )
    black = value_of(tuple[float, float, float, float], found["black_level"])
    white, repeat = value_of(float, found["white_level"]), _grid(found.get("black_repeat"))
    return Levels(black, white, rows, columns, repeat)


def _grid(values: object) -> Float64[np.ndarray, "rows columns"] | None:
    if values is None:
        return None
    rows = value_of(tuple[tuple[float, ...], ...], values)
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("a pattern of black levels that is no grid")
    return np.asarray(rows, np.float64)


def _orientation(found: object) -> int:
    orientation: int = value_of(int, found)
    if not 1 <= orientation <= 8:
        raise ValueError("an orientation that EXIF does not know")
    return orientation


def _color(found: object) -> Color:
    color = record_of(Color, found)
    if any(len(each.matrix) != 3 for each in color.matrices):
        raise ValueError("a colour matrix of other than three rows")
    if any(min(neutral) <= 0 for neutral in (color.as_shot_neutral, color.daylight_neutral) if neutral):
        raise ValueError("a neutral that is not positive")
    return color
