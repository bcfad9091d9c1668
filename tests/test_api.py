"""The public face: its names, its examples in docs/api.md, and what importing it costs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_raw
from test_cli_denoise import a_capture

import rawdenoise
from rawdenoise.app import public
from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import ExtensionError, OutputError, OutputExistsError
from rawdenoise.extensions.registry import Extension, extensions
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.models.model import new_model
from rawdenoise.models.store import ModelStore

PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def a_dng(path: Path) -> Path:
    write_dng(
        make_raw(96, 128), path, provenance=rawdenoise.denoise(make_raw(96, 128), None, ZERO).provenance
    )
    return path


ZERO = rawdenoise.Recipe(strength=0.0)


def test_every_public_name_is_there_and_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in rawdenoise.__all__:
        assert getattr(rawdenoise, name) is not None
        assert name == "__version__" or name in page, name
    assert set(rawdenoise.__all__) <= set(dir(rawdenoise))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rawdenoise.nonsense  # noqa: B018


def test_the_types_that_checkers_see_are_those_that_are_loaded() -> None:
    tree = ast.parse(Path(rawdenoise.__file__).read_text(encoding="utf-8"))
    seen = {
        (alias.name, node.module.removeprefix("rawdenoise."))
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rawdenoise.")
        for alias in node.names
    }
    assert seen == set(rawdenoise._PLACES.items())


def test_importing_it_loads_nothing_heavy_and_changes_nothing() -> None:
    code = (
        "import os, sys, logging, signal; before = dict(os.environ), signal.getsignal(signal.SIGINT), "
        "list(logging.root.handlers); import rawdenoise; "
        "after = dict(os.environ), signal.getsignal(signal.SIGINT), list(logging.root.handlers); "
        "print(before == after, sorted({'numpy', 'torch', 'rawpy', 'click', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True []"


@pytest.mark.usefixtures("few_crops", "own_store")
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a_dng(tmp_path / "IMG_1.CR2")
    for folder in ("night", "twenty captures"):
        for seed in range(3):
            a_capture(tmp_path / folder / f"{seed}.dng", 288, 320, seed=seed)
    pytest.importorskip("scipy")
    names: dict[str, object] = {}
    for example in examples():
        example = example.replace("minutes=10", "crops=48")  # all that is changed of them
        exec(compile(example, str(PAGE), "exec"), names)
    assert (tmp_path / "IMG_1.dng").is_file()


def test_the_examples_are_typed(tmp_path: Path) -> None:
    typed = [example for example in examples() if "class Blur" not in example]
    (tmp_path / "examples.py").write_text("\n".join(typed))
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "examples.py"]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "MYPYPATH": str(PAGE.parents[1])},
    )  # fmt: skip
    # The gain may be None where no estimate is asked for; mypy says so of the first example.
    lines = [line for line in run.stdout.splitlines() if "error:" in line and '"gain_db"' not in line]
    assert not lines, run.stdout


@pytest.mark.usefixtures("own_store")
def test_denoising_tells_how_far_it_is_and_can_be_given_up() -> None:
    raw = make_raw(96, 128)
    heard: list[tuple[rawdenoise.Stage, float]] = []
    rawdenoise.denoise(raw, on_stage=lambda stage, share: heard.append((stage, share)))
    assert (rawdenoise.Stage.DENOISE, 1.0) in heard
    assert heard[-1] == (rawdenoise.Stage.JUDGE, 1.0)
    heard.clear()
    with pytest.raises(rawdenoise.Stopped):
        rawdenoise.denoise(raw, stop=lambda: True, on_stage=lambda stage, share: heard.append((stage, share)))
    assert not heard


@pytest.mark.usefixtures("own_store")
def test_profiles_are_asked_only_where_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Camera] = []
    monkeypatch.setattr(
        "rawdenoise.noise.profiles.store.ProfileStore.find", lambda self, camera: asked.append(camera)
    )
    rawdenoise.denoise(make_raw(96, 128), use_profile=False)
    assert not asked
    rawdenoise.denoise(make_raw(96, 128))
    assert asked


def test_nothing_is_written_over_unasked_and_the_source_never(tmp_path: Path) -> None:
    raw = rawdenoise.read_raw(str(a_dng(tmp_path / "a.dng")))
    result = rawdenoise.denoise(raw, recipe=ZERO)
    with pytest.raises(OutputError, match="is the source itself"):
        rawdenoise.write(result, raw.source, overwrite=True)
    output = rawdenoise.write(result, tmp_path / "b.dng")
    with pytest.raises(OutputExistsError):
        rawdenoise.write(result, output)
    assert rawdenoise.write(result, output, overwrite=True) == output
    assert np.array_equal(read_raw(output).mosaic, raw.mosaic)


@pytest.mark.parametrize("name", ["b.dng", "b.tif", "b.tiff", "b.mosaic.tif"])
def test_the_suffix_says_the_format(tmp_path: Path, name: str) -> None:
    assert rawdenoise.write(make_raw(64, 96), tmp_path / name).stat().st_size > 0
    if "mosaic" in name:
        assert np.array_equal(read_raw(tmp_path / name).mosaic, make_raw(64, 96).mosaic)


def test_another_package_s_broken_writer_stops_no_format_that_is_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Extension("writers", "broken", "no_such_module:writer", "a-package", "1.0")
    monkeypatch.setattr(public, "extensions", lambda group: {**extensions(group), "broken": broken})
    assert rawdenoise.write(make_raw(64, 96), tmp_path / "b.dng").stat().st_size > 0
    with pytest.raises(ExtensionError):
        rawdenoise.write(make_raw(64, 96), tmp_path / "b.jpg")


def test_an_unknown_suffix_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"may end in \.dng, \.mosaic\.tif, \.tif"):
        rawdenoise.write(make_raw(64, 96), tmp_path / "b.jpg")


def test_models_are_called_by_name_or_file(tmp_path: Path) -> None:
    bundled = rawdenoise.load_model("fast")
    model = new_model(bundled.net, replace(bundled.card, camera=Camera("Test", "One")))
    stores = replace(user_stores(), models=ModelStore(tmp_path / "models"))
    stores.models.save(model)
    file = stores.models.export(model.card.id, tmp_path)
    assert rawdenoise.load_model(file).card == model.card
    assert rawdenoise.load_model(model.card.id, stores=stores).card == model.card


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"white": 64.0}, "make no sense"),
        ({"black": -1.0}, "make no sense"),
        ({"cfa": "RGBG"}, "RGBG"),
        ({"mosaic": np.zeros((1, 8), np.uint16)}, "a mosaic is an array"),
    ],
)
def test_an_array_that_is_no_mosaic_is_refused(change: dict[str, object], reason: str) -> None:
    given = {"mosaic": np.zeros((8, 8), np.uint16), "cfa": "RGGB", "black": 64.0, "white": 4095.0, **change}
    with pytest.raises(ValueError, match=reason):
        rawdenoise.RawImage.from_mosaic(given.pop("mosaic"), **given)
