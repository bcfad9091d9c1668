"""Sidecars that came after their captures were done are copied; earlier ones go with those."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

from rawdenoise.errors import FileError
from rawdenoise.watching.config import Root
from rawdenoise.watching.ledger.database import LedgerError
from rawdenoise.watching.ledger.records import State
from rawdenoise.watching.names import ShotIndex
from rawdenoise.watching.output_mark import check_output
from rawdenoise.watching.root_watcher import RootWatcher
from rawdenoise.watching.sidecar_copies import copy_sidecars
from rawdenoise.watching.watch_context import ServiceContext

SIDECARS_AT_ONCE = 50


class LateSidecars:
    """Has sidecars copied in a thread, those of one root at a time."""

    def __init__(self, context: ServiceContext, pool: Executor) -> None:
        self._context, self._pool = context, pool
        self._under_way: tuple[RootWatcher, Future[list[tuple[Path, str]]]] | None = None

    @property
    def futures(self) -> list[Future[list[tuple[Path, str]]]]:
        """What is under way."""
        return [] if self._under_way is None else [self._under_way[1]]

    def step(self, watchers: Sequence[RootWatcher]) -> None:
        """Take what was copied, and begin with what is next."""
        if self._under_way is not None:
            watcher, future = self._under_way
            if not future.done():
                return
            self._under_way = None
            self._note_refusals(watcher, future.result())
        for watcher in watchers:
            queue = watcher.new_sidecars
            if queue and not watcher.output.waiting:
                some = [queue.popleft() for _ in range(min(len(queue), SIDECARS_AT_ONCE))]
                future = self._context.submit(self._pool, self._copy, watcher.root, watcher.shots, some)
                self._under_way = watcher, future
                return

    def _note_refusals(self, watcher: RootWatcher, results: list[tuple[Path, str]]) -> None:
        for sidecar, refusal in results:
            if not refusal:
                watcher.unreadable.discard(sidecar)
                continue
            watcher.sidecars.pop(sidecar, None)  # the next scan brings it again
            if sidecar not in watcher.unreadable:
                watcher.unreadable.add(sidecar)
                self._context.report.say("refused", source=str(sidecar), reason=refusal)

    def _copy(self, root: Root, shots: ShotIndex, sidecars: list[Path]) -> list[tuple[Path, str]]:
        """Copy these to the outputs of their captures; tells of each why it was refused, if it was."""
        results = []
        for sidecar in sidecars:
            if self._context.stopped():
                break
            try:
                self._copy_one(root, shots, sidecar)
                results.append((sidecar, ""))
            except FileError as error:
                results.append((sidecar, error.reason))
            except LedgerError as error:
                results.append((sidecar, str(error)))
            except OSError as error:
                results.append((sidecar, error.strerror or str(error)))
        return results

    def _copy_one(self, root: Root, shots: ShotIndex, sidecar: Path) -> None:
        for capture in shots.find_captures(sidecar):
            job = self._context.ledger.files.find_job(capture, root.output)
            if job is None or job.state is not State.DONE or job.output is None:
                continue
            check_output(root.output)
            for copied in copy_sidecars(capture, job.output, [sidecar], self._context.ledger):
                self._context.report.say("sidecar", source=str(capture), output=str(copied))
