"""Paths on the command line, and patterns of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class GivenPath(click.Path):
    """A path; the empty word that an unset variable leaves is none, and never the current folder."""

    def __init__(self, **more: Any) -> None:
        super().__init__(path_type=Path, **more)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Make a path of a word."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


def files_argument(function: Command) -> Command:
    """Add FILEs, at least one; a pattern that nothing matches stays, as a name that no file has."""

    def expand(ctx: click.Context, param: click.Parameter, files: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(found for file in files for found in [*expand_patterns([file])] or [file])

    return click.argument(
        "files", nargs=-1, required=True, type=GivenPath(), metavar="FILE...", callback=expand
    )(function)


def expand_patterns(paths: Iterable[Path]) -> Iterator[Path]:
    """Expand the patterns that no shell expanded, but for those that a file has for its very name.

    Brackets that nothing matches are taken for a name, too: of a file that is gone, which is to be said.
    """
    for path in paths:
        text = str(path)
        if os.path.lexists(path) or not glob.has_magic(text):
            yield path
            continue
        found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - absolute
        yield from found or ([] if "*" in text or "?" in text else [path])
