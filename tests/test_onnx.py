"""Models as ONNX files: they answer as torch does, over noise and sizes, and are whole or not there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from test_pipeline import a_model

import rawdenoise
from rawdenoise.app import models as models_app
from rawdenoise.app.models import export_onnx
from rawdenoise.capture.packing import find_clipped, pack, unpack
from rawdenoise.capture.raw import Cfa, Provenance
from rawdenoise.cli import main
from rawdenoise.errors import DiskFullError, VerificationError
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.models.bundled import BUNDLED, load_bundled
from rawdenoise.models.model import Model
from rawdenoise.models.store import ModelStore
from rawdenoise.nets import NETS, build_net
from rawdenoise.noise.evidence import tag_noise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.reading import parse_profile
from rawdenoise.noise.stabilize import TABLE_READ
from rawdenoise.pipeline import denoise_planes
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

from rawdenoise.models import onnx_export as exporting  # noqa: E402
from rawdenoise.models.onnx_export import TOLERANCE, make_onnx, open_onnx, run_onnx, run_torch  # noqa: E402

ROOT = Path(__file__).parents[1]
CAMERAS_NOISE = [
    replace(point.noise(), tail=None)
    for path in sorted((ROOT / "calibration").glob("*.toml"))
    for point in parse_profile(path.read_bytes(), path).points
]


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model `fast`, exported."""
    folder = tmp_path_factory.mktemp("onnx")
    return export_onnx("fast", ModelStore(folder / "models"), folder / "fast.onnx")


@pytest.fixture(scope="module")
def session(fast: Path) -> object:
    return open_onnx(fast)


def signals(noise: NoiseModel, low: float = -0.02, high: float = 1.2) -> np.ndarray:
    """A noisy ramp: from below black, deep enough for its noise, to beyond white."""
    ramp = np.linspace(low, high, 96, dtype=np.float32) * np.ones((1, 4, 24, 1), np.float32)
    draws = np.random.default_rng(0).standard_normal(ramp.shape, np.float32)
    return ramp + draws * np.sqrt(noise.variance(ramp[0]))


def find_difference(session: object, planes: np.ndarray, noise: NoiseModel) -> float:
    return float(
        np.abs(run_onnx(session, planes, noise) - run_torch(load_bundled("fast"), planes, noise)).max()
    )


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


# ---------------------------------------------------------------- the same answers as torch's


@pytest.mark.parametrize("noise", CAMERAS_NOISE)
def test_it_answers_as_torch_does_with_the_noise_of_real_cameras(session: object, noise: NoiseModel) -> None:
    assert find_difference(session, signals(noise), noise) < TOLERANCE


@given(st.floats(-7, -1.5), st.floats(np.log10(TABLE_READ[0]) - 1, np.log10(TABLE_READ[1]) + 1))
def test_it_answers_as_torch_does_with_any_noise(session: object, shot: float, ratio: float) -> None:
    shots = 10.0**shot * np.array([1.3, 1.0, 1.0, 1.6])
    read_variance = (shots * 10.0**ratio) ** 2
    noise = NoiseModel(tuple(shots.tolist()), tuple(read_variance.tolist()))
    # Beyond the noise of cameras it is the noise that tells what is little: tables are interpolated.
    deviation = float(np.sqrt(shots + read_variance).max())
    assert find_difference(session, signals(noise), noise) < TOLERANCE + 0.01 * deviation


@pytest.mark.parametrize(
    ("shot", "read_variance", "low", "high"),
    [
        (0.0, 1e-6, -0.2, 1.2),  # no shot noise
        (1e-4, 0.0, -0.02, 1.2),  # no read noise
        (0.0, 1e-12, -0.2, 1.2),  # nearly none at all
        (1e-3, 1e-6, 1.0, 16.0),  # far beyond white
        (1e-3, 1e-4, -0.5, 0.0),  # nothing but below black
    ],
)
def test_it_answers_as_torch_does_at_extremes(
    session: object, shot: float, read_variance: float, low: float, high: float
) -> None:
    noise = NoiseModel((shot,) * 4, (read_variance,) * 4)
    assert find_difference(session, signals(noise, low, high), noise) < TOLERANCE


