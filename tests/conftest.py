from __future__ import annotations

import os

# Before numpy and torch are loaded: there is a worker for every core, and children of theirs inherit it.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typecheck
from hypothesis import settings
from hypothesis import strategies as st

from rawdenoise.capture.raw import Area, Camera, Cfa, Ifd, Levels, RawImage, Tag
from rawdenoise.formats.tiff.reading import LONG, SHORT, ascii_tag, bytes_tag, numbers_tag
from rawdenoise.formats.tiff.tags import Code
from rawdenoise.formats.tiff.writing import Node, Pixels, write_tree

settings.register_profile("quick", deadline=None, max_examples=20, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=100, derandomize=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="laws at full strength, and the tests marked long")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if "long" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes long (make test-long)"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    typecheck.begin_test(check_all=item.config.getoption("--long"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real captures, which are never committed."""
    folder = Path(os.environ.get("RAWDENOISE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real captures at {folder} (set RAWDENOISE_DATA)")
    return folder


@pytest.fixture(autouse=True)
def own_profiles(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of noise profiles of the test's own: the user's must not change what tests find."""
    folder = tmp_path_factory.mktemp("profiles") / "cameras"
    monkeypatch.setenv("RAWDENOISE_PROFILES", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache of digests of the tests' own: nothing is written into the user's."""
    os.environ["RAWDENOISE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _cpu() -> None:
    """Tests compare exactly, on the processor: what "auto" finds elsewhere is not looked for."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model store of the test's own."""
    folder = tmp_path / "models"
    monkeypatch.setenv("RAWDENOISE_MODELS", str(folder))
    return folder


@pytest.fixture
def few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge networks by a few crops: most of the time of a short training is in judging it well."""
    monkeypatch.setattr("rawdenoise.training.judging.LOOKED_AT", (1, 4))
    monkeypatch.setattr("rawdenoise.training.comparison.JUDGED", (1, 8))


PATIENCE_S = 300.0  # how long a loaded machine may take for what takes a second


def soon(happened: Callable[[], object]) -> bool:
    """Wait for what another thread or process is to do; False where it has not been done in five minutes."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if happened():
            return True
        time.sleep(0.02)
    return False


TEST_CAMERA = Camera("Test", "Test One", mode="test")


def make_raw(
    height: int = 32,
    width: int = 48,
    *,
    cfa: Cfa = Cfa.RGGB,
    margins: tuple[int, int, int, int] = (0, 0, 0, 0),
    black: tuple[float, float, float, float] = (512.0, 512.0, 512.0, 512.0),
    white: float = 16383.0,
    seed: int = 0,
    mosaic: np.ndarray | None = None,
    camera: Camera = TEST_CAMERA,
    **more: object,
) -> RawImage:
    """A synthetic capture; margins are top, left, bottom, right."""
    top, left, bottom, right = margins
    if mosaic is None:
        rng = np.random.default_rng(seed)
        mosaic = rng.integers(0, int(white) + 1, (height + top + bottom, width + left + right)).astype(
            np.uint16
        )
    return RawImage(
        mosaic=mosaic,
        cfa=cfa,
        active=Area(top, left, top + height, left + width),
        levels=Levels(black, white),
        source=Path("synthetic.dng"),
        camera=camera,
        **more,  # type: ignore[arg-type]
    )


@st.composite
def raw_images(draw: Callable[..., object], max_side: int = 24) -> RawImage:
    """Captures of every phase, with odd margins, odd sizes and fractional blacks."""
    blacks = st.floats(0, 1024, width=32).map(float)
    margins = tuple(draw(st.integers(0, 5)) for _ in range(4))
    return make_raw(
        draw(st.integers(2, max_side)),
        draw(st.integers(2, max_side)),
        cfa=draw(st.sampled_from(list(Cfa))),
        margins=margins,
        black=tuple(draw(blacks) for _ in range(4)),
        white=draw(st.sampled_from([4095.0, 16383.0, 65535.0])),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def mosaic_directory(mosaic: np.ndarray, tags: Ifd, *, cfa: Cfa = Cfa.RGGB) -> Node:
    """An uncompressed mosaic as a directory of a raw file, with more tags."""
    layout: dict[int, Tag] = {
        Code.NewSubfileType: numbers_tag(LONG, 0),
        Code.ImageWidth: numbers_tag(LONG, mosaic.shape[1]),
        Code.ImageLength: numbers_tag(LONG, mosaic.shape[0]),
        Code.BitsPerSample: numbers_tag(SHORT, 16),
        Code.Compression: numbers_tag(SHORT, 1),
        Code.PhotometricInterpretation: numbers_tag(SHORT, 32803),
        Code.SamplesPerPixel: numbers_tag(SHORT, 1),
        Code.RowsPerStrip: numbers_tag(LONG, mosaic.shape[0]),
        Code.CFARepeatPatternDim: numbers_tag(SHORT, 2, 2),
        Code.CFAPattern: bytes_tag(bytes("RGB".index(letter) for letter in cfa.value)),
    }
    strip = Pixels(Code.StripOffsets, Code.StripByteCounts, 1, [mosaic.astype("<u2").tobytes()])
    return Node({**layout, **tags}, pixels=strip)


def write_bayer_dng(
    path: Path,
    mosaic: np.ndarray,
    *,
    root: Ifd = {},  # noqa: B006 - never changed
    raw: Ifd = {},  # noqa: B006
    cfa: Cfa = Cfa.RGGB,
    one_directory: bool = False,
) -> None:
    """A camera's DNG with black 512 and white 15000, and more tags in either directory."""
    camera: dict[int, Tag] = {
        Code.Make: ascii_tag("ACME"),
        Code.Model: ascii_tag("ACME One"),
        Code.UniqueCameraModel: ascii_tag("ACME One"),
        Code.DNGVersion: bytes_tag(bytes((1, 4, 0, 0))),
        Code.CalibrationIlluminant1: numbers_tag(SHORT, 21),
        **root,
    }
    levels = {Code.BlackLevel: numbers_tag(SHORT, 512), Code.WhiteLevel: numbers_tag(SHORT, 15000)}
    directory = mosaic_directory(mosaic, {**levels, **raw}, cfa=cfa)
    tree = (
        Node({**camera, **directory.tags}, pixels=directory.pixels)
        if one_directory
        else Node(
            {**camera, Code.NewSubfileType: numbers_tag(LONG, 1)}, children={Code.SubIFDs: (directory,)}
        )
    )
    with path.open("wb") as file:
        write_tree(file, tree)


def write_arw(path: Path, mosaic: np.ndarray, *, balance: tuple[int, int, int, int]) -> None:
    """A raw of another kind than DNG, which LibRaw decodes as a Sony's; `balance` multiplies R, G, G, B."""
    levels = numbers_tag(8, *balance)  # WB_RGGBLevels
    root = {Code.Make: ascii_tag("SONY"), Code.Model: ascii_tag("ILCE-7M3")}
    with path.open("wb") as file:
        write_tree(file, Node(root, children={Code.SubIFDs: (mosaic_directory(mosaic, {0x7313: levels}),)}))
