from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from conftest import make_raw
from hypothesis import given
from hypothesis import strategies as st

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Camera, Levels
from rawdenoise.cli.wording import name_options
from rawdenoise.errors import ProfileError, ProfileExistsError
from rawdenoise.noise.profiles.profile import find_off_scale, point_at
from rawdenoise.noise.profiles.store import (
    CameraProfile,
    KnownDefects,
    MeasurementMethod,
    ProfilePoint,
    ProfileStore,
    format_profile,
    merge_profiles,
    parse_profile,
    save_profile,
)

CAMERA = Camera("Test", "Test One", mode="60x40 14-bit")
HERE = Path("test.toml")


def four(value: float) -> tuple[float, float, float, float]:
    return (value, value, value, value)


def point(iso: int | None, gain: float, read: float, **more: object) -> ProfilePoint:
    fields = {"black": four(512), "white": 16383.0, "method": MeasurementMethod.PHOTON_TRANSFER, **more}
    return ProfilePoint(iso, four(gain), four(read), **fields)  # type: ignore[arg-type]


def amplified(iso: int, *, before: float = 2.0, after: float = 3.0, per_iso: float = 0.01) -> ProfilePoint:
    """A sensor with read noise from before the amplifier (electrons) and from after it (DN)."""
    gain = per_iso * iso
    return point(iso, gain, (after**2 + (before * gain) ** 2) ** 0.5, row_noise=0.1 * before * gain)


SOUND = """
format = 1
[camera]
make = "Test"
model = "Test One"
[levels]
black = 512
white = 16383
[provenance]
method = "published"
source = "a paper"
date = 2020-02-29
[iso.100]
gain = 0.1
read_noise = 1.5
[iso.400]
gain = [0.4, 0.4, 0.4, 0.42]
read_noise = 2
row_noise = 0.3
"""

# ---------------------------------------------------------------- files


def rounded(value: float) -> float:
    return float(f"{value:.7g}")


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(rounded)


def fours(low: float, high: float) -> st.SearchStrategy[tuple[float, float, float, float]]:
    each = numbers(low, high)
    return numbers(low, high).map(four) | st.tuples(each, each, each, each)


intervals = st.none() | st.tuples(numbers(0.5, 1), numbers(1, 2))


@st.composite
def points(draw: st.DrawFn, iso: int | None) -> ProfilePoint:
    return ProfilePoint(
        iso=iso,
        gain=draw(fours(1, 1.2)),
        read_noise=draw(fours(0.1, 100)),
        black=draw(fours(0, 1000)),
        white=draw(numbers(4000, 65535)),
        method=draw(st.sampled_from(MeasurementMethod)),
        row_noise=draw(numbers(0, 10)),
        step=draw(st.sampled_from([1.0, 4.0])),
        source=draw(st.sampled_from(["", "a paper", 'with "quotes"\nand lines', "naïve 写真"])),
        measured_on=draw(st.none() | st.dates()),
        captures=draw(st.none() | st.integers(1, 1000)),
        tukey=draw(st.none() | st.tuples(numbers(-0.3, 0.3), numbers(0.1, 9))),
        full_well=draw(st.none() | numbers(100, 1e6)),
        linearity_error=draw(st.none() | numbers(0, 0.1)),
        gain_interval=draw(intervals),
        read_interval=draw(intervals),
    )


@st.composite
def profiles(draw: st.DrawFn) -> CameraProfile:
    isos = sorted(draw(st.sets(st.integers(1, 10**7), min_size=1, max_size=4)))
    sites = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 59)), max_size=30).map(tuple)
    defects = st.builds(KnownDefects, st.sampled_from(["", "1234"]), st.just((60, 40)), sites, sites)
    unstated = [None] if draw(st.booleans()) else []
    return CameraProfile(
        Camera(draw(st.sampled_from(["", "Test"])), "Model\n3", mode=draw(st.sampled_from(["", "m"]))),
        tuple(draw(points(iso)) for iso in [*unstated, *isos]),
        draw(st.none() | defects),
    )


