"""Whether two versions of the code make the same files of the same captures: for changes of structure alone.

    python benchmarks/same_bytes.py make CHECKOUT DATA_FOLDER FOLDER [--only STEP ...]
    python benchmarks/same_bytes.py compare BEFORE AFTER

`make` runs the commands of a checkout, and nothing else of it, over DATA_FOLDER (raws, imx296) and over drawn
mosaics: DNGs, TIFFs, mosaic TIFFs, what `inspect` and `denoise` say as JSON, a model trained for a number of
crops, profiles, their pages, and the ledger of a watched folder. `compare` names every file that differs
where times, folders of this run, versions of libraries and ids made of a date are left out; it exits with 1
if there is any.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

TIMES = re.compile(
    rb"\d{4}[-:]\d\d[-:]\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?"
    rb"|\d{4}-\d\d-\d\d|(?<=-)20\d{6}(?=-)"
)
TIMED_TEXT = re.compile(
    rb"\b\d+(\.\d+)? ?(s|min|ms|minutes|seconds|crops/s|MP/s|s/MP|MiB|GiB)\b"
    rb'|training_s: [\d.]+|(?<=class="word">)\d+(\.\d)?(?=<)'
)
TIMED = re.compile(r"seconds|_s$|_ms$|created|versions|time|memory|moment|day|at$|pid|heartbeat|inode|device")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the files, or compare two folders of them."""
    options = parse(arguments)
    if options.command == "compare":
        return compare(options.before, options.after)
    options.folder.mkdir(parents=True, exist_ok=True)
    run = Run(options.checkout.absolute(), options.data.absolute(), options.folder.absolute())
    for name, step in STEPS.items():
        if not options.only or name in options.only:
            print(name, flush=True)
            step(run)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("checkout", type=Path)
    make.add_argument("data", type=Path)
    make.add_argument("folder", type=Path)
    make.add_argument("--only", nargs="+", choices=sorted(STEPS), default=())
    both = commands.add_parser("compare")
    both.add_argument("before", type=Path)
    both.add_argument("after", type=Path)
    return parser.parse_args(arguments)


class Run:
    """The commands of one checkout, with stores of their own, and where their files go."""

    def __init__(self, checkout: Path, data: Path, folder: Path) -> None:
        self.checkout, self.data, self.folder = checkout, data, folder

    def __call__(self, name: str, *arguments: object) -> None:
        """Run a command in the folder; what it prints is kept, and so is its exit code."""
        variables = {"MODELS": "models", "PROFILES": "profiles", "CACHE": "cache"}
        stores = {f"RAWDENOISE_{key}": str(self.folder / each) for key, each in variables.items()}
        done = subprocess.run(
            [sys.executable, "-m", "rawdenoise", *map(str, arguments)],
            capture_output=True, cwd=self.folder, check=False,
            env={**os.environ, **stores, "PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": "1",
                 "COLUMNS": "100"},
        )  # fmt: skip
        (self.folder / f"{name}.out").write_bytes(done.stdout)
        (self.folder / f"{name}.code").write_text(f"{done.returncode}\n")
        (self.folder / f"{name}.err").write_bytes(done.stderr)

    def raws(self) -> list[Path]:
        """The raws of strange cameras, those that are refused too."""
        return sorted(path for path in (self.data / "raws").rglob("*") if path.is_file())

    def captures(self, count: int) -> list[Path]:
        """Captures of one machine-vision camera."""
        return sorted((self.data / "imx296" / "train").glob("*.*"))[:count]

    def drawn(self) -> list[Path]:
        """Mosaics drawn from smooth fields, with the noise of a camera; the same in every run."""
        folder = self.folder / "drawn"
        folder.mkdir(exist_ok=True)
        return [draw(folder / f"{number}.npy", number) for number in range(3)]


