"""The Smartphone Image Denoising Dataset's raw files (Abdelhamed, Lin and Brown, CVPR 2018).

A frame is a MATLAB file (v7.3, which is HDF5, or v5) whose variable `x` is the mosaic, black subtracted,
0 to 1; beside it stands its METADATA file, MATLAB's `imfinfo` of the DNG it came from. The validation and
benchmark blocks are single v5 files. MATLAB stores columns first: HDF5 shows its arrays transposed. The CFA
orders are those the dataset's page states per camera, of the mosaic as MATLAB shows it; read untransposed, a
Samsung S6 would seem GBRG, as some public readers note.

The layout was taken from the dataset's page and public readers; no file of the dataset was at hand.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt16

from rawdenoise.atomic import atomic_output
from rawdenoise.capture.raw import Area, Camera, Cfa, Color, ColorMatrix, Exposure, Levels, RawImage
from rawdenoise.errors import (
    NotAnImageError,
    RawDenoiseError,
    SetupError,
    TruncatedError,
    UnreadableError,
    UnsupportedCfaError,
)
from rawdenoise.formats.matlab import check_dataset, check_matlab5

SIDD_CFA: Mapping[str, Cfa] = MappingProxyType(
    {"GP": Cfa.BGGR, "IP": Cfa.RGGB, "S6": Cfa.GRBG, "N6": Cfa.BGGR, "G4": Cfa.BGGR}
)
SIDD_CAMERAS: Mapping[str, Camera] = MappingProxyType(
    {
        "GP": Camera("Google", "Pixel"),
        "IP": Camera("Apple", "iPhone 7"),
        "S6": Camera("samsung", "Galaxy S6 edge"),
        "N6": Camera("motorola", "Nexus 6"),
        "G4": Camera("LGE", "LG G4"),
    }
)
WHITE = 65535
CFA_PATTERN_TAG = 33422
HDF5_MARK = b"MATLAB 7.3 MAT-file"
PLAIN_HDF5_MARK = b"\x89HDF\r\n\x1a\n"  # without MATLAB's header, as other programs write it
V5_MARK = b"MATLAB 5.0 MAT-file"
SCENE_NAME = re.compile(r"\d{4}_\d{3}_(GP|IP|S6|N6|G4)_(\d{5})_(\d{5})_(\d{4})_([LNH])")
FRAME_NAME = re.compile(r"(NOISY|GT)_RAW", re.IGNORECASE)
REFERENCE_NAME = re.compile(r"GT_RAW.*\.MAT", re.IGNORECASE)
NOTES_NAME = re.compile(r"METADATA_RAW.*\.MAT", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SceneName:
    """What a name like 0001_001_S6_00100_00060_3200_L says: scene, instance, then these."""

    camera_code: str
    iso: int
    exposure_s: float | None
    illuminant_k: int
    brightness: str


def read_sidd(path: Path) -> RawImage:
    """Read one raw frame, noisy or clean; 0..1 becomes 0..65535, finer than the steps it was made of.

    Camera, ISO and CFA come from the metadata file beside it and from the scene's name, which is looked for
    in the names of the file and of the folders around it.

    Raises:
        SetupError: h5py or scipy is not installed.
        NotAnImageError: not a MATLAB file, or not one of these.
        TruncatedError: it ends before its arrays do.
        UnsupportedCfaError: neither name nor metadata says which camera took it.
    """
    mosaic = _to_words(path, _load_variable(path, "x"))
    metadata, notes = _load_metadata(path)
    name = parse_scene_name(path)
    height, width = mosaic.shape
    return RawImage(
        mosaic=mosaic,
        cfa=_cfa(path, name, metadata),
        active=Area(0, 0, height, width),
        levels=Levels((0.0, 0.0, 0.0, 0.0), float(WHITE)),
        source=path,
        camera=_camera(name, metadata, f"{width}x{height} 16-bit"),
        exposure=_exposure(name, metadata),
        color=_color(metadata),
        orientation=_orientation(metadata),
        notes=notes,
    )


def read_sidd_blocks(path: Path) -> Float32[np.ndarray, "scenes blocks h w"]:
    """Read a file of blocks, as ValidationNoisyBlocksRaw.mat (40 x 32 x 256 x 256), named like its variable.

    Raises: as `read_sidd`.
    """
    blocks = _load_variable(path, path.stem)
    if blocks.ndim != 4 or blocks.dtype.kind != "f":
        raise NotAnImageError(path, f"holds {blocks.dtype} {blocks.shape}, not scenes of raw blocks")
    return np.ascontiguousarray(blocks, dtype=np.float32)


def write_matlab(output: Path, variables: Mapping[str, Any]) -> None:
    """Write variables as a v5 MATLAB file, compressed, whole or not at all; mappings become structs.

    Raises:
        SetupError: scipy is not installed.
        OutputError: the file system refuses.
    """
    io = _import_extra("scipy.io")
    with atomic_output(output) as temporary, temporary.open("wb") as file:
        io.savemat(file, dict(variables), do_compression=True)


def metadata_camera(path: Path) -> Camera | None:
    """The camera that a METADATA file names; None where it names none.

    Raises: as `read_sidd`.
    """
    return _read_camera(_metadata_in(path))


def parse_scene_name(path: Path) -> SceneName | None:
    """Find a scene's name in the file's name or, failing that, in those of its folders, the nearest first."""
    for part in reversed(path.absolute().parts):
        match = SCENE_NAME.search(part)
        if match:
            code, iso, shutter, kelvin, brightness = match.groups()
            exposure_s = 1 / int(shutter) if int(shutter) else None
            return SceneName(code, int(iso), exposure_s, int(kelvin), brightness)
    return None


def is_reference(path: Path) -> bool:
    """Whether a file is a reference of the dataset's by its name: the mean of many frames, almost clean."""
    return REFERENCE_NAME.search(path.name) is not None and parse_scene_name(path) is not None


