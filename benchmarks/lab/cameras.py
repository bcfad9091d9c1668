"""A simulated camera as a place to compare methods: trained on its captures, tested at every ISO."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from lab.captures import Conditions, Data, Pair, PairSource, Planes, Shot, Sources, simulate, tested_isos
from lab.compare import Place, Test
from lab.data import digest, pictures_in
from lab.methods import METHODS, NOISY, SELF2SELF, Alone, Bm3d, Figures, Ground, as_model
from lab.trials import Trial
from rawdenoise.models.model import Model
from rawdenoise.nets import Network
from rawdenoise.noise.artefacts import remove_artefacts
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white
from rawdenoise.pipeline import denoise_planes
from rawdenoise.quality.metrics import psnr, ssim
from rawdenoise.training.batches import Batch
from rawdenoise.training.crops import mosaic_rggb
from rawdenoise.training.loop import fit
from rawdenoise.training.risk import estimate_risk


def camera_place(
    conditions: Conditions, sources: Sources, device: str, *, images: int | None = None, gain: bool = True
) -> Place:
    """A camera under conditions; `gain` asks Stein's risk too, `images` is how many to test with."""

    def data(seed: int) -> Data:
        return simulate(replace(conditions, seed=seed), sources)

    def ground(method: str, seed: int) -> Ground:
        of_seed = data(seed)
        return Ground.of(PairSource(of_seed.pairs, of_seed.held_out, METHODS[method].target), method)

    def test(iso: int) -> Test:
        def run(method: str, trial: Trial, net: Network | None) -> Figures:
            of_seed = data(trial.seed)
            shots, noise = of_seed.tests[iso][:images], of_seed.noise[iso]
            pairs = [(_denoise(shot, noise, method, trial, net, device), shot.clean) for shot in shots]
            return Figures(
                tuple(psnr(*pair) for pair in pairs),
                tuple(ssim(*pair) for pair in pairs),
                estimated_gain(shots, noise, net) if gain and net is not None else None,
            )

        return Test(f"ISO {iso}", f"ISO {iso}, {images or 'all'} images, gain {gain}", run)

    usual = asdict(Conditions(conditions.camera, conditions.seed))
    unusual = [f"{name} {value}" for name, value in asdict(conditions).items() if value != usual[name]]
    shown = [digest(pictures_in(folder)) for folder in (sources.train, sources.test)]
    identity = ", ".join([conditions.camera, *unusual, *shown])
    return Place(conditions.camera, identity, ground, [test(iso) for iso in tested_isos(conditions.camera)])


def _denoise(
    shot: Shot, noise: NoiseModel, method: str, trial: Trial, net: Network | None, device: str
) -> Planes:
    """Clear, denoise, and leave saturated pixels as they were, as files are denoised."""
    if method == NOISY:
        return shot.planes
    planes = remove_artefacts(shot.planes, noise, valid=shot.valid).planes
    net = _train_alone(planes, noise, trial, device) if method == SELF2SELF else net or Bm3d()
    model: Model = as_model(net, shot.raw.camera, objective=METHODS[method].objective or "")
    return np.where(shot.valid, denoise_planes(planes, noise, model, device=device), shot.planes)


def _train_alone(planes: Planes, noise: NoiseModel, trial: Trial, device: str) -> Network:
    """A network trained on this capture alone."""
    mosaic = mosaic_rggb(planes)
    everywhere = np.ones_like(mosaic, bool)
    pairs = (Pair(noise, mosaic, everywhere, mosaic, everywhere, mosaic),)
    options = replace(trial.options(device), objective=SELF2SELF)
    with tempfile.TemporaryDirectory() as folder:
        net = fit(PairSource(pairs, pairs), options, folder=Path(folder), run=SELF2SELF).last
    return Alone(net, trial.seed)


def estimated_gain(shots: Sequence[Shot], noise: NoiseModel, net: Network) -> float:
    """The gain in dB that Stein's risk promises, from the captures alone."""
    white, batches = stabilized_white(noise)[None], []
    for shot in shots:
        sound = remove_artefacts(shot.planes, noise, valid=shot.valid)
        height, width = (length // net.multiple * net.multiple for length in shot.planes.shape[1:])
        noisy = stabilize(torch.from_numpy(sound.planes), noise)[None, :, :height, :width]
        valid = torch.from_numpy(shot.valid & ~sound.defects)[None, :, :height, :width]
        batches.append(Batch(noisy, valid, white, noise=(noise,)))
    return estimate_risk(net, batches, seed=0).gain_db
