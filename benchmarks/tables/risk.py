"""How right the estimates of a picture's gain are: simulated cameras, whose clean mosaics are known."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from lab.captures import Knowledge, Mask, Planes, Shot, take
from lab.data import calibrated_noise, published_cameras, scale_noise, true_noise
from lab.report import Page, markdown
from lab.store import Lab
from lab.table import COUNT, Size, option, table
from scipy.stats import spearmanr
from torch import nn

from rawdenoise.app.stores import user_stores
from rawdenoise.inference.tiling import denoise_tiled
from rawdenoise.models.choice import find_model
from rawdenoise.nets import NETS, StabilizedDenoiser
from rawdenoise.noise.artefacts import remove_artefacts, sample_sound_pixels
from rawdenoise.noise.evidence import CALIBRATED_ERROR, variance_error
from rawdenoise.noise.fit import estimate_with_interval
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.quality.divergence import LocalDenoiser
from rawdenoise.quality.gain import ClaimedNoise, assess
from rawdenoise.quality.metrics import psnr
from rawdenoise.quality.picture_quality import PictureQuality
from rawdenoise.refinement.refine import refine
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training.drawn_scenes import paint_scenes
from rawdenoise.training.loop import fit
from rawdenoise.training.options import TrainingOptions

EXPOSURES = (0.1, 0.5)  # of one that brings the highlights to white
SCENES, CROP = 12, 64  # to train on
STAGES = (0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.75, 1.0)  # of the training's budget
WRONG = (0.67, 0.8, 1.25, 1.5)  # times the true variance
REACHED = 0.15  # dB
KINDS = (Knowledge.TRUE, Knowledge.CALIBRATED, Knowledge.BLIND)
SPANS = ("chi2", "fit", "structure", "correlation")


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A capture, and noise models: where one comes from, itself, and the relative error claimed for it."""

    name: str
    shot: Shot
    noise: Mapping[Knowledge, tuple[NoiseModel, float]]


@dataclass(frozen=True, slots=True)
class Judged:
    """An estimate, and the truth over the same pixels."""

    quality: PictureQuality
    before: float
    after: float

    @property
    def as_fields(self) -> dict[str, float | bool]:
        """True gain and the error of the estimated one, and whether half the interval's width holds it."""
        gain, (low, high) = self.after - self.before, self.quality.interval
        return {
            "before": self.before, "gain": gain, "error": self.quality.gain_db - gain,
            "half": (high - low) / 2, "held": bool(low <= gain <= high),
        }  # fmt: skip


@table("risk", {"docs/quality.md: per picture: how right, ranks, flags": "--size 768x512 --model fast"})
@option("--model", help="a model of the store or a bundled one, after those of the training")
@option("--net", type=click.Choice(list(NETS)), default=next(iter(NETS)))
@option("--images", type=COUNT, default=8000, help="crops to train on")
@option("--size", type=Size(), default="1024x768")
@option("--seed", default=0)
def risk(lab: Lab, model: str | None, net: str, images: int, size: tuple[int, int], seed: int) -> Page:
    """How right the estimates of a picture's gain are: simulated cameras, whose clean mosaics are known.

    Each camera takes a bright and a dark picture at each ISO, denoised and judged with a noise model
    that is true, calibrated from darks and flats, or estimated from the picture alone. The denoiser is a
    model, or else a network trained on drawn scenes. Flags are also of networks and noise models that are
    wrong on purpose; ranks (Spearman) of networks from all over a training.
    """
    settings = {"kind": "risk", "model": model, "net": net, "images": images, "size": size, "seed": seed}

    @cache
    def nets() -> list[StabilizedDenoiser]:
        bundled = [find_model(model, user_stores().models).net] if model else []
        return [*_train(net, images, seed), *bundled]

    @cache
    def pictures() -> list[Picture]:
        return [*_take_pictures(lab.published, size, seed)]

    errors = lab.result({**settings, "of": "errors"}, lambda: [*_errors(pictures(), nets()[-1])])
    flags = lab.result({**settings, "of": "flags"}, lambda: [*_flags(pictures(), nets()[-1])])
    ranks = lab.result({**settings, "of": "ranks"}, lambda: [*_ranks(pictures(), nets())])
    tables = []
    if errors:
        head, rows = ["picture", "before", "gain", *KINDS], [*_error_rows(errors)]
        tables.append(markdown(head, rows, "Estimated less true gain, dB, in brackets half the interval"))
    if flags:
        tables.append(markdown(["case", *SPANS, "flags"], flags, "Flags"))
    if ranks:
        spearman = [row[-1] for row in ranks]
        rows = [[name, gains, f"{worst:.2f}", f"{rank:.3f}"] for name, gains, worst, rank in ranks]
        rows += [["median", "", "", f"{np.median(spearman):.3f}"], ["worst", "", "", f"{min(spearman):.3f}"]]
        title = f"The {len(STAGES) + bool(model)} networks of a training, ranked"
        tables.append(markdown(["picture", "true gains", "largest error", "Spearman"], rows, title))
    return Page("\n\n".join(tables))


# ---------------------------------------------------------------- pictures and networks


