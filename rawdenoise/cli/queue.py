"""`rawdenoise queue`: what watched folders have done, what they have given up, and what to do about it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.paths import GivenPath
from rawdenoise.cli.text import counted, duration, one_line

if TYPE_CHECKING:
    from rawdenoise.watching.ledger import Ledger
    from rawdenoise.watching.ledger.records import Job

STATES = ("seen", "ready", "running", "done", "failed", "quarantined")
JOB_STATES = STATES[1:]


STATE = click.option(
    "--state", "folder", type=GivenPath(), metavar="DIR",
    help="The state folder that was given to watch.  [default: the user's]",
)  # fmt: skip


@click.group("queue", short_help=COMMANDS["queue"])
def command() -> None:
    """Look into the ledger of `rawdenoise watch`, while it runs or not."""


@contextmanager
def _ledger(folder: Path | None) -> Iterator[Ledger]:
    from rawdenoise.watching.config import default_state
    from rawdenoise.watching.ledger import open_existing

    with open_existing(folder or default_state()) as ledger:
        yield ledger


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

    wanted = [State(name) for name in only or STATES]
    with _ledger(folder) as ledger:
        seen = ledger.files.list_unsettled(limit) if State.SEEN in wanted else []
        jobs = ledger.jobs.select(states=[state for state in wanted if state is not State.SEEN], limit=limit)
    for path, since in seen:
        told = {"state": "seen", "paths": [str(path)], "seen_at": since}
        click.echo(json.dumps(told) if as_json else f"{'':>6} {'seen':<11} {one_line(path)}")
    for job in jobs:
        click.echo(json.dumps(_told(job)) if as_json else _line(job))


@command.command("show")
@click.argument("id", type=int)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@STATE
def show(id: int, as_json: bool, folder: Path | None) -> None:
    """Show all that is known of one capture."""
    with _ledger(folder) as ledger:
        jobs = ledger.jobs.select(ids=(id,))
    if not jobs:
        raise click.ClickException(f"no job {id}; `rawdenoise queue list` shows them")
    told = _told(jobs[0])
    if as_json:
        click.echo(json.dumps(told))
        return
    for name, value in told.items():
        if value not in (None, "", []):
            said = _time(float(value)) if name.endswith("_at") else value
            click.echo(f"{name:<12} {one_line(', '.join(said) if isinstance(said, list) else str(said))}")


@command.command("retry")
@click.argument("ids", nargs=-1, type=int)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@STATE
def retry(ids: tuple[int, ...], as_json: bool, folder: Path | None) -> None:
    """Try again what failed or was given up: these IDS, or all."""
    from rawdenoise.watching.moments import now

    with _ledger(folder) as ledger:
        number = ledger.requests.retry(now(), ids or None)
    click.echo(
        json.dumps({"retried": number}) if as_json else f"{counted(number, 'capture')} will be tried again"
    )


@command.command("clear")
@click.argument("ids", nargs=-1, type=int)
@click.option(
    "--only", type=click.Choice(JOB_STATES), multiple=True, help="These states only; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@STATE
def clear(ids: tuple[int, ...], only: tuple[str, ...], as_json: bool, folder: Path | None) -> None:
    """Forget captures: these IDS, or those in the states of --only. Files that are there arrive anew.

    No file is touched; outputs that are there are found to be done.
    """
    from rawdenoise.watching.ledger.records import State

    if not ids and not only:
        raise click.UsageError("give IDS, or --only STATE")
    with _ledger(folder) as ledger:
        number = ledger.requests.clear([State(name) for name in only or JOB_STATES], ids or None)
    click.echo(json.dumps({"cleared": number}) if as_json else f"{counted(number, 'capture')} forgotten")


@command.command("dismiss")
@click.argument("ids", nargs=-1, type=int, required=True)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@STATE
def dismiss(ids: tuple[int, ...], as_json: bool, folder: Path | None) -> None:
    """Want no outputs of these captures: they are not made, and deleted ones do not come again.

    No file is touched. `queue clear` takes it back.
    """
    with _ledger(folder) as ledger:
        number = ledger.requests.dismiss(ids)
    click.echo(json.dumps({"dismissed": number}) if as_json else f"{counted(number, 'capture')} dismissed")


@command.command("stats")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@STATE
def stats(as_json: bool, folder: Path | None) -> None:
    """Count what is in each state, and say how long captures take."""
    with _ledger(folder) as ledger:
        found = ledger.figures.sum_up(time.time())
    if as_json:
        told = {name: getattr(found, name) for name in found.__slots__ if name != "counts"}
        click.echo(json.dumps({**{str(state): count for state, count in found.counts.items()}, **told}))
        return
    for state, count in found.counts.items():
        click.echo(f"{state:<12} {count}")
    click.echo(f"done         {found.done_last_hour} in the last hour, {found.done_last_day} in the last day")
    if found.latency_p50_s is not None and found.latency_p95_s is not None:
        click.echo(
            f"latency      {duration(found.latency_p50_s)} median, {duration(found.latency_p95_s)} for 95 %"
        )
    if found.oldest_waiting_s is not None:
        click.echo(f"waiting      {duration(found.oldest_waiting_s)} at most")


def _told(job: Job) -> dict[str, Any]:
    from rawdenoise.watching.moments import now

    at, waits = now(), str(job.state) in ("ready", "failed")
    return {
        "id": job.id,
        "state": str(job.state),
        "paths": [str(path) for path in job.paths],
        "output": None if job.output is None else str(job.output),
        "reason": job.reason,
        "attempts": job.attempts,
        "camera": job.camera,
        "model": job.model_id,
        "gain_db": job.gain_db,
        "sha256": job.digest,
        "recipe": job.recipe,
        "ready_at": job.ready_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "due_at": round(at.wall + max(0.0, job.due_at - at.steady)) if waits else None,
        "suspect": job.suspect,
        "crashes": job.crashes,
    }


def _line(job: Job) -> str:
    source = one_line(job.paths[0]) if job.paths else f"(gone) {job.digest[:12]}"
    more = f" (+{len(job.paths) - 1})" if len(job.paths) > 1 else ""
    reason = f": {one_line(job.reason)}" if job.reason else ""
    output = f" -> {one_line(job.output)}" if job.output is not None and job.state == "done" else ""
    return f"{job.id:>6} {job.state:<11} {source}{more}{output}{reason}"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
