"""Every way to denoise on simulated cameras, whose clean mosaics are known; and with something wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import click
import numpy as np
from lab.cameras import camera_place
from lab.captures import CAMERAS, Conditions, Knowledge, Sources, tested_isos
from lab.compare import COLUMNS, Budget, Cell, Run, by_method, compare, crops_and_time, psnr_and_ssim
from lab.methods import BLIND2UNBLIND, BM3D, FROM_BASE, GR2R, GUARDED, METHODS, NOISY, SELF2SELF
from lab.report import Page, markdown
from lab.store import Lab, made_with
from lab.table import COUNT, WITH_BM3D, Words, on_cameras, option, table

MORE_STEPS = 10
FACTORS = (0.5, 0.8, 1.2, 1.5)
LONG_TAIL, STRONG_ROWS = -0.2, 4.0
CHECKS = ("steps", "variance", "tails", "rows")
# One method should be at least so many dB above another, on the images both have denoised.
CLAIMS = (
    (GUARDED, "supervised", -0.1),
    (GUARDED, "neighbor2neighbor", 0.25),
    (FROM_BASE, "base-fast", 0.0),
    ("unpaired", "d-bsn", 0.3),
    ("unpaired", "supervised", -0.15),
    ("base-fast", BM3D, 0.0),
    ("base-best", BM3D, 0.0),
    (FROM_BASE, BM3D, 0.5),
)

Cells = Mapping[str, list[Cell]]  # by method, of one camera


@table("quality", {
    "docs/quality.md, methods.md, README.md: simulated cameras, claims":
        "--noise calibrated --crops 8000 --base-minutes 6 --bm3d --bm3d-images 6 --threads 1",
    "docs/quality.md: believing in half the variance":
        "--noise calibrated --crops 8000 --variance-factor 0.5 --only guarded,unpaired,unpaired-learned",
    "docs/methods.md: Self2Self": "--noise calibrated --crops 8000 --only self2self --self2self-images 1",
})  # fmt: skip
@on_cameras(METHODS)
@WITH_BM3D
@option("--cameras", type=Words(CAMERAS), default=tuple(CAMERAS))
@option("--noise", type=click.Choice([kind.value for kind in Knowledge]), default=Knowledge.BLIND.value)
@option("--variance-factor", default=1.0, help="falsifies the noise model")
@option("--base-minutes", default=10.0, help="budget from the base")
@option("--bm3d-images", type=COUNT, help="BM3D on the first so many test images only")
@option("--self2self-images", type=COUNT, help="Self2Self on the first so many only")
def quality(
    lab: Lab, budget: Budget, sources: Sources, captures: int, cameras: Sequence[str],
    noise: str, variance_factor: float, base_minutes: float, test_images: int | None, bm3d: bool,
    bm3d_images: int | None, self2self_images: int | None,
) -> Page:  # fmt: skip
    """Every way to denoise on simulated cameras, whose clean mosaics are known: tables and claims.

    Each camera takes captures of photographs over its ISOs, is trained on those with each method, and tested
    on captures of other photographs. PSNR and SSIM are means over the test images, of planes between black
    (0) and white (1).
    """
    slow = {GR2R, BLIND2UNBLIND, SELF2SELF}  # shown where they are there
    cells: dict[str, Cells] = {}
    from_base = replace(budget, crops=None, minutes=base_minutes)
    few = {BM3D: bm3d_images, SELF2SELF: self2self_images}
    for camera in cameras:
        usual = Conditions(camera, 0, captures, Knowledge(noise), variance_factor=variance_factor)
        of_camera = []
        for run in budget.runs(METHODS, slow, bm3d=bm3d):
            place = camera_place(usual, sources, lab.device, images=few.get(run.method) or test_images)
            of_camera += compare(lab, place, run, from_base if METHODS[run.method].base else budget)
        if of_camera:
            cells[camera] = by_method(of_camera)
    times = "" if variance_factor == 1 else f" times {variance_factor:g}"
    setting = (
        f"{captures} captures, {budget} from nothing, {base_minutes:g} minutes from the base, "
        f"noise model {noise}{times}, {budget.all_seeds}."
    )
    tables = [_camera_table(camera, of_camera) for camera, of_camera in cells.items()]
    text = "\n\n".join([setting, *tables, _claims(cells), made_with()])
    every = (cell for of_camera in cells.values() for mine in of_camera.values() for cell in mine)
    return Page(text, [COLUMNS, *(cell.line(budget.net) for cell in every)])


def _camera_table(camera: str, cells: Cells) -> str:
    """A table of one camera: a line per method, three columns per ISO."""
    tests, rows = [f"ISO {iso}" for iso in tested_isos(camera)], []
    most = max(len(mine[0].figures.psnr) for mine in cells.values())
    for method, mine in cells.items():
        images = len(mine[0].figures.psnr)
        row = [METHODS[method].title + (f" (first {images} images)" if images < most else "")]
        for test in tests:
            here = [cell for cell in mine if cell.test == test]
            gains = [c.figures.estimated_gain_db for c in here if c.figures.estimated_gain_db is not None]
            row += [*psnr_and_ssim(here), f"{np.mean(gains):+.2f}" if gains else ""]
        rows.append([*row, *crops_and_time(method, mine)])
    columns = [column for test in tests for column in (f"{test}, dB", "SSIM", "estimated gain")]
    return markdown([camera, *columns, "crops", "training s"], rows)


def _claims(cells: Mapping[str, Cells]) -> str:
    """What should hold, in dB at each camera and ISO, and whether it does."""
    places = [(camera, f"ISO {iso}") for camera in cells for iso in tested_isos(camera)]
    rows = []
    for method, other, target in CLAIMS:
        values = [_difference(cells[camera], method, other, test) for camera, test in places]
        if known := [value for value in values if value is not None]:
            shown = ["" if value is None else f"{value:+.2f}" for value in values]
            words = f"{METHODS[method].title} - {METHODS[other].title}"
            holds = f"{sum(value >= target for value in known)} of {len(known)}"
            rows.append([words, f">= {target:+.2f}", *shown, holds])
    columns = (f"{camera} {test.removeprefix('ISO ')}" for camera, test in places)
    return markdown(["claim", "target", *columns, "holds"], rows)


def _difference(cells: Cells, method: str, other: str, test: str) -> float | None:
    """By how many dB a method is better than another, over the images both have denoised."""
    one, two = (
        [value for cell in cells.get(name, ()) if cell.test == test for value in cell.figures.psnr]
        for name in (method, other)
    )
    common = min(len(one), len(two))
    return float(np.mean(one[:common]) - np.mean(two[:common])) if common else None


# ---------------------------------------------------------------- with something wrong


@dataclass(frozen=True, slots=True)
class Case:
    """A line of a table, and how many lines above it is the one it is compared with, if any."""

    title: str
    conditions: Conditions
    above: int = 0
    method: str = GUARDED
    steps: int = 1


@table("robustness", {
    "docs/quality.md: variance": "--checks variance --crops 4000 --test-images 8",
    "docs/quality.md: longer tails and stronger rows": "--checks tails,rows --crops 4000 --test-images 8",
    "docs/quality.md: ten times the steps": "--checks steps --crops 2000 --test-images 8",
})  # fmt: skip
@on_cameras(METHODS)
@option("--camera", type=click.Choice(list(CAMERAS)), default="A7S2")
@option("--checks", type=Words(CHECKS), default=CHECKS)
def robustness(
    lab: Lab, budget: Budget, sources: Sources, captures: int, test_images: int | None,
    camera: str, checks: Sequence[str],
) -> Page:  # fmt: skip
    """What becomes of guarded training when something is wrong: too many steps, or a noise model that is off.

    Captures and trainings are those of `quality`; but what is right here is the true noise model. What is
    wrong with it is so in training and in the test alike. Steps: the same options with ten times the crops,
    also without the guard, and for GR2R as published. Variance: all variances times so much. Tails: read
    noise with much longer tails, of the same deviation. Rows: row noise four times as strong.
    """
    right = Conditions(camera, 0, captures, Knowledge.TRUE)
    parts = [f"{camera}, {captures} captures, {budget}, {budget.all_seeds}."]
    for check in checks:
        rows, means = [], []
        for case in _cases(check, right):
            place = camera_place(case.conditions, sources, lab.device, images=test_images)
            given = replace(budget, crops=case.steps * (budget.crops or 0) or None)
            cells = [c for seed in budget.seeds for c in compare(lab, place, Run(case.method, seed), given)]
            psnr = [[c.figures.mean_psnr for c in cells if c.test == one.name] for one in place.tests]
            means.append([float(np.mean(values)) for values in psnr] if cells else [])
            if cells:
                apart = zip(means[-1], means[-1 - case.above], strict=False) if case.above else ()
                gains = [f"{mean - other:+.2f}" for mean, other in apart] or [""] * len(psnr)
                took = crops_and_time(case.method, cells)[0]
                rows.append([case.title, took, *(f"{mean:.2f}" for mean in means[-1]), *gains])
        isos = tested_isos(camera)
        head = [check, "crops", *(f"ISO {iso}, dB" for iso in isos), *(f"difference, {iso}" for iso in isos)]
        parts.append(markdown(head, rows))
    return Page("\n\n".join(parts))


def _cases(check: str, right: Conditions) -> Iterator[Case]:
    """The lines of one check; those of the same captures and noise model stand together."""
    if check == "steps":
        yield Case("noisy", right, method=NOISY)
        for method in (GUARDED, GR2R, "paper-2"):
            title = METHODS[method].title
            yield Case(f"{title}, once", right, method=method)
            yield Case(f"{title}, x{MORE_STEPS}", right, 1, method, MORE_STEPS)
    elif check == "variance":
        yield Case("true", right)
        for above, factor in enumerate(FACTORS, 1):
            yield Case(f"variance x{factor:g}", replace(right, variance_factor=factor), above)
        blind = replace(right, knowledge=Knowledge.BLIND)
        yield Case("estimated from the captures", blind, 1 + len(FACTORS))
    else:
        changed, wrong, title = {
            "tails": (replace(right, tail=LONG_TAIL), Knowledge.GAUSSIAN, "taken for Gaussian"),
            "rows": (replace(right, row_factor=STRONG_ROWS), Knowledge.ROWLESS, "rows not known of"),
        }[check]
        yield Case("noisy", changed, method=NOISY)
        yield Case("true", changed)
        yield Case(title, replace(changed, knowledge=wrong), 1)
        yield Case("estimated from the captures", replace(changed, knowledge=Knowledge.BLIND), 2)
