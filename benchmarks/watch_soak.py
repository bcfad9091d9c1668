"""Does the watched folder lose nothing? Captures arrive while the service is killed and its disk fills up.

    python benchmarks/watch_soak.py [--work DIR] [--captures 2000] [--kills 200] [--size 128x96] [--jobs 2]
        [--output-disk DIR] [--seed 0]

Six writers copy slowly, copy and rename, copy as rsync does, append with pauses longer than the settle time,
link, and delete and create again; meanwhile the service is started and killed (SIGKILL), and the disk it
writes to is filled to the last byte twice and freed again. Then it is run once more, until nothing is left.
Every capture must have exactly one output, with the pixels that `denoise` gives; no temporary file may be
left; and nothing may have been done more often than the kills explain. Exit code 1 where that does not hold.

The disk is a tmpfs, which only root may mount; elsewhere give a small file system of your own with
--output-disk, or the disk is never full.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rawdenoise import __version__
from rawdenoise.atomic import MARK
from rawdenoise.bases import load_base
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng import write_dng
from rawdenoise.models import Model
from rawdenoise.pipeline import denoise
from rawdenoise.raw import Provenance
from rawdenoise.scenes import make_scene
from rawdenoise.simulate import SIMULATED_IMX385, capture
from rawdenoise.watching.files import MARKER
from rawdenoise.watching.ledger import Ledger, State

SETTLE_S = 1.0
RESCAN_S = 5.0
ALIVE_S = (0.5, 6.0)  # how long a service lives; it takes two seconds to start
DISK_MB = 256
FULL_S = 20.0
DRAIN_S = 900.0
UNTOUCHED = Provenance(__version__, "none", 0.0)


@dataclass(slots=True)
class Log:
    """What the services said: events by name, and how often each source was done."""

    events: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    bad_lines: int = 0

    def read(self, path: Path) -> None:
        """Take the lines of one service; the last one may be cut off."""
        for line in path.read_text(errors="replace").splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                self.bad_lines += 1
                continue
            self.events[told["event"]] += 1
            if told["event"] in ("done", "late"):
                self.done[told["source"]] += 1


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="an empty folder  [default: a temporary one]")
    parser.add_argument("--captures", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--size", default="128x96")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output-disk", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        width, height = (int(side) for side in options.size.split("x"))
        staged = make_captures(work / "staged", options.captures, width, height)
        with small_disk(work / "disk", options.output_disk) as disk:
            problems = soak(work, staged, disk or work / "disk", options, full=disk is not None)
    for problem in problems:
        print(f"BROKEN: {problem}")
    print("holds" if not problems else f"{len(problems)} promises broken")
    sys.exit(bool(problems))


def make_captures(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Write captures that all differ, over a few scenes and two ISO."""
    camera = SIMULATED_IMX385.resized(width, height)
    scenes = [np.float32(0.7) * make_scene(height, width, np.random.default_rng(n)) for n in range(20)]
    paths = []
    for index in range(count):
        noisy, _ = capture(
            scenes[index % 20], camera, (12800, 25600)[index % 2], np.random.default_rng(index)
        )
        paths.append(folder / f"IMG_{index:05}.dng")
        write_dng(noisy, paths[-1], provenance=UNTOUCHED)
    return paths


