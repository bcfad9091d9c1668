"""The service on real files: what arrives is done once, whatever happens to files, disks and processes."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PATIENCE_S, make_raw, soon

from rawdenoise.app.stores import user_stores
from rawdenoise.atomic import TEMPORARY_MARK
from rawdenoise.capture.raw import Camera, Exposure, Metadata, Provenance
from rawdenoise.errors import DiskFullError, OutputError, RawDenoiseError, UnreadableError
from rawdenoise.files import sources
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.metadata.provenance import read_origin
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.tiff.reading import ascii_tag, text
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.model import new_model
from rawdenoise.pipeline import denoise
from rawdenoise.recipe import Recipe
from rawdenoise.watching import (
    denoise_worker as worker,
)
from rawdenoise.watching import (
    digester,
    housekeeping,
    late_sidecars,
    output_folder,
    service,
    trainer,
)
from rawdenoise.watching import (
    root_watcher as watcher,
)
from rawdenoise.watching.clocks import Moment, now
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.heartbeat import heartbeats
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.ledger.database import LedgerError
from rawdenoise.watching.ledger.file_index import FileIndex
from rawdenoise.watching.ledger.job_queue import JobQueue
from rawdenoise.watching.ledger.records import JobResult, QueuedJob, State
from rawdenoise.watching.names import ShotIndex
from rawdenoise.watching.output_mark import MARKER
from rawdenoise.watching.reports import describe_event
from rawdenoise.watching.service import RunOptions, Service
from rawdenoise.watching.trainer import Trainer

QUICK = Recipe(strength=0.0)  # no network: what is tested here is all around it
SUB_SECONDS = 37521


class Told:
    """A report that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def say(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def all(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in list(self.events) if name == event]


@pytest.fixture(autouse=True)
def _quickly(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, name, value in (
        (output_folder, "WAIT_S", 0.2), (service, "REPEAT_S", 0.2), (watcher, "GONE_S", 0.2),
        (service, "TICK_S", 0.1), (housekeeping, "RECLAIM_S", 0.2), (worker, "RETRY_S", 0.05),
        (worker, "OUTPUT_S", 0.1),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_capture(path: Path, seed: int = 0, taken: str = "", camera: str = "One") -> Path:
    """A small noisy capture, of another content for each seed, that may say when it was taken."""
    rng = np.random.default_rng(seed)
    mosaic = np.clip(np.rint(4000 + 300 * rng.standard_normal((48, 64))), 0, 16383).astype(np.uint16)
    second, _, fraction = taken.partition(".")
    exif = {Code.DateTimeOriginal: ascii_tag(second)} if taken else {}
    if fraction:
        exif[SUB_SECONDS] = ascii_tag(fraction)
    raw = make_raw(
        48, 64, mosaic=mosaic, camera=Camera("Test", camera), exposure=Exposure(iso=800),
        metadata=Metadata(exif=exif),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(raw, path, provenance=Provenance("0", "simulated", 0.0))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / "in").mkdir()
    return Root(
        tmp_path / "in", tmp_path / "out", QUICK, settle_s=0.0, rescan_s=1.0, train="never", attempts=3
    )


def config_of(*roots: Root, jobs: int = 2) -> WatchConfig:
    return WatchConfig(roots, roots[0].source.parent / "state", jobs=jobs)


def once(*roots: Root, redo: bool = False, verify: bool = False) -> tuple[int, Told]:
    """What `--once` does."""
    config, told = config_of(*roots), Told()
    with Ledger(config.state) as ledger:
        return Service(config, user_stores(), ledger, told, RunOptions(True, redo, verify)).run(
            lambda: False
        ), told


@contextmanager
def watching(*roots: Root) -> Iterator[tuple[Service, Told]]:
    """A service that runs for the length of the block."""
    config, told, stop = config_of(*roots), Told(), threading.Event()
    with Ledger(config.state) as ledger:
        running = Service(config, user_stores(), ledger, told)
        thread = threading.Thread(target=running.run, args=(stop.is_set,))
        thread.start()
        try:
            yield running, told
        finally:
            stop.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def outputs(root: Root) -> set[str]:
    found = (path for path in root.output.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(root.output).as_posix() for path in found}


def states(root: Root) -> dict[str, int]:
    with Ledger(config_of(root).state, owner=False) as ledger:
        return {str(state): number for state, number in ledger.figures.count_states().items() if number}


# What arrives is done, once


def test_what_is_there_is_denoised_as_by_denoise(root: Root) -> None:
    root = replace(root, recipe=Recipe())
    source = a_capture(root.source / "deep" / "a b.dng")
    before = source.read_bytes()
    code, told = once(root)
    output = root.output / "deep" / "a b.dng"
    assert code == 0
    assert outputs(root) == {"deep/a b.dng"}
    expected = denoise(read_raw(source), load_bundled("fast")).image.mosaic
    assert np.array_equal(read_raw(output).mosaic, expected)
    assert source.read_bytes() == before
    made = read_origin(output)
    assert made is not None
    assert (made.recipe, made.model_id) == (root.recipe.digest, load_bundled("fast").card.id)
    (done,) = told.all("done")
    assert (done["source"], done["output"], done["camera"]) == (str(source), str(output), "Test One")
    assert done["gain_db"] > 0


@pytest.mark.parametrize("format", ["dng", "tiff", "mosaic-tiff"])
def test_outputs_say_of_what_they_were_made(root: Root, format: str) -> None:
    root = replace(root, recipe=replace(QUICK, format=Format(format)))
    a_capture(root.source / "a.dng")
    assert once(root)[0] == 0
    (name,) = outputs(root)
    made = read_origin(root.output / name)
    with Ledger(config_of(root).state, owner=False) as ledger:
        (job,) = ledger.jobs.select()
    assert made is not None
    assert (made.source_digest, made.recipe) == (job.digest, root.recipe.digest)


def test_nothing_is_done_twice(root: Root) -> None:
    for number in range(3):
        a_capture(root.source / f"{number}.dng", number)
    assert len(once(root)[1].all("done")) == 3
    shutil.copy(root.source / "0.dng", root.source / "copied.dng")
    os.utime(root.source / "1.dng")
    code, told = once(root)
    assert (code, told.all("done")) == (0, [])
    assert outputs(root) == {"0.dng", "1.dng", "2.dng"}


def test_a_lost_ledger_does_nothing_twice(root: Root) -> None:
    for number in range(3):
        a_capture(root.source / f"{number}.dng", number)
    once(root)
    times = {path: path.stat().st_mtime_ns for path in root.output.iterdir()}
    shutil.rmtree(config_of(root).state)
    code, told = once(root)
    assert (code, told.all("done"), len(told.all("found"))) == (0, [], 3)
    assert {path: path.stat().st_mtime_ns for path in root.output.iterdir()} == times
    assert states(root) == {"done": 3}


def test_names_that_meet(root: Root) -> None:
    for number, folder in enumerate(("a", "b")):
        a_capture(root.source / folder / "IMG.dng", number)
    shutil.copy(a_capture(root.source.parent / "x.dng", 5), root.source / "a" / "IMG.DNG")
    (root.output / "b").mkdir(parents=True)
    (root.output / "b" / "IMG.dng").write_bytes(b"somebody else's")
    assert once(root)[0] == 0
    assert len(outputs(root)) == 4
    assert {"a/IMG.dng", "b/IMG.dng", "b/IMG.dng.dng"} < outputs(root)
    assert (root.output / "b" / "IMG.dng").read_bytes() == b"somebody else's"


def test_a_name_that_is_taken_meanwhile_is_left_to_who_has_it(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_capture(root.source / "a.dng")
    real = worker.run_file

    def run_file(job: Any, *more: Any) -> Any:
        (root.output / "a.dng").write_bytes(b"somebody else's")
        return real(job, *more)

    monkeypatch.setattr(worker, "run_file", run_file)
    assert once(root)[0] == 0
    assert outputs(root) == {"a.dng", "a.dng.dng"}
    assert (root.output / "a.dng").read_bytes() == b"somebody else's"


def test_two_ledgers_and_one_output_lose_no_picture(root: Root) -> None:
    other = replace(root, source=root.source.parent / "elsewhere" / "in")
    for number, each in enumerate((root, other)):
        a_capture(each.source / "a.dng", number)
        assert once(each)[0] == 0
    assert outputs(root) == {"a.dng", "a.dng.dng"}


def test_names_that_cannot_be_are_cut_or_given_up_and_stop_nothing(root: Root) -> None:
    root = replace(root, failed_dir=root.source.parent / "failed")
    long = "n" * 251
    shutil.copy(a_capture(root.source / f"{long}.dng", 0), root.source.parent / "x.dng")
    a_capture(root.source / f"{long}.DNG", 1)
    a_capture(root.source / "z.dng", 2)
    a_capture(root.source / "IMG.cr2", 3)
    once(root)
    a_capture(root.source / "IMG.dng" / "x.dng", 4)  # where a file lies in the output folder
    a_capture(root.source / "zz.dng", 5)
    code, told = once(root)
    assert code == 1
    assert [each["source"] for each in told.all("quarantined")] == [str(root.source / "IMG.dng" / "x.dng")]
    assert (root.source / "IMG.dng" / "x.dng").exists()  # nothing is wrong with it
    assert len(outputs(root)) == 5
    assert {"z.dng", "zz.dng", "IMG.dng"} < outputs(root)


def test_outputs_inside_the_watched_folder_are_not_captures(root: Root) -> None:
    root = replace(root, output=root.source / "out", recipe=replace(QUICK, strength=0.0))
    a_capture(root.source / "a.dng")
    for _ in range(2):
        assert once(root)[0] == 0
    assert outputs(root) == {"a.dng"}


def test_our_own_outputs_that_are_brought_back_are_left_alone(root: Root) -> None:
    root = replace(root, recipe=Recipe())
    a_capture(root.source / "a.dng")
    once(root)
    shutil.copy(root.output / "a.dng", root.source / "again.dng")
    code, told = once(root)
    assert code == 0
    assert [each["source"] for each in told.all("skipped")] == [str(root.source / "again.dng")]
    assert outputs(root) == {"a.dng"}


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("", "", {"a.dng", "a.dng.dng"}),
        ("2026:01:01 10:00:00", "2026:01:01 10:00:00", {"a.dng", "a.dng.dng"}),  # a camera of ten a second
        ("2026:01:01 10:00:00.25", "2026:01:01 10:00:00.35", {"a.dng", "a.dng.dng"}),
        ("2026:01:01 10:00:00", "2026:01:02 11:00:00", {"a.dng", "a.dng.dng"}),
        ("2026:01:01 10:00:00.25", "2026:01:01 10:00:00.25", {"a.dng"}),  # a copy that looked whole
    ],
)
def test_another_picture_under_the_same_name_loses_no_output(
    root: Root, first: str, second: str, names: set[str]
) -> None:
    source = a_capture(root.source / "a.dng", 0, first)
    once(root)
    made = (root.output / "a.dng").read_bytes()
    a_capture(source, 1, second)
    code, told = once(root)
    assert code == 0
    assert outputs(root) == names
    kept = (root.output / "a.dng").read_bytes() == made
    (done,) = told.all("done")
    assert kept == (len(names) == 2) == any("another capture's, and stays" in note for note in done["notes"])


def retag(path: Path, taken: str) -> None:
    """Say that a capture was taken at another time, by the same pixels."""
    raw = read_raw(path)
    exif = {**raw.metadata.exif, Code.DateTimeOriginal: ascii_tag(taken)}
    changed = replace(raw, metadata=replace(raw.metadata, exif=exif))
    write_dng(changed, path, provenance=Provenance("0", "simulated", 0.0))


def test_a_capture_that_was_retagged_has_one_output_with_its_tags(root: Root) -> None:
    source = a_capture(root.source / "a.dng", 0, "2026:01:01 10:00:00")
    once(root)
    retag(source, "2026:01:01 12:00:00")  # the camera's clock was an hour or two wrong
    assert once(root)[0] == 0
    assert outputs(root) == {"a.dng"}
    assert text(read_metadata(root.output / "a.dng").exif[Code.DateTimeOriginal]) == "2026:01:01 12:00:00"


def test_an_output_that_somebody_has_edited_is_not_replaced(root: Root) -> None:
    source = a_capture(root.source / "a.dng", 0, "2026:01:01 10:00:00")
    once(root)
    retag(root.output / "a.dng", "2026:01:01 11:00:00")
    edited = (root.output / "a.dng").read_bytes()
    retag(source, "2026:01:01 12:00:00")
    assert once(root)[0] == 0
    assert (root.output / "a.dng").read_bytes() == edited
    assert outputs(root) == {"a.dng", "a.dng.dng"}


def test_redo(root: Root) -> None:
    a_capture(root.source / "a.dng")
    once(root)
    first = read_origin(root.output / "a.dng")
    root = replace(root, recipe=replace(QUICK, keep_row_noise=True))
    assert once(root)[1].all("done") == []  # only when it is asked for
    assert len(once(root, redo=True)[1].all("done")) == 1
    assert once(root, redo=True)[1].all("done") == []
    again = read_origin(root.output / "a.dng")
    assert first is not None
    assert again is not None
    assert again.recipe == root.recipe.digest != first.recipe
    assert outputs(root) == {"a.dng"}


def test_what_somebody_did_to_a_sidecar_beside_the_output_stays(root: Root) -> None:
    root = replace(root, sidecars=True)
    for name in ("a", "b"):
        a_capture(root.source / f"{name}.dng", ord(name))
        (root.source / f"{name}.xmp").write_text("the camera's")
    root.output.mkdir()
    (root.output / "b.xmp").write_text("there before")
    assert once(root)[0] == 0
    assert (root.output / "a.xmp").read_text() == "the camera's"
    (root.output / "a.xmp").write_text("edited in a raw developer")
    os.utime(root.source / "a.xmp")
    assert once(root)[0] == 0
    assert (root.output / "a.xmp").read_text() == "edited in a raw developer"
    assert (root.output / "b.xmp").read_text() == "there before"


def test_a_sidecar_that_cannot_be_read_stops_nothing(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root = replace(root, sidecars=True)
    a_capture(root.source / "a.dng")
    once(root)
    (root.source / "a.xmp").write_text("secret")
    real, refusals = late_sidecars.copy_sidecars, iter([True] * 3)

    def copy(*arguments: Any) -> list[Path]:
        if next(refusals, False):
            raise UnreadableError(root.source / "a.xmp", "cannot be read (Permission denied)")
        return real(*arguments)

    monkeypatch.setattr(late_sidecars, "copy_sidecars", copy)
    with watching(root) as (_, told):
        assert soon(lambda: (root.output / "a.xmp").exists())
    assert len(told.all("refused")) == 1


def test_sidecars_go_with_their_capture_whenever_they_come(root: Root) -> None:
    root = replace(root, sidecars=True)
    a_capture(root.source / "a.dng")
    (root.source / "a.xmp").write_text("early")
    assert once(root)[0] == 0
    (root.source / "a.dng.xmp").write_text("late")
    (root.source / "a.JPG").write_text("late")
    (root.source / "alone.JPG").write_text("of nothing")
    assert once(root)[0] == 0
    assert outputs(root) == {"a.dng", "a.xmp", "a.dng.xmp", "a.JPG"}
    (root.source / "a.xmp").write_text("edited since")
    assert once(root)[0] == 0
    assert (root.output / "a.xmp").read_text() == "edited since"


def test_pictures_that_would_hardly_gain_are_left_out_once(root: Root) -> None:
    root = replace(root, recipe=Recipe(min_gain=99.0))
    a_capture(root.source / "a.dng")
    assert len(once(root)[1].all("skipped")) == 1
    assert once(root)[1].all("skipped") == []
    assert outputs(root) == set()


def test_a_model_that_is_made_meanwhile_is_used(root: Root) -> None:
    root = replace(root, recipe=Recipe())
    with watching(root) as (_, told):
        first = a_capture(root.source / "a.dng", 0)
        assert soon(lambda: told.all("done"))
        card = replace(load_bundled("fast").card, camera=read_raw(first).camera)
        own = new_model(load_bundled("fast").net, card)
        user_stores().models.save(own)
        a_capture(root.source / "b.dng", 1)
        assert soon(lambda: len(told.all("done")) == 2)
    assert [each["model"] for each in told.all("done")] == [load_bundled("fast").card.id, own.card.id]


def test_a_model_whose_card_cannot_be_read_is_waited_for(root: Root) -> None:
    root = replace(root, recipe=Recipe())
    source = a_capture(root.source / "a.dng")
    own = new_model(
        load_bundled("fast").net, replace(load_bundled("fast").card, camera=read_raw(source).camera)
    )
    card = user_stores().models.save(own) / "card.json"
    card.write_text('{"format": 0}')
    with watching(root) as (_, told):
        assert soon(lambda: told.all("waiting"))
    assert f"rawdenoise models remove {own.card.id}" in told.all("waiting")[0]["reason"]
    assert not told.all("done")
    assert outputs(root) == set()


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


# Folders


def test_a_folder_that_is_unmounted_and_comes_back(root: Root) -> None:
    a_capture(root.source / "a.dng", 0)
    once(root)
    away = root.source.rename(root.source.with_name("away"))
    a_capture(away / "b.dng", 1)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("waiting"))
        away.rename(root.source)
        assert soon(lambda: told.all("done"))
    assert [each["source"] for each in told.all("done")] == [str(root.source / "b.dng")]
    assert states(root) == {"done": 2}


@pytest.mark.parametrize("poll_s", [None, 0.1])
def test_by_events_and_by_polling(root: Root, poll_s: float | None) -> None:
    root = replace(root, poll_s=poll_s, settle_s=0.1, rescan_s=300.0)
    with watching(root) as (_, told):
        assert soon(lambda: told.all("started"))
        time.sleep(0.3)
        a_capture(root.source / "new" / "folder" / "a.dng")
        assert soon(lambda: told.all("done"))
    assert outputs(root) == {"new/folder/a.dng"}
    assert bool(told.all("polling")) == (poll_s is not None)


def test_no_watches_left_is_polling(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher.Events, "start", lambda self: "the system's limit is reached")
    monkeypatch.setattr(watcher, "POLL_S", 0.1)
    with watching(replace(root, rescan_s=300.0)) as (_, told):
        assert soon(lambda: told.all("polling"))
        a_capture(root.source / "a.dng")
        assert soon(lambda: told.all("done"))
    assert len(told.all("polling")) == 1


def test_a_reload_takes_on_new_folders_and_drops_old_ones(root: Root) -> None:
    other = replace(root, source=root.source.with_name("in2"), output=root.output.with_name("out2"))
    other.source.mkdir()
    with watching(root) as (running, told):
        a_capture(root.source / "a.dng", 0)
        assert soon(lambda: told.all("done"))
        running.reload(config_of(other))
        assert soon(lambda: told.all("reloaded"))
        a_capture(root.source / "ignored.dng", 1)
        a_capture(other.source / "b.dng", 2)
        assert soon(lambda: len(told.all("done")) == 2)
    assert outputs(other) == {"b.dng"}
    assert outputs(root) == {"a.dng"}


@pytest.mark.parametrize("number", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_at_once(root: Root, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    root = replace(root, rescan_s=300.0)
    for each in range(number):
        (root.source / f"{each}.dng").write_bytes(each.to_bytes(4, "big"))
    seen: list[int] = []

    def work(self: worker.Worker, job: QueuedJob, *more: Any) -> worker.JobOutcome:
        seen.append(job.id)
        self._ledger.jobs.finish(job, now(), JobResult(output=None))
        return worker.JobOutcome()

    monkeypatch.setattr(worker.Worker, "work", work)
    assert once(root)[0] == 0
    assert len(seen) == len(set(seen)) == number
    assert states(root) == {"done": number}


# Processes


def test_two_watchers_share_the_work(root: Root) -> None:
    for number in range(20):
        a_capture(root.source / f"{number}.dng", number)
    with watching(root) as (_, one), watching(root) as (_, other):
        assert soon(lambda: len(one.all("done")) + len(other.all("done")) == 20)
        time.sleep(0.5)
        done = [each["source"] for each in one.all("done") + other.all("done")]
    assert len(done) == len(set(done)) == 20


KILLED = """
import os, signal, sys
from pathlib import Path
from rawdenoise.app.stores import user_stores
from rawdenoise.watching import denoise_worker as worker
from rawdenoise.recipe import Recipe
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.service import RunOptions, Service
class Silent:
    def say(self, event, **fields): pass
where = sys.argv[2]
def die(*arguments, **more): os.kill(os.getpid(), signal.SIGKILL)
if where == "written": worker.Worker._finish = die
if where == "reading": worker.run_file = die
if where == "writing":
    from rawdenoise.atomic import atomic_output
    def write(denoised, output, **more):
        with atomic_output(output) as temporary:
            temporary.write_bytes(b"half")
            die()
    worker.write = write
here = Path(sys.argv[1])
root = Root(here / "in", here / "out", Recipe(strength=0.0), settle_s=0.0, train="never")
with Ledger(here / "state") as ledger:
    config = WatchConfig((root,), here / "state")
    Service(config, user_stores(), ledger, Silent(), RunOptions(once=True)).run(lambda: False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("where", ["reading", "writing", "written"])
def test_killed_anywhere_nothing_is_lost_and_nothing_is_left(root: Root, where: str) -> None:
    import subprocess

    a_capture(root.source / "a.dng")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root.source.parent), where], check=False)
    assert killed.returncode == -9
    assert states(root) == {"running": 1}
    assert any(TEMPORARY_MARK in name for name in outputs(root)) == (where == "writing")
    code, told = once(root)
    assert (code, states(root), outputs(root)) == (0, {"done": 1}, {"a.dng"})
    assert len(told.all("found")) == (where == "written")
    assert len(told.all("reclaimed")) == 1


def test_a_capture_that_kills_its_process_is_given_up(root: Root) -> None:
    a_capture(root.source / "a.dng")
    with Ledger(config_of(root).state) as ledger:
        made = Service(config_of(root), user_stores(), ledger, Told(), RunOptions(once=True))
        made.run(lambda: False)
        (job,) = ledger.jobs.select()
        again = replace(job, crashes=root.attempts)
        with ThreadPoolExecutor(1) as network:
            outcome = made._scheduler._worker.work(again, root, network, ShotIndex())
    assert outcome.event == "quarantined"
    assert "died at it 3 times, with nothing else under way" in outcome.fields["reason"]


def test_what_was_cleared_arrives_anew_while_the_service_runs(root: Root) -> None:
    a_capture(root.source / "a.dng")
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
        with Ledger(config_of(root).state, owner=False) as ledger:
            assert ledger.requests.clear([State.DONE]) == 1
        assert soon(lambda: told.all("found"))
    assert outputs(root) == {"a.dng"}


def test_what_vanishes_before_it_settles_is_forgotten(root: Root) -> None:
    root = replace(root, settle_s=300.0)
    source = a_capture(root.source / "a.dng")
    with watching(root):
        assert soon(lambda: states(root) == {"seen": 1})
        source.unlink()
        assert soon(lambda: states(root) == {})


def test_a_heartbeat_is_there_as_long_as_the_service(root: Root) -> None:
    with watching(root):
        state = config_of(root).state
        assert soon(lambda: heartbeats(state, now()))
        (beat,) = heartbeats(state, now())
        assert beat.pid == os.getpid()
        assert [each.source for each in beat.roots] == [str(root.source)]
    assert heartbeats(state, now()) == []


def test_a_ledger_that_refuses_for_a_while_stops_nothing(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LEDGER_S", 0.05)
    monkeypatch.setattr(service, "LEDGER_S", 0.05)
    real, refusals = JobQueue.finish, iter([True] * 3)
    leases, lease = iter([True] * 3), JobQueue.lease

    def finish(self: JobQueue, *arguments: Any, **more: Any) -> bool:
        if next(refusals, False):
            raise LedgerError("database or disk is full")
        return real(self, *arguments, **more)

    def leased(self: JobQueue, *arguments: Any, **more: Any) -> Any:
        if next(leases, False):
            raise LedgerError("database or disk is full")
        return lease(self, *arguments, **more)

    monkeypatch.setattr(JobQueue, "finish", finish)
    monkeypatch.setattr(JobQueue, "lease", leased)
    a_capture(root.source / "a.dng")
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
    assert states(root) == {"done": 1}
    (waiting,) = told.all("waiting")
    assert describe_event("waiting", waiting) == "waiting: database or disk is full"


def test_sidecars_that_the_ledger_refuses_come_again(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    root = replace(root, sidecars=True, poll_s=0.1)
    monkeypatch.setattr(service, "LEDGER_S", 0.05)
    real, refusals = FileIndex.find_job, iter([True])

    def find_job(self: FileIndex, *arguments: Any) -> QueuedJob | None:
        if next(refusals, False):
            raise LedgerError("database or disk is full")
        return real(self, *arguments)

    a_capture(root.source / "a.dng")
    with watching(root) as (_, told):
        assert soon(lambda: told.all("done"))
        monkeypatch.setattr(FileIndex, "find_job", find_job)
        (root.source / "a.xmp").write_text("an edit")
        assert soon(lambda: told.all("sidecar"))
    assert (root.output / "a.xmp").read_text() == "an edit"
    assert next(refusals, None) is None


# Training


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


# Pieces


def test_errors_are_of_one_tree() -> None:
    assert issubclass(sources.SourceChangedError, RawDenoiseError)
    assert State.SEEN in State
