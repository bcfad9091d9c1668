"""One training and its test, or one test of what needs no training; results are kept and taken up again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from methods import (
    BM3D,
    METHODS,
    NET,
    NOISY,
    SELF2SELF,
    Alone,
    Bm3d,
    Ground,
    answering,
    as_model,
    base,
    fit_method,
    keep_net,
    kept_net,
    taught,
)
from sheets import Figures, tell
from simulated import Conditions, Data, Pair, PairSource, Planes, Shot, Sources, simulate

from rawdenoise.atomic import write_bytes
from rawdenoise.models.model import Model
from rawdenoise.nets import Network
from rawdenoise.noise.artefacts import cleared
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white
from rawdenoise.pipeline import denoise_planes
from rawdenoise.quality.metrics import psnr, ssim
from rawdenoise.training import TrainingOptions
from rawdenoise.training.batches import Batch
from rawdenoise.training.crops import mosaic_rggb
from rawdenoise.training.loop import Fitted, fit
from rawdenoise.training.risk import estimate_risk

Denoiser = Callable[[Shot, NoiseModel], Planes]


@dataclass(frozen=True, slots=True)
class Experiment:
    """A method under conditions, with a budget in crops or in minutes; the same record, the same result.

    `base` is the digest of the base's weights where the method has one.
    """

    conditions: Conditions
    method: str
    crops: int | None = None
    minutes: float | None = None
    test_images: int | None = None
    base: str | None = None

    @property
    def name(self) -> str:
        """Names its files: readable, and its own."""
        whole = json.dumps(asdict(self), sort_keys=True).encode()
        return f"{self.conditions.camera}.{self.method}.{hashlib.sha256(whole).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Result:
    """Figures by ISO, and what the training took."""

    isos: Mapping[int, Figures]
    training_s: float = 0.0
    images: int = 0


class Results:
    """A folder of results, one JSON each, and the networks beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, experiment: Experiment) -> Result | None:
        """The result of this very experiment, None where it is still to be done."""
        path = self.folder / f"{experiment.name}.json"
        if not path.exists():
            return None
        fields = json.loads(path.read_bytes())
        isos = {
            int(iso): Figures(tuple(each["psnr"]), tuple(each["ssim"]), each["estimated_gain_db"])
            for iso, each in fields["isos"].items()
        }
        return Result(isos, fields["training_s"], fields["images"])

    def save(self, experiment: Experiment, result: Result) -> None:
        """Keep a result."""
        fields = {"experiment": asdict(experiment), **asdict(result)}
        write_bytes(self.folder / f"{experiment.name}.json", json.dumps(fields, indent=1).encode())

    def scratch(self, experiment: Experiment) -> Path:
        """Where the checkpoint of its training lies, until there is a result."""
        return self.folder / "training" / experiment.name

    def save_net(self, experiment: Experiment, net: Network) -> None:
        """Keep a trained network."""
        keep_net(self.folder / f"{experiment.name}.safetensors", net)

    def net(self, experiment: Experiment) -> Network:
        """The network that was trained in an experiment."""
        return kept_net(self.folder / f"{experiment.name}.safetensors", METHODS[experiment.method].net)


def possible(experiments: Iterable[Experiment]) -> Iterator[Experiment]:
    """Leave out what lacks its base, and name the weights of the others' bases."""
    for experiment in experiments:
        method = METHODS[experiment.method]
        if method.base is not None:
            if (found := base(method.base)) is None:
                continue
            experiment = replace(experiment, base=found.card.weights_sha256)
        yield experiment


def perform(
    experiments: Iterable[Experiment], results: Results, sources: Sources, *, device: str = "auto"
) -> None:
    """Do what is missing; captures are taken once for experiments of the same conditions in a row."""
    data: tuple[Conditions, Data] | None = None
    for experiment in experiments:
        if results.find(experiment) is not None:
            continue
        if experiment.method == BM3D and importlib.util.find_spec("bm3d") is None:
            tell(
                "no BM3D: its package is for non-commercial use; `pip install bm3d` where that is what it is"
            )
            continue
        if data is None or data[0] != experiment.conditions:
            tell(f"taking captures: {described(experiment.conditions)}")
            data = experiment.conditions, simulate(experiment.conditions, sources)
        result = carry_out(experiment, data[1], results, device)
        results.save(experiment, result)
        shutil.rmtree(results.scratch(experiment), ignore_errors=True)
        means = ", ".join(f"{iso}: {each.mean_psnr:.2f} dB" for iso, each in result.isos.items())
        budget = f"; {result.images} crops in {result.training_s:.0f} s" if result.images else ""
        tell(f"{experiment.method}: {means}{budget}")


def described(conditions: Conditions) -> str:
    """Say in a line what is not as usual."""
    usual = asdict(Conditions(conditions.camera))
    unusual = [f"{name} {value}" for name, value in asdict(conditions).items() if value != usual[name]]
    return ", ".join([conditions.camera, *unusual])


