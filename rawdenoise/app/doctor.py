"""Whether all that the program needs is here, and works: a check for each thing, as it is looked at."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import rawpy
import torch

from rawdenoise import __version__
from rawdenoise.app.stores import Stores
from rawdenoise.capture.raw import Area, Camera, Cfa, Levels, Provenance, RawImage
from rawdenoise.errors import RawDenoiseError, SetupError
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng.writer import write_dng
from rawdenoise.models.store import ModelStore
from rawdenoise.nets import NETS, build_net

LITTLE_SPACE = 1 << 30  # bytes: less than this fills up within a shooting
EXTRAS = {"sidd": ("h5py", "scipy"), "onnx": ("onnx", "onnxruntime")}


@dataclass(frozen=True, slots=True)
class InstallationCheck:
    """One thing looked at; `ok` is None for what is only said, or missing but not needed."""

    name: str
    ok: bool | None
    detail: str


def check_installation(stores: Stores) -> Iterator[InstallationCheck]:
    """Look at everything; a check that breaks is a failed check, not the end of the rest."""
    yield InstallationCheck("rawdenoise", True, f"{__version__} in {Path(__file__).parents[1]}")
    python = f"{platform.python_version()} on {platform.platform()}"
    yield InstallationCheck("python", sys.version_info >= (3, 11), python)
    yield from _check_libraries()
    yield _check("LibRaw", _describe_libraw)
    yield _check("devices", _describe_devices)
    yield from _check_models(stores.models)
    yield from _check_extras()
    yield _check("write and read", _write_and_read)
    yield _check("network", _run_networks)


def _check(name: str, look: Callable[[], str]) -> InstallationCheck:
    try:
        return InstallationCheck(name, True, look())
    except Exception as error:
        reason = str(error) if isinstance(error, RawDenoiseError) else f"{type(error).__name__}: {error}"
        return InstallationCheck(name, False, reason)


def _check_libraries() -> Iterator[InstallationCheck]:
    """The dependencies as the installed package states them."""
    for requirement in requires("rawdenoise") or []:
        name = requirement.partition(";")[0].split(">")[0].split("=")[0].strip()
        if "extra ==" in requirement:
            continue
        try:
            yield InstallationCheck(name, True, version(name))
        except PackageNotFoundError:
            yield InstallationCheck(name, False, f"missing; pip install '{requirement}'")


def _describe_libraw() -> str:
    parts = [name for name, is_there in sorted((rawpy.flags or {}).items()) if is_there]
    known = ", ".join(parts) if rawpy.flags else "none known"
    return f"{'.'.join(map(str, rawpy.libraw_version))}; built with {known}"


def _describe_devices() -> str:
    devices = [f"cpu ({torch.get_num_threads()} threads, {os.cpu_count()} cores)"]
    devices += [f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    return ", ".join(devices)


def _check_models(store: ModelStore) -> Iterator[InstallationCheck]:
    """The store's folder, its models, and the space that is left there."""
    folder = next(place for place in (store.folder, *store.folder.absolute().parents) if place.exists())
    writable = os.access(folder, os.W_OK)
    refusal = "" if writable else f" ({folder} cannot be written to)"
    yield InstallationCheck("model store", writable, f"{store.folder}{refusal}")
    broken = [str(error) for error in store.broken()]
    whole = []
    for card in store.cards():
        try:
            whole.append(store.verify(card.id).id)
        except RawDenoiseError as error:
            broken.append(str(error))
    names = ", ".join(whole) or "none yet: `rawdenoise train FOLDER`"
    yield InstallationCheck("models", True if whole else None, names)
    for reason in broken:
        yield InstallationCheck("broken model", False, reason)
    free = shutil.disk_usage(folder).free
    yield InstallationCheck("disk", free >= LITTLE_SPACE or None, f"{free / 1e9:.1f} GB free at {folder}")


def _check_extras() -> Iterator[InstallationCheck]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        detail = f"needs {', '.join(missing)}: pip install 'rawdenoise[{extra}]'" if missing else "there"
        yield InstallationCheck(f"extra {extra}", None if missing else True, detail)


def _write_and_read() -> str:
    """Write a small DNG and read it back, bit for bit."""
    mosaic = np.random.default_rng(0).integers(256, 4096, (64, 96), dtype=np.uint16)
    image = RawImage(
        mosaic=mosaic,
        cfa=Cfa.GRBG,
        active=Area(0, 0, 64, 96),
        levels=Levels((256.0,) * 4, 4095.0),
        source=Path("self-test"),
        camera=Camera("rawdenoise", "self-test"),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "self-test.dng")
        write_dng(image, path, provenance=Provenance(__version__, "none", 0.0))
        back = read_raw(path)
        size = path.stat().st_size
    if back.cfa is not image.cfa or not np.array_equal(back.mosaic, mosaic):
        raise SetupError("a DNG does not read back as it was written")
    return f"a DNG of {size / 1e3:.0f} kB came back bit for bit"


def _run_networks() -> str:
    """Run every network once; untrained ones are the identity."""
    stabilized = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    for name in NETS:
        with torch.inference_mode():
            out = build_net(name).eval()(stabilized, torch.full((1, 4), 50.0))
        if out.shape != stabilized.shape or not torch.isfinite(out).all():
            raise SetupError(f"network {name} gives nonsense")
    return f"{', '.join(NETS)} ran"
