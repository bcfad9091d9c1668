"""One stage of the path in a process of its own, so that its peak memory is its own: STAGE NET FILE.

Only what a stage needs is imported. Prints seconds, and the most memory that the process ever held, in MiB.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rawdenoise.models.model import Model

SIZES = {1: (1216, 832), 12: (4256, 2848), 24: (6016, 4016), 100: (11648, 8736)}
ISO = 3200
BLACK, WHITE = 512.0, 16383.0
SHOT, READ_VARIANCE = 2e-4, 1e-6  # packed scale: about ISO 3200 on a full-frame sensor
TILE = 1024  # pixels a side of the scene that is repeated


def run_stage(stage: str, net: str, source: Path) -> tuple[float, float]:
    """Time one stage alone; imports and what it starts from are not counted, but their memory is."""
    output = source.with_name("output.dng")
    work = _prepare(stage, net, source, output)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    if stage != "make":
        output.unlink(missing_ok=True)
    return seconds, peak_memory_mib()


def _prepare(stage: str, net: str, source: Path, output: Path) -> Callable[[], object]:
    """Make ready what a stage works on, and nothing more."""
    if stage == "make":
        width, height = (int(side) for side in net.split("x"))
        return lambda: make_capture(source, width, height)
    from rawdenoise.capture.packing import pack
    from rawdenoise.formats import read_raw
    from rawdenoise.pipeline import denoise, denoise_planes, write
    from rawdenoise.recipe import Recipe

    if stage == "read":
        return lambda: read_raw(source)
    if stage == "whole":
        model = untrained(net)
        return lambda: write(denoise(read_raw(source), model), output)
    if stage == "write":
        denoised = denoise(read_raw(source), None, Recipe(strength=0))
        return lambda: write(denoised, output)
    model, planes = untrained(net), pack(read_raw(source))
    return lambda: denoise_planes(planes, model.card.noise[0].noise, model)


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
        id="untrained", camera=Camera("Synthetic", "Throughput"), net=net, iso_range=(ISO, ISO),
        noise=(noise,), captures=(), objective="none", options={}, seed=0, versions={}, created="",
        figures={}, weights_sha256="0" * 64,
    )  # fmt: skip
    return Model(card, build_net(net).eval())


def make_capture(output: Path, width: int, height: int) -> None:
    """Write a noisy synthetic mosaic as a DNG: real noise makes lossless JPEG as slow as on real captures."""
    from rawdenoise.capture import raw
    from rawdenoise.formats.dng.writer import write_dng

    matrix = raw.ColorMatrix(21, ((0.6, -0.15, -0.03), (-0.35, 1.15, 0.23), (-0.07, 0.19, 0.58)))
    image = raw.RawImage(
        mosaic=noisy_mosaic(width, height),
        cfa=raw.Cfa.RGGB,
        active=raw.Area(0, 0, height, width),
        levels=raw.Levels((BLACK,) * 4, WHITE),
        source=output,
        camera=raw.Camera("Synthetic", "Throughput"),
        exposure=raw.Exposure(iso=ISO),
        color=raw.Color((matrix,), (0.5, 1.0, 0.7)),
    )
    write_dng(image, output, provenance=raw.Provenance("0", "none", 0.0))


def noisy_mosaic(width: int, height: int) -> np.ndarray:
    """A 1024-pixel scene repeated over the frame, with noise of its own everywhere; made in strips."""
    from rawdenoise.simulation.scenes import make_scene

    rng = np.random.default_rng(0)
    scene, span = make_scene(TILE, TILE, rng)[..., 1], WHITE - BLACK
    mosaic = np.empty((height, width), np.uint16)
    for top in range(0, height, TILE):
        strip = mosaic[top : top + TILE]
        signal = np.tile(scene, (1, -(-width // TILE)))[: len(strip), :width]
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
    print(json.dumps(run_stage(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
