"""The plug-in of napari: its manifest and its layers anywhere, its dock where napari and Qt are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import make_raw, raw_images, soon
from hypothesis import given
from test_cli_denoise import a_capture

import rawdenoise
from rawdenoise.app.stores import user_stores
from rawdenoise.capture.packing import pack
from rawdenoise.errors import LayoutError, OutputError, OutputExistsError, RawDenoiseError
from rawdenoise.formats import LIBRAW_SUFFIXES, SIDD_SUFFIXES
from rawdenoise.napari.denoising import Job, NoiseSource, Run, find_captures, list_denoisers, run_job, sum_up
from rawdenoise.napari.layers import KEY, MosaicFacts, show_captures, show_planes, show_results
from rawdenoise.napari.reader import get_reader, read_layers
from rawdenoise.napari.samples import take_sample
from rawdenoise.napari.writer import write_dng

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "rawdenoise" / "napari" / "napari.yaml"
FACTS = MosaicFacts("RGGB", 512, 16383)


# The manifest


def test_the_manifest_names_what_is_there() -> None:
    text = MANIFEST.read_text(encoding="utf-8")
    commands = dict(re.findall(r"- id: (\S+)\n.*\n +python_name: (\S+)", text))
    assert len(commands) == 4
    assert set(re.findall(r"- command: (\S+)", text)) == set(commands)
    for value in commands.values():
        module, _, name = value.partition(":")
        if module.endswith(".panel"):  # which only napari can import
            assert f"class {name}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        else:
            assert callable(getattr(import_module(module), name)), value


def test_napari_offers_to_open_what_the_program_reads() -> None:
    patterns = re.findall(r'"\*(\.\w+)"', MANIFEST.read_text(encoding="utf-8"))
    assert patterns == sorted(LIBRAW_SUFFIXES | SIDD_SUFFIXES)


def test_napari_finds_the_manifest() -> None:
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    package, _, name = entries["napari.manifest"]["rawdenoise"].partition(":")
    assert ROOT.joinpath(*package.split("."), name) == MANIFEST
    assert "name: rawdenoise\n" in MANIFEST.read_text(encoding="utf-8")  # npe2 wants that of the package


def test_only_the_dock_needs_napari_and_only_denoising_torch() -> None:
    code = (
        "import sys; from rawdenoise.napari import reader; print(sorted({'torch'} & set(sys.modules))); "
        "from rawdenoise.napari import writer, samples, denoising; "
        "print(sorted({'napari', 'qtpy', 'magicgui', 'npe2'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.stdout.split() == ["[]", "[]"]


# Layers


@given(raw_images())
def test_a_plane_lies_where_its_pixels_lie(raw: rawdenoise.RawImage) -> None:
    look = {"contrast_limits": (0.0, raw.levels.white), "scale": (3.0, 3.0), "translate": (10.0, 20.0)}
    for (plane, attributes, _), letter in zip(show_planes("a", raw.mosaic, raw, look), "RGGB", strict=True):
        places = np.indices(plane.shape).reshape(2, -1).T * attributes["scale"] + attributes["translate"]
        rows, columns = np.rint((places - (10, 20)) / 3).astype(int).T
        assert np.array_equal(raw.mosaic[rows, columns], plane.ravel())
        assert {raw.cfa.value[2 * (r % 2) + c % 2] for r, c in zip(rows, columns, strict=True)} <= {letter}


def test_planes_are_those_that_are_denoised() -> None:
    raw = make_raw(16, 24, margins=(2, 4, 2, 6), black=(10.0, 20.0, 30.0, 40.0))
    layers = show_planes("a", raw.mosaic, raw, {"contrast_limits": (0.0, 1000.0)})
    for (plane, attributes, _), packed, black in zip(layers, pack(raw), raw.levels.black, strict=True):
        assert np.allclose((plane - black) / (raw.levels.white - black), packed, atol=1e-6)
        assert attributes["contrast_limits"][0] < attributes["contrast_limits"][1]


def test_several_raws_are_a_stack_if_they_fit(tmp_path: Path) -> None:
    paths = [a_capture(tmp_path / f"{seed}.dng", seed=seed) for seed in range(2)]
    ((stack, attributes, kind),) = read_layers([str(path) for path in paths])
    assert kind == "image"
    assert stack.shape == (2, 96, 128)
    assert attributes["metadata"]["iso"] == [800, 800]
    for path, frame in zip(paths, stack, strict=True):
        assert np.array_equal(rawdenoise.read_raw(path).mosaic, frame)
    with pytest.raises(LayoutError, match=r"48 x 32 RGGB, and synthetic\.dng is 64 x 32"):
        show_captures([make_raw(32, 64), make_raw(32, 48)])


def test_the_sample_is_a_noisy_capture() -> None:
    ((pixels, attributes, kind),) = take_sample()
    assert (attributes["name"], kind, attributes["metadata"]["iso"]) == ("simulated", "image", 12800)
    low, high = attributes["contrast_limits"]
    assert low == 240 < high < 4095
    (raw,) = find_captures(pixels, attributes["metadata"], FACTS, "a")
    assert raw is attributes["metadata"][KEY].captures[0]


def test_only_raws_are_asked_for() -> None:
    assert get_reader("/a/IMG.CR2") is read_layers
    assert get_reader(["/a/IMG.CR2", "/a/IMG.jpg"]) is None
    assert get_reader("/a/IMG.tif") is None


@pytest.mark.parametrize(
    ("pixels", "facts", "reason"),
    [
        (np.zeros((8, 8), np.float32), FACTS, r"a is no mosaic \(8 x 8, float32\)"),
        (np.full((8, 8), -1), FACTS, "whole numbers from 0 to 65535"),
        (np.zeros((8, 8, 8, 8), np.uint16), FACTS, "height x width"),
        (np.zeros((0, 8), np.uint8), FACTS, "a: a mosaic is an array"),
        (np.zeros((8, 8), np.uint8), replace(FACTS, black=20000), "a: black .* make no sense"),
    ],
)
def test_what_is_no_mosaic_is_refused(pixels: np.ndarray, facts: MosaicFacts, reason: str) -> None:
    with pytest.raises(RawDenoiseError, match=reason) as caught:
        find_captures(pixels, {}, facts, "a")
    assert "\n" not in str(caught.value)


def test_a_plain_array_has_the_facts_that_were_given() -> None:
    pixels = np.arange(2 * 8 * 8, dtype=np.int64).reshape(2, 8, 8)
    first, second = find_captures(pixels, {}, MosaicFacts("BGGR", 3, 99, "My camera", 400), "a")
    assert np.array_equal(second.mosaic, pixels[1])
    assert (first.cfa, first.levels.black[0], first.levels.white) == ("BGGR", 3, 99)
    assert (first.camera.name, first.exposure.iso) == ("My camera", 400)


# A job


def a_job(layer: tuple[Any, dict[str, Any], str], **changes: Any) -> Job:
    pixels, attributes, _ = layer
    job = Job("a", pixels, attributes["metadata"], FACTS, rawdenoise.Recipe(), NoiseSource.ALL, user_stores())
    return replace(job, **changes)


class HeardRun(Run):
    """A run that remembers how far it was."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "fraction":
            self.__dict__.setdefault("heard", []).append(value)


