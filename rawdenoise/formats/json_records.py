"""Frozen records from parsed JSON: a file's types are as untrusted as its values.

msgspec holds the values against the annotations. It never sees a stranger's bytes, only what Python's own
parsers have made of them.
"""

from __future__ import annotations

import math
from typing import TypeVar

import msgspec

T = TypeVar("T")


def make_record(values: object, kind: type[T], *, finite: bool = True) -> T:
    """Make a record of parsed JSON: every field of its type, numbers finite if so asked, nothing unknown.

    Raises:
        ValueError: the values are not such a record's; it names the field, as in `$.camera.make`.
    """
    try:
        record = msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    _check_rest(values, msgspec.to_builtins(record), "$", finite=finite)
    return record


def _check_rest(values: object, record: object, place: str, *, finite: bool) -> None:
    """Refuse what msgspec lets pass: fields that a record does not have, and numbers that are not finite."""
    match values, record:
        case dict(), dict():
            for name, value in values.items():
                if name not in record:
                    raise ValueError(f"Object has no field {name[:40]!r} - at `{place}`")
                _check_rest(value, record[name], f"{place}.{name}", finite=finite)
        case list(), list() | tuple():
            for index, (value, part) in enumerate(zip(values, record, strict=True)):
                _check_rest(value, part, f"{place}[{index}]", finite=finite)
        case _, float() if finite and not math.isfinite(record):
            raise ValueError(f"Expected a finite number, got {record} - at `{place}`")
