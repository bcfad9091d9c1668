"""When outputs are looked at again: after each scan, and their contents a little at a time, once a day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rawdenoise.atomic import remove_abandoned
from rawdenoise.watching.clocks import Clock
from rawdenoise.watching.config import Root
from rawdenoise.watching.inspector import Inspector
from rawdenoise.watching.ledger.database import LedgerError

DAY_S = 86400.0
REST_FACTOR = 9.0  # times what reading took: so long it rests, as not to keep a disk busy for ever
NOTHING_TO_READ_S = 600.0


@dataclass(slots=True, eq=False)
class Round:
    """What is to be looked at of one root's outputs.

    `again` says that what is gone is made again, this once, though it is left as a rule.
    """

    inspect: bool = False
    verify: bool = False
    again: bool = False
    swept: bool = False
    read_next: float = 0.0

    @property
    def is_due(self) -> bool:
        """Whether something was asked for, not only what is done now and then."""
        return self.inspect or self.verify


class Rounds:
    """Has an inspector look at outputs in a thread, at one root at a time; `wake` is called when it has."""

    def __init__(
        self, inspector: Inspector, state: Path, pool: Executor, wake: Callable[[], None], clock: Clock
    ) -> None:
        self._inspector, self._state, self._pool, self._wake, self._clock = (
            inspector, state, pool, wake, clock
        )  # fmt: skip
        self._under_way: tuple[Round, float | None, Future[int]] | None = None

    @property
    def futures(self) -> list[Future[int]]:
        """What is under way."""
        return [] if self._under_way is None else [self._under_way[-1]]

    def step(self, ready: Sequence[tuple[Root, Round]], *, idle: bool) -> None:
        """Begin with what is most urgent, if nothing is under way; `ready` are roots with their outputs."""
        now = self._clock().steady
        if self._under_way is not None:
            round, began, future = self._under_way
            if not future.done():
                return
            self._under_way = None
            number = self._take_result(future)
            if began is not None:
                round.read_next = now + (REST_FACTOR * (now - began) if number else NOTHING_TO_READ_S)
        for root, round in ready:
            if round.inspect:
                again = round.again or root.lost == "again"
                sweeps = () if round.swept else self._list_folders(root)
                round.inspect, round.swept, round.again = False, True, round.verify
                self._begin(round, partial(self._sweep_and_inspect, root, sweeps, again=again), None)
                return
        for root, round in ready:
            if round.verify:
                round.verify = round.again = False
                since = self._clock().wall
                self._begin(round, partial(self._inspector.read, root, since, again=True, all=True), now)
                return
        for root, round in ready if idle else ():
            if now >= round.read_next:
                again, since = root.lost == "again", self._clock().wall - DAY_S
                self._begin(round, partial(self._inspector.read, root, since, again=again), now)
                return

    def _begin(self, round: Round, look: Callable[[], int], reads_since: float | None) -> None:
        future = self._pool.submit(look)
        future.add_done_callback(lambda _: self._wake())
        self._under_way = round, reads_since, future

    def _take_result(self, future: Future[int]) -> int:
        """Take what a look has given; one that failed where nobody expects it stops no other."""
        try:
            return future.result()
        except LedgerError:
            raise
        except Exception as error:
            self._inspector.report.say("refused", reason=f"outputs were not looked at: {error!r}")
            return 0

    def _list_folders(self, root: Root) -> tuple[Path, ...]:
        """The folders in which processes that died may have left something."""
        failed = () if root.failed_dir is None else (root.failed_dir,)
        return (root.output, self._state, *failed)

    def _sweep_and_inspect(self, root: Root, sweeps: Sequence[Path], *, again: bool) -> int:
        for folder in sweeps:
            remove_abandoned(folder, recursive=True)
        return self._inspector.inspect(root, again=again)