@given(profiles())
def test_a_profile_reads_back_as_it_was(profile: CameraProfile) -> None:
    text = format_profile(profile)
    assert parse_profile(text.encode(), HERE) == profile


def test_a_profile_is_pleasant_to_read() -> None:
    profile = parse_profile(SOUND.encode(), HERE)
    text = format_profile(profile)
    body = text[text.index("\nformat") + 1 :]
    assert body == (
        'format = 1\n\n[camera]\nmake = "Test"\nmodel = "Test One"\n\n'
        "[levels]\nblack = 512\nwhite = 16383\nstep = 1\n\n"
        '[provenance]\nmethod = "published"\nsource = "a paper"\ndate = 2020-02-29\n\n'
        "[iso.100]\ngain = 0.1\nread_noise = 1.5\n\n"
        "[iso.400]\ngain = [0.4, 0.4, 0.4, 0.42]\nread_noise = 2\nrow_noise = 0.3\n"
    )


def test_every_key_is_explained_at_the_top() -> None:
    known = amplified(100)
    full = replace(
        known,
        source="s", measured_on=date(2020, 1, 1), captures=3, tukey=(0.1, 1.0), full_well=1e4,
        linearity_error=0.01, gain_interval=(0.9, 1.1), read_interval=(0.9, 1.1),
    )  # fmt: skip
    text = format_profile(CameraProfile(CAMERA, (full,)))
    header = text[: text.index("\nformat")]
    keys = tomllib.loads(text)["iso"]["100"].keys()
    assert not {key for key in keys if f"\n# {key}" not in header and f", {key}" not in header} - {
        "linearity_error"  # beside full_well
    }


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("gain = 0.1", "", "[iso.100] gain is missing"),
        ("gain = 0.1", "gian = 0.1", "[iso.100] gain is missing (there is gian: is that it?)"),
        ("row_noise = 0.3", "row_niose = 0.3", "[iso.400] 'row_niose' is unknown (there is row_noise"),
        ("gain = 0.1", "gain = 0", "[iso.100] gain must be a number above 0"),
        ("gain = 0.1", "gain = -0.1", "[iso.100] gain must be"),
        ("gain = 0.1", "gain = nan", "[iso.100] gain must be"),
        ("gain = 0.1", "gain = inf", "[iso.100] gain must be"),
        ("gain = 0.1", "gain = true", "[iso.100] gain must be"),
        ("gain = 0.1", "gain = 0x" + "f" * 9999, "[iso.100] gain must be"),
        ("gain = 0.1", f"gain = 1{'0' * 400}", "[iso.100] gain must be"),
        ("gain = 0.1", 'gain = "0.1"', "[iso.100] gain must be"),
        ("gain = 0.1", "gain = [0.1, 0.1]", "or four of them (R, G1, G2, B)"),
        ("gain = 0.1", "gain = [0.1, 0.1, 0.1, -1]", "or four of them"),
        ("gain = 0.1", "gain = 1e9", "white would be"),
        ("gain = 0.1", "gain = 1e-9", "white would be"),
        ("gain = 0.1", "gain = 4", "gain falls from ISO 100 to ISO 400"),
        ("read_noise = 1.5", "read_noise = 9000", "[iso.100] read_noise of 9000 DN is absurd"),
        ("read_noise = 1.5", "read_noise = 0", "[iso.100] read_noise must be"),
        ("row_noise = 0.3", "row_noise = -1", "[iso.400] row_noise must be"),
        ("row_noise = 0.3", "tukey_lambda = 0.1", "come together"),
        ("row_noise = 0.3", "tukey_lambda = -2\ntukey_scale = 1", "tukey_lambda of -2 is absurd"),
        ("row_noise = 0.3", "gain_interval = [1.1, 0.9]", "gain_interval must be two numbers"),
        ("row_noise = 0.3", "captures = 0", "captures must be a whole number above 0"),
        ("[iso.400]", "[iso.0400]", "write the ISO as 400"),
        ("[iso.400]", "[iso.high]", "'high' is no ISO"),
        ("[iso.400]", "[iso.0]", "'0' is no ISO"),
        ("[iso.400]", "[iso.1234567890123]", "is no ISO"),
        ("black = 512", "", "[iso.100] black is missing, here and in [levels]"),
        ("black = 512", "black = 17000", "white (16383) must be above black (17000)"),
        ("white = 16383", "white = 70000", "at most 65535"),
        ("white = 16383", "white = 16383\nstep = 9999", "step of 9999 DN"),
        ('method = "published"', "", "[iso.100] method is missing, here and in [provenance]"),
        ('method = "published"', 'method = "guess"', "method must be one of 'published', 'captures'"),
        ("date = 2020-02-29", "date = 2021-02-29", "it is no TOML"),
        ("date = 2020-02-29", 'date = "yesterday"', "date must be a date"),
        ("date = 2020-02-29", "date = 2020-02-29T00:00:00", "date must be a date"),
        ("source =", "sauce =", "[provenance] 'sauce' is unknown (there is source"),
        ("[levels]", "[level]", "'level' is unknown (there is levels"),
        ("format = 1", "", "format is missing"),
        ("format = 1", "format = 2", "format 2, but this version of rawdenoise reads format 1"),
        ('make = "Test"\nmodel = "Test One"', "", "[camera] names no camera"),
        ('make = "Test"', "make = 3", "[camera] make must be text"),
        ("[iso.100]", "[iso.100]]", "it is no TOML"),
        ("[iso.100]\ngain = 0.1\nread_noise = 1.5\n[iso.400]", "[isos.400]", "table [iso] is missing"),
        ("format = 1", "format = 1\niso = 3\n[x]", "it is no TOML"),
        ("format = 1", 'format = "1"', "format must be a whole number, not '1'"),
        ("format = 1", "levels = 3\nformat = 1", "it is no TOML"),
        ("format = 1", "format = 1\ndefects = 3", "defects must be a table, not 3"),
        ("[iso.400]", f"[defects{'.a' * 5000}]", "[defects] size is missing"),
        ("row_noise = 0.3", "[defects]", "[defects] size is missing"),
        ("row_noise = 0.3", '[defects]\nsize = [6, 4]\nhot = "4,0"', "pixel 4,0 lies outside"),
        ("row_noise = 0.3", '[defects]\nsize = [6, 4]\nhot = "1 2"', "hot must be a pair row,column"),
        ("row_noise = 0.3", "[defects]\nsize = [6]", "size must be width and height"),
    ],
)  # fmt: skip
def test_a_bad_profile_is_one_line_and_nothing_is_written(
    old: str, new: str, says: str, tmp_path: Path
) -> None:
    assert old in SOUND
    path = tmp_path / "bad.toml"
    path.write_text(SOUND.replace(old, new, 1), encoding="utf-8")
    store = ProfileStore(tmp_path / "store")
    with pytest.raises(ProfileError) as error:
        store.import_file(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert says in line
    assert "\n" not in line
    assert not store.folder.exists()


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"\x00" * 100, b"[" * 5000, b"II*\x00", b"a = " + b"[" * 9999]
)
def test_what_is_no_toml_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ProfileError):
        parse_profile(data, HERE)


