"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rawdenoise.errors import DiskFullError, OutputError, OutputExistsError

MARK = ".rawdenoise-"
LONGEST = 255  # bytes of a name, on nearly every file system
_TOKEN = 4  # bytes, written as twice as many digits
_ROOM = LONGEST - len(MARK) - 2 * _TOKEN - 1  # behind mark and token


@contextmanager
def atomic_output(output: Path, *, replace: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `output` to write to, and move it there when the block ends well.

    The file is flushed to the disk before the rename. If the block raises, KeyboardInterrupt included, the
    temporary file is removed and `output` is as it was. With `replace` false an `output` that has appeared
    meanwhile is left alone. Parent folders are made.

    Raises:
        DiskFullError: no space left.
        OutputExistsError: `output` exists and `replace` is false.
        OutputError: any other refusal of the file system.
    """
    temporary = _beside(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if replace:
            temporary.replace(output)
        else:
            _move_if_absent(temporary, output)
        _sync_folder(output.parent)
    except OSError as error:
        raise _refusal(output, error) from error
    finally:
        with suppress(OSError):  # gone already, or its folder is: the first error is the one that matters
            temporary.unlink()


def check_output(output: Path) -> None:
    """Refuse an output that cannot be written, before the work that would be lost; makes its folder.

    Raises:
        OutputError: it is a folder, or the file system refuses a file beside it.
    """
    if output.is_dir():
        raise OutputError(output, "is a folder")
    temporary = _beside(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(b"?")
    except OSError as error:
        raise _refusal(output, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _beside(output: Path) -> Path:
    return output.with_name(f"{MARK}{secrets.token_hex(_TOKEN)}-{cut(output.name, _ROOM)}")


def _refusal(output: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(output, "no space left on the disk; nothing was written")
    return OutputError(output, f"cannot be written ({error.strerror or error})")


def write_bytes(output: Path, data: bytes) -> None:
    """Write a small file whole or not at all."""
    with atomic_output(output) as temporary:
        temporary.write_bytes(data)


def is_temporary_of(path: Path, output: Path) -> bool:
    """Whether a file is one that `atomic_output` has been writing to in place of `output`."""
    token, _, name = path.name.removeprefix(MARK).partition("-")
    return path.name.startswith(MARK) and len(token) == 2 * _TOKEN and name == cut(output.name, _ROOM)


def remove_temporaries(outputs: Iterable[Path]) -> None:
    """Remove what atomic outputs under way have left beside their targets."""
    by_folder: dict[Path, list[Path]] = {}
    for output in outputs:
        by_folder.setdefault(output.parent, []).append(output)
    for folder, wanted in by_folder.items():
        for path in folder.glob(f"{MARK}*"):
            if any(is_temporary_of(path, output) for output in wanted):
                path.unlink(missing_ok=True)


def cut(name: str, room: int = LONGEST) -> str:
    """Leave of a name what fits in so many bytes; no character is cut in two."""
    return name if len(os.fsencode(name)) <= room else os.fsencode(name)[:room].decode(errors="ignore")


def _move_if_absent(temporary: Path, output: Path) -> None:
    try:
        output.hardlink_to(temporary)
    except FileExistsError as error:
        raise OutputExistsError(output, "appeared while it was being made, and was left alone") from error
    except OSError:  # a file system without hard links (exFAT, some SMB shares)
        if output.exists():
            raise OutputExistsError(output, "appeared while it was being made, and was left alone") from None
        temporary.replace(output)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the platform lets a folder be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
