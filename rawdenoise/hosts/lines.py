"""One line of ours in a file of the user's: added once, found however it is spelled, taken away again."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from rawdenoise.atomic import atomic_output
from rawdenoise.errors import HostFileError
from rawdenoise.hosts.host import ForeignLine

WINDOWS_END, UNIX_END = b"\r\n", b"\n"


def has_line(file: Path, line: ForeignLine) -> bool:
    """Whether the line stands there and is no comment; false where there is no file.

    Raises:
        HostFileError: the file cannot be read, or is no text that lines can be added to.
    """
    return any(map(line.pattern.fullmatch, _read(file, line).splitlines()))


def check_line(file: Path, line: ForeignLine) -> None:
    """Refuse a file that the line is missing in and cannot be added to.

    Raises:
        HostFileError: it cannot be read or written.
    """
    if has_line(file, line):
        return
    target = _follow(file)
    if target.exists() and not (os.access(target, os.W_OK) and target.stat().st_mode & stat.S_IWUSR):
        raise _refuse(file, line, "may not be written to")


def add_line(file: Path, line: ForeignLine) -> None:
    """Add the line at the file's end, in its own style of line ends; nothing where it is there.

    Raises:
        HostFileError: as `check_line`. OutputError: the file system refuses.
    """
    check_line(file, line)
    data = _read(file, line)
    if any(map(line.pattern.fullmatch, data.splitlines())):
        return
    end = WINDOWS_END if WINDOWS_END in data else UNIX_END
    start = end if data and not data.endswith((b"\n", b"\r")) else b""
    _write(file, data + start + line.text.encode() + end)


def remove_line(file: Path, line: ForeignLine) -> bool:
    """Take the line away, every one of them; says whether the file holds nothing any more.

    Raises:
        HostFileError: the file cannot be read or may not be written to. OutputError: the file system refuses.
    """
    data = _read(file, line)
    rest = b"".join(part for part in data.splitlines(keepends=True) if not _is_ours(part, line))
    if rest != data:
        target = _follow(file)
        if not (os.access(target, os.W_OK) and target.stat().st_mode & stat.S_IWUSR):
            raise HostFileError(file, f"may not be written to; take the line away yourself: {line.text}")
        _write(file, rest)
    return not rest


def _is_ours(part: bytes, line: ForeignLine) -> bool:
    return line.pattern.fullmatch(part.rstrip(b"\r\n")) is not None


def _read(file: Path, line: ForeignLine) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _refuse(file, line, f"cannot be read ({error.strerror or error})") from error
    if b"\0" in data:
        raise _refuse(file, line, "is not plain text")
    return data


def _write(file: Path, data: bytes) -> None:
    """Write what a link leads to, not the link, with the permissions it had."""
    target = _follow(file)
    with atomic_output(target) as temporary:
        temporary.write_bytes(data)
        if target.exists():
            shutil.copymode(target, temporary)


def _follow(file: Path) -> Path:
    return Path(os.path.realpath(file))


def _refuse(file: Path, line: ForeignLine, reason: str) -> HostFileError:
    return HostFileError(file, f"{reason}; add this line to it yourself: {line.text}")
