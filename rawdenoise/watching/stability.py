"""When an arriving file is whole: nothing has happened to it for the settle time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from rawdenoise.files.sources import Signature, signature_of

EMPTY_S = 60.0
"""An empty file is looked at again at least this often: some cameras make files long before filling them."""
FIRST_EMPTY_S = 1.0


@dataclass(slots=True)
class _Candidate:
    """A file on its way: due when it has been as `signature` for long enough; `ticket` is its heap entry."""

    due: float
    signature: Signature | None  # None: moved in, so there is nothing to compare with
    wait: float  # how long to leave it alone if it is still empty, seconds
    ticket: int = -1


class StabilityTracker:
    """Files that something happened to, until they have been left alone for `settle_s` seconds.

    It has no clock: `now` is any clock that never goes back, in seconds. Only changes count, not what time a
    file says it is of. A call costs as much as there is to do in it, however many files are waiting.
    """

    def __init__(self, settle_s: float, look: Callable[[Path], Signature | None] = signature_of) -> None:
        self._settle_s = settle_s
        self._first_wait = max(settle_s, FIRST_EMPTY_S)
        self._look = look
        self._candidates: dict[Path, _Candidate] = {}
        self._heap: list[tuple[float, int, Path]] = []
        self._tickets = count()
        self._restless: set[Path] = set()

    def note(self, path: Path, now: float) -> None:
        """Something happened to the file: its time begins (again); one that is gone drops out."""
        signature = self._look(path)
        if signature is None:
            self.forget(path)
        else:
            self._begin(path, signature, now)

    def note_scan(self, path: Path, signature: Signature, now: float) -> None:
        """A scan came by the file: its time begins, unless it is waiting already and is as it was."""
        waiting = self._candidates.get(path)
        if waiting is None or waiting.signature not in (None, signature):
            self._begin(path, signature, now)

    def note_move(self, path: Path, now: float) -> None:
        """It was renamed into place, whole: due at once, unless it turns out to be empty."""
        self._set(path, _Candidate(now, None, self._first_wait))

    def forget(self, path: Path) -> None:
        """Drop a file."""
        self._candidates.pop(path, None)
        self._restless.discard(path)

    def take_settled(self, now: float, most: int | None = None) -> list[tuple[Path, Signature]]:
        """Give, once, the files that have been left alone for long enough, the longest waiting first.

        What has changed unnoticed begins again, what is gone drops out, what is empty goes on waiting. No
        more than `most` are looked at; the others are due at once.
        """
        whole: list[tuple[Path, Signature]] = []
        for path in self._take_due(now, most):
            candidate = self._candidates[path]
            signature = self._look(path)
            if signature is None:
                self.forget(path)
            elif candidate.signature not in (None, signature):
                self._begin(path, signature, now)
                self._restless.add(path)
            elif signature.size == 0:
                wait = max(self._settle_s, min(2 * candidate.wait, EMPTY_S))
                self._set(path, _Candidate(now + candidate.wait, signature, wait))
                self._restless.add(path)
            else:
                self.forget(path)
                whole.append((path, signature))
        return whole

    def next_due(self) -> float | None:
        """Tell when `take_settled` will next have something to look at; None if nothing is waiting."""
        return self._heap[0][0] if self._trim() else None

    @property
    def restless(self) -> int:
        """How many were found changed, or empty, when their time had come: they are still being written."""
        return len(self._restless)

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, path: object) -> bool:
        return path in self._candidates

    def _begin(self, path: Path, signature: Signature, now: float) -> None:
        self._set(path, _Candidate(now + self._settle_s, signature, self._first_wait))

    def _set(self, path: Path, candidate: _Candidate) -> None:
        """Keep one heap entry a file: one that comes too early is put back by `_trim`, when its time comes.

        So a file written in a million pieces costs a million looks, not a million entries.
        """
        before = self._candidates.get(path)
        if before is not None and before.ticket >= 0 and before.due <= candidate.due:
            candidate.ticket = before.ticket
        self._candidates[path] = candidate
        if candidate.ticket < 0:
            self._queue(path, candidate)

    def _queue(self, path: Path, candidate: _Candidate) -> None:
        candidate.ticket = next(self._tickets)
        heapq.heappush(self._heap, (candidate.due, candidate.ticket, path))

    def _take_due(self, now: float, most: int | None) -> list[Path]:
        """Take out all that is due before any is put back: with no settle time that is due at once again."""
        due: list[Path] = []
        while self._trim() and self._heap[0][0] <= now and (most is None or len(due) < most):
            _, _, path = heapq.heappop(self._heap)
            self._candidates[path].ticket = -1
            due.append(path)
        return due

    def _trim(self) -> bool:
        """Make the first heap entry a true one; False if nothing is waiting."""
        while self._heap:
            due, ticket, path = self._heap[0]
            candidate = self._candidates.get(path)
            if candidate is not None and candidate.ticket == ticket and candidate.due == due:
                return True
            heapq.heappop(self._heap)
            if candidate is not None and candidate.ticket == ticket:
                self._queue(path, candidate)
        return False
