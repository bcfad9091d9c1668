"""Records of parsed JSON: what a type does not allow is refused with the name of the field."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import pytest

from rawdenoise.formats.json_records import make_record


@dataclass(frozen=True, slots=True)
class Part:
    value: float
    pair: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    name: str
    count: int
    sound: bool = True
    parts: tuple[Part, ...] = ()


WHOLE = Whole("a", 3, False, (Part(1.0, (2.0, 3.0)), Part(0.5)))


def test_a_record_comes_back_from_its_json() -> None:
    assert make_record(json.loads(json.dumps(asdict(WHOLE))), Whole) == WHOLE


def test_what_has_a_default_may_be_left_out_and_whole_numbers_are_numbers() -> None:
    taken = make_record({"name": "a", "count": 1, "parts": [{"value": 2}]}, Whole)
    assert taken == Whole("a", 1, parts=(Part(2.0),))
    assert type(taken.parts[0].value) is float


@pytest.mark.parametrize(
    ("spoilt", "field"),
    [
        ({"name": 1}, "$.name"),
        ({"count": 1.0}, "$.count"),
        ({"count": "1"}, "$.count"),
        ({"count": True}, "$.count"),
        ({"count": None}, "$.count"),
        ({"sound": 1}, "$.sound"),
        ({"parts": {}}, "$.parts"),
        ({"parts": "ab"}, "$.parts"),
        ({"parts": [[]]}, "$.parts[0]"),
        ({"parts": [{"value": 1}, {"value": "1"}]}, "$.parts[1].value"),
        ({"parts": [{"value": 1, "pair": [1]}]}, "$.parts[0].pair"),
        ({"parts": [{"value": 1, "pair": [1, 2, 3]}]}, "$.parts[0].pair"),
        ({"parts": [{"value": 10**400}]}, "$.parts[0].value"),
        ({"parts": [{"value": math.nan}]}, "$.parts[0].value"),
        ({"parts": [{"value": 1, "pair": [1, math.inf]}]}, "$.parts[0].pair[1]"),
        ({"parts": [{"value": 1, "more": 2}]}, "'more' - at `$.parts[0]`"),
        ({"more": 2}, "'more' - at `$`"),
        ({"name": ...}, "`name`"),
    ],
)
def test_what_is_of_another_type_is_refused_by_its_name(spoilt: dict[str, object], field: str) -> None:
    values = {**json.loads(json.dumps(asdict(WHOLE))), **spoilt}
    with pytest.raises(ValueError) as caught:
        make_record({name: value for name, value in values.items() if value is not ...}, Whole)
    assert field in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [None, 1, "name", [], [1], {}])
def test_what_is_no_record_is_refused(values: object) -> None:
    with pytest.raises(ValueError):
        make_record(values, Whole)


def test_numbers_need_not_be_finite_where_that_is_said() -> None:
    taken = make_record({"value": math.nan, "pair": [math.inf, 1]}, Part, finite=False)
    assert math.isnan(taken.value)
    assert taken.pair == (math.inf, 1.0)
    with pytest.raises(ValueError, match="more"):
        make_record({"value": math.nan, "more": 1}, Part, finite=False)
