"""The papers' tables as commands, made in our loop, with our networks.

    python benchmarks/tables.py table1 --train DIR --test Kodak=DIR [BSD300=DIR Set14=DIR] --work DIR
        [--sigma 25 5-50] [--repeats N] [--looks N] [--bm3d]
    python benchmarks/tables.py table3 --train DIR --test DIR --work DIR
        [--on srgb camera] [--published JSON] [--camera IMX385] [--captures 40] [--sigma 25] [--looks 12]
    python benchmarks/tables.py table2 --data DIR --work DIR
        [--frames DIR] [--phones S6 ...] [--scenes FILE] [--limit-blocks N] [--bm3d]
    all: [--net fast] [--only METHOD ...] [--crops 24000 | --minutes M] [--batch 16] [--crop 64]
        [--seeds 0 ...] [--test-images N] [--threads N] [--device auto]

Every result is a file in the work folder, and every trained network stays there: the same command goes on
where it was stopped, and with other methods (`--only`) or test sets it adds to the table what is new. Only
`--looks` at a network that is trained already train it again. After a change to the code, start with a new
folder. Tables are written as Markdown and CSV, curves as PNG (by matplotlib).

The papers train the noise-to-noise U-Net on 50,000 ImageNet pictures of 256x256, 100 times each, in batches
of 4 (GR2R: 10). That is, on a GPU, with some 30 GB of memory for the pictures,

    ... table1 --train IMAGENET_VAL --net paper --crops 5000000 --batch 4 --crop 256 --seeds 0 --device cuda

and for SIDD, whose Medium set and validation blocks lie in one folder (sidd_standin.py makes one of that
layout, of simulated phones),

    ... table2 --data SIDD --net paper --crops 640000 --batch 10 --crop 128 --device cuda
"""

from __future__ import annotations

import argparse
from pathlib import Path

import table1
import table2
import table3
import torch
from commands import at_least, ended_in_a_line
from trials import ROWS

from rawdenoise.nets import NETS
from rawdenoise.training.options import SMALLEST_CROP

TABLES = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
}  # a module with `add_options` and `run`, and a docstring


def main(arguments: list[str] | None = None) -> None:
    """Make the table that is asked for."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    with ended_in_a_line():
        TABLES[options.table].run(options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="table", required=True)
    for name, module in TABLES.items():
        about = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=about, description=about)
        add_shared(command)
        module.add_options(command)
    options = parser.parse_args(arguments)
    if options.minutes is None and options.crops is None:
        options.crops = 24_000
    return options


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Options of all tables that train."""
    parser.add_argument("--work", type=Path, metavar="DIR", required=True, help="where results are kept")
    parser.add_argument("--net", choices=NETS, default="fast")
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="METHOD", help=", ".join(ROWS))
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--crops", type=at_least(1), help="budget of a training, 24000 without --minutes")
    budget.add_argument("--minutes", type=float, help="budget of a training, instead")
    parser.add_argument("--batch", type=at_least(1), default=16, help="crops in a step")
    parser.add_argument(
        "--crop",
        type=at_least(SMALLEST_CROP),
        default=64,
        help="side of a crop (of packed pixels, for a camera)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="a training each")
    parser.add_argument(
        "--test-images", type=at_least(1), help="the first so many pictures of a test set only"
    )
    parser.add_argument("--threads", type=at_least(1), default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")


if __name__ == "__main__":
    main()
