"""Files that are parsed once, and again only when they have changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from rawdenoise.files.sources import Signature, signature_of

Parsed = TypeVar("Parsed")


class ParsedFiles(Generic[Parsed]):
    """What `parse` makes of files, kept by their signatures; what it raises passes, and is not kept."""

    def __init__(self, parse: Callable[[Path], Parsed]) -> None:
        self._parse = parse
        self._parsed: dict[Path, tuple[Signature, Parsed]] = {}

    def __call__(self, path: Path) -> Parsed:
        """Give what the file was parsed to, or parse it now."""
        signature = signature_of(path)
        known = self._parsed.get(path)
        if known is not None and known[0] == signature:
            return known[1]
        parsed = self._parse(path)
        if signature is not None:
            self._parsed[path] = signature, parsed
        return parsed