def draw(output: Path, seed: int) -> Path:
    """Draw a mosaic of 512 x 384 pixels, 12 bits."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:384, :512] / 100
    light = 0.3 + 0.25 * np.sin(x * (1 + seed) + np.cos(3 * y)) * np.cos(2 * y)
    electrons = rng.poisson(np.maximum(light, 0) * 900) + rng.normal(0, 3, light.shape)
    np.save(output, np.clip(np.rint(electrons * 3.9 + 64), 0, 4095).astype(np.uint16))
    return output


def denoise(run: Run) -> None:
    """All formats and the options that change pixels."""
    raws = run.raws()
    run("denoise-dng", "denoise", "--json", "-o", "dng", *raws)
    run("denoise-tiff", "denoise", "--json", "-o", "tiff", "--format", "tiff", *raws)
    run("denoise-mosaic", "denoise", "--json", "-o", "mosaic", "--format", "mosaic-tiff", *raws)
    options = (
        "--strength",
        0.6,
        "--base",
        "best",
        "--levels",
        "fine",
        "--keep-hot-pixels",
        "--keep-row-noise",
    )
    run("denoise-options", "denoise", "--json", "-o", "options", *options, *run.captures(4))
    plain = ("--cfa", "grbg", "--black", 64, "--white", 4095)
    run("denoise-plain", "denoise", "--json", "-o", "plain", *plain, *run.drawn())
    run("denoise-zero", "denoise", "--json", "-o", "zero", "--strength", 0, "--no-estimate", *raws[:3])
    run("denoise-plan", "denoise", "--dry-run", "-o", "dng", *raws)


def inspect(run: Run) -> None:
    """What is said of captures."""
    run("inspect", "inspect", "--json", *run.raws(), *run.captures(6))
    run("inspect-text", "inspect", *run.raws(), *run.captures(2))


def train(run: Run) -> None:
    """A model by a number of crops, its page, what is said of it, and captures denoised by it."""
    options = ("--images", 256, "--seed", 3, "--min-captures", 4, "--device", "cpu", "--precision", "float32")
    run("train", "train", *options, *run.captures(12))
    run("train-again", "train", *options, "--objective", "r2r", *run.captures(12))
    run("models-list", "models", "list")
    run("denoise-own", "denoise", "--json", "-o", "own", *run.captures(3))


def calibrate(run: Run) -> None:
    """Profiles of darks and of ordinary captures, and their pages."""
    darks = sorted((run.data / "imx296" / "dark").glob("*.*"))[:8]
    flags = [word for path in darks for word in ("--dark", path)]
    run("calibrate-darks", "calibrate", "-o", "darks.toml", "--plot", "plot", *flags)
    run("calibrate-captures", "calibrate", "--captures", "-o", "captures.toml", *run.captures(8))
    run("cameras", "cameras", "list")


def watch(run: Run) -> None:
    """A watched folder done once, and its ledger."""
    arrivals = run.folder / "arrivals"
    arrivals.mkdir(exist_ok=True)
    for path in run.captures(5):
        shutil.copy2(path, arrivals)
    (arrivals / "broken.dng").write_bytes(b"II*\0" + bytes(100))
    run("watch", "watch", "--once", "--settle", 0, "--state", "state", "-o", "watched", "arrivals")


STEPS: dict[str, Callable[[Run], None]] = {
    each.__name__: each for each in (inspect, denoise, calibrate, watch, train)
}


def compare(before: Path, after: Path) -> int:
    """Print every file that differs, or that only one has."""
    one, other = (dict(files(folder)) for folder in (before, after))
    differ = 0
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            print(f"only {'after' if name not in one else 'before'}: {name}")
            differ += 1
        elif told(one[name], before) != told(other[name], after):
            print(f"differs: {name}")
            differ += 1
    print(f"{len(one.keys() & other.keys()) - differ} files the same, {differ} not")
    return 1 if differ else 0


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that are compared, under names without a date."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in ("cache", "drawn", "arrivals"):
            if path.name.endswith((".lock", "-wal", "-shm", ".err")) or "heartbeat" in path.name:
                continue  # progress is drawn by the clock
            name = str(relative).encode()
            yield TIMES.sub(b"DATE", name).decode(), path


def told(path: Path, folder: Path) -> bytes | str:
    """What a file says, without times and folders of its run."""
    data = path.read_bytes()
    if data.startswith(b"SQLite format 3"):
        return "\n".join(rows(path)).replace(str(folder.absolute()), "FOLDER")
    if path.suffix in (".json", ".out") and data.lstrip().startswith(b"{"):
        try:
            lines = [data] if path.suffix == ".json" else data.splitlines()
            said = [json.dumps(timeless(json.loads(line)), sort_keys=True) for line in lines]
            data = "\n".join(sorted(said)).encode()  # files end in any order
        except ValueError:
            pass
    data = data.replace(str(folder.absolute()).encode(), b"FOLDER")
    if path.suffix in (".out", ".html", ".toml", ".txt", ".md"):
        data = TIMED_TEXT.sub(b"SOME", data)
        data = re.sub(rb"\d:\d\d:\d\d|\d+:\d\d", b"SOME", data)
    return TIMES.sub(b"DATE", data)


def timeless(value: Any) -> Any:
    """JSON without what is of the clock or of this machine."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if not TIMED.search(key)}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def rows(path: Path) -> Iterator[str]:
    """The rows of a database, without columns of times."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in sorted(names):
            cursor = database.execute(f'SELECT * FROM "{name}"')
            columns = [each[0] for each in cursor.description]
            kept = [i for i, column in enumerate(columns) if not TIMED.search(column)]
            yield from sorted(f"{name}: {[row[i] for i in kept]}" for row in cursor)


if __name__ == "__main__":
    sys.exit(main())
