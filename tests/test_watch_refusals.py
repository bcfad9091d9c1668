"""What cannot be read is given up with its reason; what cannot be written is waited for."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import soon
from watched import _quickly as _quickly
from watched import a_capture, config_of, once, outputs, states, watching
from watched import root as root

from rawdenoise.errors import DiskFullError, OutputError, UnreadableError
from rawdenoise.files import sources
from rawdenoise.formats import read_raw
from rawdenoise.watching import denoise_worker as worker
from rawdenoise.watching import digester
from rawdenoise.watching.clocks import Moment
from rawdenoise.watching.config import Root
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.output_mark import MARKER

# What cannot be read


def test_garbage_is_given_up_with_its_reason(root: Root) -> None:
    root = replace(root, failed_dir=root.source.parent / "failed")
    bad = root.source / "bad.dng"
    bad.write_bytes(b"no raw at all" * 99)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("quarantined"))
    assert [each["attempts"] for each in told.all("failed")] == [1, 2]
    assert [each["again_in_s"] for each in told.all("failed")] == [worker.RETRY_S, 2 * worker.RETRY_S]
    assert states(root) == {"quarantined": 1}
    (note,) = (config_of(root).state / "quarantine").iterdir()
    assert json.loads(note.read_text())["attempts"] == 3
    assert not bad.exists()
    assert root.failed_dir is not None
    assert (root.failed_dir / "bad.dng").read_bytes() == b"no raw at all" * 99
    assert "reason" in json.loads((root.failed_dir / "bad.dng.json").read_text())
    assert once(root)[0] == 1


def test_a_kind_of_raw_that_is_not_supported_is_not_tried_again(root: Root) -> None:
    (root.source / "headerless.raw").write_bytes(b"x" * 999)
    assert once(root)[1].all("quarantined") == []  # it was written to just now, and may become another
    os.utime(root.source / "headerless.raw", (0, 0))
    shutil.rmtree(config_of(root).state)
    code, told = once(root)
    assert code == 1
    assert [each["attempts"] for each in told.all("quarantined")] == [1]


def test_without_a_folder_for_it_garbage_stays_where_it_is(root: Root) -> None:
    (root.source / "bad.dng").write_bytes(b"x" * 99)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("quarantined"))
    assert (root.source / "bad.dng").exists()


def test_a_copy_that_pauses_is_taken_when_it_is_whole(root: Root) -> None:
    data = a_capture(root.source.parent / "a.dng").read_bytes()
    target = root.source / "a.dng"
    with watching(root) as (_, told):
        target.write_bytes(data[: len(data) // 2])
        assert soon(lambda: told.all("failed"))
        with target.open("ab") as file:
            file.write(data[len(data) // 2 :])
        assert soon(lambda: told.all("done"))
    assert states(root) == {"done": 1}
    assert outputs(root) == {"a.dng"}


def test_what_changes_while_it_is_read_is_not_written(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    source, other = a_capture(root.source / "a.dng", 1), a_capture(root.source.parent / "b.dng", 2)
    real, changed = worker.check_unchanged, []

    def check(path: Path, signature: Any) -> None:
        if not changed and (root.output / MARKER).exists():
            changed.append(path)
            source.write_bytes(other.read_bytes())
        real(path, signature)

    monkeypatch.setattr(worker, "check_unchanged", check)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
    assert changed
    assert np.array_equal(read_raw(root.output / "a.dng").mosaic, read_raw(other).mosaic)
    assert states(root) == {"done": 1}


def test_what_vanishes_on_the_way_is_forgotten(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    source = a_capture(root.source / "a.dng")
    monkeypatch.setattr(worker, "is_made_by_us", lambda path: path.unlink() or False)
    code, told = once(root)
    assert (code, told.all("done")) == (0, [])
    assert not source.exists()
    assert states(root) == {}
    assert outputs(root) == set()


def test_what_is_busy_is_tried_again(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    a_capture(root.source / "a.dng")
    real, refusals = sources.digest_of, iter([True, True])

    def digest(path: Path, *more: Any) -> str:
        if next(refusals, False):
            raise UnreadableError(path, "cannot be read (Device or resource busy)")
        return real(path, *more)

    monkeypatch.setattr(digester, "digest_of", digest)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
    assert len(told.all("refused")) == 1  # said once, however often it was tried


def test_a_bug_at_one_file_stops_no_other(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.dng", "b.dng"):
        a_capture(root.source / name, ord(name[0]))
    real = worker.run_file

    def run_file(job: Any, *more: Any) -> Any:
        if job.source.name == "a.dng":
            raise ZeroDivisionError("a bug")
        return real(job, *more)

    monkeypatch.setattr(worker, "run_file", run_file)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("quarantined") and told.all("done"))
    assert "unexpected ZeroDivisionError" in told.all("quarantined")[0]["reason"]


# What cannot be written


@pytest.mark.parametrize("error", [DiskFullError, OutputError])
def test_an_output_that_refuses_is_waited_for(
    root: Root, monkeypatch: pytest.MonkeyPatch, error: type[OutputError]
) -> None:
    a_capture(root.source / "a.dng")
    real, refusals = worker.write, iter([True] * 4)

    def write(denoised: Any, output: Path, **more: Any) -> Path:
        if next(refusals, False):
            raise error(output, "no")
        return real(denoised, output, **more)

    monkeypatch.setattr(worker, "write", write)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
        assert soon(lambda: told.all("resumed"))
    assert len(told.all("waiting")) == 1  # said once, not at every attempt
    with Ledger(config_of(root).state, owner=False) as ledger:
        assert [job.attempts for job in ledger.jobs.select()] == [1]


def test_an_output_folder_that_is_not_mounted_is_not_taken_for_an_empty_one(root: Root) -> None:
    a_capture(root.source / "a.dng", 0)
    once(root)
    mounted = root.output.rename(root.output.with_name("disk"))
    a_capture(root.source / "b.dng", 1)
    root.output.mkdir()  # the bare mount point
    code, told = once(root)
    assert code == 1
    assert "not mounted?" in told.all("waiting")[0]["reason"]
    assert outputs(root) == set()
    with watching(root) as (_, told):
        assert soon(lambda: told.all("waiting"))
        root.output.rmdir()
        mounted.rename(root.output)
        assert soon(lambda: told.all("done"))
    assert outputs(root) == {"a.dng", "b.dng"}


def test_an_output_folder_that_is_unmounted_while_it_is_written_to(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_capture(root.source / "a.dng")
    real, unmounts = worker.write, iter([True])
    disk = root.output.with_name("disk")

    def write(denoised: Any, output: Path, **more: Any) -> Path:
        if next(unmounts, False):
            root.output.rename(disk)
        return real(denoised, output, **more)

    monkeypatch.setattr(worker, "write", write)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("waiting"))
        assert soon(lambda: outputs(root) == set())
        shutil.rmtree(root.output, ignore_errors=True)
        disk.rename(root.output)
        assert soon(lambda: told.all("resumed"))
        assert soon(lambda: told.all("done"))
    assert outputs(root) == {"a.dng"}


def test_a_folder_that_cannot_be_written_to_stops_no_other(root: Root) -> None:
    stuck = replace(root, source=root.source.with_name("in2"), output=root.output.with_name("out2"))
    a_capture(stuck.source / "first.dng")
    once(stuck)
    (stuck.output / MARKER).unlink()
    for number in range(20):
        a_capture(stuck.source / f"{number}.dng", 100 + number)
    for number in range(3):
        a_capture(root.source / f"{number}.dng", number)
    assert once(stuck, root)[0] == 1
    assert len(outputs(root)) == 3
    for number in range(3, 6):
        a_capture(root.source / f"{number}.dng", number)
    assert once(root)[0] == 0  # what the other one waits for is not its business
    assert len(outputs(root)) == 6


def test_captures_of_another_folder_are_left_to_its_watcher(root: Root) -> None:
    other = replace(root, source=root.source.with_name("in2"), failed_dir=root.source.with_name("failed"))
    other.source.mkdir()
    path = a_capture(root.source / "a.dng")
    found = sources.signature_of(path)
    assert found is not None
    with Ledger(config_of(root).state) as ledger:
        ledger.files.settle(path, root.output, found, "ab" * 32, "recipe", Moment(1e9, 1.0))
    code, told = once(replace(other, attempts=1))
    assert told.all("failed") == told.all("quarantined") == []
    assert path.exists()
    assert states(root) == {"ready": 1}
    assert code == 1  # something waits for this output


def test_an_output_on_another_file_system(root: Root) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == root.source.stat().st_dev:
        pytest.skip("no second file system here")
    output = elsewhere / f"rawdenoise-test-{os.getpid()}"
    try:
        a_capture(root.source / "a.dng")
        assert once(replace(root, output=output))[0] == 0
        assert (output / "a.dng").is_file()
    finally:
        shutil.rmtree(output, ignore_errors=True)
