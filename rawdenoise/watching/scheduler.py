"""Which job is done next, by whom, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future

from rawdenoise.app.stores import Stores
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.denoise_worker import JobOutcome, Worker
from rawdenoise.watching.ledger.records import QueuedJob, Wait
from rawdenoise.watching.root_watcher import RootWatcher
from rawdenoise.watching.watch_context import ServiceContext

LEASE_S = 120.0
RENEW_S = 20.0


class Scheduler:
    """Hands out jobs to a pool of `files`, one of which is in the `network` at a time, and collects them."""

    def __init__(
        self, config: WatchConfig, stores: Stores, context: ServiceContext, files: Executor,
        network: Executor,
    ) -> None:  # fmt: skip
        self._context, self._files, self._network, self._most = context, files, network, config.jobs
        self._worker = Worker(config, stores, context.ledger, context.stopped, context.clock)
        self._next = 0  # of the roots, to be given work
        self._renewed = 0.0
        self.running: dict[Future[JobOutcome], QueuedJob] = {}

    def redo(self, root: Root) -> int:
        """Make due again what another recipe or an older model has done; tells how many."""
        return self._worker.redo(root)

    def hand_out(self, watchers: Sequence[RootWatcher]) -> None:
        """Give free workers jobs of one root after the other, beginning after the one that had the last.

        What may be what a process died of is run alone: then a good capture is not under way with a bad one
        each time, and not given up for it.
        """
        if any(job.suspect for job in self.running.values()):
            return
        for watcher in [*watchers[self._next :], *watchers[: self._next]]:
            while len(self.running) < self._most and watcher.output.is_writable():
                job = self._lease(watcher.root)
                if job is Wait.ALONE:
                    return
                if not isinstance(job, QueuedJob):
                    break
                self._next = (watchers.index(watcher) + 1) % len(watchers)
                future = self._context.submit(
                    self._files, self._worker.work, job, watcher.root, self._network, watcher.shots
                )
                self.running[future] = job
                if job.suspect:
                    return

    def _lease(self, root: Root) -> QueuedJob | Wait | None:
        now, alone = self._context.clock(), not self.running
        return self._context.ledger.jobs.lease([root.output], now, LEASE_S, source=root.source, alone=alone)

    def renew(self, now: float) -> None:
        """Go on holding what is under way."""
        if now - self._renewed >= RENEW_S:
            self._renewed = now
            self._context.ledger.jobs.renew(self._context.clock(), LEASE_S)

    def collect(self, watchers: Sequence[RootWatcher]) -> None:
        """Report what has ended, and tell those who watch its output folder."""
        for future in [future for future in self.running if future.done()]:
            job = self.running.pop(future)
            outcome = future.result()
            if outcome.event:
                self._context.report.say(outcome.event, **outcome.fields)
            for watcher in watchers:
                if watcher.root.output == job.output_root:
                    watcher.learn(outcome)

    def give_up(self) -> None:
        """Give back what hangs in a system call: its output is a temporary file yet."""
        for job in self.running.values():
            self._context.ledger.jobs.release(job, self._context.clock(), "given up when the service stopped")
