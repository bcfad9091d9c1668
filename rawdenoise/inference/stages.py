"""The stages of a capture on its way, and who is told how far each one is."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Stage(StrEnum):
    """What is done to a capture, in this order."""

    READ = "read"
    DENOISE = "denoise"
    JUDGE = "judge"
    WRITE = "write"


OnShare = Callable[[float], None]
"""Is told how much of one thing is done, from 0 to 1."""
OnStage = Callable[[Stage, float], None]
"""Is told how much of a stage is done, from 0 to 1."""


def unheard(*how_far: object) -> None:
    """Tell nobody."""
