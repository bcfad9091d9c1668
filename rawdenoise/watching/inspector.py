"""Looks at outputs again: done means that the output is there, and whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from rawdenoise.errors import Stopped
from rawdenoise.watching.clocks import Clock, now
from rawdenoise.watching.config import Root
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import KeptOutput
from rawdenoise.watching.output_conditions import MADE_AGAIN, Condition, judge_output, take_fingerprint
from rawdenoise.watching.output_mark import OutputGoneError, check_output
from rawdenoise.watching.reports import Report

READ_AT_ONCE = 20  # outputs whose contents are looked at without a rest
REFUSED = (-1, -1)


@dataclass(frozen=True, slots=True)
class Inspector:
    """Looks at the outputs of roots, from a thread of its own, until it is `stopped`."""

    ledger: Ledger
    report: Report
    stopped: Callable[[], bool]
    clock: Clock = now

    def inspect(self, root: Root, *, again: bool) -> int:
        """Look whether outputs are there, of the size and time they had; tells how many are made again.

        What has changed is judged when it has been left alone for the settle time. Where `again` is not said,
        only what is damaged is made again: what is gone was taken away on purpose.
        """
        changed = [
            (kept, status)
            for kept in self._all(root)
            if _has_changed(kept, status := _stat(kept)) and (again or status is not None)
        ]
        if not changed or not self._rest(root.settle_s):
            return 0
        still = [kept for kept, status in changed if _stat(kept) == status]
        with suppress(OutputGoneError):
            return self._judge(root, still, again=again)
        return 0

    def read(self, root: Root, since: float, *, again: bool, all: bool = False) -> int:
        """Look at the contents of outputs that were not looked at since a time; tells how many there were.

        That is a handful, the longest not looked at first, or `all` of them.
        """
        number = 0
        while some := self.ledger.outputs.list_unread(root.output, self.clock().wall, since, READ_AT_ONCE):
            try:
                self._judge(root, some, again=again)
            except OutputGoneError:  # its disk went away: the same outputs would be next, for ever
                break
            number += len(some)
            if self.stopped() or not all:
                break
        return number

    def _all(self, root: Root) -> Iterator[KeptOutput]:
        last = 0
        while not self.stopped() and (page := self.ledger.outputs.list_page(root.output, after=last)):
            yield from (kept for kept in page if kept.source.is_relative_to(root.source))
            last = page[-1].job

    def _judge(self, root: Root, outputs: list[KeptOutput], *, again: bool) -> int:
        lost = 0
        for kept in outputs:
            if self.stopped():
                break
            try:
                present = take_fingerprint(kept.output)
                condition = judge_output(kept.output, kept.digest, kept.written, present)
            except Stopped:
                break
            except OSError:  # a disk that refuses: nothing is known
                self.ledger.outputs.note_look(kept, kept.written, self.clock().wall)
                continue
            if condition is Condition.CUT or (again and condition in MADE_AGAIN):
                check_output(root.output)  # a disk that went away has lost nothing
                lost += self._make_again(kept, condition)
            else:  # as it is, or left at that: then it is not looked at closely each time
                as_it_is = present and replace(
                    present,
                    pixels=kept.written.pixels if kept.written is not None else "",
                    edited=condition is not Condition.WHOLE,
                )
                self.ledger.outputs.note_look(kept, as_it_is or kept.written, self.clock().wall)
        return lost

    def _make_again(self, kept: KeptOutput, condition: Condition) -> bool:
        if not self.ledger.outputs.make_again(kept, self.clock(), condition):
            return False
        self.report.say("lost", source=str(kept.source), output=str(kept.output), reason=str(condition))
        return True

    def _rest(self, seconds: float) -> bool:
        """Wait, but no longer than the service runs; false if that has ended."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.stopped():
            time.sleep(min(left, 0.2))
        return not self.stopped()


def _stat(kept: KeptOutput) -> tuple[int, int] | None:
    """Size and time of an output; None if it is gone, REFUSED where that is not known."""
    try:
        status = kept.output.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return REFUSED
    return status.st_size, status.st_mtime_ns


def _has_changed(kept: KeptOutput, status: tuple[int, int] | None) -> bool:
    """Whether an output is not as it was; one that nobody has noted counts as unchanged while it is there."""
    if status is None or status == REFUSED or kept.written is None:
        return status is None
    return status != (kept.written.size, kept.written.mtime_ns)
