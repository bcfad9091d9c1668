"""What a network gives for its time: the shipped ones and others of their size, trained alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from lab.captures import Planes, Shot, take_as_it_is
from lab.data import Scene, digest, linear_half, pictures_in, true_noise
from lab.report import Page, markdown, tell
from lab.store import Lab
from lab.table import COUNT, FOLDER, Words, option, table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rawdenoise.capture.raw import Area, Cfa
from rawdenoise.nets import Backbone, StabilizedDenoiser
from rawdenoise.nets.stabilized import INPUTS, OUTPUTS
from rawdenoise.nets.unet import BestUNet, FastUNet, PaperUNet, ResidualUNet, _Conv, _upsample
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.quality.metrics import psnr
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385
from rawdenoise.training.batches import Source
from rawdenoise.training.drawn_scenes import paint_scenes
from rawdenoise.training.loop import fit
from rawdenoise.training.options import TrainingOptions

ISOS = (1600, 6400, 25600)  # of the simulated camera
TESTED, TESTED_SIZE = 12, 512  # procedural scenes no network is trained on, and their sides
SCENES_STREAM, CAMERA_STREAM = 1 << 40, 1 << 41  # of random numbers
NOISE_LEVEL = INPUTS - 1  # the plane that holds it
COUNTED = 96  # packed pixels a side, to count multiplications on
PLACES = ("scenes", "photographs")

Tests = Mapping[str, Sequence[tuple[Shot, NoiseModel]]]


class DnCnn(Backbone):
    """Convolutions in a row on 2x2 groups, as in DnCNN (Zhang et al., TIP 2017), without normalisation."""

    multiple = 2

    def __init__(self, features: int = 64, depth: int = 9) -> None:
        super().__init__()
        self.radius = 2 * depth + 1
        layers: list[nn.Module] = [nn.Conv2d(4 * INPUTS, features, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.exit = _zero(nn.Conv2d(features, 4 * OUTPUTS, 3, padding=1))

    def forward(self, features: Float32[Tensor, "b 9 h w"]) -> Float32[Tensor, "b 16 h w"]:
        """Tell what is noise."""
        return F.pixel_shuffle(self.exit(self.layers(F.pixel_unshuffle(features, 2))), 2)


class GroupedUNet(Backbone):
    """A U-Net of 48, 96 and 96 features on 2x2 groups of packed pixels: `fast` until this search.

    Skips are added, not concatenated. Half the resolution at the widest level costs little, as a group's
    16 values sit in one pixel's features; three levels keep the radius, and so the tiles' overlap, small.
    """

    multiple = 8
    radius = 45

    def __init__(self, features: int = 48) -> None:
        super().__init__()
        f, wide = features, 2 * features
        self.entry = _Conv(4 * INPUTS, f)
        self.encoder = _Conv(f, f)
        self.down = nn.Conv2d(f, wide, 2, stride=2)
        self.encoder2 = nn.Sequential(_Conv(wide, wide), _Conv(wide, wide))
        self.down2 = nn.Conv2d(wide, wide, 2, stride=2)
        self.bottom = nn.Sequential(_Conv(wide, wide), _Conv(wide, wide))
        self.up2 = nn.Conv2d(wide, wide, 1)
        self.decoder2 = _Conv(wide, wide)
        self.up = nn.Conv2d(wide, f, 1)
        self.decoder = nn.Sequential(_Conv(f, f), _Conv(f, f))
        self.exit = _zero(nn.Conv2d(f, 4 * OUTPUTS, 3, padding=1))

    def forward(self, features: Float32[Tensor, "b 9 h w"]) -> Float32[Tensor, "b 16 h w"]:
        """Tell what is noise."""
        fine = self.encoder(self.entry(F.pixel_unshuffle(features, 2)))
        middle = self.encoder2(self.down(fine))
        coarse = self.bottom(self.down2(middle))
        middle = self.decoder2(middle + _upsample(self.up2(coarse)))
        fine = self.decoder(fine + _upsample(self.up(middle)))
        return F.pixel_shuffle(self.exit(fine), 2)


class Blind(Backbone):
    """A network that is not told the noise level."""

    def __init__(self, seeing: Backbone) -> None:
        super().__init__()
        self.seeing, self.multiple, self.radius = seeing, seeing.multiple, seeing.radius

    def forward(self, features: Float32[Tensor, "b 9 h w"]) -> Float32[Tensor, "b 16 h w"]:
        """Tell what is noise."""
        seen = features.clone()
        seen[:, NOISE_LEVEL] = 0
        out: Tensor = self.seeing(seen)
        return out


def _zero(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


CANDIDATES: Mapping[str, tuple[str, Callable[[], Backbone]]] = {
    "fast": ("**`fast`**: packed pixels, 16, 48, 96 features, 6 blocks", FastUNet),
    "grouped-48": ("2x2 groups, 48, 96, 96 features (`fast` until then)", GroupedUNet),
    "grouped-blind": ("the same, not told the noise level", lambda: Blind(GroupedUNet())),
    "grouped-64": ("2x2 groups, 64, 128, 128 features", lambda: GroupedUNet(64)),
    "packed-16": (
        "packed pixels, 16, 48, 64 features, 5 blocks",
        lambda: ResidualUNet((16, 48, 64), (1, 1, 1, 1, 1)),
    ),
    "best": ("**`best`**: packed pixels, 32, 64, 96, 96 features, 8 blocks", BestUNet),
    "groups-128": (
        "2x2 groups, residual, 64, 96, 128 features, 7 blocks",
        lambda: ResidualUNet((64, 96, 128), (1, 1, 2, 1, 2), 2),
    ),
    "groups-64": (
        "2x2 groups, residual, 64, 96, 96 features, 8 blocks",
        lambda: ResidualUNet((64, 96, 96), (2, 1, 1, 1, 3), 2),
    ),
    "groups-96": (
        "2x2 groups, residual, 96, 96, 96 features, 7 blocks",
        lambda: ResidualUNet((96, 96, 96), (2, 1, 1, 1, 2), 2),
    ),
    "dncnn": ("2x2 groups, DnCNN, 9 layers of 64 features", DnCnn),
    "paper": ("`paper`: the papers' U-Net", PaperUNet),
}


@table("networks", {"docs/networks.md: the table": "--images-seen 8000"})
@option("--nets", type=Words(CANDIDATES), default=tuple(CANDIDATES))
@option("--images", type=FOLDER, help="photographs to measure on  [default: srgb/kodak24 of --data]")
@option("--images-seen", type=COUNT, default=16_000, help="crops to train on")
@option("--scenes", type=COUNT, default=160, help="procedural scenes to train on")
@option("--seed", default=0)
def networks(
    lab: Lab, nets: Sequence[str], images: Path | None, images_seen: int, scenes: int, seed: int
) -> Page:
    """What a network gives for its time: the shipped ones and others of their size, trained alike.

    Each is trained from nothing on as many crops of procedural scenes, in the same order, and measured on
    scenes it has not seen and on photographs at half size, which a simulated camera takes at three ISOs.
    """
    paths = pictures_in(images or lab.kodak)
    options = TrainingOptions(
        objective="supervised", crops=images_seen, learning_rate=1e-3, seed=seed, guard=False
    )

    @cache
    def source() -> Source:
        return paint_scenes(lab.store.folder / f"scenes-{scenes}-{seed}", scenes, seed=seed)

    @cache
    def tests() -> Tests:
        shown = {"scenes": _painted(seed), "photographs": map(linear_half, paths)}
        return {place: [*_take(of_place, seed)] for place, of_place in shown.items()}

    rows = []
    for name in CANDIDATES:
        settings = {
            "kind": "network", "method": name, "crops": images_seen, "minutes": None, "scenes": scenes,
            "seed": seed, "photographs": digest(paths),
        }  # fmt: skip
        measure = partial(_train, name, source, tests, options, lab.store.scratch(settings))
        if trained := lab.result(settings, measure, wanted=name in nets):
            backbone = CANDIDATES[name][1]().eval()
            rows.append((_multiplications(backbone), [*_cells(name, backbone, trained)]))
    head = [
        "network", "weights, M", "GMAC/MP", "scenes, dB", "photographs, dB",
        f"at ISO {' / '.join(map(str, ISOS))}", "s to train",
    ]  # fmt: skip
    return Page(
        markdown(
            head, [cells for _, cells in sorted(rows, key=lambda row: row[0])], f"{images_seen} crops each"
        )
    )


def _painted(seed: int) -> Iterator[Scene]:
    """Scenes to measure on."""
    for number in range(TESTED):
        yield make_scene(TESTED_SIZE, TESTED_SIZE, np.random.default_rng([seed, SCENES_STREAM, number]))


def _take(scenes: Iterable[Scene], seed: int) -> Iterator[tuple[Shot, NoiseModel]]:
    """Take scenes with a simulated camera, at each ISO."""
    rng = np.random.default_rng([seed, CAMERA_STREAM])
    for scene in scenes:
        height, width = scene.shape[:2]
        area = Area(0, 0, height, width)
        camera = replace(SIMULATED_IMX385, cfa=Cfa.RGGB, size=(width, height), active=area)
        for iso in ISOS:
            yield take_as_it_is(scene, camera, iso, rng), true_noise(camera, iso)


def _train(
    name: str,
    source: Callable[[], Source],
    tests: Callable[[], Tests],
    options: TrainingOptions,
    folder: Path,
) -> dict[str, float]:
    """Train one network and test it."""
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        net = StabilizedDenoiser(CANDIDATES[name][1]())
    folder.mkdir(parents=True, exist_ok=True)
    fitted = fit(source(), options, folder=folder, run=folder.name, start=net)
    figures: dict[str, float] = {"images": fitted.crops, "training_s": fitted.training_s}
    for place, shots in tests().items():
        for iso in ISOS:
            of_iso = [(shot, noise) for shot, noise in shots if shot.iso == iso]
            figures[f"{place} {iso}"] = fmean(
                psnr(_denoise(fitted.last, shot, noise), shot.clean) for shot, noise in of_iso
            )
    tell(f"{name}: {figures}")
    return figures


@torch.inference_mode()
def _denoise(net: StabilizedDenoiser, shot: Shot, noise: NoiseModel) -> Planes:
    """Denoise a scene in one piece; its sides are multiples of any network's."""
    stabilized = stabilize(torch.from_numpy(shot.planes)[None], noise)
    return np.asarray(unstabilize(net(stabilized, stabilized_white(noise)[None]), noise)[0])


def _multiplications(backbone: Backbone) -> float:
    """Billions of multiplications for a million pixels of the mosaic."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        backbone(torch.zeros(1, INPUTS, COUNTED, COUNTED))
    return float(counter.get_total_flops() / 2 / (4 * COUNTED**2) / 1e3)


def _cells(name: str, backbone: Backbone, trained: Mapping[str, float]) -> Iterator[str]:
    """A line of the table; PSNR is the mean over the pictures, per ISO and over them."""
    yield CANDIDATES[name][0]
    yield f"{sum(weights.numel() for weights in backbone.parameters()) / 1e6:.2f}"
    yield f"{_multiplications(backbone):.1f}"
    for place in PLACES:
        yield f"{fmean(trained[f'{place} {iso}'] for iso in ISOS):.2f}"
    yield " / ".join(f"{trained[f'photographs {iso}']:.2f}" for iso in ISOS)
    yield f"{trained['training_s']:.0f}"
