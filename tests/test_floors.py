from __future__ import annotations

from floors import EXEMPT, constraints, floors, newest


def test_every_dependency_has_a_floor_and_was_tested_at_a_version_above_it() -> None:
    last = newest()
    for name, floor in floors().items():
        assert _numbers(last[name.lower()]) >= _numbers(floor), name
    assert floors().keys() > EXEMPT


def test_what_is_tested_at_its_floor_is_all_but_torch() -> None:
    lines = list(constraints())
    assert "imagecodecs==2024.9.22" in lines
    assert f"torch=={newest()['torch']}" in lines
    assert {line.split("==")[0] for line in lines} > floors().keys()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
