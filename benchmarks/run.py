"""Makes every table of README and docs: `python benchmarks/run.py TABLE`, and `--list` for all of them.

Results are files in the folder `--work`: the same command goes on where it was stopped, one with other
options adds what is new, and `--report` prints what there is without measuring.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import click

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands do, before torch is loaded
sys.path.append(str(Path(__file__).parents[1] / "tests"))  # which write captures of every kind

MODULES: Mapping[str, str] = MappingProxyType(
    {
        "quality": "quality", "robustness": "quality",
        "table1": "papers", "table2": "phones", "sidd-standin": "phones", "table3": "papers",
        "imx296": "imx296", "networks": "networks",
        "captures": "noise", "transfer": "noise", "doubted": "noise", "stabilisation": "stabilisation",
        "risk": "risk", "levels": "levels", "blind": "blind",
        "throughput": "speed", "startup": "startup", "isolation": "speed", "read-back": "speed",
        "onnx": "onnx",
        "fuzz": "fuzz", "kills": "kills", "soak": "soak", "pairs": "pairs", "idle": "idle",
    }
)  # fmt: skip


class Tables(click.Group):
    """The tables, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the docs."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a table's module."""
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(f"tables.{MODULES[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.group(cls=Tables, invoke_without_command=True, help=__doc__)
@click.option(
    "--list", "listed", is_flag=True, help="Which table stands where, and the command that makes it."
)
@click.pass_context
def main(ctx: click.Context, listed: bool) -> None:
    """Print the list, or leave it to the table's command."""
    if ctx.invoked_subcommand is None and not listed:
        click.echo(ctx.get_help())
    for name in MODULES if listed else ():
        command = main.get_command(ctx, name)
        for place, arguments in getattr(command, "quoted", {}).items():
            click.echo(f"{place}\n    python benchmarks/run.py {f'{name} {arguments}'.rstrip()}")


if __name__ == "__main__":
    main()
