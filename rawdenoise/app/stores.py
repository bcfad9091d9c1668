"""Where a user's models, noise profiles and caches lie; nothing else looks that up."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from rawdenoise.models.store import ModelStore
from rawdenoise.noise.profiles.store import ProfileStore

APP_NAME = "rawdenoise"


@dataclass(frozen=True, slots=True, eq=False)
class Stores:
    """The models and profiles that a command uses, the folder of its digests, and one for trainings."""

    models: ModelStore
    profiles: ProfileStore
    digests: Path
    scratch: Path


def user_stores() -> Stores:
    """The user's own stores, or those named by RAWDENOISE_MODELS, _PROFILES and _CACHE."""
    data, cache = platformdirs.user_data_path(APP_NAME), platformdirs.user_cache_path(APP_NAME)
    return Stores(
        ModelStore(_read_folder("RAWDENOISE_MODELS") or data / "models"),
        ProfileStore(_read_folder("RAWDENOISE_PROFILES") or data / "cameras"),
        digests=_read_folder("RAWDENOISE_CACHE") or cache,
        scratch=cache,
    )


def _read_folder(variable: str) -> Path | None:
    """The folder that a variable of the environment names; None where it is empty, too."""
    text = os.environ.get(variable)
    return Path(text) if text else None
