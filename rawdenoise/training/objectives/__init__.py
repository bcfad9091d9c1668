"""What training minimises: one file per method, each imported when it is asked for by its name.

Ours are registered as anybody's package registers its own (`rawdenoise.extensions.registry`); an objective is
a function of a training step that gives a loss (`Objective`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rawdenoise.errors import TrainingError
from rawdenoise.extensions.registry import BUILT_IN_EXTENSIONS, extensions, load
from rawdenoise.training.objectives.step import Objective, Step

GROUP = "objectives"
NEED_PAIRS = frozenset(
    {"noise2noise", "supervised", "supervised-decibels"}
)  # a camera's captures alone will not do
NEED_BLIND_SPOTS = frozenset({"unpaired", "unpaired-paper", "laine19"})


class _Objectives(Mapping[str, Objective]):
    """Objectives by name, ours first."""

    def __getitem__(self, name: str) -> Objective:
        """Import an objective.

        Raises:
            KeyError: there is none of that name. ExtensionError: somebody's package cannot be imported.
            TrainingError: what it has registered is no function.
        """
        if name not in extensions(GROUP):
            raise KeyError(name)
        objective = load(GROUP, name)
        if not callable(objective):
            raise TrainingError(f"the objective {name!r} is no function of a step")
        return objective

    def __contains__(self, name: object) -> bool:
        """Whether there is an objective of that name; it is not imported."""
        return name in extensions(GROUP)

    def __iter__(self) -> Iterator[str]:
        """Name them all, ours first."""
        ours = BUILT_IN_EXTENSIONS[GROUP]
        yield from ours
        yield from (name for name in extensions(GROUP) if name not in ours)

    def __len__(self) -> int:
        return len(extensions(GROUP))


OBJECTIVES: Mapping[str, Objective] = _Objectives()

__all__ = ["NEED_BLIND_SPOTS", "NEED_PAIRS", "OBJECTIVES", "Objective", "Step"]
