"""What was installed where, so that a user's own changes are known from ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from rawdenoise.atomic import write_bytes

FOLDER = "receipts"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The command and files of an installation, with their SHA-256, and what was made for them besides."""

    host: str
    folder: str
    version: str
    command: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


def digest(data: bytes) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def read_receipt(own: Path, host: str, folder: Path) -> Receipt | None:
    """The receipt of an installation; None where there is none that can be read, or it is of another."""
    receipt = _read(_find_receipt(own, host, folder))
    return receipt if receipt and (receipt.host, receipt.folder) == (host, str(folder)) else None


def read_other_receipts(own: Path, host: str, folder: Path) -> list[Receipt]:
    """Those of the same host in other folders."""
    mine = _find_receipt(own, host, folder)
    receipts = [_read(path) for path in sorted((own / FOLDER).glob(f"{host}-*.json")) if path != mine]
    return [receipt for receipt in receipts if receipt is not None]


def write_receipt(own: Path, receipt: Receipt) -> None:
    """Keep a receipt in place of the one before.

    Raises:
        OutputError: the file system refuses.
    """
    path = _find_receipt(own, receipt.host, Path(receipt.folder))
    write_bytes(path, json.dumps(asdict(receipt), indent=2).encode())  # in ASCII: paths may be no UTF-8


def remove_receipt(own: Path, host: str, folder: Path) -> None:
    """Forget an installation."""
    _find_receipt(own, host, folder).unlink(missing_ok=True)


def _find_receipt(own: Path, host: str, folder: Path) -> Path:
    return own / FOLDER / f"{host}-{digest(str(folder).encode(errors='surrogateescape'))[:12]}.json"


def _read(path: Path) -> Receipt | None:
    """A receipt that was damaged counts as none: then no file is known as ours but those that are current."""
    try:
        return msgspec.convert(json.loads(path.read_bytes()), Receipt)
    except (OSError, ValueError, msgspec.ValidationError):
        return None
