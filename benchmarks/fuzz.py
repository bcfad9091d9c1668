"""Damages files of every kind that is read, and counts what comes of it: `python benchmarks/fuzz.py`.

Every input has to end in one of two ways: it is read, or it is refused by an error of ours. What native code
decodes runs in a process of its own, as it does for a batch. With --seeds DIR the raws there are damaged too.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import fuzz_seeds as seeds
import mutations
import numpy as np
import tifffile
from numpy.random import Generator

from rawdenoise.capture.raw import Cfa, Provenance
from rawdenoise.errors import UNFORESEEN, DecoderCrashedError, DecoderTimeoutError, RawDenoiseError
from rawdenoise.formats import raw_suffixes
from rawdenoise.formats.dng import compromises, dng_bytes
from rawdenoise.formats.metadata import read_metadata
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.formats.provenance import made_of
from rawdenoise.formats.whole import digest_picture, what_is_missing
from rawdenoise.isolation.reader import IsolatedReader
from rawdenoise.models.archive import read_model
from rawdenoise.models.card import CARD, WEIGHTS
from rawdenoise.models.store import ModelStore
from rawdenoise.noise.profiles.store import bundled_folder, load_profile
from rawdenoise.training.checkpoint import FILE, load_checkpoint
from rawdenoise.watching.config import check_roots, read_config

SLOW_S = 60.0  # an input that takes longer counts as one that hangs
DEAD_S = 300.0  # after which the whole run ends, saying where it was
LARGEST_SEED = 64 << 20
MEMORY = 1 << 30
OUTCOMES = ("read", "refused", "unforeseen", "other exception", "hang", "decoder crashed")
LAYOUT = PlainLayout(Cfa.RGGB, bits=16, size=(48, 32))


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that reads files: what they look like, how they are damaged, and the call."""

    name: str
    seeds: Mapping[str, bytes]
    mutate: Sequence[mutations.Mutation]
    read: Callable[[Path], object]
    share: int = 1
    """How many of the inputs it gets, against others."""


