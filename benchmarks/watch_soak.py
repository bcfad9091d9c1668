"""Does the watched folder lose nothing? Captures arrive while the service is killed and its disk fills up.

    python benchmarks/watch_soak.py [--work DIR] [--captures 1000] [--kills 500] [--life 4] [--size 128x96]
        [--jobs 2] [--strength 0] [--bad 60] [--poison 2] [--stolen 100] [--output-disk DIR] [--seed 0]

Six writers copy slowly, copy and rename, copy as rsync does, append with pauses longer than the settle time,
link, and delete and create again. Among the captures are files of one name in many folders that cannot be
decoded and go to `--failed-dir`, and files at which the process dies. Outputs that are done are deleted, or
cut to 100 bytes. Meanwhile the service is started and killed (SIGKILL); one life in three has its clock two
days ahead or behind (libfaketime, Debian's package faketime; without it the clock stays). The disk that it
writes to is filled to the last byte twice and freed again. Then it is run once more, until nothing is left.

Every capture must have exactly one output, with the pixels that `denoise` gives; all that is bad must lie in
the failed folder, once, with its reason; no temporary file may be left; and nothing may have been done more
often than kills and thefts explain. Exit code 1 where that does not hold.

The disk is a tmpfs, which only root may mount; elsewhere give a small file system of your own with
--output-disk, or the disk is never full.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
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
from typing import Any

import numpy as np

from rawdenoise import __version__
from rawdenoise.atomic import MARK
from rawdenoise.capture.raw import Provenance
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng import write_dng
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.model import Model
from rawdenoise.pipeline import denoise
from rawdenoise.recipe import Recipe
from rawdenoise.simulation.camera import SIMULATED_IMX385, capture
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import State
from rawdenoise.watching.output_mark import MARKER

SETTLE_S = 1.0
RESCAN_S = 5.0
SHORTEST_LIFE_S = 0.5
DISK_MB = 256
FULL_S = 20.0
DRAIN_S = 900.0
AGAIN_S = 5.0
TOLD_S = 30.0  # after which an output is in the ledger for sure
DAYS_S = (0, 0, 0, 0, 172800, -172800)  # the clock is set by, in a life
FAKETIME = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")
BAD, POISON = "IMG_0001.dng", "POISON"
UNTOUCHED = Provenance(__version__, "none", 0.0)


@dataclass(slots=True)
class Log:
    """What the services said: events by name, and how often each source was done."""

    events: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    bad_lines: int = 0
    lost: Counter[str] = field(default_factory=Counter)

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
            if told["event"] == "lost":
                self.lost[told["source"]] += 1


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="an empty folder  [default: a temporary one]")
    parser.add_argument("--captures", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--life", type=float, default=4.0, metavar="S", help="of seconds, at most")
    parser.add_argument("--size", default="128x96")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--strength", type=float, default=0.0)
    parser.add_argument("--bad", type=int, default=60, help="files of one name that cannot be decoded")
    parser.add_argument("--poison", type=int, default=2, help="files at which the process dies")
    parser.add_argument("--stolen", type=int, default=100, help="outputs that are deleted or cut")
    parser.add_argument("--output-disk", type=Path)
    parser.add_argument("--serve", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
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


def serve(words: list[str]) -> None:
    """Be the service, but die at files of a certain name, as in a library's code."""
    from rawdenoise.cli import main as run
    from rawdenoise.watching import worker

    real = worker.take

    def take(job: Any, *more: Any) -> Any:
        if job.source.name.startswith(POISON):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job, *more)

    worker.take = take
    if "FAKETIME" in os.environ:  # whose version of what is slept by refuses every call
        time.sleep = lambda seconds: threading.Event().wait(seconds) and None
    run(words)