def is_note(path: Path) -> bool:
    """Whether a file is the METADATA beside a frame by its name, and no picture."""
    return NOTES_NAME.search(path.name) is not None


def _to_words(path: Path, x: Shaped[np.ndarray, "..."]) -> UInt16[np.ndarray, "h w"]:
    if x.ndim != 2 or min(x.shape) < 2 or x.dtype.kind != "f":
        raise NotAnImageError(path, f"holds {x.dtype} {x.shape}, not a raw frame of 0..1")
    x = x.astype(np.float32) if x.dtype.itemsize < 4 else x  # a float16 times 65535 is infinite
    lowest, highest = float(x.min()), float(x.max())
    if not (lowest >= -0.001 and highest <= 1.001):  # also true of NaN
        raise NotAnImageError(path, f"holds values from {lowest:g} to {highest:g}, not a raw frame of 0..1")
    return np.asarray(np.rint(np.clip(x, 0, 1) * WHITE), dtype=np.uint16, order="C")


# ---------------------------------------------------------------- MATLAB files


def _load_variable(path: Path, name: str) -> Shaped[np.ndarray, "..."]:
    """Load one array of either MATLAB version, with MATLAB's order of axes."""
    with path.open("rb") as file:
        mark = file.read(len(HDF5_MARK))
    if mark == HDF5_MARK or mark.startswith(PLAIN_HDF5_MARK):
        return _load_hdf5(path, name)
    if mark == V5_MARK:
        return np.asarray(_load_v5(path, name, simplify_cells=False))
    raise NotAnImageError(path, "is not a MATLAB file (v5 or v7.3), whatever its name says")


def _load_hdf5(path: Path, name: str) -> Shaped[np.ndarray, "..."]:
    h5py = _import_extra("h5py")
    with _raise_truncated(path), h5py.File(path, "r") as file:
        if file.get(name, getlink=True) is None:
            raise _no_variable(path, name, list(islice(file, 5)))
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise UnreadableError(path, f"keeps its {name} elsewhere, which is not opened for it")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise _no_variable(path, name, list(islice(file, 5)))
        check_dataset(path, dataset)
        return np.asarray(dataset[()]).T


def _load_v5(path: Path, name: str, *, simplify_cells: bool) -> Any:
    io = _import_extra("scipy.io")
    check_matlab5(path)  # scipy trusts a file's types and sizes, and may crash of wrong ones
    with _raise_truncated(path):
        variables = io.loadmat(path, variable_names=[name], simplify_cells=simplify_cells)
        if name not in variables:
            raise _no_variable(path, name, [entry[0] for entry in io.whosmat(path)])
        return variables[name]


def _no_variable(path: Path, name: str, names: list[str]) -> NotAnImageError:
    held = ", ".join(names[:5]) or "nothing"
    return NotAnImageError(path, f"is not a file of SIDD's: it holds {held}, no variable {name}")