@contextmanager
def small_disk(folder: Path, given: Path | None) -> Iterator[Path | None]:
    """Give a disk that can be filled, or None where none can be made."""
    if given is not None:
        yield given
        return
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if (
        not hasattr(os, "geteuid")
        or os.geteuid() != 0
        or subprocess.run(mount, capture_output=True).returncode
    ):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def soak(work: Path, staged: list[Path], disk: Path, options: argparse.Namespace, *, full: bool) -> list[str]:
    """Let it all happen, print the figures, and give the promises that were broken."""
    rng = random.Random(options.seed)
    arrivals, output, state, logs = work / "in", disk / "out", work / "state", work / "logs"
    arrivals.mkdir()
    logs.mkdir()
    command = [
        sys.executable, "-m", "rawdenoise", "watch", str(arrivals), "-o", str(output), "--state", str(state),
        "--settle", str(SETTLE_S), "--rescan", str(RESCAN_S), "--train", "never", "-j", str(options.jobs),
        "--log-json",
    ]  # fmt: skip
    sums = {source: file_digest(source) for source in staged}
    kills, fills, began = 0, 0, time.monotonic()
    pace = (
        options.kills * sum(ALIVE_S) / 2 / max(len(staged), 1) * 0.9
    )  # arrivals last nearly as long as the kills
    writers = [Writer(how, staged[n::6], arrivals, 6 * pace, rng.random()) for n, how in enumerate(WAYS)]
    for writer in writers:
        writer.start()
    arrived_s = None
    while kills < options.kills:
        service = start(command, logs / f"{kills:05}.jsonl")
        lives_until = time.monotonic() + rng.uniform(*ALIVE_S)
        if full and fills < 2 and kills >= (fills + 1) * options.kills // 3:
            fills += 1
            with filled(disk):
                outlives(service, time.monotonic() + FULL_S)
            lives_until += FULL_S
        outlives(service, lives_until)
        if service.poll() is not None:
            return [f"the service ended by itself with {service.returncode}; see {logs}"]
        os.killpg(service.pid, signal.SIGKILL)
        service.wait()
        kills += 1
        if arrived_s is None and not any(writer.is_alive() for writer in writers):
            arrived_s = time.monotonic() - began
    for writer in writers:
        writer.join()
    arrived_s = arrived_s or time.monotonic() - began
    drained = subprocess.run([*command, "--once"], stderr=(logs / "last.jsonl").open("w"), timeout=DRAIN_S)
    elapsed_s = time.monotonic() - began
    log = Log()
    for path in sorted(logs.glob("*.jsonl")):
        log.read(path)
    figures(state, log, len(staged), arrived_s, elapsed_s, kills, fills)
    return list(broken(staged, sums, output, state, log, options, drained.returncode, kills, fills))


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a service in a process group of its own."""
    with log.open("w") as errors:
        return subprocess.Popen(command, stderr=errors, start_new_session=True)


def outlives(service: subprocess.Popen[bytes], until: float) -> None:
    """Wait for a time, or for a service to end."""
    while time.monotonic() < until and service.poll() is None:
        time.sleep(0.05)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a disk to its last byte, and free it again."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    try:
        yield
    finally:
        ballast.unlink()


# ---------------------------------------------------------------- how captures arrive


Way = Callable[[bytes, Path, Path], None]


class Writer(threading.Thread):
    """Brings its captures, one after the other, in its way."""

    def __init__(self, way: Way, captures: list[Path], folder: Path, pace: float, seed: float) -> None:
        super().__init__(daemon=True)
        self._way, self._captures, self._folder, self._pace = way, captures, folder, pace
        self._rng = random.Random(seed)

    def run(self) -> None:
        """Bring them all."""
        for path in self._captures:
            began = time.monotonic()
            self._way(path.read_bytes(), path, self._folder / path.name)
            wait = self._pace * self._rng.uniform(0.5, 1.5) - (time.monotonic() - began)
            time.sleep(max(0.0, wait))


def slowly(data: bytes, source: Path, target: Path) -> None:
    """In chunks, with pauses shorter than the settle time."""
    with target.open("wb", buffering=0) as file:
        for part in chunks(data, 4):
            file.write(part)
            time.sleep(SETTLE_S / 4)


def renamed(data: bytes, source: Path, target: Path) -> None:
    """Under another name first."""
    unfinished = target.with_name(f"{target.name}.part")
    unfinished.write_bytes(data)
    unfinished.replace(target)


def as_rsync(data: bytes, source: Path, target: Path) -> None:
    """Under a hidden name first."""
    unfinished = target.with_name(f".{target.name}.Xq3Zr7")
    slowly(data, source, unfinished)
    unfinished.replace(target)


def haltingly(data: bytes, source: Path, target: Path) -> None:
    """In two parts, with a pause longer than the settle time: for a while it looks whole."""
    with target.open("wb", buffering=0) as file:
        first, *rest = chunks(data, 2)
        file.write(first)
        time.sleep(1.5 * SETTLE_S)
        for part in rest:
            file.write(part)


def linked(data: bytes, source: Path, target: Path) -> None:
    """By a hard link."""
    target.hardlink_to(source)


def again(data: bytes, source: Path, target: Path) -> None:
    """Half of it, deleted, and all of it; or all of it, deleted after a while, and all of it again."""
    whole = hashlib.sha256(data).digest()[0] % 2
    target.write_bytes(data if whole else data[: len(data) // 2])
    time.sleep(1.2 * SETTLE_S if whole else 0.1)
    target.unlink()
    target.write_bytes(data)


def chunks(data: bytes, count: int) -> list[bytes]:
    """Cut into so many parts."""
    step = -(-len(data) // count)
    return [data[start : start + step] for start in range(0, len(data), step)]


WAYS = (slowly, renamed, as_rsync, haltingly, linked, again)

# ---------------------------------------------------------------- what came of it


def figures(
    state: Path, log: Log, captures: int, arrived_s: float, elapsed_s: float, kills: int, fills: int
) -> None:
    """Print what was measured."""
    with Ledger(state, owner=False) as ledger:
        stats = ledger.stats(time.time())
    events = log.events
    print(
        "| captures | arrivals/s | kills | disk full | s | latency p50 s | p95 s | attempts | done again |",
        end="",
    )
    print(" found done | failed, tried again | waited |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
    twice = sum(log.done.values()) - len(log.done)
    print(
        f"| {captures} | {captures / arrived_s:.1f} | {kills} | {fills} | {elapsed_s:.0f} |"
        f" {stats.latency_p50_s:.1f} | {stats.latency_p95_s:.1f} | {stats.attempts} | {twice} |"
        f" {events['found']} | {events['failed']} | {events['waiting']} |\n"
    )


def broken(
    staged: list[Path], sums: dict[Path, str], output: Path, state: Path, log: Log,
    options: argparse.Namespace, code: int, kills: int, fills: int,
) -> Iterator[str]:  # fmt: skip
    """Look for every promise that was broken."""
    if code:
        yield f"the last run ended with {code}"
    folder = staged[0].parent.parent / "in"
    for source in staged:
        if (folder / source.name).read_bytes() != source.read_bytes() or file_digest(source) != sums[source]:
            yield f"a source was modified: {source.name}"
    outputs = {path.name: path for path in output.rglob("*") if path.is_file() and path.name != MARKER}
    for name in sorted(name for name in outputs if MARK in name):
        yield f"a temporary file is left: {name}"
    names = {path.name for path in staged}
    for name in sorted(outputs.keys() - names):
        yield f"an output of nothing: {name}"
    for name in sorted(names - outputs.keys()):
        yield f"no output: {name}"
    model = load_base("fast")
    for source in staged:
        if source.name in outputs and digest(outputs[source.name]) != expected(source, model):
            yield f"wrong pixels: {source.name}"
    with Ledger(state, owner=False) as ledger:
        counts = ledger.counts()
        unfinished = {str(name): n for name, n in counts.items() if n and name is not State.DONE}
        attempts = ledger.stats(time.time()).attempts
    if counts[State.DONE] != len(staged) or unfinished:
        yield f"the ledger says {counts[State.DONE]} done, {unfinished}"
    for source, times in log.done.items():
        if times > 1:
            yield f"done {times} times: {source}"
    if log.events["waiting"] < fills:
        yield f"the disk was full {fills} times, and waited for {log.events['waiting']} times"
    # A kill ends what is under way, which is not more than a file a worker.
    most = len(staged) + kills * options.jobs
    if log.events["vanished"] > most:
        yield f"{log.events['vanished']} captures vanished"
    if attempts > most + log.events["failed"]:
        yield f"{attempts} attempts, {most + log.events['failed']} can be explained"


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(path: Path) -> str:
    """Of a file's pixels."""
    return hashlib.sha256(read_raw(path).mosaic.tobytes()).hexdigest()


def expected(source: Path, model: Model) -> str:
    """Of the pixels that `denoise` gives."""
    return hashlib.sha256(denoise(read_raw(source), model).image.mosaic.tobytes()).hexdigest()


if __name__ == "__main__":
    main()