@dataclass(slots=True)
class Tally:
    """What became of a reader's inputs."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    lines: list[str] = field(default_factory=list)


def readers(folder: Path, isolated: IsolatedReader, more: Path | None = None) -> list[Reader]:
    """All of them, with seeds that are written here, and the raws of a folder."""
    raws = {**seeds.raws(_new(folder, "raws")), **_raws_in(more)}
    mosaics, frames = seeds.plain_mosaics(_new(folder, "plain")), seeds.matlab(_new(folder, "matlab"))
    notes, progress = seeds.matlab_notes(_new(folder, "notes")), seeds.checkpoint(_new(folder, "checkpoint"))
    card, weights = seeds.model_parts()
    profiles = {path.name: path.read_bytes() for path in sorted(bundled_folder().glob("*.toml"))}
    outputs = {name: raws[name] for name in ("ours.dng", "plain.dng", "big.dng")}
    outputs["ours.tif"] = mosaics["ours.tif"]
    as_bytes, as_tiff = (mutations.of_bytes,), (mutations.of_tiff, mutations.of_tiff, mutations.of_bytes)
    as_json, as_toml = (mutations.of_json, mutations.of_bytes), (mutations.of_words, mutations.of_bytes)
    found = [
        Reader("raw: pixels", raws, as_tiff, isolated.read, 5),
        Reader("raw: written again", raws, as_tiff, lambda path: _rewrite(isolated, path)),
        Reader("raw: metadata", raws, as_tiff, read_metadata, 6),
        Reader("plain mosaics", mosaics, as_tiff, lambda path: isolated.read(path, LAYOUT), 3),
        Reader(
            "layouts", seeds.layouts(), (mutations.of_json,), lambda path: _with_layout(isolated, path), 2
        ),
        Reader("MATLAB frames", frames, as_bytes, isolated.read, 4),
        Reader("MATLAB notes", notes, as_bytes, lambda path: isolated.call("metadata_camera", path), 2),
        Reader("model file", {"m.rawdenoise": seeds.BASE.read_bytes()}, as_bytes, read_model),
        Reader("model card", {CARD: card}, as_json, lambda path: _card(path, weights), 2),
        Reader("model weights", {WEIGHTS: weights}, as_bytes, lambda path: _weights(path, card)),
        Reader("noise profile", profiles, as_toml, load_profile, 2),
        Reader("watch configuration", {"watch.toml": seeds.WATCH_TOML}, as_toml, _roots, 2),
        Reader("checkpoint", {FILE: progress}, as_bytes, lambda path: load_checkpoint(path.parent, "run"), 2),
        Reader("what an output says", outputs, as_tiff, _output, 2),
    ]
    return [reader for reader in found if reader.seeds]


def run(chosen: Sequence[Reader], inputs: int, seed: int, folder: Path) -> Iterator[tuple[str, Tally]]:
    """Damage and read so many inputs, and give the running tally of a reader after each."""
    tallies = {reader.name: Tally() for reader in chosen}
    turns = cycle([reader for reader in chosen for _ in range(reader.share)])
    for number, reader in enumerate(islice(turns, inputs)):
        rng = np.random.default_rng((seed, number))
        name, path = _damaged(reader, rng, folder)
        judge(reader, path, tallies[reader.name], f"input {number} (--seed {seed}), {reader.name}, {name}")
        path.unlink(missing_ok=True)
        yield reader.name, tallies[reader.name]


def judge(reader: Reader, path: Path, tally: Tally, where: str) -> None:
    """Read one input, and count how that ended."""
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy's of what is no number: nobody foresaw it
            reader.read(path)
        outcome = "read"
    except DecoderCrashedError as error:
        outcome = "decoder crashed"
        tally.lines.append(f"{where}: {error}")
    except DecoderTimeoutError as error:
        outcome = "hang"
        tally.lines.append(f"{where}: {error}")
    except RawDenoiseError as error:
        outcome = "unforeseen" if UNFORESEEN in str(error) else "refused"
        if outcome == "unforeseen":
            tally.lines.append(f"{where}: {error}")
    except Exception:
        outcome = "other exception"
        tally.lines.append(f"{where}: {traceback.format_exc(limit=-4)}")
    taken = time.monotonic() - start
    if taken > SLOW_S:
        outcome = "hang"
        tally.lines.append(f"{where}: took {taken:.0f} s")
    tally.counts[outcome] += 1
    tally.slowest_s = max(tally.slowest_s, taken)


def _damaged(reader: Reader, rng: Generator, folder: Path) -> tuple[str, Path]:
    name = mutations.one_of(sorted(reader.seeds), rng)
    data = mutations.one_of(reader.mutate, rng)(reader.seeds[name], rng)
    path = folder / name
    path.write_bytes(data)
    return name, path


# ---------------------------------------------------------------- readers that are more than one call


def _rewrite(isolated: IsolatedReader, path: Path) -> None:
    """Read a raw; what was taken for whole must be writable too."""
    raw = isolated.read(path)
    compromises(raw)
    if raw.mosaic.size < 1 << 16:
        dng_bytes(raw, provenance=Provenance("0", "test", 1.0))


def _with_layout(isolated: IsolatedReader, path: Path) -> None:
    tiff = path.with_suffix(".tif")
    description = json.dumps(json.loads(path.read_bytes()))  # ASCII, as in a TIFF
    tifffile.imwrite(tiff, seeds.capture(32, 48).mosaic, description=description, metadata=None)
    isolated.read(tiff)


def _card(path: Path, weights: bytes) -> None:
    """A store with this card: listed, then loaded."""
    folder = path.parent / "store" / "damaged"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_bytes(path.read_bytes())
    (folder / WEIGHTS).write_bytes(weights)
    store = ModelStore(folder.parent)
    for error in store.broken():
        raise error
    for card in store.cards():
        store.load(folder.name if card.id == folder.name else "damaged")


def _weights(path: Path, card: bytes) -> None:
    """A store with these weights, whose digest the card knows."""
    data = path.read_bytes()
    said = {**json.loads(card), "id": "weights", "weights_sha256": hashlib.sha256(data).hexdigest()}
    folder = path.parent / "store2" / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_text(json.dumps(said))
    (folder / WEIGHTS).write_bytes(data)
    ModelStore(folder.parent).load("weights")


def _output(path: Path) -> None:
    """What a folder's second run asks of outputs: of what they were made, and whether they are whole."""
    made_of(path)
    if not what_is_missing(path):
        digest_picture(path)


