"""What it costs to know nothing of a camera: single captures, their noise told by their own pixels alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from lab.captures import Shot, take
from lab.data import contact_sheet, pictures_in, true_noise
from lab.report import Page, markdown
from lab.store import Lab
from lab.table import COUNT, option, table

from rawdenoise.capture.packing import pack
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.model import Model
from rawdenoise.noise.artefacts import remove_artefacts
from rawdenoise.pipeline import denoise, denoise_planes
from rawdenoise.quality.metrics import psnr
from rawdenoise.refinement.refine import refine
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, SensorNoise, SimulatedCamera

BLACK, WHITE = 512.0, 16383.0
ISO = 100
CAMERA = (0.1, 1.2), (0.3, 1.6), (1.0, 3.0), (3.0, 5.0), (8.0, 10.0), (30.0, 40.0)  # K, read noise in DN
SHEETS = {0.2: (2, 3), 0.7: (5, 4), 3.0: (10, 8)}  # megapixels: photographs across and down
CUT = (152, 232)  # height and width of a photograph in a sheet
FACTOR = 1.5  # of the true variance, above which detail is lost


@table("blind", {"docs/quality.md: captures of a camera nobody knows": "--captures 16"})
@option("--model", default="fast", help="a bundled model")
@option("--captures", type=COUNT, default=16, help="for each size and noise; a quarter as many of 3 MP")
@option("--seed", default=0)
def blind(lab: Lab, model: str, captures: int, seed: int) -> Page:
    """What it costs to know nothing of a camera: single captures, their noise told by their pixels alone.

    Captures are sheets of photographs, half of them of kodak24, half of bsds500, at half their size, which
    leaves texture nearly everywhere. They are denoised as a user's are, and with their true noise; what is
    lost is the difference. `variance` is that assumed at the picture's own levels, over the true one.
    """
    settings = {"kind": "blind", "model": model, "captures": captures, "seed": seed}
    rows = lab.result(settings, lambda: [*_measure(lab, load_bundled(model), captures, seed)])
    head = [
        "MP, K", "noisy", "true noise", "lost, mean", "worst", "over its capture, worst", "left",
        "variance, median", "95 %", f"over {FACTOR:g}", "gain told too high, mean", "interval holds",
    ]  # fmt: skip
    return Page(markdown(head, rows))


def _measure(lab: Lab, model: Model, captures: int, seed: int) -> Iterator[list[str]]:
    for megapixels in SHEETS:
        for number, (gain, read) in enumerate(CAMERA):
            camera = _camera(gain, read)
            count = captures if megapixels < 3 else max(captures // 4, 1)
            found = [
                _denoise_blind(shot, camera, model, lab)
                for shot in _take_all(lab, camera, megapixels, [seed, number], count)
            ]
            yield [f"{megapixels:g}, {gain:g}", *_summarize(found)]


def _camera(gain: float, read: float) -> SimulatedCamera:
    noise = MappingProxyType({ISO: SensorNoise(gain=gain, read_sigma=read)})
    return replace(SIMULATED_IMX385, black=BLACK, white=WHITE, bits=14, noise=noise)


def _take_all(
    lab: Lab, camera: SimulatedCamera, megapixels: float, seed: list[int], count: int
) -> Iterator[Shot]:
    across, down = SHEETS[megapixels]
    for number in range(count):
        rng = np.random.default_rng([*seed, number])
        pictures = pictures_in(lab.data / "srgb" / ("kodak24" if number % 2 else "bsds500"))
        chosen = [pictures[i] for i in rng.integers(len(pictures), size=across * down)]
        exposure = math.exp(rng.uniform(math.log(0.1), 0))
        scene = exposure * contact_sheet(chosen, across, CUT)
        yield take(scene.astype(np.float32), camera, ISO, rng)


def _denoise_blind(shot: Shot, camera: SimulatedCamera, model: Model, lab: Lab) -> dict[str, Any]:
    """A capture denoised as a user's is, and with its true noise."""
    noise, valid = true_noise(camera, shot.iso), shot.valid
    sound = remove_artefacts(shot.planes, noise, valid=valid)
    known = denoise_planes(sound.planes, noise, model, device=lab.device)
    refine(sound.planes, known, noise, valid=valid & ~sound.defects)
    result = denoise(shot.raw, model, device=lab.device)
    assert result.noise is not None
    of = (shot.planes, known, pack(result.image))
    before, true, own = (psnr(planes[valid], shot.clean[valid]) for planes in of)
    gain, quality = own - before, result.quality
    variances = [of.variance(shot.clean).mean(dtype=np.float64) for of in (result.noise, noise)]
    ratio = variances[0] / variances[1]
    found: dict[str, Any] = {
        "before": before, "true": true, "own": own, "left": bool(result.left), "ratio": ratio
    }  # fmt: skip
    if quality is not None and quality.told and not result.left:
        found["over"] = quality.gain_db - gain
        found["holds"] = quality.interval[0] <= gain <= quality.interval[1]
    return found


def _summarize(found: list[dict[str, Any]]) -> list[str]:
    """The cells of a row."""
    before, true, own, ratio = (
        np.array([of[name] for of in found]) for name in ("before", "true", "own", "ratio")
    )
    lost, told = true - own, [of for of in found if "over" in of]
    over = f"{np.mean([of['over'] for of in told]):+.2f}" if told else ""
    return [
        *(f"{of:.2f}" for of in (before.mean(), true.mean(), lost.mean(), lost.max(), (own - before).min())),
        f"{sum(of['left'] for of in found)} of {len(found)}",
        *(f"{np.quantile(ratio, share):.2f}" for share in (0.5, 0.95)),
        f"{np.count_nonzero(ratio > FACTOR)} of {len(found)}",
        over,
        f"{sum(of['holds'] for of in told)} of {len(told)}",
    ]
