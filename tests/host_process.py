"""What a program that runs rawdenoise does: it reads objects, and holds each to the schema."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path(__file__).parents[1] / "plugins"
SCHEMA = json.loads((PLUGINS / "schema-1.json").read_text(encoding="utf-8"))


@cache
def validator(name: str = "") -> Any:
    """The schema of all that comes, or one of its definitions, by which objects are checked."""
    jsonschema = pytest.importorskip("jsonschema", reason="the schema is checked by jsonschema")
    schema = {"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"} if name else SCHEMA
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def read_objects(lines: str | Iterable[str]) -> list[dict[str, Any]]:
    """Read the objects of lines, every one of which has to be one that the schema describes wholly."""
    given = [json.loads(line) for line in (lines.splitlines() if isinstance(lines, str) else lines)]
    for one in given:
        validator().validate(one)
        assert one.keys() <= SCHEMA["$defs"][one["type"]]["properties"].keys()
    return given


def kinds(objects: Iterable[dict[str, Any]]) -> list[str]:
    """The types of objects, repetitions left out."""
    found = [one["type"] for one in objects]
    return [kind for kind, before in zip(found, ["", *found], strict=False) if kind != before]


def check_told(objects: list[dict[str, Any]], exit_code: int) -> dict[str, Any]:
    """Check what is told while a command runs: an end comes last, and once; fractions never fall."""
    *told, end = objects
    assert end["type"] == "end"
    assert end["exit_code"] == exit_code, objects
    assert {one["type"] for one in told} <= {"progress", "message"}
    fractions = [one["fraction"] for one in told if one["type"] == "progress"]
    known = [fraction for fraction in fractions if fraction is not None]
    assert known == sorted(known)
    return end


def start(*arguments: object, **more: Any) -> subprocess.Popen[str]:
    """Start rawdenoise with pipes to all of its streams."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-m", "rawdenoise", *map(str, arguments)]
    return subprocess.Popen(command, text=True, **{**pipes, **more})
