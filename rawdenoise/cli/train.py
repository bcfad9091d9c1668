"""`rawdenoise train`: a folder of captures in, a model per camera out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import (
    DEVICE_HELP,
    LAYOUT_OPTIONS,
    SEED_RANGE,
    RenamedOption,
    gather_paths,
    layout_options,
    path_options,
)
from rawdenoise.cli.caller import caller_options, find_caller
from rawdenoise.cli.paths import GivenPath
from rawdenoise.terminal.text import to_one_line

if TYPE_CHECKING:
    from rawdenoise.app.train import TrainRequest

BLIND_SPOTS = {"light": "d-bsn-light", "full": "d-bsn"}
LEARNED_NOISE = {"image": "-image", "planes": "-planes"}  # what it adds to the name of the network
TRAINING_OPTIONS = ("net", "crops", "objective", "gamma", "seed", "min_captures", "precision", "device")
crops_option = click.option(
    "--crops", "--images", cls=RenamedOption, type=click.IntRange(min=1), metavar="N",
    help="How many crops to train on, instead of a time: the same seed then gives the same model.",
)  # fmt: skip
seed_option = click.option(
    "--seed", type=SEED_RANGE, metavar="N", default=0, show_default=True, help="Seed of everything random."
)
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="DEVICE", help=DEVICE_HELP
)


class ObjectiveName(click.Choice[str]):
    """One of our objectives, or of those that other packages register."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take a name that is known."""
        if value not in self.choices:
            from rawdenoise.extensions.registry import BUILT_IN_EXTENSIONS, extensions

            if value in extensions("objectives") and value not in BUILT_IN_EXTENSIONS["objectives"]:
                return str(value)
        return super().convert(value, param, ctx)


@click.command("train", short_help=COMMANDS["train"])
@path_options
@click.option(
    "--camera", metavar="NAME", help="Only this camera; also names captures that do not say theirs."
)
@click.option(
    "--net", type=click.Choice(["fast", "best", "paper"]), default="fast", show_default=True,
    help="The network: fast, best (two to three times slower), or the paper's (slower still, not bundled).",
)  # fmt: skip
@click.option(
    "--from-nothing", is_flag=True, help="Start with random weights instead of the bundled model's."
)
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), help="How long to train.  [default: 10]"
)
@crops_option
@click.option(
    "--method", type=click.Choice(["gr2r", "unpaired"]), default="gr2r", show_default=True,
    help="gr2r learns from noisy captures alone, unpaired from clean ones of other scenes as well (--clean).",
)  # fmt: skip
@click.option(
    "--clean", metavar="PATH", multiple=True,
    help="With --method unpaired: captures at base ISO, files or folders.  "
    "[default: auto, those among PATHs with a tenth of the noise variance of the noisiest ISO]",
)  # fmt: skip
@click.option(
    "--blind-spot", type=click.Choice(["light", "full"]), default="light", show_default=True,
    help="With --method unpaired: the first stage's network; full is the paper's, sixty times slower.",
)  # fmt: skip
@click.option(
    "--learned-noise", type=click.Choice(["signal", "image", "planes"]),
    help="With --method unpaired: draw noise as it was learned from the captures, not as it was calibrated: "
    "with a level for each signal, one for all, or one for each signal and correlated over the four planes.",
)  # fmt: skip
@click.option(
    "--objective", default="gr2r", show_default=True,
    type=ObjectiveName(
        ["gr2r", "gr2r-paper", "r2r", "neighbor2neighbor", "noise2void", "noisier2noise", "blind2unblind",
         "noise2grad"]
    ),
    help="The loss: GR2R guarded against collapse, the paper's own, or other papers' or packages'.",
)  # fmt: skip
@click.option(
    "--gamma", type=click.FloatRange(min=0), default=1.0, show_default=True,
    help="Weight of the pseudo-supervised term.",
)  # fmt: skip
@seed_option
@click.option(
    "--min-captures", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
    help="Cameras with fewer captures are not trained.",
)  # fmt: skip
@click.option(
    "--keep-if-worse", is_flag=True,
    help="Keep the new model even if the camera's present one is estimated to be as good.",
)  # fmt: skip
@click.option("--finish", is_flag=True, help="Make a model of what an interrupted training has learned.")
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True,
    help="What the network is multiplied in while training; auto takes bfloat16 where it is faster.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a camera on standard output.")
