"""`rawdenoise calibrate`: darks and flats in, or any captures; a noise profile out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import given_paths, layout_options, path_options
from rawdenoise.cli.paths import GivenPath


@click.command("calibrate", short_help=COMMANDS["calibrate"])
@path_options
@click.option(
    "--dark", "darks", multiple=True, type=GivenPath(), metavar="PATH",
    help="Darks: a file or folder of frames taken with the cap on. May be given again.",
)  # fmt: skip
@click.option(
    "--flat", "flats", multiple=True, type=GivenPath(), metavar="PATH",
    help="Flats: a file or folder of frames of an even surface. May be given again.",
)  # fmt: skip
@click.option("--captures", "as_captures", is_flag=True, help="Take all PATHs for ordinary captures.")
@click.option(
    "-o", "--output", type=GivenPath(), metavar="FILE",
    help="Write the profile here.  [default: where `denoise` looks for it]",
)  # fmt: skip
@click.option(
    "--plot", type=GivenPath(), metavar="DIR",
    help="Also draw what was measured: SVGs and one HTML page in DIR.",
)  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Only measure and print; the profile stays as it is.")
@click.option("--source", metavar="TEXT", help="What the profile says of where its figures come from.")
@click.option("--camera", metavar="NAME", help="Only this camera; also names files that do not say theirs.")
@layout_options
@click.pass_context
def command(
    ctx: click.Context, /, paths: tuple[Path, ...], files_from: Path | None, null: bool,
    darks: tuple[Path, ...], flats: tuple[Path, ...], as_captures: bool, camera: str | None,
    cfa: str | None, black: str | None, white: float | None, bits: int | None, size: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Measure a camera's noise and keep it in the camera's profile.

    Best from darks and flats: `--dark darks/ --flat flats/`, or one folder of both, which is sorted by
    content. A dozen ordinary captures of any scenes will do too, less exactly; darks beside them help.
    """
    from rawdenoise.cli import calibrations
    from rawdenoise.cli.layout import plain_layout

    given = given_paths(paths, files_from, null=null) if paths or files_from or not (darks or flats) else []
    layout = plain_layout(cfa=cfa, black=black, white=white, bits=bits, size=size)
    frames = calibrations.Given(tuple(given), darks, flats, as_captures, camera, layout)
    ctx.exit(calibrations.run(frames, calibrations.Wanted(**options)))
