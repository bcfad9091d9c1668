"""What a source's tags say of its levels."""

from __future__ import annotations

from dataclasses import replace

from rawdenoise.capture.raw import Ifd, Metadata
from rawdenoise.formats.tiff.tags import Code

# What a source DNG says of its levels; without these tags the writer states those of the image.
LEVEL_CODES = {
    *(Code.BlackLevel, Code.BlackLevelRepeatDim, Code.BlackLevelDeltaH, Code.BlackLevelDeltaV),
    Code.WhiteLevel,
}


def drop_levels(metadata: Metadata) -> Metadata:
    """Drop what the source says of its levels, so that the writer states those of the image."""
    return replace(metadata, root=_drop_level_tags(metadata.root), raw=_drop_level_tags(metadata.raw))


def _drop_level_tags(tags: Ifd) -> Ifd:
    return {code: tag for code, tag in tags.items() if code not in LEVEL_CODES}
