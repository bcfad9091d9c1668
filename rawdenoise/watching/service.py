"""The watched folder as a service: events and scans in, denoised files out, whatever happens in between.

One thread watches: it takes hints of what happened, scans, waits until files have settled, and hands out
jobs. Events are hints only, the truth is a scan; what is to be done, and what was done, stands in the ledger.
So a process may die at any instruction: whatever it had begun is done again by the next, and found done where
its output was already whole.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rawdenoise.app.stores import Stores
from rawdenoise.errors import Stop
from rawdenoise.watching.clocks import Clock, now
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.digester import Digester
from rawdenoise.watching.events import HintQueue
from rawdenoise.watching.housekeeping import Housekeeping
from rawdenoise.watching.inspector import Inspector
from rawdenoise.watching.late_sidecars import LateSidecars
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.database import LedgerBrokenError, LedgerError
from rawdenoise.watching.output_rounds import Rounds
from rawdenoise.watching.reports import Report
from rawdenoise.watching.root_watcher import RootWatcher
from rawdenoise.watching.scheduler import Scheduler
from rawdenoise.watching.trainer import Trainer
from rawdenoise.watching.watch_context import ServiceContext

TICK_S = 2.0  # at most, between two looks at the ledger and at signals
LEDGER_S = 2.0
REPEAT_S = 30.0  # until it is said again that the ledger refuses
STOP_S = 7.0  # for what is under way when the service is to stop


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to watch: `once` until all is done, and before that `redo` or `verify` what was done before."""

    once: bool = False
    redo: bool = False
    verify: bool = False


