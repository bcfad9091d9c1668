"""How fast, and in how much memory, every stage works: prints a Markdown table.

Each stage runs in a process of its own on a synthetic 14-bit mosaic, so that its peak memory (VmHWM, the
interpreter and libraries included) is its own. `read` opens our own compressed DNG, `write` also reads back
what it wrote, and `preview` is a part of it; `picture` develops a TIFF's pixels; `whole` is `rawdenoise
denoise` on one file, from reading to the verified DNG.

    python benchmarks/throughput.py --megapixels 1 12 24 --nets fast paper
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # each process imports only what its stage needs: its memory is measured
    from rawdenoise.models.model import Model
    from rawdenoise.recipe import Recipe

SIZES = {1: (1216, 832), 12: (4256, 2848), 24: (6016, 4016), 45: (8256, 5504), 100: (11648, 8736)}
STAGES = ("read", "pack", "network", "unpack", "preview", "write", "picture", "whole")
ISO = 3200
BLACK, WHITE = 512.0, 16383.0
SHOT, READ_VARIANCE = 2e-4, 1e-6  # packed scale: about ISO 3200 on a full-frame sensor


@dataclass(frozen=True, slots=True)
class Measurement:
    """One stage at one size: seconds, and the most memory its process ever held, in MiB."""

    stage: str
    net: str
    pixels: int
    seconds: float
    peak_mib: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for and print the table."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        print(heading(options.threads), flush=True)
        for megapixels in options.megapixels:
            measured = list(measure(megapixels, options, Path(folder)))
            for line in rows(megapixels, measured):
                print(line, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; `--stage` is how the script calls itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megapixels", type=int, nargs="+", choices=sorted(SIZES), default=[1, 12, 24])
    parser.add_argument("--nets", nargs="+", choices=("fast", "best", "paper"), default=["fast", "paper"])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--stage", nargs=3, metavar=("STAGE", "NET", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.stage:
        print(json.dumps(run_stage(options.stage[0], options.stage[1], Path(options.stage[2]))))
        raise SystemExit(0)
    return options


def heading(threads: int) -> str:
    """The table's head, with what it was measured on."""
    return (
        f"{processor()}, {threads} threads; seconds, MP/s, and peak memory of the stage's own process\n\n"
        "| MP | stage | net | s | MP/s | peak MiB |\n|---|---|---|---|---|---|"
    )


def measure(megapixels: int, options: argparse.Namespace, folder: Path) -> Iterator[Measurement]:
    """Run every stage at one size, each in a process of its own."""
    source = folder / f"{megapixels}.dng"
    width, height = SIZES[megapixels]
    call(["make", f"{width}x{height}", str(source)], options.threads)
    for stage in options.stages:
        for net in options.nets if stage in {"network", "whole"} else ("",):
            seconds, peak_mib = call([stage, net, str(source)], options.threads)
            yield Measurement(stage, net, width * height, seconds, peak_mib)
    source.unlink()


