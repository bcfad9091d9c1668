"""How the watchers of a state folder stand, and what is known of their jobs, for people and programs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rawdenoise.watching.clocks import Moment, now
from rawdenoise.watching.heartbeat import Beat, heartbeats
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import LedgerStats, QueuedJob, State

MOST_SHOWN = 8  # jobs of a state


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """The watchers that live, the figures, and the newest jobs that run, were given up or failed."""

    folder: Path
    watchers: tuple[Beat, ...]
    stats: LedgerStats
    jobs: tuple[QueuedJob, ...]


def read_status(ledger: Ledger) -> WatchStatus:
    """Sum up a ledger and the heartbeats beside it."""
    at = now()
    watchers = tuple(beat for beat in heartbeats(ledger.folder, at) if not ledger.owners.is_dead(beat.owner))
    jobs = tuple(
        job
        for state in (State.RUNNING, State.QUARANTINED, State.FAILED)
        for job in ledger.jobs.select(states=(state,), limit=MOST_SHOWN)
    )
    return WatchStatus(ledger.folder, watchers, ledger.figures.sum_up(at.wall), jobs)


def list_captures(ledger: Ledger, states: Collection[State], limit: int) -> list[dict[str, Any]]:
    """Give what is known of captures in these states, as JSON has it: not settled ones, then the newest jobs.

    Of each at most `limit`.
    """
    unsettled = ledger.files.list_unsettled(limit) if State.SEEN in states else []
    jobs = ledger.jobs.select([state for state in states if state is not State.SEEN], limit)
    at = now()
    return [
        *({"state": "seen", "paths": [str(path)], "seen_at": seen_at} for path, seen_at in unsettled),
        *(describe_job(job, at) for job in jobs),
    ]


def describe_job(job: QueuedJob, at: Moment) -> dict[str, Any]:
    """Give what is known of a job, as JSON has it; times in seconds since 1970."""
    waits = job.state in (State.READY, State.FAILED)
    return {
        "id": job.id,
        "state": str(job.state),
        "paths": [str(path) for path in job.paths],
        "output": None if job.output is None else str(job.output),
        "reason": job.reason,
        "attempts": job.attempts,
        "camera": job.camera,
        "model": job.model_id,
        "gain_db": job.gain_db,
        "sha256": job.digest,
        "recipe": job.recipe,
        "ready_at": job.ready_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "due_at": round(at.wall + max(0.0, job.due_at - at.steady)) if waits else None,
        "suspect": job.suspect,
        "crashes": job.crashes,
    }


def describe_stats(stats: LedgerStats) -> dict[str, Any]:
    """Give the figures of a ledger, as JSON has them: one of each state, and the others by their names."""
    figures = {name: getattr(stats, name) for name in stats.__slots__ if name != "counts"}
    return {**{str(state): count for state, count in stats.counts.items()}, **figures}
