"""Cameras to simulate, from a table of published calibrations (JSON; K in DN per electron, sigmas in DN).

What the table does not say of a camera is taken from the one it says most of, the Sony A7S2: a row noise of a
tenth of the read noise, and long tails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rawdenoise.capture.raw import Area, Camera, Cfa
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.tukey import tukey_lambda_deviation
from rawdenoise.simulation.camera import SIMULATED_IMX385, SensorNoise, SimulatedCamera

ENTRIES = {
    "A7S2": ("SonyA7S2_PNNP", 14, (400, 1600, 6400, 25600)),
    "IMX385": ("IMX385_CRVD_PNNP", 12, (3200, 12800)),
    "IMX686": ("IMX686_PNNP", 10, (6400,)),
}
PHONE, PHONE_ENTRY, PHONE_BITS = "PMRID", "PMRID_OppoReno10x", 10
TAIL = -0.05
ROW_SHARE = 0.1


def published_camera(table: Path, name: str, isos: Sequence[int], width: int, height: int) -> SimulatedCamera:
    """One camera, or the phone, at any of its ISOs, `width` x `height` lit pixels."""
    entries = json.loads(table.read_text())
    if name == PHONE:
        entry, bits = _phone(entries[PHONE_ENTRY], isos), PHONE_BITS
    else:
        key, bits, _ = ENTRIES[name]
        entry = entries[key]
    return _camera(name, entry, bits, tuple(isos), width, height)


def published_cameras(table: Path, width: int, height: int) -> list[SimulatedCamera]:
    """The cameras of the table at the ISOs that are simulated, `width` x `height` lit pixels each."""
    entries = json.loads(table.read_text())
    return [
        _camera(name, entries[key], bits, isos, width, height) for name, (key, bits, isos) in ENTRIES.items()
    ]


def _phone(entry: Mapping[str, Any], isos: Sequence[int]) -> dict[str, Any]:
    """Gain and read variance by the formulae that are published for the phone (PMRID's k-sigma transform)."""
    white = 2**PHONE_BITS - 1
    figures = {
        str(iso): {
            "K": _polynomial(entry["K(iso)"], iso),
            "read_var": _polynomial(entry["sigma2(iso)"], iso),
        }
        for iso in isos
    }
    return {"black": white - entry["V"], "white": white, "iso": figures}


def _polynomial(formula: str, iso: int) -> float:
    """Take the value of a sum of terms like `2e-7*iso^2`, `3e-4*iso` and `.1`."""
    total = 0.0
    for term in formula.split("+"):
        factor, variable, power = term.partition("*iso")
        total += float(factor) * float(iso) ** (int(power.removeprefix("^") or 1) if variable else 0)
    return total


def _camera(
    name: str, entry: Mapping[str, Any], bits: int, isos: tuple[int, ...], width: int, height: int
) -> SimulatedCamera:
    return SimulatedCamera(
        camera=Camera("Simulated", name),
        cfa=Cfa.RGGB,
        size=(width, height),
        active=Area(0, 0, height, width),
        black=float(entry["black"]),
        white=float(entry["white"]),
        bits=bits,
        color_matrix=SIMULATED_IMX385.color_matrix,
        noise={iso: _noise(entry["iso"][str(iso)]) for iso in isos},
    )


def _noise(figures: Mapping[str, float]) -> SensorNoise:
    if "sigma_TL" in figures:
        return SensorNoise(figures["K"], figures["sigma_TL"], figures["sigma_row"], figures["lam"])
    sigma = figures["sigma_gauss"] if "sigma_gauss" in figures else figures["read_var"] ** 0.5
    row = figures.get("sigma_row", ROW_SHARE * sigma)
    return SensorNoise(figures["K"], sigma / tukey_lambda_deviation(TAIL), row, TAIL)


def true_noise(camera: SimulatedCamera, iso: int) -> NoiseModel:
    """The noise the simulation puts in, on the packed scale, rounding to whole DN included."""
    figures, span = camera.noise[iso], camera.white - camera.black
    read = (figures.read_deviation**2 + 1 / 12) / span**2
    return NoiseModel((figures.gain / span,) * 4, (read,) * 4, (figures.row_sigma / span) ** 2, 1 / span,
                      figures.read_lambda)  # fmt: skip
