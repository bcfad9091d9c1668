"""One training and its test, or one test of what needs no training; results are kept and taken up again."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from simulated import Conditions, Data, Pair, PairSource, Planes, Shot, Sources, Target, simulate
from torch import Tensor

from rawdenoise.artefacts import cleared
from rawdenoise.atomic import write_bytes
from rawdenoise.bases import load_base
from rawdenoise.errors import RawDenoiseError
from rawdenoise.metrics import psnr, ssim
from rawdenoise.models import Model, ModelCard, new_model
from rawdenoise.nets import BlindSpotDenoiser, Network, build_net
from rawdenoise.noise import NoiseModel
from rawdenoise.pipeline import DenoiseOptions, denoise_planes
from rawdenoise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.training import TrainingOptions, TrainingStopped
from rawdenoise.training.batches import Batch, Source
from rawdenoise.training.captures import mosaic_rggb
from rawdenoise.training.loop import Fitted, Progress, fit
from rawdenoise.training.objectives.self2self import averaged
from rawdenoise.training.risk import estimate_risk
from rawdenoise.training.unpaired import CleanSource, Unpaired, fit_unpaired

NET = "fast"
GAMMAS = (0, 1, 2, 5, 10, 20)

Denoiser = Callable[[Shot, NoiseModel], Planes]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to denoise: trained with an `objective`, from nothing or from a `base`; or as it is.

    With `guard` the training may end early, and its best look counts, as for users; without, its end does.
    `as_trained` names the method whose network it takes. `mean` asks a blind-spot network for what it expects
    without the pixel itself; `distilled` is unpaired learning with both its stages.
    """

    title: str
    objective: str | None = None
    gamma: float = 1.0
    target: Target = Target.NOTHING
    base: str | None = None
    guard: bool = False
    net: str = NET
    as_trained: str | None = None
    mean: bool = False
    distilled: bool = False
    learned_noise: bool = False


