"""The example of a denoiser from another package, installed into an environment of its own."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from rawdenoise.extensions import registry

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "plugins" / "rawdenoise-bm3d"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment that sees what is installed here, and has the plug-in in addition."""
    pytest.importorskip("hatchling", reason="the plug-in is built here")
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    names = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=names))
    (packages / "here.pth").write_text("\n".join([str(ROOT), *site.getsitepackages()]))
    found = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    built = folder / "built"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(PLUGIN)],
        check=True,
    )
    (wheel,) = built.iterdir()
    subprocess.run(
        [*pip, "--python", str(found), "install", "--no-deps", "--no-index", str(wheel)], check=True
    )
    return found


def run(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=python.parents[1],
    )


def test_it_is_listed_beside_what_is_built_in(python: Path) -> None:
    entries = json.loads(run(python, "-m", "rawdenoise", "methods", "list", "--json").stdout)
    named = {(entry["group"], entry["name"]): entry["package"] for entry in entries}
    assert named["denoisers", "bm3d"] == "rawdenoise-bm3d"
    assert named["denoisers", "fast"] == named["writers", "dng"] == "rawdenoise"


def test_its_own_tests_pass(python: Path) -> None:
    pytest.importorskip(
        "bm3d", reason="the package bm3d is for non-commercial use only, and never a dependency"
    )
    tested = run(
        python, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-c", os.devnull, PLUGIN / "tests"
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout


def test_where_bm3d_is_missing_that_is_said_before_any_file_is_read(python: Path, tmp_path: Path) -> None:
    (tmp_path / "bm3d.py").write_text("raise ImportError('no BM3D here')")
    source = tmp_path / "a.dng"
    source.write_bytes(b"never read")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from rawdenoise.cli import main; main()"
    said = run(python, "-c", code, "denoise", source, "-o", tmp_path / "out", "--method", "bm3d")
    assert said.returncode == 3
    assert "bm3d, of rawdenoise-bm3d 1.0, cannot be made (ImportError: no BM3D here)" in said.stderr


def test_what_is_built_in_is_registered_as_other_packages_are() -> None:
    tomllib = pytest.importorskip("tomllib")
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    stated = {group: entries.get(f"rawdenoise.{group}", {}) for group in registry.EXTENSION_GROUPS}
    assert stated == {group: dict(names) for group, names in registry.BUILT_IN_EXTENSIONS.items()}
    for group, names in stated.items():
        for name in names:
            assert registry.load(group, name) is not None


@pytest.mark.parametrize(
    ("group", "name", "reason"),
    [("writers", "jpeg", "no writer called 'jpeg'"), ("denoisers", "magic", "no denoiser called 'magic'")],
)
def test_what_nobody_has_registered_is_said(group: str, name: str, reason: str) -> None:
    with pytest.raises(registry.ExtensionError, match=reason):
        registry.load(group, name)