@pytest.mark.usefixtures("own_store")
@pytest.mark.parametrize("white", [4095.0, 16383.0])
def test_a_layer_becomes_what_the_program_makes_of_its_raw(white: float) -> None:
    rng = np.random.default_rng(0)
    mosaic = np.clip(rng.normal(0.3 * white, 0.02 * white, (96, 128)), 0, white).astype(np.uint16)
    raw = make_raw(96, 128, mosaic=mosaic, black=(64.0,) * 4, white=white)
    run = HeardRun()
    outcome = run_job(a_job(show_captures([raw])), run)
    expected = rawdenoise.denoise(raw)
    assert run.heard == sorted(run.heard)
    assert len(set(run.heard)) >= 3  # by tiles and judgements; of a small picture there is one of each
    assert run.fraction == 1
    assert not expected.left
    assert sum_up(outcome.results).startswith(f"{expected.quality.gain_db:+.1f} dB estimated (")
    (residual, _, _), (clean, attributes, _) = show_results("a", outcome.captures, outcome.results, {})
    scale = expected.image.levels.white / white
    assert (scale > 1) == (white == 4095)  # in finer levels: the layer is in the capture's, exactly
    assert np.array_equal(clean * scale, expected.image.mosaic)
    assert np.array_equal(residual, mosaic - clean.astype(np.float32))
    assert attributes["metadata"]["results"][0]["shot"] == expected.noise.shot


