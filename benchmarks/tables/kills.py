"""Is anything half-written ever read? `train`, `models import` and `calibrate`, killed at any moment."""

from __future__ import annotations

import importlib.resources
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from lab.report import Page, markdown
from lab.table import COUNT, Words, measured, option
from lab.watched import write_untouched

from rawdenoise.atomic import TEMPORARY_MARK
from rawdenoise.cli import main as rawdenoise
from rawdenoise.errors import RawDenoiseError
from rawdenoise.models.store import ModelStore
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture, light_evenly
from rawdenoise.training import train_camera as camera
from rawdenoise.training.checkpoint import CHECKPOINT_FILE as CHECKPOINT

ISO, SIZE = 3200, (128, 96)
CALLS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"})
KILLED = -signal.SIGKILL
COMMANDS = ("train", "models import", "calibrate")


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


def _page(result: tuple[list[list[object]], list[str]], **_: object) -> Page:
    rows, faults = result
    head = ("command", "kills", "run to the end", "of them went on", "faults")
    return Page("\n".join([markdown(head, rows), *faults]), faults=len(faults))


@measured("kills", {"tests/test_kills.py: commands killed before each of their calls": ""}, _page)
@option("--every-call", type=COUNT, default=1, help="before every so-manieth call alone")
@option("--only", type=Words(COMMANDS), default=COMMANDS)
def kills(work: Path, every_call: int, only: Sequence[str]) -> object:
    """Is anything half-written ever read? `train`, `models import` and `calibrate`, killed at any moment.

    Each command is killed (SIGKILL) just before every one of the calls by which it opens, renames or removes
    a file of its own. After every kill all that lies under a final name must be whole; then the command may
    end: it must have its result, and nothing may be left of the one that was killed. Exit code 1 where that
    does not hold. The captures and the training are tiny, and processes are forked.
    """
    torch.set_num_threads(1)  # what is forked beside OpenMP's threads would wait for them for ever
    _make_trainings_short()
    cases = [case for case in _cases(work) if case.name in only]
    for case in cases:
        _kill_before_calls(case, every_call)
    rows = [[case.name, case.kills, case.ended, case.went_on, len(case.faults)] for case in cases]
    return rows, [fault for case in cases for fault in case.faults]


def _cases(work: Path) -> list[Case]:
    """Prepare captures, and a folder for each command."""
    source = work / "captures"
    _write_captures(source)
    model = importlib.resources.files("rawdenoise") / "_base" / "fast.rawdenoise"
    train, imported, calibrated = (work / name for name in ("train", "import", "calibrate"))
    training = [source / "noisy", "--scratch", train / "scratch", "--images", 48, "--device", "cpu"]
    frames = ["--dark", source / "dark", "--flat", source / "flat"]

    def has_model(folder: Path) -> bool:
        return bool(ModelStore(folder / "models").cards()) and not _files(folder / "scratch")

    return [
        Case("train", ["train", *map(str, training), "--keep-if-worse"], train, lambda: has_model(train)),
        Case("models import", ["models", "import", str(model)], imported, lambda: has_model(imported)),
        Case(
            "calibrate",
            ["calibrate", *map(str, frames)],
            calibrated,
            lambda: len(_files(calibrated / "profiles")) == 1,
        ),
    ]


def _write_captures(folder: Path) -> None:
    rng, sensor = np.random.default_rng(0), SIMULATED_IMX385.resize(*SIZE)
    dark = [light_evenly(sensor, ISO, 0.0, rng, exposure_s=0.01) for _ in range(2)]
    flat = [light_evenly(sensor, ISO, level, rng, exposure_s=level) for level in (0.1, 0.5) for _ in range(2)]
    noisy = [capture(make_scene(*SIZE[::-1], rng), sensor, ISO, rng)[0] for _ in range(3)]
    for name, images in (("dark", dark), ("flat", flat), ("noisy", noisy)):
        for number, image in enumerate(images):
            write_untouched(image, folder / name / f"{number}.dng")


def _make_trainings_short() -> None:
    """Have trainings judged by a few crops and saved after every step: what is killed is the saving."""
    fit = camera.fit

    def fit_and_save(source: Any, options: Any, **more: Any) -> Any:
        return fit(source, replace(options, checkpoint_s=0.0, crop_size=16), **more)

    camera.fit = fit_and_save
    sys.modules["rawdenoise.training.comparison"].JUDGED = (1, 4)  # type: ignore[attr-defined]
    sys.modules["rawdenoise.training.judging"].LOOKED_AT = (1, 4)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- processes


def _start(case: Case, *, kill_at: int | None = None, count_in: Path | None = None) -> int:
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
    log = os.open(_log(case), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
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


def _wait(process: int) -> int:
    """The exit code of a process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _log(case: Case) -> Path:
    return case.folder.with_suffix(".log")


def _empty(case: Case) -> None:
    shutil.rmtree(case.folder, ignore_errors=True)
    case.folder.mkdir()


def _count_calls(case: Case) -> int:
    """Run a command to its end, and count the calls before which it can be killed."""
    counter = case.folder.with_suffix(".calls")
    counter.touch()
    _empty(case)
    if code := _wait(_start(case, count_in=counter)):
        raise click.ClickException(f"{case.name} ends with {code}: {_log(case).read_text()}")
    _empty(case)
    return counter.stat().st_size


def _run_to_the_end(case: Case) -> None:
    """Let a command end after kills: it must have its result, and nothing may be left."""
    code, log = _wait(_start(case)), _log(case).read_text()
    if code or not case.is_done():
        last = " ".join(log.strip().splitlines()[-1:])
        case.faults.append(f"{case.name} ends with {code}{'' if code else ' and no result'}: {last}")
    case.went_on += "going on after" in log
    case.faults += [f"left {path}" for path in _files(case.folder) if path.name.startswith(TEMPORARY_MARK)]
    case.ended += 1
    _empty(case)


def _kill_before_calls(case: Case, step: int) -> None:
    """Kill a command before every so many of its calls, and let it end each time."""
    for call in range(1, _count_calls(case) + 1, step):
        case.kills += _wait(_start(case, kill_at=call)) == KILLED
        case.faults += _half_written(case)
        _run_to_the_end(case)


# ---------------------------------------------------------------- what they leave


def _half_written(case: Case) -> Iterator[str]:
    """Say what lies under a final name and is not whole, and what a store would stumble over."""
    models, profiles = ModelStore(case.folder / "models"), ProfileStore(case.folder / "profiles")
    yield from map(str, [*models.broken(), *profiles.broken()])
    for card in models.cards():
        try:
            models.verify(card.id)
        except RawDenoiseError as error:
            yield str(error)
    for path in _files(case.folder):
        if path.name in READ_WHOLE:
            try:
                READ_WHOLE[path.name](path)
            except Exception as error:
                yield f"{path}: {error}"


def _read_tensors(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            file.get_tensor(name)


READ_WHOLE: dict[str, Callable[[Path], object]] = {
    "tiles.json": lambda path: json.loads(path.read_bytes()),
    CHECKPOINT: _read_tensors,
}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