def _take_pictures(published: Path, size: tuple[int, int], seed: int) -> Iterator[Picture]:
    """Take the pictures of all cameras."""
    width, height = size
    for camera in published_cameras(published, width, height):
        for iso in camera.noise:
            rng = np.random.default_rng([seed, iso])
            calibrated = calibrated_noise(camera, iso, rng)
            for exposure in EXPOSURES:
                scene = exposure * make_scene(height, width, rng)
                shot = take(scene.astype(np.float32), camera, iso, rng)
                samples = sample_sound_pixels(shot.planes, valid=shot.valid)
                estimate = estimate_with_interval([samples])
                noise = {
                    Knowledge.TRUE: (true_noise(camera, iso), 0.0),
                    Knowledge.CALIBRATED: (calibrated, CALIBRATED_ERROR),
                    Knowledge.BLIND: (estimate.noise, variance_error(estimate, samples)),
                }
                yield Picture(f"{camera.camera.model} ISO {iso}, {exposure:g}", shot, noise)


def _train(net: str, images: int, seed: int) -> Iterator[StabilizedDenoiser]:
    """Networks from the beginning to the end of a training on drawn scenes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = paint_scenes(folder / "scenes", SCENES, seed=seed)
        options = TrainingOptions(net=net, objective="supervised", crop_size=CROP, seed=seed, guard=False)
        for stage in STAGES:
            so_far = replace(options, crops=round(images * stage))
            yield fit(source, so_far, folder=folder / "run", run="risk").last


def _judge(picture: Picture, net: StabilizedDenoiser, noise: NoiseModel, error: float) -> Judged:
    """Clear, denoise and judge a picture, and compare it with the truth."""
    shot = picture.shot
    sound = remove_artefacts(shot.planes, noise, valid=shot.valid)
    valid: Mask = shot.valid & ~sound.defects
    white = stabilized_white(noise)[None]

    def run(planes: Planes) -> Planes:
        return denoise_tiled(
            planes,
            lambda tile: unstabilize(net(stabilize(tile, noise), white), noise),
            halo=net.halo,
            multiple=net.multiple,
        )

    clean, claimed = run(sound.planes), ClaimedNoise(noise, error)
    refinement = refine(sound.planes, clean, noise, valid=valid)
    local = LocalDenoiser(run, net.halo, net.multiple)
    quality = assess(sound.planes, clean, claimed, local, valid=valid, refinement=refinement)
    assert quality is not None  # simulated pictures are not clipped all over
    before, after = (psnr(planes[valid], shot.clean[valid]) for planes in (sound.planes, clean))
    return Judged(quality, before, after)


# ---------------------------------------------------------------- tables


def _errors(pictures: Sequence[Picture], net: StabilizedDenoiser) -> Iterator[dict[str, Any]]:
    """The true gain of each picture and how far the estimates are off."""
    for picture in pictures:
        judged = {kind: _judge(picture, net, *known).as_fields for kind, known in picture.noise.items()}
        yield {"picture": picture.name, **judged}


def _error_rows(errors: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    for row in errors:
        cells = [
            f"{row[kind]['error']:+.2f} ({row[kind]['half']:.2f}){'' if row[kind]['held'] else ' !'}"
            for kind in KINDS
        ]
        true = row[Knowledge.TRUE]
        yield [row["picture"], f"{true['before']:.2f}", f"{true['gain']:+.2f}", *cells]
    absolute = {kind: [abs(row[kind]["error"]) for row in errors] for kind in KINDS}
    for label, figure in (("median", np.median), ("worst", np.max)):
        yield [label, "", "", *(f"{figure(of_kind):.2f}" for of_kind in absolute.values())]
    within = [np.mean([error <= REACHED for error in of_kind]) for of_kind in absolute.values()]
    held = [np.mean([row[kind]["held"] for row in errors]) for kind in KINDS]
    yield [f"within {REACHED} dB", "", "", *(f"{share:.0%}" for share in within)]
    yield ["interval holds the truth", "", "", *(f"{share:.0%}" for share in held)]


def _flags(pictures: Sequence[Picture], net: StabilizedDenoiser) -> Iterator[list[str]]:
    """Which flags are raised, where nothing is wrong and where something is."""
    cases: dict[str, tuple[StabilizedDenoiser, float]] = {
        "as it should be": (net, 1.0),
        **{f"noise model {factor:g} times the variance": (net, factor) for factor in WRONG},
        "takes away too much": (_with_shares(net, 8.0), 1.0),
        "takes away hardly anything": (_with_shares(net, -4.0), 1.0),
    }
    for case, (other, factor) in cases.items():
        qualities = []
        for picture in pictures:
            noise, error = picture.noise[Knowledge.CALIBRATED]
            qualities.append(_judge(picture, other, scale_noise(noise, factor), error).quality)
        values = [[getattr(quality, what) for quality in qualities] for what in SPANS]
        flags = [str(flag) for quality in qualities for flag in quality.flags]
        counted = ", ".join(f"{flag} {flags.count(flag)}" for flag in dict.fromkeys(flags)) or "none"
        spans = [f"{min(of_what):.2f} to {max(of_what):.2f}" for of_what in values]
        yield [case, *spans, f"{counted} of {len(qualities)}"]


def _with_shares(net: StabilizedDenoiser, logit: float) -> StabilizedDenoiser:
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


def _ranks(pictures: Sequence[Picture], nets: Sequence[StabilizedDenoiser]) -> Iterator[list[Any]]:
    """How well the estimate ranks the networks of a training."""
    for picture in pictures:
        judged = [_judge(picture, net, *picture.noise[Knowledge.TRUE]) for net in nets]
        rank = spearmanr([one.quality.psnr_after for one in judged], [one.after for one in judged])
        fields = [one.as_fields for one in judged]
        gains = " ".join(f"{one['gain']:+.1f}" for one in fields)
        yield [picture.name, gains, max(abs(one["error"]) for one in fields), float(rank.statistic)]
