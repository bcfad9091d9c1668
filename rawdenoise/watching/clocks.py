"""The time by two clocks: one that people read and set, and one that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment: `wall` in seconds since 1970, `steady` in seconds since the machine was started.

    The wall clock is set back and forward; it is for what people read. The steady one is the same for all
    processes of a machine and never jumps, but begins anew with it (and stands still while it sleeps): what
    waits, waits by this one, and never longer than the longest wait there is.
    """

    wall: float
    steady: float


Clock = Callable[[], Moment]


def now() -> Moment:
    """Look at both clocks."""
    return Moment(time.time(), time.monotonic())


def is_within(then: float | None, now: float, span_s: float) -> bool:
    """Whether a time is at most so long ago; one that lies in the future tells nothing: a clock was set."""
    return then is not None and 0 <= now - then <= span_s
