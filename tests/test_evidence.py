from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TEST_CAMERA, make_raw
from test_noise import noisy, ramps, textured

from rawdenoise.calibration.from_captures import SampledCapture, pool_captures
from rawdenoise.capture.packing import pack
from rawdenoise.capture.raw import Exposure, Levels, Metadata, RawImage
from rawdenoise.errors import CalibrationError, ProfileError, TrainingError
from rawdenoise.formats.tiff.reading import numbers_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.noise.estimate import sample_noise
from rawdenoise.noise.evidence import Evidence, Kind, evidence_for, tag_noise
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.store import CameraProfile, MeasurementMethod, ProfilePoint, ProfileStore
from rawdenoise.noise.samples import NoiseSamples
from rawdenoise.training.pooled_noise import pool_noise

BYTE, RATIONAL, DOUBLE = 1, 5, 12
GAIN, READ, BLACK, WHITE = 8.0, 10.0, 512.0, 16383.0
SPAN = WHITE - BLACK
TRUE = NoiseModel((GAIN / SPAN,) * 4, ((READ / SPAN) ** 2,) * 4)
POOL = (IsoNoise(800, NoiseModel((1e-3,) * 4, (1e-6,) * 4), 12),)


def capture(*tags: tuple[int, int, tuple[float, ...]], iso: int | None = 800, **more: object) -> RawImage:
    """A gradient with the noise of TRUE, with tags of (code, type, values)."""
    rng = np.random.default_rng(0)
    signal = np.linspace(0, 0.8 * SPAN, 400)[None, :] * np.ones((400, 1))
    mosaic = BLACK + GAIN * rng.poisson(signal / GAIN) + READ * rng.standard_normal(signal.shape)
    root = {code: numbers_tag(kind, *values) for code, kind, values in tags}
    return make_raw(
        400,
        400,
        mosaic=np.clip(np.rint(mosaic), 0, WHITE).astype(np.uint16),
        exposure=Exposure(iso=iso),
        metadata=Metadata(is_dng=bool(tags), root=root),
        **more,
    )


def profile_tag(scale: float = 1.0) -> tuple[int, int, tuple[float, ...]]:
    return Code.NoiseProfile, DOUBLE, (scale * TRUE.shot[0], scale * TRUE.read_variance[0])


def of_points(
    *isos: int | None, method: MeasurementMethod = MeasurementMethod.PHOTON_TRANSFER
) -> CameraProfile:
    points = (
        ProfilePoint(iso, ((iso or 1) / 100,) * 4, (READ,) * 4, (BLACK,) * 4, WHITE, method) for iso in isos
    )
    return CameraProfile(TEST_CAMERA, tuple(points))


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path / "own", bundled=tmp_path / "bundled")


def ask(raw: RawImage, store: ProfileStore | None, pool: tuple[IsoNoise, ...] | None = None) -> Evidence:
    return evidence_for(raw, pack(raw), profiles=store, card_noise=pool)


def test_the_strongest_evidence_speaks_and_the_next_where_it_is_missing(store: ProfileStore) -> None:
    raw = capture(profile_tag())
    store.save(of_points(400, 1600))
    said = ask(raw, store, POOL)
    assert (said.kind, said.noise.shot[0] * SPAN) == (Kind.PROFILE, pytest.approx(8.0))
    assert said.why == "interpolated between ISO 400 and 1600 in the profile test-one-test"
    assert [line.split(":")[0] for line in said.considered] == ["pooled", "tag", "capture"]

    store.remove(store.find_own("test-one-test"))
    said = ask(raw, store, POOL)
    assert (said.kind, said.noise) == (Kind.POOLED, POOL[0].noise)
    assert "12 captures of ISO 800" in said.why
    assert said.considered[0] == "profile: none of Test One; `rawdenoise calibrate` makes one"

    said = ask(raw, store, POOL[1:])
    assert said.kind is Kind.TAG
    assert said.noise.shot == TRUE.shot
    assert said.considered[1] == "pooled: the model was trained on no capture of ISO 800"

    said = ask(capture(), store)
    assert said.kind is Kind.CAPTURE
    assert said.noise.shot[1] == pytest.approx(TRUE.shot[1], rel=0.25)
    assert said.considered[1:] == ("pooled: no model of Test One", "tag: the file is no DNG")


@pytest.mark.parametrize("scale", [0.3, 2.4, 2.9])
def test_a_tag_that_the_pixels_contradict_is_not_believed(scale: float) -> None:
    said = ask(capture(profile_tag(scale)), None)
    assert said.kind is Kind.CAPTURE
    assert said.noise.shot[1] == pytest.approx(TRUE.shot[1], rel=0.25)
    assert "times the variance that the file's NoiseProfile promises" in said.considered[2]


