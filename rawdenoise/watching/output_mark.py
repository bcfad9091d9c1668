"""The mark in an output folder, by which it is told from a bare mount point."""

from __future__ import annotations

from pathlib import Path

from rawdenoise.atomic import write_bytes
from rawdenoise.errors import OutputError
from rawdenoise.watching.ledger import Ledger

MARKER = ".rawdenoise"  # in an output folder, so that one that is not mounted is not taken for an empty one
MARKER_TEXT = (
    b"Outputs of rawdenoise watch. It waits while this file is missing: the disk may not be mounted.\n"
)


class OutputGoneError(OutputError):
    """The output folder is not what it was: its disk is probably not mounted."""


def prepare_output(folder: Path, ledger: Ledger) -> None:
    """Make an output folder and mark it; once it was marked it is never made again.

    Raises:
        OutputGoneError: it was there once, and now it or its mark is not. OutputError: it cannot be made.
    """
    fact, marker = f"output {folder}", folder / MARKER
    known = ledger.facts.get(fact) is not None
    if known:
        check_output(folder)
        return
    if not marker.exists():
        write_bytes(marker, MARKER_TEXT)
    ledger.facts.set(fact, "marked")


def check_output(folder: Path) -> None:
    """Make sure that an output folder is the one that was marked, and not a bare mount point.

    Raises:
        OutputGoneError: it is not.
    """
    if not (folder / MARKER).exists():
        raise OutputGoneError(
            folder,
            f"is not there, or not the folder it was (not mounted?); `touch {folder / MARKER}` begins anew",
        )
