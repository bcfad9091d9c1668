"""A watched folder for tests, and the service on it, as quick as it can be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PATIENCE_S, make_raw

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Camera, Exposure, Metadata, Provenance
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.tiff.reading import ascii_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.recipe import Recipe
from rawdenoise.watching import denoise_worker as worker
from rawdenoise.watching import housekeeping, output_folder, service
from rawdenoise.watching import root_watcher as watcher
from rawdenoise.watching.config import Root, WatchConfig
from rawdenoise.watching.ledger import Ledger
from rawdenoise.watching.output_mark import MARKER
from rawdenoise.watching.service import RunOptions, Service

QUICK = Recipe(strength=0.0)  # no network: what is tested here is all around it
SUB_SECONDS = 37521


class Told:
    """A report that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def say(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def all(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in list(self.events) if name == event]


@pytest.fixture(autouse=True)
def _quickly(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, name, value in (
        (output_folder, "WAIT_S", 0.2), (service, "REPEAT_S", 0.2), (watcher, "GONE_S", 0.2),
        (service, "TICK_S", 0.1), (housekeeping, "RECLAIM_S", 0.2), (worker, "RETRY_S", 0.05),
        (worker, "OUTPUT_S", 0.1),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_capture(path: Path, seed: int = 0, taken: str = "", camera: str = "One") -> Path:
    """A small noisy capture, of another content for each seed, that may say when it was taken."""
    rng = np.random.default_rng(seed)
    mosaic = np.clip(np.rint(4000 + 300 * rng.standard_normal((48, 64))), 0, 16383).astype(np.uint16)
    second, _, fraction = taken.partition(".")
    exif = {Code.DateTimeOriginal: ascii_tag(second)} if taken else {}
    if fraction:
        exif[SUB_SECONDS] = ascii_tag(fraction)
    raw = make_raw(
        48, 64, mosaic=mosaic, camera=Camera("Test", camera), exposure=Exposure(iso=800),
        metadata=Metadata(exif=exif),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dng(raw, path, provenance=Provenance("0", "simulated", 0.0))
    return path


def retag(path: Path, taken: str) -> None:
    """Say that a capture was taken at another time, by the same pixels."""
    raw = read_raw(path)
    exif = {**raw.metadata.exif, Code.DateTimeOriginal: ascii_tag(taken)}
    changed = replace(raw, metadata=replace(raw.metadata, exif=exif))
    write_dng(changed, path, provenance=Provenance("0", "simulated", 0.0))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    (tmp_path / "in").mkdir()
    return Root(
        tmp_path / "in", tmp_path / "out", QUICK, settle_s=0.0, rescan_s=1.0, train="never", attempts=3
    )


def config_of(*roots: Root, jobs: int = 2) -> WatchConfig:
    return WatchConfig(roots, roots[0].source.parent / "state", jobs=jobs)


def once(*roots: Root, redo: bool = False, verify: bool = False) -> tuple[int, Told]:
    """What `--once` does."""
    config, told = config_of(*roots), Told()
    with Ledger(config.state) as ledger:
        return Service(config, user_stores(), ledger, told, RunOptions(True, redo, verify)).run(
            lambda: False
        ), told


@contextmanager
def watching(*roots: Root) -> Iterator[tuple[Service, Told]]:
    """A service that runs for the length of the block."""
    config, told, stop = config_of(*roots), Told(), threading.Event()
    with Ledger(config.state) as ledger:
        running = Service(config, user_stores(), ledger, told)
        thread = threading.Thread(target=running.run, args=(stop.is_set,))
        thread.start()
        try:
            yield running, told
        finally:
            stop.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def outputs(root: Root) -> set[str]:
    found = (path for path in root.output.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(root.output).as_posix() for path in found}


def states(root: Root) -> dict[str, int]:
    with Ledger(config_of(root).state, owner=False) as ledger:
        return {str(state): number for state, number in ledger.figures.count_states().items() if number}
