"""Ten thousand RAW + JPEG pairs in one folder: the service stays alive, and ends when it is told to."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from lab.report import Page, markdown
from lab.table import COUNT, measured, option
from lab.watched import Watched, write_untouched

from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture
from rawdenoise.watching.output_mark import MARKER

OLDEST_BEAT_S, SLOWEST_STOP_S = 40.0, 10.0
LIVES_S = (0.2, 12.0)
PATIENCE_S = 3600.0


def _page(result: Sequence[Sequence[float]], *, pairs: int, stops: int, **_: object) -> Page:
    seconds, broken = result
    row = [pairs, stops, *(f"{value:.1f}" for value in seconds)]
    head = ["pairs", "stops", "s", "oldest heartbeat s", "slowest stop s"]
    return Page("\n".join([markdown(head, [row]), *map(str, broken)]), faults=len(broken))


@measured("pairs", {"docs/watching.md: ten thousand captures with their JPEGs": ""}, _page)
@option("--pairs", type=COUNT, default=10_000)
@option("--stops", default=20)
@option("--jobs", type=COUNT, default=2)
@option("--seed", default=0)
def pairs(work: Path, pairs: int, stops: int, jobs: int, seed: int) -> object:
    """Ten thousand RAW + JPEG pairs in one folder: the service stays alive, and ends when it is told to.

    `rawdenoise watch --sidecars --strength 0` is started, and ended by SIGTERM at so many random moments;
    then it goes on until all is done, and XMP files come for all of them. Its heartbeat must never be older
    than forty seconds, each SIGTERM must end it within ten, and in the end every capture must have its
    output, its JPEG and its XMP, and nothing else may be there. Exit code 1 where that does not hold.
    """
    service = Service(work, "--sidecars", "--strength", 0, "--settle", 1, "-j", jobs)
    _make_pairs(service.arrivals, pairs)
    rng, began = random.Random(seed), time.monotonic()
    for _ in range(stops):
        with service.running():
            service.wait(rng.uniform(*LIVES_S))
    with service.running():
        service.wait(PATIENCE_S, (".dng", ".JPG"), pairs)
        for index in range(pairs):  # sidecars that come late
            (service.arrivals / f"IMG_{index:05}.dng.xmp").write_bytes(f"<x{index}/>".encode())
        service.wait(PATIENCE_S, (".xmp",), pairs)
    seconds = [time.monotonic() - began, service.oldest_beat_s, service.slowest_stop_s]
    return seconds, [*_broken(service, pairs)]


class Service(Watched):
    """`rawdenoise watch` on a folder of pairs, and how long its heartbeat and its stops took at most."""

    oldest_beat_s = slowest_stop_s = 0.0
    codes: frozenset[int] = frozenset()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it for the length of the block, and end it by SIGTERM."""
        with self.start() as process:
            try:
                yield
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                self.codes |= {process.wait(60)}
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
        return sum(path.name[0] != "." for path in self.output.glob(f"*{suffix}"))

    def _age_of_beat(self) -> float:
        ages = [0.0]
        for path in (self.state / "heartbeats").glob("*.json"):
            with suppress(OSError, ValueError):
                ages.append(time.monotonic() - json.loads(path.read_bytes())["steady"])
        return max(ages)


def _make_pairs(folder: Path, count: int) -> None:
    """Write captures that differ only in what follows their last tile, and a JPEG of each."""
    scene = np.full((24, 32, 3), 0.3, np.float32)
    noisy, _ = capture(scene, SIMULATED_IMX385.resize(32, 24), 12800, np.random.default_rng(0))
    first = write_untouched(noisy, folder / "first.dng")
    data = first.read_bytes()
    first.unlink()
    for index in range(count):
        (folder / f"IMG_{index:05}.dng").write_bytes(data + index.to_bytes(4, "big"))
        (folder / f"IMG_{index:05}.JPG").write_bytes(b"\xff\xd8" + bytes(index % 999))


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
            if (service.output / name).read_bytes() != (service.arrivals / name).read_bytes():
                yield f"another sidecar's content: {name}"
