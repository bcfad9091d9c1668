"""`rawdenoise calibrate`: darks and flats in, or any captures; a noise profile out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import gather_paths, layout_options, path_options
from rawdenoise.cli.caller import Level, caller_options, find_caller
from rawdenoise.cli.paths import GivenPath
from rawdenoise.cli.wording import name_options
from rawdenoise.errors import FileError, RawDenoiseError, explain, is_damage
from rawdenoise.terminal.text import count_noun, set_table, to_one_line

if TYPE_CHECKING:
    from rawdenoise.app.calibration_records import Calibration


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
@click.option("--json", "as_json", is_flag=True, help="One JSON object a camera on standard output.")
@caller_options
@layout_options
@click.pass_context
def command(
    ctx: click.Context, /, paths: tuple[Path, ...], files_from: Path | None, null: bool,
    darks: tuple[Path, ...], flats: tuple[Path, ...], as_captures: bool, camera: str | None,
    output: Path | None, plot: Path | None, dry_run: bool, source: str | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Measure a camera's noise and keep it in the camera's profile.

    Best from darks and flats: `--dark darks/ --flat flats/`, or one folder of both, which is sorted by
    content. A dozen ordinary captures of any scenes will do too, less exactly; darks beside them help.
    """
    caller = find_caller(ctx, options, reads_stdin=str(files_from) == "-")
    from rawdenoise.app.calibrate import calibrate, find_cameras
    from rawdenoise.app.calibration_meter import CalibrationMeter
    from rawdenoise.app.calibration_records import SOURCE, CalibrationRequest
    from rawdenoise.app.stores import user_stores
    from rawdenoise.cli.layout import parse_layout

    given = gather_paths(paths, files_from, null=null) if paths or files_from or not (darks or flats) else []
    request = CalibrationRequest(
        tuple(given), darks, flats, as_captures, camera, parse_layout(**options), output, plot, dry_run,
        source or SOURCE,
    )  # fmt: skip
    stores = user_stores()
    failures: list[Exception] = []

    def say(line: str, level: Level = "note", file: Path | None = None) -> None:
        caller.say(to_one_line(line), level, file)

    def left_out(error: RawDenoiseError) -> None:
        """A file that is damaged makes the command fail in the end."""
        file = error.path if isinstance(error, FileError) else None
        say(f"left out: {error}", "error" if is_damage(error) else "note", file)
        if is_damage(error):
            failures.append(error)

    meter = CalibrationMeter(caller.advance, caller.is_cancelled)
    cameras = find_cameras(request, on_left_out=left_out, meter=meter)
    for number, frames in enumerate(cameras):
        if len(cameras) > 1 and not as_json:
            click.echo(("\n" if number else "") + to_one_line(frames.name))
        calibration = calibrate(frames, request, stores, meter=meter, cameras=len(cameras))
        caller.count("done" if calibration.error is None else "failed")
        if as_json:
            caller.result("calibration", calibration.as_json())
        _show(calibration, say, as_json=as_json)
        failures += calibration.refusals
        if calibration.error is not None:
            if len(cameras) == 1:
                raise calibration.error
            failures.append(calibration.error)
            say(f"failed: {frames.name}: {_explain(calibration.error)}", "error")
    ctx.exit(1 if failures else 0)


def _show(calibration: Calibration, say: Callable[..., None], *, as_json: bool) -> None:
    """Say what was measured, and what became of it."""
    from rawdenoise.app.cameras import POINT_COLUMNS, make_point_row

    for refusal in calibration.refusals:
        say(f"refused: {refusal}", "error")
    if as_json:
        return
    if (measured := calibration.measured) is not None:
        for line in set_table([POINT_COLUMNS, *map(make_point_row, measured.points)]):
            click.echo(line)
        if measured.defects is not None:
            hot, dead = len(measured.defects.hot), len(measured.defects.dead)
            click.echo(f"{count_noun(hot, 'hot pixel')}, {dead} dead")
        for note in calibration.notes:
            say(note)
    if calibration.output is not None and (profile := calibration.profile) is not None:
        click.echo(f"{to_one_line(calibration.output)} ({profile.camera.name}, {len(profile.points)} ISO)")
    if calibration.page is not None:
        click.echo(f"pictures: {to_one_line(calibration.page)}")


def _explain(error: Exception) -> str:
    return name_options(error) if isinstance(error, RawDenoiseError) else explain(error)
