"""`rawdenoise queue`: what watched folders have done, what they have given up, and what to do about it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.paths import GivenPath
from rawdenoise.terminal.text import count_noun, to_one_line, write_duration

if TYPE_CHECKING:
    from rawdenoise.watching.ledger import Ledger

STATES = ("seen", "ready", "running", "done", "failed", "quarantined")
JOB_STATES = STATES[1:]
IDS = click.argument("ids", nargs=-1, type=int)
JSON = click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
STATE = click.option(
    "--state", "folder", type=GivenPath(), metavar="DIR",
    help="The state folder that was given to watch.  [default: the user's]",
)  # fmt: skip


@click.group("queue", short_help=COMMANDS["queue"])
def command() -> None:
    """Look into the ledger of `rawdenoise watch`, while it runs or not."""


@command.command("list")
@click.option("--only", type=click.Choice(STATES), multiple=True, help="These states only; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@STATE
def list_jobs(only: tuple[str, ...], limit: int, as_json: bool, folder: Path | None) -> None:
    """List captures, the newest first."""
    from rawdenoise.watching.ledger.records import State
    from rawdenoise.watching.status import list_captures

    with open_ledger(folder) as ledger:
        captures = list_captures(ledger, [State(name) for name in only or STATES], limit)
    for capture in captures:
        click.echo(json.dumps(capture) if as_json else _describe_job(**capture))


@command.command("show")
@click.argument("id", type=int)
@JSON
@STATE
def show(id: int, as_json: bool, folder: Path | None) -> None:
    """Show all that is known of one capture."""
    from rawdenoise.watching.clocks import now
    from rawdenoise.watching.status import describe_job

    with open_ledger(folder) as ledger:
        jobs = ledger.jobs.select(ids=(id,))
    if not jobs:
        raise click.ClickException(f"no job {id}; `rawdenoise queue list` shows them")
    fields = describe_job(jobs[0], now())
    if as_json:
        click.echo(json.dumps(fields))
        return
    for name, value in fields.items():
        if value not in (None, "", []):
            words = _write_time(value) if name.endswith("_at") else value
            click.echo(
                f"{name:<12} {to_one_line(', '.join(words) if isinstance(words, list) else str(words))}"
            )


@command.command("retry")
@IDS
@JSON
@STATE
def retry(ids: tuple[int, ...], as_json: bool, folder: Path | None) -> None:
    """Try again what failed or was given up: these IDS, or all."""
    from rawdenoise.watching.clocks import now

    with open_ledger(folder) as ledger:
        _print_number("retried", ledger.requests.retry(now(), ids or None), "will be tried again", as_json)


@command.command("clear")
@IDS
@click.option(
    "--only", type=click.Choice(JOB_STATES), multiple=True, help="These states only; may be repeated."
)
@JSON
@STATE
def clear(ids: tuple[int, ...], only: tuple[str, ...], as_json: bool, folder: Path | None) -> None:
    """Forget captures: these IDS, or those in the states of --only. Files that are there arrive anew.

    No file is touched; outputs that are there are found to be done.
    """
    from rawdenoise.watching.ledger.records import State

    if not ids and not only:
        raise click.UsageError("give IDS, or --only STATE")
    states = [State(name) for name in only or JOB_STATES]
    with open_ledger(folder) as ledger:
        _print_number("cleared", ledger.requests.clear(states, ids or None), "forgotten", as_json)


@command.command("dismiss")
@click.argument("ids", nargs=-1, type=int, required=True)
@JSON
@STATE
def dismiss(ids: tuple[int, ...], as_json: bool, folder: Path | None) -> None:
    """Want no outputs of these captures: they are not made, and deleted ones do not come again.

    No file is touched. `queue clear` takes it back.
    """
    with open_ledger(folder) as ledger:
        _print_number("dismissed", ledger.requests.dismiss(ids), "dismissed", as_json)


@command.command("stats")
@JSON
@STATE
def stats(as_json: bool, folder: Path | None) -> None:
    """Count what is in each state, and say how long captures take."""
    from rawdenoise.watching.status import describe_stats

    with open_ledger(folder) as ledger:
        sums = ledger.figures.sum_up(time.time())
    if as_json:
        click.echo(json.dumps(describe_stats(sums)))
        return
    for state, count in sums.counts.items():
        click.echo(f"{state:<12} {count}")
    click.echo(f"done         {sums.done_last_hour} in the last hour, {sums.done_last_day} in the last day")
    if sums.latency_p50_s is not None and sums.latency_p95_s is not None:
        half, most = write_duration(sums.latency_p50_s), write_duration(sums.latency_p95_s)
        click.echo(f"latency      {half} median, {most} for 95 %")
    if sums.oldest_waiting_s is not None:
        click.echo(f"waiting      {write_duration(sums.oldest_waiting_s)} at most")


def open_ledger(folder: Path | None) -> Ledger:
    """Open the ledger of a state folder, to look into it.

    Raises:
        LedgerError: there is none, or it cannot be read.
    """
    from rawdenoise.watching.config import default_state
    from rawdenoise.watching.ledger import open_existing
    from rawdenoise.watching.ledger.database import LedgerError, LedgerMissingError

    try:
        return open_existing(folder or default_state())
    except LedgerMissingError as error:
        raise LedgerError(f"{error}; --state says where that is") from error


def _print_number(key: str, number: int, words: str, as_json: bool) -> None:
    click.echo(json.dumps({key: number}) if as_json else f"{count_noun(number, 'capture')} {words}")


def _describe_job(
    state: str, paths: list[str], id: int | str = "", output: str | None = None, reason: str = "",
    sha256: str = "", **more: object,
) -> str:  # fmt: skip
    source = to_one_line(paths[0]) if paths else f"(gone) {sha256[:12]}"
    others = f" (+{len(paths) - 1})" if len(paths) > 1 else ""
    result = f" -> {to_one_line(output)}" if output is not None and state == "done" else ""
    return f"{id:>6} {state:<11} {source}{others}{result}{f': {to_one_line(reason)}' if reason else ''}"


def _write_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
