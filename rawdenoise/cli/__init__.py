"""The command line: every command is a file of this package, loaded when it is called."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from rawdenoise import __version__
from rawdenoise.cli.caller import Caller, JsonCaller, wants_json
from rawdenoise.cli.wording import name_options
from rawdenoise.errors import RawDenoiseError, Stopped, exit_code_of
from rawdenoise.terminal.signals import Ended, end_on_signal, too_late_for_signals
from rawdenoise.terminal.streams import BROKEN_PIPE_EXIT_CODE, discard, standard_streams
from rawdenoise.terminal.text import to_one_line

COMMANDS = {
    "train": "Train a camera's model on its own noisy captures.",
    "denoise": "Denoise raw files; write DNGs or TIFFs.",
    "serve": "Denoise for another program, which asks again and again.",
    "watch": "Denoise what arrives in a folder, as a service.",
    "queue": "Show what watched folders have done and given up; try again.",
    "inspect": "Show what a file is and what would be done with it.",
    "calibrate": "Measure a camera's noise from darks and flats, or from any captures.",
    "cameras": "List, show and share the noise profiles of cameras.",
    "models": "List, share, check and remove trained models.",
    "methods": "List what denoises, reads and writes, built in or of other packages.",
    "plugins": "Bring rawdenoise into darktable, Lightroom, file managers and others.",
    "evaluate": "Measure models on a public benchmark (SIDD).",
    "train-bundled": "Make a model for all cameras, as the bundled ones were made.",
    "doctor": "Check the installation.",
    "demo": "See it all work on simulated captures, in minutes.",
}
FORMER_NAMES = {"train-base": "train-bundled"}  # which work, and are not listed
VARIABLES = "RAWDENOISE"  # what variables of the environment that stand for options begin with
INTERRUPTED_EXIT_CODE = 130


class Commands(click.Group):
    """Commands by name, imported only when needed; errors become one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; its module imports nothing heavy until it is called."""
        name = FORMER_NAMES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"rawdenoise.cli.{name.replace('-', '_')}").command
        if former := [word for word, present in FORMER_NAMES.items() if present == name]:
            _name_variables(command, [name, *former])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, **options: Any) -> Any:  # type: ignore[override]
        """Run the program, whatever its standard streams are, and end it tidily when it is told to."""
        # Words of its own would have click expand patterns and variables on Windows, in names as in patterns.
        words = sys.argv[1:] if args is None else list(args)
        with standard_streams(), end_on_signal():
            if wants_json(words, os.environ):
                caller = JsonCaller()
                code = self._run(words, caller, **options)
                with too_late_for_signals():
                    raise SystemExit(caller.end(code))
            return super().main(words, **{"obj": Caller(), **options})

    def answer(self, args: Sequence[str], caller: JsonCaller, **options: Any) -> int:
        """Run the program for a caller that reads JSON and tell it how that ended; returns the exit code."""
        return caller.end(self._run(args, caller, **options))

    def _run(self, args: Sequence[str], caller: JsonCaller, **options: Any) -> int:
        """Run the program for a caller and tell it all but the end; returns the exit code."""
        try:
            return super().main(args, **{**options, "obj": caller, "standalone_mode": False}) or 0
        except click.ClickException as error:
            caller.fail(error.format_message())
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            caller.say("interrupted")
            return INTERRUPTED_EXIT_CODE
        except Ended as ended:
            caller.say("interrupted")
            return ended.exit_code
        except SystemExit as ending:
            return ending.code if isinstance(ending.code, int) else 1
        except Exception:  # with --debug
            traceback.print_exc()
            return 1

    def invoke(self, ctx: click.Context) -> object:
        """Run a command and turn what it raises into the process's one answer."""
        caller = ctx.find_object(Caller) or Caller()
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, Stopped):
            caller.say("interrupted")
            ctx.exit(INTERRUPTED_EXIT_CODE)
        except Ended as ended:
            caller.say("interrupted")
            ctx.exit(ended.exit_code)
        except BrokenPipeError:
            discard(sys.stdout.fileno())  # or the flush at exit complains
            ctx.exit(BROKEN_PIPE_EXIT_CODE)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            exit_code = exit_code_of(error)
            (caller.say if exit_code == INTERRUPTED_EXIT_CODE else caller.fail)(_line(error))
            ctx.exit(exit_code)


def _name_variables(command: click.Command, names: Sequence[str]) -> None:
    """Have the options of a command answer to variables by each of its names, the first of which wins."""
    for param in command.params:
        if isinstance(param, click.Option):
            words = [param.name or "", *(former.lstrip("-") for former in param.opts[1:])]
            variables = [f"{VARIABLES}_{name}_{word}" for name in names for word in words]
            param.envvar = [each.replace("-", "_").upper() for each in variables]


def _line(error: Exception) -> str:
    if isinstance(error, RawDenoiseError):
        return to_one_line(name_options(error))
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG and error.filename is not None:
        return to_one_line(f"{error.filename}: no file or folder can have so long a name")
    what = to_one_line(f"{type(error).__name__}: {error}")
    return f"unexpected {what} (a bug; `rawdenoise --debug ...` shows where)"


@click.group(
    cls=Commands,
    context_settings={
        "auto_envvar_prefix": VARIABLES,
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@click.option("--debug", is_flag=True, help="Show tracebacks and log what happens.")
@click.version_option(__version__, prog_name="rawdenoise")
def main(debug: bool) -> None:
    """Denoise raw captures with a model trained on your own camera's noisy captures.

    Once per camera:  rawdenoise train captures/

    Then:             rawdenoise denoise captures/ -o out/

    Or all the time:  rawdenoise watch incoming/ -o out/
    """
    # OpenMP's threads spin while they wait for each other, which stalls networks on a machine with other
    # work: a training step on 2 busy cores took 0.9 to 2.1 s spinning and 0.15 to 0.24 s asleep. It is read
    # once, when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
        for noisy in ("PIL", "exifread", "tifffile"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
