"""How numbers are written on the pages."""

from __future__ import annotations

import math

DASH, MINUS, THIN_SPACE = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{NARROW NO-BREAK SPACE}"


def write_signed(value: float, decimals: int) -> str:
    """With its sign, whatever it is."""
    return f"{value:+.{decimals}f}".replace("-", MINUS)


def write_short(value: float) -> str:
    """To four digits, as a power of ten where that is shorter."""
    return f"{value:.4g}".replace("-", MINUS)


def write_plain(value: float | None, digits: int = 3) -> str:
    """To so many digits, never as a power of ten; a dash where there is none."""
    if value is None:
        return DASH
    decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def write_count(value: float) -> str:
    """A whole number, in groups of three digits."""
    return f"{value:,.0f}".replace(",", THIN_SPACE)


def write_time(seconds: float) -> str:
    """In seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def write_iso(iso: object) -> str:
    """ISO with its number, where there is one."""
    return f"ISO {iso}" if isinstance(iso, int) else "ISO not stated"
