"""What lies in a watched folder at this moment."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from rawdenoise.errors import FileError
from rawdenoise.files.sources import Signature, identity_of, signature_from
from rawdenoise.formats import raw_suffixes
from rawdenoise.watching.names import is_ignored, is_ignored_folder


class RootGoneError(FileError):
    """The folder to scan is not there, or cannot be read: it is not empty, it is not known what it holds."""


def scan(
    root: Path,
    *,
    skip: Collection[Path] = (),
    recursive: bool = True,
    suffixes: frozenset[str] | None = None,
    on_refused: Callable[[Path, OSError], None] = lambda path, error: None,
) -> Iterator[tuple[Path, Signature]]:
    """Give the captures below a folder, as they are now; in no order.

    Links to files are followed, links to folders are not, so there are no loops. `skip` are folders that are
    not looked into, by whatever name they are come upon. What refuses to be read is told and passed over.

    Raises:
        RootGoneError: `root` itself cannot be read.
    """
    suffixes = raw_suffixes() if suffixes is None else suffixes
    skipped = {identity for path in skip if (identity := identity_of(path)) is not None}
    stack = [os.fspath(root)]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            if folder == os.fspath(root):
                raise RootGoneError(root, f"cannot be read ({error.strerror or error})") from error
            if not _is_gone(error):
                on_refused(Path(folder), error)
            continue
        for entry in listed:
            name = entry.name
            dot = name.rfind(".")
            named = dot > 0 and name[dot:].lower() in suffixes  # before all else: it is what most names are
            signature = _signature(entry, on_refused) if named and not is_ignored(name) else None
            if signature is not None:
                yield Path(entry.path), signature
                continue
            enter = recursive and _is_folder(entry) and not is_ignored_folder(name)
            if enter and not (skipped and identity_of(entry.path) in skipped):
                stack.append(entry.path)


def _signature(entry: os.DirEntry[str], on_refused: Callable[[Path, OSError], None]) -> Signature | None:
    try:
        return signature_from(entry.stat())
    except OSError as error:
        if not _is_gone(error):  # in a folder that may be listed but not entered, for one
            on_refused(Path(entry.path), error)
        return None


def _is_gone(error: OSError) -> bool:
    """Whether there is nothing: it vanished meanwhile, or is a link that leads nowhere or in a circle."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
