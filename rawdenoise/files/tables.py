"""Tables of TOML files that people edit: what is missing, unknown or of another type is said by its name.

A table's keys and types stand in a TypedDict. A type is a Literal of words, or says what may stand there, of
which refusals are made: `Annotated[float, Meta(gt=0, description="a number above 0")]`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

MAXIMUM_NUMBER = sys.float_info.max  # a bound that neither infinity nor what is no number passes
_TOML_TYPES = (date, datetime, time)  # they are no texts there

Text = Annotated[str, Meta(description="text in quotes")]
Whole = Annotated[int, Meta(description="a whole number")]
Table = Annotated[dict[str, Any], Meta(description="a table")]

T = TypeVar("T")


class TableError(ValueError):
    """A `key` is missing in a table, unknown or wrong; `nearest` is the one that may have been meant."""

    def __init__(self, key: str, reason: str, nearest: str | None = None, name: str = "") -> None:
        super().__init__(f"{name or key} {reason}")
        self.key, self.reason, self.nearest = key, reason, nearest


def read_table(values: Mapping[str, object], kind: type[T]) -> T:
    """Read a table of TOML by the TypedDict that says what stands in it.

    Raises:
        TableError: a key that is missing, not what it must be, or unknown.
    """
    types = _types(kind)  # type: ignore[arg-type] # a class can be hashed
    for key, hint in types.items():
        if key in values:
            _check(key, hint, values[key])
        elif key in kind.__required_keys__:  # type: ignore[attr-defined]
            name = f"table [{key}]" if get_origin(_strip_annotation(hint)) is dict else key
            raise TableError(key, "is missing", _find_nearest(key, values), name)
    check_keys(values, kind)
    return msgspec.convert(values, kind, builtin_types=_TOML_TYPES)


def check_keys(values: Mapping[str, object], *kinds: type) -> None:
    """Refuse a key that stands in none of these TypedDicts.

    Raises:
        TableError: there is one.
    """
    known = {key for kind in kinds for key in _types(kind)}
    for key in values:
        if key not in known:
            raise TableError(
                shorten(key)[1:-1], "is unknown", _find_nearest(key, sorted(known)), shorten(key)
            )


def make_table_error(key: str, hint: Any, value: object) -> TableError:
    """The error of a value that is not what its type describes."""
    if get_origin(hint) is Literal:
        allowed = f"one of {', '.join(get_args(hint))}"
    else:
        allowed = hint.__metadata__[-1].description
    return TableError(key, f"must be {allowed}, not {shorten(value)}")


def shorten(value: object) -> str:
    """A value as it is written, or its beginning."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # a table within tables without end, a number of thousands of digits
        return f"{type(value).__name__} too long to be written"
    return text if len(text) <= 40 else text[:40] + "..."


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _check(key: str, hint: Any, value: object) -> None:
    try:
        msgspec.convert(value, hint, builtin_types=_TOML_TYPES)
    except msgspec.ValidationError:
        raise make_table_error(key, hint, value) from None


def _strip_annotation(hint: Any) -> Any:
    return hint.__origin__ if get_origin(hint) is Annotated else hint


def _find_nearest(key: str, others: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(key, list(others), 1)), None)
