"""Raw files as napari's layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rawdenoise.errors import RawDenoiseError
from rawdenoise.formats import raw_suffixes
from rawdenoise.napari.layers import LayerData, show_captures

Paths = str | Path | Sequence[str | Path]


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData] | list[tuple[None]]] | None:
    """Give the function that reads these, if the names are those of raw files."""
    known = raw_suffixes()
    paths = _list_paths(path)
    return read_layers if paths and all(path.suffix.lower() in known for path in paths) else None


def read_layers(path: Paths) -> list[LayerData] | list[tuple[None]]:
    """Read a raw as a layer, or several as a stack; in a process of its own, for a decoder may crash.

    What cannot be read is said in a notification and gives no layer, so that others of its drop still open:
    napari would say of an exception that it was one, and not which.
    """
    from rawdenoise.isolation.isolated_reader import read_isolated

    try:
        return [show_captures([read_isolated(one) for one in _list_paths(path)])]
    except RawDenoiseError as error:
        from napari.utils.notifications import show_error

        show_error(str(error))
        return [(None,)]  # napari's word for: read, and there is no layer


def _list_paths(path: Paths) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
