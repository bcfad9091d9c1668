"""Small, textured captures, of whose noise one may not tell enough: what is believed, and what comes of it.

    python benchmarks/doubted.py PICTURES [--captures 30] [--seed 5]

PICTURES is a folder of photographs (JPEG, read in linear light at half size). A capture shows one of them, or
four or sixteen side by side, at 240x160 pixels each, taken at three gains of a 14-bit sensor. *Ratio* is the
estimated variance over the true one, at the picture's levels; pictures are denoised with the bundled `fast`
and lose where their true PSNR falls by more than 0.1 dB. One that was left as it was counts as what it would
have been.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from photographs import landscape, linear_half, pictures_in, side_by_side
from published import true_noise

from rawdenoise.capture.packing import clipped, pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.models.bundled import load_bundled
from rawdenoise.noise.estimate import sample_noise
from rawdenoise.noise.fit import estimate_with_interval
from rawdenoise.pipeline import denoise
from rawdenoise.quality.metrics import psnr
from rawdenoise.recipe import Recipe
from rawdenoise.simulation.camera import SIMULATED_IMX385, SensorNoise, capture

WIDTH, HEIGHT = 240, 160
GAINS = MappingProxyType({100: 1.0, 800: 8.0, 3000: 30.0})  # DN per electron, by ISO
LOST = -0.1  # dB
CAMERA = replace(
    SIMULATED_IMX385, black=512.0, white=16383.0, bits=14,
    noise={iso: SensorNoise(gain, max(2.0, 2.5 * gain), 0.01) for iso, gain in GAINS.items()},
)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--captures", type=int, default=30)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    print(
        "| DN/e- | MP | failed | ratio: median of the others | worst | left | would lose | written | lose |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for iso, gain in GAINS.items():
        for tiles in (1, 2, 4):
            megapixels = WIDTH * HEIGHT * tiles**2 / 1e6
            taken = captures(options.pictures, iso, tiles, options.captures, options.seed)
            print(f"| {gain:g} | {megapixels:.2f} | {row(taken, iso)} |", flush=True)


def captures(
    folder: Path, iso: int, tiles: int, count: int, seed: int
) -> Iterator[tuple[RawImage, np.ndarray]]:
    """Captures of photographs side by side, and their clean mosaics."""
    rng = np.random.default_rng([seed, iso, tiles])
    paths = pictures_in(folder)
    for _ in range(count):
        chosen = rng.choice(len(paths), tiles**2, replace=False)
        scenes = [landscape(linear_half(paths[each]), HEIGHT, WIDTH) for each in chosen]
        yield capture(side_by_side(scenes, tiles), CAMERA.resized(WIDTH * tiles, HEIGHT * tiles), iso, rng)


def row(taken: Iterator[tuple[RawImage, np.ndarray]], iso: int) -> str:
    """What becomes of captures, as the cells of a line."""
    truth, model, cpu = true_noise(CAMERA, iso), load_bundled("fast"), Recipe()
    ratios, left, written = [], [], []
    for raw, clean in taken:
        planes, sound = pack(raw), ~clipped(raw)
        estimate = estimate_with_interval([sample_noise(planes, valid=sound)])
        light = np.clip(planes, 0, 1)
        ratio = float(estimate.noise.variance(light).mean() / truth.variance(light).mean())
        ratios.append((estimate.failed, ratio))
        result = denoise(raw, model, cpu)
        answer = denoise(raw, model, replace(cpu, estimate=False)) if result.left else result
        target = pack(replace(raw, mosaic=np.rint(clean).astype(np.uint16)))
        gain = psnr(pack(answer.image)[sound], target[sound]) - psnr(planes[sound], target[sound])
        (left if result.left else written).append(gain < LOST)
    kept = [ratio for failed, ratio in ratios if not failed]
    cells = [len(ratios) - len(kept), f"{np.median(kept):.2f}", f"{max(kept):.1f}"]
    return " | ".join(map(str, [*cells, len(left), sum(left), len(written), sum(written)]))


if __name__ == "__main__":
    main()
