"""What training minimises: one file per method, found by name when it is asked for.

Ours are registered in pyproject.toml as anybody's package registers its own:

    [project.entry-points."rawdenoise.objectives"]
    mine = "my_package.my_module:my_objective"

An objective is a function of a training step that gives a loss (`Objective`). Names of ours are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from rawdenoise.errors import TrainingError
from rawdenoise.training.objectives.step import Objective, Step

GROUP = "rawdenoise.objectives"
_HERE = "rawdenoise.training.objectives"
# As in pyproject.toml; said here, too, for a checkout that is not installed.
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "gr2r": f"{_HERE}.gr2r:calibrated",
        "gr2r-paper": f"{_HERE}.gr2r:paper",
        "r2r": f"{_HERE}.r2r:r2r",
        "neighbor2neighbor": f"{_HERE}.neighbor2neighbor:neighbor2neighbor",
        "noise2void": f"{_HERE}.noise2void:noise2void",
        "noisier2noise": f"{_HERE}.noisier2noise:noisier2noise",
        "blind2unblind": f"{_HERE}.blind2unblind:blind2unblind",
        "noise2grad": f"{_HERE}.noise2grad:noise2grad",
        "self2self": f"{_HERE}.self2self:self2self",
        "unpaired": f"{_HERE}.blind_spots:unpaired",
        "unpaired-paper": f"{_HERE}.blind_spots:unpaired_paper",
        "laine19": f"{_HERE}.blind_spots:laine19",
        "noise2noise": f"{_HERE}.pairs:noise2noise",
        "supervised": f"{_HERE}.pairs:supervised",
        "supervised-decibels": f"{_HERE}.pairs:supervised_decibels",
    }
)
NEED_PAIRS = frozenset(
    {"noise2noise", "supervised", "supervised-decibels"}
)  # a camera's captures alone will not do
NEED_BLIND_SPOTS = frozenset({"unpaired", "unpaired-paper", "laine19"})


class _Objectives(Mapping[str, Objective]):
    """Objectives by name, ours first; each is imported when it is first asked for."""

    def __getitem__(self, name: str) -> Objective:
        """Import an objective.

        Raises:
            KeyError: there is none of that name. TrainingError: somebody's package cannot be imported.
        """
        if name in BUILT_IN:
            return _load_built_in(name)
        return _load_foreign(name)

    def __contains__(self, name: object) -> bool:
        """Whether there is an objective of that name; it is not imported."""
        return name in BUILT_IN or name in _foreign_entries()

    def __iter__(self) -> Iterator[str]:
        """Name them all, ours first."""
        yield from BUILT_IN
        yield from _foreign_entries()

    def __len__(self) -> int:
        return len(BUILT_IN) + len(_foreign_entries())


OBJECTIVES: Mapping[str, Objective] = _Objectives()


@cache
def _load_built_in(name: str) -> Objective:
    module, _, function = BUILT_IN[name].partition(":")
    objective: Objective = getattr(import_module(module), function)
    return objective


@cache
def _foreign_entries() -> Mapping[str, EntryPoint]:
    """What other packages have registered."""
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN}


@cache
def _load_foreign(name: str) -> Objective:
    entry = _foreign_entries()[name]
    try:
        objective = entry.load()
    except Exception as error:  # of a package that is not ours
        package = "" if entry.dist is None else f" of {entry.dist.name}"
        raise TrainingError(f"the objective {name!r}{package} cannot be imported ({error})") from error
    if not callable(objective):
        raise TrainingError(f"the objective {name!r} ({entry.value}) is no function of a step")
    return objective


__all__ = ["BUILT_IN", "GROUP", "NEED_BLIND_SPOTS", "NEED_PAIRS", "OBJECTIVES", "Objective", "Step"]
