"""Damages files of every kind that is read, and counts what comes of it."""

from __future__ import annotations

import faulthandler
import hashlib
import json
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from lab import damage, seeds
from lab.report import Page, markdown, tell
from lab.table import COUNT, measured, option
from numpy.random import Generator

from rawdenoise.capture.raw import Cfa, Provenance
from rawdenoise.errors import UNFORESEEN, DecoderCrashedError, DecoderTimeoutError, RawDenoiseError
from rawdenoise.formats.dng.writer import dng_bytes, list_compromises
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.metadata.provenance import read_origin
from rawdenoise.formats.metadata.source import read_metadata
from rawdenoise.formats.truncation import digest_picture, find_missing
from rawdenoise.isolation.isolated_reader import IsolatedReader
from rawdenoise.models.archive import read_model
from rawdenoise.models.card import CARD, WEIGHTS
from rawdenoise.models.store import ModelStore
from rawdenoise.noise.profiles.store import bundled_folder, load_profile
from rawdenoise.training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from rawdenoise.watching.config import check_roots, read_config

SLOW_S = 60.0  # an input that takes longer counts as one that hangs
DEAD_S = 300.0  # after which the whole run ends, saying where it was
MEMORY = 1 << 30
OUTCOMES = ("read", "refused", "unforeseen", "other exception", "hang", "decoder crashed")
WRONG = ("unforeseen", "other exception", "hang")
LAYOUT = PlainLayout(Cfa.RGGB, bits=16, size=(48, 32))


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that reads files: what they look like, how they are damaged, and the call."""

    name: str
    seeds: Mapping[str, bytes]
    mutate: Sequence[damage.Mutation]
    read: Callable[[Path], object]
    share: int = 1
    """How many of the inputs it gets, against others."""


@dataclass(slots=True)
class Tally:
    """What became of a reader's inputs."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    lines: list[str] = field(default_factory=list)


def _page(result: Mapping[str, Any], **_: object) -> Page:
    readers = {name: (Counter(counts), slowest_s) for name, (counts, slowest_s) in result["readers"].items()}
    whole = sum((counts for counts, _ in readers.values()), Counter[str]())
    readers["all"] = whole, max(slowest_s for _, slowest_s in readers.values())
    rows = [[name, *_cells(counts), f"{slowest_s:.1f} s"] for name, (counts, slowest_s) in readers.items()]
    here, there = result["memory"]
    text = (
        f"{markdown(['reader', 'inputs', *OUTCOMES, 'slowest'], rows)}\n\n{result['seconds']:.0f} s; largest "
        f"memory: {here >> 20} MiB here (with torch), {there >> 20} MiB a decoder;\n"
        "crashes of this process: 0, or it could not say so"
    )
    return Page(text, faults=sum(whole[outcome] for outcome in WRONG) + (max(here, there) > MEMORY))


@measured("fuzz", {"docs/formats.md: damaged files": ""}, _page)
@option("--inputs", type=COUNT, default=20_000)
@option("--seed", default=0)
def fuzz(work: Path, inputs: int, seed: int) -> dict[str, Any]:
    """Damages files of every kind that is read, and counts what comes of it.

    Every input has to end in one of two ways: it is read, or it is refused by an error of ours. What native
    code decodes runs in a process of its own, as it does for a batch. Exit code 1 where something ended as
    nothing may.
    """
    tallies: dict[str, Tally] = {}
    start, memory = time.monotonic(), 0
    isolated = IsolatedReader(time_s=SLOW_S)
    chosen = readers(work, isolated)
    faulthandler.dump_traceback_later(DEAD_S, exit=True)
    for done, (name, tally) in enumerate(run(chosen, inputs, seed, _new(work, "inputs")), 1):
        tallies[name] = tally
        if done % 100 == 0:
            memory = max(memory, _decoder_memory())
            faulthandler.dump_traceback_later(DEAD_S, exit=True)
        if done % 2000 == 0:
            tell(f"{done} of {inputs}, {time.monotonic() - start:.0f} s")
    faulthandler.cancel_dump_traceback_later()
    isolated.close()
    for line in (line for tally in tallies.values() for line in tally.lines):
        tell(line)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "readers": {name: [tally.counts, tally.slowest_s] for name, tally in tallies.items()},
        "memory": [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, memory],
        "seconds": time.monotonic() - start,
    }


def _cells(counts: Counter[str]) -> list[int]:
    return [counts.total(), *(counts[outcome] for outcome in OUTCOMES)]