class Service:
    """Watches roots until it is told to stop, or with `once` until nothing is left to do.

    After it has run, `hangs` says whether a thread is still in a call that does not return.
    """

    def __init__(
        self, config: WatchConfig, stores: Stores, ledger: Ledger, report: Report,
        options: RunOptions = RunOptions(), clock: Clock = now,
    ) -> None:  # fmt: skip
        self._config, self._report, self._clock = config, report, clock
        self._once, self._redo, self._verify = options.once, options.redo, options.verify
        self.hangs = False
        self._hints, self._stopping = HintQueue(), threading.Event()
        self._stop: Stop = self._stopping.is_set
        self._reloads: deque[WatchConfig] = deque()
        self._watchers: list[RootWatcher] = []
        self._skipped: list[Path] = []  # folders in which nothing arrives, without links
        self._refused_at: float | None = None  # by the ledger
        self._context = ServiceContext(ledger, report, clock, self._stopping.is_set, self._hints.wake)
        singles = [ThreadPoolExecutor(1, name) for name in ("network", "digest", "sidecar", "output")]
        self._pools = ThreadPoolExecutor(config.jobs, "file"), *singles
        files, network, digests, sidecars, outputs = self._pools
        self._digester = Digester(self._context, digests, config.jobs)
        self._sidecars = LateSidecars(self._context, sidecars)
        self._scheduler = Scheduler(config, stores, self._context, files, network)
        inspector = Inspector(ledger, report, self._stopping.is_set, clock)
        self._rounds = Rounds(inspector, config.state, outputs, self._hints.wake, clock)
        self._trainer = Trainer(config, ledger, report)
        self._housekeeping = Housekeeping(self._context, config.state)

    def reload(self, config: WatchConfig) -> None:
        """Go on with other roots and recipes; what is under way ends as it was begun. For any thread."""
        self._reloads.append(config)
        self._hints.wake()

    def run(self, stop: Stop) -> int:
        """Watch until `stop` answers true, which is within ten seconds; give the exit code.

        0; with `once` 1 if anything failed, or is waiting for a disk or a folder.
        """
        self._stop = stop
        try:
            self._begin(self._config.roots, "started", jobs=self._config.jobs)
            while not stop():
                try:
                    self._step()
                    if self._once and self._is_drained():
                        break
                    for source, hint in self._hints.listen(self._pause(), stop):
                        for watcher in self._watchers:
                            if watcher.root.source == source:
                                watcher.heed(hint, self._skipped, self._interrupt)
                except LedgerError as error:
                    self._wait_for_ledger(error)
            return self._exit_code()
        finally:
            self._end()

    # ------------------------------------------------------------ one turn

    def _step(self) -> None:
        now = self._clock().steady
        while self._reloads:
            self._begin(self._reloads.popleft().roots, "reloaded")
        for watcher in self._watchers:
            if now >= watcher.next_scan:
                watcher.scan(self._skipped, self._interrupt)
            watcher.take_settled()
        self._scheduler.renew(now)
        self._housekeeping.step(self._watchers, now)
        # What has ended first: only then is there room for more, and nothing else will tell of it.
        self._scheduler.collect(self._watchers)
        self._sidecars.step(self._watchers)
        self._digester.step(self._watchers)
        self._scheduler.hand_out(self._watchers)
        self._rounds.step(
            [(watcher.root, watcher.output.round) for watcher in self._list_ready()],
            idle=self._is_idle() and not self._once,
        )
        if not self._once:
            self._trainer.step(now, idle=self._is_idle())
        self._housekeeping.beat(self._describe)

    def _pause(self) -> float:
        """Seconds until there is something to do that no event will tell of."""
        now = self._clock().steady
        dues = [watcher.next_scan for watcher in self._watchers]
        dues += [due for watcher in self._watchers if (due := watcher.tracker.next_due()) is not None]
        return min(TICK_S, max(0.0, min(dues, default=now + TICK_S) - now))

    def _interrupt(self) -> bool:
        """Say amid a long scan that the service is alive; whether it is to stop."""
        self._housekeeping.beat(self._describe)
        return self._stop()

    def _wait_for_ledger(self, error: LedgerError) -> None:
        """Wait for its disk: what was not told is found by the next scan."""
        if self._once or isinstance(error, LedgerBrokenError):
            raise error
        if self._refused_at is None or time.monotonic() - self._refused_at > REPEAT_S:
            self._report.say("waiting", reason=str(error))
        self._refused_at = time.monotonic()
        time.sleep(LEDGER_S)

    # ------------------------------------------------------------ roots

    def _begin(self, roots: tuple[Root, ...], event: str, **fields: int) -> None:
        """Watch these roots, keeping what is known of those that are watched already and are as they were."""
        self._config = replace(self._config, roots=roots)
        self._trainer.configure(self._config)
        failed = [root.failed_dir for root in roots if root.failed_dir is not None]
        skipped = [*(root.output for root in roots), *failed, self._config.state]
        self._skipped = [Path(os.path.realpath(folder)) for folder in skipped]
        before = {watcher.root: watcher for watcher in self._watchers}
        for root, watcher in before.items():
            if root not in roots:
                watcher.stop_events()
        self._watchers = [before.get(root) or self._watch(root) for root in roots]
        if self._redo:
            self._redo = False
            for root in roots:
                self._report.say("redo", root=str(root.source), jobs=self._scheduler.redo(root))
            for watcher in self._watchers:
                watcher.output.round.again = True
        if self._verify:
            self._verify = False
            for watcher in self._watchers:
                watcher.output.round.again = watcher.output.round.verify = True
        self._report.say(event, roots=[str(root.source) for root in roots], **fields)

    def _watch(self, root: Root) -> RootWatcher:
        return RootWatcher(root, self._context, None if self._once else partial(self._hints.put, root.source))

    def _list_ready(self) -> list[RootWatcher]:
        """Give those whose captures and outputs are both to be had."""
        return [watcher for watcher in self._watchers if not (watcher.output.waiting or watcher.gone)]

    # ------------------------------------------------------------ how it stands

    def _describe(self) -> dict[str, object]:
        """What the heartbeat tells."""
        arrived = sum(len(watcher.arrived) for watcher in self._watchers)
        return {
            "roots": [watcher.describe() for watcher in self._watchers],
            "arrived": arrived + len(self._digester.futures),
            "running": [job.name for job in self._scheduler.running.values()],
            "training": self._trainer.camera or None,
        }

    def _is_idle(self) -> bool:
        writable = (watcher for watcher in self._watchers if not watcher.output.waiting)
        under_way = self._scheduler.running or self._digester.futures
        return not under_way and not any(watcher.arrived for watcher in writable)

    def _is_drained(self) -> bool:
        """With `once`: whether nothing is left that could be done now."""
        if not self._is_idle() or self._rounds.futures or self._sidecars.futures:
            return False
        if any(watcher.output.round.is_due or watcher.new_sidecars for watcher in self._list_ready()):
            return False
        now = self._clock()
        trackers = [watcher.tracker for watcher in self._watchers]
        if any((due := tracker.next_due()) is not None and due <= now.steady for tracker in trackers):
            return False
        if any(len(tracker) > tracker.restless for tracker in trackers):
            return False
        writable = [watcher.root for watcher in self._watchers if not watcher.output.waiting]
        jobs = self._context.ledger.jobs
        return not any(
            jobs.count_due([root.output], self._clock(), source=root.source, most=1) for root in writable
        )

    def _exit_code(self) -> int:
        if not self._once:
            return 0
        outputs = {watcher.root.output for watcher in self._watchers}
        left = self._context.ledger.jobs.count_unfinished(outputs)
        waits = any(
            watcher.gone or watcher.output.waiting or watcher.unreadable for watcher in self._watchers
        )
        return int(bool(left) or waits)

    def _end(self) -> None:
        """Give up what is under way, within seconds, and leave nothing of it."""
        until = time.monotonic() + STOP_S
        self._stopping.set()
        self._trainer.terminate()
        for watcher in self._watchers:
            watcher.stop_events()
        under_way: set[Future[Any]] = {
            *self._scheduler.running, *self._digester.futures, *self._rounds.futures, *self._sidecars.futures
        }  # fmt: skip
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        _, hanging = wait(under_way, timeout=max(0.0, until - time.monotonic()))
        self.hangs = bool(hanging)
        self._trainer.stop()
        with suppress(LedgerError):  # then they are reclaimed by the next
            self._scheduler.collect(self._watchers)
            self._scheduler.give_up()
        self._housekeeping.end()
        self._report.say("stopped")
