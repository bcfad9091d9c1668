from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from rawdenoise import __version__
from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Levels, Provenance, RawImage
from rawdenoise.cli import main
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.noise.profiles.store import load_profile
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture, light_evenly, make_fixed_pattern
from rawdenoise.training.captures import gather_captures
from rawdenoise.training.tile_building import build_store

UNTOUCHED = Provenance(__version__, "none", 0.0)
CAMERA = SIMULATED_IMX385.resize(256, 192)
ISO, GAIN, READ, ROW = 3200, 6.955588, 6.173963, 0.617
PATTERN = make_fixed_pattern(CAMERA, np.random.default_rng(9), hot=5)
NAME = "rawdenoise-simulated-imx385-256x192-12-bit"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def keep(raws: list[RawImage], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, raw in enumerate(raws):
        write_dng(raw, folder / f"{number:02}.dng", provenance=UNTOUCHED)
    return folder


def darks(count: int = 2, iso: int = ISO, seed: int = 0) -> list[RawImage]:
    rng = np.random.default_rng(seed)
    return [light_evenly(CAMERA, iso, 0.0, rng, exposure_s=0.01, fixed=PATTERN) for _ in range(count)]


def flats(iso: int = ISO, seed: int = 1) -> list[RawImage]:
    rng, levels = np.random.default_rng(seed), (0.05, 0.3, 0.6)
    return [light_evenly(CAMERA, iso, level, rng, exposure_s=level) for level in levels for _ in range(2)]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `dark`, `flat` and `captures` of one camera."""
    folder = tmp_path_factory.mktemp("frames")
    keep(darks(), folder / "dark")
    keep(flats(), folder / "flat")
    rng = np.random.default_rng(2)
    scenes = (make_scene(192, 256, rng) for _ in range(4))
    keep([capture(scene, CAMERA, ISO, rng)[0] for scene in scenes], folder / "captures")
    return folder


def test_darks_and_flats_become_the_cameras_profile(frames: Path, own_profiles: Path) -> None:
    result = run("calibrate", "--dark", frames / "dark", "--flat", frames / "flat")
    assert result.exit_code == 0, result.output
    said = f"{own_profiles / NAME}.toml (Rawdenoise Simulated IMX385, 1 ISO)"
    assert result.stdout.splitlines()[-1] == said
    profile = load_profile(own_profiles / f"{NAME}.toml")
    (point,) = profile.points
    assert (point.iso, point.method) == (ISO, "photon transfer")
    assert np.mean(point.gain) == pytest.approx(GAIN, rel=0.05)
    assert np.mean(point.read_noise) == pytest.approx(READ, rel=0.05)
    assert point.row_noise == pytest.approx(ROW, rel=0.3)
    assert point.black == pytest.approx((240.0,) * 4, abs=0.3)
    assert profile.defects is not None
    lit = np.zeros(PATTERN.offset.shape, bool)
    lit[CAMERA.active.slices] = True
    assert [list(site) for site in profile.defects.hot] == np.argwhere((PATTERN.offset > 0) & lit).tolist()
    assert profile.defects.size == CAMERA.size


def test_one_folder_is_sorted_by_content(frames: Path, own_profiles: Path, tmp_path: Path) -> None:
    both = keep([*flats(), *darks()], tmp_path / "both")
    assert run("calibrate", both).exit_code == 0
    together = load_profile(own_profiles / f"{NAME}.toml").points
    run("calibrate", "--dark", frames / "dark", "--flat", frames / "flat", "-o", tmp_path / "apart.toml")
    apart = load_profile(tmp_path / "apart.toml").points
    assert together[0].gain == pytest.approx(apart[0].gain, rel=1e-3)


def test_ordinary_captures_do_too_and_darks_beside_them_help(
    frames: Path, own_profiles: Path, tmp_path: Path
) -> None:
    assert run("calibrate", frames / "captures", "-o", tmp_path / "alone.toml").exit_code == 0
    (point,) = load_profile(tmp_path / "alone.toml").points
    assert (point.method, point.captures) == ("captures", 4)
    assert np.mean(point.gain) == pytest.approx(GAIN, rel=0.6)  # they are small; benchmarks tell how exact
    assert run("calibrate", frames / "captures", "--dark", frames / "dark").exit_code == 0
    (point,) = load_profile(own_profiles / f"{NAME}.toml").points
    assert np.mean(point.read_noise) == pytest.approx(READ, rel=0.05)
    assert point.row_noise == pytest.approx(ROW, rel=0.3)
    assert "gain from 4 ordinary captures" in point.source


def test_points_are_added_and_stronger_evidence_stays(
    frames: Path, own_profiles: Path, tmp_path: Path
) -> None:
    run("calibrate", "--dark", frames / "dark", "--flat", frames / "flat")
    other = keep([*flats(1600), *darks(iso=1600)], tmp_path / "1600")
    assert run("calibrate", other).exit_code == 0
    before = load_profile(own_profiles / f"{NAME}.toml")
    assert [point.iso for point in before.points] == [1600, 3200]
    result = run("calibrate", frames / "captures")
    assert "ISO 3200: what is known already is stronger evidence, and stays" in result.stderr
    assert load_profile(own_profiles / f"{NAME}.toml") == before


def test_what_is_known_in_the_scale_of_another_bit_depth_goes_and_that_is_said(
    frames: Path, own_profiles: Path
) -> None:
    run("calibrate", "--dark", frames / "dark", "--flat", frames / "flat")
    ours = load_profile(own_profiles / f"{NAME}.toml")
    (point,) = ours.points
    finer = replace(point, iso=800, black=(960.0,) * 4, white=16383.0)
    user_stores().profiles.save(replace(ours, points=(finer,)))
    result = run("calibrate", "--dark", frames / "dark", "--flat", frames / "flat")
    assert "ISO 800: what was known is in the scale of another bit depth, and goes" in result.stderr
    assert load_profile(own_profiles / f"{NAME}.toml") == ours


def test_a_dry_run_writes_nothing(frames: Path, own_profiles: Path) -> None:
    result = run("calibrate", "-n", "--dark", frames / "dark", "--flat", frames / "flat")
    assert result.exit_code == 0
    assert "photon transfer" in result.stdout
    assert not own_profiles.exists()


def test_pictures_are_drawn_on_request(frames: Path, tmp_path: Path) -> None:
    arguments = ("--dark", frames / "dark", "--flat", frames / "flat", "--plot", tmp_path / "plots")
    result = run("calibrate", *arguments)
    assert result.exit_code == 0, result.output
    page = next((tmp_path / "plots").glob("*.html"))
    assert str(page) in result.stdout
    assert list((tmp_path / "plots").glob("*.svg"))


def test_a_capture_of_the_camera_is_then_denoised_with_it(frames: Path, own_store: Path) -> None:
    run("calibrate", "--dark", frames / "dark", "--flat", frames / "flat")
    facts = json.loads(run("inspect", "--json", frames / "captures" / "00.dng").stdout)
    assert facts["noise_from"] == "profile"
    assert facts["noise_why"] == f"measured by photon transfer for ISO 3200 in the profile {NAME}"
    assert facts["noise"]["G1"]["gain_dn"] == pytest.approx(GAIN, rel=0.05)
    assert facts["row_noise_dn"] == pytest.approx(ROW, rel=0.3)
    assert 0.5 < facts["noise_seen"] < 2
    text = run("inspect", frames / "captures" / "00.dng").stdout
    assert "noise from:       profile: measured by photon transfer" in text
    assert "noise not from:   pooled: weaker evidence, not looked at" in text


def test_a_model_is_then_trained_with_it(frames: Path, own_profiles: Path, tmp_path: Path) -> None:
    (found,) = gather_captures([frames / "captures"])
    profiles = user_stores().profiles
    pooled = build_store(found, tmp_path / "before", seed=0, profiles=profiles).noise[0].noise
    run("calibrate", "--dark", frames / "dark", "--flat", frames / "flat")
    known = build_store(found, tmp_path / "after", seed=0, profiles=profiles).noise[0].noise
    assert known != pooled
    assert known == load_profile(own_profiles / f"{NAME}.toml").points[0].noise(Levels((240.0,) * 4, 4095.0))


def black() -> RawImage:
    raw = darks(1)[0]
    return replace(raw, mosaic=np.full_like(raw.mosaic, 240))


def clipped() -> RawImage:
    raw = darks(1)[0]
    return replace(raw, mosaic=np.full_like(raw.mosaic, 4095))


def of_another(raw: RawImage) -> RawImage:
    return replace(raw, camera=replace(raw.camera, model="Other"))


def textured() -> list[RawImage]:
    rng = np.random.default_rng(3)
    scene = make_scene(192, 256, rng)
    return [capture(scene, CAMERA, ISO, rng)[0] for _ in range(4)]


@pytest.mark.parametrize(
    ("dark", "flat", "says"),
    [
        (lambda: [black()] * 2, flats, "every pixel is 240"),
        (darks, lambda: [clipped()] * 4, "clipped"),
        (darks, lambda: flats()[:1], "single flat"),
        (lambda: flats()[-2:], flats, "holds light"),
        (darks, lambda: darks(2, seed=5), "is black"),
        (darks, textured, "texture"),
    ],
    ids=["all black", "all clipped", "single flat", "lit darks", "dark flats", "textured flats"],
)
def test_bad_frames_are_one_clear_line_and_nothing_is_written(
    dark: Callable[[], list[RawImage]],
    flat: Callable[[], list[RawImage]],
    says: str,
    tmp_path: Path,
    own_profiles: Path,
) -> None:
    result = run(
        "calibrate", "--dark", keep(dark(), tmp_path / "dark"), "--flat", keep(flat(), tmp_path / "flat")
    )
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert not own_profiles.exists()


def test_darks_alone_do_not_make_a_profile(frames: Path, own_profiles: Path) -> None:
    result = run("calibrate", "--dark", frames / "dark")
    assert (result.exit_code, own_profiles.exists()) == (1, False)
    assert "darks alone do not tell the gain: add flats (--flat) or ordinary captures" in result.stderr


@pytest.mark.parametrize(
    ("dark", "flat"),
    [
        (lambda: [*darks(2), of_another(darks(1)[0])], flats),
        (darks, lambda: [*flats(), of_another(flats()[0])]),
    ],
    ids=["dark of another camera", "flat of another camera"],
)
def test_a_camera_that_cannot_be_calibrated_costs_one_line(
    dark: Callable[[], list[RawImage]],
    flat: Callable[[], list[RawImage]],
    tmp_path: Path,
    own_profiles: Path,
) -> None:
    result = run(
        "calibrate", "--dark", keep(dark(), tmp_path / "dark"), "--flat", keep(flat(), tmp_path / "flat")
    )
    assert result.exit_code == 1
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1
    assert "Rawdenoise Other" in failed[0]
    assert [path.stem for path in own_profiles.iterdir()] == [NAME]


def test_captures_of_several_cameras_become_a_profile_each(tmp_path: Path, own_profiles: Path) -> None:
    mixed = keep([*textured()[:2], *map(of_another, textured()[2:])], tmp_path / "mixed")
    refused = run("calibrate", mixed, "-o", tmp_path / "one.toml")
    assert (refused.exit_code, (tmp_path / "one.toml").exists()) == (1, False)
    assert "several cameras" in refused.stderr
    assert run("calibrate", mixed, "--camera", "Rawdenoise Other").exit_code == 0
    (stored,) = (each for each in user_stores().profiles.profiles() if not each.bundled)
    assert (stored.profile.camera.model, stored.profile.points[0].captures) == ("Other", 2)
    result = run("calibrate", mixed)
    assert result.exit_code == 0, result.output
    own = [each for each in user_stores().profiles.profiles() if not each.bundled]
    assert sorted(each.profile.camera.model for each in own) == ["Other", "Simulated IMX385"]


def test_one_damaged_file_costs_one_line_and_the_others_are_measured(
    frames: Path, tmp_path: Path, own_profiles: Path
) -> None:
    folders = {name: tmp_path / name for name in ("dark", "flat", "captures")}
    for name, folder in folders.items():
        shutil.copytree(frames / name, folder)
        whole = (folder / "00.dng").read_bytes()
        (folder / "cut.dng").write_bytes(whole[: len(whole) // 2])
    framed = ("--dark", folders["dark"], "--flat", folders["flat"])
    for arguments, damaged in ((framed, 2), ((folders["captures"],), 1)):
        result = run("calibrate", *arguments)
        assert result.exit_code == 1, result.output
        lines = [line for line in result.stderr.splitlines() if "cut.dng" in line]
        assert len(lines) == damaged
        assert all(line.startswith("left out: ") for line in lines)
        assert [path.stem for path in own_profiles.iterdir()] == [NAME]
        shutil.rmtree(own_profiles)


def test_files_that_are_no_captures_are_left_out_by_name(frames: Path, tmp_path: Path) -> None:
    folder = keep(textured(), tmp_path / "captures")
    (folder / "photo.dng").write_bytes(b"\xff\xd8\xff\xe0JFIF" + bytes(1000))
    result = run("calibrate", folder, "-n")
    assert result.exit_code == 1  # as of `denoise`: the rest is done, and something was wrong
    assert "photon transfer" in result.stdout or "captures" in result.stdout
    assert "left out: " in result.stderr
    assert "photo.dng" in result.stderr
    alone = run("calibrate", folder / "photo.dng")
    assert alone.exit_code == 1
    assert "photo.dng" in alone.stderr


def test_files_that_do_not_name_their_camera_need_a_name(tmp_path: Path, own_profiles: Path) -> None:
    np.save(tmp_path / "frame.npy", textured()[0].mosaic)
    layout = ("--cfa", "RGGB", "--black", "240", "--white", "4095", "--bits", "12")
    result = run("calibrate", tmp_path / "frame.npy", *layout)
    assert (result.exit_code, own_profiles.exists()) == (1, False)
    assert "give --camera NAME" in result.stderr
    assert run("calibrate", tmp_path / "frame.npy", *layout, "--camera", "Bench").exit_code == 0
    stored = user_stores().profiles.get("bench")
    assert stored.profile.points[0].iso is None


def test_a_broken_profile_is_not_written_over(frames: Path, own_profiles: Path) -> None:
    run("calibrate", frames / "captures")
    path = own_profiles / f"{NAME}.toml"
    path.write_text("gian = 3")
    result = run("calibrate", frames / "captures")
    assert result.exit_code == 3
    assert "format is missing" in result.stderr
    assert path.read_text() == "gian = 3"


def test_another_cameras_profile_is_not_added_to(frames: Path, tmp_path: Path) -> None:
    other = user_stores().profiles.export("imx686", tmp_path)
    before = other.read_bytes()
    result = run("calibrate", frames / "captures", "-o", other)
    assert result.exit_code == 1
    assert "is the profile of another camera, Sony IMX686" in result.stderr
    assert other.read_bytes() == before


# ---------------------------------------------------------------- rawdenoise cameras


def test_cameras_are_listed_shown_shared_and_removed(tmp_path: Path, own_profiles: Path) -> None:
    listed = run("cameras", "list").stdout
    assert "sony-ilce-7sm2" in listed
    assert "comes with rawdenoise" in listed
    shown = run("cameras", "show", "7sm2", "--iso", "1800").stdout
    assert "at ISO 1800: 1.721 DN/e-, read 2.442 DN, row 0.312 DN (interpolated)" in shown
    exported = Path(run("cameras", "export", "7sm2", tmp_path).stdout.strip())
    edited = exported.read_text().replace("gain = 0.38252", "gain = 0.39")
    exported.write_text(edited)
    assert run("cameras", "import", exported).stdout == "sony-ilce-7sm2  (SONY ILCE-7SM2)\n"
    as_json = [json.loads(line) for line in run("cameras", "list", "--json").stdout.splitlines()]
    (own,) = (each for each in as_json if not each["bundled"])
    assert next(p["gain"] for p in own["points"] if p["iso"] == 400) == [0.39] * 4
    at = json.loads(run("cameras", "show", "7sm2", "--iso", "400", "--json").stdout)["at"]
    assert (at["gain"][0], at["how"]) == (0.39, "measured")
    assert run("cameras", "remove", "7sm2").exit_code == 1  # not confirmed
    assert run("cameras", "remove", "-y", "7sm2").exit_code == 0
    assert list(own_profiles.iterdir()) == []
    assert run("cameras", "remove", "-y", "7sm2").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "nothing"), "no profile called 'nothing'"),
        (("show", "sony"), "fits 3 profiles"),
        (("show", "imx686", "--iso", "9999"), "knows ISO 100 to 6400; nothing is said of ISO 9999"),
        (("export", "nothing"), "no profile called"),
        (("import", "absent.toml"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], says: str) -> None:
    result = run("cameras", *arguments)
    assert (result.exit_code, result.stdout) == (3, "")
    assert says in result.stderr


def test_a_broken_profile_is_listed_as_such(own_profiles: Path) -> None:
    own_profiles.mkdir(parents=True)
    (own_profiles / "mine.toml").write_text("[camera")
    result = run("cameras", "list")
    assert result.exit_code == 0
    assert "broken: " in result.stderr
    assert "mine.toml" in result.stderr
