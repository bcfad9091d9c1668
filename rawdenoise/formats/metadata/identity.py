"""Who an output is: ids made of what it is, so that the same source and recipe give the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from uuid import UUID, uuid5

import numpy as np

from rawdenoise.capture.raw import Provenance, RawImage
from rawdenoise.formats.metadata.xmp import Identity

_NAMESPACE = UUID("8f1c2a57-0b7e-5d1c-9d2a-6f5b0e6a4c31")  # for ids of this program only


def identity_of(image: RawImage, provenance: Provenance, media_type: str) -> Identity:
    """The ids of an output, as UUIDs of version 5 (RFC 9562).

    The source is its content where its digest is known, else its name and tags. The document is what is made
    of that source by that model, strength and recipe; the instance is the document with these very pixels.
    """
    content = provenance.source_digest or image.source_digest or _digest(_marks(image))
    source = str(uuid5(_NAMESPACE, f"source {content}"))
    made = replace(provenance, gain_db=None, source_digest="", source_name="")
    document = str(uuid5(_NAMESPACE, f"document {source} {media_type} {asdict(made)}"))
    pixels = _digest(iter((np.ascontiguousarray(image.mosaic).data,)))
    return Identity(source, document, str(uuid5(_NAMESPACE, f"instance {document} {pixels}")), media_type)


def _marks(image: RawImage) -> Iterator[bytes]:
    """What tells a capture from others: name of its file, tags and size."""
    source = image.metadata
    yield os.fsencode(image.source.name)
    yield repr((image.mosaic.shape, image.camera, image.exposure)).encode("utf-8", "surrogateescape")
    for directory in (source.root, source.raw, source.exif, source.gps):
        for code in sorted(directory):
            yield b"%d %s" % (code, directory[code].data)


def _digest(parts: Iterator[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
