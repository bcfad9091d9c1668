"""What belongs to a capture goes with it: XMP, JPEG and sound are copied beside its output."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rawdenoise.files.sidecars import copy_file, sidecar_beside
from rawdenoise.files.sources import signature_of
from rawdenoise.watching.ledger import Ledger


def copy_sidecars(source: Path, output: Path, sidecars: Iterable[Path], ledger: Ledger) -> list[Path]:
    """Copy what belongs to a capture (XMP, JPEG, sound) beside its output, where it is not there already.

    What lies there and is not the copy as it was made (somebody has edited it since) is left alone.

    Raises:
        OutputError: one cannot be written. UnreadableError: one cannot be read.
    """
    copied = []
    for sidecar in sidecars:
        target = sidecar_beside(sidecar, source, output)
        if target == sidecar or _describe(sidecar) is None:
            continue
        fact = f"sidecar {target}"
        if os.path.lexists(target) and (
            _describe(target) == _describe(sidecar) or _describe(target) != ledger.facts.get(fact)
        ):
            continue
        copy_file(sidecar, target)
        ledger.facts.set(fact, _describe(target) or "")
        copied.append(target)
    return copied


def _describe(path: Path) -> str | None:
    """Size and time of a file, as a text; None if it is gone. Times to two seconds: FAT counts by twos."""
    signature = signature_of(path)
    return None if signature is None else f"{signature.size} {signature.mtime_ns // 2_000_000_000}"
