"""A small file that says the service is alive, and at what."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from rawdenoise.atomic import write_bytes
from rawdenoise.errors import OutputError

BEAT_S = 10.0
FOLDER = "heartbeats"


class Heartbeat:
    """One file a service, `heartbeats/OWNER.json` in the state folder, written anew every ten seconds."""

    def __init__(self, state: Path, owner: str) -> None:
        self.path = state / FOLDER / f"{owner}.json"
        self._began = time.time()
        self._last = -BEAT_S

    def beat(self, now: float, state: Callable[[], dict[str, object]]) -> None:
        """Write it if it is time to; `now` is a clock that never goes back."""
        if now - self._last < BEAT_S:
            return
        self._last = now
        told = {
            "owner": self.path.stem,
            "pid": os.getpid(),
            "started": self._began,
            "time": time.time(),
            **state(),
        }
        with suppress(OutputError):  # a full disk: the time in the file gets old, and that is what it tells
            write_bytes(self.path, json.dumps(told, indent=2).encode() + b"\n")

    def end(self) -> None:
        """Remove it: the service has ended as it should."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def heartbeat_owners(state: Path) -> list[str]:
    """Whose heartbeats there are, of the living and the dead."""
    return [path.stem for path in (state / FOLDER).glob("*.json")]


def forget_heartbeat(state: Path, owner: str) -> None:
    """Remove the heartbeat of a service that is no more."""
    with suppress(OSError):
        (state / FOLDER / f"{owner}.json").unlink(missing_ok=True)


def heartbeats(state: Path) -> Iterator[dict[str, object]]:
    """Give what each service with this state folder said last, the newest first."""
    found = []
    for path in (state / FOLDER).glob("*.json"):
        with suppress(OSError, ValueError):
            found.append(json.loads(path.read_bytes()))
    yield from sorted(found, key=lambda told: -told["time"])