@given(st.integers(0, len(SOUND) - 1), st.text(max_size=8), st.integers(0, 12))
def test_any_edit_gives_a_profile_or_a_clear_error(at: int, typed: str, gone: int) -> None:
    edited = SOUND[:at] + typed + SOUND[at + gone :]
    try:
        profile = parse_profile(edited.encode("utf-8", "surrogatepass"), HERE)
    except ProfileError as error:
        assert str(error).startswith("test.toml: ")  # noqa: PT017
    else:
        for each in profile.points:
            assert min(each.noise().shot) > 0
            assert min(each.noise().read_variance) > 0


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ProfileError, match="too large"):
        ProfileStore(tmp_path / "store").import_file(tmp_path / "large.toml")
    with pytest.raises(ProfileError, match="cannot be read"):
        ProfileStore(tmp_path / "store").import_file(tmp_path / "absent.toml")


def test_saving_what_would_not_be_read_is_refused(tmp_path: Path) -> None:
    absurd = CameraProfile(CAMERA, (point(100, 1e9, 2.0),))
    with pytest.raises(ProfileError, match="white would be"):
        save_profile(absurd, tmp_path / "absurd.toml")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- physics


def test_a_point_speaks_packed_units() -> None:
    noise = point(100, 0.5, 2.0, row_noise=0.4, step=4.0, black=(512.0, 500.0, 500.0, 383.0)).noise()
    assert noise.shot == pytest.approx((0.5 / 15871, 0.5 / 15883, 0.5 / 15883, 0.5 / 16000))
    assert noise.read_variance[3] == pytest.approx((2 / 16000) ** 2)
    assert noise.row_variance == pytest.approx((0.4 / 15909.25) ** 2)
    assert noise.step == pytest.approx(4 / 15909.25)


