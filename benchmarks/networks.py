"""What a network gives for its time: the shipped ones and others of their size, trained and timed alike.

    python benchmarks/networks.py --work DIR --train [--images DIR] [--images-seen 16000] [--nets fast paper]
    python benchmarks/networks.py --work DIR --time
    python benchmarks/networks.py --work DIR

The first trains every network from nothing on as many crops of procedural scenes, in the same order, and
measures PSNR on scenes it has not seen; with `--images` on photographs too, at half size (linear_half), whose
mosaics a simulated camera takes at three ISOs. `--minutes` gives each as much time instead of as many crops.
The second times 24 megapixels in tiles, as `denoise` runs them, in float32; it wants a machine that does
nothing else. Both go on where they were stopped, and every call prints all that is known for that budget,
the slowest last, and draws it to DIR/networks.png.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from numpy.random import Generator
from photographs import linear_half, pictures_in
from published import true_noise
from throughput import READ_VARIANCE, SHOT, SIZES, noisy_mosaic, processor, untrained
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rawdenoise.atomic import atomic_output, write_bytes
from rawdenoise.capture.raw import Area, Cfa
from rawdenoise.models.model import Model
from rawdenoise.nets import Backbone, StabilisedDenoiser
from rawdenoise.nets.stabilized import INPUTS, OUTPUTS
from rawdenoise.nets.unet import BestUNet, FastUNet, PaperUNet, ResidualUNet, _Conv, _double
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.pipeline import denoise_planes
from rawdenoise.quality.metrics import psnr
from rawdenoise.simulation.camera import SIMULATED_IMX385, capture
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.training.batches import Batch, Source
from rawdenoise.training.crops import pack_rggb
from rawdenoise.training.loop import fit
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.synthetic import paint_scenes

ISOS = (1600, 6400, 25600)  # of the simulated camera
TESTED, TESTED_SIZE = 12, 512  # procedural scenes no network is trained on, and their sides
REPEATS = 3  # timings, the least of which counts
NOISE_LEVEL = INPUTS - 1  # the plane that holds it
BATCH = ("noisy", "valid", "white", "target")
COUNTED = 96  # packed pixels a side, to count multiplications on

Planes = Float32[np.ndarray, "4 h w"]


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

    def forward(self, features: Float32[Tensor, "b 9 h w"]) -> Float[Tensor, "b 16 h w"]:
        """Tell what is noise."""
        fine = self.encoder(self.entry(F.pixel_unshuffle(features, 2)))
        middle = self.encoder2(self.down(fine))
        coarse = self.bottom(self.down2(middle))
        middle = self.decoder2(middle + _double(self.up2(coarse)))
        fine = self.decoder(fine + _double(self.up(middle)))
        return F.pixel_shuffle(self.exit(fine), 2)


class SeparableUNet(GroupedUNet):
    """A `GroupedUNet` whose 3x3 convolutions are one per feature, then 1x1 (MobileNet, 2017)."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        for name, module in list(self.named_modules()):
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and name != "exit":
                parent, _, leaf = name.rpartition(".")
                setattr(self.get_submodule(parent), leaf, _separated(module))


class NafNet(Backbone):
    """A U-Net of NAFNet's blocks (Chen et al., ECCV 2022) on groups of `group` x `group` packed pixels.

    Channel attention averages over all that the network is shown, so no radius is quite true: the
    convolutions' is given.
    """

    def __init__(self, width: int, blocks: Sequence[int], group: int) -> None:
        super().__init__()
        depth = len(blocks) // 2
        widths = [width << level for level in range(depth + 1)]
        levels = [min(i, 2 * depth - i) for i in range(len(blocks))]
        reached = sum(count << level for level, count in zip(levels, blocks, strict=True))
        self.group, self.multiple = group, group << depth
        self.radius = group * (reached + 2) + self.multiple - 1
        self.entry = nn.Conv2d(group**2 * INPUTS, width, 3, padding=1)
        chains = [
            nn.Sequential(*(_NafBlock(widths[level]) for _ in range(count)))
            for level, count in zip(levels, blocks, strict=True)
        ]
        self.encoders, self.bottom = nn.ModuleList(chains[:depth]), chains[depth]
        self.decoders = nn.ModuleList(chains[depth + 1 :])
        self.downs = nn.ModuleList([nn.Conv2d(f, 2 * f, 2, stride=2) for f in widths[:-1]])
        self.ups = nn.ModuleList([nn.Conv2d(2 * f, 4 * f, 1, bias=False) for f in widths[-2::-1]])
        self.exit = _zero(nn.Conv2d(width, group**2 * OUTPUTS, 3, padding=1))

    def forward(self, features: Float32[Tensor, "b 9 h w"]) -> Float32[Tensor, "b 16 h w"]:
        """Tell what is noise."""
        x = self.entry(F.pixel_unshuffle(features, self.group))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(skips.pop() + F.pixel_shuffle(up(x), 2))
        return F.pixel_shuffle(self.exit(x), self.group)


