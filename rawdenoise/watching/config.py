"""What is watched, and what is done with what arrives: from options, or from a TOML file."""

from __future__ import annotations

import difflib
import math
import os
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import platformdirs

from rawdenoise.errors import RawDenoiseError, guarded
from rawdenoise.extensions.registry import extensions
from rawdenoise.files.names import absolute
from rawdenoise.recipe import Recipe

TRAIN = ("never", "idle", "now")
_CHOICES = {
    "levels": ("auto", "sensor", "fine"),
    "bundled": ("fast", "best"),
    "train": TRAIN,
    "lost": ("again", "leave"),
}
_LEAST: dict[str, float] = {
    "settle_s": 0.0, "poll_s": 0.1, "rescan_s": 1.0, "attempts": 1, "train_after": 3, "train_minutes": 0.01,
    "jobs": 1,
}  # fmt: skip


class ConfigError(RawDenoiseError):
    """The configuration makes no sense; the line names the file, the key and what is allowed."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Root:
    """A watched folder; times in seconds, but for `train_minutes`. No `poll_s`: only where it must be.

    `lost` says whether outputs that are gone are made again, or were taken away on purpose.
    """

    source: Path
    output: Path
    recipe: Recipe = Recipe()  # noqa: RUF009 - frozen
    recursive: bool = True
    settle_s: float = 3.0
    poll_s: float | None = None
    rescan_s: float = 300.0
    sidecars: bool = False
    failed_dir: Path | None = None
    attempts: int = 5
    lost: str = "again"
    train: str = "idle"
    train_after: int = 30
    train_minutes: float = 10.0


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """What a service is told: its roots, its ledger's folder, files in memory at a time, the device."""

    roots: tuple[Root, ...]
    state: Path
    jobs: int = 2
    device: str = "auto"


def default_state() -> Path:
    """Where the ledger lies if nothing else is said: in the user's own state folder, on a local disk."""
    return platformdirs.user_state_path("rawdenoise") / "watch"


def read_config(path: Path) -> WatchConfig:
    """Read a TOML file: `state`, `jobs`, `device`, defaults of roots and recipes, and tables `[[root]]`.

    A root has `in` and `out`; its times are `settle`, `poll` and `rescan`, in seconds. Paths are relative to
    the file, and `~` is the home folder.

    Raises:
        ConfigError: no file, no TOML, or something in it that is unknown or not allowed.
    """
    with guarded(lambda reason: ConfigError(f"{path}: {reason}")):
        return _read_config(path)


def _read_config(path: Path) -> WatchConfig:
    try:
        with path.open("rb") as file:
            told = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # TOML's own errors, and dates and numbers that are none
        raise ConfigError(f"{path}: is no TOML ({error})") from error
    reader = _Reader(path)
    tables = told.pop("root", None)
    if not isinstance(tables, list) or not tables or not all(isinstance(each, dict) for each in tables):
        raise ConfigError(f"{path}: there is no [[root]] table; each has at least `in` and `out`")
    service = reader.known(told, {"state", "jobs", "device"} | _ROOT_KEYS | _RECIPE_KEYS)
    defaults = {key: value for key, value in service.items() if key in _ROOT_KEYS | _RECIPE_KEYS}
    roots = tuple(reader.root({**defaults, **each}, number) for number, each in enumerate(tables, 1))
    chosen = reader.values(
        WatchConfig, {key: service[key] for key in ("state", "jobs", "device") if key in service}
    )
    config = WatchConfig(**{"state": default_state(), **chosen, "roots": roots})
    check_roots(config.roots)
    return config


def configure(
    source: Path, output: Path, recipe: Recipe, state: Path | None, options: Mapping[str, Any]
) -> WatchConfig:
    """Watch one folder, by options that are called as the keys of a file; more of them do no harm.

    Raises:
        ConfigError: the folders make no sense.
    """
    fields_of_root = {_ROOT_NAMES[key]: value for key, value in options.items() if key in _ROOT_KEYS}
    if fields_of_root["failed_dir"] is not None:
        fields_of_root["failed_dir"] = absolute(fields_of_root["failed_dir"])
    root = Root(absolute(source), absolute(output), recipe, **fields_of_root)
    check_roots((root,))
    folder = default_state() if state is None else absolute(state)
    return WatchConfig((root,), folder, options["jobs"], options["device"])


