"""Lightroom's imitation with the plug-in in it, as tests use it: Lua in, the state of the catalogue out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "plugins" / "lightroom" / "rawdenoise.lrplugin"
LUA = shutil.which("lua5.1")
PATIENCE = 300.0

needs_lua = pytest.mark.skipif(LUA is None, reason="lua5.1 is not installed")

PRELUDE = """
local HERE, PLUGIN, TEMPORARY = arg[1], arg[2], arg[3]
local Sdk = dofile(HERE .. "/lightroom_sdk.lua")
local function start(options)
  options = options or {}
  options.plugin, options.temporary = PLUGIN, TEMPORARY
  return Sdk.start(options)
end
"""


@dataclass(frozen=True)
class Host:
    """A Lightroom without photos, with the plug-in in it, and a folder for photos with an unkind name."""

    plugin: Path
    temporary: Path
    photos: Path
    calls: Path

    def path(self, name: str) -> str:
        """Where a photo lies, as a Lua string."""
        return lua_string(str(self.photos / name))

    def run(self, script: str) -> Any:
        """Run Lua and parse the JSON that it prints."""
        file = self.temporary.parent / "script.lua"
        file.write_text(PRELUDE + script)
        words = [str(LUA), str(file), str(HERE), str(self.plugin), str(self.temporary)]
        environment = os.environ | {"STAND_IN_CALLS": str(self.calls)}
        ended = subprocess.run(words, capture_output=True, timeout=PATIENCE, env=environment, check=False)
        assert ended.returncode == 0, ended.stderr.decode()
        return json.loads(ended.stdout)

    def use(self, *words: str) -> None:
        """Have the plug-in run these words, as `rawdenoise plugins install` notes them."""
        listed = ", ".join(lua_string(word) for word in words)
        (self.plugin / "Command.lua").write_text(f"return {{{listed}}}\n")


def lua_string(text: str) -> str:
    """A Lua string of any bytes."""
    return '"' + "".join(f"\\{byte:03d}" for byte in os.fsencode(text)) + '"'


def a_raw(path: Path) -> Path:
    """A file that only the stand-in takes for a raw."""
    path.write_bytes(b"a raw")
    return path


def photos_of(state: Any) -> dict[str, Any]:
    """The photos of the catalogue, by their names."""
    return {Path(photo["path"]).name: photo for photo in state["photos"]}


@pytest.fixture(name="host")
def make_host(tmp_path: Path) -> Host:
    """A Lightroom whose plug-in runs the stand-in."""
    photos = tmp_path / 'Ré "os" & 50% $HOME'
    made = Host(tmp_path / "rawdenoise.lrplugin", tmp_path / "it's 100% te mp", photos, tmp_path / "calls")
    shutil.copytree(SOURCE, made.plugin)
    made.temporary.mkdir()
    made.photos.mkdir()
    made.use(sys.executable, str(HERE / "lightroom_stand_in.py"))
    return made


def denoise(host: Host, before: str, names: Sequence[str], after: str = "") -> Any:
    """Select the photos of these names, choose the menu item, run to the end."""
    photos = "\n".join(f"photos[{i + 1}] = lr.photo({host.path(name)})" for i, name in enumerate(names))
    return host.run(f"""
        local lr = start()
        local photos, on_tick = {{}}, nil
        {photos}
        {before}
        lr.select(unpack(photos))
        lr:menu("Denoise.lua")
        lr:run(on_tick)
        {after}
        print(lr:describe())
    """)
