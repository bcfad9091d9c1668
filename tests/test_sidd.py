"""SIDD's files, written here in the published layout."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import io

from rawdenoise.capture.raw import Area, Cfa, Levels
from rawdenoise.errors import FileError, NotAnImageError, SetupError, TruncatedError, UnsupportedCfaError
from rawdenoise.formats import read_raw
from rawdenoise.formats.sidd import SIDD_CFA, SceneName, parse_scene_name, read_sidd, read_sidd_blocks
from rawdenoise.isolation.noisy_captures import read_untouched
from rawdenoise.training.captures import gather_captures

SCENE = "0001_001_S6_00100_00060_3200_L"
XYZ_TO_CAMERA = np.array([1.1, -0.5, -0.1, -0.4, 1.3, 0.2, -0.1, 0.3, 0.6])


def frame(height: int = 10, width: int = 16, dtype: str = "f4", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1024, (height, width)).astype(dtype) / 1023


def save_v73(path: Path, **arrays: np.ndarray) -> None:
    """As MATLAB's save -v7.3: HDF5 after a header of 512 bytes, arrays with their axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            data = file.create_dataset(name, data=array.T, chunks=True, compression="gzip")
            data.attrs["MATLAB_class"] = np.bytes_({"f4": "single", "f8": "double"}[array.dtype.str[1:]])
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(116) + bytes(8)
    with path.open("r+b") as file:
        file.write(header + b"\x00\x02IM")


def metadata(**changes: object) -> dict[str, object]:
    tags = np.array(
        [(33421, "SHORT", np.uint16([2, 2])), (33422, "BYTE", np.uint8([1, 0, 2, 1]))],
        dtype=[("ID", object), ("Type", object), ("Value", object)],
    )
    found = {
        "Make": "samsung",
        "Model": "SM-G925I",
        "Orientation": 6.0,
        "ISOSpeedRatings": 100.0,
        "ExposureTime": 0.0166,
        "FNumber": 1.9,
        "FocalLength": 4.3,
        "DateTime": "2017:05:01 10:00:00",
        "CalibrationIlluminant1": 21.0,
        "CalibrationIlluminant2": 17.0,
        "ColorMatrix1": XYZ_TO_CAMERA,
        "ColorMatrix2": XYZ_TO_CAMERA[::-1].copy(),
        "AsShotNeutral": np.array([0.6, 1.2, 0.9]),
        "UnknownTags": tags,
    }
    return {key: value for key, value in {**found, **changes}.items() if value is not None}


def save_scene(folder: Path, x: np.ndarray, *, name: str = SCENE, **changes: object) -> Path:
    scene = folder / name
    scene.mkdir()
    io.savemat(scene / "0001_METADATA_RAW_010.MAT", {"metadata": metadata(**changes)})
    save_v73(scene / "0001_NOISY_RAW_010.MAT", x=x)
    return scene / "0001_NOISY_RAW_010.MAT"


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_frame_comes_in_as_matlab_shows_it(tmp_path: Path, dtype: str) -> None:
    x = frame(dtype=dtype)
    raw = read_raw(save_scene(tmp_path, x))
    assert raw.mosaic.shape == (10, 16)
    assert np.abs(raw.mosaic / 65535 - x.astype(np.float64)).max() <= 0.5001 / 65535
    assert raw.mosaic.flags.c_contiguous
    assert raw.cfa is Cfa.GRBG
    assert raw.active == Area(0, 0, 10, 16)
    assert raw.levels == Levels((0.0,) * 4, 65535.0)
    assert raw.notes == ()


def test_references_are_not_trained_on(tmp_path: Path) -> None:
    """They are means of many frames: pooled with captures of their ISO, they would halve the noise."""
    noisy = save_scene(tmp_path, frame())
    reference = noisy.with_name(noisy.name.replace("NOISY_RAW", "GT_RAW"))
    save_v73(reference, x=frame(seed=1))
    said: list[tuple[Path, object]] = []
    (group,) = gather_captures([tmp_path], on_file=lambda path, error: said.append((path, error)))
    assert [capture.path for capture in group.captures] == [noisy]
    assert said == [(noisy, None)]  # nor is a line wasted on what stands beside every frame
    assert gather_captures([reference], on_file=lambda path, error: said.append((path, error))) == []
    assert "is a clean reference of SIDD's" in str(said[-1][1])
    with pytest.raises(FileError, match="is a clean reference of SIDD's"):
        read_untouched(reference, None)


