"""What the parts of one service share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from rawdenoise.errors import Stop
from rawdenoise.watching.clocks import Clock
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.reports import Report

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """The ledger, the report and the clock; `wake` ends the watching thread's wait for something to do.

    `stopped` says that whatever is under way is to be given up.
    """

    ledger: Ledger
    report: Report
    clock: Clock
    stopped: Stop
    wake: Callable[[], None]

    def submit(
        self, pool: Executor, call: Callable[P, T], *arguments: P.args, **options: P.kwargs
    ) -> Future[T]:
        """Have something done in a pool, and the watching thread told when it is."""
        future = pool.submit(call, *arguments, **options)
        future.add_done_callback(lambda _: self.wake())
        return future
