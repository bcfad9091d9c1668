"""The least versions that pyproject.toml promises, as constraints for pip (make test-lowest)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXEMPT = {"torch"}  # an old one is gigabytes of CUDA from PyPI: the tested one stands in for it
TOOLS = {"beartype", "hypothesis", "pytest", "pytest-xdist"}  # test the product, and are none of it


def floors() -> dict[str, str]:
    """Read the floor of every dependency of the product and of its extras for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["sidd"]]
    return dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in wanted)  # type: ignore[union-attr]


def newest() -> dict[str, str]:
    """Read the versions that this project was tested with."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def constraints() -> Iterator[str]:
    """Give the lines of a constraints file."""
    last = newest()
    for name, version in floors().items():
        yield f"{name}=={last[name] if name in EXEMPT else version}"
    for name in sorted(TOOLS):
        yield f"{name}=={last[name]}"


if __name__ == "__main__":
    print("\n".join(constraints()))  # noqa: T201