def test_steps_of_the_sensor_stay_apart(tmp_path: Path) -> None:
    steps = (np.arange(16384, dtype=np.float32) / 16383).reshape(128, 128)
    raw = read_sidd(save_scene(tmp_path, steps))
    assert np.unique(raw.mosaic).size == 16384


def test_metadata_is_taken_from_the_file_beside_it(tmp_path: Path) -> None:
    raw = read_sidd(save_scene(tmp_path, frame()))
    assert (raw.camera.make, raw.camera.model, raw.camera.mode) == ("samsung", "SM-G925I", "16x10 16-bit")
    assert (raw.exposure.iso, raw.exposure.exposure_s, raw.exposure.f_number) == (100, 0.0166, 1.9)
    assert (raw.exposure.taken_at, raw.orientation) == ("2017:05:01 10:00:00", 6)
    assert raw.color.as_shot_neutral == pytest.approx((0.5, 1.0, 0.75))
    assert [matrix.illuminant for matrix in raw.color.matrices] == [21, 17]
    np.testing.assert_allclose(np.ravel(raw.color.matrices[0].matrix), XYZ_TO_CAMERA)


def test_apples_nested_metadata_is_found(tmp_path: Path) -> None:
    """The iPhone's DNG: exposure in the struct DigitalCamera, the CFA in the second directory."""
    nested = metadata()
    raw = read_sidd(
        save_scene(
            tmp_path,
            frame(),
            name="0139_006_IP_00400_00100_5500_N",
            Make="Apple",
            Model="iPhone 7",
            ISOSpeedRatings=None,
            ExposureTime=None,
            UnknownTags=None,
            DigitalCamera={"ISOSpeedRatings": 400.0, "ExposureTime": 0.01},
            SubIFDs=np.array([{"UnknownTags": nested["UnknownTags"]}, {"Width": 4032.0}], dtype=object),
        )
    )
    assert raw.cfa is Cfa.RGGB
    assert (raw.exposure.iso, raw.exposure.exposure_s, raw.camera.name) == (400, 0.01, "Apple iPhone 7")


@pytest.mark.parametrize("code", list(SIDD_CFA))
def test_the_order_goes_by_the_camera_in_the_name(tmp_path: Path, code: str) -> None:
    path = tmp_path / f"0002_001_{code}_00800_00350_5500_N_NOISY_RAW_010.MAT"
    save_v73(path, x=frame())
    raw = read_sidd(path)
    assert raw.cfa is SIDD_CFA[code]
    assert raw.exposure.iso == 800
    assert raw.exposure.exposure_s == pytest.approx(1 / 350)
    assert raw.camera.make
    assert "colours are unknown" in raw.notes[0]


def test_orders_are_those_of_the_dataset() -> None:
    assert dict(SIDD_CFA) == {"GP": "BGGR", "IP": "RGGB", "S6": "GRBG", "N6": "BGGR", "G4": "BGGR"}


def test_names_are_parsed_nearest_first() -> None:
    path = Path("/data") / SCENE / "0199_010_GP_10000_05000_5500_H" / "NOISY_RAW_010.MAT"
    assert parse_scene_name(path) == SceneName("GP", 10000, 1 / 5000, 5500, "H")
    assert parse_scene_name(Path("/data") / SCENE / "x.mat") == SceneName("S6", 100, 1 / 60, 3200, "L")
    assert parse_scene_name(Path("/data/0001_001_S7_00100_00060_3200_L/x.mat")) is None


def test_without_a_name_the_pattern_comes_from_the_metadata(tmp_path: Path) -> None:
    raw = read_sidd(save_scene(tmp_path, frame(), name="renamed"))
    assert raw.cfa is Cfa.GRBG
    assert raw.exposure.iso == 100