@given(st.integers(100, 6400))
def test_between_points_physics_holds(iso: int) -> None:
    known = [amplified(i) for i in (100, 400, 1600, 6400)]
    found = point_at(known, iso)
    assert found is not None
    got, how = found
    true = amplified(iso)
    assert how == ("measured" if iso in (100, 400, 1600, 6400) else "interpolated")
    assert got.gain == pytest.approx(true.gain)
    assert got.read_noise == pytest.approx(true.read_noise)
    assert got.row_noise == pytest.approx(true.row_noise)
    assert got.iso == iso


@given(st.integers(1, 96) | st.integers(6600, 100_000))
def test_nothing_is_said_outside_unless_asked_and_then_physics_goes_on(iso: int) -> None:
    known = [amplified(i) for i in (100, 400, 1600, 6400)]
    assert point_at(known, iso) is None
    found = point_at(known, iso, allow_extrapolation=True)
    assert found is not None
    got, how = found
    assert how == "extrapolated"
    assert got.gain == pytest.approx(amplified(iso).gain)
    assert got.read_noise == pytest.approx(amplified(iso).read_noise)


@pytest.mark.parametrize("iso", [98, 101, 6300, 6500])
def test_a_rounded_iso_is_the_one_beside_it(iso: int) -> None:
    known = [point(100, 0.1, 1.0), point(6400, 6.4, 9.0)]
    found = point_at(known[:1] if iso < 200 else known, iso)
    assert found is not None
    nearest = known[0] if iso < 200 else known[1]
    assert found[0].gain[0] == pytest.approx(nearest.gain[0], rel=0.03)


def dual(iso: int) -> ProfilePoint:
    """A sensor that switches to a higher conversion gain at ISO 800."""
    return amplified(iso) if iso < 800 else amplified(iso, before=0.5, after=1.0)


@given(st.integers(101, 6399))
def test_nothing_is_mixed_across_a_dual_gain_step(iso: int) -> None:
    found = point_at([dual(i) for i in (100, 400, 1600, 6400)], iso)
    assert found is not None
    # Where the switch is nobody knows; half-way between 400 and 1600 is the best guess.
    assert found[0].read_noise == pytest.approx(dual(iso).read_noise)
    assert found[0].gain == pytest.approx(dual(iso).gain)