def _roots(path: Path) -> None:
    check_roots(read_config(path).roots)


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _raws_in(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {}
    paths = (
        path for path in sorted(folder.rglob("*")) if path.suffix.lower() in raw_suffixes() and path.is_file()
    )
    return {path.name: path.read_bytes() for path in paths if path.stat().st_size <= LARGEST_SEED}


# ---------------------------------------------------------------- the command


def main() -> None:
    """Run it and print the table; exit code 1 where something ended as nothing may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=Path, help="a folder of real raws to damage too")
    parser.add_argument("--only", help="the reader with this in its name")
    arguments = parser.parse_args()
    tallies: dict[str, Tally] = {}
    start, memory = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as temporary:
        work = _new(Path(temporary), "inputs")
        isolated = IsolatedReader(time_s=SLOW_S)
        chosen = readers(Path(temporary), isolated, arguments.seeds)
        chosen = [reader for reader in chosen if (arguments.only or "") in reader.name]
        faulthandler.dump_traceback_later(DEAD_S, exit=True)
        for done, (name, tally) in enumerate(run(chosen, arguments.inputs, arguments.seed, work), 1):
            tallies[name] = tally
            if done % 100 == 0:
                memory = max(memory, _decoder_memory())
                faulthandler.dump_traceback_later(DEAD_S, exit=True)
            if done % 2000 == 0:
                print(f"{done} of {arguments.inputs}, {time.monotonic() - start:.0f} s", file=sys.stderr)
        faulthandler.cancel_dump_traceback_later()
        isolated.close()
    for line in (line for tally in tallies.values() for line in tally.lines):
        print(line, file=sys.stderr)
    raise SystemExit(_report(tallies, time.monotonic() - start, memory))


def _decoder_memory() -> int:
    """The most memory that the decoders running now have had, in bytes; 0 where the system does not tell."""
    peaks = [0]
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(OSError):
                said = Path(f"/proc/{child}/status").read_text()
                peaks += [
                    int(line.split()[1]) << 10 for line in said.splitlines() if line.startswith("VmHWM")
                ]
    return max(peaks)


def _report(tallies: Mapping[str, Tally], seconds: float, there: int) -> int:
    """Print the table; returns the exit code."""
    print(f"| reader | inputs | {' | '.join(OUTCOMES)} | slowest |")
    print("|---|---|" + "---|" * (len(OUTCOMES) + 1))
    whole = Counter[str]()
    for name, tally in tallies.items():
        whole += tally.counts
        print(f"| {name} | {_cells(tally.counts)} | {tally.slowest_s:.1f} s |")
    print(f"| all | {_cells(whole)} | {max(tally.slowest_s for tally in tallies.values()):.1f} s |")
    unit = 1 if sys.platform == "darwin" else 1024
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(
        f"\n{seconds:.0f} s; largest memory: {here >> 20} MiB here (with torch), {there >> 20} MiB a decoder;"
    )
    print("crashes of this process: 0, or it could not say so")
    wrong = whole["unforeseen"] + whole["other exception"] + whole["hang"]
    return int(wrong > 0 or max(here, there) > MEMORY)


def _cells(counts: Counter[str]) -> str:
    return " | ".join(str(number) for number in (counts.total(), *(counts[outcome] for outcome in OUTCOMES)))


if __name__ == "__main__":
    main()