def test_without_name_and_metadata_the_order_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "NOISY_RAW_010.MAT"
    save_v73(path, x=frame())
    with pytest.raises(UnsupportedCfaError, match="CFA order"):
        read_sidd(path)


def test_frames_of_the_older_format_are_read(tmp_path: Path) -> None:
    path = tmp_path / f"{SCENE}_NOISY_RAW_010.MAT"
    io.savemat(path, {"x": frame()}, do_compression=True)
    np.testing.assert_array_equal(read_sidd(path).mosaic, np.rint(frame() * 65535))


@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_blocks_keep_their_axes(tmp_path: Path, version: str) -> None:
    blocks = np.random.default_rng(0).random((3, 2, 8, 6), dtype=np.float32)
    path = tmp_path / "ValidationNoisyBlocksRaw.mat"
    if version == "v5":
        io.savemat(path, {"ValidationNoisyBlocksRaw": blocks})
    else:
        save_v73(path, ValidationNoisyBlocksRaw=blocks)
    np.testing.assert_array_equal(read_sidd_blocks(path), blocks)


def test_double_blocks_become_single(tmp_path: Path) -> None:
    path = tmp_path / "BenchmarkNoisyBlocksRaw.mat"
    io.savemat(path, {"BenchmarkNoisyBlocksRaw": np.random.default_rng(0).random((1, 2, 4, 4))})
    assert read_sidd_blocks(path).dtype == np.float32


def test_foreign_files_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / f"{SCENE}.mat"
    save_v73(path, y=frame())
    with pytest.raises(NotAnImageError, match="holds y, no variable x"):
        read_sidd(path)
    io.savemat(path, {"z": 1.0})
    with pytest.raises(NotAnImageError, match="holds z, no variable x"):
        read_sidd(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    with pytest.raises(NotAnImageError, match="not a MATLAB file"):
        read_sidd(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file, and then nothing of the kind")
    with pytest.raises(TruncatedError, match="truncated"):
        read_sidd(path)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.eye(4) * 1023, "values from 0 to 1023"),
        (np.full((4, 4), np.nan), "values from nan"),
        (np.zeros((4, 4, 3)), "not a raw frame"),
        (np.zeros((4, 4), np.uint16), "not a raw frame"),
    ],
)
def test_arrays_that_are_no_raw_frame_are_refused(tmp_path: Path, x: np.ndarray, says: str) -> None:
    path = tmp_path / f"{SCENE}.mat"
    io.savemat(path, {"x": x})
    with pytest.raises(NotAnImageError, match=says):
        read_sidd(path)


def test_frames_are_no_blocks_and_other_metadata_is_none(tmp_path: Path) -> None:
    path = tmp_path / "ValidationNoisyBlocksRaw.mat"
    io.savemat(path, {"ValidationNoisyBlocksRaw": frame()})
    with pytest.raises(NotAnImageError, match="not scenes of raw blocks"):
        read_sidd_blocks(path)
    noisy = save_scene(tmp_path, frame())
    io.savemat(noisy.with_name("0001_METADATA_RAW_010.MAT"), {"metadata": 3.0})
    with pytest.raises(NotAnImageError, match="no struct"):
        read_sidd(noisy)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_cut_files_are_refused(tmp_path: Path, version: str, share: float) -> None:
    path = tmp_path / f"{SCENE}_NOISY_RAW_010.MAT"
    x = np.random.default_rng(0).random((200, 300))
    if version == "v5":
        io.savemat(path, {"x": x}, do_compression=True)
    else:
        save_v73(path, x=x)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(TruncatedError, match="truncated"):
        read_sidd(path)


@pytest.mark.parametrize("module", ["h5py", "scipy"])
def test_without_the_extra_the_user_is_told_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    path = tmp_path / f"{SCENE}.mat"
    if module == "h5py":
        save_v73(path, x=frame())
    else:
        io.savemat(path, {"x": frame()})
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(SetupError, match=r'need .*: pip install "rawdenoise\[sidd\]"'):
        read_sidd(path)
