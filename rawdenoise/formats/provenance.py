"""Which capture an output was made of, and how, as the output itself says it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rawdenoise.errors import RawDenoiseError
from rawdenoise.formats.metadata import read_metadata
from rawdenoise.formats.tags import Code
from rawdenoise.formats.tiff_container import text
from rawdenoise.formats.xmp import last_provenance

DESCRIPTION = 270  # where a mosaic TIFF has its layout


@dataclass(frozen=True, slots=True)
class Made:
    """Of what an output was made: SHA-256 of the source, digest of the recipe, id of the model."""

    source_digest: str
    recipe: str
    model_id: str


def made_of(output: Path) -> Made | None:
    """Read what an output says of its making; None if it is no output of a watched folder, or damaged."""
    try:
        root = read_metadata(output).root
    except RawDenoiseError:
        return None
    if Code.XMP in root:
        stated = last_provenance(root[Code.XMP].data)
        found = [stated.get(name, "") for name in ("SourceDigest", "Recipe", "ModelId")]
    else:
        found = _from_layout(text(root.get(DESCRIPTION)))
    return Made(*found) if found and found[0] else None


def _from_layout(description: str) -> list[str]:
    try:
        stated = json.loads(description)["provenance"]
        return [str(stated[name]) for name in ("source_digest", "recipe", "model_id")]
    except (ValueError, KeyError, TypeError):
        return []