@pytest.mark.usefixtures("own_store")
def test_a_job_ends_without_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = show_captures([make_raw(96, 128)])
    missing = run_job(a_job(layer, recipe=rawdenoise.Recipe(model="nonsense")), Run())
    assert "no model called 'nonsense'" in missing.failure
    run = Run()
    run.cancel()
    stopped = run_job(a_job(layer), run)
    assert not stopped.results
    assert not stopped.failure
    monkeypatch.setattr("rawdenoise.napari.denoising.denoise", lambda: None)
    bug = run_job(a_job(layer), Run())
    assert bug.failure.startswith("unexpected TypeError")
    assert "\n" not in missing.failure + bug.failure


@pytest.mark.usefixtures("own_store")
def test_profiles_are_left_out_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "rawdenoise.noise.profiles.store.ProfileStore.find", lambda self, camera: asked.append(camera)
    )
    layer = show_captures([make_raw(96, 128)])
    run_job(a_job(layer, noise=NoiseSource.CAPTURE), Run())
    assert not asked
    run_job(a_job(layer), Run())
    assert asked


def test_every_model_can_be_chosen(own_store: Path) -> None:
    labels = [label for label, _ in list_denoisers(user_stores().models)]
    assert labels[:3] == ["the camera's own, else fast", "fast (bundled)", "best (bundled)"]


# DNGs


@pytest.mark.usefixtures("own_store")
def test_a_result_is_written_as_the_program_writes_it(tmp_path: Path) -> None:
    source = a_capture(tmp_path / "a.dng")
    (layer,) = read_layers(str(source))
    outcome = run_job(a_job(layer), Run())
    residual, clean = show_results("a", outcome.captures, outcome.results, {})
    assert write_dng(str(tmp_path / "b.dng"), clean[0], clean[1]) == [str(tmp_path / "b.dng")]
    rawdenoise.write(rawdenoise.denoise(rawdenoise.read_raw(source)), tmp_path / "c.dng")
    assert (tmp_path / "b.dng").read_bytes() == (tmp_path / "c.dng").read_bytes()
    with pytest.raises(OutputError, match="this layer is neither"):
        write_dng(str(tmp_path / "d.dng"), residual[0], residual[1])
    with pytest.raises(OutputError, match="no longer of the size"):
        write_dng(str(tmp_path / "d.dng"), clean[0][:-2], clean[1])
    with pytest.raises(OutputError, match="is the source itself"):
        write_dng(str(source), clean[0], clean[1])


def test_a_stack_is_written_frame_by_frame_and_over_nothing(tmp_path: Path) -> None:
    paths = [str(a_capture(tmp_path / f"{seed}.dng", seed=seed)) for seed in range(2)]
    ((stack, attributes, _),) = read_layers(paths)
    written = write_dng(str(tmp_path / "out.dng"), stack, attributes)
    assert [Path(path).name for path in written] == ["out-1.dng", "out-2.dng"]
    for path, frame in zip(written, stack, strict=True):
        assert np.array_equal(rawdenoise.read_raw(path).mosaic, frame)
    with pytest.raises(OutputExistsError):
        write_dng(str(tmp_path / "out.dng"), stack, attributes)


# In napari


