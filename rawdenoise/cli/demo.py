"""`rawdenoise demo`: the whole of it on simulated captures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rawdenoise.cli import COMMANDS
from rawdenoise.cli.arguments import SEED_RANGE
from rawdenoise.cli.paths import GivenPath

if TYPE_CHECKING:
    from rawdenoise.app.demo import DemoEvent, DemoResult

COLUMNS = "capture", "ISO", "noisy dB", "bundled", "own model", "gain", "SSIM", "s/MP"
HEADER = "{:<18}{:>6}{:>10}{:>9}{:>11}{:>7}{:>15}{:>7}".format(*COLUMNS)


@click.command("demo", short_help=COMMANDS["demo"])
@click.option(
    "-o", "--output", type=GivenPath(), default="demo-out", show_default=True, metavar="DIR",
    help="Folder for everything it makes.",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=2.5, show_default=True,
    help="How long to train.",
)  # fmt: skip
@click.option(
    "--seed", type=SEED_RANGE, metavar="N", default=0, show_default=True, help="Another seed, other captures."
)
def command(output: Path, minutes: float, seed: int) -> None:
    """Simulate a camera, train on its noisy captures alone, denoise others and measure the gain."""
    from rawdenoise.app.demo import run_demo

    result = run_demo(output, minutes=minutes, seed=seed, on_event=DemoReport())
    for line in describe_result(result, output):
        click.echo(line)


class DemoReport:
    """Says each step as it begins, and every tenth of the training."""

    def __init__(self) -> None:
        self._tenth = 0

    def __call__(self, event: DemoEvent) -> None:
        """Say what happens."""
        from rawdenoise.app.demo import DenoisingBegun, ModelJudged, Simulating, TrainingBegun
        from rawdenoise.training.progress import Progress

        match event:
            case Simulating(captures, camera):
                click.echo(f"1. Simulating {captures} captures of a {camera.name}")
            case TrainingBegun(captures):
                click.echo(f"2. Training on {captures} noisy captures, without any clean one")
            case Progress(stage="training", done=done) if int(10 * done) > self._tenth:
                self._tenth = int(10 * done)
                left = f", {event.remaining_s:.0f} s left" if event.remaining_s else ""
                click.echo(f"   {10 * self._tenth} %: {event.crops} crops{left}")
            case ModelJudged(page, own, bundled, better):
                used = "better, and used" if better else "not surely better, so the bundled model is used"
                click.echo(f"   its card: {page}")
                gains = f"own model {own:+.2f} dB, bundled {bundled:+.2f} dB"
                click.echo(f"   judged by noisy captures held out: {gains}; {used}")
            case DenoisingBegun(captures):
                click.echo(f"3. Denoising {captures} captures it has not seen")


def describe_result(result: DemoResult, output: Path) -> Iterator[str]:
    """Set out what the captures have gained, and where everything lies."""
    yield ""
    yield HEADER
    for row in result.results:
        yield (
            f"{row.output.stem:<18}{row.iso:>6}{row.noisy_psnr:>10.2f}{row.bundled_psnr:>9.2f}"
            f"{row.own_psnr:>11.2f}{row.gain:>+7.2f}{row.noisy_ssim:>7.3f} > {row.denoised_ssim:.3f}"
            f"{row.seconds_per_megapixel:>7.2f}"
        )
    yield ""
    yield f"captures    {result.captures}"
    yield f"base ISO    {output / 'base-iso'} (to try: rawdenoise train --method unpaired)"
    yield f"denoised    {output / 'denoised'}"
    yield f"picture     {result.picture} (noisy, denoised, clean)"
