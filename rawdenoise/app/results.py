"""What became of each file of a batch, and of all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rawdenoise.files.outputs import Standing
from rawdenoise.models.bundled import is_bundled
from rawdenoise.quality.picture_quality import Flag, PictureQuality


class Status(StrEnum):
    """What became of a file."""

    PLANNED = "planned"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one job; `exit_code` is that of `error`, 0 where nothing failed.

    `quality` is the estimate of how much better the picture became, None where there is none. `left` says why
    a picture was left as it was, if it was: the estimate is then of an answer that was not written.
    """

    source: Path
    output: Path | None
    status: Status
    reason: str = ""
    exit_code: int = 0
    camera: str = ""
    model_id: str = ""
    megapixels: float = 0.0
    read_s: float = 0.0
    network_s: float = 0.0
    write_s: float = 0.0
    notes: tuple[str, ...] = ()
    quality: PictureQuality | None = None
    left: str = ""
    error: Exception | None = None
    standing: Standing = Standing.ABSENT
    sidecars: tuple[Path, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Give it as what JSON holds; times in seconds, estimates in dB."""
        known = self.quality if self.quality is not None and self.quality.told else None
        return {
            "source": str(self.source),
            "output": None if self.output is None else str(self.output),
            "status": str(self.status),
            "reason": self.reason or None,
            "exit_code": self.exit_code,
            "camera": self.camera or None,
            "model": self.model_id or None,
            "megapixels": round(self.megapixels, 6),
            "read_s": round(self.read_s, 4),
            "network_s": round(self.network_s, 4),
            "write_s": round(self.write_s, 4),
            "psnr_before": None if known is None else round(known.psnr_before, 2),
            "psnr_after": None if known is None else round(known.psnr_after, 2),
            "gain_db": None if known is None else round(known.gain_db, 2),
            "gain_interval": None if known is None else [round(bound, 2) for bound in known.interval],
            "left_as_it_was": self.left or None,
            "standing": str(self.standing),
            "sidecars": [str(path) for path in self.sidecars],
            "flags": [] if self.quality is None else [str(flag) for flag in self.quality.flags],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What became of a batch: how many of each status, by which models, and what should be looked at.

    `stale` outputs were skipped though another recipe, model or source would make them anew; `unknown` ones
    do not say of what they were made. `failures` are the first file and the number of files of each reason.
    """

    counts: Mapping[Status, int]
    megapixels: float
    models: tuple[str, ...]
    bundled_for: tuple[str, ...]
    gains_db: tuple[float, ...]
    left: tuple[Path, ...]
    flagged: Mapping[Flag, tuple[Path, ...]]
    stale: int
    unknown: int
    failures: Mapping[str, tuple[Path, int]]


def summarize(results: Sequence[FileResult]) -> BatchSummary:
    """Put the results of a batch together."""
    done = [result for result in results if result.status is Status.DONE]
    judged = [(result, result.quality) for result in results if result.quality is not None]
    standings = [result.standing for result in results if result.status is Status.SKIPPED]
    failures: dict[str, tuple[Path, int]] = {}
    for result in results:
        if result.status is Status.FAILED:
            first, count = failures.get(result.reason, (result.source, 0))
            failures[result.reason] = first, count + 1
    flagged = {
        flag: tuple(result.source for result, quality in judged if flag in quality.flags) for flag in Flag
    }
    return BatchSummary(
        counts={status: sum(result.status is status for result in results) for status in Status},
        megapixels=sum(result.megapixels for result in done),
        models=tuple(sorted({result.model_id for result in done if result.model_id})),
        bundled_for=tuple(
            sorted({result.camera or "nameless" for result in done if is_bundled(result.model_id)})
        ),
        gains_db=tuple(quality.gain_db for result, quality in judged if quality.told and not result.left),
        left=tuple(result.source for result in done if result.left),
        flagged={flag: sources for flag, sources in flagged.items() if sources},
        stale=sum(standing in (Standing.OTHER_RECIPE, Standing.CHANGED) for standing in standings),
        unknown=standings.count(Standing.UNKNOWN),
        failures=failures,
    )
