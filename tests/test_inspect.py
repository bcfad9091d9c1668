from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_cli_calibrate import ISO, NAME, UNTOUCHED, darks, flats, keep, textured

from rawdenoise.app.calibrate import CalibrationRequest, calibrate, find_cameras
from rawdenoise.app.inspect import inspect
from rawdenoise.app.stores import Stores, user_stores
from rawdenoise.capture.raw import RawImage
from rawdenoise.cli import main
from rawdenoise.errors import UnreadableError
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.models.model import Model
from rawdenoise.noise.evidence import Kind
from rawdenoise.pipeline import Denoised, denoise


@pytest.fixture
def stores(own_profiles: Path, own_store: Path) -> Stores:
    return user_stores()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.dng"
    write_dng(textured()[0], path, provenance=UNTOUCHED)
    return path


def test_facts_are_of_the_capture_and_of_what_would_be_done(source: Path, stores: Stores) -> None:
    facts = inspect(source, stores)
    raw = textured()[0]
    height, width = raw.mosaic.shape
    assert (facts.source, facts.camera, facts.size) == (source, raw.camera, (width, height))
    assert (facts.exposure.iso, facts.levels.white) == (ISO, raw.levels.white)
    assert facts.noise.kind in (Kind.TAG, Kind.CAPTURE)
    assert facts.model.why == "the bundled one: this camera and mode have none"
    assert facts.outcome is None


def test_the_command_prints_the_facts(source: Path, stores: Stores) -> None:
    facts = inspect(source, stores)
    as_json = CliRunner().invoke(main, ["inspect", "--json", str(source)])
    assert json.loads(as_json.stdout) == json.loads(json.dumps(facts.as_json()))
    assert CliRunner().invoke(main, ["inspect", str(source)]).stdout.splitlines() == facts.lines()


def test_an_estimate_takes_the_noise_from_the_cameras_profile(
    tmp_path: Path, source: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CalibrationRequest(
        darks=(keep(darks(), tmp_path / "dark"),), flats=(keep(flats(), tmp_path / "flat"),)
    )
    (frames,) = find_cameras(request)
    assert calibrate(frames, request, stores).error is None
    given: list[object] = []

    def spy(raw: RawImage, model: Model, **options: Any) -> Denoised:
        given.append(options["profiles"])
        return denoise(raw, model, **options)

    monkeypatch.setattr("rawdenoise.app.inspect.denoise", spy)
    facts = inspect(source, stores, estimate=True)
    assert given == [stores.profiles]
    assert facts.noise.why.endswith(f"in the profile {NAME}")
    assert facts.outcome is not None
    assert facts.outcome.gain_db is not None
    assert facts.as_json()["gain_db"] == round(facts.outcome.gain_db, 2)


def test_what_is_no_capture_is_refused_and_what_has_no_header_needs_a_layout(
    tmp_path: Path, stores: Stores
) -> None:
    with pytest.raises(UnreadableError):
        inspect(tmp_path / "absent.dng", stores)
    raw = textured()[0]
    np.save(tmp_path / "frame.npy", raw.mosaic)
    layout = PlainLayout(raw.cfa, black=240.0, white=4095.0, bits=12)
    for isolated in (False, True):
        facts = inspect(tmp_path / "frame.npy", stores, layout=layout, isolated=isolated)
        assert facts.levels.black == (240.0,) * 4