@given(st.lists(st.floats(0.05, 20), min_size=2, max_size=6), st.floats(0, 1))
def test_what_is_between_is_never_absurd(reads: list[float], place: float) -> None:
    known = [point(100 * 2**i, 0.1 * 2**i, read, row_noise=read / 10) for i, read in enumerate(reads)]
    iso = round(100 * 2 ** (place * (len(reads) - 1)))
    found = point_at(known, iso)
    assert found is not None
    for index in range(len(known) - 1):
        low, high = known[index], known[index + 1]
        if (low.iso or 0) <= iso <= (high.iso or 0):
            # Beyond the middle of a step the noise of one side goes on: by half a stop at most.
            least = min(low.read_noise[0], high.read_noise[0]) / 2**0.51
            most = max(low.read_noise[0], high.read_noise[0]) * 2**0.51
            assert least <= found[0].read_noise[0] <= most


def test_one_point_alone_can_be_asked_too() -> None:
    assert point_at([point(100, 0.1, 1.0)], 200) is None
    found = point_at([point(100, 0.1, 1.0)], 200, allow_extrapolation=True)
    assert found is not None
    assert (found[0].gain[0], found[0].read_noise[0]) == pytest.approx((0.2, 2.0))


def test_between_points_read_noise_keeps_its_tails() -> None:
    known = [replace(amplified(iso), tukey=(-0.05, 1.5)) for iso in (100, 400)]
    found = point_at(known, 300)
    assert found is not None
    assert found[0].tukey is not None
    shape, scale = found[0].tukey
    nearest = known[1]
    assert (shape, scale / found[0].read_noise[0]) == pytest.approx((-0.05, 1.5 / nearest.read_noise[0]))


def test_points_of_unstated_iso_speak_for_such_captures_only() -> None:
    known = [point(None, 0.3, 1.0), point(100, 0.1, 1.0), point(200, 0.2, 1.0)]
    assert point_at(known, None) == (known[0], "measured")
    assert point_at(known[1:], None) is None
    assert point_at(known, 50) is None
    assert point_at(known[:1], 50, allow_extrapolation=True) is None


def test_a_capture_with_levels_of_its_own_has_the_same_noise_in_dn() -> None:
    profile = CameraProfile(CAMERA, (point(100, 0.1, 2.0),))
    levels = Levels((600.0,) * 4, 16000.0)
    known = profile.noise_at(100, levels=levels)
    assert known is not None
    assert known[0].shot[0] * 15400 == pytest.approx(0.1)
    assert known[0].read_variance[0] ** 0.5 * 15400 == pytest.approx(2.0)
    assert profile.noise_at(100, levels=Levels((128.0,) * 4, 4095.0)) is None


# ---------------------------------------------------------------- merging and storing


def test_stronger_evidence_replaces_weaker_point_by_point() -> None:
    def of(*methods: MeasurementMethod, gain: float) -> CameraProfile:
        return CameraProfile(
            CAMERA, tuple(point(100 * 2**i, gain, 2.0, method=m) for i, m in enumerate(methods))
        )

    old = of(
        MeasurementMethod.PUBLISHED, MeasurementMethod.CAPTURES, MeasurementMethod.PHOTON_TRANSFER, gain=1.0
    )
    new = of(
        MeasurementMethod.CAPTURES,
        MeasurementMethod.CAPTURES,
        MeasurementMethod.CAPTURES,
        MeasurementMethod.PUBLISHED,
        gain=2.0,
    )
    got = merge_profiles(new, old)
    assert [p.gain[0] for p in got.points] == [2.0, 2.0, 1.0, 2.0]
    assert [p.iso for p in got.points] == [100, 200, 400, 800]
    assert merge_profiles(new, None) == new


@given(profiles(), profiles())
def test_merging_twice_changes_nothing(new: CameraProfile, old: CameraProfile) -> None:
    once = merge_profiles(new, old)
    assert merge_profiles(new, once) == once
    kept = set(old.points) - set(find_off_scale(new, old))
    assert {p.iso for p in once.points} == {p.iso for p in (*new.points, *kept)}


