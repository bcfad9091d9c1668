"""What the ledger keeps of captures and of their outputs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path

UNWANTED_REASON = "not wanted: no output is made of it"


class Wait(Enum):
    """Why there is nothing to lease though something is due."""

    ALONE = "the next may be what a process died of, and is to be run with nothing beside it"


class State(StrEnum):
    """Where a file is on its way."""

    SEEN = "seen"  # a file that has not settled, or was not digested yet; all others are of jobs
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # to be tried again
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """One content to denoise into one output folder; times in seconds since 1970, but see `due_at`.

    That is by the steady clock. A `suspect` was under way when its process died, `crashes` times alone;
    `pixels` is a digest of its mosaic, where that was read. `replaces` is the output of what stood at this
    capture's place before; `redo` says that it was done and is to be done again; `output` is the name
    reserved for it, and once DONE where its result is (None: there is none).
    """

    id: int
    digest: str
    output_root: Path
    recipe: str
    state: State
    attempts: int
    reason: str
    redo: bool
    output: Path | None
    replaces: Path | None
    camera: str
    model_id: str
    gain_db: float | None
    ready_at: float
    started_at: float | None
    finished_at: float | None
    due_at: float
    owner: str
    suspect: bool
    crashes: int
    pixels: str
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """A file that it is of; where there is none, its content."""
        return str(self.paths[0]) if self.paths else self.digest[:12]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """An output as it was made, or `edited` since: its bytes, and when it was written to, in ns.

    Digests: of its `picture` as it is encoded in the file, and of the mosaic's `pixels`, where that is known.
    """

    size: int
    mtime_ns: int
    picture: str
    pixels: str = ""
    edited: bool = False


@dataclass(frozen=True, slots=True)
class KeptOutput:
    """The output of a job that is done; `written` is None where an earlier version has not noted it."""

    job: int
    digest: str
    output: Path
    source: Path
    written: Fingerprint | None


@dataclass(frozen=True, slots=True)
class JobResult:
    """What was made in a job: where its output is (None: nowhere) and how, by which model, of which camera.

    `pixels` is a digest of the mosaic that was read; `gain_db` the estimate of how much was gained.
    """

    output: Path | None
    written: Fingerprint | None = None
    camera: str = ""
    model_id: str = ""
    gain_db: float | None = None
    pixels: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """Figures of a ledger; latencies in seconds from settled to done, None where nothing is done."""

    counts: dict[State, int]
    done_last_hour: int
    done_last_day: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    oldest_waiting_s: float | None
    attempts: int
