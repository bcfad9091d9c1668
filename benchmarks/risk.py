"""How right the estimates of a picture's gain are: simulated cameras, whose clean mosaics are known.

    python benchmarks/risk.py PUBLISHED_JSON [--model ID] [--images 8000] [--size 1024x768] [--seed 0]

Each camera takes a bright and a dark picture at each ISO. All are denoised and judged as by `rawdenoise
denoise`, with a noise model that is true, calibrated from darks and flats, or estimated from the picture
alone; the first table has the true gain and the errors of the estimates. The denoiser is a model, or else a
network trained for some minutes on drawn scenes. The second table is of the flags: with it, and with networks
and noise models that are wrong on purpose. The third is of networks from all over a training: how well the
estimate ranks them, picture by picture (Spearman's correlation of estimated and true PSNR).
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.random import Generator
from published import published_cameras, true_noise
from torch import nn

from rawdenoise.app.stores import user_stores
from rawdenoise.calibration import calibrate_from_frames
from rawdenoise.capture.packing import clipped, pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.inference.tiling import denoise_tiled
from rawdenoise.models.choice import model_called
from rawdenoise.nets import NETS, StabilisedDenoiser
from rawdenoise.noise.artefacts import cleared, sample_sound
from rawdenoise.noise.evidence import CALIBRATED_ERROR, variance_error
from rawdenoise.noise.fit import estimate_with_interval
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.quality.divergence import LocalDenoiser
from rawdenoise.quality.gain import ClaimedNoise, assess
from rawdenoise.quality.metrics import psnr
from rawdenoise.quality.picture_quality import PictureQuality
from rawdenoise.simulation.camera import SimulatedCamera, capture, evenly_lit
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training.loop import fit
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.synthetic import paint_scenes

EXPOSURES = (0.1, 0.5)  # of one that brings the highlights to white
SCENES, CROP = 12, 64  # to train on
STAGES = (0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.75, 1.0)  # of the training's budget
DARKS, LEVELS, FLAT_SIZE = 4, 6, (600, 400)  # of a calibration
WRONG = (0.67, 0.8, 1.25, 1.5)  # times the true variance
REACHED = 0.15  # dB

Planes = Float32[np.ndarray, "4 h w"]


class Knowledge(StrEnum):
    """Where the noise model comes from."""

    TRUE = "true"
    CALIBRATED = "calibrated"
    BLIND = "blind"


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A capture, packed; which pixels are not saturated; what it would be without noise; and noise models.

    `noise` has, by where it comes from, the model and the relative error that is claimed for it.
    """

    name: str
    planes: Planes
    valid: Bool[np.ndarray, "4 h w"]
    clean: Planes
    noise: dict[Knowledge, tuple[NoiseModel, float]]


@dataclass(frozen=True, slots=True)
class Judged:
    """An estimate, and the truth over the same pixels."""

    quality: PictureQuality
    before: float
    after: float

    @property
    def gain(self) -> float:
        """What was truly won."""
        return self.after - self.before

    @property
    def error(self) -> float:
        """How far the estimated gain is off."""
        return self.quality.gain_db - self.gain

    @property
    def held(self) -> bool:
        """Whether the interval holds the truth."""
        low, high = self.quality.interval
        return low <= self.gain <= high


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("published", type=Path)
    parser.add_argument("--model", help="a model of the store or a bundled one, after those of the training")
    parser.add_argument("--net", default=next(iter(NETS)))
    parser.add_argument("--images", type=int, default=8000, help="crops to train on")
    parser.add_argument("--size", default="1024x768")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    width, height = (int(length) for length in options.size.split("x"))

    nets = trained(options.net, options.images, options.seed)
    if options.model:
        nets.append(model_called(options.model, user_stores().models).net)
    pictures = list(take_pictures(options.published, width, height, options.seed))
    print_errors(pictures, nets[-1])
    print_flags(pictures, nets[-1])
    print_ranks(pictures, nets)


# ---------------------------------------------------------------- pictures and networks


