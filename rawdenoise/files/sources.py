"""A source file: what its content is, by digest, and that it stayed the same while it was read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import FileError, UnreadableError

CHUNK_BYTES = 1 << 20


class SourceChangedError(FileError):
    """The file is not as it was when it was first looked at: it is still being written, or gone."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes whenever a file's content does; times in ns.

    The device is kept but not compared: its number is another one after each reboot or remount of a disk,
    and no file has changed by that.
    """

    size: int
    mtime_ns: int
    inode: int
    device: int = field(compare=False)


def signature_of(path: Path) -> Signature | None:
    """Look at a file or what a link leads to; None if it is gone, no regular file, or not ours to see."""
    try:
        return signature_from(path.stat())
    except (OSError, ValueError):
        return None


def signature_from(status: os.stat_result) -> Signature | None:
    """Read the signature off a file's status; None if it is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        return None
    if os.name == "nt":  # listing a folder does not tell them there, and both ways of looking must agree
        return Signature(status.st_size, status.st_mtime_ns, 0, 0)
    return Signature(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def name_of(path: Path) -> str:
    """Give a file's name as it can stand in XML: control characters and undecodable bytes are spelled out."""
    name = path.name.strip()
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in name
    )


def check_unchanged(path: Path, signature: Signature | None) -> None:
    """Make sure that a file is still as it was.

    Raises:
        SourceChangedError: it is not.
    """
    now = signature_of(path)
    if now != signature:
        raise SourceChangedError(path, "is gone" if now is None else "changed while it was being read")


def is_same_file(path: Path, other: Path) -> bool:
    """Whether two paths are of one file, whatever case or link they go by."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def identity_of(path: Path | str) -> tuple[int, int] | None:
    """Device and inode of a file or folder, by whatever name it goes; None if it is not there to see."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def digest_of(path: Path, signature: Signature, stopped: Callable[[], bool] = lambda: False) -> str:
    """SHA-256 of a file's content, in hexadecimal; empty if it was stopped on the way.

    Raises:
        SourceChangedError: it is not as `signature` says, before or after. UnreadableError: no bytes can be
        had.
    """
    check_unchanged(path, signature)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                if stopped():
                    return ""
    except OSError as error:
        raise UnreadableError(path, f"cannot be read ({error.strerror or error})") from error
    check_unchanged(path, signature)
    return digest.hexdigest()


def read_digested(path: Path, read: Callable[[Path], RawImage]) -> RawImage:
    """Read a capture while its digest is taken beside it, and give both: they are of the same bytes.

    Raises:
        SourceChangedError: it was written to meanwhile. RawDenoiseError: whatever `read` says.
    """
    signature = signature_of(path)
    if signature is None:
        return read(path)  # which says what is wrong
    with ThreadPoolExecutor(1, "digest") as pool:
        digest = pool.submit(digest_of, path, signature)
        try:
            raw = read(path)
        except FileError:
            check_unchanged(path, signature)  # that may be the reason
            raise
        finally:
            digest.exception()  # or the pool would be left with a thread that reads
    check_unchanged(path, signature)  # the digest may have been taken before, and the picture after
    return replace(raw, source_digest=digest.result())
