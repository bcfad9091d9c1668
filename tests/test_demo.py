"""The demo on a small scale: everything it promises is there, and the numbers are those of the files."""

import hashlib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rawdenoise.app.demo import DemoEvent, DemoPlan, DemoResult, run_demo
from rawdenoise.capture.packing import pack
from rawdenoise.cli.demo import DemoReport, describe_result
from rawdenoise.formats import read_raw
from rawdenoise.models.store import ModelStore
from rawdenoise.quality.metrics import psnr

SMALL = DemoPlan(size=(256, 192), training_captures=3, unseen_captures=2, crops=64)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, Path, list[str]]:
    output, events = tmp_path_factory.mktemp("demo") / "out", list[DemoEvent]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rawdenoise.training.judging.LOOKED_AT", (1, 4))
        patched.setattr("rawdenoise.training.comparison.JUDGED", (1, 8))
        result = run_demo(output, seed=1, on_event=events.append, plan=SMALL)
    return result, output, told(events, result, output)


def told(events: list[DemoEvent], result: DemoResult, output: Path) -> list[str]:
    """What the command prints of it."""
    printed = StringIO()
    with redirect_stdout(printed):
        report = DemoReport()
        for event in events:
            report(event)
    return [*printed.getvalue().splitlines(), *describe_result(result, output)]


Demo = tuple[DemoResult, Path, list[str]]


def test_captures_are_raws_like_any_other(demo: Demo) -> None:
    _, output, _ = demo
    raws = [
        read_raw(path) for path in sorted(output.glob("captures/*.dng")) + sorted(output.glob("unseen/*.dng"))
    ]
    assert len(raws) == 5
    assert {raw.camera.name for raw in raws} == {"Rawdenoise Simulated IMX385"}
    assert [raw.exposure.iso for raw in raws] == [25600, 12800, 25600, 12800, 25600]
    for raw in raws:
        assert (raw.active.width, raw.active.height) == (256, 192)
        assert raw.levels.black == (240.0,) * 4
        assert raw.color.as_shot_neutral == pytest.approx((0.363, 1.0, 0.7071), abs=2e-3)


def test_no_unseen_capture_was_trained_on(demo: Demo) -> None:
    result, output, _ = demo
    card = ModelStore(output / "models").load(result.model_id).card

    def digests(folder: str) -> set[str]:
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in output.glob(f"{folder}/*.dng")}

    assert set(card.captures) == digests("captures")
    assert not set(card.captures) & digests("unseen")


def test_even_a_little_training_gains(demo: Demo) -> None:
    result, _, _ = demo
    assert len(result.results) == 2
    for one in result.results:
        assert 18 < one.noisy_psnr < 40
        assert one.gain > 0.2
        assert one.denoised_ssim > one.noisy_ssim
        assert one.seconds_per_megapixel > 0


def test_the_written_files_are_denoised_by_no_more_than_the_noise(demo: Demo) -> None:
    result, output, _ = demo
    for one in result.results:
        noisy, denoised = (
            pack(read_raw(output / folder / one.output.name)) for folder in ("unseen", "denoised")
        )
        assert one.noisy_psnr - 1 < psnr(noisy, denoised) < np.inf
        assert abs(float((noisy - denoised).mean())) < 0.01


def test_the_table_tells_every_capture(demo: Demo) -> None:
    result, output, lines = demo
    text = "\n".join(lines)
    steps = [line for line in lines if line[:2] in ("1.", "2.", "3.")]
    assert steps == [
        "1. Simulating 9 captures of a Rawdenoise Simulated IMX385",
        "2. Training on 3 noisy captures, without any clean one",
        "3. Denoising 2 captures it has not seen",
    ]
    assert any(line.startswith("   100 %: 64 crops") for line in lines)
    assert any(line.startswith("   judged by noisy captures held out: own model") for line in lines)
    for one in result.results:
        (line,) = [line for line in lines if line.startswith(one.output.stem)]
        assert f"{one.noisy_psnr:.2f}" in line
        assert f"{one.denoised_psnr:.2f}" in line
        assert f"{one.gain:+.2f}" in line
    assert str(output / "captures") in text
    assert str(result.picture) in text


def test_the_picture_shows_three_versions_of_each(demo: Demo) -> None:
    result, _, _ = demo
    with Image.open(result.picture) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(np.float64)
    assert pixels.shape[1] % 3 == 0
    noisy, denoised, clean = np.split(pixels, 3, axis=1)
    rows = slice(22, 22 + 2 * 96)
    assert np.abs(noisy - clean)[rows].mean() > np.abs(denoised - clean)[rows].mean()
    assert clean[rows].std() > 10


def test_only_what_is_of_use_is_left_behind(demo: Demo) -> None:
    _, output, _ = demo
    assert {path.name for path in output.iterdir()} == {
        "captures",
        "base-iso",
        "unseen",
        "denoised",
        "models",
        "before-after.png",
    }
