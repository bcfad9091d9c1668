"""Table 1 of the papers: methods on sRGB pictures with Gaussian noise, beside what they have published."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

import torch
from commands import at_least
from gaussian import (
    REPEATS,
    Denoiser,
    Sigmas,
    TestSet,
    as_it_is,
    by_bm3d,
    by_net,
    digest,
    picture_source,
    score,
    unpaired_sources,
)
from methods import BM3D, NOISY, Ground, Method, answering, base, taught
from photographs import pictures_in
from sheets import Figures, check_drawing, comma_separated, draw_curves, markdown, tell
from trials import (
    ROWS,
    Kept,
    NotDoneError,
    Trained,
    Trial,
    asked_for,
    curves,
    in_order,
    passes,
    seeds_of,
    train,
    versions,
)

from rawdenoise.atomic import write_bytes
from rawdenoise.inference.devices import pick_device
from rawdenoise.nets import Network

LEFT_OUT = {f"paper-{gamma}" for gamma in (0, 1, 5, 10, 20)}  # unless they are asked for
COLUMNS = (
    "method", "net", "sigma", "set", "seed", "scores", "psnr_db", "ssim", "published_psnr_db",
    "published_ssim", "crops", "training_s", "rawdenoise", "torch", "python",
)  # fmt: skip

# dB and SSIM of Huang et al., Neighbor2Neighbor (CVPR 2021), as a public digest of its tables has them;
# theirs are U-Nets, trained on ImageNet.
SOURCE = "Neighbor2Neighbor (CVPR 2021), as digested in public"
PUBLISHED: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]] = {
    ("Kodak", "25"): {
        "supervised": (32.43, 0.884),
        "noise2noise": (32.41, 0.884),
        BM3D: (31.87, 0.868),
        "noise2void": (30.32, 0.821),
        "neighbor2neighbor": (32.08, 0.879),
    },
    ("BSD300", "25"): {
        "supervised": (31.05, 0.879),
        "noise2noise": (31.04, 0.878),
        BM3D: (30.48, 0.861),
        "noise2void": (29.34, 0.824),
        "neighbor2neighbor": (30.79, 0.873),
    },
    ("Set14", "25"): {
        "supervised": (31.40, 0.869),
        "noise2noise": (31.37, 0.868),
        BM3D: (30.88, 0.854),
        "noise2void": (28.84, 0.802),
        "neighbor2neighbor": (31.09, 0.864),
    },
    ("Kodak", "5-50"): {"neighbor2neighbor": (32.10, 0.870)},
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One method, trained once, on one test set."""

    method: str
    sigmas: Sigmas
    test: TestSet
    seed: int
    figures: Figures
    trained: Trained | None

    @property
    def key(self) -> tuple[object, ...]:
        """Tells it from others."""
        return self.method, self.sigmas, self.test, self.seed


def add_options(parser: argparse.ArgumentParser) -> None:
    """What this table has beside the others' options."""
    parser.add_argument("--train", type=Path, metavar="DIR", required=True, help="pictures to train on")
    parser.add_argument(
        "--test", nargs="+", metavar="NAME=DIR", required=True, help="Kodak=DIR BSD300=DIR ..."
    )
    parser.add_argument("--sigma", nargs="+", type=Sigmas.parse, default=[Sigmas(25, 25), Sigmas(5, 50)])
    parser.add_argument(
        "--repeats", type=at_least(1), help="of every test set; else 10, 3, 20 as in the papers"
    )
    parser.add_argument("--bm3d", action="store_true", help="BM3D, if its package is there (slow)")
    parser.add_argument(
        "--looks",
        type=at_least(0),
        default=0,
        help="at a network in training, at the first test set; drawn as PNG",
    )


def run(options: argparse.Namespace) -> None:
    """Do what is missing, and write the table after each method."""
    if options.looks:
        check_drawing()
    tests, cells = list(test_sets(options)), {}
    wanted = asked_for(options.only, LEFT_OUT, bm3d=options.bm3d)
    for kept, methods in passes(options.work, wanted):
        for sigmas, method in product(options.sigma, methods):
            for seed in seeds_of(method, options.seeds):
                with suppress(NotDoneError):
                    for cell in carried_out(method, sigmas, seed, tests, kept, options):
                        cells[cell.key] = cell
                if not kept.frozen:
                    write(in_order(cells.values()), options)
    print(page(in_order(cells.values()), options))


def test_sets(options: argparse.Namespace) -> Iterator[TestSet]:
    """Read NAME=DIR."""
    for text in options.test:
        name, found, folder = text.partition("=")
        if not found:
            raise SystemExit(f"--test {text}: it has the form NAME=DIR")
        yield TestSet(name, Path(folder), options.repeats or REPEATS.get(name, 1), options.test_images)


def carried_out(
    method: str,
    sigmas: Sigmas,
    seed: int,
    tests: Sequence[TestSet],
    kept: Kept,
    options: argparse.Namespace,
) -> Iterator[Cell]:
    """Train if the method asks for it, and test on every set; what is there is taken as it is."""
    trained, name, device = None, f"{method}.sigma-{sigmas}", pick_device(options.device)
    teacher = taught(method, ROWS)
    if ROWS[teacher].objective is not None:
        seen = replace(tests[0], repeats=1)
        trial = Trial(
            f"sRGB, sigma {sigmas}, pictures {digest(pictures_in(options.train))}", teacher, options.net,
            seed, options.crops, options.minutes, options.batch, options.crop, options.looks, seen.digest,
        )  # fmt: skip
        source = partial(ground, options.train, sigmas, ROWS[teacher])
        look = partial(looked, seen, sigmas, device) if options.looks else None
        trained = train(trial, kept, source, device=options.device, look=look)
        denoise = by_net(answering(ROWS[method], kept.net(trial)), device)
        name = trial.name + (".mean" if ROWS[method].mean else "")
    elif (kind := ROWS[method].base) is not None:
        if (model := base(kind)) is None:
            return
        denoise = by_net(model.net, device, of_cameras=True)
        name = f"{name}.{model.card.weights_sha256[:8]}"
    else:
        denoise = {NOISY: as_it_is, BM3D: by_bm3d}[method]
    for test in tests:
        figures = tested(f"{name}.{test.digest}", test, sigmas, denoise, kept)
        yield Cell(method, sigmas, test, seed, figures, trained)


