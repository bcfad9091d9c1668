"""Files to captures and back: one call reads any file into a `RawImage`; DNGs and TIFFs are written here."""

from __future__ import annotations

import logging
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rawdenoise.errors import (
    DirectoryError,
    EmptyFileError,
    ExtensionError,
    NotFoundError,
    UnreadableError,
    guard_file,
)
from rawdenoise.extensions.protocols import Reader
from rawdenoise.extensions.registry import PACKAGE, extensions, load

if TYPE_CHECKING:
    from rawdenoise.capture.raw import RawImage
    from rawdenoise.formats.headerless import PlainLayout

log = logging.getLogger(__name__)

LIBRAW_SUFFIXES = frozenset(
    """.3fr .ari .arw .bay .cap .cr2 .cr3 .crw .cs1 .dc2 .dcr .dng .drf .eip .erf .fff .gpr .iiq .k25 .kdc
    .mdc .mef .mos .mrw .nef .nrw .orf .ori .pef .ptx .pxn .qtk .raf .raw .rw2 .rwl .rwz .sr2 .srf .srw .sti
    .x3f""".split()
)
PLAIN_SUFFIXES = frozenset({".npy", ".tif", ".tiff"})
LAYOUT_SUFFIXES = PLAIN_SUFFIXES | {".bin"}
"""What a folder is searched for besides where a layout is given; a `.raw` is searched for always."""
SIDD_SUFFIXES = frozenset({".mat"})
_BUILT_IN_SUFFIXES = LIBRAW_SUFFIXES | PLAIN_SUFFIXES | LAYOUT_SUFFIXES | SIDD_SUFFIXES


def raw_suffixes(layout: PlainLayout | None = None) -> frozenset[str]:
    """What a folder is searched for; for plain mosaics only with a layout, else they are named one by one."""
    return _suffixes(plain=layout is not None)


@cache
def _suffixes(*, plain: bool) -> frozenset[str]:
    known = LIBRAW_SUFFIXES | SIDD_SUFFIXES | frozenset(foreign_readers())
    return known | LAYOUT_SUFFIXES if plain else known


def read_raw(path: Path, *, layout: PlainLayout | None = None) -> RawImage:
    """Read a capture of any supported kind.

    `.mat` is SIDD's, `.npy` and `.tif` are plain mosaics, a `.raw` is one where `layout` is given. What
    another package reads goes to its reader, and all else to LibRaw, whatever its suffix.

    Raises:
        UnreadableError: missing, a directory, empty, truncated, or not ours to read.
        NotAnImageError: of no known format.
        UnsupportedRawError: a raw file without a Bayer mosaic that can be had; the subclass says which kind.
        LayoutError: a plain mosaic that does not fit `layout`.
    """
    check_readable(path)
    with guard_file(path):
        return _read(path, layout)


def _read(path: Path, layout: PlainLayout | None) -> RawImage:
    from rawdenoise.formats.readers import LIBRAW, SIDD

    suffix = path.suffix.lower()
    if suffix in SIDD.suffixes:
        return SIDD(path)
    if suffix in PLAIN_SUFFIXES or (layout is not None and suffix in LAYOUT_SUFFIXES | {".raw"}):
        from rawdenoise.formats.headerless import read_plain

        return read_plain(path, layout)
    foreign = None if suffix in LIBRAW.suffixes else foreign_readers().get(suffix)
    return (foreign or LIBRAW)(path)


@cache
def foreign_readers() -> Mapping[str, Reader]:
    """The readers of other packages by the suffixes that are read by nothing that is built in."""
    readers: dict[str, Reader] = {}
    for name, extension in extensions("readers").items():
        if extension.package == PACKAGE:
            continue
        try:
            reader = load("readers", name)
        except ExtensionError as error:  # a broken package is no reason to read nothing else
            log.warning("%s", error)
            continue
        if not isinstance(reader, Reader):
            log.warning(
                "%s, of %s, is no reader: it needs `suffixes` and to be called", name, extension.package
            )
            continue
        readers |= {
            suffix.lower(): reader for suffix in reader.suffixes if suffix.lower() not in _BUILT_IN_SUFFIXES
        }
    return MappingProxyType(readers)


def check_readable(path: Path) -> None:
    """Refuse what is not a file with bytes in it, with the reason."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DirectoryError(path, "is a directory, not a raw file")
        if not stat.S_ISREG(mode):  # opening a FIFO would wait for ever
            raise UnreadableError(path, "is not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise EmptyFileError(path, "is empty (0 bytes)")
    except FileNotFoundError:
        raise NotFoundError(path, "there is no such file") from None
    except OSError as error:
        raise UnreadableError(path, f"cannot be read ({error.strerror or error})") from error
