"""How long a program waits for its first picture, and for the next: a command anew, and one that stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
from lab.report import Page, markdown
from lab.stage import SIZES, make_capture, processor
from lab.store import Lab
from lab.table import COUNT, option, table

PROGRAM = (sys.executable, "-m", "rawdenoise")
HELP, TORCH, MODULES, RESULT, ENDED, FEW = (
    "`rawdenoise --help`",
    "Python with torch loaded",
    "Python with all of `denoise` loaded",
    "`rawdenoise denoise`: the result is written",
    "`rawdenoise denoise`: the process has ended",
    "`rawdenoise denoise` of four: the first result is written",
)
READY, FIRST, SECOND = (
    "`rawdenoise serve`: ready",
    "`rawdenoise serve`: the first result is written",
    "`rawdenoise serve`: the second, from its request on",
)
LONGEST_S = 600.0


@table("startup", {"plugins/README.md: what a picture takes anew and in a process that stays": ""})
@option("--megapixels", type=click.Choice([str(size) for size in SIZES]), default="1")
@option("--rounds", type=COUNT, default=5)
def startup(lab: Lab, megapixels: str, rounds: int) -> Page:
    """How long a program waits that has one picture denoised, and then another.

    Each round starts everything anew, one after the other, so that a busy machine slows all alike; medians
    over the rounds. Files are in the system's cache. Ratios are to a command of its own.
    """
    settings = {"kind": "startup", "megapixels": megapixels, "rounds": rounds}

    def measure() -> object:
        with tempfile.TemporaryDirectory(prefix="startup-") as folder:
            return _measure(Path(folder), SIZES[int(megapixels)], rounds)

    seconds: dict[str, float] = lab.result(settings, measure) or {}
    whole = seconds.get(RESULT, 1.0)
    rows = [[name, f"{value:.2f}", f"{value / whole:.2f}"] for name, value in seconds.items()]
    title = f"{processor()}, {os.cpu_count()} cores; seconds from the start of the process"
    return Page(markdown([f"{megapixels} MP", "s", "ratio"], rows, title))


def _measure(folder: Path, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Seconds of each row: medians over the rounds, of which one more is not counted."""
    sources = [folder / f"{number}.dng" for number in range(4)]
    for source in sources:
        make_capture(source, *size)
    variables = ("RAWDENOISE_MODELS", "RAWDENOISE_PROFILES", "RAWDENOISE_CACHE")
    environment = {**os.environ, **{name: str(folder / name) for name in variables}}
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, seconds in _run_round(sources, folder / f"out{number}", environment):
            if number:
                found.setdefault(name, []).append(seconds)
    return {name: median(values) for name, values in found.items()}


def _run_round(
    sources: Sequence[Path], output: Path, environment: dict[str, str]
) -> Iterator[tuple[str, float]]:
    """Start each thing once."""
    for name, command in (
        (HELP, [*PROGRAM, "--help"]),
        (TORCH, [sys.executable, "-c", "import torch"]),
        (MODULES, [sys.executable, "-c", "import rawdenoise.app.denoise, rawdenoise.cli.batch_report"]),
    ):
        start = time.perf_counter()
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=LONGEST_S)
        yield name, time.perf_counter() - start
    for name, end, given in ((RESULT, ENDED, sources[:1]), (FEW, "", sources)):
        start = time.perf_counter()
        command = [*PROGRAM, "denoise", *map(str, given), "-o", str(output / str(len(given))), "--json"]
        with _run(command, environment) as process:
            _read(process, lambda said: said["status"] == "done")
            yield name, time.perf_counter() - start
            process.communicate(timeout=LONGEST_S)
        if end:
            yield end, time.perf_counter() - start
    yield from _serve(sources, output / "served", environment)


def _serve(sources: Sequence[Path], output: Path, environment: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Start a server and have it denoise twice."""
    start = time.perf_counter()
    with _run([*PROGRAM, "serve", "--stdio"], environment) as process:
        assert process.stdin is not None
        _read(process, lambda said: said["type"] == "ready")
        yield READY, time.perf_counter() - start
        for name, source in zip((FIRST, SECOND), sources, strict=False):
            start = start if name == FIRST else time.perf_counter()
            request = {"id": name, "arguments": ["denoise", str(source), "-o", str(output)]}
            process.stdin.write(f"{json.dumps(request)}\n")
            process.stdin.flush()
            _read(process, lambda said: said.get("status") == "done")
            yield name, time.perf_counter() - start
            _read(process, lambda said: said["type"] == "end")
        process.communicate(timeout=LONGEST_S)


def _run(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _read(process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Read objects until one is as wanted."""
    assert process.stdout is not None
    for line in process.stdout:
        if wanted(json.loads(line)):
            return
    raise click.ClickException(f"{process.args} ended too early")
