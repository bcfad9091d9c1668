"""The run-time checker of shapes, dtypes and types that the tests switch on (pyproject.toml, addopts).

A check costs some forty microseconds, more than many a small function does itself. So in every test only the
first calls of each function are checked, all of them with --long: what is wrong with one call of ten thousand
is not a type.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from beartype import BeartypeConf, beartype

CALLS = 20
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is good enough for a float
_calls: Counter[tuple[str, str]] = Counter()
_excused: list[FunctionType] = []
_most: float = CALLS


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the calls of a function, of which jaxtyping gives the signature alone."""
    check, name = _check(function), (function.__module__, function.__qualname__)

    def counted(*arguments: Any, **named: Any) -> Any:
        _calls[name] += 1
        if _calls[name] >= 2 * _most:  # before and after each call
            _excuse(*name)
        return check(*arguments, **named)

    return counted


def begin_test(*, check_all: bool) -> None:
    """Check the first calls of every function again."""
    global _most
    _most = float("inf") if check_all else CALLS
    _calls.clear()
    while _excused:
        _excused.pop().__no_type_check__ = False  # type: ignore[attr-defined]


def _excuse(module: str, qualname: str) -> None:
    """Have jaxtyping call a function as it is."""
    for function in _functions(module, qualname):
        function.__no_type_check__ = True  # type: ignore[attr-defined]
        _excused.append(function)


def _functions(module: str, qualname: str) -> Iterator[FunctionType]:
    """What is called by this name, down to what decorators have wrapped."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None  # "<locals>" are not found
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    while found is not None:
        if isinstance(found, FunctionType):
            yield found
        found = getattr(found, "__wrapped__", None)
