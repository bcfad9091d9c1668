"""The models that come with the package, for cameras that have none of their own."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

from rawdenoise.errors import ModelMissingError
from rawdenoise.models.archive import read_model
from rawdenoise.models.model import Model

BUNDLED = ("fast", "best")  # named after their networks
BUNDLED_PREFIX = "base-"  # of the ids that they were given


def is_bundled(id: str) -> bool:
    """Whether a model's id is that of one made for all cameras."""
    return id.startswith(BUNDLED_PREFIX)


@cache
def load_bundled(name: str) -> Model:
    """Load a bundled model; it serves any camera.

    Raises:
        ModelMissingError: there is none of that name. ModelFileError: the installation is damaged.
    """
    resource = files("rawdenoise") / "_base" / f"{name}.rawdenoise"
    if name not in BUNDLED or not resource.is_file():
        raise ModelMissingError(f"no bundled model called {name!r}; there are {', '.join(BUNDLED)}")
    with as_file(resource) as path:
        return read_model(path)