def soak(work: Path, staged: list[Path], disk: Path, options: argparse.Namespace, *, full: bool) -> list[str]:
    """Let it all happen, print the figures, and give the promises that were broken."""
    rng = random.Random(options.seed)
    arrivals, output, state, logs = work / "in", disk / "out", work / "state", work / "logs"
    arrivals.mkdir()
    logs.mkdir()
    command = [
        sys.executable, str(Path(__file__).absolute()), "--serve", "watch", str(arrivals), "-o", str(output),
        "--state", str(state), "--failed-dir", str(disk / "failed"), "--settle", str(SETTLE_S),
        "--rescan", str(RESCAN_S), "--train", "never", "-j", str(options.jobs),
        "--strength", str(options.strength), "--log-json",
    ]  # fmt: skip
    sums = {source: file_digest(source) for source in staged}
    bad = bring_bad_ones(arrivals, staged[0], options.bad, options.poison)
    tally, began = Tally(), time.monotonic()
    busy_s = 0.9 * options.kills * (SHORTEST_LIFE_S + options.life) / 2  # nearly as long as the kills
    pace = busy_s / max(len(staged), 1)
    writers = [Writer(how, staged[n::6], arrivals, 6 * pace, rng.random()) for n, how in enumerate(WAYS)]
    thief = Thief(output, options.stolen, busy_s, rng.random())
    for thread in (*writers, thief):
        thread.start()
    arrived_s = None
    while tally.kills < options.kills:
        days_s = rng.choice(DAYS_S)
        service = start(command, logs / f"{tally.kills + tally.deaths:05}.jsonl", days_s)
        tally.set_clocks += bool(days_s and faketime())
        lives_until = time.monotonic() + rng.uniform(SHORTEST_LIFE_S, options.life)
        if full and tally.fills < 2 and tally.kills >= (tally.fills + 1) * options.kills // 3:
            tally.fills += 1
            with filled(disk):
                outlives(service, time.monotonic() + FULL_S)
            lives_until += FULL_S
        outlives(service, lives_until)
        if service.poll() == -signal.SIGKILL:
            tally.deaths += 1
            continue
        if service.poll() is not None:
            return [f"the service ended by itself with {service.returncode}; see {logs}"]
        os.killpg(service.pid, signal.SIGKILL)
        service.wait()
        tally.kills += 1
        if arrived_s is None and not any(writer.is_alive() for writer in writers):
            arrived_s = time.monotonic() - began
    for thread in (*writers, thief):
        thread.join()
    arrived_s = arrived_s or time.monotonic() - began
    code = drain(command, state, logs)
    elapsed_s = time.monotonic() - began
    log = Log()
    for path in sorted(logs.glob("*.jsonl")):
        log.read(path)
    figures(state, log, len(staged), arrived_s, elapsed_s, tally, thief)
    return [
        *broken(staged, sums, output, state, log, options, code, tally.fills),
        *broken_of_bad(bad, arrivals, disk / "failed"),
        *left_over(work, disk),
    ]


@dataclass(slots=True)
class Tally:
    """What was done to the service: kills, deaths at poison, full disks, lives with another clock."""

    kills: int = 0
    deaths: int = 0
    fills: int = 0
    set_clocks: int = 0


def drain(command: list[str], state: Path, logs: Path) -> int:
    """Run until nothing is left to do, or to be tried again later; gives the last exit code."""
    until = time.monotonic() + DRAIN_S
    for number in itertools.count():
        with (logs / f"last-{number:03}.jsonl").open("w") as errors:
            ended = subprocess.run([*command, "--once"], stderr=errors, timeout=DRAIN_S)
        with Ledger(state, owner=False) as ledger:
            counts = ledger.figures.count_states()
        waiting = counts[State.READY] + counts[State.RUNNING] + counts[State.FAILED]
        if (ended.returncode >= 0 and not waiting) or time.monotonic() > until:
            break
        time.sleep(AGAIN_S)
    return ended.returncode


def bring_bad_ones(arrivals: Path, good: Path, bad: int, poison: int) -> dict[Path, str]:
    """Put files into the folder that are to be given up, and give what is in them."""
    contents = {}
    for number in range(bad):
        path = arrivals / f"card {number}" / BAD
        contents[path] = b"II*\0\x08\0\0\0" + hashlib.sha256(f"{number}".encode()).digest() * 99
    for number in range(poison):
        contents[arrivals / f"{POISON}{number}.dng"] = good.read_bytes() + f"{number}".encode()
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}


def faketime() -> str:
    """The library by which a process has another clock; nothing where it is not installed."""
    found = (path for pattern in FAKETIME for path in sorted(Path("/").glob(pattern.lstrip("/"))))
    return str(next(found, ""))