def carry_out(experiment: Experiment, data: Data, results: Results, device: str) -> Result:
    """Train if the method asks for it, then denoise all test captures."""
    fitted = trained(experiment, data, results, device) if METHODS[experiment.method].objective else None
    net = network(experiment, results)
    denoise = denoiser(experiment, net, data, device)
    isos = {
        iso: figures(shots[: experiment.test_images], data.noise[iso], denoise, net)
        for iso, shots in data.tests.items()
    }
    if fitted is None:
        return Result(isos)
    return Result(isos, fitted.training_s, fitted.crops)


def trained(experiment: Experiment, data: Data, results: Results, device: str) -> Fitted:
    """Train, or go on where an interrupted run has stopped, and keep the network."""
    method = METHODS[experiment.method]
    assert method.objective is not None
    start = base(method.base) if method.base is not None else None
    options = TrainingOptions(
        net=method.net,
        objective=method.objective,
        gamma=method.gamma,
        crops=experiment.crops,
        minutes=experiment.minutes,
        seed=experiment.conditions.seed,
        device=device,
        guard=method.guard,
    )
    fitted = fit_method(
        method,
        Ground(*data.unpaired()) if method.distilled else Ground(data.source(method.target)),
        options,
        folder=results.scratch(experiment),
        run=experiment.name,
        start=None if start is None else start.net,
    )
    results.save_net(experiment, fitted.net if method.guard else fitted.last)
    return fitted


# ---------------------------------------------------------------- tests


def network(experiment: Experiment, results: Results) -> Network | None:
    """The network of a method that has one, trained before or bundled."""
    method = METHODS[experiment.method]
    if METHODS[taught(experiment.method)].objective is not None:
        return answering(method, results.net(trained_alike(experiment)))
    found = base(method.base) if method.base is not None else None
    return None if found is None else found.net


def trained_alike(experiment: Experiment) -> Experiment:
    """The experiment whose network this one takes."""
    return replace(experiment, method=taught(experiment.method))


def denoiser(experiment: Experiment, net: Network | None, data: Data, device: str) -> Denoiser:
    """What the experiment's method makes of a capture whose noise is taken to be this."""
    if experiment.method == NOISY:
        return lambda shot, noise: shot.planes
    objective = METHODS[experiment.method].objective or ""

    def model_of(net: Network) -> Model:
        return as_model(net, data.camera.camera, objective=objective)

    one_for_all = None if experiment.method == SELF2SELF else model_of(net or Bm3d())

    def denoise(planes: Planes, noise: NoiseModel) -> Planes:
        model = one_for_all or model_of(alone(planes, noise, experiment, device))
        return denoise_planes(planes, noise, model, device=device)

    return lambda shot, noise: processed(shot, noise, denoise)


def processed(shot: Shot, noise: NoiseModel, denoise: Callable[[Planes, NoiseModel], Planes]) -> Planes:
    """Clear a capture, denoise it, and leave saturated pixels as they were, as files are denoised."""
    clean = denoise(cleared(shot.planes, noise, valid=shot.valid).planes, noise)
    return np.where(shot.valid, clean, shot.planes)


def alone(planes: Planes, noise: NoiseModel, experiment: Experiment, device: str) -> Network:
    """A network trained on this capture alone."""
    mosaic, seed = mosaic_rggb(planes), experiment.conditions.seed
    everywhere = np.ones_like(mosaic, bool)
    pairs = (Pair(noise, mosaic, everywhere, mosaic, everywhere, mosaic),)
    options = TrainingOptions(
        net=NET, objective="self2self", crops=experiment.crops, minutes=experiment.minutes, seed=seed,
        device=device, guard=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        return Alone(fit(PairSource(pairs, pairs), options, folder=Path(folder), run=SELF2SELF).last, seed)


def figures(shots: Sequence[Shot], noise: NoiseModel, denoise: Denoiser, net: Network | None) -> Figures:
    """Compare captures of one ISO with their scenes, and let Stein's risk say what it thinks of them."""
    pairs = [(denoise(shot, noise), shot.clean) for shot in shots]
    return Figures(
        psnr=tuple(psnr(clean, truth) for clean, truth in pairs),
        ssim=tuple(ssim(clean, truth) for clean, truth in pairs),
        estimated_gain_db=None if net is None else estimated_gain(shots, noise, net),
    )


def estimated_gain(shots: Sequence[Shot], noise: NoiseModel, net: Network) -> float:
    """The gain in dB that Stein's risk promises, from the captures alone."""
    white, batches = stabilized_white(noise)[None], []
    for shot in shots:
        sound = cleared(shot.planes, noise, valid=shot.valid)
        height, width = (length // net.multiple * net.multiple for length in shot.planes.shape[1:])
        noisy = stabilize(torch.from_numpy(sound.planes), noise)[None, :, :height, :width]
        valid = torch.from_numpy(shot.valid & ~sound.defects)[None, :, :height, :width]
        batches.append(Batch(noisy, valid, white, noise=(noise,)))
    return estimate_risk(net, batches, seed=0).gain_db
