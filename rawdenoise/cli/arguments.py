"""What several commands take alike: paths from anywhere, and the layout of plain mosaics."""

from __future__ import annotations

import codecs
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rawdenoise.cli.paths import GivenPath, expand_patterns
from rawdenoise.terminal.streams import is_closed

if TYPE_CHECKING:
    from rawdenoise.recipe import Recipe

Command = TypeVar("Command", bound=Callable[..., Any])
LAYOUT_OPTIONS = ("cfa", "black", "white", "bits", "size")
DEVICE_HELP = "auto, cpu, cuda, cuda:N or mps."
SEED_RANGE = click.IntRange(0, 2**31 - 1)  # what every generator of random numbers takes


class Finite(click.FloatRange):
    """A number that is one: neither infinite nor nan, which compare with everything as one likes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn a word into it."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number

    def _describe_range(self) -> str:
        """Say nothing in the help where there are no bounds (click says x<=None)."""
        return "" if self.min is None and self.max is None else super()._describe_range()


class RenamedOption(click.Option):
    """An option that also answers to the names it had before, which the help does not show.

    So do their variables of the environment, after its own.
    """

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Read the variable of its name, else those of its former names."""
        value = super().resolve_envvar_value(ctx)
        prefix = ctx.auto_envvar_prefix
        if value is not None or not prefix:
            return value
        names = (f"{prefix}_{name.lstrip('-').replace('-', '_').upper()}" for name in self.opts[1:])
        return next((os.environ[name] for name in names if os.environ.get(name)), None)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Show the first name alone."""
        names, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


class FormatName(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The name of a writer, built in or of another package."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what nothing writes."""
        from rawdenoise.extensions.registry import extensions

        if value not in extensions("writers"):
            names = ", ".join(repr(name) for name in extensions("writers"))
            self.fail(f"{value!r} is not one of {names}.", param, ctx)
        return str(value)


def path_options(function: Command) -> Command:
    """Add PATHs, --files-from and --null."""
    for add in (
        click.option("-0", "--null", is_flag=True, help="Paths in the list end with NUL bytes, not lines."),
        click.option(
            "--files-from", type=GivenPath(allow_dash=True), metavar="FILE",
            help="Also take the paths listed in FILE, one a line; - is standard input.",
        ),
        click.argument(  # what cannot be read is found while reading, and stops no others
            "paths", nargs=-1, type=GivenPath(readable=False), metavar="[PATH]...",
        ),
    ):  # fmt: skip
        function = add(function)
    return function


def layout_options(function: Command) -> Command:
    """Add the options that say how a mosaic without a header is laid out."""
    for add in (
        click.option("--size", metavar="WxH", help="Plain mosaics: width and height in pixels."),
        click.option("--bits", type=click.IntRange(1, 16), help="Plain mosaics: bits per pixel."),
        click.option("--white", type=float, help="Plain mosaics: white level in DN."),
        click.option(
            "--black",
            metavar="DN[,DN,DN,DN]",
            help="Plain mosaics: black level, or one for each of R,G1,G2,B.",
        ),
        click.option(
            "--cfa", type=click.Choice(["RGGB", "GRBG", "GBRG", "BGGR"], case_sensitive=False),
            help="Plain mosaics (.npy, .raw, .bin, .tif): colours of the top-left 2x2 pixels.",
        ),
    ):  # fmt: skip
        function = add(function)
    return function


