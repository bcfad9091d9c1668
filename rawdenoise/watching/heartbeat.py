"""A small file that says the service is alive, and at what."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rawdenoise.atomic import write_bytes
from rawdenoise.errors import OutputError
from rawdenoise.watching.clocks import Clock, Moment, now

BEAT_S = 10.0
OVERDUE_S = 4 * BEAT_S
HEARTBEATS_FOLDER = "heartbeats"


@dataclass(frozen=True, slots=True)
class RootBeat:
    """What a service says of one of its folders; `waiting` is why nothing is written, if so."""

    source: str
    output: str
    mode: str
    files: int
    waiting: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a service said last: for how long it has run, how long ago it said so, and what it is at."""

    owner: str
    pid: int
    age_s: float
    silent_s: float
    roots: tuple[RootBeat, ...] = ()
    training: str = ""

    @property
    def is_overdue(self) -> bool:
        """Whether it should have said something long ago."""
        return self.silent_s > OVERDUE_S


class Heartbeat:
    """One file a service, `heartbeats/OWNER.json` in the state folder, written anew every ten seconds."""

    def __init__(self, state: Path, owner: str, clock: Clock = now) -> None:
        self.path = state / HEARTBEATS_FOLDER / f"{owner}.json"
        self._clock = clock
        self._began = clock()
        self._last = -BEAT_S

    def beat(self, state: Callable[[], dict[str, object]]) -> None:
        """Write it if it is time to."""
        at = self._clock()
        if at.steady - self._last < BEAT_S:
            return
        self._last = at.steady
        fields = {
            "owner": self.path.stem,
            "pid": os.getpid(),
            "started": self._began.wall,
            "time": at.wall,
            "steady": at.steady,
            "running_s": at.steady - self._began.steady,
            **state(),
        }
        with suppress(OutputError):  # a full disk: the time in the file gets old, and that is what it tells
            write_bytes(self.path, json.dumps(fields, indent=2).encode() + b"\n")

    def end(self) -> None:
        """Remove it: the service has ended as it should."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def list_heartbeat_owners(state: Path) -> list[str]:
    """Whose heartbeats there are, of the living and the dead."""
    return [path.stem for path in (state / HEARTBEATS_FOLDER).glob("*.json")]


def forget_heartbeat(state: Path, owner: str) -> None:
    """Remove the heartbeat of a service that is no more."""
    with suppress(OSError):
        (state / HEARTBEATS_FOLDER / f"{owner}.json").unlink(missing_ok=True)


def heartbeats(state: Path, at: Moment) -> list[Beat]:
    """Give what each service with this state folder said last, the newest first; no other files."""
    beats = []
    for path in (state / HEARTBEATS_FOLDER).glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            beats.append(_parse(path.stem, json.loads(path.read_bytes()), at))
    return sorted(beats, key=lambda beat: beat.silent_s)


def _parse(owner: str, fields: dict[str, Any], at: Moment) -> Beat:
    """Understand one; ages are by the steady clock, for the other may have been set since."""
    silent_s = at.steady - float(fields["steady"])
    if silent_s < 0:  # the machine was started since
        silent_s = max(0.0, at.wall - float(fields["time"]))
    roots = tuple(
        RootBeat(
            str(root["source"]), str(root["output"]), str(root["mode"]), int(root["files"]),
            str(root.get("waiting") or ""),
        )
        for root in fields.get("roots", ())
    )  # fmt: skip
    age_s = float(fields["running_s"]) + silent_s
    return Beat(owner, int(fields["pid"]), age_s, silent_s, roots, str(fields.get("training") or ""))
