"""Which capture an output was made of, and how, as the output itself says it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rawdenoise.capture.raw import Ifd, Metadata
from rawdenoise.errors import RawDenoiseError
from rawdenoise.formats.metadata.source import is_denoised_by_us, read_metadata
from rawdenoise.formats.metadata.xmp import read_last_provenance
from rawdenoise.formats.tiff.reading import text
from rawdenoise.formats.tiff.tags import Code

DESCRIPTION = 270  # where a mosaic TIFF has its layout


@dataclass(frozen=True, slots=True)
class Origin:
    """Of what an output was made: SHA-256 of the source, digest of the recipe, id of the model; its name."""

    source_digest: str
    recipe: str
    model_id: str
    source_name: str = ""


def read_origin(output: Path) -> Origin | None:
    """Read what an output says of its making; None if it says nothing of that, or is damaged."""
    try:
        return parse_origin(read_metadata(output).root)
    except RawDenoiseError:
        return None


def parse_origin(root: Ifd) -> Origin | None:
    """Tell it by the first directory of an output."""
    stated = read_last_provenance(root[Code.XMP].data) if Code.XMP in root else {}
    values = [stated.get(name, "") for name in ("SourceDigest", "Recipe", "ModelId", "SourceName")]
    if not values[0]:
        values = _from_layout(text(root.get(DESCRIPTION)))
    return Origin(*values) if values and values[0] else None


def is_output(metadata: Metadata, path: Path) -> bool:
    """Whether a file is an output of ours, at strength 0 too, whoever has changed its tags since.

    Captures of a simulated camera are our writer's too, but nothing was denoised in them, and they say of no
    content that they were made of it.
    """
    return parse_origin(metadata.root) is not None or is_denoised_by_us(metadata, path)


def _from_layout(description: str) -> list[str]:
    try:
        stated = json.loads(description)["provenance"]
        names = ("source_digest", "recipe", "model_id", "source_name")
        return [str(stated.get(name, "")) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
