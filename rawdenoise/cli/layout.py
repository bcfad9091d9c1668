"""The options of plain mosaics, made into a layout."""

from __future__ import annotations

from collections.abc import Iterator

import click

from rawdenoise.capture.raw import Cfa
from rawdenoise.formats.headerless import PlainLayout


def parse_layout(
    *, cfa: str | None, black: str | None, white: float | None, bits: int | None, size: str | None
) -> PlainLayout | None:
    """Make a layout of what was given; None where nothing was.

    Raises:
        click.UsageError: --cfa is missing, or a value cannot be read.
    """
    if cfa is None:
        if any(value is not None for value in (black, white, bits, size)):
            raise click.UsageError(
                "--black, --white, --bits and --size describe a plain mosaic and need --cfa too"
            )
        return None
    return PlainLayout(
        cfa=Cfa(cfa.upper()),
        black=_parse_black(black or "0"),
        white=white,
        bits=16 if bits is None else bits,
        size=None if size is None else _parse_size(size),
    )


def spell_layout(layout: PlainLayout) -> Iterator[str]:
    """Spell a layout as the options that make it."""
    black = layout.black if isinstance(layout.black, tuple) else (layout.black,)
    yield from ("--cfa", str(layout.cfa), "--bits", str(layout.bits))
    yield from ("--black", ",".join(f"{level:g}" for level in black))
    if layout.white is not None:
        yield from ("--white", f"{layout.white:g}")
    if layout.size is not None:
        yield from ("--size", "x".join(map(str, layout.size)))


def _parse_black(text: str) -> float | tuple[float, float, float, float]:
    try:
        match [float(value) for value in text.split(",")]:
            case [black]:
                return black
            case [red, green1, green2, blue]:
                return red, green1, green2, blue
    except ValueError:
        pass
    raise click.UsageError(f"--black {text}: give one level, or four with commas (R,G1,G2,B)")


def _parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if width.isdecimal() and height.isdecimal() and int(width) and int(height):
        return int(width), int(height)
    raise click.UsageError(f"--size {text}: give width and height in pixels, as in 4000x3000")
