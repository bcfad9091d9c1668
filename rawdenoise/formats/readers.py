"""The readers that are built in, as other packages' are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rawdenoise.capture.raw import RawImage
from rawdenoise.formats import LIBRAW_SUFFIXES, SIDD_SUFFIXES


@dataclass(frozen=True, slots=True)
class FileReader:
    """A function that reads files of some suffixes."""

    suffixes: frozenset[str]
    read: Callable[[Path], RawImage]

    def __call__(self, path: Path) -> RawImage:
        """Read a capture."""
        return self.read(path)


def _read_libraw(path: Path) -> RawImage:
    from rawdenoise.formats.libraw import read_libraw

    return read_libraw(path)


def _read_sidd(path: Path) -> RawImage:
    from rawdenoise.formats.sidd import read_sidd

    return read_sidd(path)


LIBRAW = FileReader(LIBRAW_SUFFIXES, _read_libraw)
SIDD = FileReader(SIDD_SUFFIXES, _read_sidd)
