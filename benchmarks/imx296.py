"""Real noise: train on one camera's captures, denoise a burst of a static scene, compare with its mean frame.

    python benchmarks/imx296.py DATA [--minutes 9] [--net fast] [--model ID]

DATA holds `train/*.dng`, `burst/*.dng` and `burst/reference_mean58_x64.npy`: the mean of 58 other frames of
the burst, times 64, in DN, black included. The peak of the PSNR is the 99.9th percentile of the reference
above black. It is taken of the planes as the network leaves them, of the mosaic as written in whole DN, and
as written with `--levels fine`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from rawdenoise.formats import read_raw
from rawdenoise.levels import scaled
from rawdenoise.metrics import psnr
from rawdenoise.models import Model, ModelStore
from rawdenoise.packing import pack
from rawdenoise.pipeline import DenoiseOptions, denoise, denoise_planes, noise_for
from rawdenoise.training import TrainingOptions, scan, train

SCALE = 64  # of the reference


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--net", default="fast")
    parser.add_argument("--model", help="a model of the store, instead of training one")
    arguments = parser.parse_args()

    if arguments.model:
        model = ModelStore().load(arguments.model)
    else:
        options = TrainingOptions(net=arguments.net, minutes=arguments.minutes)
        model = trained(arguments.data / "train", options)
    print(
        f"{model.card.id}: {', '.join(f'{name} {value:g}' for name, value in model.card.figures.items())}\n"
    )
    compare(model, arguments.data / "burst")


def trained(captures: Path, options: TrainingOptions) -> Model:
    """Train on the largest group among the captures (one of them states another make and model)."""
    largest = scan([captures])[0]
    with tempfile.TemporaryDirectory() as folder:
        return train(largest, options, folder=Path(folder))


def compare(model: Model, burst: Path) -> None:
    """Print PSNR before and after, and how far the mean of each frame moved."""
    mean = np.load(burst / "reference_mean58_x64.npy")
    print("| frame | noisy dB | denoised dB | written, whole DN | written, fine | its mean moved by, DN |")
    print("|---|---|---|---|---|---|")
    for path in sorted(burst.glob("*.dng")):
        raw = read_raw(path)
        noisy, reference = pack(raw), pack(replace(scaled(raw, SCALE), mosaic=mean))
        peak = float(np.percentile(reference, 99.9))
        clean = denoise_planes(noisy, noise_for(raw, noisy, model.card), model)
        whole = denoise(raw, model).image
        fine = denoise(raw, model, DenoiseOptions(fine_levels=True)).image
        figures = [psnr(planes, reference, peak=peak) for planes in (noisy, clean, pack(whole), pack(fine))]
        moved = whole.mosaic.mean(dtype=np.float64) - raw.mosaic.mean(dtype=np.float64)
        print(f"| {path.stem} | {' | '.join(f'{figure:.2f}' for figure in figures)} | {moved:+.4f} |")


if __name__ == "__main__":
    main()
