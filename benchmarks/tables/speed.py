"""How long things take and what memory: every stage, decoders in processes of their own, a second decoder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from unittest import mock

import click
import torch
from lab import stage as stages
from lab.report import Page, markdown
from lab.stage import SIZES, make_capture, processor
from lab.store import Lab
from lab.table import COUNT, Words, measured, option, table

from rawdenoise.app.batch import Read, make_steps, run_batch
from rawdenoise.app.planning import FileJob
from rawdenoise.app.results import Status
from rawdenoise.capture.raw import Provenance, RawImage
from rawdenoise.errors import Stop
from rawdenoise.formats import libraw, read_raw
from rawdenoise.formats.dng import writer as dng
from rawdenoise.formats.dng.pixels import SecondOpinion
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.libraw import read_libraw
from rawdenoise.isolation.isolated_reader import IsolatedReader
from rawdenoise.models.bundled import load_bundled
from rawdenoise.recipe import Recipe

STAGES = ("read", "network", "write", "whole")
WITH_NETWORK = {"network", "whole"}
PROVENANCE = Provenance("0", "simulated", 0.0)

Cost = tuple[float, float]  # seconds by the clock, and those that processors worked
MEGAPIXELS = option("--megapixels", type=click.Choice([str(size) for size in SIZES]), default="24")


@table("throughput", {
    "README.md: time of each stage and of the whole command": "--megapixels 24 --nets fast,best",
})  # fmt: skip
@option("--megapixels", type=Words([str(size) for size in SIZES], int), default=(1, 12, 24))
@option("--nets", type=Words(("fast", "best", "paper")), default=("fast", "paper"))
def throughput(lab: Lab, megapixels: Sequence[int], nets: Sequence[str]) -> Page:
    """How fast, and in how much memory, every stage works.

    Each stage runs in a process of its own on a synthetic 14-bit mosaic, so that its peak memory (VmHWM, the
    interpreter and libraries included) is its own. `read` opens our own compressed DNG, `write` also reads
    back what it wrote; `whole` is `rawdenoise denoise` on one file, from reading to the verified DNG.
    """
    threads, rows = torch.get_num_threads(), []
    works = [(stage, net) for stage in STAGES for net in (nets if stage in WITH_NETWORK else ("",))]
    for size in megapixels:
        width, height = SIZES[size]
        with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
            source = Path(folder) / f"{size}.dng"
            for stage, net in works:
                settings = {"kind": "throughput", "megapixels": size, "stage": stage, "net": net}
                settings["threads"] = threads
                if cost := lab.result(settings, partial(_run_stage, stage, net, source, size, threads)):
                    seconds, peak = cost
                    rate = width * height / 1e6 / seconds
                    rows.append([size, stage, net, f"{seconds:.2f}", f"{rate:.1f}", f"{peak:.0f}"])
    title = f"{processor()}, {threads} threads; seconds, MP/s, and peak memory of the stage's own process"
    return Page(markdown(["MP", "stage", "net", "s", "MP/s", "peak MiB"], rows, title))


def _run_stage(stage: str, net: str, source: Path, megapixels: int, threads: int) -> tuple[float, float]:
    """Run one stage in a process, after one that makes its capture; its seconds and its peak memory."""

    def call(*words: object) -> tuple[float, float]:
        command = [sys.executable, str(stages.__file__), *map(str, words)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"{' '.join(command)} failed:\n{done.stderr}")
        seconds, peak_mib = json.loads(done.stdout.splitlines()[-1])
        return float(seconds), float(peak_mib)

    if not source.exists():
        width, height = SIZES[megapixels]
        call("make", f"{width}x{height}", source)
    return call(stage, net, source)


# ---------------------------------------------------------------- decoders in processes of their own


def _isolation_page(rows: list[list[str]], *, megapixels: str, files: int, **_: object) -> Page:
    return Page(markdown([f"{megapixels} MP, {files} files", "here, s", "apart, s", "ratio"], rows))


@measured("isolation", {"docs/formats.md: what decoders of their own cost": "--files 3"}, _isolation_page)
@MEGAPIXELS
@option("--files", type=COUNT, default=4)
@option("--rounds", type=COUNT, default=3)
def isolation(work: Path, megapixels: str, files: int, rounds: int) -> object:
    """What it costs to decode in processes of their own.

    Each round does the same batch twice, reading in this process and in others, one after the other, so that
    a machine that is busy with other work is so for both; the first files of each start their processes.
    Figures are medians over the rounds: seconds by the clock, and those that processors worked.
    """
    sources = [work / f"{number}.dng" for number in range(files)]
    make_capture(sources[0], *SIZES[int(megapixels)])
    for source in sources[1:]:
        shutil.copyfile(sources[0], source)
    return [*_isolation_rows(sources, work / "out", rounds)]


def _isolation_rows(sources: Sequence[Path], output: Path, rounds: int) -> Iterator[list[str]]:
    """Reading alone, and the whole of `rawdenoise denoise`; processes are started anew in each round."""

    def read_all(read: Read) -> None:
        for source in sources:
            read(source, None, lambda: False)

    def denoise_all(read: Read) -> None:
        work = make_steps(Recipe(), lambda camera: model, overwrite=True, read=read)
        results = list(run_batch([FileJob(source, output / source.name) for source in sources], work))
        assert all(result.status is Status.DONE for result in results), results

    def apart(work: Callable[[Read], None]) -> None:
        reader = IsolatedReader()
        work(reader.read)
        reader.close()

    output.mkdir()
    model = load_bundled("fast")
    for name, work in (("read", read_all), ("the whole batch", denoise_all)):
        costs = [(_cost(lambda: work(_read_here)), _cost(lambda: apart(work))) for _ in range(rounds)]  # noqa: B023
        for unit, at in (("clock", 0), ("processors", 1)):
            pairs = [(here[at], there[at]) for here, there in costs]
            medians = [f"{median(side):.2f}" for side in zip(*pairs, strict=True)]
            yield [f"{name}, {unit}", *medians, f"{median(there / here for here, there in pairs):.3f}"]


def _read_here(path: Path, layout: PlainLayout | None, stopped: Stop) -> RawImage:
    """Read in this process."""
    return read_raw(path, layout=layout)


def _cost(work: Callable[[], object]) -> Cost:
    """What a call takes, the processes included that it starts and ends."""
    start, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - start, sum(after[:4]) - sum(before[:4])


# ---------------------------------------------------------------- a second decoder


def _read_back_page(rows: list[list[str]], **_: object) -> Page:
    return Page(markdown(["", "one decoder", "both", "ratio"], rows))


@measured("read-back", {"docs/dng.md, README.md: what a second decoder costs": ""}, _read_back_page)
@MEGAPIXELS
@option("--rounds", type=COUNT, default=7)
def read_back(work: Path, megapixels: str, rounds: int) -> object:
    """What a second decoder costs, in writing DNGs and in reading them.

    Both are measured in turn, so that a busy machine slows both alike; medians over the rounds are printed.
    """
    return [*_read_back_rows(work, SIZES[int(megapixels)], rounds)]


def _read_back_rows(folder: Path, size: tuple[int, int], rounds: int) -> Iterator[list[str]]:
    """Median seconds of writing and of reading, with one decoder patched away and with both."""
    source, output = folder / "source.dng", folder / "output.dng"
    make_capture(source, *size)
    image = read_libraw(source)
    no_libraw = mock.patch.object(dng, "_find_libraw_difference", return_value="")
    no_second = mock.patch.object(libraw, "second_opinion", return_value=SecondOpinion(None))

    def seconds(work: Callable[[], object], how: AbstractContextManager[object]) -> float:
        with how:
            return _cost(work)[0]

    for name, work, one in (
        ("write and read back", lambda: dng.write_dng(image, output, provenance=PROVENANCE), no_libraw),
        ("read", lambda: read_libraw(source), no_second),
    ):
        times = [(seconds(work, one), seconds(work, nullcontext())) for _ in range(rounds)]
        alone, both = (median(side) for side in zip(*times, strict=True))
        yield [name, f"{alone:.2f} s", f"{both:.2f} s", f"{both / alone:.2f}"]
