"""Ten thousand RAW + JPEG pairs in one folder: the service stays alive, and ends when it is told to."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from lab.report import Page, markdown
from lab.store import Lab
from lab.table import COUNT, option, table

from rawdenoise import __version__
from rawdenoise.capture.raw import Provenance
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture
from rawdenoise.watching.output_mark import MARKER

OLDEST_BEAT_S, SLOWEST_STOP_S = 40.0, 10.0
LIVES_S = (0.2, 12.0)
PATIENCE_S = 3600.0


@table("pairs", {"docs/watching.md: ten thousand captures with their JPEGs": ""})
@option("--pairs", "count", type=COUNT, default=10_000)
@option("--stops", default=20)
@option("--jobs", type=COUNT, default=2)
@option("--seed", default=0)
def pairs(lab: Lab, count: int, stops: int, jobs: int, seed: int) -> Page:
    """Ten thousand RAW + JPEG pairs in one folder: the service stays alive, and ends when it is told to.

    `rawdenoise watch --sidecars --strength 0` is started, and ended by SIGTERM at so many random moments;
    then it goes on until all is done, and XMP files come for all of them. Its heartbeat must never be older
    than forty seconds, each SIGTERM must end it within ten, and in the end every capture must have its
    output, its JPEG and its XMP, and nothing else may be there. Exit code 1 where that does not hold.
    """

    def measure() -> object:
        with tempfile.TemporaryDirectory() as temporary:
            service = Service(Path(temporary), jobs)
            _make_pairs(service.source, count)
            began = time.monotonic()
            _start_and_stop(service, count, stops, random.Random(seed))
            seconds = [time.monotonic() - began, service.oldest_beat_s, service.slowest_stop_s]
            return seconds, [*_broken(service, count)]

    settings = {"kind": "pairs", "pairs": count, "stops": stops, "jobs": jobs, "seed": seed}
    seconds, broken = lab.result(settings, measure) or ([], [])
    rows = [[count, stops, *(f"{value:.1f}" for value in seconds)]] if seconds else []
    head = ["pairs", "stops", "s", "oldest heartbeat s", "slowest stop s"]
    return Page("\n".join([markdown(head, rows), *broken]), faults=len(broken))


class Service:
    """`rawdenoise watch` on a folder of pairs, and how long its heartbeat and its stops took at most."""

    def __init__(self, work: Path, jobs: int) -> None:
        self.source, self.output, self.state = work / "in", work / "out", work / "state"
        self._command: list[str | Path] = [
            sys.executable, "-m", "rawdenoise", "watch", self.source, "-o", self.output,
            "--state", self.state, "--sidecars", "--strength", "0", "--settle", "1", "--train", "never",
            "-j", str(jobs), "--log-json",
        ]  # fmt: skip
        self._log = work / "log.jsonl"
        self.oldest_beat_s = self.slowest_stop_s = 0.0
        self.codes = set[int]()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it for the length of the block, and end it by SIGTERM."""
        with self._log.open("ab") as log, subprocess.Popen(self._command, stderr=log) as process:
            try:
                yield
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                self.codes.add(process.wait(60))
                self.slowest_stop_s = max(self.slowest_stop_s, time.monotonic() - began)
            finally:
                process.kill()

    def wait(self, seconds: float, suffixes: tuple[str, ...] = (), number: int = 0) -> None:
        """Look at its heartbeat for a while, or until there are so many outputs of these kinds."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if suffixes and all(self._count(suffix) >= number for suffix in suffixes):
                return
            self.oldest_beat_s = max(self.oldest_beat_s, self._age_of_beat())
            time.sleep(min(2.0 if suffixes else 0.1, seconds))

    def _count(self, suffix: str) -> int:
        if not self.output.is_dir():
            return 0
        return sum(path.name.endswith(suffix) and path.name[0] != "." for path in self.output.iterdir())

    def _age_of_beat(self) -> float:
        ages = []
        for path in (self.state / "heartbeats").glob("*.json"):
            with suppress(OSError, ValueError):
                ages.append(time.monotonic() - json.loads(path.read_bytes())["steady"])
        return max(ages, default=0.0)


def _make_pairs(folder: Path, count: int) -> None:
    """Write captures that differ only in what follows their last tile, and a JPEG of each."""
    folder.mkdir(parents=True)
    scene = np.full((24, 32, 3), 0.3, np.float32)
    noisy, _ = capture(scene, SIMULATED_IMX385.resize(32, 24), 12800, np.random.default_rng(0))
    write_dng(noisy, folder / "first.dng", provenance=Provenance(__version__, "none", 0.0))
    data = (folder / "first.dng").read_bytes()
    (folder / "first.dng").unlink()
    for index in range(count):
        (folder / f"IMG_{index:05}.dng").write_bytes(data + index.to_bytes(4, "big"))
        (folder / f"IMG_{index:05}.JPG").write_bytes(b"\xff\xd8" + bytes(index % 999))


def _start_and_stop(service: Service, count: int, stops: int, rng: random.Random) -> None:
    """Start and stop it, let it do all, then bring the sidecars that come late."""
    for _ in range(stops):
        with service.running():
            service.wait(rng.uniform(*LIVES_S))
    with service.running():
        service.wait(PATIENCE_S, (".dng", ".JPG"), count)
        for index in range(count):
            (service.source / f"IMG_{index:05}.dng.xmp").write_bytes(f"<x{index}/>".encode())
        service.wait(PATIENCE_S, (".xmp",), count)


def _broken(service: Service, count: int) -> Iterator[str]:
    """Look for every promise that was broken."""
    if service.codes - {0, 128 + signal.SIGTERM, -signal.SIGTERM}:  # the last two before it had begun
        yield f"it ended with {sorted(service.codes)}"
    if service.oldest_beat_s > OLDEST_BEAT_S:
        yield f"its heartbeat was {service.oldest_beat_s:.0f} s old"
    if service.slowest_stop_s > SLOWEST_STOP_S:
        yield f"it took {service.slowest_stop_s:.1f} s to end"
    stems = [f"IMG_{index:05}" for index in range(count)]
    meant = {f"{stem}{end}" for stem in stems for end in (".dng", ".JPG", ".dng.xmp")} | {MARKER}
    outputs = {path.name for path in service.output.iterdir()}
    for name in sorted(meant ^ outputs)[:20]:
        yield f"{'missing' if name in meant else 'left over'}: {name}"
    for name in (f"{stem}{end}" for stem in stems for end in (".JPG", ".dng.xmp")):
        with suppress(OSError):
            if (service.output / name).read_bytes() != (service.source / name).read_bytes():
                yield f"another sidecar's content: {name}"
