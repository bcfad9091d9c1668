"""Text fit for one line of a terminal or a log, whatever stands in a file name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def to_one_line(text: str | Path) -> str:
    r"""Spell control characters and undecodable bytes out (`\n`, `\udcff`), so that a line stays a line."""
    return "".join(
        character if character.isprintable() or character == " " else _escape(character)
        for character in str(text)
    )


def write_duration(seconds: float) -> str:
    """Say a time as a person would: 4.2 s, 3 min 20 s, 1 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count_noun(number: int, noun: str) -> str:
    """Say a number of things: 1 file, 3 files."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def set_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Set rows of cells in columns, each row in one line."""
    cells = [[to_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