def twelve_bit(iso: int) -> ProfilePoint:
    """The sensor of `amplified` read with 12 bits."""
    fine = amplified(iso)
    return replace(
        fine,
        gain=four(fine.gain[0] / 4), read_noise=four(fine.read_noise[0] / 4), row_noise=fine.row_noise / 4,
        black=four(128), white=4095.0,
    )  # fmt: skip


def test_a_calibration_of_another_bit_depth_does_not_mix_with_what_was_known() -> None:
    old = CameraProfile(replace(CAMERA, mode=""), (amplified(100), amplified(800), amplified(6400)))
    new = CameraProfile(CAMERA, (twelve_bit(400), replace(twelve_bit(1600), white=4000.0)))
    assert find_off_scale(new, old) == old.points
    assert merge_profiles(new, old).points == new.points
    close = CameraProfile(CAMERA, tuple(replace(p, white=15000.0) for p in old.points))
    assert merge_profiles(close, old) == close
    assert find_off_scale(close, old) == ()


def test_points_of_two_scales_are_each_asked_for_their_own() -> None:
    mixed = (amplified(100), twelve_bit(200), amplified(400), twelve_bit(800), amplified(1600))
    profile = CameraProfile(CAMERA, mixed)
    for levels, point_of in (
        (Levels(four(128), 4095.0), twelve_bit),
        (Levels(four(512), 16383.0), amplified),
    ):
        known = profile.noise_at(500, levels=levels)
        assert known is not None
        assert known[1] == "interpolated"
        assert known[0].shot == pytest.approx(point_of(500).noise().shot)
        assert known[0].read_variance == pytest.approx(point_of(500).noise().read_variance)
    assert profile.noise_at(100, levels=Levels(four(128), 4095.0)) is None
    found = point_at(mixed, 500)  # no levels: in the scale of ISO 400, the nearest
    assert found is not None
    assert found[0].gain == pytest.approx(amplified(500).gain)


def a_store(tmp_path: Path) -> ProfileStore:
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    (bundled / "test.toml").write_text(SOUND, encoding="utf-8")
    return ProfileStore(tmp_path / "own", bundled=bundled)


def test_the_users_profile_goes_before_the_bundled_and_one_of_the_mode_before_one_for_all(
    tmp_path: Path,
) -> None:
    store = a_store(tmp_path)
    found = store.find(CAMERA)
    assert found is not None
    assert found.bundled
    for_all = parse_profile(SOUND.encode(), HERE)
    store.save(for_all)
    of_mode = CameraProfile(CAMERA, (point(100, 0.2, 2.0),))
    store.save(of_mode)
    found = store.find(Camera("TEST ", "test one", serial="7", mode=CAMERA.mode))
    assert found is not None
    assert (found.profile, found.bundled) == (of_mode, False)
    found = store.find(replace(CAMERA, mode="another"))
    assert found is not None
    assert (found.profile, found.bundled) == (for_all, False)
    assert store.find(Camera("Test", "Test Two")) is None


