"""Figures of a ledger: how many, how long, of which camera."""

from __future__ import annotations

from pathlib import Path

from rawdenoise.watching.ledger.database import Database, decode_path, encode_path
from rawdenoise.watching.ledger.records import LedgerStats, State

_MOST_LATENCIES = 10_000  # newest jobs, for latencies


class Figures:
    """Counts jobs and files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count_states(self) -> dict[State, int]:
        """How many jobs are in each state, and files seen."""
        rows = self._database.rows("SELECT state, count(*) FROM jobs GROUP BY 1")
        jobs = {State(state): count for state, count in rows}
        (seen,) = self._database.rows("SELECT count(*) FROM files WHERE job IS NULL")[0]
        return {state: seen if state is State.SEEN else jobs.get(state, 0) for state in State}

    def sum_up(self, now: float) -> LedgerStats:
        """Sum up what was done, how long it took, and what waits."""
        done = "SELECT count(*) FROM jobs WHERE state = ? AND finished_at > ?"
        hour, day = (self._database.rows(done, (State.DONE, now - s))[0][0] for s in (3600, 86400))
        rows = self._database.rows(
            "SELECT finished_at - ready_at FROM jobs WHERE state = ? AND finished_at IS NOT NULL"
            " ORDER BY finished_at DESC LIMIT ?",
            (State.DONE, _MOST_LATENCIES),
        )
        latencies = sorted(max(0.0, latency) for (latency,) in rows)
        (oldest,) = self._database.rows(
            "SELECT min(ready_at) FROM jobs WHERE state IN (?, ?, ?)",
            (State.READY, State.RUNNING, State.FAILED),
        )[0]
        (attempts,) = self._database.rows("SELECT coalesce(sum(attempts), 0) FROM jobs")[0]
        return LedgerStats(
            self.count_states(), hour, day, _quantile(latencies, 0.5), _quantile(latencies, 0.95),
            None if oldest is None else now - oldest, attempts,
        )  # fmt: skip

    def count_cameras(self, model_prefix: str, output_root: Path | None = None) -> dict[str, int]:
        """How many captures of each camera were done (for a folder) by models whose id begins so."""
        root = None if output_root is None else encode_path(output_root)
        rows = self._database.rows(
            "SELECT camera, count(*) FROM jobs WHERE state = ? AND substr(model_id, 1, ?) = ?"
            " AND (? IS NULL OR output_root = ?) GROUP BY camera",
            (State.DONE, len(model_prefix), model_prefix, root, root),
        )
        return dict(rows)

    def list_captures(self, camera: str, model_prefix: str, output_root: Path | None = None) -> list[Path]:
        """Give a file of each of those captures, the newest first."""
        root = None if output_root is None else encode_path(output_root)
        rows = self._database.rows(
            "SELECT min(files.path) FROM jobs JOIN files ON files.job = jobs.id"
            " WHERE state = ? AND camera = ? AND substr(model_id, 1, ?) = ?"
            " AND (? IS NULL OR jobs.output_root = ?) GROUP BY jobs.id ORDER BY jobs.id DESC",
            (State.DONE, camera, len(model_prefix), model_prefix, root, root),
        )
        return [decode_path(path) for (path,) in rows]


def _quantile(values: list[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None
