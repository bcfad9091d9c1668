"""Where this user's folders lie for photo programs, and how they call rawdenoise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import platformdirs

from rawdenoise.hosts.places import Places, content_folder, find_command, find_places, system_of


def user_places() -> Places:
    """The user's own folders, as this system and its environment name them."""
    system = system_of(sys.platform)
    return find_places(
        system,
        Path.home().absolute(),
        os.environ,
        own=platformdirs.user_data_path("rawdenoise") / "plugins",
        content=content_folder(),
        command=find_command(sys.argv[0], sys.executable, system),
    )
