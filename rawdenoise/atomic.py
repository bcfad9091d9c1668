"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rawdenoise.errors import DiskFullError, OutputError, OutputExistsError

TEMPORARY_MARK = ".rawdenoise-"
LONGEST_NAME = 255  # bytes of a name, on nearly every file system
ABANDONED_S = 86400.0  # a temporary file of another machine that nobody has written to for so long
_TEMPORARY = re.compile(  # machine, process, when that was born, a token, the output's name
    re.escape(TEMPORARY_MARK)
    + r"(?P<machine>[0-9a-f]{8})-(?P<process>[0-9a-f]+)-(?P<birth>[0-9a-f]+)-[0-9a-f]{8}-"
    r"(?P<name>.+)",
    re.DOTALL,
)


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
    temporary = _name_temporary(output)
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
        raise _refuse(output, error) from error
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
    temporary = _name_temporary(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(b"?")
    except OSError as error:
        raise _refuse(output, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _name_temporary(output: Path) -> Path:
    process = os.getpid()
    start = f"{TEMPORARY_MARK}{_machine()}-{process:x}-{_find_birth(process) or 0:x}-{secrets.token_hex(4)}-"
    return output.with_name(start + shorten(output.name, LONGEST_NAME - len(start)))


def _refuse(output: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(output, "no space left on the disk; nothing was written")
    return OutputError(output, f"cannot be written ({error.strerror or error})")


def write_bytes(output: Path, data: bytes) -> None:
    """Write a small file whole or not at all."""
    with atomic_output(output) as temporary:
        temporary.write_bytes(data)


def is_temporary(path: Path) -> bool:
    """Whether a file's name is one that `atomic_output` gives, and nobody else does."""
    return _TEMPORARY.fullmatch(path.name) is not None


def is_temporary_of(path: Path, output: Path) -> bool:
    """Whether a file is one that `atomic_output` has been writing to in place of `output`."""
    match = _TEMPORARY.fullmatch(path.name)
    return match is not None and match["name"] == shorten(output.name, LONGEST_NAME - match.start("name"))


def is_abandoned(path: Path, now: float) -> bool:
    """Whether a file is a temporary one whose writer is no more.

    On this machine that is known; of others' files those that were not written to for a day are meant.
    """
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    if match["machine"] == _machine() and os.name == "posix":  # elsewhere a process cannot be asked for
        return not _is_alive(int(match["process"], 16), int(match["birth"], 16))
    try:
        return abs(now - path.stat().st_mtime) > ABANDONED_S  # in the future: the clock was set back
    except OSError:
        return False


def remove_temporaries(outputs: Iterable[Path]) -> None:
    """Remove what atomic outputs under way have left beside their targets."""
    by_folder: dict[Path, list[Path]] = {}
    for output in outputs:
        by_folder.setdefault(output.parent, []).append(output)
    for folder, wanted in by_folder.items():
        for path in folder.glob(f"{TEMPORARY_MARK}*"):
            if any(is_temporary_of(path, output) for output in wanted):
                path.unlink(missing_ok=True)


def remove_abandoned(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Remove the temporary files in a folder whose writers are no more; what refuses is left."""
    removed = []
    for place, folders, names in os.walk(folder):
        for path in (Path(place, name) for name in names if name.startswith(TEMPORARY_MARK)):
            if is_abandoned(path, time.time()):
                with suppress(OSError):
                    path.unlink()
                    removed.append(path)
        if not recursive:
            folders.clear()
    return removed


@functools.cache
def _machine() -> str:
    """Eight digits for what shares our process numbers: a machine, or a container on it."""
    try:
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]


def _is_alive(process: int, birth: int) -> bool:
    """Whether a process of this machine runs, and is not another one by the same number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is there, but not ours
        pass
    return _find_birth(process) in (None, birth)


def _find_birth(process: int) -> int | None:
    """When a process was started, in ticks since the machine was; None where the system does not tell.

    One that has ended and is only not yet taken note of (a zombie) has -1.
    """
    try:
        status = Path(f"/proc/{process}/stat").read_bytes()
        state, *fields = status.rpartition(b")")[2].split()  # behind the name, which may hold anything
        return -1 if state in (b"Z", b"X") else int(fields[18])
    except (OSError, ValueError, IndexError):
        return None


def shorten(name: str, room: int = LONGEST_NAME) -> str:
    """Leave of a name what fits in so many bytes; no character is cut in two."""
    return name if len(os.fsencode(name)) <= room else os.fsencode(name)[:room].decode(errors="ignore")


def _move_if_absent(temporary: Path, output: Path) -> None:
    try:
        output.hardlink_to(temporary)
    except FileExistsError as error:
        raise OutputExistsError(output, "appeared while it was being made, and was left alone") from error
    except OSError:  # a file system without hard links (exFAT, some SMB shares)
        try:
            os.close(os.open(output, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # else two might take one name
        except FileExistsError as error:
            reason = "appeared while it was being made, and was left alone"
            raise OutputExistsError(output, reason) from error
        try:
            temporary.replace(output)
        except BaseException:
            output.unlink(missing_ok=True)
            raise


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
