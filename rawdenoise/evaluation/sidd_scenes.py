"""Which camera took each of SIDD's validation and benchmark scenes, and so which CFA order its blocks have.

The files of blocks name no camera. Both are cut from the same 40 scene instances, in the order of their
numbers: the folders of SIDD_Benchmark_Data, where that is at hand, or else the list below, which is that of
the 40 instances of 200 that SIDD-Medium leaves out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from rawdenoise.capture.raw import Camera, Cfa
from rawdenoise.errors import FileError, NamelessScenesError, NotAnImageError
from rawdenoise.formats.sidd import SCENE_NAME, SIDD_CAMERAS, SIDD_CFA, parse_scene_name
from rawdenoise.isolation.isolated_reader import shared_reader

BENCHMARK_FOLDER = "SIDD_Benchmark_Data"
METADATA_FILES = "*METADATA_RAW*"
SCENE_NAMES = tuple(
    """
    0009_001_S6_00800_00350_3200_L 0021_001_GP_10000_05000_5500_N 0024_001_N6_03200_01500_5500_N
    0026_001_G4_00400_00160_5500_L 0031_001_IP_01600_02000_3200_N 0037_002_GP_06400_03200_3200_L
    0041_002_IP_01600_04000_5500_L 0046_002_G4_00400_00350_3200_L 0049_002_N6_00800_00800_5500_L
    0053_002_S6_03200_02000_5500_N 0056_003_N6_03200_04000_5500_N 0058_003_G4_00400_00500_5500_L
    0061_003_S6_00800_00500_4400_L 0067_003_GP_01600_01500_3200_L 0071_003_IP_02000_04000_5500_L
    0074_004_N6_00400_00040_3200_L 0079_004_G4_00800_00160_3200_N 0082_004_S6_03200_00500_4400_L
    0085_004_GP_06400_02000_4400_N 0093_004_IP_01250_00250_3200_L 0095_005_N6_00400_00200_3200_L
    0100_005_G4_00800_00400_3200_N 0103_005_S6_01600_00800_4400_L 0109_005_GP_10000_08000_4400_N
    0112_005_IP_01000_07500_5500_L 0119_006_N6_00400_00100_3200_L 0124_006_G4_00800_00350_3200_N
    0128_006_S6_03200_01600_4400_L 0131_006_GP_01600_01250_4400_N 0141_006_IP_01600_01620_3200_L
    0143_007_N6_00800_00800_4400_N 0148_007_G4_00400_00400_4400_L 0153_007_S6_03200_03200_5500_L
    0158_007_GP_03200_03200_5500_N 0162_007_IP_01600_01600_3200_L 0171_008_N6_03200_01600_4400_L
    0174_008_G4_00800_00800_4400_N 0176_008_S6_00400_00100_5500_L 0183_008_GP_06400_06400_5500_N
    0187_008_IP_01600_01600_3200_L
    """.split()
)
# As the phones name themselves in their files, in lower case; "pixel 2" and "nexus 6p" are others.
PHONE_MODELS = {
    "GP": re.compile("pixel"),
    "IP": re.compile("iphone 7"),
    "S6": re.compile("galaxy s6 edge|sm-g925.*"),
    "N6": re.compile("nexus 6"),
    "G4": re.compile("lg g4|lg-h81.*"),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene by its name, and the phone that took it."""

    name: str
    code: str
    iso: int
    camera: Camera

    @property
    def cfa(self) -> Cfa:
        """The CFA order of its blocks."""
        return SIDD_CFA[self.code]

    def is_by(self, camera: Camera) -> bool:
        """Whether a camera is this scene's phone, in whatever mode; blocks do not tell theirs."""
        if camera.is_same_model(self.camera):
            return True
        named = replace(camera, model=SIDD_CAMERAS[self.code].model)  # as the dataset spells it
        model = camera.model.strip().lower()
        return (
            named.is_same_model(SIDD_CAMERAS[self.code])
            and PHONE_MODELS[self.code].fullmatch(model) is not None
        )


def find_scenes(folder: Path, count: int, names_file: Path | None = None) -> tuple[Scene, ...]:
    """Name the scenes of files of blocks: by a list that is given, by SIDD_Benchmark_Data, or by our list.

    Raises:
        FileError: they cannot be named, or a list names other than `count`.
    """
    if names_file is not None:
        return _check_count(_read_list(names_file), count, names_file)
    for benchmark in sorted(folder.rglob(BENCHMARK_FOLDER)):
        folders = sorted(
            path for path in benchmark.rglob("*") if path.is_dir() and SCENE_NAME.fullmatch(path.name)
        )
        if folders:
            return _check_count(tuple(_read_scene(path) for path in folders), count, benchmark)
    if count == len(SCENE_NAMES):
        return tuple(map(parse_scene, SCENE_NAMES))
    raise NamelessScenesError(
        folder,
        f"has blocks of {count} scenes, not SIDD's {len(SCENE_NAMES)}, and no {BENCHMARK_FOLDER} beside them "
        "to name their cameras; give a list with the name of a scene on each line",
    )


def parse_scene(name: str) -> Scene:
    """What the name of a scene says.

    Raises:
        NotAnImageError: it is no name of SIDD's.
    """
    parsed = parse_scene_name(Path(name)) if SCENE_NAME.fullmatch(name) else None
    if parsed is None:
        raise NotAnImageError(name, "is no scene of SIDD's, as 0001_001_S6_00100_00060_3200_L is one")
    return Scene(name, parsed.camera_code, parsed.iso, SIDD_CAMERAS[parsed.camera_code])


def _read_scene(folder: Path) -> Scene:
    """A scene by its folder, its camera named as its metadata names it."""
    scene = parse_scene(folder.name)
    metadata = next((path for path in sorted(folder.rglob(METADATA_FILES)) if path.is_file()), None)
    camera = None if metadata is None else shared_reader().call("metadata_camera", metadata)
    return scene if camera is None else replace(scene, camera=camera)


def _read_list(path: Path) -> tuple[Scene, ...]:
    try:
        return tuple(map(parse_scene, path.read_text(encoding="utf-8").split()))
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(path, f"cannot be read as a list of scenes ({error})") from error
    except NotAnImageError as error:
        raise FileError(path, f"{error.path} {error.reason}") from error


def _check_count(scenes: tuple[Scene, ...], count: int, source: Path) -> tuple[Scene, ...]:
    if len(scenes) != count:
        raise FileError(source, f"names {len(scenes)} scenes, but the files of blocks hold {count}")
    return scenes
