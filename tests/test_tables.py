"""Tables of TOML: every refusal names the key and says what may stand there."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import Annotated, TypedDict

import pytest
from msgspec import Meta

from rawdenoise.files.tables import MAXIMUM_NUMBER, Table, TableError, Text, Whole, read_table

Size = Annotated[tuple[int, int], Meta(description="width and height")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Finite = Annotated[float, Meta(ge=-MAXIMUM_NUMBER, le=MAXIMUM_NUMBER, description="a number")]
Day = Annotated[date, Meta(description="a date")]


class _Named(TypedDict):
    name: Text
    rest: Table


class _Sheet(_Named, total=False):
    count: Whole
    share: Share
    any: Finite
    size: Size
    day: Day


LEAST = 'name = "a"\n'
REST = "\n[rest]\n"


def read(text: str) -> _Sheet:
    return read_table(tomllib.loads(text), _Sheet)


def test_a_table_is_what_it_says_and_no_more() -> None:
    whole = "count = 2\nshare = 1\nany = -3\nsize = [1, 2]\nday = 2020-02-29\n"
    whole += '[rest]\nanything = ["at", {all = 1}]\n'
    assert read(LEAST + whole) == {
        "name": "a", "count": 2, "share": 1.0, "any": -3.0, "size": (1, 2), "day": date(2020, 2, 29),
        "rest": {"anything": ["at", {"all": 1}]},
    }  # fmt: skip
    assert read(LEAST + REST) == {"name": "a", "rest": {}}


@pytest.mark.parametrize(
    ("text", "says", "nearest"),
    [
        ("[rest]", "name is missing", None),
        ('nme = "a"' + REST, "name is missing", "nme"),
        (LEAST, "table [rest] is missing", None),
        (LEAST + "rest = 3", "rest must be a table, not 3", None),
        (LEAST + "cuont = 3" + REST, "'cuont' is unknown", "count"),
        ("name = 3" + REST, "name must be text in quotes, not 3", None),
        (LEAST + "count = 3.0" + REST, "count must be a whole number, not 3.0", None),
        (LEAST + "count = true" + REST, "count must be a whole number, not True", None),
        (LEAST + 'count = "3"' + REST, "count must be a whole number, not '3'", None),
        (LEAST + "share = 2" + REST, "share must be a number from 0 to 1, not 2", None),
        (LEAST + "share = nan" + REST, "share must be a number from 0 to 1, not nan", None),
        (LEAST + "any = nan" + REST, "any must be a number, not nan", None),
        (LEAST + "any = -inf" + REST, "any must be a number, not -inf", None),
        (LEAST + f"any = 1{'0' * 400}" + REST, "any must be a number, not 1000", None),
        (LEAST + "any = 0x" + "f" * 9999 + REST, "any must be a number, not int too long", None),
        (LEAST + "size = [1]" + REST, "size must be width and height, not [1]", None),
        (LEAST + "size = [1, 2, 3]" + REST, "size must be width and height", None),
        (LEAST + 'day = "2020-02-29"' + REST, "day must be a date, not '2020-02-29'", None),
        (LEAST + "day = 2020-02-29T00:00:00" + REST, "day must be a date", None),
        (
            LEAST + "[rest]\n[count" + ".a" * 5000 + "]",
            "count must be a whole number, not dict",
            None,
        ),
    ],
)
def test_the_first_thing_that_is_wrong_is_named(text: str, says: str, nearest: str | None) -> None:
    with pytest.raises(TableError) as caught:
        read(text)
    assert str(caught.value).startswith(says)
    assert caught.value.nearest == nearest
    assert "\n" not in str(caught.value)