def test_planes_differ_in_their_noise(session: object) -> None:
    noise = NoiseModel((1e-2, 1e-3, 1e-4, 0.0), (1e-8, 1e-5, 1e-2, 1e-6))
    assert find_difference(session, signals(noise), noise) < TOLERANCE


def test_noise_of_nothing_gives_numbers(session: object) -> None:
    planes = signals(NoiseModel((1e-4,) * 4, (1e-6,) * 4))
    for noise in (NoiseModel((0.0,) * 4, (0.0,) * 4), NoiseModel((-1e-3,) * 4, (-1e-6,) * 4)):
        assert np.isfinite(run_onnx(session, planes, noise)).all()


def test_what_is_no_number_harms_its_surroundings_alone(session: object) -> None:
    noise = NoiseModel((1e-3,) * 4, (1e-5,) * 4)
    planes = np.full((1, 4, 96, 160), 0.2, np.float32)
    planes[0, 0, 0, 0] = np.nan
    answer = run_onnx(session, planes, noise)
    halo = load_bundled("fast").net.halo
    assert np.isfinite(answer[:, :, halo + 1 :]).all()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (4, 200), (132, 8)])
def test_batch_and_sides_may_be_any_that_the_network_takes(
    session: object, batch: int, height: int, width: int
) -> None:
    noise = NoiseModel((1e-3,) * 4, (1e-5,) * 4)
    planes = np.random.default_rng(0).random((batch, 4, height, width), np.float32)
    assert run_onnx(session, planes, noise).shape == planes.shape
    assert find_difference(session, planes, noise) < TOLERANCE


@pytest.mark.parametrize("name", NETS)
def test_every_network_that_can_be_trained_has_a_graph(name: str, tmp_path: Path) -> None:
    model = a_model(name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.net.parameters():  # a network that begins as a blur would tell little
            weights += 0.02 * torch.randn(weights.shape, generator=generator)
    exporting.write_onnx(model, tmp_path / "model.onnx")  # compares it with torch
    assert (tmp_path / "model.onnx").stat().st_size > 4 * sum(part.numel() for part in model.net.parameters())


def test_a_network_without_a_graph_is_refused(tmp_path: Path) -> None:
    model = a_model()
    with pytest.raises(TypeError, match="no graph of a BlindSpotDenoiser"):
        make_onnx(Model(model.card, build_net("d-bsn-light")))


# ---------------------------------------------------------------- what the file is


def test_the_file_says_what_it_is(fast: Path) -> None:
    model, card, net = onnx.load(fast), load_bundled("fast").card, load_bundled("fast").net
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert (said["id"], said["camera"]) == (card.id, card.camera.name)
    assert (said["halo"], said["multiple"]) == (str(net.halo), str(net.multiple))
    assert (said["version"], said["licence"]) == (rawdenoise.__version__, "Apache-2.0")
    assert said["weights_sha256"] == card.weights_sha256
    assert {f"input {name}" for name in exporting.INPUTS} | {"output denoised"} <= said.keys()
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "planes": ["batch", 4, "height", "width"],
        "shot": [4],
        "read_variance": [4],
        "denoised": ["batch", 4, "height", "width"],
    }


def test_the_same_model_gives_the_same_file(fast: Path) -> None:
    assert make_onnx(load_bundled("fast")) == fast.read_bytes()


def test_what_another_trained_is_not_said_to_be_ours() -> None:
    assert exporting.describe_model(a_model())["licence"] != "Apache-2.0"


# ---------------------------------------------------------------- the command


