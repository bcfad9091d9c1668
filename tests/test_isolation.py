"""What decodes strangers' bytes may crash, hang and take all memory: it costs one file, and one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE_S, make_raw, raw_images, soon
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.app.batch import make_steps, run_batch
from rawdenoise.app.planning import FileJob
from rawdenoise.app.results import FileResult, Status
from rawdenoise.capture.raw import Cfa, Color, ColorMatrix, Exposure, Metadata, Provenance, RawImage, Tag
from rawdenoise.errors import (
    UNFORESEEN,
    DecoderCrashedError,
    DecoderTimeoutError,
    NotFoundError,
    OutOfMemoryError,
    SetupError,
    Stopped,
    TruncatedError,
    UnreadableError,
)
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.isolation import isolated_reader as isolation
from rawdenoise.isolation.isolated_reader import IsolatedReader, shared_reader
from rawdenoise.isolation.messages import decode_message, encode_message
from rawdenoise.recipe import Recipe

MISBEHAVING = "misbehaving_decoder"


@pytest.fixture(scope="module")
def reader() -> Iterator[IsolatedReader]:
    reader = IsolatedReader(worker=MISBEHAVING)
    yield reader
    reader.close()


def file_of(folder: Path, word: str) -> Path:
    path = folder / f"{word}.dng"
    path.write_text(word)
    return path


def same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if hasattr(one, "__dataclass_fields__"):
        pairs = ((getattr(one, each.name), getattr(other, each.name)) for each in fields(one))  # type: ignore[arg-type]
        return type(one) is type(other) and all(same(*pair) for pair in pairs)
    return one == other


# ---------------------------------------------------------------- messages


@given(raw_images(), st.binary(max_size=40), st.text(max_size=8), st.floats(allow_nan=False), st.booleans())
def test_an_image_comes_through_whole(
    tmp_path_factory: pytest.TempPathFactory,
    raw: RawImage,
    data: bytes,
    words: str,
    number: float,
    deltas: bool,
) -> None:
    tags = {700: Tag(7, len(data), data), 271: Tag(2, 3, b"ab\0")}
    rows = np.linspace(0, 1, raw.active.height) if deltas else None
    image = replace(
        raw,
        source=Path(os.fsdecode(b"a\xff.dng")),
        levels=replace(raw.levels, black_delta_rows=rows),
        exposure=Exposure(100, number, None, 50.0, words),
        color=Color((ColorMatrix(21, ((1.0, 0.0, number),) * 3),), (0.5, 1.0, 0.7)),
        metadata=Metadata(
            is_dng=True, root=tags, extra={Code.ExtraCameraProfiles: (tags, {})}, maker_note_offset=7
        ),
        notes=(words, "another"),
    )
    with FileIO(tmp_path_factory.mktemp("messages") / "file", "w+") as file:
        assert same(decode_message(encode_message(image, file), file), image)


@given(st.data())
def test_an_answer_that_was_tampered_with_is_an_error_and_no_pickle(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    with FileIO(tmp_path_factory.mktemp("messages") / "file", "w+") as file:
        words = bytearray(encode_message(make_raw(4, 4), file))
        assert b"pickle" not in words
        for _ in range(data.draw(st.integers(1, 4))):
            words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.integers(0, 255))
        try:
            decode_message(bytes(words), file)
        except MemoryError:
            raise
        except Exception:
            return


def test_an_answer_that_tells_of_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    with FileIO(tmp_path / "file", "w+") as file:
        words = b'{"array": [0, 400000000000], "dtype": "<u2", "shape": [200000000000]}'
        with pytest.raises(ValueError, match="more than"):
            decode_message(words, file)


# ---------------------------------------------------------------- what can happen to a process


@pytest.mark.parametrize(
    ("word", "error", "reason"),
    [
        ("segfault", DecoderCrashedError, "SIGSEGV"),
        ("abort", DecoderCrashedError, "SIGABRT"),
        ("exit", DecoderCrashedError, "exit code 7"),
        ("nonsense", DecoderCrashedError, "no capture"),
        ("bomb", OutOfMemoryError, "more memory than a decoder may take"),
        ("bug", UnreadableError, f"{UNFORESEEN} \\(KeyError: 'surprise'\\)"),
        ("untold", UnreadableError, UNFORESEEN),
        ("truncated", TruncatedError, "ends too early"),
    ],
)
def test_it_costs_one_file_and_one_line(
    reader: IsolatedReader, tmp_path: Path, word: str, error: type[Exception], reason: str
) -> None:
    bad, good = file_of(tmp_path, word), file_of(tmp_path, "good")
    with pytest.raises(error, match=reason) as caught:
        reader.read(bad)
    assert type(caught.value) is error
    assert str(caught.value).startswith(f"{bad}: ")
    assert "\n" not in str(caught.value)
    assert reader.read(good).mosaic.shape == (6, 8)


def test_a_decoder_that_hangs_is_given_up(tmp_path: Path) -> None:
    reader = IsolatedReader(worker=MISBEHAVING, time_s=0.3)
    try:
        with pytest.raises(DecoderTimeoutError, match="given up"):
            reader.read(file_of(tmp_path, "hang"))
    finally:
        reader.close()


def test_a_stopped_batch_does_not_wait_for_a_decoder_that_hangs(
    reader: IsolatedReader, tmp_path: Path
) -> None:
    asked = threading.Event()

    def stopped() -> bool:
        asked.set()
        return True

    start = time.monotonic()
    with pytest.raises(Stopped):
        reader.read(file_of(tmp_path, "hang"), stopped=stopped)
    assert asked.is_set()
    assert time.monotonic() - start < 60


def test_closing_from_another_thread_ends_what_hangs(tmp_path: Path) -> None:
    reader = IsolatedReader(worker=MISBEHAVING)
    outcome: list[BaseException] = []

    def read() -> None:
        try:
            reader.read(file_of(tmp_path, "hang"))
        except Stopped as error:
            outcome.append(error)

    thread = threading.Thread(target=read)
    reader.read(file_of(tmp_path, "good"))  # the process is there
    thread.start()
    reader.close()
    thread.join(PATIENCE_S)
    assert len(outcome) == 1
    with pytest.raises(Stopped):
        reader.read(file_of(tmp_path, "good"))


def test_what_native_code_prints_is_no_answer(
    reader: IsolatedReader, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert reader.read(file_of(tmp_path, "noise")).mosaic[0, 1] == 1
    assert capfd.readouterr() == ("", "")


def test_a_process_is_kept_between_files_and_replaced_when_it_is_gone(
    reader: IsolatedReader, tmp_path: Path
) -> None:
    path = file_of(tmp_path, "pid")
    first = reader.call("read_raw", path)
    assert reader.call("read_raw", path) == first
    os.kill(first, signal.SIGKILL)
    assert reader.call("read_raw", path) != first  # it is no file's fault that it died between files


@pytest.mark.parametrize("worker", [isolation.WORKER_MODULE, "no_such_module"])
def test_a_process_that_was_started_before_reads_the_first_file(tmp_path: Path, worker: str) -> None:
    write_dng(make_raw(), tmp_path / "a.dng", provenance=Provenance("0", "simulated", 0.0))
    with closing(IsolatedReader(worker=worker)) as reader:
        reader.start()
        (process,) = reader._all
        if worker == isolation.WORKER_MODULE:
            for _ in range(2):
                assert np.array_equal(reader.read(tmp_path / "a.dng").mosaic, make_raw().mosaic)
            assert (reader._all, process.files) == ({process}, 2)
        else:
            with pytest.raises(SetupError, match="no_such_module"):
                reader.read(tmp_path / "a.dng")


def test_a_process_that_is_killed_while_it_starts_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIES_AT_ITS_START_ONCE", str(tmp_path / "died"))
    with closing(IsolatedReader(worker=MISBEHAVING)) as reader:
        assert reader.read(file_of(tmp_path, "good")).mosaic.shape == (6, 8)
    assert (tmp_path / "died").exists()


def test_signals_to_the_whole_group_leave_the_file_to_the_parent(
    reader: IsolatedReader, tmp_path: Path
) -> None:
    path = file_of(tmp_path, "pid")
    first = reader.call("read_raw", path)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(first, number)
    assert reader.call("read_raw", path) == first


def test_an_error_of_a_file_beside_names_that_one(reader: IsolatedReader, tmp_path: Path) -> None:
    with pytest.raises(TruncatedError) as caught:
        reader.read(file_of(tmp_path, "beside"))
    assert caught.value.path == tmp_path / "other.mat"


def test_threads_read_side_by_side(reader: IsolatedReader, tmp_path: Path) -> None:
    path = file_of(tmp_path, "slow")
    outcome: list[RawImage] = []
    threads = [threading.Thread(target=lambda: outcome.append(reader.read(path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.source for each in outcome] == [path] * 3


def test_a_worker_that_cannot_start_is_said_and_is_no_files_fault(tmp_path: Path) -> None:
    reader = IsolatedReader(worker="no_such_module")
    try:
        with pytest.raises(SetupError, match="no_such_module"):
            reader.read(file_of(tmp_path, "good"))
    finally:
        reader.close()


def test_a_worker_that_takes_for_ever_to_start_is_no_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "MAXIMUM_START_S", -1.0)
    monkeypatch.setattr(isolation, "POLL_S", 0.0)
    reader = IsolatedReader(worker=MISBEHAVING)
    with pytest.raises(SetupError, match="does not start"):
        reader.read(file_of(tmp_path, "good"))
    assert not reader._all


def test_a_process_that_hangs_in_a_system_call_holds_up_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that reads from a disk that does not answer: killing it changes nothing."""
    reader = IsolatedReader(worker=MISBEHAVING)
    reader.read(file_of(tmp_path, "good"))
    (process,) = reader._all
    with monkeypatch.context() as patch:
        patch.setattr(isolation, "MAXIMUM_KILL_S", 0.01)
        patch.setattr(process._popen, "kill", lambda: None)
        closing = threading.Thread(target=reader.close, daemon=True)
        closing.start()
        closing.join(PATIENCE_S)
        assert not closing.is_alive()
        assert process.alive
    process.end()