def take_pictures(table: Path, width: int, height: int, seed: int) -> Iterator[Picture]:
    """Take the pictures of all cameras."""
    for camera in published_cameras(table, width, height):
        for iso in camera.noise:
            rng = np.random.default_rng([seed, iso])
            calibrated = calibrate(camera, iso, rng)
            for exposure in EXPOSURES:
                scene = exposure * make_scene(height, width, rng)
                raw, clean = capture(scene.astype(np.float32), camera, iso, rng)
                name = f"{camera.camera.model} ISO {iso}, {exposure:g}"
                yield picture(name, raw, clean, true_noise(camera, iso), calibrated)


def picture(
    name: str,
    raw: RawImage,
    clean: Float32[np.ndarray, "h w"],
    true: NoiseModel,
    calibrated: NoiseModel,
) -> Picture:
    """Pack a capture, and estimate its noise from its own pixels."""
    planes, valid = pack(raw), ~clipped(raw)
    samples = sample_sound(planes, valid=valid)
    estimate = estimate_with_interval([samples])
    noise = {
        Knowledge.TRUE: (true, 0.0),
        Knowledge.CALIBRATED: (calibrated, CALIBRATED_ERROR),
        Knowledge.BLIND: (estimate.noise, variance_error(estimate, samples)),
    }
    return Picture(name, planes, valid, pack(replace(raw, mosaic=clean)), noise)


def calibrate(camera: SimulatedCamera, iso: int, rng: Generator) -> NoiseModel:
    """Calibrate from darks and flats."""
    camera, levels = camera.resized(*FLAT_SIZE), np.geomspace(0.02, 0.6, LEVELS)
    (point,) = calibrate_from_frames(
        [evenly_lit(camera, iso, 0, rng) for _ in range(DARKS)],
        [evenly_lit(camera, iso, level, rng, exposure_s=level) for level in levels for _ in range(2)],
    )
    return point.noise


