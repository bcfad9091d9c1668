"""Is anything half-written ever read? `train`, `models import` and `calibrate`, killed at any moment.

    python benchmarks/kill_commands.py [--kills 200] [--every-call N] [--only COMMAND ...]
        [--work DIR] [--seed 0]

Each command is started and killed (SIGKILL) again and again: half of the times after a random while, half of
the times just before a random one of the calls by which it opens, renames or removes a file of its own. After
every kill all that lies under a final name must be whole. Every few kills the command may end: it must then
have its result, and nothing may be left of those that were killed. Exit code 1 where that does not hold. With
--every-call it is killed once before every Nth of those calls instead, and let end each time.
The captures and the training are tiny, and processes are forked, so that two hundred kills take minutes.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rawdenoise import __version__
from rawdenoise.atomic import MARK
from rawdenoise.capture.raw import Provenance, RawImage
from rawdenoise.cli import main as rawdenoise
from rawdenoise.errors import RawDenoiseError
from rawdenoise.formats.dng import write_dng
from rawdenoise.models.store import ModelStore
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.simulation.camera import SIMULATED_IMX385, capture, evenly_lit
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training import camera
from rawdenoise.training.checkpoint import FILE as CHECKPOINT

ISO, SIZE = 3200, (128, 96)
CALLS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"})
KILLED = -signal.SIGKILL
RUNS_TO_THE_END = 6  # one in so many


@dataclass(slots=True)
class Case:
    """A command, the folder in which all it writes lies, and how to tell that it has its result."""

    name: str
    arguments: list[str]
    folder: Path
    is_done: Callable[[], bool]
    kills: int = 0
    ended: int = 0
    went_on: int = 0
    faults: list[str] = field(default_factory=list)


def cases(work: Path) -> list[Case]:
    """Prepare captures, and a folder for each command."""
    source = work / "captures"
    _write_captures(source)
    model = importlib.resources.files("rawdenoise") / "_base" / "fast.rawdenoise"
    trained, imported, calibrated = (work / name for name in ("train", "import", "calibrate"))
    frames = ["--dark", source / "dark", "--flat", source / "flat"]
    training = [source / "noisy", "--scratch", trained / "scratch", "--images", 48, "--device", "cpu"]
    return [
        Case(
            "train",
            ["train", *map(str, training), "--keep-if-worse"],
            trained,
            lambda: bool(ModelStore(trained / "models").cards()) and not _files(trained / "scratch"),
        ),
        Case(
            "models import",
            ["models", "import", str(model)],
            imported,
            lambda: bool(ModelStore(imported / "models").cards()),
        ),
        Case(
            "calibrate",
            ["calibrate", *map(str, frames)],
            calibrated,
            lambda: len(_files(calibrated / "profiles")) == 1,
        ),
    ]


def _write_captures(folder: Path) -> None:
    rng, camera = np.random.default_rng(0), SIMULATED_IMX385.resized(*SIZE)
    dark = [evenly_lit(camera, ISO, 0.0, rng, exposure_s=0.01) for _ in range(2)]
    flat = [evenly_lit(camera, ISO, level, rng, exposure_s=level) for level in (0.1, 0.5) for _ in range(2)]
    noisy = [capture(make_scene(*SIZE[::-1], rng), camera, ISO, rng)[0] for _ in range(3)]
    for name, images in (("dark", dark), ("flat", flat), ("noisy", noisy)):
        _write_dngs(folder / name, images)


def _write_dngs(folder: Path, images: list[RawImage]) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        write_dng(image, folder / f"{number}.dng", provenance=Provenance(__version__, "none", 0.0))


def make_trainings_short() -> None:
    """Have trainings judged by a few crops and saved after every step: what is killed is the saving."""
    fit = camera.fit

    def fit_and_save(source: Any, options: Any, **more: Any) -> Any:
        return fit(source, replace(options, checkpoint_s=0.0, crop_size=16), **more)

    camera.fit = fit_and_save
    sys.modules["rawdenoise.training.comparison"].JUDGED = (1, 4)  # type: ignore[attr-defined]
    sys.modules["rawdenoise.training.judging"].LOOKED_AT = (1, 4)  # type: ignore[attr-defined]


def start(case: Case, *, kill_at: int | None = None, count_in: Path | None = None) -> int:
    """Fork a process that runs the command; it kills itself before its `kill_at`th call, if that is given."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        _become(case, kill_at, count_in)
        rawdenoise.main(case.arguments, prog_name="rawdenoise", standalone_mode=False)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _become(case: Case, kill_at: int | None, count_in: Path | None) -> None:
    """Set up a forked process: its folders, where it prints, and what it does before each of its calls."""
    for name in ("models", "profiles", "cache"):
        os.environ[f"RAWDENOISE_{name.upper()}"] = str(case.folder / name)
    log = os.open(case.folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    inside, calls = str(case.folder), 0

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal calls
        if event in CALLS and str(arguments[0]).startswith(inside) and _writes(event, arguments):
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if count_in is not None:
                os.truncate(count_in, calls)

    sys.addaudithook(look)


def _writes(event: str, arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if event == "open" else os.O_WRONLY
    return bool(int(flags) & (os.O_WRONLY | os.O_RDWR))  # type: ignore[call-overload]


def count_calls(case: Case) -> int:
    """Run a command to its end, and count the calls before which it can be killed."""
    counter = case.folder.with_suffix(".calls")
    counter.touch()
    case.folder.mkdir()
    if code := wait(start(case, count_in=counter)):
        raise SystemExit(f"{case.name} ends with {code}: {case.folder.with_suffix('.log').read_text()}")
    shutil.rmtree(case.folder)
    case.folder.mkdir()
    return counter.stat().st_size


def wait(process: int) -> int:
    """The exit code of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def half_written(case: Case) -> Iterator[str]:
    """Say what lies under a final name and is not whole, and what a store would stumble over."""
    models, profiles = ModelStore(case.folder / "models"), ProfileStore(case.folder / "profiles")
    yield from map(str, [*models.broken(), *profiles.broken()])
    for card in models.cards():
        try:
            models.verify(card.id)
        except RawDenoiseError as error:
            yield str(error)
    for path in _files(case.folder):
        if path.name == "tiles.json" and not path.name.startswith(MARK):
            yield from _broken_json(path)
        if path.name == CHECKPOINT:
            yield from _broken_checkpoint(path)


def _broken_json(path: Path) -> Iterator[str]:
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        yield f"{path}: {error}"


def _broken_checkpoint(path: Path) -> Iterator[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                file.get_tensor(name)
    except SafetensorError as error:
        yield f"{path}: {error}"


def temporaries(folder: Path) -> list[Path]:
    """What atomic outputs have left under a folder."""
    return [path for path in _files(folder) if path.name.startswith(MARK)]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def run_to_the_end(case: Case) -> None:
    """Let a command end after kills: it must have its result, and nothing may be left."""
    if code := wait(start(case)):
        said = case.folder.with_suffix(".log").read_text().strip().splitlines()[-1:]
        case.faults.append(f"ends with {code}: {' '.join(said)}")
    elif not case.is_done():
        case.faults.append("ends well without a result")
    case.went_on += "going on after" in case.folder.with_suffix(".log").read_text()
    case.faults += [f"left {path}" for path in temporaries(case.folder)]
    case.ended += 1
    shutil.rmtree(case.folder)
    case.folder.mkdir()


def kill_again_and_again(case: Case, kills: int, dice: random.Random) -> None:
    """Kill a command so many times, and let it end every few times."""
    begin = time.monotonic()
    calls, lasts = count_calls(case), time.monotonic() - begin
    while case.kills < kills:
        if dice.random() < 0.5:
            code = wait(start(case, kill_at=dice.randint(1, calls)))
        else:
            process = start(case)
            time.sleep(dice.uniform(0, lasts))
            os.kill(process, signal.SIGKILL)
            code = wait(process)
        case.kills += code == KILLED
        case.faults += half_written(case)
        if code != KILLED or dice.randrange(RUNS_TO_THE_END) == 0:
            run_to_the_end(case)
    run_to_the_end(case)


def kill_before_calls(case: Case, step: int) -> None:
    """Kill a command before every so many of its calls, and let it end each time."""
    for call in range(1, count_calls(case) + 1, step):
        case.kills += wait(start(case, kill_at=call)) == KILLED
        case.faults += half_written(case)
        run_to_the_end(case)


def main() -> int:
    """Kill all three commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of each command")
    parser.add_argument("--every-call", type=int, metavar="N", help="before every Nth call, once")
    parser.add_argument("--only", nargs="+", metavar="COMMAND", help="'train', 'models import', 'calibrate'")
    parser.add_argument("--work", type=Path, help="a folder that is not there yet")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp()) / "work"
    work.mkdir(parents=True)
    make_trainings_short()
    dice, all_cases = random.Random(options.seed), cases(work)
    print("command        kills  run to the end  of them went on  faults")
    for case in all_cases:
        if options.only and case.name not in options.only:
            continue
        if options.every_call:
            kill_before_calls(case, options.every_call)
        else:
            kill_again_and_again(case, options.kills, dice)
        print(f"{case.name:<14} {case.kills:5}  {case.ended:14}  {case.went_on:15}  {len(case.faults):6}")
        for fault in case.faults:
            print(f"  {fault}")
    if options.work is None:
        shutil.rmtree(work.parent)
    return int(any(case.faults for case in all_cases))


if __name__ == "__main__":
    sys.exit(main())
