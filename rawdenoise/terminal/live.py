"""How far something long is, on standard error: a bar on a terminal, else a line every ten seconds."""

from __future__ import annotations

import sys
import time

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

PLAIN_LINE_S = 10.0


class LiveLine:
    """A line that is shown while something goes on, and cleared before something else is printed."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._bar: Progress | None = None
        self._since = time.monotonic()

    def update(self, title: str, done: float | None, state: str) -> None:
        """Say how far it is: `done` of 1, None where that is not known."""
        if self._is_terminal:
            bar = self._bar or self._start()
            total = None if done is None else 1.0
            bar.update(bar.task_ids[0], description=state, total=total, completed=done or 0.0)
        elif time.monotonic() - self._since >= PLAIN_LINE_S:
            self._since = time.monotonic()
            click.echo(f"{title}: {state}" if done is None else f"{done:4.0%} {state}", err=True)

    def clear(self) -> None:
        """Take the line away."""
        self._since = time.monotonic()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _start(self) -> Progress:
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True)
        self._bar.add_task("", total=None)
        self._bar.start()
        return self._bar