def call(stage: list[str], threads: int) -> tuple[float, float]:
    """Run one stage in a subprocess; its seconds and its peak memory."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--stage", *stage]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(stage)} failed:\n{done.stderr}")
    seconds, peak_mib = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), float(peak_mib)


def rows(megapixels: int, measured: list[Measurement]) -> Iterator[str]:
    """Lay out the measurements of one size, and the sum of all that is not the network."""
    for one in measured:
        yield row(megapixels, one)
    around = [one for one in measured if one.stage in {"read", "pack", "unpack", "write"}]
    if len(around) == 4:
        seconds = sum(one.seconds for one in around)
        peak_mib = max(one.peak_mib for one in around)
        yield row(megapixels, Measurement("all but the network", "", around[0].pixels, seconds, peak_mib))


def row(megapixels: int, one: Measurement) -> str:
    """One line of the table."""
    rate = one.pixels / 1e6 / one.seconds
    return f"| {megapixels} | {one.stage} | {one.net} | {one.seconds:.2f} | {rate:.1f} | {one.peak_mib:.0f} |"


# ---------------------------------------------------------------- inside the subprocess


def run_stage(stage: str, net: str, source: Path) -> tuple[float, float]:
    """Time one stage alone; imports and what it starts from are not counted, but their memory is."""
    if stage == "make":
        width, height = (int(side) for side in net.split("x"))
        return timed(lambda: make_capture(source, width, height))
    with prepared(stage, net, source) as work:
        return timed(work)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call, and the process's peak memory after it, in MiB."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start, peak_memory_mib()


@contextmanager
def prepared(stage: str, net: str, source: Path) -> Iterator[Callable[[], object]]:
    """Make ready what a stage works on, and nothing more."""
    from rawdenoise.capture.packing import pack, unpack
    from rawdenoise.formats import read_raw
    from rawdenoise.formats.preview import preview_jpeg
    from rawdenoise.formats.rendering import render
    from rawdenoise.pipeline import denoise, denoise_planes, write

    output = source.with_name("output.dng")
    if stage == "read":
        yield lambda: read_raw(source)
    elif stage == "pack":
        raw = read_raw(source)
        yield lambda: pack(raw)
    elif stage == "unpack":
        raw = read_raw(source)
        planes = pack(raw)
        yield lambda: unpack(planes, like=raw)
    elif stage == "network":
        model, planes = untrained(net), pack(read_raw(source))
        yield lambda: denoise_planes(planes, model.card.noise[0].noise, model)
    elif stage == "preview":
        raw = read_raw(source)
        yield lambda: preview_jpeg(raw)
    elif stage == "picture":
        raw = read_raw(source)
        yield lambda: render(raw)
    elif stage == "write":
        denoised = denoise(read_raw(source), None, Recipe(strength=0))
        yield lambda: write(denoised, output)
    else:
        model = untrained(net)
        yield lambda: write(denoise(read_raw(source), model), output)
    output.unlink(missing_ok=True)


def untrained(net: str) -> Model:
    """A model as large and as slow as a trained one."""
    from rawdenoise.capture.raw import Camera
    from rawdenoise.models.card import ModelCard
    from rawdenoise.models.model import Model
    from rawdenoise.nets import build_net
    from rawdenoise.noise.iso_noise import IsoNoise
    from rawdenoise.noise.model import NoiseModel

    noise = IsoNoise(ISO, NoiseModel((SHOT,) * 4, (READ_VARIANCE,) * 4), 1)
    card = ModelCard(
        id="untrained",
        camera=Camera("Synthetic", "Throughput"),
        net=net,
        iso_range=(ISO, ISO),
        noise=(noise,),
        captures=(),
        objective="none",
        options={},
        seed=0,
        versions={},
        created="",
        figures={},
        weights_sha256="0" * 64,
    )
    return Model(card, build_net(net).eval())


def make_capture(output: Path, width: int, height: int) -> None:
    """Write a noisy synthetic mosaic as a DNG: real noise makes lossless JPEG as slow as on real captures."""
    from rawdenoise.capture.raw import (
        Area,
        Camera,
        Cfa,
        Color,
        ColorMatrix,
        Exposure,
        Levels,
        Provenance,
        RawImage,
    )
    from rawdenoise.formats.dng import write_dng

    image = RawImage(
        mosaic=noisy_mosaic(width, height),
        cfa=Cfa.RGGB,
        active=Area(0, 0, height, width),
        levels=Levels((BLACK,) * 4, WHITE),
        source=output,
        camera=Camera("Synthetic", "Throughput"),
        exposure=Exposure(iso=ISO),
        color=Color(
            (ColorMatrix(21, ((0.6, -0.15, -0.03), (-0.35, 1.15, 0.23), (-0.07, 0.19, 0.58))),),
            (0.5, 1.0, 0.7),
        ),
    )
    write_dng(image, output, provenance=Provenance("0", "none", 0.0))


def noisy_mosaic(width: int, height: int) -> np.ndarray:
    """A 1024-pixel scene repeated over the frame, with noise of its own everywhere; made in strips."""
    from rawdenoise.simulation.scenes import make_scene

    rng = np.random.default_rng(0)
    scene = make_scene(1024, 1024, rng)[..., 1]
    span = WHITE - BLACK
    mosaic = np.empty((height, width), np.uint16)
    for top in range(0, height, 1024):
        strip = mosaic[top : top + 1024]
        signal = np.tile(scene, (1, -(-width // 1024)))[: len(strip), :width]
        noise = rng.standard_normal(strip.shape, dtype=np.float32) * np.sqrt(SHOT * signal + READ_VARIANCE)
        strip[...] = np.clip(np.rint(BLACK + span * (signal + noise)), 0, WHITE)
    return mosaic


def peak_memory_mib() -> float:
    """The most memory this process has held: VmHWM on Linux, ru_maxrss elsewhere."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def processor() -> str:
    """Name the processor as the system does."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    import platform

    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
