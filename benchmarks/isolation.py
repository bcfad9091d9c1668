"""What it costs to decode in processes of their own: prints a Markdown table.

Each round does the same batch twice, reading in this process and in others, one after the other, so that a
machine that is busy with other work is so for both; the first files of each start their processes. Figures
are medians over the rounds: seconds by the clock, and those that processors worked in all processes.

    python benchmarks/isolation.py --megapixels 24 --files 4 --rounds 3
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from throughput import SIZES, make_capture

from rawdenoise.app.batch import Read, denoising, run_batch
from rawdenoise.app.jobs import Job
from rawdenoise.app.results import Status
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import Stop
from rawdenoise.formats import read_raw
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.isolation.reader import IsolatedReader
from rawdenoise.models.choice import models_for
from rawdenoise.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Cost:
    """What a batch takes, in seconds: by the clock, and of processors."""

    clock_s: float
    processor_s: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="isolation-") as temporary:
        folder = Path(temporary)
        sources = [folder / f"{number}.dng" for number in range(options.files)]
        make_capture(sources[0], *SIZES[options.megapixels])
        for source in sources[1:]:
            shutil.copyfile(sources[0], source)
        print(f"| {options.megapixels} MP, {options.files} files | here, s | apart, s | ratio |")
        print("|---|---|---|---|")
        for name, work in stages(sources, folder / "out"):
            costs = measure(work, options.rounds)
            for unit, field in (("clock", "clock_s"), ("processors", "processor_s")):
                pairs = [(getattr(here, field), getattr(apart, field)) for here, apart in costs]
                here, apart = (statistics.median(each) for each in zip(*pairs, strict=True))
                ratio = statistics.median(apart / here for here, apart in pairs)
                print(f"| {name}, {unit} | {here:.2f} | {apart:.2f} | {ratio:.3f} |", flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=int, choices=sorted(SIZES), default=24)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


def stages(sources: Sequence[Path], output: Path) -> list[tuple[str, Callable[[Read], None]]]:
    """What is measured, each given how to read: reading alone, and the whole of `rawdenoise denoise`."""

    def read_all(read: Read) -> None:
        for source in sources:
            read(source, None, lambda: False)

    def denoise_all(read: Read) -> None:
        work = denoising(Recipe(), models, overwrite=True, read=read)
        results = list(run_batch([Job(source, output / source.name) for source in sources], work))
        assert all(result.status is Status.DONE for result in results), results

    output.mkdir()
    models = models_for(None, base="fast", device="auto", strength=1.0)
    return [("read", read_all), ("the whole batch", denoise_all)]


def measure(work: Callable[[Read], None], rounds: int) -> list[tuple[Cost, Cost]]:
    """Take both ways, one after the other; processes are started anew in each round."""
    return [(cost(partial(work, read_here)), cost(partial(_apart, work))) for _ in range(rounds)]


def _apart(work: Callable[[Read], None]) -> None:
    reader = IsolatedReader()
    work(reader.read)
    reader.close()


def read_here(path: Path, layout: PlainLayout | None, stopped: Stop) -> RawImage:
    """Read in this process."""
    return read_raw(path, layout=layout)


def cost(work: Callable[[], None]) -> Cost:
    """What a call takes, the processes included that it starts and ends."""
    start, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return Cost(time.perf_counter() - start, sum(after[:4]) - sum(before[:4]))


if __name__ == "__main__":
    main()
