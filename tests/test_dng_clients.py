"""Our DNGs in the hands of other people's programs, as far as they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import PATIENCE_S
from PIL import Image
from test_dng import PROVENANCE, make_capture

from rawdenoise.capture.raw import Cfa, RawImage
from rawdenoise.formats.dng.writer import write_dng


def run(tmp_path: Path, name: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run a client without the user's settings; skip where it is not installed."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    command = [program, *map(str, arguments)]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", **home}
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, timeout=PATIENCE_S, check=False
    )


def scene() -> RawImage:
    """Green above, red below on the left; odd margins, a quarter turn, another black at each site."""
    image = make_capture(
        300, 420, cfa=Cfa.GBRG, margins=(3, 5, 2, 4), black=(500.0, 501.0, 502.5, 503.0), orientation=6
    )
    height, width = image.mosaic.shape
    mosaic = np.full((height, width), 1500, np.uint16)
    mosaic += np.linspace(0, 2500, width).astype(np.uint16)
    row, column = image.cfa.red
    mosaic[height // 2 :][(row - height // 2) % 2 :: 2, column::2] += 4000
    mosaic[: height // 2][row::2, 1 - column :: 2] += 4000
    mosaic[: height // 2][1 - row :: 2, column::2] += 4000
    return make_capture(
        300,
        420,
        cfa=Cfa.GBRG,
        margins=(3, 5, 2, 4),
        black=image.levels.black,
        orientation=6,
        mosaic=mosaic,
    )


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ours") / "ours.dng"
    write_dng(scene(), path, provenance=PROVENANCE)
    return path


def check_picture(rgb: np.ndarray) -> None:
    """A quarter turn clockwise puts what was above on the right: green there, red on the left."""
    height, width = rgb.shape[:2]
    assert height > width
    rgb = rgb.astype(float)
    right = rgb[height // 4 : -height // 4, -width // 3 : -width // 8].mean(axis=(0, 1))
    left = rgb[height // 4 : -height // 4, width // 8 : width // 3].mean(axis=(0, 1))
    assert right[1] > 1.3 * max(right[0], right[2])
    assert left[0] > 1.3 * max(left[1], left[2])


def test_exiftool_has_no_complaints(ours: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "exiftool", "-validate", "-warning", "-error", "-a", "-s3", ours)
    assert done.stdout.split() == [b"OK"]


def test_exiv2_reads_all_tags(ours: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "exiv2", "-pa", ours)
    assert done.returncode == 0
    assert done.stderr == b""
    assert b"Exif.SubImage1.BlackLevel" in done.stdout


def test_tiffinfo_has_no_complaints(ours: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "tiffinfo", ours)
    complaints = [line for line in done.stderr.splitlines() if b"Unknown field" not in line]
    assert (done.returncode, complaints) == (0, [])


def test_dcraw_decodes_the_same_mosaic(ours: Path, tmp_path: Path) -> None:
    copy = shutil.copy(ours, tmp_path / "copy.dng")
    done = run(tmp_path, "dcraw", "-E", "-4", "-T", "-t", "0", copy)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(tifffile.imread(tmp_path / "copy.tiff"), scene().mosaic)


def test_unprocessed_raw_decodes_the_same_mosaic(ours: Path, tmp_path: Path) -> None:
    copy = shutil.copy(ours, tmp_path / "copy.dng")
    run(tmp_path, "unprocessed_raw", "-T", copy)
    assert np.array_equal(tifffile.imread(tmp_path / "copy.dng.tiff"), scene().mosaic)


def test_dcraw_emu_develops_it(ours: Path, tmp_path: Path) -> None:
    copy = shutil.copy(ours, tmp_path / "copy.dng")
    run(tmp_path, "dcraw_emu", "-T", "-w", copy)
    check_picture(tifffile.imread(tmp_path / "copy.dng.tiff"))


def test_darktable_develops_it(ours: Path, tmp_path: Path) -> None:
    core = (
        "--core",
        "--disable-opencl",
        "--library",
        ":memory:",
        "--configdir",
        tmp_path,
        "--cachedir",
        tmp_path,
    )
    done = run(
        tmp_path, "darktable-cli", ours, tmp_path / "out.png", *core, "--conf", "write_sidecar_files=never"
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.png") as picture:
        check_picture(np.asarray(picture.convert("RGB")))


def test_rawtherapee_develops_it(ours: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "rawtherapee-cli", "-q", "-o", tmp_path / "out.png", "-n", "-b8", "-Y", "-c", ours)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.png") as picture:
        check_picture(np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("size", [(301, 421), (300, 421), (301, 420), (100, 300)])
def test_rawtherapee_survives_odd_and_small_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    write_dng(make_capture(*size), tmp_path / "odd.dng", provenance=PROVENANCE)
    done = run(
        tmp_path,
        "rawtherapee-cli",
        "-q",
        "-o",
        tmp_path / "o.png",
        "-n",
        "-b8",
        "-Y",
        "-c",
        tmp_path / "odd.dng",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.png").exists()