@device_option
@click.option(
    "--scratch", type=GivenPath(), metavar="DIR",
    help="Folder for checkpoints and tiles while training.  [default: the user's cache]",
)  # fmt: skip
@caller_options
@layout_options
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[Path, ...], **options: Any) -> None:
    """Train a model for each camera among the captures, on their noise alone: no clean pictures are needed.

    PATHs are raw files and folders of them (searched through). A dozen captures of everyday scenes will do;
    several ISO make one model for all of them. It starts from the bundled model, and is kept only if it is
    better on captures held out: a camera never gets a worse one.

    Where there are captures at base ISO, --method unpaired learns from these as well: clean
    pictures of the same camera, of whatever was in front of it.

    Ctrl-C keeps what was learned: the same command goes on, and with --finish it makes a
    model of the best so far.
    """
    _check(ctx, options)
    caller = find_caller(ctx, options, reads_stdin=str(options["files_from"]) == "-")
    from rawdenoise.app.stores import user_stores
    from rawdenoise.app.train import find_cameras, train_cameras
    from rawdenoise.cli.training_report import TrainingReport, add_remedies

    request = _make_request(gather_paths(paths, options["files_from"], null=options["null"]), options)
    report = TrainingReport(caller)
    with add_remedies():
        found_cameras = find_cameras(request, on_event=report)
    with report.stop_on_signals() as stop:
        for result in train_cameras(request, found_cameras, user_stores(), on_event=report, stop=stop):
            report.show(result, request, as_json=options["as_json"])
    ctx.exit(report.exit_code())


def _check(ctx: click.Context, options: dict[str, Any]) -> None:
    """Refuse what contradicts itself.

    Raises:
        click.UsageError: it does.
    """
    is_unpaired, clean = options["method"] == "unpaired", options["clean"]
    for name in ("objective", "gamma") if is_unpaired else ("clean", "blind_spot", "learned_noise"):
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} is not for --method {options['method']}")
    lost = [path for path in clean if path != "auto" and not (path and Path(path).exists())]
    if lost:
        raise click.UsageError(f"--clean {to_one_line(repr(lost[0]))}: there is no such file or folder")
    if "auto" in clean and len(clean) > 1:
        raise click.UsageError("--clean auto is to find them, and not for more paths beside it")
    if sum(bool(options[name]) for name in ("minutes", "crops", "finish")) > 1:
        raise click.UsageError("give one of --minutes, --crops and --finish")


def _make_request(inputs: Sequence[Path], options: dict[str, Any]) -> TrainRequest:
    """Make a request of the options."""
    from rawdenoise.app.train import TrainRequest
    from rawdenoise.cli.layout import parse_layout
    from rawdenoise.training.options import TrainingOptions
    from rawdenoise.training.unpaired import Unpaired

    minutes = None if options["crops"] else 0.0 if options["finish"] else options["minutes"] or 10.0
    learned = options["learned_noise"]
    blind_spot = BLIND_SPOTS[options["blind_spot"]] + LEARNED_NOISE.get(learned, "")
    return TrainRequest(
        tuple(inputs),
        TrainingOptions(minutes=minutes, **{name: options[name] for name in TRAINING_OPTIONS}),
        options["camera"],
        layout=parse_layout(**{name: options[name] for name in LAYOUT_OPTIONS}),
        from_bundled=not options["from_nothing"],
        unpaired=Unpaired(None, blind_spot, learned is not None) if options["method"] == "unpaired" else None,
        clean=tuple(Path(path) for path in options["clean"] if path != "auto"),
        keep_if_worse=options["keep_if_worse"],
        scratch=options["scratch"],
    )