def _import_extra(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = 'pip install "rawdenoise[sidd]"'
        raise SetupError(f"SIDD's .mat files need {module.split('.')[0]}: {hint}") from error


@contextmanager
def _raise_truncated(path: Path) -> Iterator[None]:
    """Both libraries raise what they like on damaged files."""
    try:
        yield
    except (RawDenoiseError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TruncatedError(path, f"is damaged or truncated ({reason})") from error


# ---------------------------------------------------------------- metadata


def _load_metadata(path: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Load the METADATA file of a frame, structs as dictionaries; empty, with a note, if there is none."""
    name = FRAME_NAME.sub("METADATA_RAW", path.name)
    beside = path.with_name(name)
    if name == path.name or not beside.is_file():
        return {}, ("no METADATA file of SIDD's beside it: its colours are unknown",)
    return _metadata_in(beside), ()


def _metadata_in(path: Path) -> Mapping[str, Any]:
    metadata = _load_v5(path, "metadata", simplify_cells=True)
    if not isinstance(metadata, dict):
        raise NotAnImageError(path, "is not a METADATA file of SIDD's: its `metadata` is no struct")
    return metadata


def _cfa(path: Path, name: SceneName | None, metadata: Mapping[str, Any]) -> Cfa:
    if name is not None:
        return SIDD_CFA[name.camera_code]
    for tags in _values(metadata, "UnknownTags"):
        for tag in _dictionaries(tags):
            if tag.get("ID") == CFA_PATTERN_TAG:
                colors = np.ravel(tag.get("Value", []))
                pattern = "".join("RGB"[int(c)] for c in colors if colors.dtype.kind in "ui" and c < 3)
                if pattern in set(Cfa):
                    return Cfa(pattern)
    raise UnsupportedCfaError(
        path, "neither its name (as 0001_001_S6_00100_00060_3200_L) nor its metadata says the CFA order"
    )


def _camera(name: SceneName | None, metadata: Mapping[str, Any], mode: str) -> Camera:
    named = _read_camera(metadata)
    if named is not None:
        return replace(named, mode=mode)
    if name is None:
        return Camera(mode=mode)
    known = SIDD_CAMERAS[name.camera_code]
    return Camera(known.make, known.model, mode=mode)


def _read_camera(metadata: Mapping[str, Any]) -> Camera | None:
    make, model = _first(metadata, "Make"), _first(metadata, "Model")
    return Camera(make.strip(), model.strip()) if isinstance(make, str) and isinstance(model, str) else None


def _exposure(name: SceneName | None, metadata: Mapping[str, Any]) -> Exposure:
    iso, exposure_s = _numbers(metadata, "ISOSpeedRatings", 1), _numbers(metadata, "ExposureTime", 1)
    f_number, focal = _numbers(metadata, "FNumber", 1), _numbers(metadata, "FocalLength", 1)
    taken_at = _first(metadata, "DateTimeOriginal") or _first(metadata, "DateTime")
    return Exposure(
        iso=round(iso[0]) if iso else name.iso if name else None,
        exposure_s=exposure_s[0] if exposure_s else name.exposure_s if name else None,
        f_number=f_number[0] if f_number else None,
        focal_length_mm=focal[0] if focal else None,
        taken_at=taken_at if isinstance(taken_at, str) else None,
    )


def _color(metadata: Mapping[str, Any]) -> Color:
    matrices = []
    for index in (1, 2):
        values = _numbers(metadata, f"ColorMatrix{index}", 9)
        illuminant = _numbers(metadata, f"CalibrationIlluminant{index}", 1)
        if values:
            rows = tuple((values[k], values[k + 1], values[k + 2]) for k in (0, 3, 6))
            matrices.append(ColorMatrix(int(illuminant[0]) if illuminant else 0, rows))
    neutral = _numbers(metadata, "AsShotNeutral", 3)
    if not neutral or min(neutral) <= 0:
        return Color(tuple(matrices))
    red, green, blue = neutral
    return Color(tuple(matrices), as_shot_neutral=(red / green, 1.0, blue / green))


def _orientation(metadata: Mapping[str, Any]) -> int:
    orientation = _numbers(metadata, "Orientation", 1)
    return int(orientation[0]) if orientation and 1 <= orientation[0] <= 8 else 1


def _numbers(metadata: Mapping[str, Any], key: str, count: int) -> list[float]:
    """The numbers under a key if there are `count` of them, all finite; else none."""
    for value in _values(metadata, key):
        if isinstance(value, (int, float, np.ndarray)) and np.asarray(value).dtype.kind in "uif":
            numbers = [float(number) for number in np.ravel(value)]
            if len(numbers) == count and np.isfinite(numbers).all():
                return numbers
    return []


def _first(metadata: Mapping[str, Any], key: str) -> object:
    return next(_values(metadata, key), None)


def _values(metadata: Mapping[str, Any], key: str) -> Iterator[Any]:
    """All values under a key: in the struct itself, then in those inside it (the EXIF part, SubIFDs)."""
    if key in metadata:
        yield metadata[key]
    for inner in metadata.values():
        for part in _dictionaries(inner):
            yield from _values(part, key)


def _dictionaries(value: object) -> Iterator[dict[str, Any]]:
    """The structs in a struct array, a cell array or a single struct."""
    if isinstance(value, np.ndarray):
        value = list(np.ravel(value)) if value.dtype == object else []
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, dict):
            yield part
