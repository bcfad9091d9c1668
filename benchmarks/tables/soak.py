"""Does the watched folder lose nothing? Captures arrive while the service is killed and its disk fills up."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from lab import poisoned
from lab.arrivals import SETTLE_S, WAYS, Thief, Writer
from lab.poisoned import POISON
from lab.report import Page, markdown
from lab.table import COUNT, measured, option
from lab.watched import Watched, outlives, write_untouched

from rawdenoise.atomic import TEMPORARY_MARK
from rawdenoise.formats import read_raw
from rawdenoise.pipeline import denoise
from rawdenoise.recipe import Recipe
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import State
from rawdenoise.watching.output_mark import MARKER

RESCAN_S = 5.0
SIZE = (128, 96)
SHORTEST_LIFE_S = 0.5
DISK_MB = 256
FULL_S = 20.0
DRAIN_S = 900.0
AGAIN_S = 5.0
DAYS_S = (0, 0, 0, 0, 172800, -172800)  # the clock is set by, in a life
FAKETIME = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")
BAD = "IMG_0001.dng"


def _page(result: tuple[dict[str, object], list[str]], **_: object) -> Page:
    figures, problems = result
    lines = [markdown(list(figures), [list(figures.values())] if figures else []), ""]
    lines += [f"BROKEN: {problem}" for problem in problems]
    lines.append(f"{len(problems)} promises broken" if problems else "holds")
    return Page("\n".join(lines), faults=len(problems))


@measured("soak", {"docs/watching.md, README.md: captures arrive while the service is killed": ""}, _page)
@option("--captures", type=COUNT, default=1000)
@option("--kills", type=COUNT, default=500)
@option("--life", default=4.0, help="of seconds, at most")
@option("--bad", default=60, help="files of one name that cannot be decoded")
@option("--poison", default=2, help="files at which the process dies")
@option("--stolen", default=100, help="outputs that are deleted or cut")
@option("--seed", default=0)
def soak(work: Path, **plan: Any) -> object:
    """Does the watched folder lose nothing? Captures arrive while the service is killed, its disk fills up.

    Six writers bring captures, each in its way; among them are files of one name that cannot be decoded, and
    files at which the process dies. Outputs that are done are deleted, or cut to 100 bytes. Meanwhile the
    service is started and killed (SIGKILL); one life in three has its clock two days ahead or behind
    (libfaketime, Debian's package faketime; without it the clock stays). The disk that it writes to, a tmpfs,
    which only root may mount, is filled to the last byte twice and freed again. Then it is run once more,
    until nothing is left.

    Every capture must have exactly one output, with the pixels that `denoise` gives; all that is bad must lie
    in the failed folder, once, with its reason; no temporary file may be left; and nothing may have been done
    more often than kills and thefts explain. Exit code 1 where that does not hold.
    """
    with _small_disk(work / "disk") as can_fill:
        return Soak(work, SimpleNamespace(**plan)).run(can_fill=can_fill)


class Soak(Watched):
    """One run: the folders, the service, and what is done to it."""

    def __init__(self, work: Path, plan: SimpleNamespace) -> None:
        self.plan, self._disk = plan, work / "disk"
        self.failed = self._disk / "failed"
        super().__init__(
            work, "--failed-dir", self.failed, "--settle", SETTLE_S, "--rescan", RESCAN_S, "-j", 2,
            "--strength", 0, output=self._disk / "out", program=[str(poisoned.__file__)],
        )  # fmt: skip
        self.staged = _make_captures(work / "staged", plan.captures)
        self.happened = Counter[str]()  # kills, deaths at poison, full disks, lives with another clock

    def run(self, *, can_fill: bool) -> tuple[dict[str, object], list[str]]:
        """Let it all happen; gives the figures, and the promises that were broken."""
        rng, plan = random.Random(self.plan.seed), self.plan
        sums = {source: _file_digest(source) for source in self.staged}
        bad = self._bring_bad_ones()
        began = time.monotonic()
        busy_s = 0.9 * plan.kills * (SHORTEST_LIFE_S + plan.life) / 2  # nearly as long as the kills
        pace = 6 * busy_s / max(len(self.staged), 1)
        writers = [
            Writer(way, self.staged[n::6], self.arrivals, pace, rng.random()) for n, way in enumerate(WAYS)
        ]
        thief = Thief(self.output, plan.stolen, busy_s, rng.random())
        for thread in (*writers, thief):
            thread.start()
        arrived_s = None
        while self.happened["kills"] < plan.kills:
            if code := self._live_once(rng, can_fill=can_fill):
                return {}, [f"the service ended by itself with {code}; see {self.logs}"]
            if arrived_s is None and not any(writer.is_alive() for writer in writers):
                arrived_s = time.monotonic() - began
        for thread in (*writers, thief):
            thread.join()
        arrived_s = arrived_s or time.monotonic() - began
        code = self._drain()
        elapsed_s = time.monotonic() - began
        self._listen()
        figures = self._figures(arrived_s, elapsed_s, thief.stolen.total())
        return figures, [*self._broken(sums, code), *self._broken_of_bad(bad), *self._left_over()]

    def _live_once(self, rng: random.Random, *, can_fill: bool) -> int:
        """Start the service and kill it; gives its exit code where it ended otherwise."""
        happened, clock = self.happened, _set_clock(rng.choice(DAYS_S))
        service = self.start(**clock)
        happened["clock set"] += bool(clock)
        lives_s, full = rng.uniform(SHORTEST_LIFE_S, self.plan.life), happened["disk full"]
        if can_fill and full < 2 and happened["kills"] >= (full + 1) * self.plan.kills // 3:
            happened["disk full"] += 1
            with _filled(self._disk):
                outlives(service, FULL_S)
        if outlives(service, lives_s):
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()
            happened["kills"] += 1
        elif service.returncode == -signal.SIGKILL:
            happened["died at poison"] += 1
        else:
            return int(service.returncode) or 70
        return 0

    def _drain(self) -> int:
        """Run until nothing is left to do, or to be tried again later; gives the last exit code."""
        until = time.monotonic() + DRAIN_S
        while True:
            code = self.start("--once").wait(DRAIN_S)
            counts = self._states()
            waiting = counts[State.READY] + counts[State.RUNNING] + counts[State.FAILED]
            if (code >= 0 and not waiting) or time.monotonic() > until:
                return code
            time.sleep(AGAIN_S)

    def _states(self) -> dict[State, int]:
        with Ledger(self.state, owner=False) as ledger:
            return ledger.figures.count_states()

    def _listen(self) -> None:
        """Count what the services have said: events by name, how often each source was done, and was lost."""
        events = [*self.events()]
        self.said = Counter(event["event"] for event in events)
        self.done = Counter(event["source"] for event in events if event["event"] in ("done", "late"))
        self.lost = Counter(event["source"] for event in events if event["event"] == "lost")

    def _bring_bad_ones(self) -> dict[Path, str]:
        """Put files into the folder that are to be given up, and give what is in them."""
        contents, good = {}, self.staged[0].read_bytes()
        for number in range(self.plan.bad):
            path = self.arrivals / f"card {number}" / BAD
            contents[path] = b"II*\0\x08\0\0\0" + hashlib.sha256(f"{number}".encode()).digest() * 99
        for number in range(self.plan.poison):
            contents[self.arrivals / f"{POISON}{number}.dng"] = good + f"{number}".encode()
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}

    # ------------------------------------------------------------ what came of it

    def _figures(self, arrived_s: float, elapsed_s: float, stolen: int) -> dict[str, object]:
        """What was measured."""
        with Ledger(self.state, owner=False) as ledger:
            stats = ledger.figures.sum_up(time.time())
        happened, said, twice = self.happened, self.said, self.done.total() - len(self.done)
        return {
            "captures": len(self.staged), "arrivals/s": f"{len(self.staged) / arrived_s:.1f}",
            **{name: happened[name] for name in ("kills", "died at poison", "clock set", "disk full")},
            "stolen": stolen, "said to be lost": said["lost"],
            "s": f"{elapsed_s:.0f}", "latency p50 s": f"{stats.latency_p50_s or 0:.1f}",
            "p95 s": f"{stats.latency_p95_s or 0:.1f}", "done again": twice, "found done": said["found"],
            "failed, tried again": said["failed"], "given up": said["quarantined"],
            "waited": said["waiting"],
        }  # fmt: skip

    def _broken(self, sums: dict[Path, str], code: int) -> Iterator[str]:
        """Look for every promise that was broken to captures."""
        given_up, fills = self.plan.bad + self.plan.poison, self.happened["disk full"]
        if code != int(given_up > 0):
            yield f"the last run ended with {code}"
        for source in self.staged:
            arrived = self.arrivals / source.name
            if arrived.read_bytes() != source.read_bytes() or _file_digest(source) != sums[source]:
                yield f"a source was modified: {source.name}"
        paths = (path for path in self.output.rglob("*") if path.is_file() and path.name != MARKER)
        outputs, names = {path.name: path for path in paths}, {path.name for path in self.staged}
        yield from (f"an output of nothing: {name}" for name in sorted(outputs.keys() - names))
        yield from (f"no output: {name}" for name in sorted(names - outputs.keys()))
        for source in self.staged:
            if source.name in outputs:
                written = hashlib.sha256(read_raw(outputs[source.name]).mosaic.tobytes()).hexdigest()
                if written != _expected(source):
                    yield f"wrong pixels: {source.name}"
        counts = self._states()
        unfinished = {str(name): n for name, n in counts.items() if n and name is not State.DONE}
        if counts[State.DONE] != len(self.staged) or unfinished not in ({}, {"quarantined": given_up}):
            yield f"the ledger says {counts[State.DONE]} done, {unfinished}"
        for name, times in self.done.items():
            if times > 1 + self.lost[name]:
                yield f"done {times} times, lost {self.lost[name]} times: {name}"
        if self.said["waiting"] < fills:
            yield f"the disk was full {fills} times, and waited for {self.said['waiting']} times"

    def _broken_of_bad(self, bad: dict[Path, str]) -> Iterator[str]:
        """Look for what was to be given up: each once in the failed folder, with its reason."""
        yield from (f"not given up: {path.relative_to(self.arrivals)}" for path in bad if path.exists())
        failed = self.failed
        moved = [path for path in failed.glob("*") if path.suffix != ".json"] if failed.is_dir() else []
        if Counter(map(_file_digest, moved)) != Counter(bad.values()):
            yield f"{len(moved)} files in the failed folder, which are not the {len(bad)} that are bad"
        for path in moved:
            note = path.with_name(f"{path.name}.json")
            if not note.exists() or json.loads(note.read_bytes())["sha256"] != _file_digest(path):
                yield f"without its reason: {path.name}"
        if len(list(failed.glob("*.json"))) != len(moved):
            yield "reasons without files in the failed folder"

    def _left_over(self) -> Iterator[str]:
        """Look for temporary files."""
        for folder in (self.output, self.failed, self.state):
            for path in sorted(folder.rglob(f"*{TEMPORARY_MARK}*")):
                yield f"a temporary file is left: {path.relative_to(folder.parent)}"


# ---------------------------------------------------------------- captures, disks, clocks


def _make_captures(folder: Path, count: int) -> list[Path]:
    """Write captures that all differ, over a few scenes and two ISO."""
    (width, height), paths = SIZE, []
    camera = SIMULATED_IMX385.resize(width, height)
    scenes = [np.float32(0.7) * make_scene(height, width, np.random.default_rng(n)) for n in range(20)]
    for index in range(count):
        rng, iso = np.random.default_rng(index), (12800, 25600)[index % 2]
        noisy, _ = capture(scenes[index % 20], camera, iso, rng)
        paths.append(write_untouched(noisy, folder / f"IMG_{index:05}.dng"))
    return paths


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """Make a folder a disk of its own, and say whether that could be done: only root may."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    mounted = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    """Fill a disk to its last byte, and free it again."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    try:
        yield
    finally:
        ballast.unlink()


def _set_clock(days_s: int) -> dict[str, str]:
    """The variables by which a process has its clock set by so many seconds; none where it cannot be."""
    libraries = (path for pattern in FAKETIME for path in sorted(Path("/").glob(pattern.lstrip("/"))))
    if not days_s or not (library := next(libraries, None)):
        return {}
    return {
        "LD_PRELOAD": str(library), "FAKETIME": f"{days_s:+d}", "NO_FAKE_STAT": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip


def _file_digest(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _expected(source: Path) -> str:
    """Of the pixels that `denoise` gives."""
    image = denoise(read_raw(source), None, Recipe(strength=0.0)).image
    return hashlib.sha256(image.mosaic.tobytes()).hexdigest()
