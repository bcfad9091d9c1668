"""darktable without a screen: for tests/hosts/test_darktable.py, and for the pictures of docs/plugins.md."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rawdenoise.app.plugins import install as install_plugin
from rawdenoise.capture.raw import Provenance
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.hosts.places import System, content_folder, find_places
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture

HERE = Path(__file__).parent
PLUGIN = HERE.parents[1] / "plugins" / "darktable"
PROGRAMS = ("darktable", "xvfb-run", "Xvfb", "xauth")
PATIENCE_S = 300.0
START_S = 60.0
ATTEMPTS = 4
REAL_COMMAND = (sys.executable, "-m", "rawdenoise")


class HungError(Exception):
    """darktable locked itself at its start."""


def find_missing(programs: Sequence[str] = PROGRAMS) -> str | None:
    """Say which programs are not installed."""
    missing = [name for name in programs if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed (make test-hosts installs it)" if missing else None


def lua_string(text: str) -> str:
    """Write a string as Lua reads it, byte by byte where it is not plain."""
    return (
        '"'
        + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03}" for b in os.fsencode(text))
        + '"'
    )


@dataclass(frozen=True)
class Run:
    """What a scenario left: messages of the plug-in, notes of the scenario, and what darktable printed."""

    messages: list[str]
    notes: list[str]
    output: str
    exit_code: int


@dataclass(frozen=True)
class Darktable:
    """A darktable with settings and a library of its own in `home`, and the plug-in as users install it."""

    home: Path

    @property
    def config(self) -> Path:
        """The folder of its settings."""
        return self.home / "config"

    @property
    def cache(self) -> Path:
        """The folder of its thumbnails, and of the files of a running command."""
        return self.home / "cache"

    def install(self, command: Sequence[str] = REAL_COMMAND, **preferences: object) -> Darktable:
        """Do what `rawdenoise plugins install darktable` does; names with / are darktable's."""
        places = find_places(
            System.LINUX,
            self.home,
            {},
            own=self.home / "own",
            content=content_folder(),
            command=tuple(command),
        )
        self.config.mkdir()
        (plugin,) = install_plugin("darktable", places, folder=self.config)
        assert plugin.folder == self.config
        self.cache.mkdir()
        lines = [
            f"{key if '/' in key else f'lua/rawdenoise/{key}'}={value}" for key, value in preferences.items()
        ]
        (self.config / "darktablerc").write_text("\n".join([*lines, ""]))
        return self

    def run(
        self, scenario: str, *, environment: Mapping[str, str] | None = None, screen: str = "1280x900x24"
    ) -> Run:
        """Start darktable, run a scenario (the body of a Lua function of `dt`, `host`), wait for the end."""
        script, said = self.home / "scenario.lua", self.home / "said.txt"
        script.write_text(f"return function(dt, host)\n{scenario}\nend\n")
        driver = lua_string(str(HERE / "darktable_driver.lua"))
        command = ["xvfb-run", "-a", "-s", f"-screen 0 {screen}", "darktable", "--configdir", self.config]
        command += [
            "--cachedir",
            self.cache,
            "--library",
            self.config / "library.db",
            "--disable-opencl",
            "-d",
            "lua",
        ]
        command += ["--luacmd", f"dofile({driver})"]
        settings = {"RAWDENOISE_SCENARIO": str(script), "RAWDENOISE_SAID": str(said), "HOME": str(self.home)}
        unwanted = {"LANGUAGE", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS"}
        inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
        complete = {**inherited, "LC_ALL": "C.UTF-8", **settings, **(environment or {})}
        for _attempt in range(ATTEMPTS):
            for left in (said, *self.config.glob("*.lock")):
                left.unlink(missing_ok=True)
            started = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.home,
                env=complete,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                _wait_for_start(started, said)
                printed, _ = started.communicate(timeout=PATIENCE_S)
                break
            except HungError:
                continue
            finally:
                if started.poll() is None:
                    os.killpg(started.pid, signal.SIGKILL)  # xvfb-run alone would leave darktable behind
                    started.communicate()
        else:
            raise HungError(f"darktable did not start in {ATTEMPTS} attempts")
        text = said.read_text(errors="surrogateescape") if said.exists() else ""
        lines = [line.split("\t", 1) for line in text.splitlines()]
        output = printed.decode(errors="replace")
        assert ["note", "passed"] in lines, f"{lines}\n{output}"
        messages = [text.removeprefix("rawdenoise: ") for kind, text in lines if kind == "print"]
        return Run(messages, [text for kind, text in lines if kind == "note"], output, started.returncode)

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Ask its library, once it has ended; `data` is the database of tags."""
        with sqlite3.connect(self.config / "library.db") as library:
            library.execute("ATTACH DATABASE ? AS data", [str(self.config / "data.db")])
            return library.execute(sql, values).fetchall()


def _wait_for_start(process: subprocess.Popen[bytes], said: Path) -> None:
    """Wait until the driver runs: a busy darktable 4.2 may lock itself in a luarc of its own."""
    until = time.monotonic() + START_S
    while not said.exists() and process.poll() is None:
        if time.monotonic() > until:
            raise HungError("darktable did not start")
        time.sleep(0.1)


def write_capture(path: Path, *, seed: int = 0, iso: int = 6400, width: int = 256, height: int = 192) -> Path:
    """A capture of a drawn scene by a simulated camera."""
    rng = np.random.default_rng(seed)
    camera = SIMULATED_IMX385.resize(width, height)
    noisy, _clean = capture(np.float32(0.7) * make_scene(height, width, rng), camera, iso, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(noisy, path, provenance=Provenance("0", "none", 0.0))
    return path
