"""Cameras that are trained when enough of their captures have come."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import soon
from watched import QUICK, Told, a_capture, config_of
from watched import _quickly as _quickly
from watched import root as root

from rawdenoise.errors import RawDenoiseError
from rawdenoise.files import sources
from rawdenoise.recipe import Recipe
from rawdenoise.watching import trainer
from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.config import Root
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.records import JobResult, QueuedJob, State
from rawdenoise.watching.trainer import Trainer


def trained_on(
    root: Root, captures: int, printed: str, exit_code: int = 0
) -> tuple[Trainer, Told, list[list[str]]]:
    """A trainer with so many captures done by the bundled model, whose training prints something."""
    ledger, told, commands = Ledger(config_of(root).state), Told(), list[list[str]]()
    for number in range(captures):
        path = a_capture(root.source / f"{number}.dng", number)
        found = sources.signature_of(path)
        assert found is not None
        ledger.files.settle(path, root.output, found, f"{number}", "recipe", Moment(1e9, 1.0))
        job = ledger.jobs.lease([root.output], Moment(1e9, 2.0), 60.0)
        assert isinstance(job, QueuedJob)
        ledger.jobs.finish(
            job, Moment(1e9, 3.0), JobResult(output=None, camera="Test One", model_id="base-fast-1")
        )
    popen = trainer.subprocess.Popen

    def start(command: list[str], **more: Any) -> Any:
        commands.append(command)
        return popen([sys.executable, "-c", f"print({printed!r}); raise SystemExit({exit_code})"], **more)

    made = Trainer(config_of(root), ledger, told)
    made.popen = start  # type: ignore[assignment]
    return made, told, commands


@pytest.mark.parametrize("train", ["idle", "now"])
def test_a_camera_is_trained_when_enough_has_come(root: Root, train: str) -> None:
    root = replace(root, train=train, train_after=3, train_minutes=2.0, recipe=Recipe())
    made, told, commands = trained_on(root, 3, '{"outcome": "kept", "model": "test-one-1"}')
    made.step(100.0, idle=train == "idle")
    assert bool(commands) == (train == "now")
    made.step(200.0, idle=True)
    (command,) = commands
    assert command[1:4] == ["-m", "rawdenoise", "train"]
    assert command[command.index("--minutes") + 1] == "2"
    listed = Path(command[command.index("--files-from") + 1]).read_bytes().split(b"\0")
    assert {os.fsdecode(path) for path in listed if path} == {str(root.source / f"{n}.dng") for n in range(3)}
    assert made.camera == "Test One"
    assert soon(lambda: made.step(201.0, idle=True) or told.all("trained"))
    assert told.all("trained")[0]["result"] == "its own model test-one-1 is used from now on"
    made.step(900.0, idle=True)
    assert len(commands) == 1  # the next one takes twice as many captures
    made._ledger.close()


def test_a_training_that_makes_nothing_better_changes_nothing(root: Root) -> None:
    root = replace(root, train="now", train_after=3, recipe=Recipe())
    made, told, _ = trained_on(root, 3, '{"outcome": "not better", "reason": "the present one is as good"}')
    made.step(100.0, idle=False)
    assert soon(lambda: made.step(101.0, idle=False) or told.all("trained"))
    assert told.all("trained")[0]["result"].startswith("no new model")
    made._ledger.close()


@pytest.mark.parametrize(
    "change", [{"train": "never"}, {"train_after": 4}, {"recipe": Recipe(model="x")}, {"recipe": QUICK}]
)
def test_when_there_is_nothing_to_train(root: Root, change: dict[str, Any]) -> None:
    root = replace(root, **{"train": "now", "train_after": 3, "recipe": Recipe(), **change})
    made, _, commands = trained_on(root, 3, "model x")
    made.step(100.0, idle=True)
    made.step(200.0, idle=True)
    assert commands == []
    made._ledger.close()


def test_a_training_is_stopped_with_the_service(root: Root) -> None:
    root = replace(root, train="now", train_after=3, recipe=Recipe())
    made, _, _ = trained_on(root, 3, "x")
    real = trainer.subprocess.Popen
    made.popen = lambda command, **more: real(  # type: ignore[assignment,misc]
        [sys.executable, "-c", "import time; time.sleep(60)"], **more
    )
    made.step(100.0, idle=True)
    process = made._process
    assert process is not None
    made.stop()
    assert process.poll() is not None
    made._ledger.close()


def test_errors_are_of_one_tree() -> None:
    assert issubclass(sources.SourceChangedError, RawDenoiseError)
    assert State.SEEN in State
