from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from conftest import PATIENCE_S, make_raw
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.app.batch import Steps, Stopped, make_steps, run_batch
from rawdenoise.app.planning import FileJob, IfExists, plan
from rawdenoise.app.results import FileResult, Status
from rawdenoise.capture.raw import Exposure, Provenance, RawImage
from rawdenoise.errors import DiskFullError, ModelMissingError, TruncatedError
from rawdenoise.files.names import name_outputs
from rawdenoise.files.outputs import is_made_by_us
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.output_format import Format
from rawdenoise.pipeline import Denoised
from rawdenoise.recipe import Recipe

# ---------------------------------------------------------------- planning

names = st.sampled_from(
    ["IMG", "img", "IMG-2", "IMG.CR2", "Straße", "STRASSE", "e\u0301", "\u00e9", " a b", "-o", "x\ny"]
)
suffixes = st.sampled_from([".CR2", ".cr2", ".DNG", ".nef", ""])
folders = st.lists(st.sampled_from(["a", "A", "DCIM", "100 CANON"]), max_size=2)
sources = st.builds(lambda parts, name, suffix: Path(*parts, name + suffix), folders, names, suffixes)


@given(st.lists(sources, unique=True, max_size=12), st.sampled_from(list(Format)))
def test_every_source_has_an_output_of_its_own_beside_its_mirror(given: list[Path], format: Format) -> None:
    outputs = name_outputs(given, format.suffix)
    assert len({str(output).casefold() for output in outputs}) == len(given)
    for source, output in zip(given, outputs, strict=True):
        assert output.parent == source.parent
        assert output.name.endswith(format.suffix)
        assert output.name.startswith(source.stem)


def test_sources_that_share_a_name_all_keep_their_suffix() -> None:
    assert name_outputs([Path("IMG.CR2"), Path("IMG.DNG"), Path("IMG2.CR2")], ".dng") == [
        Path("IMG.CR2.dng"),
        Path("IMG.DNG.dng"),
        Path("IMG2.dng"),
    ]
    assert name_outputs([Path("a.cr2"), Path("A.CR2")], ".tif") == [Path("a.cr2.tif"), Path("A.CR2-2.tif")]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not a raw file")


def outputs_of(jobs: list[FileJob], folder: Path) -> dict[str, str]:
    return {
        str(PurePosixPath(job.source)): str(PurePosixPath(job.output.relative_to(folder)))
        for job in jobs
        if job.output is not None
    }


def test_the_tree_below_one_folder_is_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("in/a.CR2"), Path("in/day 1/b.nef"), Path("in/day 1/notes.txt"))
    assert outputs_of(plan([Path("in")], Path("out"), suffix=".dng"), Path("out")) == {"in/a.CR2": "a.dng"}
    jobs = plan([Path("in")], Path("out"), suffix=".dng", recursive=True)
    assert outputs_of(jobs, Path("out")) == {"in/a.CR2": "a.dng", "in/day 1/b.nef": "day 1/b.dng"}


def test_folders_of_the_same_name_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("mon/DCIM/1.CR2"), Path("tue/DCIM/1.CR2"))
    jobs = plan([Path("mon/DCIM"), Path("tue/DCIM/")], Path("out"), suffix=".dng")
    assert outputs_of(jobs, Path("out")) == {
        "mon/DCIM/1.CR2": "mon/DCIM/1.dng",
        "tue/DCIM/1.CR2": "tue/DCIM/1.dng",
    }


def test_files_of_one_folder_lie_flat_and_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(Path("in/a.CR2"), Path("in/a.NEF"))
    jobs = plan([Path("in/a.CR2"), Path("in/../in/a.CR2"), tmp_path / "in/a.NEF"], Path("out"), suffix=".dng")
    assert list(outputs_of(jobs, Path("out")).values()) == ["a.CR2.dng", "a.NEF.dng"]
    assert all("same name" in job.note for job in jobs)


def test_hidden_files_and_the_output_folder_are_not_searched(tmp_path: Path) -> None:
    touch(tmp_path / "a.CR2", tmp_path / "._a.CR2", tmp_path / ".Trash/b.CR2", tmp_path / "out/a.dng")
    touch(tmp_path / ".rawdenoise-0123abcd-a.dng")
    jobs = plan([tmp_path], tmp_path / "out", suffix=".tif", recursive=True)
    assert [job.source.name for job in jobs] == ["a.CR2"]