class _NafBlock(nn.Module):
    """Layer norm, depthwise 3x3, simple gate, channel attention; then layer norm and a gated 1x1 pair."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(features), nn.LayerNorm(features)
        self.widen = nn.Conv2d(features, 2 * features, 1)
        self.across = nn.Conv2d(2 * features, 2 * features, 3, padding=1, groups=2 * features)
        self.attention = nn.Conv2d(features, features, 1)
        self.narrow = nn.Conv2d(features, features, 1)
        self.inner, self.outer = nn.Conv2d(features, 2 * features, 1), nn.Conv2d(features, features, 1)
        self.scales = nn.Parameter(torch.zeros(2, features, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Add what both halves find."""
        inside = _gated(self.across(self.widen(_normed(self.first, x))))
        inside = inside * self.attention(inside.mean(dim=(2, 3), keepdim=True))
        x = x + self.scales[0] * self.narrow(inside)
        out: Tensor = x + self.scales[1] * self.outer(_gated(self.inner(_normed(self.second, x))))
        return out


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


def _separated(whole: nn.Conv2d) -> nn.Sequential:
    across = nn.Conv2d(whole.in_channels, whole.in_channels, 3, padding=1, groups=whole.in_channels)
    return nn.Sequential(across, nn.Conv2d(whole.in_channels, whole.out_channels, 1))


