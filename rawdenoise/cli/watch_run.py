"""What `rawdenoise watch` is given, and what it prints of watchers that run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rawdenoise.app.stores import user_stores
from rawdenoise.cli.arguments import make_recipe
from rawdenoise.cli.queue import open_ledger
from rawdenoise.files.names import make_absolute
from rawdenoise.terminal.signals import stop_on_signal
from rawdenoise.terminal.text import to_one_line, write_duration
from rawdenoise.watching.config import WatchConfig, configure, read_config
from rawdenoise.watching.ledger.records import State
from rawdenoise.watching.reports import JsonReport, PlainReport
from rawdenoise.watching.service import RunOptions
from rawdenoise.watching.service_units import INSTALLING, write_service_unit
from rawdenoise.watching.status import WatchStatus, read_status
from rawdenoise.watching.watch import check_denoisers, end_process, watch

REFRESH_S = 1.0
LEFT_OUT_OPTIONS = {
    "print_service",
    "state",
    "redo",
    "verify",
}  # of a service: told otherwise, or meant for once


def read_options(
    ctx: click.Context, state: Path | None, *, source: Path | None, output: Path | None,
    config: Path | None, **options: Any,
) -> WatchConfig:  # fmt: skip
    """Turn a file, or IN, OUT and options, into what is to be watched.

    Raises:
        click.UsageError: neither, or both. ConfigError: the file, or the folders, make no sense.
    """
    if config is not None:
        for name in ("source", "output", *options):
            if _was_given(ctx, name):
                spelled = "IN" if name == "source" else "--" + name.replace("_", "-")
                raise click.UsageError(
                    f"--config says all of it; {spelled} belongs into {to_one_line(config)}"
                )
        from_file = read_config(config)
        return from_file if state is None else replace(from_file, state=make_absolute(state))
    if source is None or output is None:
        raise click.UsageError("give a folder to watch and -o OUT, or --config FILE")
    options["recursive"] = not options["no_recursive"]
    return configure(source, output, make_recipe(options), state, options)


def run(config: WatchConfig, file: Path | None, options: RunOptions, *, log_json: bool) -> int:
    """Watch until a signal, or with `once` until all is done."""
    stores = user_stores()
    check_denoisers(config, stores)
    report = JsonReport(_err) if log_json else PlainReport(_err, to_one_line)
    with stop_on_signal(lambda: None) as stop:
        ending = watch(config, stores, report, stop, options, file=file)
    code = stop.exit_code if options.once and stop() else ending.exit_code
    if ending.hangs or stop():
        end_process(code)
    return code


def print_service(ctx: click.Context, kind: str, config: WatchConfig, *, once: bool) -> int:
    """Print a unit that runs the command as it was given, with folders spelled out."""
    if once:
        raise click.UsageError("--once ends when all is done; a service goes on")
    command = [
        sys.executable,
        "-m",
        "rawdenoise",
        "watch",
        *_spell_options(ctx),
        "--state",
        str(config.state),
    ]
    click.echo(write_service_unit(kind, command), nl=False)
    _err(INSTALLING[kind])
    return 0


def _spell_options(ctx: click.Context) -> Iterator[str]:
    """Spell what was given, by options or the environment; folders as seen from anywhere."""
    for param in ctx.command.params:
        if param.name is None or param.name in LEFT_OUT_OPTIONS or not _was_given(ctx, param.name):
            continue
        value = ctx.params[param.name]
        if isinstance(param, click.Option):
            yield next((name for name in param.opts if name.startswith("--")), param.opts[0])
        if value is not True:
            yield str(make_absolute(value) if isinstance(value, Path) else value)


def _was_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) not in (None, click.core.ParameterSource.DEFAULT)


def _err(line: str) -> None:
    click.echo(line, err=True)


def show_status(state: Path | None) -> int:
    """Show what the watchers of a state folder are at: live on a terminal, once elsewhere."""
    with open_ledger(state) as ledger:
        console = Console()
        if not console.is_terminal:
            console.print(_page(read_status(ledger)))
            return 0
        page = _page(read_status(ledger))
        with suppress(KeyboardInterrupt), Live(page, console=console, screen=True) as live:
            while True:
                time.sleep(REFRESH_S)
                live.update(_page(read_status(ledger)))
    return 0


def _page(status: WatchStatus) -> Group:
    stats = status.stats
    counts = Table(title="captures", title_justify="left")
    for state in State:
        counts.add_column(str(state), justify="right")
    counts.add_row(*(str(stats.counts[state]) for state in State))
    lines: list[RenderableType] = [
        Text(f"rawdenoise watch, {to_one_line(status.folder)}", style="bold"),
        *(Text(line) for line in _describe_watchers(status)),
        counts,
        Text(f"done: {stats.done_last_hour} in the last hour, {stats.done_last_day} in the last day"),
    ]
    if stats.latency_p50_s is not None and stats.latency_p95_s is not None:
        half, most = write_duration(stats.latency_p50_s), write_duration(stats.latency_p95_s)
        lines.append(Text(f"from settled to done: {half} in the median, {most} for 95 %"))
    if stats.oldest_waiting_s is not None:
        lines.append(Text(f"the oldest has waited for {write_duration(stats.oldest_waiting_s)}"))
    for job in status.jobs:
        reason = f": {to_one_line(job.reason)}" if job.reason and job.state is not State.RUNNING else ""
        lines.append(Text(f"{job.state} {job.id}: {to_one_line(job.name)}{reason}"))
    return Group(*lines)


def _describe_watchers(status: WatchStatus) -> Iterator[str]:
    if not status.watchers:
        yield "no watcher is running"
    for beat in status.watchers:
        late = f", silent for {write_duration(beat.silent_s)}" if beat.is_overdue else ""
        yield f"watcher {beat.pid}, for {write_duration(beat.age_s)}{late}"
        for root in beat.roots:
            waiting = f"; waiting: {to_one_line(root.waiting)}" if root.waiting else ""
            folders = f"{to_one_line(root.source)} -> {to_one_line(root.output)}"
            yield f"  {folders} ({to_one_line(root.mode)}, {root.files} files{waiting})"
        if beat.training:
            yield f"  training {to_one_line(beat.training)}"