def trained(net: str, images: int, seed: int) -> list[StabilisedDenoiser]:
    """Networks from the beginning to the end of a training on drawn scenes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = paint_scenes(folder / "scenes", SCENES, seed=seed)
        nets = []
        for stage in STAGES:
            options = TrainingOptions(
                net=net,
                objective="supervised",
                crops=round(images * stage),
                crop_size=CROP,
                seed=seed,
                guard=False,
            )
            nets.append(fit(source, options, folder=folder / "run", run="risk").last)
    return nets


def judge(picture: Picture, net: StabilisedDenoiser, noise: NoiseModel, error: float) -> Judged:
    """Clear, denoise and judge a picture, and compare it with the truth."""
    sound = cleared(picture.planes, noise, valid=picture.valid)
    valid = picture.valid & ~sound.defects

    white = stabilized_white(noise)[None]

    def run(planes: Planes) -> Planes:
        return denoise_tiled(
            planes,
            lambda tile: unstabilize(net(stabilize(tile, noise), white), noise),
            halo=net.halo,
            multiple=net.multiple,
        )

    clean = run(sound.planes)
    quality = assess(
        sound.planes,
        clean,
        ClaimedNoise(noise, error),
        LocalDenoiser(run, net.halo, net.multiple),
        valid=valid,
    )
    assert quality is not None  # simulated pictures are not clipped all over
    before, after = (psnr(each[valid], picture.clean[valid]) for each in (sound.planes, clean))
    return Judged(quality, before, after)


# ---------------------------------------------------------------- tables


def print_errors(pictures: Sequence[Picture], net: StabilisedDenoiser) -> None:
    """Print the true gain of each picture and how far the estimates are off."""
    judged = {
        picture.name: {kind: judge(picture, net, *known) for kind, known in picture.noise.items()}
        for picture in pictures
    }
    kinds = list(Knowledge)
    print(f"Estimated less true gain, dB, in brackets half the interval\n\n| picture | before | gain | "
          f"{' | '.join(kinds)} |\n|{'---|' * (3 + len(kinds))}")  # fmt: skip
    for name, of_kind in judged.items():
        true = of_kind[Knowledge.TRUE]
        print(
            f"| {name} | {true.before:.2f} | {true.gain:+.2f} | {' | '.join(map(cell, of_kind.values()))} |"
        )
    for label, figure in (("median", np.median), ("worst", np.max)):
        errors = [figure([abs(each[kind].error) for each in judged.values()]) for kind in kinds]
        print(f"| {label} | | | {' | '.join(f'{error:.2f}' for error in errors)} |")
    within = [np.mean([abs(each[kind].error) <= REACHED for each in judged.values()]) for kind in kinds]
    held = [np.mean([each[kind].held for each in judged.values()]) for kind in kinds]
    print(f"| within {REACHED} dB | | | {' | '.join(f'{share:.0%}' for share in within)} |")
    print(f"| interval holds the truth | | | {' | '.join(f'{share:.0%}' for share in held)} |\n", flush=True)


def cell(judged: Judged) -> str:
    """An error and its interval, marked where the interval misses the truth."""
    low, high = judged.quality.interval
    return f"{judged.error:+.2f} ({(high - low) / 2:.2f}){'' if judged.held else ' !'}"


def print_flags(pictures: Sequence[Picture], net: StabilisedDenoiser) -> None:
    """Print which flags are raised, where nothing is wrong and where something is."""
    cases: dict[str, tuple[StabilisedDenoiser, float]] = {
        "as it should be": (net, 1.0),
        **{f"noise model {factor:g} times the variance": (net, factor) for factor in WRONG},
        "takes away too much": (with_shares(net, 8.0), 1.0),
        "takes away hardly anything": (with_shares(net, -4.0), 1.0),
    }
    print("Flags\n\n| case | chi2 | fit | structure | correlation | flags |\n|---|---|---|---|---|---|")
    for case, (other, factor) in cases.items():
        found = []
        for picture in pictures:
            noise, error = picture.noise[Knowledge.CALIBRATED]
            found.append(judge(picture, other, times(noise, factor), error).quality)
        spans = [
            f"{min(values):.2f} to {max(values):.2f}"
            for values in (
                [each.chi2 for each in found],
                [each.fit for each in found],
                [each.structure for each in found],
                [each.correlation for each in found],
            )
        ]
        flags = [str(flag) for each in found for flag in each.flags]
        counted = ", ".join(f"{flag} {flags.count(flag)}" for flag in dict.fromkeys(flags)) or "none"
        print(f"| {case} | {' | '.join(spans)} | {counted} of {len(found)} |", flush=True)


def with_shares(net: StabilisedDenoiser, logit: float) -> StabilisedDenoiser:
    """A network that takes all detail for noise, or none."""
    other = copy.deepcopy(net)
    exit = other.backbone.exit
    assert isinstance(exit, nn.Conv2d)
    assert exit.bias is not None
    with torch.no_grad():
        exit.weight.zero_()
        exit.bias.zero_()
        exit.bias[: 3 * len(exit.bias) // 4] = logit
    return other


def times(noise: NoiseModel, factor: float) -> NoiseModel:
    """A noise model of so many times the variance."""
    a, b, c, d = (factor * value for value in noise.shot)
    e, f, g, h = (factor * value for value in noise.read_variance)
    return replace(noise, shot=(a, b, c, d), read_variance=(e, f, g, h))


def print_ranks(pictures: Sequence[Picture], nets: Sequence[StabilisedDenoiser]) -> None:
    """Print how well the estimate ranks the networks of a training."""
    print(f"\nThe {len(nets)} networks of a training, ranked\n")
    print("| picture | true gains | largest error | Spearman |\n|---|---|---|---|")
    ranks = []
    for picture in pictures:
        noise, error = picture.noise[Knowledge.TRUE]
        judged = [judge(picture, net, noise, error) for net in nets]
        ranks.append(spearman([each.quality.psnr_after for each in judged], [each.after for each in judged]))
        gains = " ".join(f"{each.gain:+.1f}" for each in judged)
        worst = max(abs(each.error) for each in judged)
        print(f"| {picture.name} | {gains} | {worst:.2f} | {ranks[-1]:.3f} |", flush=True)
    print(f"| median | | | {np.median(ranks):.3f} |\n| worst | | | {min(ranks):.3f} |")


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The correlation of the ranks; there are no ties."""
    first, second = (np.argsort(np.argsort(values)).astype(np.float64) for values in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


if __name__ == "__main__":
    main()