def test_a_broken_profile_of_this_camera_is_never_passed_over(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    path = store.save(CameraProfile(CAMERA, (point(100, 0.2, 2.0),)))
    path.write_text("gain = = 3")
    with pytest.raises(ProfileError, match="is no TOML"):
        store.find(CAMERA)
    assert store.find(Camera("Test", "Test Two")) is None
    assert len(store.broken()) == 1
    store.remove(store.find_own(path.stem))
    assert store.broken() == []


def test_profiles_are_shared_as_they_stand(tmp_path: Path) -> None:
    store, other = a_store(tmp_path), ProfileStore(tmp_path / "other")
    exported = store.export("test one", tmp_path)
    assert exported == tmp_path / "test-one.toml"
    commented = exported.read_text() + "# my own words\n"
    exported.write_text(commented)
    profile = other.import_file(exported)
    assert (other.folder / f"{profile.id}.toml").read_text() == commented
    other.import_file(exported)  # the same again is no conflict
    exported.write_text(SOUND)
    with pytest.raises(ProfileExistsError, match="is another profile of Test One: replace it") as error:
        other.import_file(exported)
    assert name_options(error.value).endswith("is another profile of Test One: --replace overwrites it")
    other.import_file(exported, replace=True)
    assert (other.folder / f"{profile.id}.toml").read_text() == SOUND


def test_names_may_be_given_in_part(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.save(CameraProfile(CAMERA, (point(100, 0.2, 2.0),)))
    assert store.get("Test One").profile.camera.mode == ""
    assert store.get("60x40").profile.camera == CAMERA
    with pytest.raises(ProfileError, match="fits 2 profiles"):
        store.get("one")
    with pytest.raises(ProfileError, match="no profile called 'canon'"):
        store.get("canon")
    with pytest.raises(ProfileError, match="comes with rawdenoise and stays"):
        store.find_own("test one")
    assert store.find_own("60x40").parent == store.folder


# ---------------------------------------------------------------- what comes with rawdenoise


def test_what_comes_with_rawdenoise_is_sound_and_says_where_it_is_from() -> None:
    store = user_stores().profiles
    assert store.broken() == []
    stored = [each for each in store.profiles() if each.bundled]
    assert {"ILCE-7SM2", "IMX385", "IMX686", "PiDNG / PiCamera2"} <= {e.profile.camera.model for e in stored}
    for each in stored:
        assert each.path.stem == each.profile.id
        assert all(p.source for p in each.profile.points)


def test_bundled_profiles_say_what_was_published(shared_data: Path) -> None:
    facts = json.loads((shared_data / "noise" / "published.json").read_text())
    for name, camera in (
        ("SonyA7S2_PNNP", Camera("SONY", "ILCE-7SM2", mode="4240x2832 14-bit")),
        ("IMX686_PNNP", Camera("Sony", "IMX686")),
        ("IMX385_CRVD_PNNP", Camera("Sony", "IMX385")),
    ):
        stored = user_stores().profiles.find(camera)
        assert stored is not None
        span = facts[name]["white"] - facts[name]["black"]
        for iso, fact in facts[name]["iso"].items():
            known = stored.profile.noise_at(int(iso))
            assert known is not None
            noise, how = known
            assert how == "measured"
            assert noise.shot[0] * span == pytest.approx(fact["K"], rel=1e-6)
            variance = fact.get("read_var") or fact["sigma_gauss"] ** 2
            assert noise.read_variance[0] * span**2 == pytest.approx(variance, rel=1e-6)
            assert noise.row_variance**0.5 * span == pytest.approx(fact.get("sigma_row", 0), rel=1e-6)


def test_the_a7s2_switches_gain_between_iso_1600_and_2000() -> None:
    stored = user_stores().profiles.get("ilce-7sm2")
    known = {iso: point_at(stored.profile.points, iso) for iso in (1600, 1750, 1850, 2000)}
    reads = [found[0].read_noise[0] / found[0].gain[0] for found in known.values() if found]
    assert reads == pytest.approx([4.12, 4.06, 1.41, 1.39], abs=0.03)


def test_a_capture_of_the_camera_gets_its_profile() -> None:
    raw = make_raw(8, 8, camera=Camera("SONY", "ILCE-7SM2", "123", "4240x2832 14-bit"))
    stored = user_stores().profiles.find(raw.camera)
    assert stored is not None
    known = stored.profile.noise_at(800, levels=raw.levels)
    assert known is not None
    assert user_stores().profiles.noise_of(raw.camera, 800, raw.levels) == known[0]
    assert user_stores().profiles.noise_of(raw.camera, 51200, raw.levels) is None
    assert user_stores().profiles.noise_of(replace(raw.camera, model="A7"), 800, raw.levels) is None
