"""`rawdenoise watch`: denoise what arrives in a folder, for as long as it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import DEVICE_HELP, Finite, recipe_options
from rawdenoise.cli.paths import GivenPath


@click.command("watch", short_help=COMMANDS["watch"])
@click.argument("source", metavar="[IN]", required=False, type=GivenPath())
@click.option(
    "-o", "--output", type=GivenPath(), metavar="OUT",
    help="Folder for the outputs; it is made, and mirrors the tree of IN. It may lie inside IN.",
)  # fmt: skip
@click.option(
    "-c", "--config", type=GivenPath(), metavar="FILE",
    help="Several folders, each with its recipe, in a TOML file instead of options; read again on SIGHUP.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Do what is there and end, as for cron.")
@click.option("--no-recursive", is_flag=True, help="Do not look into folders inside IN.")
@click.option(
    "--settle", type=Finite(min=0), default=3.0, show_default=True, metavar="S",
    help="A file is whole when nothing has happened to it for so many seconds.",
)  # fmt: skip
@click.option(
    "--poll", type=Finite(min=0.1), metavar="S",
    help="Look every so many seconds instead of waiting for events; network folders are polled anyway.",
)  # fmt: skip
@click.option(
    "--rescan", type=Finite(min=1), default=300.0, show_default=True, metavar="S",
    help="Look through the whole folder so often, in case events were lost.",
)  # fmt: skip
@click.option(
    "--sidecars", is_flag=True, help="Copy XMP, JPEG, HEIF and WAV files of the same name beside outputs."
)
@click.option(
    "--failed-dir", type=GivenPath(), metavar="DIR",
    help="Move captures there that were given up; without it they stay where they are.",
)  # fmt: skip
@click.option(
    "--attempts", type=click.IntRange(min=1), default=5, show_default=True, metavar="N",
    help="Give a capture up that could not be read so often.",
)  # fmt: skip
@click.option(
    "--lost", type=click.Choice(["again", "leave"]), default="again", show_default=True,
    help="Make outputs that are gone again, or leave it at that: they were taken away on purpose.",
)  # fmt: skip
@click.option(
    "--train", type=click.Choice(["never", "idle", "now"]), default="idle", show_default=True,
    help="When to train a camera's own model on what arrived: when nothing else is to be done, or at once.",
)  # fmt: skip
@click.option(
    "--train-after", type=click.IntRange(min=3), default=30, show_default=True, metavar="N",
    help="How many captures of a camera that takes.",
)  # fmt: skip
@click.option(
    "--train-minutes", type=Finite(min=0, min_open=True), default=10.0, show_default=True,
    metavar="M", help="How long to train.",
)  # fmt: skip
@recipe_options
@click.option(
    "--redo", is_flag=True,
    help="Do again what was done by another recipe, method or model; outputs are replaced.",
)  # fmt: skip
@click.option(
    "--verify", is_flag=True,
    help="Read all outputs again at the start; what is damaged or gone is made again.",
)  # fmt: skip
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=2, show_default=True, metavar="N",
    help="Files in memory at a time; one is in the network while others are read and written.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help=DEVICE_HELP)
@click.option(
    "--state", type=GivenPath(), metavar="DIR",
    help="Folder of the ledger, on a local disk; watchers can share it.  [default: the user's]",
)  # fmt: skip
@click.option("--log-json", is_flag=True, help="One JSON object an event on standard error.")
@click.option(
    "--status", is_flag=True, help="Show what the watchers of this --state are at, and watch nothing."
)
@click.option(
    "--print-service", type=click.Choice(["systemd", "launchd"]),
    help="Print the file that keeps this very command running, and watch nothing.",
)  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context, /, once: bool, redo: bool, verify: bool, state: Path | None, log_json: bool,
    status: bool, print_service: str | None, **options: Any,
) -> None:  # fmt: skip
    """Denoise what arrives in the folder IN, each capture once, for as long as it runs.

    At least once, idempotent, crash-safe: whatever is killed, unplugged or full in between, each capture ends
    up in OUT, a source is never changed, and an output is whole or absent.

    Exit codes: 0 stopped, or with --once all done; 1 with --once if something failed or waits; 2 usage, 3 no
    ledger, model or device, 130 and 143 with --once if stopped by Ctrl-C or SIGTERM.
    """
    from rawdenoise.cli import watch_run as services
    from rawdenoise.watching.service import RunOptions

    if status:
        ctx.exit(services.show_status(state))
    watched = services.read_options(ctx, state, **options)
    if print_service:
        ctx.exit(services.print_service(ctx, print_service, watched, once=once))
    ctx.exit(services.run(watched, options["config"], RunOptions(once, redo, verify), log_json=log_json))
