"""What a result is written as."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What an output is: a mosaic for raw developers, a picture, or a mosaic for science."""

    DNG = "dng"
    TIFF = "tiff"
    MOSAIC_TIFF = "mosaic-tiff"

    @property
    def suffix(self) -> str:
        """How such a file's name ends."""
        return {"dng": ".dng", "tiff": ".tif", "mosaic-tiff": ".mosaic.tif"}[self.value]
