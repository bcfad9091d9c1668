"""Tables 1 and 3 of the papers: sRGB pictures with Gaussian noise, and gamma in GR2R's loss as published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import click
from lab.cameras import camera_place
from lab.captures import CAMERAS, Conditions, Knowledge, Sources
from lab.compare import COLUMNS, Budget, Cell, Place, Run, by_method, compare, crops_and_time, psnr_and_ssim
from lab.data import digest, pictures_in
from lab.methods import BM3D, GAMMAS, GR2R, METHODS, NOISY, PAPERS, Ground
from lab.pictures import Sigmas, TestSet, picture_source, picture_test
from lab.report import Page, draw_curves, markdown
from lab.store import Lab, made_with
from lab.table import COUNT, FOLDER, TEST_IMAGES, WITH_BM3D, Words, budget_options, on_cameras, option, table
from lab.trials import Looks, mean_curves

LEFT_OUT = {f"paper-{gamma}" for gamma in (0, 1, 5, 10, 20)}  # unless they are asked for
SRGB, CAMERA = "srgb", "camera"
WITH_GAMMAS = (*(f"paper-{gamma}" for gamma in GAMMAS), GR2R, "supervised")
LOOK_COLUMNS = ("on", "method", "seed", "crops", "psnr_db", "noisy_db", "training_s")

# dB and SSIM of Huang et al., Neighbor2Neighbor (CVPR 2021), as a public digest of its tables has them;
# theirs are U-Nets, trained on ImageNet.
SOURCE = "Neighbor2Neighbor (CVPR 2021), as digested in public"
PUBLISHED: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]] = {
    ("Kodak", "25"): {
        "supervised": (32.43, 0.884), "noise2noise": (32.41, 0.884), BM3D: (31.87, 0.868),
        "noise2void": (30.32, 0.821), "neighbor2neighbor": (32.08, 0.879),
    },
    ("BSD300", "25"): {
        "supervised": (31.05, 0.879), "noise2noise": (31.04, 0.878), BM3D: (30.48, 0.861),
        "noise2void": (29.34, 0.824), "neighbor2neighbor": (30.79, 0.873),
    },
    ("Set14", "25"): {
        "supervised": (31.40, 0.869), "noise2noise": (31.37, 0.868), BM3D: (30.88, 0.854),
        "noise2void": (28.84, 0.802), "neighbor2neighbor": (31.09, 0.864),
    },
    ("Kodak", "5-50"): {"neighbor2neighbor": (32.10, 0.870)},
}  # fmt: skip


def pictures_place(folder: Path, sigma: Sigmas, tests: Sequence[TestSet], device: str) -> Place:
    """SRGB pictures with Gaussian noise."""
    return Place(
        f"sRGB, sigma {sigma}",
        f"sRGB, sigma {sigma}, pictures {digest(pictures_in(folder))}",
        lambda method, seed: Ground.of(picture_source(folder, sigma, METHODS[method].target), method),
        [picture_test(test, sigma, device) for test in tests],
    )


@table("table1", {
    "docs/quality.md: sigma 25": "--sigma 25 --repeats 1 --threads 1 --crops 60000",
    "docs/quality.md: sigma 5-50": "--sigma 5-50 --repeats 1 --threads 1 --crops 20000",
    "docs/quality.md: kodak.png":
        "--sigma 25 --repeats 1 --threads 1 --only supervised --crops 300000 --looks 12",
})  # fmt: skip
@budget_options(PAPERS)
@TEST_IMAGES
@WITH_BM3D
@option("--train", "folder", type=FOLDER, help="to train on  [default: srgb/bsds500 of --data]")
@option("--test", "tests", type=Words(of=TestSet.parse), metavar="NAME=DIR,..", help="Kodak=DIR,BSD300=DIR")
@option("--sigma", "sigmas", type=Words(of=Sigmas.parse), default=(Sigmas(25, 25), Sigmas(5, 50)))
@option("--repeats", type=COUNT, help="of every test set; else 10, 3, 20 as in the papers")
@option("--looks", type=click.IntRange(min=0), default=0, help="at a network in training, drawn as SVG")
def table1(
    lab: Lab, budget: Budget, folder: Path | None, tests: Sequence[TestSet] | None, sigmas: Sequence[Sigmas],
    repeats: int | None, looks: int, test_images: int | None, bm3d: bool,
) -> Page:  # fmt: skip
    """Methods on sRGB pictures with Gaussian noise, as in table 1 of the papers, in our loop.

    At the papers' scale, on a GPU, with some 30 GB of memory for the pictures: --train IMAGENET_VAL
    --net paper --crops 5000000 --batch 4 --crop 256 --device cuda.
    """
    folder = folder or lab.bsds
    tests = [
        replace(test, repeats=repeats or test.repeats, images=test_images)
        for test in tests or [TestSet.parse(f"Kodak={lab.kodak}")]
    ]
    parts = [
        f"Network {budget.net}, {budget} of {budget.crop}x{budget.crop} pixels in batches of "
        f"{budget.batch}, {budget.all_seeds}; mean over the scores of a test set."
    ]
    lines, pictures = [], {}
    for sigma in sigmas:
        place = pictures_place(folder, sigma, tests, lab.device)
        once = picture_test(replace(tests[0], repeats=1), sigma, lab.device)
        cells: list[Cell] = []
        for run in budget.runs(PAPERS, LEFT_OUT, bm3d=bm3d):
            cells += compare(lab, place, run, budget, looks_with(place, once, run.seed, budget, looks))
        published = {test.name: PUBLISHED.get((test.name, f"{sigma}"), {}) for test in tests}
        lines += [cell.line(budget.net, published[cell.test].get(cell.method, ("", ""))) for cell in cells]
        if cells:
            parts.append(_sigma_table(sigma, by_method(cells), published))
        if curves := _curves([cell for cell in cells if looks and cell.test == tests[0].name]):
            bar = published[tests[0].name].get("supervised")
            levels = {"supervised, published": bar[0]} if bar else {}
            svg = draw_curves(f"{tests[0].name}, sigma {sigma}", curves, levels)
            pictures[f"table1-sigma-{sigma}"] = svg
    return Page("\n\n".join([*parts, f"Published: {SOURCE}.", made_with()]), [COLUMNS, *lines], pictures)


def _sigma_table(
    sigma: Sigmas, cells: Mapping[str, list[Cell]], published: Mapping[str, Mapping[str, tuple[float, float]]]
) -> str:
    """A line per method, three columns per test set."""
    head, rows = [f"sigma {sigma}"], []
    for test in published:
        scores = [len(cell.figures.psnr) for mine in cells.values() for cell in mine if cell.test == test]
        head += [f"{test} ({max(scores)} scores), dB", "SSIM", "published"]
    for method, mine in cells.items():
        row = [METHODS[method].title]
        for test, of_test in published.items():
            known = of_test.get(method)
            row += psnr_and_ssim([cell for cell in mine if cell.test == test])
            row.append(f"{known[0]:.2f}, {known[1]:.3f}" if known else "")
        rows.append([*row, *crops_and_time(method, mine)])
    return markdown([*head, "crops", "training s"], rows)


@table("table3", {
    "docs/quality.md: table 3 on a camera, gamma.png; README.md":
        "--on camera --crops 12000 --test-images 6 --threads 1",
    "docs/quality.md: table 3 on pictures": "--on srgb --crops 8000 --test-images 6 --threads 1",
})  # fmt: skip
@on_cameras(WITH_GAMMAS)
@option("--on", type=Words((SRGB, CAMERA)), default=(SRGB, CAMERA))
@option("--camera", type=click.Choice(list(CAMERAS)), default="IMX385")
@option("--sigma", "sigmas", type=Words(of=Sigmas.parse), default=(Sigmas(25, 25),))
@option("--looks", type=COUNT, default=12, help="at the network during a training")
def table3(
    lab: Lab, budget: Budget, sources: Sources, on: Sequence[str], camera: str, captures: int,
    sigmas: Sequence[Sigmas], looks: int, test_images: int | None,
) -> Page:  # fmt: skip
    """Gamma in GR2R's loss as published, as in table 3 of the paper: what becomes of it in a training."""
    usual = Conditions(camera, captures=captures, knowledge=Knowledge.CALIBRATED)
    seen = TestSet("looks", sources.test, images=test_images)
    places = {
        SRGB: pictures_place(sources.train, sigmas[0], [seen], lab.device),
        CAMERA: camera_place(usual, sources, lab.device, images=test_images, gain=False),
    }
    parts, lines, pictures = [], [], {}
    for name, place in ((name, places[name]) for name in on):
        place = replace(place, tests=place.tests[-1:])  # a camera is looked at at its highest ISO
        noisy = [*compare(lab, place, Run(NOISY, budget.seeds[0]), budget)]
        cells: list[Cell] = []
        for run in budget.runs(WITH_GAMMAS, (), bm3d=False):
            look = looks_with(place, place.tests[0], run.seed, budget, looks)
            cells += (c for c in compare(lab, place, run, budget, look) if c.trained and c.trained.curve)
        if not cells or not noisy:
            continue
        level = noisy[0].figures.mean_psnr
        title = place.title if name == SRGB else f"{place.title}, {place.tests[0].name}"
        parts.append(_looks_table(f"{title}, noisy {level:.2f} dB", by_method(cells)))
        parts.append(f"{budget.all_seeds.capitalize()}.")
        lines += (line for cell in cells for line in _look_lines(name, cell, level))
        pictures[f"table3-{name}"] = draw_curves(title, _curves(cells), {"noisy": level})
    return Page("\n\n".join([*parts, made_with()]), [LOOK_COLUMNS, *lines], pictures)


