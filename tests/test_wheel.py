from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(PROJECT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_rawdenoise_is_the_only_name_the_wheel_installs(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"rawdenoise"}
    assert "rawdenoise/py.typed" in names


def test_the_wheel_has_the_command_and_the_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
    assert "rawdenoise = rawdenoise.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert "Apache License" in archive.read(f"{info}/licenses/LICENSE").decode()


def test_the_wheel_brings_the_noise_profiles(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    sources = {path.name: path.read_bytes() for path in (PROJECT / "calibration").iterdir() if path.is_file()}
    assert {"sony-ilce-7sm2.toml", "README.md"} <= sources.keys()
    for name, data in sources.items():
        assert archive.read(f"rawdenoise/_calibration/{name}") == data


def test_the_wheel_brings_the_templates_of_the_pages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    templates = [path.name for path in (PROJECT / "rawdenoise" / "pages" / "templates").iterdir()]
    assert {"model.html", "calibration.html", "style.css", "chart.svg"} <= set(templates)
    assert {f"rawdenoise/pages/templates/{name}" for name in templates} <= set(names)


def test_an_installed_rawdenoise_finds_its_profiles(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "from rawdenoise.app.stores import user_stores; from rawdenoise.noise.profiles.store import *; "
        "print(bundled_folder()); print(user_stores().profiles.get('7sm2').path)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    folder = tmp_path / "rawdenoise" / "_calibration"
    assert run.stdout.split() == [str(folder), str(folder / "sony-ilce-7sm2.toml")], run.stderr


def test_the_wheel_brings_the_plug_ins_of_every_host(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    for host in ("darktable", "lightroom", "art", "digikam", "file-managers"):
        for path in (PROJECT / "plugins" / host).rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".po", ".pot"):
                name = f"rawdenoise/_plugins/{path.relative_to(PROJECT / 'plugins').as_posix()}"
                assert name in names
                assert archive.read(name) == path.read_bytes()
    assert not any("rawdenoise-bm3d" in name for name in names)  # a package of its own


def test_an_installed_rawdenoise_installs_its_plug_ins(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    home, site = tmp_path / "home", tmp_path / "site"
    home.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "rawdenoise", "plugins", "install", "art", "--folder", str(home / "ART")],
        capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site), "HOME": str(home), "XDG_DATA_HOME": str(home / "data")},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert (home / "ART" / "usercommands" / "rawdenoise.txt").is_file()
