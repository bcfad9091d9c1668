"""Whether two versions of the code make the same files of the same captures: for changes of structure alone.

    python benchmarks/same_bytes.py make CHECKOUT DATA_FOLDER FOLDER [--only STEP]
    python benchmarks/same_bytes.py compare BEFORE AFTER

`make` runs the commands of a checkout, and nothing else of it, over DATA_FOLDER (raws, imx296) and over drawn
mosaics: DNGs, TIFFs, mosaic TIFFs, what `inspect` and `denoise` say as JSON, a model trained for a number of
crops, profiles, their pages, and the ledger of a watched folder. `compare` names every file that differs
where times, folders of this run, versions of libraries and ids made of a date are left out; it exits with 1
if there is any.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
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
FOLDER = click.Path(path_type=Path, resolve_path=True, exists=True)
TRAINING = "--images 256 --seed 3 --min-captures 4 --device cpu --precision float32"

# Each command by the name of what it prints; a word in capitals stands for files, the first so many of them.
STEPS: Mapping[str, Mapping[str, str]] = {
    "inspect": {
        "inspect": "inspect --json RAWS CAPTURES:6",
        "inspect-text": "inspect RAWS CAPTURES:2",
    },
    "denoise": {
        "denoise-dng": "denoise --json -o dng RAWS",
        "denoise-tiff": "denoise --json -o tiff --format tiff RAWS",
        "denoise-mosaic": "denoise --json -o mosaic --format mosaic-tiff RAWS",
        "denoise-options": "denoise --json -o options --strength 0.6 --base best --levels fine "
        "--keep-hot-pixels --keep-row-noise CAPTURES:4",
        "denoise-plain": "denoise --json -o plain --cfa grbg --black 64 --white 4095 DRAWN",
        "denoise-zero": "denoise --json -o zero --strength 0 --no-estimate RAWS:3",
        "denoise-plan": "denoise --dry-run -o dng RAWS",
    },
    "calibrate": {
        "calibrate-darks": "calibrate -o darks.toml --plot plot DARKS",
        "calibrate-captures": "calibrate --captures -o captures.toml CAPTURES:8",
        "cameras": "cameras list",
    },
    "watch": {"watch": "watch --once --settle 0 --state state -o watched arrivals"},
    "train": {
        "train": f"train {TRAINING} CAPTURES:12",
        "train-again": f"train {TRAINING} --objective r2r CAPTURES:12",
        "models-list": "models list",
        "denoise-own": "denoise --json -o own CAPTURES:3",
    },
}


@click.group(help=__doc__)
def main() -> None:
    """Make the files, or compare two folders of them."""


@main.command()
@click.argument("checkout", type=FOLDER)
@click.argument("data", type=FOLDER)
@click.argument("folder", type=click.Path(path_type=Path, resolve_path=True))
@click.option("--only", type=click.Choice(sorted(STEPS)), multiple=True)
def make(checkout: Path, data: Path, folder: Path, only: Sequence[str]) -> None:
    """Make the files of all steps, or of some."""
    files = prepare(data, folder)
    for step, commands in STEPS.items():
        if not only or step in only:
            click.echo(step)
            for name, words in commands.items():
                run(checkout, folder, name, [*expand(words, files)])


def prepare(data: Path, folder: Path) -> dict[str, Sequence[object]]:
    """The files that stand for words: raws of strange cameras, captures of one, its darks, drawn mosaics."""
    captures, arrivals = sorted((data / "imx296" / "train").glob("*.*")), folder / "arrivals"
    darks = sorted((data / "imx296" / "dark").glob("*.*"))[:8]
    files = {
        "RAWS": sorted(path for path in (data / "raws").rglob("*") if path.is_file()),
        "CAPTURES": captures,
        "DARKS": [word for path in darks for word in ("--dark", path)],
        "DRAWN": [draw(folder / "drawn" / f"{number}.npy", number) for number in range(3)],
    }
    arrivals.mkdir(exist_ok=True)
    for path in captures[:5]:
        shutil.copy2(path, arrivals)
    (arrivals / "broken.dng").write_bytes(b"II*\0" + bytes(100))
    return files


def draw(output: Path, seed: int) -> Path:
    """Draw a mosaic of 512 x 384 pixels, 12 bits, of smooth fields with the noise of a camera."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:384, :512] / 100
    light = 0.3 + 0.25 * np.sin(x * (1 + seed) + np.cos(3 * y)) * np.cos(2 * y)
    electrons = rng.poisson(np.maximum(light, 0) * 900) + rng.normal(0, 3, light.shape)
    output.parent.mkdir(parents=True, exist_ok=True)
    np.save(output, np.clip(np.rint(electrons * 3.9 + 64), 0, 4095).astype(np.uint16))
    return output


def expand(words: str, files: Mapping[str, Sequence[object]]) -> Iterator[str]:
    """Put files in the place of their words."""
    for word in words.split():
        name, _, count = word.partition(":")
        if name in files:
            yield from map(str, files[name][: int(count) if count else None])
        else:
            yield word


def run(checkout: Path, folder: Path, name: str, words: Sequence[str]) -> None:
    """Run a command of a checkout in the folder, with stores of its own; keep what it prints and its code."""
    stores = {f"RAWDENOISE_{key.upper()}": str(folder / key) for key in ("models", "profiles", "cache")}
    limits = {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "rawdenoise", *words],
        capture_output=True, cwd=folder, check=False, env={**os.environ, **stores, **limits},
    )  # fmt: skip
    (folder / f"{name}.out").write_bytes(done.stdout)
    (folder / f"{name}.code").write_text(f"{done.returncode}\n")
    (folder / f"{name}.err").write_bytes(done.stderr)


@main.command()
@click.argument("before", type=FOLDER)
@click.argument("after", type=FOLDER)
def compare(before: Path, after: Path) -> None:
    """Print every file that differs, or that only one has."""
    one, other = (dict(files(folder)) for folder in (before, after))
    differ = 0
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            how = "only before" if name in one else "only after"
        elif told(one[name], before) != told(other[name], after):
            how = "differs"
        else:
            continue
        click.echo(f"{how}: {name}")
        differ += 1
    click.echo(f"{len(one.keys() | other.keys()) - differ} files the same, {differ} not")
    sys.exit(bool(differ))


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
    main()
