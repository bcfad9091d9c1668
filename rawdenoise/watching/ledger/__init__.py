"""What arrived and what became of it, in a SQLite file that any number of watchers share.

A job is one content (SHA-256) for one output folder; files point to jobs, so that a capture that is copied
again, or linked, is not done again. Whatever a process does, it says so here first; where it dies, what it
was at is found in state `running` with an owner whose lock is free, and is done again.

A commit is on the disk at the next checkpoint only (`synchronous=NORMAL`): a power failure may take the last
ones back, never half of one. That costs nothing: a file that was settled is found by the next scan, and one
that was done by the provenance in its output.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from filelock import FileLock

from rawdenoise.watching.ledger.database import LedgerError, LedgerMissingError, open_database
from rawdenoise.watching.ledger.facts import Facts
from rawdenoise.watching.ledger.figures import Figures
from rawdenoise.watching.ledger.file_index import FileIndex
from rawdenoise.watching.ledger.job_queue import JobQueue
from rawdenoise.watching.ledger.kept_outputs import KeptOutputs
from rawdenoise.watching.ledger.owners import Owners
from rawdenoise.watching.ledger.requests import Requests

LEDGER_NAME = "ledger.sqlite3"


class Ledger:
    """An open ledger; for any number of threads and processes. As a context manager it closes itself.

    Every call raises LedgerError where SQLite refuses; then nothing of it has happened.
    """

    def __init__(self, folder: Path, *, owner: bool = True) -> None:
        """Open the ledger in a state folder, or begin one; an `owner` holds a lock, and may lease jobs.

        For an owner a file that is damaged, or of another version, is moved aside, and `note` says so.

        Raises:
            LedgerError: the folder cannot be used. LedgerBrokenError: the file cannot, and stays where it is.
        """
        self.folder, self.owners = folder, Owners(folder / "owners")
        try:
            self.owners.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(
                folder / f"{LEDGER_NAME}.opening"
            ):  # else two might move the same damaged file aside
                self.database, self.note = open_database(
                    folder / LEDGER_NAME, in_use=self.owners.is_any_alive, put_aside=owner
                )
                if owner:
                    try:
                        self.owners.join()
                    except BaseException:
                        self.database.close()
                        raise
        except OSError as error:
            raise LedgerError(
                f"{folder}: cannot be used for the ledger ({error.strerror or error})"
            ) from error
        self.owner = self.owners.own
        self.facts = Facts(self.database)
        self.files = FileIndex(self.database)
        self.jobs = JobQueue(self.database, self.owners)
        self.requests = Requests(self.database, self.jobs)
        self.outputs = KeptOutputs(self.database)
        self.figures = Figures(self.database)

    def __enter__(self) -> Ledger:
        """Use it as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file and free the lock."""
        self.database.close()
        self.owners.leave()


def open_existing(folder: Path) -> Ledger:
    """Open a ledger to look into, not to work by.

    Raises:
        LedgerMissingError: there is none. LedgerError: it cannot be read.
    """
    if not (folder / LEDGER_NAME).exists():
        raise LedgerMissingError(f"{folder}: no ledger there; it is where `rawdenoise watch` has put it")
    return Ledger(folder, owner=False)
