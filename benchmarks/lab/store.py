"""Results, a JSON file each, by what was measured and by the code that measured it."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import rawdenoise
from rawdenoise.atomic import write_bytes

Settings = Mapping[str, object]
UNMEASURED = {"cli", "pages", "watching", "web"}  # rooms that change no figure of a capture
MEASURING = ("cameras", "captures", "compare", "data", "methods", "pictures", "trials")  # modules of the lab


@cache
def code_version() -> str:
    """Name the code that measures: its version, and a digest of its source but comments and docstrings."""
    package, digest = Path(rawdenoise.__file__).parent, hashlib.sha256()
    sources = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in UNMEASURED]
    for path in (*sorted(sources), *(Path(__file__).with_name(f"{name}.py") for name in MEASURING)):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            first = body[0] if isinstance(body, list) and body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                del body[0]
        digest.update(ast.dump(tree).encode())
    return f"{rawdenoise.__version__}-{digest.hexdigest()[:8]}"


@cache
def versions() -> dict[str, str]:
    """What a result is made with."""
    import torch

    return {
        "rawdenoise": rawdenoise.__version__, "code": code_version(), "torch": torch.__version__,
        "numpy": np.__version__, "python": platform.python_version(),
    }  # fmt: skip


def made_with() -> str:
    """The versions in a line, for the foot of a table."""
    return f"Made with {', '.join(f'{name} {version}' for name, version in versions().items())}."


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of results: the same settings and the same code, the same file."""

    folder: Path
    code: str

    def name(self, settings: Settings) -> str:
        """What a result's files are called: readable, and its own."""
        whole = json.dumps([self.code, settings], sort_keys=True)
        words = [str(settings[key]) for key in ("kind", "camera", "method") if settings.get(key)]
        return ".".join([*words, hashlib.sha256(whole.encode()).hexdigest()[:12]]).replace(" ", "-")

    def path(self, settings: Settings, suffix: str) -> Path:
        """Where something lies that belongs to a result."""
        return self.folder / f"{self.name(settings)}{suffix}"

    def scratch(self, settings: Settings) -> Path:
        """A folder for what is not done yet."""
        return self.folder / "training" / self.name(settings)

    def find(self, settings: Settings) -> Any:
        """The figures of these very settings, None where they are still to be measured."""
        path = self.path(settings, ".json")
        return json.loads(path.read_bytes())["figures"] if path.exists() else None

    def save(self, settings: Settings, figures: object) -> None:
        """Keep figures."""
        fields = {"settings": settings, "code": self.code, "versions": versions(), "figures": figures}
        write_bytes(self.path(settings, ".json"), json.dumps(fields, indent=1).encode())


@dataclass(frozen=True, slots=True)
class Lab:
    """Where results are kept and data lies, and whether what is missing is only to be left out."""

    store: Store
    data: Path
    device: str = "cpu"
    report: bool = False

    def result(self, settings: Settings, measure: Callable[[], object], *, wanted: bool = True) -> Any:
        """Figures that are there, or else are measured now; None where they are only reported."""
        figures = self.store.find(settings)
        if figures is None and wanted and not self.report:
            self.store.save(settings, measure())
            figures = self.store.find(settings)
        return figures

    @property
    def published(self) -> Path:
        """Published calibrations of cameras."""
        return self.data / "noise" / "published.json"

    @property
    def bsds(self) -> Path:
        """Photographs to train on."""
        return self.data / "srgb" / "bsds500"

    @property
    def kodak(self) -> Path:
        """Photographs to test with."""
        return self.data / "srgb" / "kodak24"