def recipe_options(function: Command) -> Command:
    """Add by what is denoised, what is written, how much of the noise is taken away and what is put back."""
    for add in (
        click.option(
            "--min-gain", type=Finite(), metavar="DB",
            help="Do not write pictures whose estimated gain is less; they count as skipped.",
        ),
        click.option(
            "--bundled", "--base", cls=RenamedOption, type=click.Choice(["fast", "best"]), default="fast",
            show_default=True,
            help="The bundled model for cameras without one of their own, and the network of models that a"
            " watched folder trains; best takes up to thrice as long.",
        ),
        click.option(
            "--method", metavar="NAME",
            help="Denoise by another package's method instead: `rawdenoise methods list` shows them.",
        ),
        click.option(
            "--model", metavar="ID",
            help="Use this model (any unique beginning of its id, or fast or best) for all files.",
        ),
        click.option(
            "--levels", type=click.Choice(["auto", "sensor", "fine"]), default="auto", show_default=True,
            help="The sensor's own DN, or finer ones, so that a low-bit sensor's result loses less to"
            " rounding; auto: finer for 12 bits or less.",
        ),
        click.option("--keep-row-noise", is_flag=True, help="Leave the offsets of whole rows in the result."),
        click.option("--keep-hot-pixels", is_flag=True, help="Leave hot and dead pixels in the result."),
        click.option(
            "--chroma-strength", type=click.FloatRange(0, 1),
            help="How much of the colour noise to take away; --strength is then for the grain of luminance"
            " alone. By default as much of both.",
        ),
        click.option(
            "--strength", type=click.FloatRange(0, 1), default=1.0, show_default=True,
            help="How much of the noise to take away; 0 leaves every pixel as it is and needs no model.",
        ),
        click.option(
            "--format", type=FormatName(), default="dng", show_default=True,
            metavar="[dng|tiff|mosaic-tiff|NAME]",
            help="A mosaic DNG for raw developers, a 16-bit RGB picture, the bare mosaic for science, or a"
            " format of another package.",
        ),
    ):  # fmt: skip
        function = add(function)
    return function


def make_recipe(options: Mapping[str, Any], *, estimate: bool = True) -> Recipe:
    """Make the recipe of what was given for `recipe_options`.

    Raises:
        click.UsageError: both a model and a method that needs none.
    """
    from rawdenoise.formats.output_levels import OutputLevels
    from rawdenoise.recipe import Recipe

    if options["model"] and options["method"]:
        raise click.UsageError("--method denoises without a model; leave --model out")
    names = (
        "model",
        "bundled",
        "strength",
        "chroma_strength",
        "format",
        "keep_hot_pixels",
        "keep_row_noise",
        "min_gain",
        "method",
    )
    given = {name: options[name] for name in names}
    return Recipe(**given, levels=OutputLevels(options["levels"]), estimate=estimate)


def gather_paths(paths: Sequence[Path], files_from: Path | None, *, null: bool) -> list[Path]:
    """Gather the paths of the command line, whose patterns are expanded, and of a list, which holds names.

    Raises:
        click.UsageError: nothing was given, or the list cannot be read.
    """
    if not paths and files_from is None:
        raise click.UsageError("give at least one PATH, or a list with --files-from")
    listed = [] if files_from is None else _read_list(files_from, b"\0" if null else b"\n")
    return [*expand_patterns(paths), *listed]


def _read_list(source: Path, separator: bytes) -> list[Path]:
    is_stdin = str(source) == "-"
    if is_stdin and is_closed(sys.stdin):
        raise click.UsageError("--files-from -: standard input is closed")
    try:
        data = sys.stdin.buffer.read() if is_stdin else source.read_bytes()
    except OSError as error:
        raise click.UsageError(f"--files-from {source}: {error.strerror}") from error
    data = _drop_mark(data)
    names = data.split(separator)
    if separator == b"\n":
        if b"\0" in data:
            raise click.UsageError(
                f"--files-from {source}: holds NUL bytes; give --null if they end its paths"
            )
        names = [name.removesuffix(b"\r") for name in names]
    return [Path(os.fsdecode(name)) for name in names if name]


def _drop_mark(data: bytes) -> bytes:
    """Drop the byte order mark that editors and PowerShell put before a list; UTF-16 becomes UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with suppress(UnicodeDecodeError):
            return data.decode("utf-16").encode("utf-8")
    return data.removeprefix(codecs.BOM_UTF8)
