"""A training session as it is seen: the captures found, a live line per camera, what to type next."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
import platformdirs
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from rawdenoise.app.stores import user_stores
from rawdenoise.cli.arguments import NothingMatchedError
from rawdenoise.cli.signals import Stop, stop_on_signal
from rawdenoise.cli.text import counted, duration, one_line
from rawdenoise.errors import OutputError, RawDenoiseError, TrainingError, explained, is_damage
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.inference.devices import pick_device
from rawdenoise.models.archive import export_halved, read_model
from rawdenoise.models.bundled import BUNDLED, load_bundled
from rawdenoise.models.card import CLEAN
from rawdenoise.models.choice import model_for
from rawdenoise.models.model import Model
from rawdenoise.training.bundled import train_base
from rawdenoise.training.camera import Trained, forget, train
from rawdenoise.training.captures import CaptureSet, scan
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress as Training
from rawdenoise.training.progress import TrainingStopped
from rawdenoise.training.unpaired import Unpaired

PLAIN_LINE_S = 10.0
PICTURES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a session does besides training: where from, where to, and with what comes out.

    `from_base` starts with the bundled model of the network, if there is one. `keep_if_worse` keeps a new
    model even where the camera's present one is better. `scratch` is the folder for tiles and checkpoints.
    `unpaired` asks for unpaired learning, with the captures under `clean`, if any are named, as clean ones.
    """

    from_base: bool = True
    keep_if_worse: bool = False
    scratch: Path | None = None
    unpaired: Unpaired | None = None
    clean: tuple[Path, ...] = ()


def run(
    inputs: Sequence[Path],
    camera: str | None,
    layout: PlainLayout | None,
    options: TrainingOptions,
    session: SessionOptions,
) -> int:
    """Train every camera among the inputs; returns the exit code, 1 where a camera or a file failed.

    Raises:
        NothingMatchedError: no file there is a raw file.
        TrainingError: none of them can be used.
        SetupError: the device is absent.
    """
    pick_device(options.device)
    damaged: list[RawDenoiseError] = []
    groups = _large_enough(_scanned(inputs, camera, layout, damaged), options.min_captures)
    clean = _scanned(session.clean, camera, layout, damaged, "--clean: ") if session.clean else []
    start = load_bundled(options.net) if session.from_base and options.net in BUNDLED else None
    failures: list[int] = []
    with stop_on_signal(lambda: None) as stop:
        for number, group in enumerate(groups, 1):
            _say(f"\n[{number}/{len(groups)}] {one_line(group.camera.name)}")
            try:
                everything, unpaired = _with_clean(group, clean, session.unpaired)
                trained = _train_one(everything, options, session, unpaired, start, stop)
                _announce(trained, everything, inputs, layout, session)
            except TrainingStopped as stopped:
                _say(str(stopped))
                return stop.exit_code if stop() else TrainingStopped.exit_code
            except Exception as error:  # a bug that one camera's captures bring to light is not the others'
                failures.append(error.exit_code if isinstance(error, RawDenoiseError) else 1)
                _say(f"failed: {one_line(explained(error))}")
    if len(failures) == len(groups) and len(set(failures)) == 1:
        return failures[0]
    return int(bool(failures or damaged))


def run_base(
    output: Path, options: TrainingOptions, scenes: int, pictures: Path | None, scratch: Path | None
) -> int:
    """Train a base model and write it to a file; returns the exit code.

    Raises:
        SetupError: the device is absent. RawDenoiseError: as `train_base`.
    """
    pick_device(options.device)
    folder = scratch or platformdirs.user_cache_path("rawdenoise") / "base"
    images = (
        sorted(path for path in pictures.rglob("*") if path.suffix.lower() in PICTURES) if pictures else []
    )
    if pictures and not images:
        raise NothingMatchedError(f"no JPEG or PNG pictures in {pictures}")
    with stop_on_signal(lambda: None) as stop:
        try:
            with _live("training") as update:
                model = train_base(
                    options, folder=folder, scenes=scenes, images=images, stop=stop,
                    on_progress=lambda progress: update(progress.done, _state(progress)),
                )  # fmt: skip
        except TrainingStopped as stopped:
            _say(str(stopped))
            return stop.exit_code if stop() else TrainingStopped.exit_code
    export_halved(model, output)
    card = read_model(output).card
    click.echo(f"model {card.id}")
    for name, value in card.figures.items():
        click.echo(f"  {name}: {value:.5g}")
    click.echo(f"next: {shlex.join(('rawdenoise', 'models', 'import', str(output)))}")
    return 0


def _scanned(
    inputs: Sequence[Path],
    camera: str | None,
    layout: PlainLayout | None,
    damaged: list[RawDenoiseError],
    where: str = "",
) -> list[CaptureSet]:
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
    damaged += filter(is_damage, refused)
    if not seen:
        raise NothingMatchedError(f"{where}no raw files found")
    if not groups:
        raise TrainingError(f"{where}none of {counted(seen, 'file')} can be trained on")
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


