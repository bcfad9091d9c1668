"""Methods x places x seeds -> figures: each is trained with a budget, tested, and kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

import click

from lab.methods import (
    BM3D,
    METHODS,
    SELF2SELF,
    Figures,
    Ground,
    answering,
    base,
    base_digest,
    is_there,
    taught,
)
from lab.report import tell
from lab.store import Lab, versions
from lab.trials import Looks, Trained, Trial, kept_net, train
from rawdenoise.nets import Network

MADE_WITH = ("rawdenoise", "torch", "python")
COLUMNS = (
    "place", "test", "method", "net", "seed", "scores", "psnr_db", "ssim", "estimated_gain_db",
    "published_psnr_db", "published_ssim", "crops", "training_s", *MADE_WITH,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """What every method is given, and which are asked for."""

    net: str
    only: Sequence[str] | None
    crops: int | None
    minutes: float | None
    batch: int
    crop: int
    seeds: Sequence[int]

    def __post_init__(self) -> None:
        if self.crops is not None and self.minutes is not None:
            raise click.UsageError("a budget is either --crops or --minutes")
        if self.minutes is None and self.crops is None:
            object.__setattr__(self, "crops", 24_000)

    def __str__(self) -> str:
        return f"{self.crops} crops" if self.crops is not None else f"{self.minutes:g} minutes"

    @property
    def all_seeds(self) -> str:
        """In words."""
        return f"seeds {', '.join(map(str, self.seeds))}"

    def runs(self, methods: Iterable[str], left_out: Collection[str], *, bm3d: bool) -> Iterator[Run]:
        """Every method and seed, and whether it is asked for: else it is shown where it is there."""
        for method in methods:
            usual = method not in left_out and (bm3d or method != BM3D)
            trained = METHODS[taught(method)].objective is not None
            for seed in self.seeds if trained else self.seeds[:1]:
                yield Run(method, seed, method in self.only if self.only else usual)

    def trial(self, ground: str, method: str, seed: int) -> Trial:
        """A training of a method on something."""
        return Trial(ground, method, seed, self.net, self.crops, self.minutes, self.batch, self.crop,
                     base_digest(method))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """A method with a seed, and whether it is asked for."""

    method: str
    seed: int
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Test:
    """What a method is tested with; `run` is given it, how it was trained, and its network if it has one."""

    __test__ = False  # not one of pytest's

    name: str
    identity: str
    run: Callable[[str, Trial, Network | None], Figures]


@dataclass(frozen=True, slots=True)
class Place:
    """Where methods are compared: what they are trained on, given a method and a seed, and tested with."""

    title: str
    identity: str
    ground: Callable[[str, int], Ground]
    tests: Sequence[Test]


@dataclass(frozen=True, slots=True)
class Cell:
    """A method with a seed, in one test of a place."""

    place: str
    test: str
    method: str
    seed: int
    figures: Figures
    trained: Trained | None

    def line(self, net: str, published: Sequence[object] = ("", "")) -> list[object]:
        """For programs: see COLUMNS."""
        figures, gain = self.figures, self.figures.estimated_gain_db
        of_training = [net, self.seed] if self.trained else ["", ""]
        took = [self.trained.crops, f"{self.trained.training_s:.1f}"] if self.trained else ["", ""]
        return [
            self.place, self.test, self.method, *of_training, len(figures.psnr), f"{figures.mean_psnr:.3f}",
            f"{figures.mean_ssim:.5f}", "" if gain is None else f"{gain:.3f}", *published, *took,
            *(versions()[name] for name in MADE_WITH),
        ]  # fmt: skip


def compare(lab: Lab, place: Place, run: Run, budget: Budget, looks: Looks | None = None) -> Iterator[Cell]:
    """Train if the method asks for it, and test; or take what is there."""
    method, trained = run.method, None
    if run.wanted and not lab.report and not is_there(method):
        return
    trial = budget.trial(place.identity, taught(method), run.seed)
    learns = METHODS[taught(method)].objective is not None
    if learns:
        ground = partial(place.ground, taught(method), run.seed)
        trained = train(lab, trial, ground, looks, wanted=run.wanted)
        if trained is None:
            return

    def figures(test: Test) -> object:
        kind = METHODS[method].base
        bundled = base(kind) if kind is not None else None
        net = answering(method, kept_net(lab, trial)) if learns else bundled.net if bundled else None
        scored = test.run(method, trial, net)
        tell(f"{place.title}, {test.name}, {method}: {scored.mean_psnr:.2f} dB, {scored.mean_ssim:.4f}")
        return scored.as_fields()

    for test in place.tests:
        settings = {
            "kind": "test", "camera": place.title, "method": method, "place": place.identity,
            "test": test.identity, "training": trial.settings if learns or method == SELF2SELF else run.seed,
            "base": base_digest(method),
        }  # fmt: skip
        if (fields := lab.result(settings, partial(figures, test), wanted=run.wanted)) is not None:
            yield Cell(place.title, test.name, method, run.seed, Figures.parse(fields), trained)


def by_method(cells: Sequence[Cell]) -> Mapping[str, list[Cell]]:
    """The cells of each method, in the order of all tables."""
    mine = {method: [cell for cell in cells if cell.method == method] for method in METHODS}
    return {method: of_method for method, of_method in mine.items() if of_method}


def psnr_and_ssim(cells: Sequence[Cell]) -> list[str]:
    """The means over seeds, and how far seeds lie apart in PSNR where there are several."""
    if not cells:
        return ["", ""]
    psnr = [cell.figures.mean_psnr for cell in cells]
    apart = f" ± {stdev(psnr):.2f}" if len(psnr) > 1 else ""
    return [f"{fmean(psnr):.2f}{apart}", f"{fmean(cell.figures.mean_ssim for cell in cells):.4f}"]


def crops_and_time(method: str, cells: Sequence[Cell]) -> list[str]:
    """What the trainings of a method took, nothing where it takes another's network."""
    took = [cell.trained for cell in cells if cell.trained] if METHODS[method].objective else []
    return [f"{took[0].crops}", f"{fmean(one.training_s for one in took):.0f}"] if took else ["", ""]
