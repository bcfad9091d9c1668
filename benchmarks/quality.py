"""How well each way to denoise does on simulated cameras, whose clean mosaics are known: tables and claims.

    python benchmarks/quality.py --published JSON --train DIR --test DIR --work DIR
        [--cameras A7S2 ...] [--only METHOD ...] [--crops 24000] [--base-minutes 10] [--seed 0]
        [--noise blind|calibrated|true] [--variance-factor 1] [--captures 40]
        [--bm3d] [--bm3d-images N] [--self2self-images N] [--threads N] [--device auto]
    python benchmarks/quality.py --work DIR --table | --markdown [...]
    python benchmarks/quality.py ... --strips DIR [--strip-image 0]

Each camera takes 40 captures of photographs (ten of them side by side in each) over its ISOs, is trained on
those with each method, and tested on captures of other photographs. Every result is a file in the work
folder: the same command goes on where it was stopped, and two of them may share the folder if they do
different methods or cameras. After a change to the code, start with a new folder. PSNR and SSIM are means
over the test images, of planes between black (0) and white (1).
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from commands import at_least, ended_in_a_line
from experiments import Experiment, Result, Results, perform, possible
from methods import BLIND2UNBLIND, BM3D, FROM_BASE, GUARDED, METHODS, SELF2SELF, UNGUARDED
from simulated import CAMERAS, Conditions, Knowledge, Sources
from strips import write_strip

from rawdenoise.atomic import write_bytes

Found = Mapping[str, Result]  # by method, of one camera


@dataclass(frozen=True, slots=True)
class Claim:
    """One method should be at least `target` dB above another, on the images both have denoised."""

    method: str
    other: str
    target: float


CLAIMS = (
    Claim(GUARDED, "supervised", -0.1),
    Claim(GUARDED, "neighbor2neighbor", 0.25),
    Claim(FROM_BASE, "base-fast", 0.0),
    Claim("unpaired", "d-bsn", 0.3),
    Claim("unpaired", "supervised", -0.15),
    Claim("base-fast", BM3D, 0.0),
    Claim("base-best", BM3D, 0.0),
    Claim(FROM_BASE, BM3D, 0.5),
)


def main() -> None:
    """Do what is missing, and print the tables."""
    options = parse()
    torch.set_num_threads(options.threads)
    results = Results(options.work)
    wanted = {camera: list(possible(experiments(camera, options))) for camera in options.cameras}
    sources = Sources(options.published, options.train, options.test)
    if not options.table:
        with ended_in_a_line():
            for planned in wanted.values():
                perform(planned, results, sources, device=options.device)
    found = {
        camera: {each.method: result for each in wanted[camera] if (result := results.find(each)) is not None}
        for camera in options.cameras
    }
    if options.markdown:
        print(f"{setting(options)}\n")
    for camera, each in found.items():
        if each:
            print(f"{table(camera, each)}\n")
    print(claims(found))
    write_bytes(options.work / "quality.csv", comma_separated(found).encode())
    if options.strips:
        for planned in wanted.values():
            write_strip(planned, results, sources, options.strips, image=options.strip_image)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_shared(parser)
    parser.add_argument("--cameras", nargs="+", choices=CAMERAS, default=list(CAMERAS))
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="METHOD", help=", ".join(METHODS))
    parser.add_argument("--noise", type=Knowledge, choices=list(Knowledge), default=Knowledge.BLIND)
    parser.add_argument("--variance-factor", type=float, default=1.0, help="falsifies the noise model")
    parser.add_argument("--base-minutes", type=float, default=10.0, help="budget from the base")
    parser.add_argument("--bm3d", action="store_true", help="BM3D, if its package is there (slow)")
    parser.add_argument("--bm3d-images", type=at_least(1), help="BM3D on the first so many test images only")
    parser.add_argument("--self2self-images", type=at_least(1), help="Self2Self on the first so many only")
    parser.add_argument("--strips", type=Path, metavar="DIR", help="write a picture per camera")
    parser.add_argument("--strip-image", type=int, default=0, help="which test image it shows")
    options = parser.parse_args()
    check_shared(parser, options, needed=options.strips is not None)
    return options


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Options that other tables of such experiments have as well."""
    parser.add_argument("--published", type=Path, metavar="JSON", help="published calibrations")
    parser.add_argument("--train", type=Path, metavar="DIR", help="photographs to train on")
    parser.add_argument("--test", type=Path, metavar="DIR", help="photographs to test with")
    parser.add_argument("--work", type=Path, metavar="DIR", required=True, help="where results are kept")
    parser.add_argument("--crops", type=at_least(1), default=24_000, help="budget of a training from nothing")
    parser.add_argument("--captures", type=at_least(1), default=40, help="captures to train on")
    parser.add_argument("--test-images", type=at_least(1), help="the first so many test images only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=at_least(1), default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    parser.add_argument("--markdown", action="store_true", help="as --table, with the settings above it")


def check_shared(parser: argparse.ArgumentParser, options: argparse.Namespace, *, needed: bool) -> None:
    """Ask for what captures are made of, where any have to be taken."""
    options.table |= options.markdown
    missing = [name for name in ("published", "train", "test") if getattr(options, name) is None]
    if missing and (needed or not options.table):
        parser.error(f"captures are made of --{', --'.join(missing)}")


def experiments(camera: str, options: argparse.Namespace) -> Iterator[Experiment]:
    """All that is asked for of one camera."""
    conditions = Conditions(
        camera, options.seed, options.captures, options.noise, variance_factor=options.variance_factor
    )
    slow = {BLIND2UNBLIND, SELF2SELF, *(() if options.bm3d else (BM3D,))}  # shown where they are there
    left_out = {UNGUARDED, *(() if options.table else slow)}
    for name, method in METHODS.items():
        images = options.test_images
        if name not in options.only if options.only else name in left_out:
            continue
        if name == BM3D:
            yield Experiment(conditions, name, test_images=options.bm3d_images or images)
        elif name == SELF2SELF:
            few = options.self2self_images
            yield Experiment(conditions, name, crops=options.crops, test_images=few or images)
        elif method.objective is None and method.as_trained is None:
            yield Experiment(conditions, name, test_images=images)
        elif method.base is not None:
            yield Experiment(conditions, name, minutes=options.base_minutes, test_images=images)
        else:
            yield Experiment(conditions, name, crops=options.crops, test_images=images)


# ---------------------------------------------------------------- tables


def setting(options: argparse.Namespace) -> str:
    """What the tables were made with, in a sentence."""
    factor = "" if options.variance_factor == 1 else f" times {options.variance_factor:g}"
    return (
        f"{options.captures} captures, {options.crops} crops from nothing, {options.base_minutes:g} minutes "
        f"from the base, noise model {options.noise}{factor}, seed {options.seed}."
    )


def table(camera: str, found: Found) -> str:
    """A table of one camera: a line per method, three columns per ISO."""
    isos = CAMERAS[camera].tested
    head = [
        f"{camera}",
        *(cell for iso in isos for cell in (f"ISO {iso}, dB", "SSIM", "estimated gain")),
        "crops",
        "training s",
    ]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    most = max((len(each.isos[isos[0]].psnr) for each in found.values()), default=0)
    for name, result in found.items():
        images = len(result.isos[isos[0]].psnr)
        cells = [METHODS[name].title + (f" (first {images} images)" if images < most else "")]
        for iso in isos:
            figures = result.isos[iso]
            gain = figures.estimated_gain_db
            cells += [
                f"{figures.mean_psnr:.2f}", f"{figures.mean_ssim:.4f}", "" if gain is None else f"{gain:+.2f}"
            ]  # fmt: skip
        trained = [f"{result.images}", f"{result.training_s:.0f}"] if result.images else ["", ""]
        lines.append(f"| {' | '.join(cells + trained)} |")
    return "\n".join(lines)


def claims(found: Mapping[str, Found]) -> str:
    """What should hold, in dB at each camera and ISO, and whether it does; empty where nothing is known."""
    places = [(camera, iso) for camera in found for iso in CAMERAS[camera].tested]
    head = ["claim", "target", *(f"{camera} {iso}" for camera, iso in places), "holds"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for claim in CLAIMS:
        values = [difference(found[camera], claim, iso) for camera, iso in places]
        known = [value for value in values if value is not None]
        if not known:
            continue
        kept = sum(value >= claim.target for value in known)
        cells = ["" if value is None else f"{value:+.2f}" for value in values]
        words = f"{METHODS[claim.method].title} - {METHODS[claim.other].title}"
        lines.append(f"| {words} | >= {claim.target:+.2f} | {' | '.join(cells)} | {kept} of {len(known)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def difference(found: Found, claim: Claim, iso: int) -> float | None:
    """By how many dB a method is better than another, over the images both have denoised."""
    if claim.method not in found or claim.other not in found:
        return None
    one, other = (found[name].isos[iso].psnr for name in (claim.method, claim.other))
    common = min(len(one), len(other))
    return float(np.mean(one[:common]) - np.mean(other[:common]))


def comma_separated(found: Mapping[str, Found]) -> str:
    """A line per camera, ISO and method."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["camera", "iso", "method", "images", "psnr_db", "ssim", "estimated_gain_db", "crops", "training_s"]
    )
    for camera, methods in found.items():
        for method, result in methods.items():
            for iso, each in result.isos.items():
                gain = "" if each.estimated_gain_db is None else f"{each.estimated_gain_db:.3f}"
                writer.writerow(
                    [camera, iso, method, len(each.psnr), f"{each.mean_psnr:.3f}", f"{each.mean_ssim:.5f}",
                     gain, result.images, f"{result.training_s:.1f}"]
                )  # fmt: skip
    return text.getvalue()


if __name__ == "__main__":
    main()