def test_a_model_of_the_store_is_exported_under_its_id(own_store: Path, tmp_path: Path) -> None:
    model = a_model()
    ModelStore(own_store).save(model)
    result = run("models", "export", model.card.id[:-3], "--onnx", tmp_path)
    output = tmp_path / f"{model.card.id}.onnx"
    assert (result.exit_code, result.output) == (0, f"{output}\n")
    assert open_onnx(output).get_modelmeta().custom_metadata_map["id"] == model.card.id


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_models_are_exported_by_their_names(name: str, own_store: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "mine.onnx"
    assert run("models", "export", name, "--onnx", output).exit_code == 0
    assert output.is_file()


def refusals(folder: Path) -> Iterator[tuple[object, Path, int, str]]:
    """The id, the target, the exit code, and what the line says."""
    (folder / "there.onnx").write_bytes(b"mine")
    (folder / "folder.onnx").mkdir()
    (folder / "folder.onnx" / f"{load_bundled('fast').card.id}.onnx").write_bytes(b"mine")
    (folder / "link.onnx").symlink_to(folder / "nowhere.onnx")
    yield "fast", folder / "there.onnx", 1, "is there already"
    yield "fast", folder / "link.onnx", 1, "is there already"
    yield "fast", folder / "folder.onnx", 1, "is there already"
    yield "fast", folder / "absent", 1, "no such folder"
    yield "fast", folder / "model.rawdenoise", 1, "ends in .onnx"
    yield "fast", folder / "there.onnx" / "model.onnx", 1, "cannot be written"
    yield "bm3d", folder, 3, "no model called 'bm3d'"


def test_a_refusal_is_one_line_and_leaves_nothing(own_store: Path, tmp_path: Path) -> None:
    for number, (id, target, code, words) in enumerate(refusals(tmp_path)):
        before = sorted(tmp_path.rglob("*"))
        result = run("models", "export", id, "--onnx", target)
        assert result.exit_code == code, number
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_a_file_that_answers_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = make_onnx(a_model(seed=1))
    monkeypatch.setattr(exporting, "make_onnx", lambda model: wrong)
    with pytest.raises(VerificationError, match="answers otherwise than torch"):
        exporting.write_onnx(a_model(seed=0), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_answers_that_are_no_numbers_are_another_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "run_onnx", lambda session, planes, noise: np.full_like(planes, np.nan))
    with pytest.raises(VerificationError):
        exporting.write_onnx(a_model(), tmp_path / "model.onnx")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(DiskFullError):
        exporting.write_onnx(a_model(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_extra_a_line_says_how_to_get_it(
    own_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_app, "find_spec", lambda name: None if name == "onnxruntime" else object())
    result = run("models", "export", "fast", "--onnx", tmp_path)
    assert result.exit_code == 3
    assert result.stderr == "error: ONNX files need onnxruntime: pip install 'rawdenoise[onnx]'\n"
    assert not list(tmp_path.glob("*.onnx"))


# ---------------------------------------------------------------- the example of docs/onnx.md


@pytest.mark.parametrize("cfa", Cfa)
def test_the_example_of_the_docs_denoises_as_rawdenoise_does(
    cfa: Cfa, fast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "onnx.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "fast.onnx").symlink_to(fast)
    camera = replace(SIMULATED_IMX385.resize(420, 302), cfa=cfa)
    sensor = replace(camera.noise[3200], row_sigma=0.0)
    camera = replace(camera, noise={3200: sensor})
    rng = np.random.default_rng(0)
    raw, _ = capture(make_scene(302, 420, rng).astype(np.float32), camera, 3200, rng)
    span = camera.white - camera.black
    pair = (sensor.gain / span, (sensor.read_deviation / span) ** 2)
    source = tmp_path / "IMG_1.dng"
    write_dng(raw, source, provenance=Provenance("0", "simulated", 0.5, noise_left=(pair,) * 4))

    monkeypatch.chdir(tmp_path)
    found: dict[str, np.ndarray] = {}
    exec(example.replace(", 512", ", 128"), found)  # several tiles

    again = rawdenoise.read_raw(source)
    noise = tag_noise(again)
    assert noise is not None
    assert noise.shot == pytest.approx(pair[:1] * 4)
    whole = denoise_planes(pack(again), noise, load_bundled("fast"), device="cpu")
    assert np.abs(found["clean"] - whole).max() < TOLERANCE

    mosaic = unpack(whole, again).mosaic[again.active.slices].astype(int)
    assert (np.abs(found["denoised"] - mosaic) > 1).mean() < 0.002  # where the rounding differs

    result = rawdenoise.denoise(again, "fast", rawdenoise.Recipe(levels=rawdenoise.OutputLevels.SENSOR))
    expected = result.image.mosaic[result.image.active.slices].astype(int)
    assert not result.left
    taken = raw.mosaic[raw.active.slices] - expected  # beside which levels and points given back are little
    assert (found["denoised"] - expected).std() < 0.1 * taken.std()
    assert find_clipped(again).mean() < 0.5


def test_the_extra_is_what_the_code_asks_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [re.split(r"[^\w]", line)[0] for line in extras["onnx"]] == list(models_app.ONNX_PACKAGES)
