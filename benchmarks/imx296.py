"""Real noise: train on one camera's captures, denoise a burst of a static scene, compare with its mean frame.

    python benchmarks/imx296.py DATA [--minutes 10 | --images N] [--net fast] [--from-nothing | --model ID]

DATA holds `train/*.dng`, `burst/*.dng` and `burst/reference_mean58_x64.npy`: the mean of 58 other frames of
the burst, times 64, in DN, black included. The peak of the PSNR is the 99.9th percentile of the reference
above black. It is taken of the planes as the network leaves them, of the mosaic as written in whole DN, and
as written with `--levels fine`, the default for such a sensor; and "aligned", each plane given the
reference's mean light, for the lamp drifted between frames. Beside them stand Gaussian blurs of each plane
(the scene is smooth) and the bundled base, which training starts from unless told otherwise, as it is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import ModelMissingError
from rawdenoise.formats import read_raw
from rawdenoise.formats.output_levels import OutputLevels, scaled
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.model import Model
from rawdenoise.pipeline import denoise, denoise_planes, noise_for
from rawdenoise.quality.metrics import psnr
from rawdenoise.recipe import Recipe
from rawdenoise.training import CameraTraining, TrainingOptions, scan, train

SCALE = 64  # of the reference
BLURS = (1, 2, 4)  # sigmas, packed pixels
MOVED = "its mean moved by, DN"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--images", type=int, help="crops to train on, instead of a time")
    parser.add_argument("--net", default="fast")
    parser.add_argument("--from-nothing", action="store_true", help="do not start from the bundled base")
    parser.add_argument("--model", help="a model of the store, instead of training one")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    base = bundled(arguments.net)
    if arguments.model:
        model = user_stores().models.load(arguments.model)
    else:
        options = TrainingOptions(
            net=arguments.net, minutes=arguments.minutes, crops=arguments.images, seed=arguments.seed
        )
        model = trained(arguments.data / "train", options, None if arguments.from_nothing else base)
    figures = ", ".join(f"{name} {value:g}" for name, value in model.card.figures.items())
    print(f"{model.card.id}: {figures}\n")
    compare(model, base, arguments.data / "burst")


def bundled(net: str) -> Model | None:
    """The base of this network, None where there is none."""
    try:
        return load_bundled(net)
    except ModelMissingError:
        return None


def trained(captures: Path, options: TrainingOptions, start: Model | None) -> Model:
    """Train on the largest group among the captures (one of them states another make and model)."""
    largest = scan([captures])[0]
    with tempfile.TemporaryDirectory() as folder:
        return train(CameraTraining(largest, options, start), folder=Path(folder)).model


def compare(model: Model, base: Model | None, burst: Path) -> None:
    """Print the figures of each frame, and the least of each column."""
    mean = np.load(burst / "reference_mean58_x64.npy")
    frames = {path.stem: figures(read_raw(path), mean, model, base) for path in sorted(burst.glob("*.dng"))}
    columns = list(next(iter(frames.values())))
    print(f"| frame | {' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|")
    for name, frame in frames.items():
        print(f"| {name} | {' | '.join(cell(column, frame[column]) for column in columns)} |")
    least = [min(frame[column] for frame in frames.values()) for column in columns if column != MOVED]
    print(f"| minimum | {' | '.join(f'{figure:.2f}' for figure in least)} | |")


def cell(column: str, figure: float) -> str:
    """Write a figure as its column is read."""
    return f"{figure:+.4f}" if column == MOVED else f"{figure:.2f}"


def figures(raw: RawImage, mean: np.ndarray, model: Model, base: Model | None) -> Mapping[str, float]:
    """PSNR (dB) of a frame as it is and by every method, and how far its mean moved (DN)."""
    noisy, reference = pack(raw), pack(replace(scaled(raw, SCALE), mosaic=mean))
    whole = denoise(raw, model, Recipe(levels=OutputLevels.SENSOR)).image
    versions = {
        "noisy dB": noisy,
        **{f"blur {sigma}": blurred(noisy, sigma) for sigma in BLURS},
        f"blur {BLURS[-1]}, aligned": aligned(blurred(noisy, BLURS[-1]), reference),
        **({} if base is None else {"base": clean_planes(raw, noisy, base)}),
        "denoised dB": clean_planes(raw, noisy, model),
        "the same, aligned": aligned(clean_planes(raw, noisy, model), reference),
        "written, whole DN": pack(whole),
        "written, fine": pack(denoise(raw, model, Recipe(levels=OutputLevels.FINE)).image),
    }
    peak = float(np.percentile(reference, 99.9))
    moved = whole.mosaic.mean(dtype=np.float64) - raw.mosaic.mean(dtype=np.float64)
    return {
        **{name: psnr(planes, reference, peak=peak) for name, planes in versions.items()},
        MOVED: float(moved),
    }


def clean_planes(
    raw: RawImage, noisy: Float32[np.ndarray, "4 h w"], model: Model
) -> Float32[np.ndarray, "4 h w"]:
    """Denoise as the network leaves it, with the noise the model knows."""
    return denoise_planes(noisy, noise_for(raw, noisy, model.card), model)


def aligned(
    planes: Float32[np.ndarray, "4 h w"], reference: Float32[np.ndarray, "4 h w"]
) -> Float32[np.ndarray, "4 h w"]:
    """Give each plane the mean light of the reference: the lamp's drift is not the denoiser's."""
    light = reference.mean(axis=(1, 2), dtype=np.float64) / planes.mean(axis=(1, 2), dtype=np.float64)
    return planes * light.astype(np.float32)[:, None, None]


def blurred(planes: Float32[np.ndarray, "4 h w"], sigma: float) -> Float32[np.ndarray, "4 h w"]:
    """Blur each plane."""
    return np.stack([gaussian_filter(plane, sigma) for plane in planes])


if __name__ == "__main__":
    main()
