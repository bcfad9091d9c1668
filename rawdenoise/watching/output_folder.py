"""Whether outputs can go to a folder now; it is waited for while they cannot."""

from __future__ import annotations

from rawdenoise.errors import OutputError
from rawdenoise.watching.config import Root
from rawdenoise.watching.output_mark import prepare_output
from rawdenoise.watching.output_rounds import Round
from rawdenoise.watching.watch_context import ServiceContext

WAIT_S = 30.0  # until an output folder that refused is tried again


class OutputFolder:
    """The output folder of one root; `waiting` says why nothing is written to it now.

    `round` is what is to be looked at of the outputs in it.
    """

    def __init__(self, root: Root, context: ServiceContext) -> None:
        self._root, self._context = root, context
        self.waiting, self.round = "", Round()
        self._waits_until = 0.0
        self._is_gone = False  # that is why it waits

    def is_writable(self) -> bool:
        """Whether results can go there now; tries again when its time has come."""
        if self._context.clock().steady < self._waits_until:
            return False
        try:
            prepare_output(self._root.output, self._context.ledger)
        except OutputError as error:
            self.wait(error.reason)
            self._is_gone = True
            return False
        if self.waiting and self._is_gone:
            self.resume()
        return True

    def wait(self, reason: str) -> None:
        """Write nothing for a while, and say why."""
        if self.waiting != reason:
            self._report("waiting", reason=reason)
        self.waiting, self._waits_until = reason, self._context.clock().steady + WAIT_S

    def resume(self) -> None:
        """Go on: it was written to."""
        self.waiting, self._is_gone, self.round.inspect = "", False, True
        self._report("resumed")

    def _report(self, event: str, **fields: str) -> None:
        root = self._root
        self._context.report.say(event, root=str(root.source), output=str(root.output), **fields)
