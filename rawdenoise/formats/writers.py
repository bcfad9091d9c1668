"""The writers that are built in, as other packages' are, and which one a format's name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from rawdenoise.capture.raw import Provenance, RawImage
from rawdenoise.errors import ExtensionError
from rawdenoise.extensions.protocols import Writer
from rawdenoise.extensions.registry import extensions, load
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.tiff.pictures import write_mosaic_tiff, write_tiff


@runtime_checkable
class _Write(Protocol):
    def __call__(self, image: RawImage, output: Path, *, provenance: Provenance, replace: bool) -> object: ...


@dataclass(frozen=True, slots=True)
class FileWriter:
    """A function that writes files of one suffix."""

    suffix: str
    write: _Write

    def __call__(self, image: RawImage, output: Path, *, provenance: Provenance, replace: bool) -> object:
        """Write a result."""
        return self.write(image, output, provenance=provenance, replace=replace)


DNG = FileWriter(Format.DNG.suffix, write_dng)
TIFF = FileWriter(Format.TIFF.suffix, write_tiff)
MOSAIC_TIFF = FileWriter(Format.MOSAIC_TIFF.suffix, write_mosaic_tiff)


def find_writer(format: str) -> Writer:
    """Give the writer of a format by its name.

    Raises:
        ExtensionError: there is none of that name, or what is registered under it is no writer.
    """
    writer = load("writers", format)
    if not isinstance(writer, Writer):
        owner = extensions("writers")[format].package
        raise ExtensionError(f"{format}, of {owner}, is no writer: it needs `suffix` and to be called")
    return writer
