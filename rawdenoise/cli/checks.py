"""What `rawdenoise doctor` looks at."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import rawpy
import torch
from click import style

from rawdenoise import __version__
from rawdenoise.app.stores import user_stores
from rawdenoise.capture.raw import Area, Camera, Cfa, Levels, Provenance, RawImage
from rawdenoise.cli.text import one_line
from rawdenoise.errors import RawDenoiseError, SetupError
from rawdenoise.formats import read_raw
from rawdenoise.formats.dng import write_dng
from rawdenoise.nets import NETS, build_net

LITTLE_SPACE = 1 << 30  # bytes: less than this fills up within a shooting
EXTRAS = {"sidd": ("h5py", "scipy")}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `ok` is None for what is only said, or missing but not needed."""

    name: str
    ok: bool | None
    detail: str


def show(*, as_json: bool) -> int:
    """Print all checks; returns the exit code."""
    checks = list(all_checks())
    broken = any(check.ok is False for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": not broken, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            click.echo(f"{_MARKS[check.ok]} {check.name + ':':<15} {one_line(check.detail)}")
    return SetupError.exit_code if broken else 0


_MARKS = {
    True: style("ok  ", fg="green"),
    False: style("FAIL", fg="red", bold=True),
    None: style("--  ", dim=True),
}


def all_checks() -> Iterator[Check]:
    """Look at everything; a check that breaks is a failed check, not the end of the rest."""
    yield Check("rawdenoise", True, f"{__version__} in {Path(__file__).parents[1]}")
    yield Check(
        "python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}"
    )
    yield from _libraries()
    yield _guarded("LibRaw", _libraw)
    yield _guarded("devices", _devices)
    yield from _store()
    yield from _extras()
    yield _guarded("write and read", _round_trip)
    yield _guarded("network", _forward)


def _guarded(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except Exception as error:
        said = str(error) if isinstance(error, RawDenoiseError) else f"{type(error).__name__}: {error}"
        return Check(name, False, said)


def _libraries() -> Iterator[Check]:
    """The dependencies as the installed package states them."""
    for requirement in requires("rawdenoise") or []:
        name = requirement.partition(";")[0].split(">")[0].split("=")[0].strip()
        if "extra ==" in requirement:
            continue
        try:
            yield Check(name, True, version(name))
        except PackageNotFoundError:
            yield Check(name, False, f"missing; pip install '{requirement}'")


def _libraw() -> str:
    flags = (
        ", ".join(name for name, there in sorted(rawpy.flags.items()) if there)
        if rawpy.flags
        else "none known"
    )
    return f"{'.'.join(map(str, rawpy.libraw_version))}; built with {flags}"


def _devices() -> str:
    found = [f"cpu ({torch.get_num_threads()} threads, {os.cpu_count()} cores)"]
    found += [f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    return ", ".join(found)


def _store() -> Iterator[Check]:
    store = user_stores().models
    there = next(folder for folder in (store.folder, *store.folder.absolute().parents) if folder.exists())
    writable = os.access(there, os.W_OK)
    yield Check(
        "model store", writable, f"{store.folder}" + ("" if writable else f" ({there} cannot be written to)")
    )
    broken = [str(error) for error in store.broken()]
    whole = []
    for card in store.cards():
        try:
            whole.append(store.verify(card.id).id)
        except RawDenoiseError as error:
            broken.append(str(error))
    yield Check("models", True if whole else None, ", ".join(whole) or "none yet: `rawdenoise train FOLDER`")
    for line in broken:
        yield Check("broken model", False, line)
    free = shutil.disk_usage(there).free
    yield Check("disk", free >= LITTLE_SPACE or None, f"{free / 1e9:.1f} GB free at {there}")


def _extras() -> Iterator[Check]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        detail = f"needs {', '.join(missing)}: pip install 'rawdenoise[{extra}]'" if missing else "there"
        yield Check(f"extra {extra}", None if missing else True, detail)


def _round_trip() -> str:
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


def _forward() -> str:
    """Run every network once; untrained ones are the identity."""
    stabilized = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    for name in NETS:
        with torch.inference_mode():
            out = build_net(name).eval()(stabilized, torch.full((1, 4), 50.0))
        if out.shape != stabilized.shape or not torch.isfinite(out).all():
            raise SetupError(f"network {name} gives nonsense")
    return f"{', '.join(NETS)} ran"