BLIND_SPOT = "d-bsn-light"
NOISY, BM3D, GUARDED = "noisy", "bm3d", "guarded"
SELF2SELF = "self2self"  # a training for each capture
FROM_BASE, UNGUARDED = "guarded-from-base", "unguarded"
BLIND2UNBLIND = "blind2unblind"  # seventeen passes a step
METHODS: Mapping[str, Method] = {
    NOISY: Method("noisy"),
    BM3D: Method("BM3D, stabilised, sigma 1"),
    "base-fast": Method("base `fast`", base="fast"),
    "base-best": Method("base `best`", base="best"),
    **{
        f"paper-{gamma}": Method(f"GR2R as published, gamma {gamma}", "gr2r-paper", gamma) for gamma in GAMMAS
    },
    "neighbor2neighbor": Method("Neighbor2Neighbor", "neighbor2neighbor"),
    "noise2void": Method("Noise2Void", "noise2void"),
    BLIND2UNBLIND: Method("Blind2Unblind", "blind2unblind"),
    "noisier2noise": Method("Noisier2Noise", "noisier2noise"),
    SELF2SELF: Method("Self2Self, one training a capture"),
    "noise2grad": Method("Noise2Grad-style transfer", "noise2grad"),
    "r2r": Method("R2R", "r2r"),
    UNGUARDED: Method("calibrated GR2R to the end, from nothing", "gr2r"),
    GUARDED: Method("guarded GR2R, from nothing", "gr2r", guard=True),
    FROM_BASE: Method("guarded GR2R, from the base", "gr2r", base=NET, guard=True),
    "laine19": Method("Laine19, posterior mean", "laine19", net=BLIND_SPOT),
    "laine19-mean": Method("Laine19, mu", net=BLIND_SPOT, as_trained="laine19", mean=True),
    "d-bsn": Method("D-BSN with CNN_est and Bayes' rule", "unpaired", net=BLIND_SPOT),
    "d-bsn-mean": Method("D-BSN", net=BLIND_SPOT, as_trained="d-bsn", mean=True),
    "d-bsn-paper": Method("D-BSN with CNN_est, bound alone", "unpaired-paper", net=BLIND_SPOT),
    "unpaired": Method("unpaired learning, from nothing", "unpaired", distilled=True),
    "unpaired-learned": Method(
        "unpaired learning, learned noise", "unpaired", distilled=True, learned_noise=True
    ),
    "unpaired-from-base": Method(
        "unpaired learning, from the base", "unpaired", base=NET, distilled=True, guard=True
    ),
    "noise2noise": Method("Noise2Noise (needs pairs)", "noise2noise", target=Target.CAPTURE),
    "supervised": Method("supervised (needs clean scenes)", "supervised", target=Target.CLEAN),
}


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What a method is trained on; `clean` for those that learn from clean pictures of something else."""

    source: Source
    clean: CleanSource | None = None


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
class Figures:
    """What came out at one ISO, image by image, and the gain that is told without the truth."""

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]
    estimated_gain_db: float | None = None

    @property
    def mean_psnr(self) -> float:
        """In dB, over the images."""
        return float(np.mean(self.psnr))

    @property
    def mean_ssim(self) -> float:
        """Over the images."""
        return float(np.mean(self.ssim))


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
        state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
        write_bytes(self.folder / f"{experiment.name}.safetensors", safetensors.torch.save(state))

    def net(self, experiment: Experiment) -> Network:
        """The network that was trained in an experiment."""
        net = build_net(METHODS[experiment.method].net)
        net.load_state_dict(safetensors.torch.load_file(self.folder / f"{experiment.name}.safetensors"))
        return net.eval()


@lru_cache(maxsize=2)
def base(name: str) -> Model | None:
    """A bundled base, None where this copy of rawdenoise has none."""
    try:
        return load_base(name)
    except RawDenoiseError as error:
        tell(f"no base {name}: {error}")
        return None


def tell(line: str) -> None:
    """Say how far it is, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


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
        try:
            result = carry_out(experiment, data[1], results, device)
        except TrainingStopped as stopped:
            raise SystemExit(f"{experiment.name}: {stopped}") from None
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
    return Result(isos, fitted.training_s, fitted.images)


