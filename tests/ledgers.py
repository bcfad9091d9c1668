"""A ledger, and what is done with it, for its tests: by a clock of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rawdenoise.files.sources import Signature
from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import JobResult, QueuedJob

OUT = Path("/out")
PHOTO = Path("/in/IMG_0001.CR2")
LEASE_S = 60.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as opened:
        yield opened


def at(seconds: float) -> Moment:
    """A moment by two clocks that have nothing to do with each other."""
    return Moment(1e9 + seconds, seconds)


def wall(seconds: float) -> float:
    return at(seconds).wall


def signature(content: str) -> Signature:
    return Signature(len(content), hash(content) % 2**62, 7, 1)


def settle(
    ledger: Ledger, content: str, now: float = 0.0, path: Path = PHOTO, out: Path = OUT, recipe: str = "r1"
) -> QueuedJob:
    return ledger.files.settle(path, out, signature(content), content, recipe, at(now))


def lease(ledger: Ledger, now: float = 0.0) -> QueuedJob:
    job = ledger.jobs.lease([OUT], at(now), LEASE_S)
    assert isinstance(job, QueuedJob)
    return job


def do(ledger: Ledger, content: str, output: Path = OUT / "IMG_0001.dng", path: Path = PHOTO) -> QueuedJob:
    settle(ledger, content, path=path)
    job = lease(ledger)
    assert ledger.jobs.claim(job, output)
    assert ledger.jobs.finish(
        job, at(1.0), JobResult(output=output, camera="Canon", model_id="base-1", gain_db=6.0)
    )
    return the(ledger, job)


def the(ledger: Ledger, job: QueuedJob) -> QueuedJob:
    (found,) = ledger.jobs.select(ids=(job.id,))
    return found
