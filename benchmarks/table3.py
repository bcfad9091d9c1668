"""Table 3 of the paper: gamma in GR2R's loss as published, with what becomes of it during the training."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from statistics import fmean

from commands import at_least
from experiments import Experiment, denoiser
from gaussian import Sigmas, TestSet, as_it_is, by_net, digest, picture_source, score
from methods import GAMMAS, NOISY, UNGUARDED, Ground
from photographs import pictures_in
from sheets import Figures, check_drawing, comma_separated, draw_curves, markdown
from simulated import CAMERAS, Conditions, Data, Knowledge, Planes, Shot, Sources, Target, simulate
from trials import (
    GR2R,
    ROWS,
    Kept,
    Look,
    NotDoneError,
    Trained,
    Trial,
    curves,
    in_order,
    passes,
    train,
    versions,
)

from rawdenoise.atomic import write_bytes
from rawdenoise.inference.devices import pick_device
from rawdenoise.nets import Network
from rawdenoise.quality.metrics import psnr, ssim
from rawdenoise.training.batches import Source

SRGB, CAMERA = "srgb", "camera"
METHODS = (*(f"paper-{gamma}" for gamma in GAMMAS), GR2R, "supervised")
COLUMNS = (
    "on", "method", "seed", "crops", "psnr_db", "noisy_db", "training_s", "rawdenoise", "torch", "python",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """What the methods are trained on, and how their networks are looked at; by seed."""

    name: str
    title: str
    identity: str
    source: Callable[[int, Target], Source]
    look: Callable[[int], Look]
    noisy: Callable[[int], Figures]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A training of a method with a seed, and the PSNR without any."""

    method: str
    seed: int
    trained: Trained
    noisy: float