def check_roots(roots: Sequence[Root]) -> None:
    """Refuse roots that cannot be meant; a folder that is not there yet can be, it may be mounted later.

    Raises:
        ConfigError: an output that is a file, or is its own source; the same folders twice; captures that
        failed moved to where they would arrive again.
    """
    seen = set()
    for root in roots:
        source, output = _real(root.source), _real(root.output)
        if _is_other_than_folder(root.source):
            raise ConfigError(f"{root.source}: is no folder")
        if _is_other_than_folder(root.output):
            raise ConfigError(f"{root.output}: is a file; outputs need a folder")
        if source == output:
            raise ConfigError(
                f"{root.output}: outputs need another folder than the captures (one inside is fine)"
            )
        if (source, output) in seen:
            raise ConfigError(f"{root.source}: is watched twice with the same output")
        if root.failed_dir is not None and _real(root.failed_dir) == source:
            raise ConfigError(f"{root.failed_dir}: failed captures would arrive again; give another folder")
        seen.add((source, output))
    for root in roots:
        for other in roots:
            if _real(root.source).is_relative_to(_real(other.output)):
                raise ConfigError(
                    f"{root.source}: lies in the output folder {other.output}, whose files are outputs"
                )


class _Reader:
    """Reads tables of one file; every refusal names the file and the key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = ""

    def root(self, table: dict[str, Any], number: int) -> Root:
        self._place = f"root {number}: "
        told = self.known(table, _ROOT_KEYS | _RECIPE_KEYS)
        for key in ("in", "out"):
            if key not in told:
                raise self._error(key, "is missing")
        recipe = self.values(Recipe, {key: told[key] for key in told if key in _RECIPE_KEYS})
        chosen = self.values(Root, {_ROOT_NAMES[key]: told[key] for key in told if key in _ROOT_KEYS})
        self._place = ""
        return Root(**{**chosen, "recipe": Recipe(**recipe)})

    def known(self, table: dict[str, Any], keys: set[str]) -> dict[str, Any]:
        table = {_FORMER.get(key, key): value for key, value in table.items()}
        for key in table:
            if key not in keys:
                near = difflib.get_close_matches(key, sorted(keys), 1)
                raise self._error(key, f"is unknown{f'; `{near[0]}` is meant?' if near else ''}")
        return table

    def values(self, kind: type, told: dict[str, Any]) -> dict[str, Any]:
        hints = get_type_hints(kind)
        return {name: self._value(name, hints[name], value) for name, value in told.items()}

    def _value(self, name: str, wanted: Any, value: Any) -> Any:
        key = _SPELLED.get(name, name)
        kinds = [each for each in _kinds(wanted) if each is not types.NoneType]
        if Path in kinds and isinstance(value, str):
            return self._folder(key, value)
        if float in kinds and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if issubclass(kinds[0], StrEnum) and isinstance(value, str):
            kinds = [str]
        if not any(type(value) is kind for kind in kinds):
            names = {
                Path: "a path",
                str: "text",
                float: "a number",
                int: "a whole number",
                bool: "true or false",
            }
            raise self._error(key, f"must be {names[kinds[0]]}, not {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(key, f"must be a finite number, not {value!r}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise self._error(key, f"must be one of {', '.join(_CHOICES[name])}, not {value!r}")
        if name == "format" and value not in extensions("writers"):
            raise self._error(key, f"must be one of {', '.join(extensions('writers'))}, not {value!r}")
        if name in _LEAST and value < _LEAST[name]:
            raise self._error(key, f"must be at least {_LEAST[name]:g}, not {value!r}")
        if name == "strength" and not 0 <= value <= 1:
            raise self._error(key, f"must be from 0 to 1, not {value!r}")
        return hint(value) if isinstance(hint := wanted, type) and issubclass(hint, StrEnum) else value

    def _folder(self, key: str, value: str) -> Path:
        if not value or "\0" in value:
            raise self._error(key, f"must be a path, not {value!r}")
        try:
            return Path(os.path.normpath(self._path.absolute().parent / Path(value).expanduser()))
        except RuntimeError as error:
            raise self._error(key, f"names no user's home: {value!r}") from error

    def _error(self, key: str, reason: str) -> ConfigError:
        return ConfigError(f"{self._path}: {self._place}`{key}` {reason}")


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) is types.UnionType else (hint,)


def _is_other_than_folder(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # a mount that does not answer: the service waits for it
        return False


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


# Keys of the file, and the fields they stand for.
_SPELLED = {"source": "in", "output": "out", "settle_s": "settle", "poll_s": "poll", "rescan_s": "rescan"}
_FORMER = {"base": "bundled"}
_ROOT_NAMES = {
    _SPELLED.get(each.name, each.name): each.name for each in fields(Root) if each.name != "recipe"
}
_ROOT_KEYS = set(_ROOT_NAMES)
_RECIPE_KEYS = {each.name for each in fields(Recipe)} - {"estimate"}
