"""Commands that are killed where they open, rename or remove their files: the next run is none the worse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "run.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes to fork")


def kill(tmp_path: Path, *arguments: str) -> list[list[str]]:
    """The rows of the benchmark's table: command, kills, runs to the end, how many went on, faults."""
    command = [sys.executable, BENCHMARK, "kills", "--work", tmp_path / "work", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return [line.strip("| ").split(" | ") for line in run.stdout.splitlines()[2:]]


def test_what_an_import_and_a_calibration_leave_is_whole_and_swept(tmp_path: Path) -> None:
    rows = kill(tmp_path, "--every-call", "2", "--only", "models import,calibrate")
    assert [row[0] for row in rows] == ["models import", "calibrate"]
    for _, kills, ended, _, faults in rows:
        assert int(kills) == int(ended) >= 3
        assert faults == "0"


@pytest.mark.long
def test_what_a_training_leaves_is_whole_and_gone_on_from(tmp_path: Path) -> None:
    ((_, kills, ended, went_on, faults),) = kill(tmp_path, "--every-call", "2", "--only", "train")
    assert int(kills) == int(ended) > 20
    assert int(went_on) > 3
    assert faults == "0"
