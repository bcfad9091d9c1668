"""The plug-in for Lightroom Classic with the command itself, on captures of a simulated camera."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from lightroom_host import HERE, Host, denoise, make_host, needs_lua, photos_of

from rawdenoise.capture.raw import Provenance
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture

__all__ = ["make_host"]  # a fixture
pytestmark = needs_lua

CAMERA = SIMULATED_IMX385.resize(128, 96)


def a_capture(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = capture(make_scene(96, 128, rng), CAMERA, 6400, rng)[0]
    write_dng(raw, path, provenance=Provenance("0", "none", 0.0))
    path.write_bytes(path.read_bytes().replace(b"rawdenoise 0", b"a camera's 0"))  # as a camera would have it


@pytest.fixture
def real_host(host: Host, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PYTHONPATH", str(HERE.parent.parent))
    host.use(sys.executable, "-m", "rawdenoise")
    return host


def test_the_command_itself_denoises_and_a_broken_raw_stops_nothing(real_host: Host) -> None:
    a_capture(real_host.photos / "one.dng", 1)
    a_capture(real_host.photos / "two ü.dng", 2)
    (real_host.photos / "broken.dng").write_bytes((real_host.photos / "one.dng").read_bytes()[:3000])
    names = ["one.dng", "broken.dng", "two ü.dng"]
    state = denoise(real_host, "photos[1].raw.rating = 3", names)
    assert state["failures"] == []
    photos = photos_of(state)
    assert set(photos) == {*names, "one_dn.dng", "two ü_dn.dng"}
    assert photos["one_dn.dng"]["raw"]["rating"] == 3
    assert [Path(path).name for path in photos["two ü_dn.dng"]["stack"]] == ["two ü_dn.dng", "two ü.dng"]
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: 2 denoised, 1 failed"
    assert dialog["info"].startswith("broken.dng: ")
    again = denoise(real_host, "", names)
    assert again["dialogs"][0]["message"] == "rawdenoise: 0 denoised, 2 skipped, 1 failed"
    assert set(photos_of(again)) == set(photos)


def test_the_command_itself_measures_a_camera(real_host: Host) -> None:
    names = [f"{number}.dng" for number in range(3)]
    for number, name in enumerate(names):
        a_capture(real_host.photos / name, number)
    (real_host.photos / "broken.dng").write_bytes(b"II*\0")
    photos = ", ".join(f"lr.photo({real_host.path(name)})" for name in [*names, "broken.dng"])
    state = real_host.run(f"""
        local lr = start()
        lr.select({photos})
        lr:menu("Calibrate.lua")
        lr:run()
        print(lr:describe())
    """)
    assert state["failures"] == []
    (dialog,) = state["dialogs"]
    assert dialog["message"] == "rawdenoise: the camera's noise is measured"
    lines = dialog["info"].splitlines()
    assert "Rawdenoise Simulated IMX385: its noise is known at ISO 6400" in lines
    assert any(line.startswith("broken.dng: ") for line in lines)


def test_the_command_itself_stops_when_it_is_cancelled(real_host: Host) -> None:
    names = [f"{number:02d}.dng" for number in range(60)]
    a_capture(real_host.photos / names[0], 1)
    for name in names[1:]:
        shutil.copyfile(real_host.photos / names[0], real_host.photos / name)
    before = "on_tick = function(lr) if lr.writes > 0 then lr.progress.is_canceled = true end end"
    state = denoise(real_host, before, names)
    assert state["failures"] == []
    whole = sorted(path.name for path in real_host.photos.iterdir())
    assert len(names) < len(whole) < 2 * len(names)
    assert whole == sorted(photos_of(state))  # what is whole is in the catalogue, and nothing else lies there
    assert "cancelled" in state["dialogs"][0]["message"]
    assert state["left_in_temporary"] == []