def looked(test: TestSet, sigmas: Sigmas, device: torch.device, net: Network) -> float:
    """PSNR in dB of a network in training."""
    return score(test, sigmas, by_net(net, device)).mean_psnr


def ground(folder: Path, sigmas: Sigmas, method: Method) -> Ground:
    """What a method is trained on."""
    if method.distilled:
        return Ground(*unpaired_sources(folder, sigmas))
    return Ground(picture_source(folder, sigmas, method.target))


def tested(name: str, test: TestSet, sigmas: Sigmas, denoise: Denoiser, kept: Kept) -> Figures:
    """Test, or take what is there."""
    found = kept.figures(name)
    if found is None:
        start = time.monotonic()
        found = score(test, sigmas, denoise)
        kept.save_figures(name, found, test=test.name, tested_s=time.monotonic() - start)
        tell(f"{name}: {found.mean_psnr:.2f} dB, {found.mean_ssim:.4f}")
    return found


# ---------------------------------------------------------------- on paper


def write(cells: Sequence[Cell], options: argparse.Namespace) -> None:
    """Write the table as far as it is."""
    write_bytes(options.work / "table1.csv", comma_separated(COLUMNS, map(partial(line, options), cells)))
    write_bytes(options.work / "table1.md", page(cells, options).encode())
    for sigmas in options.sigma if options.looks else ():
        trainings = {}
        for cell in cells:
            if cell.trained and cell.sigmas == sigmas and cell.test.name == cells[0].test.name:
                trainings.setdefault(cell.method, []).append(cell.trained)
        levels = {
            f"{ROWS[method].title}, published": known[0]
            for method, known in PUBLISHED.get((cells[0].test.name, str(sigmas)), {}).items()
            if method == "supervised"
        }
        if drawn := curves(trainings):
            png = draw_curves(f"{cells[0].test.name}, sigma {sigmas}", drawn, levels)
            write_bytes(options.work / f"table1-sigma-{sigmas}.png", png)


def line(options: argparse.Namespace, cell: Cell) -> list[object]:
    """A line of the CSV."""
    psnr, ssim = PUBLISHED.get((cell.test.name, str(cell.sigmas)), {}).get(cell.method, ("", ""))
    net = options.net if cell.trained else ""
    took = [cell.trained.crops, f"{cell.trained.training_s:.1f}"] if cell.trained else ["", ""]
    made_with = cell.trained.versions if cell.trained else versions()
    return [
        cell.method, net, str(cell.sigmas), cell.test.name, cell.seed if cell.trained else "",
        len(cell.figures.psnr), f"{cell.figures.mean_psnr:.3f}", f"{cell.figures.mean_ssim:.5f}", psnr, ssim,
        *took, *(made_with[name] for name in ("rawdenoise", "torch", "python")),
    ]  # fmt: skip


def page(cells: Sequence[Cell], options: argparse.Namespace) -> str:
    """The table of each sigma, and what it was made with."""
    budget = f"{options.crops} crops" if options.crops is not None else f"{options.minutes:g} minutes"
    seeds = ", ".join(str(seed) for seed in options.seeds)
    parts = [
        f"Network {options.net}, {budget} of {options.crop}x{options.crop} pixels in batches of "
        f"{options.batch}, seeds {seeds}; mean over the scores of a test set."
    ]
    for sigmas in options.sigma:
        here = [cell for cell in cells if cell.sigmas == sigmas]
        if here:
            parts.append(table(sigmas, here))
    made_with = ", ".join(f"{name} {version}" for name, version in versions().items())
    parts.append(f"Published: {SOURCE}.\n\nMade with {made_with}.")
    return "\n\n".join(parts) + "\n"


def table(sigmas: Sigmas, cells: Sequence[Cell]) -> str:
    """A line per method, three columns per test set."""
    tests = list(dict.fromkeys(cell.test for cell in cells))
    head = [f"sigma {sigmas}"]
    for test in tests:
        scores = next(len(cell.figures.psnr) for cell in cells if cell.test == test)
        head += [f"{test.name} ({scores} scores), dB", "SSIM", "published"]
    rows = []
    for method in dict.fromkeys(cell.method for cell in cells):
        row, mine = [ROWS[method].title], [cell for cell in cells if cell.method == method]
        for test in tests:
            seen = [cell.figures for cell in mine if cell.test == test]
            known = PUBLISHED.get((test.name, str(sigmas)), {}).get(method)
            row += [
                spread([figures.mean_psnr for figures in seen]),
                f"{fmean(figures.mean_ssim for figures in seen):.4f}",
                f"{known[0]:.2f}, {known[1]:.3f}" if known else "",
            ]
        trained = [cell.trained for cell in mine if cell.trained]
        took = (
            [str(trained[0].crops), f"{fmean(each.training_s for each in trained):.0f}"]
            if trained
            else ["", ""]
        )
        rows.append([*row, *took])
    return markdown([*head, "crops", "training s"], rows)


def spread(values: Sequence[float]) -> str:
    """The mean, and how far seeds lie apart where there are several."""
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