def _decoder_memory() -> int:
    """The most memory that the decoders running now have had, in bytes; 0 where the system does not tell."""
    peaks = [0]
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(OSError):
                status = Path(f"/proc/{child}/status").read_text().splitlines()
                peaks += [int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM")]
    return max(peaks)


# ---------------------------------------------------------------- inputs


def readers(folder: Path, isolated: IsolatedReader) -> list[Reader]:
    """All of them, with seeds that are written here."""
    raws, mosaics = seeds.raws(_new(folder, "raws")), seeds.plain_mosaics(_new(folder, "plain"))
    frames = seeds.matlab(_new(folder, "matlab"))
    notes, progress = seeds.matlab_notes(_new(folder, "notes")), seeds.checkpoint(_new(folder, "checkpoint"))
    card, weights = seeds.model_parts()
    profiles = {path.name: path.read_bytes() for path in sorted(bundled_folder().glob("*.toml"))}
    outputs = {name: raws[name] for name in ("ours.dng", "plain.dng", "big.dng")}
    outputs["ours.tif"] = mosaics["ours.tif"]
    as_bytes, as_tiff = (damage.of_bytes,), (damage.of_tiff, damage.of_tiff, damage.of_bytes)
    as_json, as_toml = (damage.of_json, damage.of_bytes), (damage.of_words, damage.of_bytes)
    every = [
        Reader("raw: pixels", raws, as_tiff, isolated.read, 5),
        Reader("raw: written again", raws, as_tiff, lambda path: _rewrite(isolated, path)),
        Reader("raw: metadata", raws, as_tiff, read_metadata, 6),
        Reader("plain mosaics", mosaics, as_tiff, lambda path: isolated.read(path, LAYOUT), 3),
        Reader("layouts", seeds.layouts(), (damage.of_json,), lambda path: _with_layout(isolated, path), 2),
        Reader("MATLAB frames", frames, as_bytes, isolated.read, 4),
        Reader("MATLAB notes", notes, as_bytes, lambda path: isolated.call("metadata_camera", path), 2),
        Reader("model file", {"m.rawdenoise": seeds.BASE.read_bytes()}, as_bytes, read_model),
        Reader("model card", {CARD: card}, as_json, lambda path: _card(path, weights), 2),
        Reader("model weights", {WEIGHTS: weights}, as_bytes, lambda path: _weights(path, card)),
        Reader("noise profile", profiles, as_toml, load_profile, 2),
        Reader("watch configuration", {"watch.toml": seeds.WATCH_TOML}, as_toml, _roots, 2),
        Reader(
            "checkpoint",
            {CHECKPOINT_FILE: progress},
            as_bytes,
            lambda path: load_checkpoint(path.parent, "run"),
            2,
        ),
        Reader("what an output says", outputs, as_tiff, _output, 2),
    ]
    return [reader for reader in every if reader.seeds]


def run(chosen: Sequence[Reader], inputs: int, seed: int, folder: Path) -> Iterator[tuple[str, Tally]]:
    """Damage and read so many inputs, and give the running tally of a reader after each."""
    tallies = {reader.name: Tally() for reader in chosen}
    turns = cycle([reader for reader in chosen for _ in range(reader.share)])
    for number, reader in enumerate(islice(turns, inputs)):
        rng = np.random.default_rng((seed, number))
        name, path = _damage(reader, rng, folder)
        judge(reader, path, tallies[reader.name], f"input {number} (--seed {seed}), {reader.name}, {name}")
        path.unlink(missing_ok=True)
        yield reader.name, tallies[reader.name]


def judge(reader: Reader, path: Path, tally: Tally, where: str) -> None:
    """Read one input, and count how that ended."""
    start, line = time.monotonic(), ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy's of what is no number: nobody foresaw it
            reader.read(path)
        outcome = "read"
    except DecoderCrashedError as error:
        outcome, line = "decoder crashed", f"{error}"
    except DecoderTimeoutError as error:
        outcome, line = "hang", f"{error}"
    except RawDenoiseError as error:
        outcome, line = ("unforeseen", f"{error}") if UNFORESEEN in str(error) else ("refused", "")
    except Exception:
        outcome, line = "other exception", traceback.format_exc(limit=-4)
    seconds = time.monotonic() - start
    if seconds > SLOW_S:
        outcome, line = "hang", f"{line} took {seconds:.0f} s".lstrip()
    tally.lines += [f"{where}: {line}"] if line else []
    tally.counts[outcome] += 1
    tally.slowest_s = max(tally.slowest_s, seconds)


def _damage(reader: Reader, rng: Generator, folder: Path) -> tuple[str, Path]:
    name = damage.one_of(sorted(reader.seeds), rng)
    data = damage.one_of(reader.mutate, rng)(reader.seeds[name], rng)
    path = folder / name
    path.write_bytes(data)
    return name, path


# ---------------------------------------------------------------- readers that are more than one call


def _rewrite(isolated: IsolatedReader, path: Path) -> None:
    """Read a raw; what was taken for whole must be writable too."""
    raw = isolated.read(path)
    list_compromises(raw)
    if raw.mosaic.size < 1 << 16:
        dng_bytes(raw, provenance=Provenance("0", "test", 1.0))


def _with_layout(isolated: IsolatedReader, path: Path) -> None:
    tiff = path.with_suffix(".tif")
    description = json.dumps(json.loads(path.read_bytes()))  # ASCII, as in a TIFF
    tifffile.imwrite(tiff, seeds.capture(32, 48).mosaic, description=description, metadata=None)
    isolated.read(tiff)


def _stored(folder: Path, card: bytes, weights: bytes) -> ModelStore:
    """A store with a model of this card and these weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_bytes(card)
    (folder / WEIGHTS).write_bytes(weights)
    return ModelStore(folder.parent)


def _card(path: Path, weights: bytes) -> None:
    """A store with this card: listed, then loaded."""
    store = _stored(path.parent / "store" / "damaged", path.read_bytes(), weights)
    for error in store.broken():
        raise error
    for _ in store.cards():
        store.load("damaged")


def _weights(path: Path, card: bytes) -> None:
    """A store with these weights, whose digest the card knows."""
    data = path.read_bytes()
    said = {**json.loads(card), "id": "weights", "weights_sha256": hashlib.sha256(data).hexdigest()}
    _stored(path.parent / "store2" / "weights", json.dumps(said).encode(), data).load("weights")


def _output(path: Path) -> None:
    """What a folder's second run asks of outputs: of what they were made, and whether they are whole."""
    read_origin(path)
    if not find_missing(path):
        digest_picture(path)


def _roots(path: Path) -> None:
    check_roots(read_config(path).roots)


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name
