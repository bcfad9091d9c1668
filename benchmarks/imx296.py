"""Real noise: train on one camera's captures, denoise a burst of a static scene, compare with its mean frame.

    python benchmarks/imx296.py DATA [--minutes 9] [--net light] [--model ID]

DATA holds `train/*.dng`, `burst/*.dng` and `burst/reference_mean58_x64.npy` (the mean of 58 other frames of
the burst, times 64, in DN, black included). PSNR is taken on the mosaic; its peak is the 99.9th percentile of the
reference above black.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from rawdenoise.formats import read_raw
from rawdenoise.metrics import psnr
from rawdenoise.models import Model, ModelStore
from rawdenoise.pipeline import denoise
from rawdenoise.training import TrainingOptions, scan, train

BLACK = 60.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--net", default="light")
    parser.add_argument("--model", help="a model of the store, instead of training one")
    arguments = parser.parse_args()

    if arguments.model:
        model = ModelStore().load(arguments.model)
    else:
        model = trained(
            arguments.data / "train", TrainingOptions(net=arguments.net, minutes=arguments.minutes)
        )
    print(f"{model.card.id}: {', '.join(f'{k} {v:g}' for k, v in model.card.figures.items())}\n")
    compare(model, arguments.data / "burst")


def trained(captures: Path, options: TrainingOptions) -> Model:
    """Train on the largest group among the captures (one of them states another make and model)."""
    largest = scan([captures])[0]
    with tempfile.TemporaryDirectory() as folder:
        return train(largest, options, folder=Path(folder))


def compare(model: Model, burst: Path) -> None:
    """Print PSNR before and after, and how far the mean of each frame moved."""
    reference = np.load(burst / "reference_mean58_x64.npy") / 64.0
    peak = float(np.percentile(reference - BLACK, 99.9))
    print("| frame | noisy dB | denoised dB | its mean moved by, DN | worst plane |\n|---|---|---|---|---|")
    for path in sorted(burst.glob("*.dng")):
        noisy = read_raw(path)
        clean = denoise(noisy, model).image
        moved = clean.mosaic.astype(np.float64) - noisy.mosaic
        planes = [moved[row::2, column::2].mean() for row in (0, 1) for column in (0, 1)]
        before, after = (
            psnr(image.mosaic.astype(np.float64), reference, peak=peak) for image in (noisy, clean)
        )
        worst = max(planes, key=abs)
        print(f"| {path.stem} | {before:.2f} | {after:.2f} | {moved.mean():+.4f} | {worst:+.4f} |")


if __name__ == "__main__":
    main()
