"""From settled to ready: the content of what has arrived is digested, and told to the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

from rawdenoise.app.batch import explain_failure
from rawdenoise.errors import RawDenoiseError
from rawdenoise.files.sources import Signature, SourceChangedError, digest_of
from rawdenoise.watching.ledger.records import State
from rawdenoise.watching.root_watcher import RootWatcher
from rawdenoise.watching.watch_context import ServiceContext

JOBS_AHEAD = (
    4  # jobs ready for each worker before files are digested no further: they are read while still cached
)
FILES_OF_EACH_ROOT = 2  # files at a time


class Digester:
    """Digests what has settled, not far ahead of what `jobs` workers denoise."""

    def __init__(self, context: ServiceContext, pool: Executor, jobs: int) -> None:
        self._context, self._pool, self._most = context, pool, JOBS_AHEAD * jobs
        self.futures: dict[Future[str], tuple[RootWatcher, Path, Signature]] = {}

    def step(self, watchers: Sequence[RootWatcher]) -> None:
        """Take what was digested, and digest more where there is room for it."""
        for future in [future for future in self.futures if future.done()]:
            self._settle(future, *self.futures.pop(future))
        for watcher in watchers:  # each root for itself: one that cannot be written to stops no other
            under_way = sum(other is watcher for other, _, _ in self.futures.values())
            while watcher.arrived and under_way < FILES_OF_EACH_ROOT and not self._is_ahead(watcher):
                under_way += 1
                path, signature = watcher.arrived.popleft()
                future = self._context.submit(self._pool, digest_of, path, signature, self._context.stopped)
                self.futures[future] = (watcher, path, signature)

    def _is_ahead(self, watcher: RootWatcher) -> bool:
        if watcher.output.waiting:
            return True
        root, now = watcher.root, self._context.clock()
        jobs = self._context.ledger.jobs
        return jobs.count_due([root.output], now, source=root.source, most=self._most) >= self._most

    def _settle(self, future: Future[str], watcher: RootWatcher, path: Path, signature: Signature) -> None:
        context, root = self._context, watcher.root
        try:
            digest = future.result()
        except SourceChangedError:
            watcher.tracker.note(path, context.clock().steady)
            return
        except RawDenoiseError as error:
            # Busy, or not ours to read: as long as it is there, each scan brings it again.
            if path not in watcher.unreadable:
                watcher.unreadable.add(path)
                context.report.say("refused", source=str(path), reason=explain_failure(error, path))
            return
        watcher.unreadable.discard(path)
        if not digest:  # given up, since the service stops
            return
        job = context.ledger.files.settle(
            path, root.output, signature, digest, root.recipe.digest, context.clock()
        )
        watcher.known[path] = signature
        if job.state is State.DONE:
            output = None if job.output is None else str(job.output)
            context.report.say("known", source=str(path), output=output)