@pytest.mark.parametrize("scale", [0.75, 1.0, 1.3])
def test_a_tag_that_the_pixels_confirm_is_believed(scale: float) -> None:
    said = ask(capture(profile_tag(scale)), None)
    assert said.kind is Kind.TAG
    assert said.noise.shot[0] == pytest.approx(scale * TRUE.shot[0])


@pytest.mark.parametrize("scale", [0.5, 2.2])
@pytest.mark.parametrize("plane", ["R", "B"])
def test_a_tag_that_is_wrong_in_one_plane_is_not_believed(plane: str, scale: float) -> None:
    right = (TRUE.shot[0], TRUE.read_variance[0])
    wrong = (scale * right[0], scale * right[1])
    pairs = (*wrong, *right, *right) if plane == "R" else (*right, *right, *wrong)
    said = ask(capture((Code.NoiseProfile, DOUBLE, pairs)), None)
    assert said.kind is Kind.CAPTURE
    assert said.considered[2].endswith(f"times the variance that the file's NoiseProfile promises in {plane}")


@pytest.mark.parametrize(("coarse", "kind"), [(2.0, Kind.CAPTURE), (9.0, Kind.TAG)])
def test_a_plane_whose_texture_may_be_what_is_seen_does_not_contradict_its_tag(
    coarse: float, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = np.linspace(0.01, 0.5, 40)
    promised = TRUE.shot[0] * level + TRUE.read_variance[0]
    flat = NoiseSamples(level, promised, promised, np.full(40, 50.0), 1e-12)
    blue = replace(flat, variance=(2.0 if coarse == 2 else 3.0) * promised, coarse=coarse * promised)
    monkeypatch.setattr(
        "rawdenoise.noise.evidence.sample_sound_pixels", lambda *_, **__: (flat, flat, flat, blue)
    )
    assert ask(capture(profile_tag()), None).kind is kind


def test_what_is_known_of_a_camera_is_not_believed_of_a_capture_that_shows_hundreds_of_times_the_noise(
    store: ProfileStore,
) -> None:
    nothing = (IsoNoise(800, NoiseModel((1e-12,) * 4, (1e-10,) * 4), 4),)
    said = ask(capture(), store, nothing)
    assert said.kind is Kind.CAPTURE
    assert said.noise.shot[1] == pytest.approx(TRUE.shot[1], rel=0.25)
    assert said.considered[1].endswith(
        "as the model was trained with, on 4 captures of ISO 800: it is not believed"
    )
    assert said.notes == (said.considered[1].removeprefix("pooled: "),)
    points = (
        ProfilePoint(800, (0.004,) * 4, (0.3,) * 4, (BLACK,) * 4, WHITE, MeasurementMethod.PHOTON_TRANSFER),
    )
    store.save(CameraProfile(TEST_CAMERA, points))
    assert len(ask(capture(), store, nothing).notes) == 2


def test_a_tag_that_nothing_confirms_is_not_believed() -> None:
    raw = capture(profile_tag())
    said = ask(replace(raw, mosaic=np.full_like(raw.mosaic, WHITE)), None)
    assert said.kind is Kind.CAPTURE
    assert said.considered[2] == "tag: the pixels show too little to check the file's NoiseProfile"


def test_a_profile_is_asked_at_its_isos_only_and_says_how_it_knows(store: ProfileStore) -> None:
    store.save(of_points(None, 400, 1600, method=MeasurementMethod.PUBLISHED))
    said = {iso: ask(capture(iso=iso), store) for iso in (200, 396, 400, 800, 1610, 3200, None)}
    assert said[400].why == "published for ISO 400 in the profile test-one-test"
    assert said[396].why == said[400].why  # a rounded label
    assert said[1610].why == "published for ISO 1600 in the profile test-one-test"
    assert said[None].why == "published for unstated ISO in the profile test-one-test"
    assert [said[iso].kind for iso in (200, 3200)] == [Kind.CAPTURE] * 2
    assert said[3200].considered[0] == "profile: test-one-test knows ISO 400-1600, not ISO 3200"


def test_a_profile_of_stated_isos_does_not_speak_for_an_unstated_one(store: ProfileStore) -> None:
    store.save(of_points(400, 1600))
    said = ask(capture(iso=None), store, POOL)
    assert said.kind is Kind.CAPTURE
    assert said.considered[0] == "profile: test-one-test is for stated ISO, and the file states none"
    assert said.considered[1] == "pooled: the model was trained on no capture of unstated ISO"


def test_a_model_of_captures_without_iso_speaks_for_others_without_iso(store: ProfileStore) -> None:
    pool = (*POOL, IsoNoise(None, TRUE, 3))
    said = ask(capture(iso=None), store, pool)
    assert (said.kind, said.noise) == (Kind.POOLED, TRUE)
    assert said.why == "as the model was trained with, on 3 captures of unstated ISO"
    assert ask(capture(), store, pool).noise == POOL[0].noise


def test_a_profile_of_another_bit_depth_does_not_speak(store: ProfileStore) -> None:
    twelve_bits = tuple(replace(p, black=(128.0,) * 4, white=4095.0) for p in of_points(800).points)
    store.save(CameraProfile(TEST_CAMERA, twelve_bits))
    said = ask(capture(), store)
    assert said.kind is Kind.CAPTURE
    assert said.considered[0] == "profile: test-one-test was made with other levels (512 to 16383 DN here)"


def test_a_broken_profile_is_an_error_and_no_reason_to_guess(store: ProfileStore) -> None:
    store.save(of_points(800)).write_text("oops")
    with pytest.raises(ProfileError, match="is no TOML"):
        ask(capture(), store)


def test_a_tag_speaks_for_the_colours_in_the_order_of_the_file() -> None:
    pairs = (1e-3, 1e-6, 2e-3, 2e-6, 3e-3, 3e-6)
    noise = tag_noise(capture((Code.NoiseProfile, DOUBLE, pairs)))
    assert noise is not None
    assert noise.shot == (1e-3, 2e-3, 2e-3, 3e-3)
    turned = ((Code.NoiseProfile, DOUBLE, pairs), (Code.CFAPlaneColor, BYTE, (2, 1, 0)))
    noise = tag_noise(capture(*turned))
    assert noise is not None
    assert noise.read_variance == (3e-6, 2e-6, 2e-6, 1e-6)


def test_a_tag_without_read_noise_gets_that_of_quantisation() -> None:
    noise = tag_noise(capture((Code.NoiseProfile, DOUBLE, (1e-3, 0.0))))
    assert noise is not None
    assert noise.read_variance[0] == pytest.approx(1 / 12 / SPAN**2)


@pytest.mark.parametrize(
    "values", [(0.0, 1e-6), (1e-3, -1e-6), (np.nan, 1e-6), (1e-3, np.inf), (1e-3,), (1e-3, 1e-6) * 5]
)
def test_an_absurd_tag_says_nothing(values: tuple[float, ...]) -> None:
    raw = capture((Code.NoiseProfile, DOUBLE, values))
    assert tag_noise(raw) is None
    assert ask(raw, None).considered[2] == "tag: the file has no NoiseProfile that makes sense"


def test_what_was_denoised_already_no_longer_has_the_cameras_noise(store: ProfileStore) -> None:
    store.save(of_points(800))
    raw = capture(profile_tag(), (Code.Software, BYTE, tuple(b"rawdenoise 0.1\0")))
    applied = {Code.NoiseReductionApplied: numbers_tag(RATIONAL, 0.5)}
    said = ask(replace(raw, metadata=replace(raw.metadata, raw=applied)), store, POOL)
    assert said.kind is Kind.TAG
    assert said.considered[:2] == tuple(
        f"{k}: the file has been denoised already" for k in ("profile", "pooled")
    )


def test_few_pixels_are_looked_at_where_something_stronger_speaks(
    store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise AssertionError("all pixels were looked at")

    monkeypatch.setattr("rawdenoise.noise.evidence.sample_sound_pixels", fail)
    store.save(of_points(800))
    assert ask(capture(), store).kind is Kind.PROFILE
    assert ask(capture(), None, POOL).kind is Kind.POOLED


def test_where_noise_cannot_be_told_from_texture_nothing_is_learnt_or_calibrated_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    textures = sample_noise(noisy(textured(3, 0.1, 0), 4 / SPAN, (6 / SPAN) ** 2))
    shows = sample_noise(noisy(ramps(), GAIN / SPAN, (READ / SPAN) ** 2))
    samples = {100: [textures], 800: [shows]}
    (known,) = pool_noise(TEST_CAMERA, samples, {100: None, 800: None})
    assert known.iso == 800
    calibrated = pool_noise(TEST_CAMERA, samples, {100: TRUE, 800: None})
    assert [each.noise == TRUE for each in calibrated] == [True, False]
    with pytest.raises(TrainingError, match=r"captures of ISO 100 cannot be told.*rawdenoise calibrate"):
        list(pool_noise(TEST_CAMERA, {100: [textures]}, {100: None}))

    levels = Levels((BLACK,) * 4, WHITE)
    captures = [
        SampledCapture(Path(f"{iso}.dng"), TEST_CAMERA, iso, levels, WHITE, seen)
        for iso, (seen,) in samples.items()
    ]
    assert [point.iso for point in pool_captures(captures)] == [800]
    assert (
        len([line for line in caplog.messages if "of ISO 100 cannot be told from their texture" in line]) == 2
    )
    with pytest.raises(CalibrationError, match="of ISO 100 cannot be told from their texture"):
        pool_captures(captures[:1])
