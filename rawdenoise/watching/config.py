"""What is watched, and what is done with what arrives: from options, or from a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

import platformdirs
from msgspec import Meta

from rawdenoise.errors import RawDenoiseError, guard
from rawdenoise.extensions.registry import extensions
from rawdenoise.files.names import make_absolute
from rawdenoise.files.tables import MAXIMUM_NUMBER, TableError, Text, check_keys, read_table, shorten
from rawdenoise.formats.output_levels import OutputLevels
from rawdenoise.recipe import Recipe

T = TypeVar("T")


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
    with guard(lambda reason: ConfigError(f"{path}: {reason}")):
        return _read_config(path)


def _read_config(path: Path) -> WatchConfig:
    try:
        with path.open("rb") as file:
            stated = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # TOML's own errors, and dates and numbers that are none
        raise ConfigError(f"{path}: is no TOML ({error})") from error
    tables = stated.pop("root", None)
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: there is no [[root]] table; each has at least `in` and `out`")
    stated, *tables = (_rename_former_keys(table, path) for table in (stated, *tables))
    service = {key: stated.pop(key) for key in _Service.__annotations__ if key in stated}
    top = _Place(path)
    top.check({**service, **stated})
    options: dict[str, Any] = dict(top.read(service, _Service))
    options["state"] = top.folder("state", service["state"]) if "state" in service else default_state()
    roots = tuple(_Place(path, f"root {n}: ").root({**stated, **table}) for n, table in enumerate(tables, 1))
    check_roots(roots)
    return WatchConfig(roots, **options)


def configure(
    source: Path, output: Path, recipe: Recipe, state: Path | None, options: Mapping[str, Any]
) -> WatchConfig:
    """Watch one folder, by options that are called as the keys of a file; more of them do no harm.

    Raises:
        ConfigError: the folders make no sense.
    """
    fields = {_FIELDS.get(key, key): options[key] for key in _Options.__annotations__}
    if fields["failed_dir"] is not None:
        fields["failed_dir"] = make_absolute(fields["failed_dir"])
    root = Root(make_absolute(source), make_absolute(output), recipe, **fields)
    check_roots((root,))
    folder = default_state() if state is None else make_absolute(state)
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


# What may stand in the file: in `[[root]]` tables, above them for all roots, and of the service.


def _at_least(least: float) -> Meta:
    return Meta(ge=least, le=MAXIMUM_NUMBER, description=f"a finite number of at least {least:g}")


Folder = Annotated[str, Meta(min_length=1, pattern=r"\A[^\0]*\Z", description="a path")]
Flag = Annotated[bool, Meta(description="true or false")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Count = Annotated[int, Meta(ge=1, description="a whole number of at least 1")]


class _Recipe(TypedDict, total=False):
    method: Text
    model: Text
    bundled: Literal["fast", "best"]
    strength: Share
    chroma_strength: Share
    format: Text
    levels: Annotated[OutputLevels, Meta(description=f"one of {', '.join(OutputLevels)}")]
    keep_hot_pixels: Flag
    keep_row_noise: Flag
    min_gain: Annotated[float, Meta(ge=-MAXIMUM_NUMBER, le=MAXIMUM_NUMBER, description="a finite number")]


class _Options(TypedDict, total=False):
    recursive: Flag
    settle: Annotated[float, _at_least(0)]
    poll: Annotated[float, _at_least(0.1)]
    rescan: Annotated[float, _at_least(1)]
    sidecars: Flag
    failed_dir: Folder
    attempts: Count
    lost: Literal["again", "leave"]
    train: Literal["never", "idle", "now"]
    train_after: Annotated[int, Meta(ge=3, description="a whole number of at least 3")]
    train_minutes: Annotated[float, _at_least(0.01)]


_Folders = TypedDict("_Folders", {"in": Folder, "out": Folder})  # `in` is a word of Python's


class _Root(_Folders, _Options, _Recipe, total=False):
    pass


class _Service(TypedDict, total=False):
    state: Folder
    jobs: Count
    device: Text


_FIELDS = {"in": "source", "out": "output", "settle": "settle_s", "poll": "poll_s", "rescan": "rescan_s"}
_FORMER = {"base": "bundled"}  # keys that files of old have
_FOLDERS = ("in", "out", "failed_dir")


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of a file; every refusal names both and the key."""

    path: Path
    part: str = ""

    def check(self, values: dict[str, Any]) -> None:
        """Refuse what may stand nowhere in the file."""
        try:
            check_keys(values, _Root, _Service)
        except TableError as error:
            raise self._refuse(error) from None

    def read(self, values: dict[str, Any], kind: type[T]) -> T:
        try:
            return read_table(values, kind)
        except TableError as error:
            raise self._refuse(error) from None

    def root(self, values: dict[str, Any]) -> Root:
        table: dict[str, Any] = dict(self.read(values, _Root))
        if (format := table.get("format")) is not None and format not in extensions("writers"):
            allowed = ", ".join(extensions("writers"))
            raise self._refuse(TableError("format", f"must be one of {allowed}, not {shorten(format)}"))
        recipe = Recipe(**{key: table.pop(key) for key in _Recipe.__annotations__ if key in table})
        folders = {key: self.folder(key, table[key]) for key in _FOLDERS if key in table}
        return Root(
            recipe=recipe, **{_FIELDS.get(key, key): value for key, value in (table | folders).items()}
        )

    def folder(self, key: str, value: str) -> Path:
        """A folder by its path, which is relative to that of the file."""
        try:
            return Path(os.path.normpath(self.path.absolute().parent / Path(value).expanduser()))
        except RuntimeError as error:
            raise self._refuse(TableError(key, f"names no user's home: {value!r}")) from error

    def _refuse(self, error: TableError) -> ConfigError:
        meant = f"; `{error.nearest}` is meant?" if error.nearest else ""
        return ConfigError(f"{self.path}: {self.part}`{error.key}` {error.reason}{meant}")


def _rename_former_keys(table: dict[str, Any], path: Path) -> dict[str, Any]:
    for former, name in _FORMER.items():
        if former in table and name in table:
            raise ConfigError(f"{path}: `{former}` is the former name of `{name}`: leave one of them out")
    return {_FORMER.get(key, key): value for key, value in table.items()}


def _is_other_than_folder(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except OSError:  # a mount that does not answer: the service waits for it
        return False


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
