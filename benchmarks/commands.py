"""What commands that go on where they were stopped have alike: how they end, and numbers they take."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rawdenoise.errors import RawDenoiseError
from rawdenoise.training import TrainingStopped


@contextmanager
def ended_in_a_line() -> Iterator[None]:
    """End a command with one line and an exit code: 130 where it was stopped, 1 where it failed."""
    try:
        yield
    except TrainingStopped as stopped:
        _end(str(stopped), stopped.exit_code)
    except KeyboardInterrupt:
        _end("stopped; to resume, run the same command again", TrainingStopped.exit_code)
    except (RawDenoiseError, OSError) as error:
        _end(f"error: {error}", 1)


def _end(line: str, code: int) -> None:
    print(line, file=sys.stderr)
    raise SystemExit(code) from None


def at_least(least: int) -> Callable[[str], int]:
    """A whole number of a command line, no smaller than this."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text}: at least {least}")
        return value

    return number
