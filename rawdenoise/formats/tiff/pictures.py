"""TIFF files out: the mosaic as it is for science, and a rendering for everyone else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import rawpy
import tifffile
from jaxtyping import UInt16
from PIL import ImageCms

from rawdenoise.atomic import atomic_output
from rawdenoise.capture.raw import Ifd, Provenance, RawImage, Tag
from rawdenoise.errors import OutputError, VerificationError
from rawdenoise.formats.dng.directories import provenance_packet
from rawdenoise.formats.dng.exif import exif_node
from rawdenoise.formats.metadata import maker_note
from rawdenoise.formats.rendering.picture import render
from rawdenoise.formats.tiff.mosaic_layout import format_layout
from rawdenoise.formats.tiff.reading import (
    SHORT,
    UNDEFINED,
    ascii_tag,
    bytes_tag,
    numbers_tag,
    read_directory,
    read_header,
)
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, write_directories

_THREADS = min(8, os.cpu_count() or 1)
# Of IFD0; the numbers are ImageDescription, Artist, Rating, Copyright and IPTC.
_KEPT_CODES = (Code.Make, Code.Model, Code.DateTime, 270, 315, 18246, 33432, 33723)


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
            description=format_layout(image, provenance),
            software=f"rawdenoise {provenance.version}",
            metadata=None,
            maxworkers=_THREADS,
        )
        _verify(temporary, image.mosaic, output)


def _verify(temporary: Path, pixels: UInt16[np.ndarray, "h w *c"], output: Path) -> None:
    """Read a file back before it gets its name."""
    try:
        picture = tifffile.imread(temporary)
    except (OSError, MemoryError):  # of the disk or the machine, not of the file
        raise
    except Exception as error:  # tifffile raises what it likes on damaged files
        raise VerificationError(output, f"did not read back ({error}); nothing was kept") from error
    if not np.array_equal(picture, pixels):
        raise VerificationError(output, "did not read back as it was written; nothing was kept")


def _srgb_profile() -> bytes:
    """LittleCMS's sRGB profile, its creation date left out so that equal pictures are equal files."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


def _picture_tags(image: RawImage, provenance: Provenance) -> Ifd:
    """What the source says of the picture, and what was done to it."""
    source, camera = image.metadata, image.camera
    tags: dict[int, Tag] = {code: source.root[code] for code in _KEPT_CODES if code in source.root}
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
    exif = exif_node(image) or Node({})
    gone = {Code.PixelXDimension, Code.PixelYDimension}
    if Code.MakerNote in exif.tags and not maker_note.can_move(image.metadata):
        gone.add(Code.MakerNote)
    tags = {code: tag for code, tag in exif.tags.items() if code not in gone}
    tags[Code.ColorSpace] = numbers_tag(SHORT, 1)
    tags.setdefault(Code.ExifVersion, bytes_tag(b"0231", UNDEFINED))
    tags.setdefault(Code.FlashpixVersion, bytes_tag(b"0100", UNDEFINED))
    return Node(tags, children=exif.children)


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
