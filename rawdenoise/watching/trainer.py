"""A camera's own model, trained from what arrived, beside the service and below it in priority."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rawdenoise.atomic import write_bytes
from rawdenoise.errors import OutputError
from rawdenoise.models.bundled import BUNDLED_PREFIX
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.reports import Report

LOOK_S = 30.0
IDLE_S = 60.0
REFUSED_S = 600.0
STOP_S = 1.5
LOWEST_PRIORITY = 19


class Trainer:
    """Starts one training at a time: of the camera with most captures denoised by the bundled model.

    It is `rawdenoise train` in a process of its own, which keeps the new model only if it is estimated to be
    better. Stopped or killed, it goes on where it was when it is next started.
    """

    def __init__(self, config: WatchConfig, ledger: Ledger, report: Report) -> None:
        self._config, self._ledger, self._report = config, ledger, report
        self._process: subprocess.Popen[bytes] | None = None
        self._looked = 0.0
        self._idle_since: float | None = None
        self._captures = 0
        self.camera = ""
        self.popen = subprocess.Popen

    def configure(self, config: WatchConfig) -> None:
        """Go by other roots from now on; a training that runs goes on."""
        self._config = config

    def step(self, now: float, *, idle: bool) -> None:
        """Look after the training that runs, or whether one should; where a disk refuses, later again."""
        try:
            self._step(now, idle=idle)
        except (OSError, OutputError) as error:
            self._looked = now + REFUSED_S
            self._report.say("trained", camera=self.camera, result=f"training cannot be started ({error})")
            self.camera = ""

    def _step(self, now: float, *, idle: bool) -> None:
        self._idle_since = (self._idle_since or now) if idle else None
        if self._process is not None:
            self._look_after()
        elif now - self._looked >= LOOK_S:
            self._looked = now
            self._start_one(rested=self._idle_since is not None and now - self._idle_since >= IDLE_S)

    def terminate(self) -> None:
        """Ask a training to write its checkpoint and end."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Have a training write its checkpoint and end."""
        self.terminate()
        if self._process is not None:
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start_one(self, *, rested: bool) -> None:
        for root in self._config.roots:
            recipe = root.recipe
            if (
                root.train == "never"
                or recipe.model
                or recipe.method
                or recipe.takes_nothing
                or (root.train == "idle" and not rested)
            ):
                continue
            counts = self._ledger.figures.count_cameras(BUNDLED_PREFIX, root.output)
            for camera, count in sorted(counts.items(), key=lambda item: -item[1]):
                if camera and count >= max(root.train_after, 2 * self._count_trained_on(camera)):
                    captures = [
                        path
                        for path in self._ledger.figures.list_captures(camera, BUNDLED_PREFIX, root.output)
                        if path.is_file()
                    ]
                    if len(captures) >= root.train_after:
                        self._start(root, camera, captures)
                        return

    def _count_trained_on(self, camera: str) -> int:
        return int(self._ledger.facts.get(f"trained {camera}") or 0)

    def _start(self, root: Root, camera: str, captures: list[Path]) -> None:
        folder = self._config.state / "training"
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(camera.encode()).hexdigest()[:16]
        # The same list until its training has ended: a training goes on only with the same captures.
        files, log, results = (folder / f"{name}.{kind}" for kind in ("files", "log", "json"))
        if not files.exists():
            write_bytes(files, b"".join(os.fsencode(path) + b"\0" for path in captures))
        command = [
            sys.executable, "-m", "rawdenoise", "train", "--files-from", str(files), "--null",
            "--minutes", f"{root.train_minutes:g}", "--net", root.recipe.bundled,
            "--device", self._config.device, "--json",
        ]  # fmt: skip
        low = getattr(subprocess, "IDLE_PRIORITY_CLASS", 0)
        with results.open("wb") as output, log.open("wb") as progress:
            self._process = self.popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=progress, creationflags=low
            )
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, LOWEST_PRIORITY)
        self.camera, self._captures = camera, len(captures)
        self._files, self._log, self._results = files, log, results
        self._report.say("training", camera=camera, captures=len(captures), minutes=root.train_minutes)

    def _look_after(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return
        self._process = None
        result = describe_result(read_results(self._results), self._log, code)
        self._files.unlink(missing_ok=True)
        self._ledger.facts.set(f"trained {self.camera}", str(self._captures))
        self._report.say(
            "trained", camera=self.camera, result=result, exit_code=code, time_s=round(time.time())
        )
        self.camera = ""


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read what `rawdenoise train --json` has printed: one object a camera, as docs/cli.md describes them."""
    results = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):  # half a line, of a process that was killed
            results.append(json.loads(line))
    return [result for result in results if isinstance(result, dict)]


def describe_result(results: list[dict[str, Any]], log: Path, code: int) -> str:
    """Say what a training came to: the new model, why there is none, or why it failed."""
    # Captures of one camera's name may be of several modes. One that was damaged makes the exit code 1.
    for result in results:
        match result.get("outcome"):
            case "kept":
                return f"its own model {result.get('model')} is used from now on"
            case "loses" | "not better":
                return f"no new model: {result.get('reason')}"
    reasons = [str(result["reason"]) for result in results if result.get("reason")]
    lines = log.read_text(errors="replace").splitlines()
    return f"training failed ({(reasons or lines or [f'exit code {code}'])[-1]})"
