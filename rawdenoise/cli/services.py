"""From the options of `rawdenoise watch` to a service, and through it to the exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rawdenoise.app.denoise import denoisers_of
from rawdenoise.app.stores import user_stores
from rawdenoise.cli.arguments import recipe_from
from rawdenoise.cli.signals import stop_on_signal
from rawdenoise.cli.text import duration, one_line
from rawdenoise.files.names import absolute
from rawdenoise.isolation.reader import shared_reader
from rawdenoise.watching.config import (
    ConfigError,
    Root,
    WatchConfig,
    check_roots,
    default_state,
    read_config,
)
from rawdenoise.watching.database import LedgerBrokenError
from rawdenoise.watching.heartbeat import BEAT_S, heartbeats
from rawdenoise.watching.ledger import Ledger, State, existing_ledger
from rawdenoise.watching.moments import now
from rawdenoise.watching.reports import JsonReport, PlainReport, Report
from rawdenoise.watching.service import Service
from rawdenoise.watching.units import service_unit

DESCRIPTION = "rawdenoise: denoise what arrives in watched folders"
REFRESH_S = 1.0
OVERDUE = 4  # heartbeats
MOST_SHOWN = 8
LEDGERS = 3  # that may break, one after the other, before it is the disk's fault
LEFT_OUT = {"print_service", "state", "redo", "verify"}  # of a service: told otherwise, or meant for once


def configured(
    ctx: click.Context, source: Path | None, output: Path | None, config: Path | None, state: Path | None,
    options: dict[str, Any],
) -> WatchConfig:  # fmt: skip
    """Turn a file, or IN, OUT and options, into what is to be watched.

    Raises:
        click.UsageError: neither, or both. ConfigError: the file, or the folders, make no sense.
    """
    if config is not None:
        said = [name for name in ("source", "output", *options) if _was_given(ctx, name)]
        if said:
            raise click.UsageError(
                f"--config says all of it; {_spelled(said[0])} belongs into {one_line(config)}"
            )
        told = read_config(config)
        return told if state is None else replace(told, state=absolute(state))
    if source is None or output is None:
        raise click.UsageError("give a folder to watch and -o OUT, or --config FILE")
    failed_dir = options["failed_dir"]
    root = Root(
        absolute(source),
        absolute(output),
        recipe_from(options),
        recursive=not options["no_recursive"],
        settle_s=options["settle"],
        poll_s=options["poll"],
        rescan_s=options["rescan"],
        failed_dir=None if failed_dir is None else absolute(failed_dir),
        **{
            name: options[name]
            for name in ("sidecars", "attempts", "lost", "train", "train_after", "train_minutes")
        },
    )
    check_roots((root,))
    return WatchConfig(
        (root,), absolute(state) if state else default_state(), options["jobs"], options["device"]
    )


def run(
    config: WatchConfig, file: Path | None, *, once: bool, redo: bool, verify: bool, log_json: bool
) -> int:
    """Watch until a signal, or with `once` until all is done; a ledger that breaks meanwhile is begun anew.

    Raises:
        SetupError, ModelError: a device or a model that was asked for is not there. LedgerError: the state
        folder cannot be used.
    """
    stores = user_stores()
    for root in config.roots:
        recipe = root.recipe
        denoisers_of(recipe, stores.models, device=config.device)
    report = JsonReport(_err) if log_json else PlainReport(_err, one_line)
    with stop_on_signal(lambda: None) as stop:
        for chances in reversed(range(LEDGERS)):
            try:
                with Ledger(config.state) as ledger:
                    if ledger.note:
                        report.say("ledger", reason=ledger.note)
                    service = Service(config, stores, ledger, report, once=once, redo=redo, verify=verify)
                    # Without a file to read again a closed terminal ends it, as it ends other programs.
                    reload = None if file is None else partial(_reload, service, config, file, report)
                    with nullcontext() if reload is None else _on_hangup(reload):
                        code = service.run(stop)
                break
            except LedgerBrokenError as error:
                if not chances or stop():
                    raise
                report.say("ledger", reason=str(error))
    code = stop.exit_code if once and stop() else code
    # A thread in a call that does not return would be waited for, and on a busy machine Python takes seconds
    # to take down what is loaded.
    if service.hangs or stop():
        shared_reader().close()
        with suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()
        os._exit(code)
    return code


def _reload(service: Service, config: WatchConfig, file: Path, report: Report) -> None:
    try:
        service.reload(replace(read_config(file), state=config.state))
    except ConfigError as error:
        report.say("not reloaded", reason=str(error))


@contextmanager
def _on_hangup(reload: Callable[[], None]) -> Iterator[None]:
    """Call a function at SIGHUP, where there is such a signal."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        threading.Thread(
            target=reload, name="reload"
        ).start()  # reports take a lock that this thread may hold

    before = signal.signal(signal.SIGHUP, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def print_service(ctx: click.Context, kind: str, config: WatchConfig, *, once: bool) -> int:
    """Print a unit that runs the command as it was given, with folders spelled out."""
    if once:
        raise click.UsageError("--once ends when all is done; a service goes on")
    command = [sys.executable, "-m", "rawdenoise", "watch", *_given(ctx), "--state", str(config.state)]
    click.echo(service_unit(kind, command, description=DESCRIPTION), nl=False)
    where = {
        "systemd": "save it as ~/.config/systemd/user/rawdenoise.service, then: systemctl --user enable --now"
        " rawdenoise (and `loginctl enable-linger`, to run without a session)",
        "launchd": "save it as ~/Library/LaunchAgents/org.rawdenoise.watch.plist; launchctl load -w FILE",
    }[kind]
    _err(where)
    return 0


def _given(ctx: click.Context) -> Iterator[str]:
    """Spell what was given, by options or the environment; folders as seen from anywhere."""
    for each in ctx.command.params:
        if each.name is None or each.name in LEFT_OUT or not _was_given(ctx, each.name):
            continue
        value = ctx.params[each.name]
        if isinstance(each, click.Option):
            yield each.opts[-1]
        if value is not True:
            yield str(absolute(value) if isinstance(value, Path) else value)


def show_status(state: Path | None) -> int:
    """Show what the watchers of a state folder are at: live on a terminal, once elsewhere."""
    with existing_ledger(state or default_state()) as ledger:
        console = Console()
        if not console.is_terminal:
            console.print(_page(ledger))
            return 0
        with suppress(KeyboardInterrupt), Live(_page(ledger), console=console, screen=True) as live:
            while True:
                time.sleep(REFRESH_S)
                live.update(_page(ledger))
    return 0


def _page(ledger: Ledger) -> Group:
    stats = ledger.stats(now().wall)
    counts = Table(title="captures", title_justify="left")
    for state in State:
        counts.add_column(str(state), justify="right")
    counts.add_row(*(str(stats.counts[state]) for state in State))
    lines: list[RenderableType] = [
        Text(f"rawdenoise watch, {one_line(ledger.folder)}", style="bold"),
        *(Text(line) for line in _alive(ledger)),
        counts,
        Text(f"done: {stats.done_last_hour} in the last hour, {stats.done_last_day} in the last day"),
    ]
    if stats.latency_p50_s is not None and stats.latency_p95_s is not None:
        half, most = duration(stats.latency_p50_s), duration(stats.latency_p95_s)
        lines.append(Text(f"from settled to done: {half} in the median, {most} for 95 %"))
    if stats.oldest_waiting_s is not None:
        lines.append(Text(f"the oldest has waited for {duration(stats.oldest_waiting_s)}"))
    for state in (State.RUNNING, State.QUARANTINED, State.FAILED):
        for job in ledger.jobs(states=(state,), limit=MOST_SHOWN):
            reason = f": {one_line(job.reason)}" if job.reason and state is not State.RUNNING else ""
            name = one_line(job.paths[0]) if job.paths else job.digest[:12]
            lines.append(Text(f"{state} {job.id}: {name}{reason}"))
    return Group(*lines)


def _alive(ledger: Ledger) -> Iterator[str]:
    beats = [each for each in heartbeats(ledger.folder, now()) if not ledger.is_dead(each.owner)]
    if not beats:
        yield "no watcher is running"
    for beat in beats:
        late = f", silent for {duration(beat.silent_s)}" if beat.silent_s > OVERDUE * BEAT_S else ""
        yield f"watcher {beat.pid}, for {duration(beat.age_s)}{late}"
        for root in beat.roots:
            waiting = f"; waiting: {one_line(root.waiting)}" if root.waiting else ""
            folders = f"{one_line(root.source)} -> {one_line(root.output)}"
            yield f"  {folders} ({one_line(root.mode)}, {root.files} files{waiting})"
        if beat.training:
            yield f"  training {one_line(beat.training)}"


def _was_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) not in (None, click.core.ParameterSource.DEFAULT)


def _spelled(name: str) -> str:
    return "IN" if name == "source" else "--" + name.replace("_", "-")


def _err(line: str) -> None:
    click.echo(line, err=True)
