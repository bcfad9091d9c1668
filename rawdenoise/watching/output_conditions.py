"""What became of an output: whether it is there, whole, and still the picture that was made."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path

import numpy as np
import tifffile

from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import OutOfMemoryError, SetupError, Stopped
from rawdenoise.files import outputs
from rawdenoise.formats.metadata.provenance import read_origin
from rawdenoise.formats.truncation import digest_picture
from rawdenoise.isolation.isolated_reader import read_isolated
from rawdenoise.watching.ledger.records import Fingerprint


class Condition(StrEnum):
    """What became of an output; the words say why it is made again, where it is."""

    WHOLE = "it is as it was made"
    EDITED = "somebody has edited it since"
    LOST = "its output is gone"
    CUT = "its output is cut off or damaged"
    FOREIGN = "another picture has its name now, and is left as it is"


MADE_AGAIN = (Condition.LOST, Condition.CUT, Condition.FOREIGN)


def take_fingerprint(output: Path) -> Fingerprint | None:
    """Note how an output is now, reading all of it; None if it is gone.

    Raises:
        OSError: it cannot be read, so nothing is known of it.
    """
    try:
        status = output.stat()
        return Fingerprint(status.st_size, status.st_mtime_ns, digest_picture(output))
    except (FileNotFoundError, NotADirectoryError):
        return None


def judge_output(
    output: Path, digest: str, written: Fingerprint | None, present: Fingerprint | None
) -> Condition:
    """Tell what became of the output of a content (its SHA-256), that was `written` so and is `present` so.

    Where the picture's bytes are what they were, tags may have been edited. Where they are not, the file may
    have been written anew by another program, with the same pixels; or, as a rendering, retouched. Where
    nobody wrote to it and it is another, a disk has forgotten.

    Raises:
        OSError: it cannot be read.
    """
    if present is None:
        return Condition.LOST
    same_time = written is not None and (written.size, written.mtime_ns) == (present.size, present.mtime_ns)
    if written is not None and present.picture and present.picture == written.picture:
        return Condition.WHOLE if same_time and not written.edited else Condition.EDITED
    if not present.picture:
        return Condition.FOREIGN if outputs.look_at(output).is_foreign else Condition.CUT
    made = read_origin(output)
    if made is None or made.source_digest != digest:
        return Condition.FOREIGN
    if written is None or not written.picture:
        return Condition.WHOLE  # and nobody knows how it was
    if same_time:
        return Condition.CUT
    return _judge_pixels(output, written.pixels)


def _judge_pixels(output: Path, pixels: str) -> Condition:
    """Tell by decoding what became of an output that says that it is ours, and is encoded otherwise."""
    try:
        if output.suffix.lower() != ".dng":
            tifffile.imread(output)
            return Condition.EDITED
        same = digest_pixels(read_isolated(output)) == pixels
    except (OSError, MemoryError, Stopped):
        raise
    except (OutOfMemoryError, SetupError) as error:  # of the machine, not of the file
        raise OSError(str(error)) from error
    except Exception:  # tifffile raises what it likes on damaged files
        return Condition.CUT
    return Condition.EDITED if same or not pixels else Condition.FOREIGN


def digest_pixels(raw: RawImage) -> str:
    """SHA-256 of a capture's mosaic, the same whatever its tags say, in hexadecimal."""
    digest = hashlib.sha256(f"{raw.mosaic.dtype} {raw.mosaic.shape}".encode())
    digest.update(np.ascontiguousarray(raw.mosaic).data)
    return digest.hexdigest()
