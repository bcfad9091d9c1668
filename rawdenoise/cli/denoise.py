"""`rawdenoise denoise`: many files, one result each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import (
    DEVICE_HELP,
    LAYOUT_OPTIONS,
    gather_paths,
    layout_options,
    make_recipe,
    path_options,
    recipe_options,
)
from rawdenoise.cli.caller import caller_options, find_caller
from rawdenoise.cli.paths import GivenPath
from rawdenoise.terminal.text import to_one_line


@click.command("denoise", short_help=COMMANDS["denoise"])
@path_options
@click.option(
    "-o", "--output", type=GivenPath(), metavar="OUT",
    help="Folder for the outputs; it is made, and mirrors the tree of the inputs.",
)  # fmt: skip
@click.option("--beside", is_flag=True, help="Put outputs beside their sources instead of into OUT.")
@click.option(
    "--name", default="{stem}", show_default=True, metavar="NAME",
    help="How outputs are called: {stem}, {name} and {suffix} are IMG, IMG.NEF and NEF.",
)  # fmt: skip
@click.option(
    "--root", type=GivenPath(), metavar="DIR",
    help="Mirror the tree below DIR, whatever is given.  [default: as the inputs are given]",
)  # fmt: skip
@click.option("-r", "--recursive", is_flag=True, help="Look into folders inside folders.")
@recipe_options
@click.option(
    "--if-exists", type=click.Choice(["skip", "overwrite", "rename", "error"]),
    default="skip", show_default=True,
    help="What to do with an output that is there already.",
)  # fmt: skip
@click.option(
    "--redo", is_flag=True,
    help="Make those anew that were made by another recipe, model or method; others are skipped.",
)  # fmt: skip
@click.option(
    "--sidecars", is_flag=True, help="Copy edits, camera JPEGs and sound of the same name beside outputs."
)
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=2, show_default=True, metavar="N",
    help="Files in memory at a time; one is in the network while others are read and written.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help=DEVICE_HELP)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on standard output.")
@click.option("--no-estimate", is_flag=True, help="Do not estimate how much better each picture became.")
@click.option("--keep-mtime", is_flag=True, help="Give outputs the modification time of their source.")
@caller_options
@layout_options
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[Path, ...], **options: Any) -> None:
    """Denoise raw files, and folders of them, with their camera's model, or else the bundled one.

    Sources are never changed. One bad file never stops the rest. The same command again goes on where the
    last one ended: files whose output is there, whole and of their content, are skipped.

    Exit codes: 0 all done or skipped, 1 some failed, 2 usage, 3 no model or device, 4 nothing matched,
    130 interrupted.
    """
    _check(options)
    caller = find_caller(ctx, options, reads_stdin=str(options["files_from"]) == "-")
    if _may_be_many(paths, options["files_from"]) and not (options["dry_run"] or caller.is_isolated):
        from rawdenoise.isolation.isolated_reader import shared_reader

        shared_reader().start()  # it gets ready while torch is loaded
    from rawdenoise.app.denoise import DenoiseRequest, denoise_batch, plan_batch
    from rawdenoise.app.planning import IfExists
    from rawdenoise.app.stores import user_stores
    from rawdenoise.cli.batch_report import BatchReport
    from rawdenoise.cli.layout import parse_layout
    from rawdenoise.errors import NothingMatchedError
    from rawdenoise.files.digests import Digests
    from rawdenoise.files.names import parse_pattern
    from rawdenoise.formats.writers import find_writer

    writer, named = (
        find_writer(options["format"]),
        gather_paths(paths, options["files_from"], null=options["null"]),
    )
    request = DenoiseRequest(
        tuple(named),
        options["output"],
        make_recipe(options, estimate=not options["no_estimate"]),
        IfExists.REDO if options["redo"] else IfExists(options["if_exists"]),
        parse_pattern(options["name"], writer.suffix),
        options["root"],
        options["recursive"],
        named=paths,
        is_list=options["files_from"] is not None or named != list(paths),
        layout=parse_layout(**{name: options[name] for name in LAYOUT_OPTIONS}),
        in_flight=options["jobs"],
        device=options["device"],
        keep_mtime=options["keep_mtime"],
        sidecars=options["sidecars"],
    )
    stores = caller.stores or user_stores()
    digests = ctx.with_resource(Digests(stores.digests))
    plan = plan_batch(request, stores, digests)
    if not plan:
        hint = "" if request.recursive else " (--recursive looks into folders inside folders)"
        raise NothingMatchedError(f"no raw files found{hint}")
    report = BatchReport(as_json=options["as_json"] or caller.wants_results, caller=caller)
    if options["dry_run"]:
        ctx.exit(report.show_plan(plan))
    if request.recipe.min_gain is not None and not (
        request.recipe.estimate and request.recipe.largest_strength
    ):
        raise click.UsageError("--min-gain needs an estimate: no --no-estimate, and a --strength above 0")
    resumes = options["if_exists"] == "skip"
    start = partial(
        denoise_batch,
        request,
        plan,
        stores,
        digests,
        on_progress=caller.advance,
        is_isolated=caller.is_isolated,
    )
    ctx.exit(report.run(plan, lambda stop: start(stop=stop), resumes=resumes))


def _may_be_many(paths: tuple[Path, ...], files_from: Path | None) -> bool:
    """Whether more than one file may have been given."""
    return len(paths) > 1 or files_from is not None or any(path.is_dir() for path in paths)


def _check(options: dict[str, Any]) -> None:
    """Refuse what contradicts itself.

    Raises:
        click.UsageError: it does.
    """
    output, beside = options["output"], options["beside"]
    if (output is None) is not beside:
        raise click.UsageError("give a folder with -o OUT, or --beside to put outputs beside their sources")
    if output is not None and output.exists() and not output.is_dir():
        raise click.UsageError(f"-o {to_one_line(output)} is a file; give a folder")
    if options["root"] is not None and beside:
        raise click.UsageError("--root says what is mirrored below OUT; with --beside nothing is")
    if options["redo"] and options["if_exists"] != "skip":
        raise click.UsageError("--redo chooses among outputs that would be skipped; leave out --if-exists")