def _normed(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _gated(x: Tensor) -> Tensor:
    one, other = x.chunk(2, dim=1)
    return one * other


def _zero(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


CANDIDATES: Mapping[str, tuple[str, Callable[[], Backbone]]] = {
    "fast": ("**fast**: residual U-Net on packed pixels, 16 to 96 features", FastUNet),
    "grouped-32": ("U-Net on 2x2 groups, 32 features", lambda: GroupedUNet(32)),
    "grouped-48": ("U-Net on 2x2 groups, 48 features", GroupedUNet),
    "grouped-blind": (
        "U-Net on 2x2 groups, 48 features, not told the noise level",
        lambda: Blind(GroupedUNet()),
    ),
    "grouped-64": ("U-Net on 2x2 groups, 64 features", lambda: GroupedUNet(64)),
    "packed-16": (
        "`best` of 16, 48, 64 features, 5 blocks",
        lambda: ResidualUNet((16, 48, 64), (1, 1, 1, 1, 1)),
    ),
    "best": ("**best**: residual U-Net on packed pixels, 32 to 96 features", BestUNet),
    "packed-48": (
        "`best` of 48, 64, 96, 96 features, 7 blocks",
        lambda: ResidualUNet((48, 64, 96, 96), (1,) * 7),
    ),
    "groups-128": (
        "`best` on 2x2 groups, 64, 96, 128 features, 7 blocks",
        lambda: ResidualUNet((64, 96, 128), (1, 1, 2, 1, 2), 2),
    ),
    "groups-64": (
        "`best` on 2x2 groups, 64, 96, 96 features, 8 blocks",
        lambda: ResidualUNet((64, 96, 96), (2, 1, 1, 1, 3), 2),
    ),
    "groups-96": (
        "`best` on 2x2 groups, 96, 96, 96 features, 7 blocks",
        lambda: ResidualUNet((96, 96, 96), (2, 1, 1, 1, 2), 2),
    ),
    "dncnn": ("DnCNN on 2x2 groups, 9 layers of 64", DnCnn),
    "separable": (
        "U-Net on 2x2 groups with depthwise separable convolutions, 96 features",
        lambda: SeparableUNet(96),
    ),
    "naf-groups": ("NAFNet on 2x2 groups, width 48", lambda: NafNet(48, (2, 2, 4, 2, 2), 2)),
    "naf-packed": ("NAFNet on packed pixels, width 16", lambda: NafNet(16, (1, 1, 2, 4, 2, 1, 1), 1)),
    "paper": ("the papers' U-Net", PaperUNet),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A `Source` that draws once and keeps: all see the same, and drawing costs as much as a small net."""

    source: Source
    folder: Path

    @property
    def largest_crop(self) -> int:
        """What the source has room for."""
        return self.source.largest_crop

    def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
        """Draw crops, or read those that were drawn with a generator in this state."""
        state = json.dumps([rng.bit_generator.state, count, size, held_out])
        file = self.folder / f"{hashlib.sha256(state.encode()).hexdigest()[:24]}.npz"
        if not file.exists():
            batch = self.source.draw(rng, count, size, held_out=held_out)
            after = json.dumps(rng.bit_generator.state)
            with atomic_output(file) as temporary, temporary.open("wb") as opened:
                np.savez(opened, after=np.array(after), **{name: getattr(batch, name) for name in BATCH})
        kept = np.load(file)
        rng.bit_generator.state = json.loads(str(kept["after"]))
        return Batch(*(torch.from_numpy(kept[name]) for name in BATCH))


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene as a camera took it: packed, without noise and with, and what the noise is."""

    clean: Planes
    noisy: Planes
    noise: NoiseModel
    iso: int


def main() -> None:
    """Train or time what is wanted, then print all that is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="scenes, checkpoints and results")
    parser.add_argument("--nets", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--images", type=Path, help="a folder of photographs to measure on")
    parser.add_argument("--images-seen", type=int, default=16_000, help="crops to train on")
    parser.add_argument("--minutes", type=float, help="to train, instead of a number of crops")
    parser.add_argument("--scenes", type=int, default=160, help="procedural scenes to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.train:
        drawn = paint_scenes(options.work / "scenes", options.scenes, seed=options.seed)
        source = Kept(drawn, options.work / f"crops-{options.scenes}")
        tests = {"scenes": list(taken(painted(options.seed), options.seed))}
        if options.images:
            tests["photographs"] = list(taken(map(linear_half, pictures_in(options.images)), options.seed))
        for name in options.nets:
            train(name, source, tests, options)
    if options.time:
        planes = pack_rggb(noisy_mosaic(*SIZES[24])).astype(np.float32) / 16383
        for name in options.nets:
            measure_time(name, planes, options)
    known = list(results(options))
    print(f"{processor()}, {options.threads} threads; {budget(options)} each\n")
    for line in table(known):
        print(line)
    draw(known, options.work / "networks.png")


def budget(options: argparse.Namespace) -> str:
    """What every network is trained on, in words."""
    return f"{options.minutes:g} minutes" if options.minutes else f"{options.images_seen} crops"


def result_file(name: str, options: argparse.Namespace) -> Path:
    """Where a training's figures lie."""
    short = f"{options.minutes:g}min" if options.minutes else str(options.images_seen)
    return Path(options.work) / f"{name}-{short}-{options.seed}.json"


def painted(seed: int) -> Iterator[Float32[np.ndarray, "h w 3"]]:
    """Scenes to measure on."""
    for number in range(TESTED):
        yield make_scene(TESTED_SIZE, TESTED_SIZE, np.random.default_rng([seed, 1 << 40, number]))


def taken(scenes: Iterator[Float32[np.ndarray, "h w 3"]], seed: int) -> Iterator[Scene]:
    """Take scenes with a simulated camera, at each ISO."""
    rng = np.random.default_rng([seed, 1 << 41])
    for scene in scenes:
        height, width = scene.shape[:2]
        camera = replace(
            SIMULATED_IMX385, cfa=Cfa.RGGB, size=(width, height), active=Area(0, 0, height, width)
        )
        for iso in ISOS:
            raw, clean = capture(scene, camera, iso, rng)
            span = np.float32(camera.white - camera.black)
            clean_planes, planes = (
                pack_rggb((mosaic.astype(np.float32) - np.float32(camera.black)) / span)
                for mosaic in (clean, raw.mosaic)
            )
            yield Scene(clean_planes, planes, true_noise(camera, iso), iso)


def train(
    name: str, source: Source, tests: Mapping[str, Sequence[Scene]], options: argparse.Namespace
) -> None:
    """Train one network and write its figures, unless they are there."""
    file = result_file(name, options)
    if file.exists():
        return
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        net = StabilisedDenoiser(CANDIDATES[name][1]())
    wanted = TrainingOptions(
        objective="supervised",
        crops=None if options.minutes else options.images_seen,
        minutes=options.minutes,
        learning_rate=1e-3,
        seed=options.seed,
        guard=False,
    )
    folder = Path(options.work) / "runs" / file.stem
    folder.mkdir(parents=True, exist_ok=True)
    fitted = fit(source, wanted, folder=folder, run=file.stem, start=net)
    figures: dict[str, Any] = {"images": fitted.crops, "training_s": fitted.training_s}
    for test, scenes in tests.items():
        for iso in ISOS:
            figures[f"{test} {iso}"] = fmean(
                psnr(denoised(fitted.last, scene), scene.clean) for scene in scenes if scene.iso == iso
            )
    write_bytes(file, json.dumps(figures).encode())
    print(f"{name}: {json.dumps(figures)}", flush=True)


@torch.inference_mode()
def denoised(net: StabilisedDenoiser, scene: Scene) -> Planes:
    """Denoise a scene in one piece; its sides are multiples of any network's."""
    stabilized = stabilize(torch.from_numpy(scene.noisy)[None], scene.noise)
    clean = net(stabilized, stabilized_white(scene.noise)[None])
    return np.asarray(unstabilize(clean, scene.noise)[0])


def measure_time(name: str, planes: Planes, options: argparse.Namespace) -> None:
    """Time one network on 24 megapixels, as `denoise` runs it, unless it is known for so many threads."""
    file = time_file(name, options)
    if file.exists():
        return
    net = StabilisedDenoiser(CANDIDATES[name][1]()).eval()
    model = Model(replace(untrained("fast").card, net=name), net)
    noise = NoiseModel((SHOT,) * 4, (READ_VARIANCE,) * 4)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        denoise_planes(planes, noise, model)
        seconds.append(time.perf_counter() - start)
    write_bytes(file, json.dumps({"seconds": min(seconds)}).encode())
    print(f"{name}: {min(seconds):.2f} s", flush=True)


def time_file(name: str, options: argparse.Namespace) -> Path:
    """Where a timing lies."""
    return Path(options.work) / f"{name}-time-{options.threads}.json"


def results(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Each network's size, work, and what has been measured of it, the fastest first."""
    rows = []
    for name, (_, build) in CANDIDATES.items():
        backbone = build().eval()
        row = {"weights": float(sum(p.numel() for p in backbone.parameters())), "gmac": work(backbone)}
        for file in (result_file(name, options), time_file(name, options)):
            row |= json.loads(file.read_text()) if file.exists() else {}
        rows.append((name, row))
    yield from sorted(rows, key=lambda row: row[1].get("seconds", row[1]["gmac"]))


def work(backbone: Backbone) -> float:
    """Billions of multiplications for a million pixels of the mosaic."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        backbone(torch.zeros(1, INPUTS, COUNTED, COUNTED))
    return float(counter.get_total_flops() / 2 / (4 * COUNTED**2) / 1e3)


def table(known: Sequence[tuple[str, Mapping[str, float]]]) -> Iterator[str]:
    """Lay it out; PSNR is the mean over the pictures, per ISO and over them."""
    columns = [f"{test} {iso}" for test in ("scenes", "photographs") for iso in ISOS]
    yield "| network | weights, M | GMAC/MP | s for 24 MP | scenes, dB | photographs, dB | of which " + (
        "/".join(map(str, ISOS)) + " | s to train |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, row in known:
        scenes, photographs = (_mean(row, [c for c in columns if c.startswith(t)]) for t in ("sc", "ph"))
        each = " / ".join(_cell(row.get(f"photographs {iso}"), 2) for iso in ISOS).strip(" /")
        cells = [
            CANDIDATES[name][0], f"{row['weights'] / 1e6:.2f}", f"{row['gmac']:.1f}",
            _cell(row.get("seconds"), 1), _cell(scenes, 2), _cell(photographs, 2), each,
            _cell(row.get("training_s"), 0),
        ]  # fmt: skip
        yield "| " + " | ".join(cells) + " |"


def _mean(row: Mapping[str, float], columns: Sequence[str]) -> float | None:
    values = [row[column] for column in columns if column in row]
    return fmean(values) if values else None


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def draw(known: Sequence[tuple[str, Mapping[str, float]]], file: Path) -> None:
    """Draw PSNR over time, where both are known and matplotlib is there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="s for 24 MP", ylabel="PSNR, dB")
    for name, row in known:
        test = "photographs" if f"photographs {ISOS[0]}" in row else "scenes"
        gain = _mean(row, [f"{test} {iso}" for iso in ISOS])
        if gain is not None and "seconds" in row:
            axes.plot(row["seconds"], gain, "o", color="#2b5fc2")
            axes.annotate(name, (row["seconds"], gain), xytext=(5, 3), textcoords="offset points")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
