"""`rawdenoise watch` in processes that are started and ended, and what they have said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rawdenoise import __version__
from rawdenoise.capture.raw import Provenance, RawImage
from rawdenoise.formats.dng.writer import write_dng

PROGRAM = ("-m", "rawdenoise")


class Watched:
    """A folder `in`, its outputs, and the service between them, which never trains."""

    def __init__(
        self, work: Path, *options: object, output: Path | None = None, program: Sequence[str] = PROGRAM
    ) -> None:
        self.arrivals, self.output, self.state = work / "in", output or work / "out", work / "state"
        self.logs = work / "logs"
        self._command = [
            sys.executable, *program, "watch", self.arrivals, "-o", self.output, "--state", self.state,
            "--train", "never", "--log-json", *map(str, options),
        ]  # fmt: skip
        self.arrivals.mkdir(parents=True)
        self.logs.mkdir()

    def start(self, *more: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own, with a log of its own."""
        log = self.logs / f"{len(list(self.logs.iterdir())):05}.jsonl"
        environment = {**os.environ, **variables}
        with log.open("w") as errors:
            return subprocess.Popen(
                [*self._command, *more], stderr=errors, start_new_session=True, env=environment
            )

    def events(self) -> Iterator[dict[str, Any]]:
        """All that was said, but for last lines that were cut off."""
        for path in sorted(self.logs.iterdir()):
            for line in path.read_text(errors="replace").splitlines():
                with suppress(ValueError):
                    yield json.loads(line)


def outlives(service: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for a time, or for a service to end; true if it has not."""
    with suppress(subprocess.TimeoutExpired):
        service.wait(max(0.0, seconds))
    return service.poll() is None


def write_untouched(image: RawImage, output: Path) -> Path:
    """Write a capture as a DNG that nobody has denoised."""
    write_dng(image, output, provenance=Provenance(__version__, "none", 0.0))
    return output
