"""Ways in which captures arrive in a watched folder, and somebody who takes its outputs away."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SETTLE_S = 1.0
TOLD_S = 30.0  # after which an output is in the ledger for sure
CUT_TO = 100  # bytes that are left of an output

Way = Callable[[bytes, Path, Path], None]


class Writer(threading.Thread):
    """Brings its captures, one after the other, in its way."""

    def __init__(self, way: Way, captures: list[Path], folder: Path, pace: float, seed: float) -> None:
        super().__init__(daemon=True)
        self._way, self._captures, self._folder, self._pace = way, captures, folder, pace
        self._rng = random.Random(seed)

    def run(self) -> None:
        """Bring them all."""
        for path in self._captures:
            began = time.monotonic()
            self._way(path.read_bytes(), path, self._folder / path.name)
            wait = self._pace * self._rng.uniform(0.5, 1.5) - (time.monotonic() - began)
            time.sleep(max(0.0, wait))


class Thief(threading.Thread):
    """Deletes outputs, or cuts them to 100 bytes, one after the other, for about so many seconds."""

    def __init__(self, output: Path, number: int, seconds: float, seed: float) -> None:
        super().__init__(daemon=True)
        self._output, self._number, self._pause = output, number, seconds / max(number, 1)
        self._rng = random.Random(seed)
        self.stolen: Counter[str] = Counter()

    def run(self) -> None:
        """Steal, but nothing that its maker may not have told yet: what it is would not be known then."""
        for number in range(self._number):
            time.sleep(self._pause)
            with suppress(OSError):
                stats = {path: path.stat() for path in self._output.glob("*.dng")}
                told = time.time() - TOLD_S
                old = [path for path, stat in stats.items() if stat.st_mtime < told and stat.st_size > CUT_TO]
                if old:
                    path = self._rng.choice(sorted(old))
                    path.unlink() if number % 2 else os.truncate(path, CUT_TO)
                    self.stolen[path.name] += 1


def slowly(data: bytes, source: Path, target: Path) -> None:
    """In chunks, with pauses shorter than the settle time."""
    _in_parts(data, target, 4, SETTLE_S / 4)


def renamed(data: bytes, source: Path, target: Path) -> None:
    """Under another name first."""
    unfinished = target.with_name(f"{target.name}.part")
    unfinished.write_bytes(data)
    unfinished.replace(target)


def as_rsync(data: bytes, source: Path, target: Path) -> None:
    """Under a hidden name first."""
    unfinished = target.with_name(f".{target.name}.Xq3Zr7")
    slowly(data, source, unfinished)
    unfinished.replace(target)


def haltingly(data: bytes, source: Path, target: Path) -> None:
    """In two parts, with a pause longer than the settle time: for a while it looks whole."""
    _in_parts(data, target, 2, 1.5 * SETTLE_S)


def linked(data: bytes, source: Path, target: Path) -> None:
    """By a hard link."""
    target.hardlink_to(source)


def again(data: bytes, source: Path, target: Path) -> None:
    """Half of it, deleted, and all of it; or all of it, deleted after a while, and all of it again."""
    whole = hashlib.sha256(data).digest()[0] % 2
    target.write_bytes(data if whole else data[: len(data) // 2])
    time.sleep(1.2 * SETTLE_S if whole else 0.1)
    target.unlink()
    target.write_bytes(data)


WAYS: tuple[Way, ...] = (slowly, renamed, as_rsync, haltingly, linked, again)


def _in_parts(data: bytes, target: Path, count: int, pause_s: float) -> None:
    step = -(-len(data) // count)
    with target.open("wb", buffering=0) as file:
        for start in range(0, len(data), step):
            file.write(data[start : start + step])
            time.sleep(pause_s)