Found = Mapping[Place, list[Outcome]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What this table has beside the others' options."""
    parser.add_argument("--train", type=Path, metavar="DIR", required=True, help="pictures to train on")
    parser.add_argument("--test", type=Path, metavar="DIR", required=True, help="photographs to look with")
    parser.add_argument("--on", nargs="+", choices=(SRGB, CAMERA), default=[SRGB, CAMERA])
    parser.add_argument("--published", type=Path, metavar="JSON", help="published calibrations, for a camera")
    parser.add_argument("--camera", choices=CAMERAS, default="IMX385")
    parser.add_argument("--captures", type=at_least(1), default=40, help="of the camera, to train on")
    parser.add_argument("--sigma", type=Sigmas.parse, default=Sigmas(25, 25))
    parser.add_argument("--looks", type=at_least(1), default=12, help="at the network during a training")


def run(options: argparse.Namespace) -> None:
    """Do what is missing, and write table and curves after each training."""
    if CAMERA in options.on and options.published is None:
        raise SystemExit("a camera is simulated from --published; without, there is --on srgb")
    check_drawing()
    wanted = [name for name in METHODS if not options.only or name in options.only]
    found: dict[Place, list[Outcome]] = {}
    for ground in grounds(options):
        outcomes: dict[tuple[str, int], Outcome] = {}
        for kept, methods in passes(options.work, wanted):
            for method, seed in product(methods, options.seeds):
                with suppress(NotDoneError):
                    outcomes[method, seed] = carried_out(ground, method, seed, kept, options)
                found[ground] = in_order(outcomes.values())
                if not kept.frozen:
                    write(found, options)
    print(page(found))


def carried_out(ground: Place, method: str, seed: int, kept: Kept, options: argparse.Namespace) -> Outcome:
    """Train and look, and look without training; what is there is taken as it is."""
    trial = Trial(
        ground.identity, method, options.net, seed, options.crops, options.minutes,
        options.batch, options.crop, options.looks,
    )  # fmt: skip
    source = partial(ground.source, seed, ROWS[method].target)
    trained = train(trial, kept, lambda: Ground(source()), device=options.device, look=ground.look(seed))
    noisy = replace(trial, method=NOISY, net="", crops=None, minutes=None, batch=0, crop=0, looks=0).name
    figures = kept.figures(noisy)
    if figures is None:
        figures = ground.noisy(seed)
        kept.save_figures(noisy, figures, ground=ground.identity)
    return Outcome(method, seed, trained, figures.mean_psnr)


# ---------------------------------------------------------------- what on


def grounds(options: argparse.Namespace) -> Iterator[Place]:
    """Pictures, a camera, or both."""
    if SRGB in options.on:
        yield on_pictures(options)
    if CAMERA in options.on:
        yield on_camera(options)


def on_pictures(options: argparse.Namespace) -> Place:
    """SRGB pictures with Gaussian noise."""
    test = TestSet("looks", options.test, images=options.test_images)
    device, sigmas = pick_device(options.device), options.sigma

    def look(net: Network) -> float:
        return score(test, sigmas, by_net(net, device)).mean_psnr

    return Place(
        SRGB,
        f"sRGB, sigma {sigmas}",
        f"sRGB, sigma {sigmas}, pictures {digest(pictures_in(options.train))}, {test.digest}",
        lambda seed, target: picture_source(options.train, sigmas, target),
        lambda seed: look,
        lambda seed: score(test, sigmas, as_it_is),
    )


def on_camera(options: argparse.Namespace) -> Place:
    """Captures of a simulated camera that was calibrated, as in quality.py; looked at at its highest ISO."""
    usual = Conditions(options.camera, captures=options.captures, knowledge=Knowledge.CALIBRATED)
    iso = max(CAMERAS[options.camera].tested)
    digests = [digest(pictures_in(folder)) for folder in (options.train, options.test)]

    @lru_cache(maxsize=1)
    def data(seed: int) -> Data:
        return simulate(replace(usual, seed=seed), Sources(options.published, options.train, options.test))

    def look(seed: int, net: Network) -> float:
        # Which method it is makes no difference to how its network is used.
        experiment = Experiment(replace(usual, seed=seed), UNGUARDED)
        denoise, noise = denoiser(experiment, net, data(seed), options.device), data(seed).noise[iso]
        return fmean(psnr(denoise(shot, noise), shot.clean) for shot in shots(seed))

    def shots(seed: int) -> tuple[Shot, ...]:
        return data(seed).tests[iso][: options.test_images]

    return Place(
        CAMERA,
        f"{options.camera}, ISO {iso}",
        f"{options.camera}, {options.captures} captures, {' '.join(digests)}, {options.test_images or 'all'}",
        lambda seed, target: data(seed).source(target),
        lambda seed: partial(look, seed),
        lambda seed: compared([(shot.planes, shot.clean) for shot in shots(seed)]),
    )


def compared(pairs: Sequence[tuple[Planes, Planes]]) -> Figures:
    """PSNR and SSIM of planes."""
    return Figures(tuple(psnr(*pair) for pair in pairs), tuple(ssim(*pair) for pair in pairs))


# ---------------------------------------------------------------- on paper


def write(found: Found, options: argparse.Namespace) -> None:
    """Write table and curves as far as they are."""
    lines = [line for ground, outcomes in found.items() for line in lines_of(ground, outcomes)]
    write_bytes(options.work / "table3.csv", comma_separated(COLUMNS, lines))
    write_bytes(options.work / "table3.md", page(found).encode())
    for ground, outcomes in found.items():
        noisy = fmean(each.noisy for each in outcomes)
        png = draw_curves(ground.title, curves(by_method(outcomes)), {"noisy": noisy})
        write_bytes(options.work / f"table3-{ground.name}.png", png)


def lines_of(ground: Place, outcomes: Sequence[Outcome]) -> Iterator[list[object]]:
    """A line of the CSV for each look."""
    for each in outcomes:
        made_with = [each.trained.versions[name] for name in ("rawdenoise", "torch", "python")]
        for point in each.trained.curve:
            yield [
                ground.name, each.method, each.seed, point.crops, f"{point.psnr:.3f}", f"{each.noisy:.3f}",
                f"{each.trained.training_s:.1f}", *made_with,
            ]  # fmt: skip


def by_method(outcomes: Sequence[Outcome]) -> dict[str, list[Trained]]:
    """The trainings of each method, one per seed."""
    names = dict.fromkeys(each.method for each in outcomes)
    return {name: [each.trained for each in outcomes if each.method == name] for name in names}


def page(found: Found) -> str:
    """A table for each ground, and what it was made with."""
    parts = [table(ground, outcomes) for ground, outcomes in found.items() if outcomes]
    made_with = ", ".join(f"{name} {version}" for name, version in versions().items())
    return "\n\n".join([*parts, f"Made with {made_with}."]) + "\n"


def table(ground: Place, outcomes: Sequence[Outcome]) -> str:
    """A line per method: the best look once training has begun, and the end."""
    rows = []
    for method, trainings in by_method(outcomes).items():
        best = [max(trained.curve[1:], key=lambda point: point.psnr) for trained in trainings]
        highest, end = fmean(each.psnr for each in best), fmean(each.curve[-1].psnr for each in trainings)
        rows.append(
            [
                ROWS[method].title, f"{highest:.2f}", f"{fmean(each.crops for each in best):.0f}",
                f"{end:.2f}", f"{end - highest:+.2f}", f"{trainings[0].crops}",
                f"{fmean(each.training_s for each in trainings):.0f}",
            ]
        )  # fmt: skip
    head = f"{ground.title}, noisy {fmean(each.noisy for each in outcomes):.2f} dB"
    seeds = ", ".join(str(seed) for seed in sorted({each.seed for each in outcomes}))
    columns = [head, "best look, dB", "after crops", "end, dB", "lost, dB", "crops", "training s"]
    return f"{markdown(columns, rows)}\n\nSeeds {seeds}."
