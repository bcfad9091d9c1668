"""Darks, flats and captures tell what was put into them, and bad ones are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawdenoise.calibration import (
    CalibrationPoint,
    add_gain,
    calibrate_from_captures,
    calibrate_from_frames,
    sort_frames,
)
from rawdenoise.calibration.frames import Frame, measure_unevenness
from rawdenoise.calibration.quantization import average_variance
from rawdenoise.calibration.transfer import fit_line
from rawdenoise.capture.raw import Area, Camera, Cfa, RawImage
from rawdenoise.errors import CalibrationError, RawDenoiseError
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import (
    SIMULATED_IMX385,
    FixedPattern,
    SensorNoise,
    SimulatedCamera,
    capture,
    light_evenly,
    make_fixed_pattern,
)

ISO = 400
NOISE = SensorNoise(gain=0.8, read_sigma=3.0, row_sigma=0.6)
LEVELS = (0.03, 0.1, 0.25, 0.5)


def sensor(
    noise: SensorNoise = NOISE, width: int = 300, height: int = 200, **changes: object
) -> SimulatedCamera:
    small = replace(
        SIMULATED_IMX385,
        size=(width, height),
        active=Area(0, 0, height, width),
        noise={ISO: noise, 800: noise},
    )
    return replace(small, **changes)


def frames(
    camera: SimulatedCamera,
    levels: tuple[float, ...] = LEVELS,
    *,
    darks: int = 2,
    seed: int = 0,
    fixed: FixedPattern | None = None,
    vignetting: float = 0.2,
    iso: int = ISO,
) -> tuple[list[RawImage], list[RawImage]]:
    """Darks, and two flats of each level whose shutter time is proportional to it."""
    rng = np.random.default_rng(seed)
    return (
        [light_evenly(camera, iso, 0, rng, fixed=fixed) for _ in range(darks)],
        [
            light_evenly(camera, iso, level, rng, exposure_s=level, vignetting=vignetting, fixed=fixed)
            for level in levels
            for _ in range(2)
        ],
    )


def calibrated(camera: SimulatedCamera, **options: object) -> CalibrationPoint:
    (point,) = calibrate_from_frames(*frames(camera, **options))  # type: ignore[arg-type]
    return point


# ---------------------------------------------------------------- what is put in comes out


@pytest.mark.parametrize("cfa", list(Cfa))
def test_a_sensor_with_every_fault_is_told_as_it_is(cfa: Cfa) -> None:
    """15000 pixels a plane: 3 % is five standard errors of its shot and read noise."""
    camera = sensor(cfa=cfa, size=(307, 206), active=Area(3, 5, 204, 306))
    fixed = make_fixed_pattern(
        camera, np.random.default_rng(1), pixel_sigma=1.0, row_sigma=0.2, column_sigma=0.5,
        response_sigma=0.01, hot=20, dead=8,
    )  # fmt: skip
    point = calibrated(camera, fixed=fixed, darks=4, seed=2)
    assert point.gain == pytest.approx((0.8,) * 4, rel=0.03)
    assert point.read_noise == pytest.approx((np.hypot(3.0, 12**-0.5),) * 4, rel=0.03)
    assert np.sqrt(point.noise.row_variance) * 3855 == pytest.approx(0.6, rel=0.15)
    assert point.black == pytest.approx((240.0,) * 4, abs=0.2)
    assert point.noise.step * 3855 == pytest.approx(1)
    assert point.response_sigma == pytest.approx(0.01, rel=0.2)
    assert point.dark is not None
    assert point.dark.pixel_sigma == pytest.approx(np.hypot(np.hypot(1.0, 0.2), 0.5), rel=0.1)
    assert point.dark.column_sigma == pytest.approx(0.5, rel=0.2)
    for found, true in (
        (point.defects.hot, fixed.offset > 100),
        (point.defects.dead, fixed.response == 0),
    ):
        lit = np.zeros_like(true)
        lit[camera.active.slices] = True
        assert found.tolist() == np.argwhere(true & lit).tolist()
    assert point.notes == ()


def test_the_fixed_pattern_does_not_pass_for_noise() -> None:
    camera = sensor()
    fixed = make_fixed_pattern(
        camera, np.random.default_rng(3), pixel_sigma=6.0, column_sigma=4.0, response_sigma=0.02
    )
    faulty, clean = calibrated(camera, fixed=fixed), calibrated(camera)
    assert faulty.read_noise == pytest.approx(clean.read_noise, rel=0.02)
    assert faulty.gain == pytest.approx(clean.gain, rel=0.02)


@pytest.mark.parametrize("noise", [SensorNoise(0.4, 1.2, 0.4, 0.02), SensorNoise(24.0, 12.0, 2.3, -0.09)])
def test_long_tails_are_counted_in(noise: SensorNoise) -> None:
    point = calibrated(sensor(noise), seed=4)
    assert point.read_noise == pytest.approx((np.hypot(noise.read_deviation, 12**-0.5),) * 4, rel=0.04)


def test_intervals_hold_the_truth_and_are_narrow() -> None:
    held = []
    for seed in range(6):
        point = calibrated(sensor(width=200, height=160), seed=10 + seed)
        assert point.gain is not None
        assert point.shot_interval is not None
        assert point.read_interval is not None
        for seen, true, (low, high) in (
            (point.gain, 0.8, point.shot_interval),
            (point.read_noise, np.hypot(3, 12**-0.5), point.read_interval),
        ):
            assert high - low < 0.08
            held += [low * each <= true <= high * each for each in seen]
    assert np.mean(held) >= 0.9


def test_each_iso_is_a_point_of_its_own() -> None:
    camera = sensor()
    low, high = frames(camera), frames(camera, iso=800, seed=1)
    points = calibrate_from_frames(high[0] + low[0], high[1] + low[1])
    assert [point.iso for point in points] == [400, 800]


def test_isos_that_differ_by_rounding_are_one() -> None:
    darks, flats = frames(sensor())
    flats[0] = replace(flats[0], exposure=replace(flats[0].exposure, iso=404))
    (point,) = calibrate_from_frames(darks, flats)
    assert point.iso == 400
    assert point.captures == len(darks + flats)


def test_an_iso_that_fails_is_told_and_the_others_stand() -> None:
    camera = sensor()
    good, bad = frames(camera), frames(camera, (0.2,), iso=800)
    refused: list[CalibrationError] = []
    points = calibrate_from_frames([*good[0], *bad[0]], [*good[1], bad[1][0]], on_refusal=refused.append)
    assert [point.iso for point in points] == [400]
    assert len(refused) == 1
    assert "ISO 800" in str(refused[0])


def test_saturation_is_where_frames_clip_even_below_the_file_s_white() -> None:
    camera = sensor()
    darks, flats = frames(camera, (*LEVELS, 1.5))
    clipping = [replace(flat, mosaic=np.minimum(flat.mosaic, 3000)) for flat in flats]
    (point,) = calibrate_from_frames(darks, clipping)
    assert point.saturated
    assert point.saturation == 3000
    assert point.full_well_e == pytest.approx(((3000 - 240) / 0.8,) * 4, rel=0.03)
    assert point.gain == pytest.approx((0.8,) * 4, rel=0.03)
    assert any("clipped" in note for note in point.notes)


def test_flats_alone_give_the_gain_and_say_what_they_lack() -> None:
    _, flats = frames(sensor(), (0.01, *LEVELS))
    (point,) = calibrate_from_frames([], flats)
    assert point.gain == pytest.approx((0.8,) * 4, rel=0.03)
    assert point.read_noise == pytest.approx((3.0,) * 4, rel=0.25)
    assert any("no darks" in note for note in point.notes)


def test_darks_alone_give_everything_but_the_gain() -> None:
    darks, _ = frames(sensor(), darks=3)
    (point,) = calibrate_from_frames(darks, [])
    assert not point.complete
    assert point.gain is None
    assert point.full_well_e is None
    assert point.read_noise == pytest.approx((np.hypot(3.0, 12**-0.5),) * 4, rel=0.03)
    assert any("gain" in note for note in point.notes)


def test_a_lamp_that_flickers_a_little_does_no_harm() -> None:
    camera = sensor()
    rng = np.random.default_rng(5)
    darks, _ = frames(camera)
    flats = [
        light_evenly(camera, ISO, level * flicker, rng, exposure_s=level, vignetting=0.6)
        for level in LEVELS
        for flicker in (1.0, 1.02)
    ]
    (point,) = calibrate_from_frames(darks, flats)
    assert point.gain == pytest.approx((0.8,) * 4, rel=0.03)


def test_real_darks_show_read_and_row_noise(shared_data: Path) -> None:
    """Two darks of a 10-bit sensor whose noise is finer than its quantisation step."""
    sorted_ = sort_frames([shared_data / "imx296" / "dark"])
    (point,) = calibrate_from_frames(sorted_.darks, sorted_.flats)
    assert point.read_noise == pytest.approx((0.49,) * 4, rel=0.1)
    assert max(point.read_noise) / min(point.read_noise) < 1.02  # though rounding hides it unequally
    assert 0.05 < np.sqrt(point.noise.row_variance) * 963 < 0.064
    assert point.black == pytest.approx((60.18,) * 4, abs=0.08)


# ---------------------------------------------------------------- parts


@given(st.floats(0.25, 0.9), st.floats(0, 1), st.sampled_from([1.0, 4.0]))
@settings(max_examples=30)
def test_noise_finer_than_a_step_is_the_same_wherever_black_lies(
    sigma: float, mean: float, step: float
) -> None:
    rng = np.random.default_rng(0)
    rounded = np.rint(rng.normal(mean, sigma, 200_000)) * step
    found = average_variance(float(rounded.var()), np.array([float(rounded.mean())]), step)
    assert np.sqrt(found) == pytest.approx(step * np.sqrt(sigma**2 + 1 / 12), rel=0.02)


@given(st.floats(1e-6, 10), st.floats(1e-6, 10))
def test_points_on_a_line_give_the_line(slope: float, intercept: float) -> None:
    signal = np.array([0, 0.1, 0.2, 0.4, 0.8])
    variance = slope * signal + intercept
    line = fit_line(signal, variance, 0.01 * variance, floor=0.0)
    assert line.slope == pytest.approx(slope, rel=1e-6, abs=1e-6 * intercept)
    assert line.intercept == pytest.approx(intercept, rel=1e-6)


def test_one_point_off_the_line_does_not_carry_it_away() -> None:
    signal = np.linspace(0, 0.7, 8)
    variance = 2e-4 * signal + 1e-6
    variance[5] *= 1.3
    line = fit_line(signal, variance, 0.01 * variance, floor=0.0)
    assert line.slope == pytest.approx(2e-4, rel=0.01)


def test_an_intercept_below_quantisation_is_raised_to_it() -> None:
    signal = np.array([0.1, 0.2, 0.4])
    line = fit_line(signal, signal - 0.01, np.full(3, 1e-3), floor=1e-3)
    assert line.intercept == 1e-3
    assert 0.9 < line.slope < 1


@pytest.mark.parametrize("shutter", [lambda t: t, lambda t: t / (1 + 0.2 * t)])
def test_linearity_is_measured_against_the_shutter(shutter: Callable[[float], float]) -> None:
    """The second response bends: its largest relative distance from the best line is 1.5 % or so."""
    camera = sensor()
    rng = np.random.default_rng(6)
    times = (0.08, 0.2, 0.4, 0.6, 0.8)
    flats = [light_evenly(camera, ISO, shutter(t), rng, exposure_s=t) for t in times for _ in range(2)]
    (point,) = calibrate_from_frames(frames(camera)[0], flats)
    assert point.linearity_error_percent is not None
    times_s, signal = np.array(times), np.array([shutter(t) for t in times])
    terms = np.stack([np.ones(5), times_s], axis=1) / signal[:, None]
    expected = np.abs(1 / (terms @ np.linalg.lstsq(terms, np.ones(5), rcond=None)[0]) - 1).max()
    assert point.linearity_error_percent == pytest.approx(100 * expected, abs=0.1)


def test_linearity_is_not_told_where_the_lamp_was_dimmed() -> None:
    camera = sensor()
    rng = np.random.default_rng(7)
    flats = [light_evenly(camera, ISO, level, rng, exposure_s=0.1) for level in LEVELS for _ in range(2)]
    (point,) = calibrate_from_frames(frames(camera)[0], flats)
    assert point.linearity_error_percent is None
    assert len(point.curve) == 5


def test_vignetting_is_even_and_a_scene_is_not() -> None:
    darks, flats = frames(sensor(), (0.02, 0.5), vignetting=0.7)
    scene = make_scene(200, 300, np.random.default_rng(0))
    picture, _ = capture(scene, sensor(), ISO, np.random.default_rng(0))
    assert all(Frame.of(flat).is_even for flat in flats)
    assert not Frame.of(picture).is_even
    assert all(Frame.of(dark).is_dark for dark in darks)
    assert not any(Frame.of(flat).is_dark for flat in flats)
    assert measure_unevenness(np.full((60, 90), 0.5, np.float32)) < 1e-9


# ---------------------------------------------------------------- refusals


def _only_one(darks: list[RawImage], flats: list[RawImage]) -> None:
    del flats[1:]


def _clipped(darks: list[RawImage], flats: list[RawImage]) -> None:
    flats[:] = [replace(flat, mosaic=np.full_like(flat.mosaic, 4095)) for flat in flats]


def _black(darks: list[RawImage], flats: list[RawImage]) -> None:
    flats[:] = [replace(flat, mosaic=darks[0].mosaic) for flat in flats]


def _drifting(darks: list[RawImage], flats: list[RawImage]) -> None:
    flats[:] = flats[:2]
    brighter = 240 + 1.08 * (flats[1].mosaic.astype(float) - 240)
    flats[1] = replace(flats[1], mosaic=brighter.astype(np.uint16))


def _textured(darks: list[RawImage], flats: list[RawImage]) -> None:
    rows = np.where(np.arange(200) // 20 % 2, 1.0, 0.8)[:, None]
    flats[:] = [
        replace(flat, mosaic=(240 + rows * (flat.mosaic - 240.0)).clip(0).astype(np.uint16)) for flat in flats
    ]


def _grainy(darks: list[RawImage], flats: list[RawImage]) -> None:
    grain = 1 + 0.2 * np.random.default_rng(0).standard_normal((200, 300))
    flats[:] = [
        replace(flat, mosaic=(240 + grain * (flat.mosaic - 240.0)).clip(0).astype(np.uint16))
        for flat in flats
    ]


def _too_bright(darks: list[RawImage], flats: list[RawImage]) -> None:
    flats[:] = frames(sensor(), (0.9,), vignetting=0)[1]


def _another_camera(darks: list[RawImage], flats: list[RawImage]) -> None:
    flats[3] = replace(flats[3], camera=Camera("Other", "One"))


def _another_size(darks: list[RawImage], flats: list[RawImage]) -> None:
    flats[3] = replace(flats[3], active=Area(0, 0, 198, 300))


def _lit_dark(darks: list[RawImage], flats: list[RawImage]) -> None:
    darks[1] = flats[-1]


def _noiseless_dark(darks: list[RawImage], flats: list[RawImage]) -> None:
    darks[0] = replace(darks[0], mosaic=np.full_like(darks[0].mosaic, 240))


def _cut_off_dark(darks: list[RawImage], flats: list[RawImage]) -> None:
    darks[0] = replace(darks[0], mosaic=np.maximum(darks[0].mosaic, 240))


def _one_dark_no_flats(darks: list[RawImage], flats: list[RawImage]) -> None:
    del darks[1:], flats[:]


def _one_exposure_no_darks(darks: list[RawImage], flats: list[RawImage]) -> None:
    del darks[:], flats[2:]


def _nothing(darks: list[RawImage], flats: list[RawImage]) -> None:
    darks.clear()
    flats.clear()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_only_one, "single flat"),
        (_clipped, "clipped"),
        (_black, "black"),
        (_drifting, "drifting light"),
        (_textured, "textured"),
        (_grainy, "textured"),
        (_too_bright, "too near saturation"),
        (_another_camera, "several cameras"),
        (_another_size, "several sizes"),
        (_lit_dark, "holds light"),
        (_noiseless_dark, "no noise"),
        (_cut_off_dark, "cut off at 240"),
        (_one_dark_no_flats, "single dark"),
        (_one_exposure_no_darks, "single exposure"),
        (_nothing, "no darks and no flats"),
    ],
)
def test_what_cannot_be_trusted_is_refused_in_one_line(
    spoil: Callable[[list[RawImage], list[RawImage]], None], reason: str
) -> None:
    darks, flats = frames(sensor())
    spoil(darks, flats)
    with pytest.raises(CalibrationError, match=reason) as refusal:
        calibrate_from_frames(darks, flats)
    assert "\n" not in str(refusal.value)


def test_a_bad_pair_among_good_ones_is_left_out_and_named() -> None:
    darks, flats = frames(sensor())
    flats[1] = replace(flats[1], mosaic=(flats[1].mosaic * 1.05).astype(np.uint16))
    (point,) = calibrate_from_frames(darks, flats)
    assert point.gain == pytest.approx((0.8,) * 4, rel=0.03)
    assert len(point.curve) == len(LEVELS)  # the darks and all exposures but one
    assert any("drifting" in note for note in point.notes)


# ---------------------------------------------------------------- files

LAYOUT = PlainLayout(Cfa.RGGB, black=240.0, bits=12)


def save(folder: Path, images: list[RawImage], name: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}-{number}.npy" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        np.save(path, image.mosaic)
    return paths


def test_a_folder_of_everything_is_sorted_by_content(tmp_path: Path) -> None:
    darks, flats = frames(sensor(), (0.1, 0.5))
    picture, _ = capture(
        make_scene(200, 300, np.random.default_rng(0)), sensor(), ISO, np.random.default_rng(0)
    )
    save(tmp_path, darks, "a")
    save(tmp_path, flats, "b")
    save(tmp_path, [picture], "c")
    (tmp_path / "notes.txt").write_text("shot on a rainy day")
    (tmp_path / "photo.dng").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    told: list[tuple[str, RawDenoiseError | None]] = []
    sorted_ = sort_frames(
        [tmp_path, tmp_path / "gone"], LAYOUT, on_file=lambda path, error: told.append((path.name, error))
    )
    assert sorted(frame.source.name for frame in sorted_.darks) == ["a-0.npy", "a-1.npy"]
    assert sorted(frame.source.name for frame in sorted_.flats) == [f"b-{n}.npy" for n in range(4)]
    lines = sorted(str(error).removeprefix(str(tmp_path)) for error in sorted_.others)
    assert [line.split(":")[0] for line in lines] == ["/c-0.npy", "/gone", "/notes.txt", "/photo.dng"]
    assert "neither dark nor flat" in lines[0]
    assert {name for name, error in told if error is None} == {
        frame.source.name for frame in sorted_.darks + sorted_.flats
    }
    (point,) = calibrate_from_frames(sorted_.darks, sorted_.flats)
    assert point.gain == pytest.approx((0.8,) * 4, rel=0.04)


def test_frames_are_held_to_what_they_were_given_as(tmp_path: Path) -> None:
    darks, flats = frames(sensor(), (0.1, 0.5))
    save(tmp_path / "d", [darks[0], flats[-1]], "frame")
    save(tmp_path / "f", [darks[1], flats[-2]], "frame")
    sorted_ = sort_frames([tmp_path / "d"], LAYOUT, meant_as="dark").join(
        sort_frames([tmp_path / "f"], LAYOUT, meant_as="flat")
    )
    assert [frame.source.name for frame in sorted_.darks] == ["frame-0.npy"]
    assert [frame.source.name for frame in sorted_.flats] == ["frame-1.npy"]
    assert ["holds light" in str(error) or "is black" in str(error) for error in sorted_.others] == [True] * 2


def scenes(count: int, seed: int = 0) -> list[RawImage]:
    """Captures of grey cards in fading light: how well texture is told from noise is tested elsewhere."""
    rng = np.random.default_rng(seed)
    camera = sensor(width=480, height=320)
    cards = np.kron(rng.uniform(0.02, 0.7, (8, 12)), np.ones((40, 40)))[..., None] * np.ones(3)
    fade = np.linspace(1, 0.9, 480)[:, None]
    return [capture((fade * cards).astype(np.float32), camera, ISO, rng)[0] for _ in range(count)]


def test_captures_tell_gain_and_read_noise(tmp_path: Path) -> None:
    paths = save(tmp_path, scenes(4), "scene")
    paths[0].with_name("copy.npy").write_bytes(paths[0].read_bytes())
    left_out: list[str] = []
    (point,) = calibrate_from_captures(
        [tmp_path],
        LAYOUT,
        camera_name="My Own",
        on_file=lambda path, error: left_out.append(str(error)) if error else None,
    )
    assert point.camera.name == "My Own"
    assert point.captures == 4
    assert point.gain == pytest.approx((0.8,) * 4, rel=0.15)
    assert point.shot_interval is not None
    assert point.read_interval is not None
    assert point.shot_interval[0] < 1 < point.shot_interval[1]
    assert point.read_interval[0] < 1 < point.read_interval[1]
    assert len(left_out) == 1
    assert "copy" in left_out[0]


def test_darks_and_captures_complete_each_other(tmp_path: Path) -> None:
    (dark,) = calibrate_from_frames(frames(sensor(width=480, height=320))[0], [])
    (captures,) = calibrate_from_captures(save(tmp_path, scenes(2), "scene"), LAYOUT)
    both = add_gain(dark, captures)
    assert both.complete
    assert both.noise.shot == captures.noise.shot
    assert both.noise.read_variance == dark.noise.read_variance
    assert both.captures == 4
    assert add_gain(both, captures) is both


@pytest.mark.parametrize("level", [0, 4095])
def test_captures_without_noise_are_refused(tmp_path: Path, level: int) -> None:
    np.save(tmp_path / "frame.npy", np.full((200, 300), level, np.uint16))
    with pytest.raises(CalibrationError, match="no noise"):
        calibrate_from_captures([tmp_path], LAYOUT)


def test_captures_of_several_cameras_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", scenes(1)[0].mosaic)
    np.save(tmp_path / "b.npy", scenes(1)[0].mosaic[:200])
    with pytest.raises(CalibrationError, match="several cameras"):
        calibrate_from_captures([tmp_path], LAYOUT)