def test_a_linked_folder_is_searched_when_given_and_not_followed_when_found(tmp_path: Path) -> None:
    touch(tmp_path / "real/a.CR2")
    (tmp_path / "real/loop").symlink_to(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    jobs = plan([tmp_path / "link"], tmp_path / "out", suffix=".dng", recursive=True)
    assert [job.source for job in jobs] == [tmp_path / "link/a.CR2"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that may not be read")
def test_a_folder_that_may_not_be_read_fails_alone(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.CR2", tmp_path / "in/closed/b.CR2")
    (tmp_path / "in/closed").chmod(0)
    jobs = plan([tmp_path / "in"], tmp_path / "out", suffix=".dng", recursive=True)
    assert [job.status for job in jobs] == [Status.PLANNED, Status.FAILED]


@pytest.mark.parametrize(
    ("if_exists", "status", "name"),
    [
        (IfExists.SKIP, Status.SKIPPED, "a.dng"),
        (IfExists.OVERWRITE, Status.PLANNED, "a.dng"),
        (IfExists.RENAME, Status.PLANNED, "a-3.dng"),
        (IfExists.ERROR, Status.FAILED, "a.dng"),
    ],
)
def test_what_is_there_already(tmp_path: Path, if_exists: IfExists, status: Status, name: str) -> None:
    touch(tmp_path / "a.CR2", tmp_path / "a-2.CR2", tmp_path / "out/a.dng")
    first = plan([tmp_path], tmp_path / "out", suffix=".dng", if_exists=if_exists)[1]
    assert (first.source.name, first.status) == ("a.CR2", status)
    assert first.output == tmp_path / "out" / name  # a-2.dng is another source's


def test_an_output_of_the_same_name_but_of_another_capture_is_not_taken_for_done(tmp_path: Path) -> None:
    times = {"mon": "2024:05:06 07:08:09", "tue": "2024:05:07 07:08:09"}
    for day, time_ in times.items():
        raw = make_raw(64, 64, exposure=Exposure(iso=100, taken_at=time_))
        written(tmp_path / day / "1.dng", 0.0, raw)
    written(tmp_path / "out/1.dng", 1.0, read_raw(tmp_path / "mon/1.dng"))
    (monday,) = plan([tmp_path / "mon"], tmp_path / "out", suffix=".dng")
    (tuesday,) = plan([tmp_path / "tue"], tmp_path / "out", suffix=".dng")
    assert (monday.status, tuesday.status) == (Status.SKIPPED, Status.FAILED)
    assert "another capture" in tuesday.reason


@pytest.mark.parametrize("if_exists", [IfExists.SKIP, IfExists.OVERWRITE, IfExists.ERROR])
@pytest.mark.parametrize("how", ["same", "symlink", "hardlink", "linked folder"])
def test_no_output_is_a_source(tmp_path: Path, how: str, if_exists: IfExists) -> None:
    source, out = tmp_path / "in/a.dng", tmp_path / "out"
    touch(source)
    out.mkdir()
    if how == "same":
        out = tmp_path / "in"
    elif how == "symlink":
        (out / "a.dng").symlink_to(source)
    elif how == "hardlink":
        (out / "a.dng").hardlink_to(source)
    else:
        out.rmdir()
        out.symlink_to(tmp_path / "in")
    (job,) = plan([source], out, suffix=".dng", if_exists=if_exists)
    assert job.status is Status.FAILED
    assert "one of the sources" in job.reason
    (renamed,) = plan([source], out, suffix=".dng", if_exists=IfExists.RENAME)
    assert renamed.output == out / "a-2.dng"


def written(path: Path, strength: float, raw: RawImage | None = None) -> Path:
    write_dng(raw or make_raw(), path, provenance=Provenance("0", "test", strength))
    return path


def test_own_outputs_in_a_searched_folder_are_passed_over_but_simulated_captures_are_not(
    tmp_path: Path,
) -> None:
    ours, simulated = written(tmp_path / "ours.dng", 0.5), written(tmp_path / "simulated.dng", 0.0)
    touch(tmp_path / "foreign.dng", tmp_path / "ours.CR2")
    assert is_made_by_us(ours)
    assert not is_made_by_us(simulated)
    assert not is_made_by_us(tmp_path / "foreign.dng")
    jobs = {job.source.name: job for job in plan([tmp_path], tmp_path, suffix=".dng")}
    assert jobs["ours.dng"].status is Status.SKIPPED
    assert jobs["ours.CR2"].output == tmp_path / "ours.dng"  # and not ours.CR2.dng: it has no rival
    assert plan([ours], tmp_path / "out", suffix=".dng")[0].status is Status.PLANNED


# ---------------------------------------------------------------- running


def jobs_for(count: int) -> list[FileJob]:
    return [FileJob(Path(f"{number}.CR2"), Path("out", f"{number}.dng")) for number in range(count)]


def denoised(raw: RawImage) -> Denoised:
    return Denoised(raw, None, Provenance("0", "test", 1.0, model_id="a-model"), 0.25)


def work_of(
    read: Callable[[Path], RawImage] = lambda path: make_raw(),
    denoise: Callable[[RawImage, Callable[[], bool]], Denoised] = lambda raw, stopped: denoised(raw),
    write: Callable[[Denoised, Path], Path] = lambda result, output: output,
) -> Steps:
    return Steps(lambda path, stopped: read(path), denoise, write)


def test_every_job_gets_one_result() -> None:
    settled = FileJob(Path("x.CR2"), Path("out/x.dng"), Status.SKIPPED, "out/x.dng exists")
    results = sorted(run_batch([*jobs_for(5), settled], work_of()), key=lambda result: result.source)
    assert [result.status for result in results] == [Status.DONE] * 5 + [Status.SKIPPED]
    first = results[0]
    assert (first.output, first.model_id, first.network_s) == (Path("out/0.dng"), "a-model", 0.25)
    assert first.megapixels == pytest.approx(32 * 48 / 1e6)
    assert results[-1].reason == "out/x.dng exists"


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_no_more_files_are_in_memory_than_allowed_and_one_in_the_network(in_flight: int) -> None:
    lock, in_memory, most, in_network, most_in_network = threading.Lock(), 0, 0, 0, 0
    full = threading.Event()

    def read(path: Path) -> RawImage:
        nonlocal in_memory, most
        with lock:
            in_memory += 1
            most = max(most, in_memory)
            if most == in_flight:
                full.set()
        return make_raw()

    def denoise(raw: RawImage, stopped: Callable[[], bool]) -> Denoised:
        nonlocal in_network, most_in_network
        in_network += 1
        most_in_network = max(most_in_network, in_network)
        assert full.wait(PATIENCE_S)  # the others are read meanwhile
        in_network -= 1
        return denoised(raw)

    def write(result: Denoised, output: Path) -> Path:
        nonlocal in_memory
        with lock:
            in_memory -= 1
        return output

    assert len(list(run_batch(jobs_for(12), work_of(read, denoise, write), in_flight=in_flight))) == 12
    assert most == in_flight
    assert most_in_network == 1


def test_reading_overlaps_with_the_network_of_another_file() -> None:
    reading_second = threading.Event()

    def read(path: Path) -> RawImage:
        if path.name == "1.CR2":
            reading_second.set()
        return make_raw()

    def denoise(raw: RawImage, stopped: Callable[[], bool]) -> Denoised:
        assert reading_second.wait(PATIENCE_S)
        return denoised(raw)

    assert {result.status for result in run_batch(jobs_for(2), work_of(read, denoise))} == {Status.DONE}


@pytest.mark.parametrize(
    ("error", "reason", "exit_code"),
    [
        (TruncatedError(Path("1.CR2"), "ends early"), "ends early", 1),
        (ModelMissingError("no model for Test One"), "no model for Test One", 3),
        (DiskFullError(Path("out/1.dng"), "no space left"), "out/1.dng: no space left", 1),
        (
            ZeroDivisionError("division by zero\nand more"),
            "unexpected ZeroDivisionError: division by zero",
            1,
        ),
        (MemoryError(), "not enough memory; try --jobs 1", 1),
    ],
)
def test_one_bad_file_stops_nobody(error: Exception, reason: str, exit_code: int) -> None:
    def read(path: Path) -> RawImage:
        if path.name == "1.CR2":
            raise error
        return make_raw()

    results = {result.source.name: result for result in run_batch(jobs_for(3), work_of(read))}
    assert [results[f"{number}.CR2"].status for number in (0, 2)] == [Status.DONE] * 2
    failed = results["1.CR2"]
    assert (failed.status, failed.reason, failed.exit_code) == (Status.FAILED, reason, exit_code)


def test_a_stopped_batch_gives_up_what_is_under_way_and_keeps_what_is_done() -> None:
    stop, wrote = threading.Event(), []

    def denoise(raw: RawImage, stopped: Callable[[], bool]) -> Denoised:
        if len(wrote) == 2:
            stop.set()
            assert stopped()
            raise Stopped
        return denoised(raw)

    def write(result: Denoised, output: Path) -> Path:
        wrote.append(output)
        return output

    results = list(
        run_batch(jobs_for(50), work_of(denoise=denoise, write=write), in_flight=1, stop=stop.is_set)
    )
    assert len(results) == len(wrote) == 2


def test_closing_the_results_stops_the_batch() -> None:
    begun: list[Path] = []

    def read(path: Path) -> RawImage:
        begun.append(path)
        return make_raw()

    results: Iterator[FileResult] = run_batch(jobs_for(50), work_of(read), in_flight=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) < 10


def test_strength_zero_needs_no_model_and_keeps_times(tmp_path: Path) -> None:
    source = written(tmp_path / "a.dng", 0.0, replace(make_raw(64, 64), source=tmp_path / "a.dng"))
    os.utime(source, ns=(10**18, 10**18))
    steps = make_steps(Recipe(strength=0), lambda camera: None, keep_mtime=True)
    (result,) = run_batch(plan([source], tmp_path / "out", suffix=".dng"), steps)
    assert result.status is Status.DONE, result.reason
    assert result.output == tmp_path / "out/a.dng"
    assert np.array_equal(read_raw(result.output).mosaic, read_raw(source).mosaic)
    assert result.output.stat().st_mtime_ns == 10**18
