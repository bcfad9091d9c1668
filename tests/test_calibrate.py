from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_cli_calibrate import NAME, darks, flats, keep, of_another, textured

from rawdenoise.app.calibrate import Calibration, CalibrationRequest, calibrate, find_cameras
from rawdenoise.app.stores import Stores, user_stores
from rawdenoise.cli.wording import name_options
from rawdenoise.errors import (
    CalibrationError,
    MissingFlatsError,
    NamelessCameraError,
    ProfileError,
    RawDenoiseError,
    SeveralCamerasError,
    UnusableFlatsError,
)
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.noise.profiles.store import load_profile


@pytest.fixture
def stores(own_profiles: Path) -> Stores:
    return user_stores()


def only(request: CalibrationRequest, stores: Stores) -> Calibration:
    (frames,) = find_cameras(request)
    return calibrate(frames, request, stores)


def failure(result: Calibration) -> str:
    assert isinstance(result.error, RawDenoiseError)
    return str(result.error)


def test_a_result_says_what_was_measured_what_was_known_and_where_both_are_kept(
    tmp_path: Path, stores: Stores
) -> None:
    frames = CalibrationRequest(
        darks=(keep(darks(), tmp_path / "dark"),), flats=(keep(flats(), tmp_path / "flat"),), source="a bench"
    )
    first = only(frames, stores)
    assert first.error is None
    assert (first.former, first.profile, first.notes) == (None, first.measured, ())
    assert first.output == stores.profiles.folder / f"{NAME}.toml"
    assert load_profile(first.output) == first.profile
    assert [point.source for point in first.profile.points] == ["a bench"]
    second = only(CalibrationRequest((keep(textured(), tmp_path / "captures"),)), stores)
    assert (second.former, second.profile) == (first.profile, first.profile)
    assert second.notes == ("ISO 3200: what is known already is stronger evidence, and stays",)


def test_a_dry_run_gives_the_profile_and_keeps_none(tmp_path: Path, stores: Stores) -> None:
    result = only(CalibrationRequest((keep(textured(), tmp_path / "captures"),), dry_run=True), stores)
    assert result.profile is not None
    assert (result.output, stores.profiles.folder.exists()) == (None, False)


def test_one_camera_that_cannot_be_calibrated_is_an_error_of_its_result_alone(
    tmp_path: Path, stores: Stores
) -> None:
    frames = CalibrationRequest(
        darks=(keep([*darks(), of_another(darks()[0])], tmp_path / "dark"),),
        flats=(keep(flats(), tmp_path / "flat"),),
    )
    ours, other = (calibrate(camera, frames, stores) for camera in find_cameras(frames))
    assert (ours.error, ours.frames.camera.model) == (None, "Simulated IMX385")
    assert (other.output, other.profile, other.frames.camera.model) == (None, None, "Other")
    assert isinstance(other.error, CalibrationError)


def test_what_an_error_came_after_is_in_the_result(tmp_path: Path, stores: Stores) -> None:
    request = CalibrationRequest((keep(textured(), tmp_path / "captures"),))
    stores.profiles.folder.mkdir(parents=True)
    (stores.profiles.folder / f"{NAME}.toml").write_text("gian = 3")
    result = only(request, stores)
    assert isinstance(result.error, ProfileError)
    assert result.measured is not None
    assert (len(result.points), result.profile, result.output) == (1, None, None)


def test_files_that_are_left_out_are_told_with_the_reason(tmp_path: Path, stores: Stores) -> None:
    folder = keep(textured(), tmp_path / "captures")
    (folder / "empty.dng").touch()
    left_out: list[RawDenoiseError] = []
    assert len(find_cameras(CalibrationRequest((folder,)), on_left_out=left_out.append)) == 1
    assert [str(error).rpartition(": ")[0] for error in left_out] == [str(folder / "empty.dng")]


def test_the_library_asks_in_words_and_the_command_line_names_the_option(
    tmp_path: Path, stores: Stores
) -> None:
    dark, flat = keep(darks(), tmp_path / "dark"), keep(flats()[::2], tmp_path / "flat")
    result = only(CalibrationRequest(darks=(dark,)), stores)
    assert isinstance(result.error, MissingFlatsError)
    assert failure(result) == "darks alone do not tell the gain: add flats or ordinary captures"
    assert "add flats (--flat) or ordinary" in name_options(result.error)

    result = only(CalibrationRequest((flat, dark)), stores)
    assert isinstance(result.error, UnusableFlatsError)
    assert failure(result).endswith("(as ordinary captures they may do)")
    assert name_options(result.error).endswith("(--captures takes PATHs for ordinary captures)")

    np.save(tmp_path / "frame.npy", textured()[0].mosaic)
    layout = PlainLayout(textured()[0].cfa, black=240.0, white=4095.0, bits=12)
    result = only(CalibrationRequest((tmp_path / "frame.npy",), layout=layout), stores)
    assert isinstance(result.error, NamelessCameraError)
    assert failure(result).endswith(": give its name")
    assert name_options(result.error).endswith(": give --camera NAME")

    mixed = keep([*textured()[:2], *map(of_another, textured()[2:])], tmp_path / "mixed")
    with pytest.raises(SeveralCamerasError) as refused:
        find_cameras(CalibrationRequest((mixed,), output=tmp_path / "one.toml"))
    assert "--" not in str(refused.value)
    assert name_options(refused.value).endswith(": -o takes one, see --camera")