@pytest.fixture(scope="module")
def napari(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What the tests use of napari, with settings of their own and no screen."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["NAPARI_CONFIG"] = str(tmp_path_factory.mktemp("napari") / "settings.yaml")
    pytest.importorskip("napari", reason="napari is not installed (pip install napari pyqt6)")
    widgets = pytest.importorskip("qtpy.QtWidgets", reason="there is no Qt", exc_type=ImportError)
    from napari.components import ViewerModel
    from napari.utils.notifications import notification_manager
    from npe2 import PluginManager, PluginManifest

    plugins = PluginManager.instance()
    if "rawdenoise" not in plugins._manifests:
        plugins.register(PluginManifest.from_file(MANIFEST))
    return SimpleNamespace(
        app=widgets.QApplication.instance() or widgets.QApplication([]),
        viewer=ViewerModel,
        plugins=plugins,
        notifications=notification_manager,
    )


def messages(napari: SimpleNamespace) -> list[tuple[str, str]]:
    records = napari.notifications.records
    told = [(str(record.severity), record.message) for record in records]
    records.clear()
    return told


def a_panel(napari: SimpleNamespace, viewer: Any) -> Any:
    """The dock, found by its manifest as napari finds it."""
    (widget,) = (w for w in napari.plugins.iter_widgets() if w.command == "rawdenoise.denoise")
    panel = widget.get_callable()(napari_viewer=viewer)
    messages(napari)
    return panel


def end(napari: SimpleNamespace, panel: Any) -> bool:
    return soon(lambda: napari.app.processEvents() or not panel.running)


def is_shown(widget: Any, panel: Any) -> bool:
    return bool(widget.native.isVisibleTo(panel.native))


in_napari = pytest.mark.filterwarnings("ignore")  # those of napari are not ours


@in_napari
def test_npe2_takes_the_manifest(napari: SimpleNamespace) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", str(MANIFEST)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "valid" in run.stdout


@in_napari
@pytest.mark.usefixtures("own_store")
def test_a_raw_is_opened_and_denoised(napari: SimpleNamespace, tmp_path: Path) -> None:
    path = a_capture(tmp_path / "IMG_1.dng")
    viewer = napari.viewer()
    (layer,) = viewer.open(str(path), plugin="rawdenoise")
    assert layer.metadata["camera"]
    panel = a_panel(napari, viewer)
    assert panel.layer.value is layer
    assert not is_shown(panel.array, panel)
    assert "ISO 800" in panel.about.value
    panel.model.value = dict(list_denoisers(user_stores().models))["best (bundled)"]
    panel.strength.value = 0.5
    panel.button.changed.emit(True)
    assert panel.running
    assert panel.button.text == "Cancel"
    assert end(napari, panel)
    assert [one.name for one in viewer.layers] == ["IMG_1", "IMG_1 residual", "IMG_1 denoised"]
    expected = rawdenoise.denoise(rawdenoise.read_raw(path), "best", rawdenoise.Recipe(strength=0.5))
    assert np.array_equal(viewer.layers[2].data, expected.image.mosaic)
    assert tuple(viewer.layers[2].contrast_limits) == tuple(layer.contrast_limits)
    assert not viewer.layers[1].visible
    assert "dB estimated" in panel.summary.value
    assert not messages(napari)
    assert panel.layer.value is layer  # to be tried with other settings
    assert panel.button.enabled
    panel.layer.value = viewer.layers[2]
    assert not panel.button.enabled
    written = viewer.layers[2].save(str(tmp_path / "out.dng"))
    assert np.array_equal(rawdenoise.read_raw(written[0]).mosaic, expected.image.mosaic)
    panel.planes.changed.emit(True)
    assert [one.name for one in viewer.layers][3:] == [f"IMG_1 denoised {p}" for p in ("R", "G1", "G2", "B")]
    panel.layer.reset_choices()
    assert panel.layer.choices == (None, viewer.layers[0], viewer.layers[2])  # neither residual nor planes


def begin_a_large_one(napari: SimpleNamespace, viewer: Any, panel: Any) -> None:
    raw = make_raw(3072, 4096, mosaic=np.random.default_rng(0).poisson(900, (3072, 4096)).astype(np.uint16))
    pixels, attributes, _ = show_captures([raw])
    viewer.add_image(pixels, **attributes)
    panel.button.changed.emit(True)
    assert soon(lambda: napari.app.processEvents() or 0 < panel.bar.value < panel.bar.max)
    assert is_shown(panel.bar, panel)


@in_napari
@pytest.mark.usefixtures("own_store")
def test_a_dock_that_is_closed_gives_up_what_it_does(napari: SimpleNamespace) -> None:
    from qtpy.QtCore import QThreadPool
    from qtpy.QtWidgets import QWidget

    viewer = napari.viewer()
    panel, dock = a_panel(napari, viewer), QWidget()
    panel.native.setParent(dock)
    begin_a_large_one(napari, viewer, panel)
    panel.native.setParent(None)
    assert end(napari, panel)
    pool = QThreadPool.globalInstance()
    assert soon(lambda: napari.app.processEvents() or not pool.activeThreadCount())
    napari.app.processEvents()
    assert len(viewer.layers) == 1
    assert not messages(napari)


@in_napari
@pytest.mark.usefixtures("own_store")
def test_what_is_cancelled_adds_nothing(napari: SimpleNamespace) -> None:
    viewer = napari.viewer()
    panel = a_panel(napari, viewer)
    begin_a_large_one(napari, viewer, panel)
    panel.button.changed.emit(True)
    assert not panel.button.enabled
    assert end(napari, panel)
    assert len(viewer.layers) == 1
    assert panel.summary.value == "cancelled: nothing was added"
    assert panel.button.enabled
    assert not messages(napari)


@in_napari
def test_a_broken_raw_is_one_line_and_stops_no_other(napari: SimpleNamespace, tmp_path: Path) -> None:
    whole = a_capture(tmp_path / "whole.dng")
    broken = tmp_path / "broken.dng"
    broken.write_bytes(whole.read_bytes()[:3000])
    viewer = napari.viewer()
    messages(napari)
    viewer.open([str(broken), str(whole)], plugin="rawdenoise")
    assert [layer.name for layer in viewer.layers] == ["whole"]
    ((severity, line),) = messages(napari)
    assert severity == "error"
    assert line.startswith(f"{broken}: ")
    assert "\n" not in line


@in_napari
@pytest.mark.usefixtures("own_store")
def test_a_plain_array_is_asked_about(napari: SimpleNamespace) -> None:
    viewer = napari.viewer()
    mosaic = np.random.default_rng(0).normal(3000, 100, (96, 128)).astype(np.uint16)
    viewer.add_image(mosaic, name="array")
    panel = a_panel(napari, viewer)
    assert is_shown(panel.array, panel)
    panel.array.black.value, panel.array.white.value = 4000, 3000
    panel.button.changed.emit(True)
    assert end(napari, panel)
    ((severity, line),) = messages(napari)
    assert severity == "error"
    assert line.startswith("array: black 4000.0 and white 3000.0 make no sense")
    assert panel.summary.value == line
    panel.array.black.value, panel.array.white.value = 64, 16383
    panel.array.cfa.value = "GBRG"
    panel.button.changed.emit(True)
    assert end(napari, panel)
    raw = rawdenoise.RawImage.from_mosaic(mosaic, cfa="GBRG", black=64.0, white=16383.0)
    assert np.array_equal(viewer.layers["array denoised"].data, rawdenoise.denoise(raw).image.mosaic)


@in_napari
@pytest.mark.usefixtures("own_store")
def test_what_would_lose_is_left_and_said(napari: SimpleNamespace) -> None:
    viewer = napari.viewer()
    flat = np.full((96, 128), 5000, np.uint16)  # which shows no noise to know
    pixels, attributes, _ = show_captures([make_raw(96, 128, mosaic=flat)])
    viewer.add_image(pixels, **attributes)
    panel = a_panel(napari, viewer)
    panel.button.changed.emit(True)
    assert end(napari, panel)
    assert len(viewer.layers) == 1
    ((severity, line),) = messages(napari)
    assert severity == "warning"
    assert "left as it was: " in line
    panel.estimate.value = False  # then nothing is judged, and nothing left
    panel.button.changed.emit(True)
    assert end(napari, panel)
    assert len(viewer.layers) == 3


REAL = """
import sys, time, napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer(show=False)
(layer,) = viewer.open(sys.argv[1], plugin="rawdenoise")
dock, panel = viewer.window.add_plugin_dock_widget("rawdenoise", "Denoise a raw")
assert panel.layer.value is layer, panel.layer.value
panel.button.native.click()
until = time.monotonic() + 300
while panel.running and time.monotonic() < until:
    QApplication.processEvents()
assert len(viewer.layers) == 3, panel.summary.value
panel.layer.value = layer
panel.planes.native.click()
picture = viewer.window.screenshot(flash=False)
assert picture[..., :3].std() > 10, picture.shape
viewer.close()
print("seen")
"""


@in_napari
def test_the_real_viewer_shows_it(napari: SimpleNamespace, tmp_path: Path) -> None:
    if shutil.which("xvfb-run") is None:
        pytest.skip("no xvfb-run, which gives a viewer a screen")
    if not any(entry.name == "rawdenoise" for entry in entry_points(group="napari.manifest")):
        pytest.skip("rawdenoise was installed here before it had a manifest: pip install -e . again")
    path = a_capture(tmp_path / "IMG_1.dng", 288, 320)
    own = {"QT_QPA_PLATFORM": "xcb", "PYTHONPATH": str(ROOT), "RAWDENOISE_MODELS": str(tmp_path)}
    command = ["xvfb-run", "-a", sys.executable, "-c", REAL, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, **own})
    assert run.stdout.strip().endswith("seen"), run.stdout + run.stderr
