"""A table as a command: its own options, and those of all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from lab.report import Page, comma_separated, tell
from lab.store import Lab, Store, code_version
from rawdenoise.atomic import write_bytes
from rawdenoise.errors import RawDenoiseError
from rawdenoise.training import TrainingStopped

BENCHMARKS = Path(__file__).parents[1]
DATA = Path(os.environ.get("RAWDENOISE_DATA", BENCHMARKS.parents[1] / "shared" / "data"))
COUNT = click.IntRange(min=1)
FOLDER, FILE = (click.Path(path_type=Path, file_okay=not only, dir_okay=only) for only in (True, False))
Make = Callable[..., Page]
Measure = Callable[..., object]  # given a folder that is gone afterwards, and the options


class Words(click.ParamType):
    """Several words with commas between them, each one of `choices` if there are any."""

    name = "A,B"

    def __init__(self, choices: Sequence[str] = (), of: Callable[[str], Any] = str) -> None:
        self.choices, self.of = tuple(choices), of

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take the words apart."""
        if not isinstance(value, str):
            return value
        for word in value.split(","):
            if self.choices and word not in self.choices:
                self.fail(f"{word}: not one of {', '.join(self.choices)}", param, ctx)
        try:
            return tuple(self.of(word) for word in value.split(","))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType):
    """Width and height in pixels."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Take the sides apart."""
        width, _, height = value.partition("x") if isinstance(value, str) else (*value[:1], "", value[1])
        if not (str(width).isdecimal() and str(height).isdecimal()):
            self.fail(f"{value}: it has the form WIDTHxHEIGHT", param, ctx)
        return int(width), int(height)


def option(*names: str, **how: Any) -> Callable[[Make], Make]:
    """An option of one table, with its default shown."""
    return click.option(*names, **{"show_default": True, **how})


def options(*several: Callable[[Make], Make]) -> Callable[[Make], Make]:
    """Options that several tables have alike."""

    def add(make: Make) -> Make:
        for one in reversed(several):
            make = one(make)
        return make

    return add


TEST_IMAGES = option("--test-images", type=COUNT, help="the first so many pictures of a test only")
WITH_BM3D = option("--bm3d", is_flag=True, help="BM3D, if its package is there (slow)")


def budget_options(methods: Iterable[str]) -> Callable[[Make], Make]:
    """The options of a `Budget` for these methods, which a table is given as one."""
    from lab.compare import Budget
    from rawdenoise.nets import NETS
    from rawdenoise.training.options import SMALLEST_CROP

    add = options(
        option("--net", type=click.Choice(list(NETS)), default="fast"),
        option("--only", type=Words([*methods]), help=f"of {', '.join(methods)}"),
        option("--crops", type=COUNT, help="budget of a training, 24000 without --minutes"),
        option("--minutes", type=float, help="budget of a training, instead"),
        option("--batch", type=COUNT, default=16, help="crops in a step"),
        option("--crop", type=click.IntRange(min=SMALLEST_CROP), default=64, help="side of a crop"),
        option("--seeds", type=Words(of=int), default=(0,), help="a training each"),
    )

    def gather(make: Make) -> Make:
        @wraps(make)
        def made(lab: Lab, **own: Any) -> Page:
            budget = Budget(**{field.name: own.pop(field.name) for field in fields(Budget)})
            return make(lab, budget, **own)

        return add(made)

    return gather


def on_cameras(methods: Iterable[str]) -> Callable[[Make], Make]:
    """The options of a comparison on simulated cameras: a `Budget`, and the photographs as `Sources`."""
    from lab.captures import Sources

    def gather(make: Make) -> Make:
        @wraps(make)
        def made(lab: Lab, budget: Any, train: Path | None, test: Path | None, **own: Any) -> Page:
            return make(lab, budget, Sources(lab.published, train or lab.bsds, test or lab.kodak), **own)

        add = options(
            budget_options(methods),
            TEST_IMAGES,
            option("--train", type=FOLDER, help="photographs to train on  [default: srgb/bsds500 of --data]"),
            option("--test", type=FOLDER, help="photographs to test with  [default: srgb/kodak24 of --data]"),
            option("--captures", type=COUNT, default=40, help="captures to train on"),
        )
        return add(made)

    return gather


SHARED = options(
    option("--work", type=FOLDER, default=BENCHMARKS / "results", help="where results are kept"),
    option("--data", type=FOLDER, default=DATA, help="photographs, published noise, captures"),
    option("--report", is_flag=True, help="print what is there, measure nothing"),
    option("--code", metavar="VERSION", help="results of this version of the code count as of this one's"),
    option("--threads", type=COUNT, help="of torch"),
    option("--device", default="auto"),
)


def table(name: str, quoted: Mapping[str, str]) -> Callable[[Make], click.Command]:
    """A command that makes a table; `quoted` says where it stands, and with which options it was made."""

    def command(make: Make) -> click.Command:
        @SHARED
        def run(
            work: Path, data: Path, report: bool, code: str | None, threads: int | None, device: str,
            **own: Any,
        ) -> None:  # fmt: skip
            import torch

            if threads:
                torch.set_num_threads(threads)
            with end_in_a_line():
                lab = Lab(Store(work, code or code_version()), data, device, report)
                page = make(lab, **own)
                publish(page, work / name)
            sys.exit(int(page.faults > 0))

        params = [*reversed(getattr(make, "__click_params__", [])), *reversed(run.__click_params__)]  # type: ignore[attr-defined]
        made = click.Command(name, params=params, callback=run, help=make.__doc__)
        made.quoted = quoted  # type: ignore[attr-defined]
        return made

    return command


def measured(
    name: str, quoted: Mapping[str, str], show: Callable[..., Page]
) -> Callable[[Measure], click.Command]:
    """A table of one measurement, kept by its options: `show` makes a page of what came out, and of them."""

    def command(measure: Measure) -> click.Command:
        @wraps(measure)
        def make(lab: Lab, **own: Any) -> Page:
            def measure_in_a_folder() -> object:
                with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
                    return measure(Path(folder), **own)

            result = lab.result({"kind": name, **own}, measure_in_a_folder)
            return Page("") if result is None else show(result, **own)

        return table(name, quoted)(make)

    return command


def publish(page: Page, path: Path) -> None:
    """Print a page, and keep it beside its results."""
    print(page.text)
    write_bytes(path.with_suffix(".md"), f"{page.text}\n".encode())
    if page.lines:
        write_bytes(path.with_suffix(".csv"), comma_separated(page.lines))
    for name, svg in page.pictures.items():
        write_bytes(path.with_name(f"{name}.svg"), svg.encode())


@contextmanager
def end_in_a_line() -> Iterator[None]:
    """End a command with one line and an exit code: 130 where it was stopped, 1 where it failed."""
    try:
        yield
    except TrainingStopped as stopped:
        _end(str(stopped), stopped.exit_code)
    except KeyboardInterrupt:
        _end("stopped; to resume, run the same command again", TrainingStopped.exit_code)
    except (RawDenoiseError, OSError) as error:
        _end(f"error: {error}", 1)


def _end(line: str, code: int) -> None:
    tell(line)
    raise SystemExit(code) from None
