"""What becomes of guarded training when something is wrong: too many steps, or a noise model that is off.

    python benchmarks/robustness.py --published JSON --train DIR --test DIR --work DIR
        [--camera A7S2] [--checks steps variance tails rows] [--crops 24000] [--seed 0] [--threads N] ...
    python benchmarks/robustness.py --work DIR --table | --markdown [...]

Captures, trainings and results are those of quality.py, and may share its work folder; but what is right here
is the true noise model. What is wrong with it is so in training and in the test alike.

- steps: the same options with ten times the crops, also without the guard, and for GR2R as published.
- variance: all variances times so much.
- tails: read noise with much longer tails, of the same deviation; taken for Gaussian, and estimated blindly.
- rows: row noise four times as strong; not known of, and estimated blindly.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from commands import ended_in_a_line
from experiments import Experiment, Result, Results, perform
from methods import GUARDED, METHODS, NOISY, UNGUARDED
from quality import add_shared, check_shared
from simulated import CAMERAS, Conditions, Knowledge, Sources

MORE_STEPS = 10
FACTORS = (0.5, 0.8, 1.2, 1.5)
LONG_TAIL = -0.2
STRONG_ROWS = 4.0
CHECKS = ("steps", "variance", "tails", "rows")


@dataclass(frozen=True, slots=True)
class Case:
    """A line of a table: an experiment, and the one it is compared with, if any."""

    title: str
    experiment: Experiment
    reference: Experiment | None = None


def main() -> None:
    """Do what is missing, and print a table per check."""
    options = parse()
    torch.set_num_threads(options.threads)
    results, checks = Results(options.work), {check: list(cases(check, options)) for check in options.checks}
    if not options.table:
        sources = Sources(options.published, options.train, options.test)
        with ended_in_a_line():
            for check in checks.values():
                perform([case.experiment for case in check], results, sources, device=options.device)
    if options.markdown:
        print(f"{options.camera}, {options.captures} captures, {options.crops} crops, seed {options.seed}.\n")
    for name, check in checks.items():
        print(f"{table(name, check, results)}\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_shared(parser)
    parser.add_argument("--camera", choices=CAMERAS, default="A7S2")
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS))
    options = parser.parse_args()
    check_shared(parser, options, needed=False)
    return options


def cases(check: str, options: argparse.Namespace) -> Iterator[Case]:
    """The lines of one check; those of the same captures and noise model stand together."""
    right = Conditions(options.camera, options.seed, options.captures, Knowledge.TRUE)
    match check:
        case "steps":
            yield Case("noisy", untrained(right, options))
            for method in (GUARDED, UNGUARDED, "paper-2"):
                once = trained(right, options, method)
                title = METHODS[method].title
                yield Case(f"{title}, once", once)
                yield Case(f"{title}, x{MORE_STEPS}", replace(once, crops=MORE_STEPS * options.crops), once)
        case "variance":
            reference = trained(right, options)
            yield Case("true", reference)
            for factor in FACTORS:
                wrong = trained(replace(right, variance_factor=factor), options)
                yield Case(f"variance x{factor:g}", wrong, reference)
            blind = trained(replace(right, knowledge=Knowledge.BLIND), options)
            yield Case("estimated from the captures", blind, reference)
        case "tails":
            tailed = replace(right, tail=LONG_TAIL)
            yield from unknowing(tailed, Knowledge.GAUSSIAN, "taken for Gaussian", options)
        case "rows":
            banded = replace(right, row_factor=STRONG_ROWS)
            yield from unknowing(banded, Knowledge.ROWLESS, "rows not known of", options)


def unknowing(right: Conditions, wrong: Knowledge, title: str, options: argparse.Namespace) -> Iterator[Case]:
    """The same captures with the true model, one that lacks something, and a blind estimate."""
    yield Case("noisy", untrained(right, options))
    reference = trained(right, options)
    yield Case("true", reference)
    yield Case(title, trained(replace(right, knowledge=wrong), options), reference)
    blind = trained(replace(right, knowledge=Knowledge.BLIND), options)
    yield Case("estimated from the captures", blind, reference)


def trained(conditions: Conditions, options: argparse.Namespace, method: str = GUARDED) -> Experiment:
    """A training from nothing."""
    return Experiment(conditions, method, crops=options.crops, test_images=options.test_images)


def untrained(conditions: Conditions, options: argparse.Namespace) -> Experiment:
    """The captures as they are."""
    return Experiment(conditions, NOISY, test_images=options.test_images)


def table(name: str, check: list[Case], results: Results) -> str:
    """A line per case that has a result: PSNR at each ISO, and what is lost or won."""
    isos = CAMERAS[check[0].experiment.conditions.camera].tested
    head = [name, "crops", *(f"ISO {iso}, dB" for iso in isos), *(f"difference, {iso}" for iso in isos)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for case in check:
        result = results.find(case.experiment)
        if result is None:
            continue
        reference = results.find(case.reference) if case.reference is not None else None
        cells = [case.title, f"{result.images}" if result.images else ""]
        cells += [f"{result.isos[iso].mean_psnr:.2f}" for iso in isos]
        cells += ["" if reference is None else f"{difference(result, reference, iso):+.2f}" for iso in isos]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def difference(result: Result, reference: Result, iso: int) -> float:
    """How many dB a result is above its reference, on the mean."""
    return result.isos[iso].mean_psnr - reference.isos[iso].mean_psnr


if __name__ == "__main__":
    main()