ORPHAN = """
import sys, threading
from pathlib import Path
from rawdenoise.isolation.isolated_reader import IsolatedReader
reader = IsolatedReader(worker="misbehaving_decoder")
print(reader.call("read_raw", Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    path = file_of(tmp_path, "pid")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert soon(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody has waited for."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False


# ---------------------------------------------------------------- batches


def batch(
    folder: Path, words: list[str], reader: IsolatedReader, stop: Callable[[], bool] = lambda: False
) -> dict[str, FileResult]:
    """Denoise files that say what is to become of them, at strength 0."""
    steps = make_steps(Recipe(strength=0.0), lambda camera: None, read=reader.read)
    jobs = [FileJob(file_of(folder, word), folder / f"{word}-out.dng") for word in words]
    return {result.source.stem: result for result in run_batch(jobs, steps, stop=stop)}


def test_what_crashes_a_decoder_costs_a_batch_one_file(tmp_path: Path) -> None:
    reader = IsolatedReader(worker=MISBEHAVING, time_s=2.0)
    try:
        results = batch(tmp_path, ["one", "segfault", "two", "hang", "bomb", "three"], reader)
    finally:
        reader.close()
    failed = {name: result.reason for name, result in results.items() if result.status is Status.FAILED}
    assert failed == {
        "segfault": "its decoder crashed (SIGSEGV): the file is damaged",
        "hang": "takes for ever to decode: it was given up",
        "bomb": "needs more memory than a decoder may take (4 GiB)",
    }
    done = {name for name, result in results.items() if result.status is Status.DONE}
    assert done == {"one", "two", "three"}


def test_a_batch_with_a_decoder_that_hangs_can_be_stopped(reader: IsolatedReader, tmp_path: Path) -> None:
    assert batch(tmp_path, ["hang"], reader, stop=(tmp_path / "hang.dng").exists) == {}
    assert not list(tmp_path.glob("*-out*"))


# ---------------------------------------------------------------- real files


def test_a_capture_is_the_same_as_in_process(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.dng")
    write_dng(make_raw(64, 96, seed=3), path, provenance=Provenance("0", "none", 0.0))
    assert same(shared_reader().read(path), read_raw(path))


def test_a_layout_goes_with_the_request(tmp_path: Path) -> None:
    path = tmp_path / "mosaic.npy"
    np.save(path, make_raw(8, 12).mosaic)
    layout = PlainLayout(Cfa.GBRG, 64.0, bits=14)
    assert same(shared_reader().read(path, layout), read_raw(path, layout=layout))


def test_a_missing_file_is_missing_here_too(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        shared_reader().read(tmp_path / "gone.dng")


def test_a_relative_path_stays_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dng(make_raw(32, 48), tmp_path / "a.dng", provenance=Provenance("0", "none", 0.0))
    (tmp_path / "b.dng").write_bytes(b"II*\0")
    monkeypatch.chdir(tmp_path)
    assert shared_reader().read(Path("a.dng")).source == Path("a.dng")
    with pytest.raises(UnreadableError, match=r"^b\.dng: "):
        shared_reader().read(Path("b.dng"))


def test_the_worker_starts_without_torch() -> None:
    code = "import sys, rawdenoise.isolation.decoder; print('torch' in sys.modules, 'scipy' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert said.stdout.split() == [b"False", b"False"]