def start(command: list[str], log: Path, days_s: int = 0) -> subprocess.Popen[bytes]:
    """Start a service in a process group of its own, with its clock set by so many seconds."""
    set_by = {}
    if days_s and (library := faketime()):
        set_by = {
            "LD_PRELOAD": library, "FAKETIME": f"{days_s:+d}", "NO_FAKE_STAT": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
    with log.open("w") as errors:
        return subprocess.Popen(command, stderr=errors, start_new_session=True, env={**os.environ, **set_by})


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


class Thief(threading.Thread):
    """Deletes outputs, or cuts them to 100 bytes, one after the other, for about so many seconds."""

    def __init__(self, output: Path, number: int, seconds: float, seed: float) -> None:
        super().__init__(daemon=True)
        self._output, self._number, self._pause = output, number, seconds / max(number, 1)
        self._rng = random.Random(seed)
        self.stolen: Counter[str] = Counter()

    def run(self) -> None:
        """Steal, but nothing that its maker may not have told yet: what it is would not be known then."""
        for number in range(self._number):
            time.sleep(self._pause)
            with suppress(OSError):
                old = [
                    path
                    for path in self._output.glob("*.dng")
                    if time.time() - path.stat().st_mtime > TOLD_S and path.stat().st_size > 100
                ]
                if old:
                    path = self._rng.choice(sorted(old))
                    path.unlink() if number % 2 else os.truncate(path, 100)
                    self.stolen[path.name] += 1


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
    state: Path, log: Log, captures: int, arrived_s: float, elapsed_s: float, tally: Tally, thief: Thief
) -> None:
    """Print what was measured."""
    with Ledger(state, owner=False) as ledger:
        stats = ledger.figures.sum_up(time.time())
    events, twice = log.events, sum(log.done.values()) - len(log.done)
    columns = {
        "captures": captures, "arrivals/s": f"{captures / arrived_s:.1f}", "kills": tally.kills,
        "died at poison": tally.deaths, "clock set": tally.set_clocks, "disk full": tally.fills,
        "stolen": thief.stolen.total(), "said to be lost": events["lost"], "s": f"{elapsed_s:.0f}",
        "latency p50 s": f"{stats.latency_p50_s or 0:.1f}", "p95 s": f"{stats.latency_p95_s or 0:.1f}",
        "done again": twice, "found done": events["found"], "failed, tried again": events["failed"],
        "given up": events["quarantined"], "waited": events["waiting"],
    }  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    print(f"| {' | '.join(str(value) for value in columns.values())} |\n")


def broken(
    staged: list[Path], sums: dict[Path, str], output: Path, state: Path, log: Log,
    options: argparse.Namespace, code: int, fills: int,
) -> Iterator[str]:  # fmt: skip
    """Look for every promise that was broken to captures."""
    given_up = options.bad + options.poison
    if code != int(given_up > 0):
        yield f"the last run ended with {code}"
    folder = staged[0].parent.parent / "in"
    for source in staged:
        if (folder / source.name).read_bytes() != source.read_bytes() or file_digest(source) != sums[source]:
            yield f"a source was modified: {source.name}"
    outputs = {path.name: path for path in output.rglob("*") if path.is_file() and path.name != MARKER}
    names = {path.name for path in staged}
    for name in sorted(outputs.keys() - names):
        yield f"an output of nothing: {name}"
    for name in sorted(names - outputs.keys()):
        yield f"no output: {name}"
    model = load_bundled("fast") if options.strength else None
    for source in staged:
        if source.name in outputs and digest(outputs[source.name]) != expected(
            source, model, options.strength
        ):
            yield f"wrong pixels: {source.name}"
    with Ledger(state, owner=False) as ledger:
        counts = ledger.figures.count_states()
    unfinished = {str(name): n for name, n in counts.items() if n and name is not State.DONE}
    if counts[State.DONE] != len(staged) or unfinished not in ({}, {"quarantined": given_up}):
        yield f"the ledger says {counts[State.DONE]} done, {unfinished}"
    for source, times in log.done.items():
        if times > 1 + log.lost[source]:
            yield f"done {times} times, lost {log.lost[source]} times: {source}"
    if log.events["waiting"] < fills:
        yield f"the disk was full {fills} times, and waited for {log.events['waiting']} times"


def broken_of_bad(bad: dict[Path, str], arrivals: Path, failed: Path) -> Iterator[str]:
    """Look for what was to be given up: each once in the failed folder, with its reason."""
    for path in bad:
        if path.exists():
            yield f"not given up: {path.relative_to(arrivals)}"
    moved = [path for path in failed.glob("*") if path.suffix != ".json"] if failed.is_dir() else []
    if Counter(map(file_digest, moved)) != Counter(bad.values()):
        yield f"{len(moved)} files in the failed folder, which are not the {len(bad)} that are bad"
    for path in moved:
        note = path.with_name(f"{path.name}.json")
        if not note.exists() or json.loads(note.read_bytes())["sha256"] != file_digest(path):
            yield f"without its reason: {path.name}"
    if len(list(failed.glob("*.json"))) != len(moved):
        yield "reasons without files in the failed folder"


def left_over(work: Path, disk: Path) -> Iterator[str]:
    """Look for temporary files."""
    for folder in (disk / "out", disk / "failed", work / "state"):
        for path in sorted(folder.rglob(f"*{MARK}*")):
            yield f"a temporary file is left: {path.relative_to(folder.parent)}"


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(path: Path) -> str:
    """Of a file's pixels."""
    return hashlib.sha256(read_raw(path).mosaic.tobytes()).hexdigest()


def expected(source: Path, model: Model | None, strength: float) -> str:
    """Of the pixels that `denoise` gives."""
    image = denoise(read_raw(source), model, Recipe(strength=strength)).image
    return hashlib.sha256(image.mosaic.tobytes()).hexdigest()


if __name__ == "__main__":
    main()
