"""A training session as it is seen: the captures found, a live line per camera, what to type next."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import platformdirs
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from rawdenoise.cli.arguments import NothingMatchedError
from rawdenoise.cli.signals import Stop, stop_on_signal
from rawdenoise.cli.text import counted, duration, one_line
from rawdenoise.devices import pick_device
from rawdenoise.errors import RawDenoiseError, TrainingError
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.models import Model, ModelStore
from rawdenoise.training.captures import CaptureSet, scan
from rawdenoise.training.loop import Progress as Training
from rawdenoise.training.loop import TrainingOptions, TrainingStopped, forget, train

PLAIN_LINE_S = 10.0


def run(
    inputs: Sequence[Path],
    camera: str | None,
    layout: PlainLayout | None,
    options: TrainingOptions,
    scratch: Path | None,
) -> int:
    """Train every camera among the inputs; returns the exit code.

    Raises:
        NothingMatchedError: no file there is a raw file.
        TrainingError: none of them can be used.
        SetupError: the device is absent.
    """
    pick_device(options.device)
    groups = _large_enough(_scanned(inputs, camera, layout), options.min_captures)
    folder = scratch or platformdirs.user_cache_path("rawdenoise") / "training"
    failures = 0
    with stop_on_signal(lambda: None) as stop:
        for number, group in enumerate(groups, 1):
            _say(f"\n[{number}/{len(groups)}] {one_line(group.camera.name)}")
            try:
                _announce(_train_one(group, options, folder, stop), group, inputs, layout)
            except TrainingStopped as stopped:
                _say(str(stopped))
                return stop.exit_code if stop() else TrainingStopped.exit_code
            except TrainingError as error:
                failures += 1
                _say(f"failed: {one_line(str(error))}")
    return int(failures > 0)


def _scanned(inputs: Sequence[Path], camera: str | None, layout: PlainLayout | None) -> list[CaptureSet]:
    """Look at all captures and say what was found, and what was refused and why."""
    refused: list[RawDenoiseError] = []
    seen = 0
    with _live("reading captures") as update:

        def on_file(path: Path, error: RawDenoiseError | None) -> None:
            nonlocal seen
            seen += 1
            update(None, f"{counted(seen, 'file')}")
            if error is not None:
                refused.append(error)

        groups = scan(inputs, camera_name=camera, layout=layout, on_file=on_file)
    for error in refused:
        _say(f"refused: {one_line(str(error))}")
    if not seen:
        raise NothingMatchedError("no raw files found")
    if not groups:
        raise TrainingError(f"none of {counted(seen, 'file')} can be trained on")
    return groups


def _large_enough(groups: list[CaptureSet], least: int) -> list[CaptureSet]:
    """Say what each camera has, and keep those with captures enough."""
    for group in groups:
        camera = f"{one_line(group.camera.name)} ({one_line(group.camera.mode)})"
        enough = "" if len(group.captures) >= least else f"; left out, {least} are needed (--min-captures)"
        _say(f"{camera}: {counted(len(group.captures), 'capture')}, {_isos(group)}{enough}")
    kept = [group for group in groups if len(group.captures) >= least]
    if not kept:
        raise TrainingError(f"no camera has {counted(least, 'capture')}; add some, or lower --min-captures")
    return kept


def _isos(group: CaptureSet) -> str:
    isos = sorted({capture.iso for capture in group.captures if capture.iso is not None})
    return f"ISO {', '.join(map(str, isos))}" if isos else "ISO not stated"


def _train_one(group: CaptureSet, options: TrainingOptions, folder: Path, stop: Stop) -> Model:
    with _live("training") as update:
        before = 0

        def on_progress(progress: Training) -> None:
            nonlocal before
            if not before and progress.images > options.batch:
                _say(f"going on after {progress.images - options.batch} crops of an earlier run")
            before = progress.images or before
            update(progress.done, _state(progress))

        model = train(group, options, folder=folder, on_progress=on_progress, stop=stop)
    ModelStore().save(model)
    forget(group, options, folder=folder)
    return model


def _state(progress: Training) -> str:
    """Say how far a training is, in one line."""
    parts = [progress.stage]
    if progress.images:
        speed = progress.images / max(progress.elapsed_s, 1e-3)
        parts += [f"loss {progress.loss:.4g}", f"{progress.images} crops", f"{speed:.0f} crops/s"]
    if progress.remaining_s is not None:
        parts.append(f"{duration(progress.remaining_s)} left")
    return ", ".join(parts)


def _announce(model: Model, group: CaptureSet, inputs: Sequence[Path], layout: PlainLayout | None) -> None:
    """Say which model there is now, how good it is, and what to type next."""
    card = model.card
    click.echo(f"model {card.id}")
    for name, value in card.figures.items():
        click.echo(f"  {name}: {value:.5g}")
    click.echo(f"next: {shlex.join(_next(card.id, group, inputs, layout))}")


def _next(id: str, group: CaptureSet, inputs: Sequence[Path], layout: PlainLayout | None) -> Iterator[str]:
    """Spell the command that denoises the captures of the first of the inputs that has any."""
    paths = [capture.path for capture in group.captures]
    source = next(given for given in inputs if any(path.is_relative_to(given) for path in paths))
    yield from ("rawdenoise", "denoise", one_line(source), "-o", "out")
    if any(path.is_relative_to(source) and source not in (path, path.parent) for path in paths):
        yield "-r"
    if not all(capture.named for capture in group.captures):
        yield from ("--model", id)
    if layout is not None:
        yield from _options(layout)


def _options(layout: PlainLayout) -> Iterator[str]:
    """Spell a layout as the options that make it."""
    black = layout.black if isinstance(layout.black, tuple) else (layout.black,)
    yield from ("--cfa", str(layout.cfa), "--bits", str(layout.bits))
    yield from ("--black", ",".join(f"{level:g}" for level in black))
    if layout.white is not None:
        yield from ("--white", f"{layout.white:g}")
    if layout.size is not None:
        yield from ("--size", "x".join(map(str, layout.size)))


def _say(line: str) -> None:
    click.echo(line, err=True)


@contextmanager
def _live(title: str) -> Iterator[Callable[[float | None, str], None]]:
    """Give a function that shows how far something is: a bar on a terminal, else a line every ten seconds."""
    if not sys.stderr.isatty():
        yield _plainly(title)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True) as progress:
        task = progress.add_task(title, total=None)

        def update(done: float | None, state: str) -> None:
            progress.update(
                task, description=state, total=None if done is None else 1.0, completed=done or 0.0
            )

        yield update


def _plainly(title: str) -> Callable[[float | None, str], None]:
    last = time.monotonic()

    def update(done: float | None, state: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_LINE_S:
            last = time.monotonic()
            _say(f"{title}: {state}" if done is None else f"{done:4.0%} {state}")

    return update