def trained(experiment: Experiment, data: Data, results: Results, device: str) -> Fitted:
    """Train, or go on where an interrupted run has stopped, and keep the network."""
    method = METHODS[experiment.method]
    assert method.objective is not None
    start = base(method.base) if method.base is not None else None
    options = TrainingOptions(
        net=method.net,
        objective=method.objective,
        gamma=method.gamma,
        images=experiment.crops,
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


def fit_method(
    method: Method,
    ground: Ground,
    options: TrainingOptions,
    *,
    folder: Path,
    run: str,
    start: Network | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train as the method has it: in one stage, or, where it learns from clean pictures as well, in two."""
    if ground.clean is None:
        return fit(
            ground.source, options, folder=folder, run=run, start=start, on_progress=on_progress, stop=stop
        )
    how = Unpaired(blind_spot=BLIND_SPOT, learned_noise=method.learned_noise)
    return fit_unpaired(
        ground.source, ground.clean, options, how, folder=folder, run=run, start=start,
        on_progress=on_progress, stop=stop,
    )  # fmt: skip


# ---------------------------------------------------------------- tests


def network(experiment: Experiment, results: Results) -> Network | None:
    """The network of a method that has one, trained before or bundled."""
    method = METHODS[experiment.method]
    if method.as_trained is not None:
        return answering(method, results.net(trained_alike(experiment)))
    if method.objective is not None:
        return results.net(experiment)
    found = base(method.base) if method.base is not None else None
    return None if found is None else found.net


def trained_alike(experiment: Experiment) -> Experiment:
    """The experiment whose network this one takes."""
    other = METHODS[experiment.method].as_trained
    return experiment if other is None else replace(experiment, method=other)


def answering(method: Method, net: Network) -> Network:
    """A trained network as the method uses it."""
    return BlindSpotMean(net) if method.mean and isinstance(net, BlindSpotDenoiser) else net


class BlindSpotMean(Network):
    """A blind-spot network that never looks at the pixel itself."""

    multiple = 1

    def __init__(self, net: BlindSpotDenoiser) -> None:
        super().__init__()
        self.net = net

    @property
    def radius(self) -> int:
        """Of the blind-spot network."""
        return self.net.radius

    def forward(self, stabilized: Tensor, white: Tensor) -> Tensor:
        """Tell each pixel from those around."""
        return self.net.predict(stabilized, white).mean


def denoiser(experiment: Experiment, net: Network | None, data: Data, device: str) -> Denoiser:
    """What the experiment's method makes of a capture whose noise is taken to be this."""
    if experiment.method == NOISY:
        return lambda shot, noise: shot.planes
    if experiment.method == SELF2SELF:
        return lambda shot, noise: processed(
            shot, noise, lambda planes, noise: by_self2self(planes, noise, experiment, device)
        )
    if net is None:
        return lambda shot, noise: processed(shot, noise, by_bm3d)
    model, options = new_model(net, _card(experiment, data)), DenoiseOptions(device=device)
    return lambda shot, noise: processed(
        shot, noise, lambda planes, noise: denoise_planes(planes, noise, model, options)
    )


def _card(experiment: Experiment, data: Data) -> ModelCard:
    """What `denoise_planes` asks a model to carry; nothing of it is looked at to denoise."""
    return ModelCard(
        id="", camera=data.camera.camera, net=NET, iso_range=None, noise=(), captures=(),
        objective=METHODS[experiment.method].objective or "", options={}, seed=experiment.conditions.seed,
        versions={}, created="", figures={}, weights_sha256="",
    )  # fmt: skip


def processed(shot: Shot, noise: NoiseModel, denoise: Callable[[Planes, NoiseModel], Planes]) -> Planes:
    """Clear a capture, denoise it, and leave saturated pixels as they were, as files are denoised."""
    clean = denoise(cleared(shot.planes, noise, valid=shot.valid).planes, noise)
    return np.where(shot.valid, clean, shot.planes)


def by_bm3d(planes: Planes, noise: NoiseModel) -> Planes:
    """BM3D (Dabov et al., IEEE TIP 2007) on each stabilised plane, with the noise's deviation of 1."""
    from bm3d import bm3d

    stabilized = stabilize(torch.from_numpy(planes), noise).numpy()
    clean = np.stack([np.asarray(bm3d(plane, 1.0), np.float32) for plane in stabilized])
    return unstabilize(torch.from_numpy(clean), noise).numpy()


def by_self2self(planes: Planes, noise: NoiseModel, experiment: Experiment, device: str) -> Planes:
    """A network trained on this capture alone, its answers averaged over what is hidden from it."""
    mosaic = mosaic_rggb(planes)
    everywhere, seed = np.ones_like(mosaic, bool), experiment.conditions.seed
    alone = Pair(noise, mosaic, everywhere, mosaic, everywhere, mosaic)
    options = TrainingOptions(
        net=NET, objective="self2self", images=experiment.crops, seed=seed, device=device, guard=False
    )
    with tempfile.TemporaryDirectory() as folder:
        net = fit(PairSource((alone,), (alone,)), options, folder=Path(folder), run=SELF2SELF).last
    white, (height, width) = stabilized_white(noise)[None], planes.shape[1:]
    padding = (0, -width % net.multiple, 0, -height % net.multiple)
    y = F.pad(stabilize(torch.from_numpy(planes), noise)[None], padding, mode="replicate")
    generator = torch.Generator().manual_seed(seed)
    clean = averaged(lambda noisy, sigma=1.0: net(noisy, white), y, torch.ones_like(y).bool(), generator)
    return unstabilize(clean[0, :, :height, :width], noise).numpy()


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
