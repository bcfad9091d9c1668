"""Frozen records from parsed JSON, by their annotations: a file's types are as untrusted as its values."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def record_of(kind: type[T], values: object, *, finite: bool = True) -> T:
    """Make a record of a JSON object: every field of its type, numbers finite if so asked, nothing unknown.

    Fields may be text, numbers, truth values, None, tuples of these (lists in JSON) and records.

    Raises:
        ValueError: the values are not such a record's; it names the field.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{_short(values)} is no {kind.__name__}")
    hints = get_type_hints(kind)
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    unknown = values.keys() - known.keys()
    if unknown:
        raise ValueError(f"{kind.__name__} has no {_short(sorted(map(str, unknown))[0])}")
    required = (name for name, each in known.items() if each.default is each.default_factory is MISSING)
    for name in required:
        if name not in values:
            raise ValueError(f"{kind.__name__} needs {name}")
    try:
        return kind(**{name: value_of(hints[name], value, finite=finite) for name, value in values.items()})
    except ValueError as error:
        raise ValueError(f"{kind.__name__}: {error}") from None


def value_of(hint: Any, value: object, *, finite: bool = True) -> Any:
    """Give a JSON value as the type that an annotation asks for.

    Raises:
        ValueError: it is of another type, or a number that is not finite.
    """
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _one_of(get_args(hint), value, finite)
    if origin is tuple:
        return _tuple_of(get_args(hint), value, finite)
    if is_dataclass(hint) and isinstance(hint, type):
        return record_of(hint, value, finite=finite)
    if hint is float and type(value) in (int, float):
        return _float(value, finite)
    if hint in (None, types.NoneType) and value is None:
        return None
    if hint in (str, int, bool) and type(value) is hint:
        return value
    raise ValueError(f"{_short(value)} is no {getattr(hint, '__name__', hint)}")


def _one_of(hints: tuple[Any, ...], value: object, finite: bool) -> Any:
    for hint in hints:
        try:
            return value_of(hint, value, finite=finite)
        except ValueError as error:
            reason = error
    raise reason


def _tuple_of(hints: tuple[Any, ...], value: object, finite: bool) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{_short(value)} is no list")
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(value_of(hints[0], each, finite=finite) for each in value)
    if len(value) != len(hints):
        raise ValueError(f"a list of {len(value)} stands for one of {len(hints)}")
    return tuple(value_of(hint, each, finite=finite) for hint, each in zip(hints, value, strict=True))


def _float(value: Any, finite: bool) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if finite and not math.isfinite(number):
        raise ValueError(f"{_short(value)} is not finite")
    return number


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "..."