def _with_clean(
    group: CaptureSet, clean: list[CaptureSet], unpaired: Unpaired | None
) -> tuple[CaptureSet, Unpaired | None]:
    """Add the clean captures of a camera to its others, and name them.

    Raises:
        TrainingError: clean ones were named, but none is of this camera.
    """
    if unpaired is None or not clean:
        return group, unpaired
    alike = [each for each in clean if each.camera.is_like(group.camera)]
    own = [capture for each in alike for capture in each.captures]
    if not own:
        raise TrainingError(f"none of the captures under --clean is of {one_line(group.camera.name)}")
    everything = {capture.digest: capture for capture in (*group.captures, *own)}
    captures = tuple(everything[digest] for digest in sorted(everything))
    one_body = {each.camera.serial for each in (group, *alike)} == {group.camera.serial}
    camera = group.camera if one_body else replace(group.camera, serial="")
    digests = tuple(sorted(capture.digest for capture in own))
    return CaptureSet(camera, captures), replace(unpaired, clean=digests)


def _isos(group: CaptureSet) -> str:
    isos = sorted({capture.iso for capture in group.captures if capture.iso is not None})
    return f"ISO {', '.join(map(str, isos))}" if isos else "ISO not stated"


def _train_one(
    group: CaptureSet,
    options: TrainingOptions,
    session: SessionOptions,
    unpaired: Unpaired | None,
    start: Model | None,
    stop: Stop,
) -> Trained:
    """Train one camera, and keep its model unless the camera has a better one."""
    stores, folder = user_stores(), _scratch(session)
    store = stores.models
    store.check_writable()
    # The model these captures would be denoised with now: a broken one is said before time is spent.
    rival = model_for(group.camera, store, bundled=start.card.net if start else "fast")
    with _live("training") as update:
        before = 0

        def on_progress(progress: Training) -> None:
            nonlocal before
            if not before and progress.images > options.batch:
                _say(f"going on after {progress.images - options.batch} crops of an earlier run")
            before = progress.images or before
            update(progress.done, _state(progress))

        trained = train(
            group, options, folder=folder, start=start, rival=rival,
            unpaired=unpaired, profiles=stores.profiles, on_progress=on_progress, stop=stop,
        )  # fmt: skip
    if _kept(trained, session):
        try:
            store.save(trained.model, trained.page)
        except OutputError:
            _say(f"the training is kept in {one_line(folder)}: the same command goes on there")
            raise
        forget(group, options, folder=folder, start=start, unpaired=unpaired, profiles=stores.profiles)
    return trained


def _scratch(session: SessionOptions) -> Path:
    return session.scratch or platformdirs.user_cache_path("rawdenoise") / "training"


def _kept(trained: Trained, session: SessionOptions) -> bool:
    return trained.better or session.keep_if_worse


def _state(progress: Training) -> str:
    """Say how far a training is, in one line."""
    parts = [progress.stage]
    if progress.images:
        speed = progress.images / max(progress.elapsed_s, 1e-3)
        parts += [f"{progress.images} crops", f"{speed:.0f} crops/s"]
    if progress.gain_db is not None:
        parts.append(f"estimated gain {progress.gain_db:.2f} dB")
    if progress.remaining_s is not None:
        parts.append(f"{duration(progress.remaining_s)} left")
    return ", ".join(parts)


def _announce(
    trained: Trained,
    group: CaptureSet,
    inputs: Sequence[Path],
    layout: PlainLayout | None,
    session: SessionOptions,
) -> None:
    """Say which model there is now, how good it is, what it was compared with, and what to type next."""
    card, kept = trained.model.card, _kept(trained, session)
    click.echo(f"model {card.id}" if kept else f"no new model: {_why_not(trained)}")
    for name, value in card.figures.items():
        click.echo(f"  {name}: {value:.5g}")
    if isinstance(clean := card.options.get(CLEAN), list):
        taken = [capture for capture in group.captures if capture.digest in clean]
        click.echo(
            f"  clean: {counted(len(clean), 'capture')}, {_isos(replace(group, captures=tuple(taken)))}"
        )
    if trained.ended:
        click.echo(f"  ended early: {trained.ended}")
    if trained.before is not None and trained.rival_id:
        gain = trained.risk.gain_db - trained.before.gain_db
        click.echo(f"  against {trained.rival_id}: {gain:+.2f} dB")
    if trained.loses:
        for line in _advice(trained, kept=kept):
            click.echo(line)
    if kept:
        click.echo(f"next: {shlex.join(_next(card.id, group, inputs, layout))}")
    else:
        click.echo("--keep-if-worse keeps it nevertheless; more captures or minutes may make a better one")
        where = one_line(_scratch(session))
        click.echo(f"for that, what it has learned stays in {where}; remove it to free the disk")


def _why_not(trained: Trained) -> str:
    """Say why a new model is not kept."""
    if trained.loses:
        lost = -trained.risk.gain_db
        return f"this one is estimated to make captures held out worse, by {lost:.2f} dB"
    return "the present one is as good on held-out captures"


def _advice(trained: Trained, *, kept: bool) -> Iterator[str]:
    """Say what a model that loses means, and what can be done."""
    if kept:
        yield "kept as asked for, though it loses: `denoise` leaves pictures alone that it would make worse"
    if trained.before is not None and trained.before.gain_db < 0:
        lost = -trained.before.gain_db
        yield f"the present one loses too, by {lost:.2f} dB: `denoise` leaves such pictures alone"
    yield "more captures, plainer ones, or `rawdenoise calibrate` would tell their noise from their texture"


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
