"""What has to be done now and then, whatever arrives: a sign of life, and what the dead have left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rawdenoise.atomic import remove_abandoned
from rawdenoise.watching.heartbeat import Heartbeat, forget_heartbeat, list_heartbeat_owners
from rawdenoise.watching.ledger.requests import CLEARED_FACT
from rawdenoise.watching.root_watcher import RootWatcher
from rawdenoise.watching.watch_context import ServiceContext

RECLAIM_S = 5.0


class Housekeeping:
    """Keeps house in a state folder that other services may share."""

    def __init__(self, context: ServiceContext, state: Path) -> None:
        self._context, self._state = context, state
        self._heartbeat = Heartbeat(state, context.ledger.owner, context.clock)
        self._cleared = context.ledger.facts.get(CLEARED_FACT)
        self._last = 0.0

    def step(self, watchers: Sequence[RootWatcher], now: float) -> None:
        """Look after events, files that were cleared, and what services that are dead have left."""
        if now - self._last < RECLAIM_S and self._last:
            return
        self._last = now
        for watcher in watchers:
            watcher.check_events(now)
        self._forget_dead()
        cleared = self._context.ledger.facts.get(CLEARED_FACT)
        if cleared != self._cleared:
            self._cleared = cleared
            for watcher in watchers:
                watcher.look_anew(now)
        self._reclaim()

    def beat(self, describe: Callable[[], dict[str, object]]) -> None:
        """Say that the service is alive, if it is time to."""
        self._heartbeat.beat(describe)

    def end(self) -> None:
        """Say that it has ended as it should."""
        self._heartbeat.end()

    def _forget_dead(self) -> None:
        ledger = self._context.ledger
        for owner in list_heartbeat_owners(self._state):
            if owner != ledger.owner and ledger.owners.is_dead(owner):
                forget_heartbeat(self._state, owner)

    def _reclaim(self) -> None:
        for job in self._context.ledger.jobs.reclaim(self._context.clock()):
            if job.output is not None:
                remove_abandoned(job.output.parent)
            self._context.report.say("reclaimed", source=job.name, attempts=job.attempts)
