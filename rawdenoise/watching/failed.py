"""Captures that were given up are moved out of the way, each beside the reason, none over another."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from rawdenoise.atomic import LONGEST_NAME, atomic_output, shorten
from rawdenoise.errors import OutputError, OutputExistsError
from rawdenoise.files.sources import Signature, SourceChangedError, check_unchanged

NAME_ROOM = len("-999999.json")  # of a name, for what is put behind it


def move_failed(source: Path, signature: Signature | None, folder: Path, reason: dict[str, object]) -> Path:
    """Move a file that cannot be used into a folder, with a JSON file beside it that says why.

    The name is reserved by making the JSON file, which only one can, and the file gets it only where nothing
    has it: so workers, watchers and people lose nothing by each other. Where a process died on the way, the
    same call goes on.

    Raises:
        OutputError: it cannot be moved; then it is where it was, as it is where it has changed since it was
        as `signature` says.
    """
    for name in _names(source):
        target = folder / name
        note = target.with_name(f"{name}.json")
        reserved = _reserve(note, reason)
        if not reserved and not _is_note_of(note, reason):
            continue
        try:
            if reserved or not _is_there(source, target):
                _give_name(source, signature, target)
            _remove(source, signature, target)
        except OutputExistsError:
            if reserved:
                note.unlink(missing_ok=True)
        except OutputError:
            if reserved:
                with suppress(OSError):
                    note.unlink()
            raise
        else:
            return target
    raise AssertionError("there is always another name")


def _names(source: Path) -> Iterator[str]:
    stem = shorten(source.stem, LONGEST_NAME - len(os.fsencode(source.suffix)) - NAME_ROOM)
    yield stem + source.suffix
    yield from (f"{stem}-{number}{source.suffix}" for number in count(2))


def _reserve(note: Path, reason: dict[str, object]) -> bool:
    """Make the note, if there is none of this name."""
    if os.path.lexists(note):  # most are: so it is not written in vain
        return False
    try:
        with atomic_output(note, replace=False) as temporary:
            temporary.write_bytes(json.dumps(reason, indent=2).encode() + b"\n")
    except OutputExistsError:
        return False
    return True


def _is_note_of(note: Path, reason: dict[str, object]) -> bool:
    """Whether a note is of this very file: whoever made it died before the file was moved."""
    try:
        fields = json.loads(note.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and all(
        fields.get(key) == reason.get(key) for key in ("source", "sha256")
    )


def _give_name(source: Path, signature: Signature | None, target: Path) -> None:
    """Give a file another name, in place of none; across file systems by a copy.

    Raises:
        OutputExistsError: the name is taken. OutputError: it cannot be.
    """
    try:
        if not source.is_symlink():
            os.link(source, target)
            return
    except FileExistsError as error:
        raise OutputExistsError(target, "exists") from error
    except OSError:
        pass  # another file system, or one without hard links, or not our file
    try:
        with atomic_output(target, replace=False) as temporary:
            shutil.copyfile(source, temporary)
            shutil.copystat(source, temporary)
            check_unchanged(source, signature)
    except (OSError, SourceChangedError) as error:
        raise OutputError(target, f"{source} cannot be moved there ({_explain(error)})") from error


def _remove(source: Path, signature: Signature | None, target: Path) -> None:
    """Take a file's old name away, unless another file has it by now: flushing the copy can take seconds."""
    try:
        check_unchanged(source, signature)
        source.unlink()
    except (OSError, SourceChangedError) as error:
        with suppress(OSError):
            target.unlink()
        raise OutputError(target, f"{source} cannot be moved there ({_explain(error)})") from error


def _explain(error: OSError | SourceChangedError) -> str:
    return error.reason if isinstance(error, SourceChangedError) else error.strerror or str(error)


def _is_there(source: Path, target: Path) -> bool:
    """Whether a file has its new name already, or a copy of it has: whoever made that died before the end."""
    try:
        return filecmp.cmp(source, target, shallow=False)
    except OSError:
        return False
