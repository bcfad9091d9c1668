"""What a second decoder costs, in writing DNGs and in reading them: seconds with it, without it, the ratio.

Both are measured in turn, so that a busy machine slows both alike; medians over the rounds are printed.

    python benchmarks/read_back.py --megapixels 24 --rounds 7
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from unittest import mock

from throughput import SIZES, make_capture

from rawdenoise.capture.raw import Provenance
from rawdenoise.formats import dng, libraw
from rawdenoise.formats.dng_pixels import SecondOpinion
from rawdenoise.formats.libraw import read_libraw

PROVENANCE = Provenance("0", "simulated", 0.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure writing and reading, each with both decoders and with one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=int, default=24, choices=sorted(SIZES))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="read-back-") as folder:
        source, output = Path(folder) / "source.dng", Path(folder) / "output.dng"
        make_capture(source, *SIZES[options.megapixels])
        image = read_libraw(source)
        no_libraw = mock.patch.object(dng, "_libraw_difference", return_value="")
        no_second = mock.patch.object(libraw, "second_opinion", return_value=SecondOpinion(None))
        print("| | one decoder | both | ratio |\n|---|---|---|---|")
        for name, work, one in (
            ("write and read back", lambda: dng.write_dng(image, output, provenance=PROVENANCE), no_libraw),
            ("read", lambda: read_libraw(source), no_second),
        ):
            alone, both = compare(work, one, options.rounds)
            print(f"| {name} | {alone:.2f} s | {both:.2f} s | {both / alone:.2f} |", flush=True)


def compare(work: Callable[[], object], one: mock._patch[object], rounds: int) -> tuple[float, float]:
    """Median seconds of some work, with one decoder patched away and with both."""
    alone, both = [], []
    for _ in range(rounds):
        with one:
            alone.append(seconds(work))
        both.append(seconds(work))
    return median(alone), median(both)


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