def looks_with(place: Place, test: Any, seed: int, budget: Budget, number: int) -> Looks | None:
    """Looks at a training with a test; which method it is makes no difference to how its network is used."""
    trial = budget.trial(place.identity, GR2R, seed)
    look = partial(test.run, GR2R, trial)
    return Looks(number, test.identity, lambda net: look(net).mean_psnr) if number else None


def _curves(cells: Sequence[Cell]) -> Mapping[str, Sequence[tuple[float, float]]]:
    """A curve per method, the mean over its trainings."""
    trained = by_method([cell for cell in cells if cell.trained])
    return mean_curves({method: [cell.trained for cell in mine] for method, mine in trained.items()})


def _look_lines(on: str, cell: Cell, noisy: float) -> Iterator[list[object]]:
    """A line for programs for each look."""
    for crops, psnr in cell.trained.curve if cell.trained else ():
        took = f"{cell.trained.training_s:.1f}" if cell.trained else ""
        yield [on, cell.method, cell.seed, crops, f"{psnr:.3f}", f"{noisy:.3f}", took]


def _looks_table(head: str, cells: Mapping[str, list[Cell]]) -> str:
    """A line per method: the best look once training has begun, and the end."""
    rows = []
    for method, mine in cells.items():
        curves = [cell.trained.curve for cell in mine if cell.trained]
        best = [max(curve[1:], key=lambda point: point[1]) for curve in curves]
        highest, end = fmean(psnr for _, psnr in best), fmean(curve[-1][1] for curve in curves)
        rows.append([
            METHODS[method].title, f"{highest:.2f}", f"{fmean(crops for crops, _ in best):.0f}", f"{end:.2f}",
            f"{end - highest:+.2f}", *crops_and_time(method, mine),
        ])  # fmt: skip
    columns = [head, "best look, dB", "after crops", "end, dB", "lost, dB", "crops", "training s"]
    return markdown(columns, rows)
