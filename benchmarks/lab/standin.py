"""A stand-in for SIDD: files of the published layout, of photographs taken by five simulated phones.

For trying what is run on SIDD where SIDD is not at hand. The phones have the dataset's codes and CFA orders
and published noise of other sensors; scenes and light are ours: figures compare with each other alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import h5py
import numpy as np
from jaxtyping import Float32
from numpy.random import Generator

from lab.data import PHONE, Scene, contact_sheet, linear_half, published_camera
from rawdenoise.capture.raw import Camera
from rawdenoise.evaluation.sidd_blocks import BENCHMARK, CLEAN, NOISY
from rawdenoise.evaluation.sidd_scenes import BENCHMARK_FOLDER
from rawdenoise.formats.sidd import CFA_PATTERN_TAG, SIDD_CFA, write_matlab
from rawdenoise.simulation.simulated_camera import SimulatedCamera, capture

TITLE = "stand-in: five simulated phones, not SIDD"
README = f"""{TITLE}

Files of the layout of the Smartphone Image Denoising Dataset (raw-RGB), made of
photographs by benchmarks/run.py sidd-standin.
No pixel and no noise of the dataset is in them: figures measured here are none of SIDD's.

"""
SIDE = 256  # of a block
COLUMNS, ROWS, HEIGHT, WIDTH = 4, 2, 160, 240  # of photographs in a frame, and of each photograph
ORDER = ("S6", "GP", "N6", "G4", "IP")
BRIGHTNESS: Mapping[str, float] = {"L": 0.2, "N": 0.5, "H": 1.0}
VALIDATION, TRAINING = range(2)  # streams of random numbers
SAMSUNG_TAG = "DNG_NoiseProfile_read_from_files (var = S*x+O, x in 0..1)", "SIDD_0001_S6_ISO100(SM-G925I)"
CFA_COLORS: Mapping[str, int] = {"R": 0, "G": 1, "B": 2}

Phones = Mapping[str, SimulatedCamera]


@dataclass(frozen=True, slots=True)
class Phone:
    """Which published figures a phone has: the entry, and which ISO of it stands for which of the phone."""

    entry: str
    isos: Mapping[int, int]
    fact: str


# The PMRID phone is an OPPO Reno 10x; the shares of row noise and tails that are published of none of these
# are those of the Sony A7S2 (lab/data.py).
PHONES: Mapping[str, Phone] = {
    "IP": Phone("IMX686", {100: 100}, "IMX686_PNNP at ISO 100"),
    "G4": Phone(PHONE, {400: 400, 800: 800}, "PMRID_OppoReno10x at ISO 400 and 800"),
    "N6": Phone(PHONE, {1600: 1600, 3200: 3200}, "PMRID_OppoReno10x at ISO 1600 and 3200"),
    "S6": Phone(PHONE, {100: 752, 800: 6120}, "gain by the NoiseProfile of an SM-G925I (4.79e-4 at ISO "
                "100, in proportion to ISO), read noise as PMRID_OppoReno10x has it at that gain"),
    "GP": Phone("IMX686", {6400: 6400}, "IMX686_PNNP at ISO 6400"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it is made: scenes of so many blocks, and scenes to train on of each phone and ISO."""

    scenes: int = 40
    blocks: int = 32
    frames: int = 6
    seed: int = 0


def write_standin(
    out: Path, table: Path, shown: Sequence[Path], trained_on: Sequence[Path], size: Size
) -> None:
    """Write all files of a stand-in into a folder; frames show other photographs than blocks do."""
    phones = {code: phone_camera(table, code) for code in ORDER}
    out.mkdir(parents=True, exist_ok=True)
    facts = "".join(f"{code} ({SIDD_CFA[code].value}): {PHONES[code].fact}\n" for code in ORDER)
    (out / "README.txt").write_text(README + facts)
    names = scene_names(size.scenes)
    (out / "scenes.txt").write_text("".join(f"{name}\n" for name in names))
    _write_blocks(out, names, phones, [linear_half(path) for path in shown], size)
    if trained_on:
        _write_frames(out, phones, trained_on, size)


# ---------------------------------------------------------------- phones and scenes


def phone_camera(table: Path, code: str) -> SimulatedCamera:
    """A simulated phone of this code, at its own ISOs; of any size, by `resize`."""
    phone = PHONES[code]
    camera = published_camera(table, phone.entry, tuple(phone.isos.values()), SIDE, SIDE)
    noise = {iso: camera.noise[like] for iso, like in phone.isos.items()}
    if code == "S6":
        entries, entry = SAMSUNG_TAG
        shot, _ = json.loads(table.read_text())[entries][entry]
        span = camera.white - camera.black
        noise = {iso: replace(sensor, gain=shot * iso / 100 * span) for iso, sensor in noise.items()}
    return replace(camera, camera=Camera("Simulated", f"{code} stand-in"), cfa=SIDD_CFA[code], noise=noise)


def scene_names(count: int, *, first: int = 1) -> list[str]:
    """Names of scenes of all phones by turns, and of their ISOs and brightnesses by turns."""
    names = []
    for index in range(count):
        code, turn = ORDER[index % len(ORDER)], index // len(ORDER)
        isos, brightness = list(PHONES[code].isos), list(BRIGHTNESS)
        iso, light = isos[turn % len(isos)], brightness[turn % len(brightness)]
        names.append(f"{first + index:04d}_{1 + turn % 10:03d}_{code}_{iso:05d}_00100_5500_{light}")
    return names


def _stated(name: str) -> tuple[str, int, np.float32]:
    """The code, the ISO and the exposure that a scene's name says."""
    _, _, code, iso, _, _, light = name.split("_")
    return code, int(iso), np.float32(BRIGHTNESS[light])


def _take(
    scene: Scene, camera: SimulatedCamera, iso: int, rng: Generator
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """A capture of a scene and its truth, both 0 black to 1 white, clipped there as SIDD's are."""
    raw, clean = capture(scene, camera.resize(scene.shape[1], scene.shape[0]), iso, rng)
    span = np.float32(camera.white - camera.black)
    noisy, truth = ((dn.astype(np.float32) - np.float32(camera.black)) / span for dn in (raw.mosaic, clean))
    return noisy.clip(0, 1), truth.clip(0, 1)


# ---------------------------------------------------------------- blocks


def _write_blocks(out: Path, names: Sequence[str], phones: Phones, scenes: list[Scene], size: Size) -> None:
    """Write the validation's and the benchmark's blocks, and the metadata that names their cameras."""
    shape = len(names), size.blocks, SIDE, SIDE
    noisy, clean, benchmark = (np.empty(shape, np.float32) for _ in range(3))
    for index, name in enumerate(names):
        code, iso, exposure = _stated(name)
        rng = np.random.default_rng([size.seed, VALIDATION, index])
        for taken, truth in ((noisy, clean), (benchmark, None)):
            crops = np.concatenate(list(_crops(scenes, size.blocks, rng)))
            both = _take(exposure * crops, phones[code], iso, rng)
            taken[index] = both[0].reshape(size.blocks, SIDE, SIDE)
            if truth is not None:
                truth[index] = both[1].reshape(size.blocks, SIDE, SIDE)
        folder = out / BENCHMARK_FOLDER / name
        _write_metadata(folder / f"{name[:4]}_METADATA_RAW_010.MAT", phones[code], iso)
    for variable, blocks in ((NOISY, noisy), (CLEAN, clean), (BENCHMARK, benchmark)):
        write_matlab(out / f"{variable}.mat", {variable: blocks})


def _crops(scenes: Sequence[Scene], count: int, rng: Generator) -> Iterator[Float32[np.ndarray, "256 256 3"]]:
    """Pieces of photographs, each turned or mirrored in one of eight ways."""
    fitting = [scene for scene in scenes if min(scene.shape[:2]) >= SIDE]
    if not fitting:
        raise click.UsageError(f"no picture is twice {SIDE} pixels wide and high")
    for _ in range(count):
        scene = fitting[int(rng.integers(len(fitting)))]
        top, left = (int(rng.integers(length - SIDE + 1)) for length in scene.shape[:2])
        crop = np.rot90(scene[top : top + SIDE, left : left + SIDE], int(rng.integers(4)))
        yield crop[:, :: rng.choice((-1, 1))]


# ---------------------------------------------------------------- frames to train on


def _write_frames(out: Path, phones: Phones, pictures: Sequence[Path], size: Size) -> None:
    """Write frames as SIDD-Medium has them: noisy, clean and metadata, twice in a folder for each scene."""
    order = np.random.default_rng([size.seed, TRAINING]).permutation(len(pictures))
    names = scene_names(
        size.frames * max(len(phone.isos) for phone in PHONES.values()) * len(ORDER), first=1001
    )
    shown = COLUMNS * ROWS
    for index, name in enumerate(names):
        code, iso, exposure = _stated(name)
        rng = np.random.default_rng([size.seed, TRAINING, index])
        chosen = [pictures[order[(index * shown + place) % len(order)]] for place in range(shown)]
        scene = contact_sheet(chosen, COLUMNS, (HEIGHT, WIDTH))
        folder = out / "SIDD_Medium_Raw" / "Data" / name
        for number in ("010", "011"):  # two captures of each scene
            noisy, clean = _take(exposure * scene, phones[code], iso, rng)
            _write_metadata(folder / f"{name[:4]}_METADATA_RAW_{number}.MAT", phones[code], iso)
            for kind, mosaic in (("NOISY", noisy), ("GT", clean)):
                _write_frame(folder / f"{name[:4]}_{kind}_RAW_{number}.MAT", mosaic)


def _write_frame(path: Path, mosaic: Float32[np.ndarray, "h w"]) -> None:
    """Write a frame as MATLAB's save -v7.3 does: HDF5 behind a header of 512 bytes, its axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("x", data=mosaic.T, chunks=True, compression="gzip")
        data.attrs["MATLAB_class"] = np.bytes_("single")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, stand-in".ljust(116) + bytes(8) + b"\x00\x02IM")


def _write_metadata(path: Path, camera: SimulatedCamera, iso: int) -> None:
    """Write what a reader looks for in MATLAB's `imfinfo` of a DNG."""
    pattern = np.array([CFA_COLORS[letter] for letter in camera.cfa.value], np.uint8)
    kinds = [("ID", object), ("Type", object), ("Value", object)]
    metadata = {
        "Make": camera.camera.make, "Model": camera.camera.model, "ImageDescription": TITLE,
        "Orientation": 1.0, "ISOSpeedRatings": float(iso), "ExposureTime": 0.01,
        "AsShotNeutral": np.array(camera.neutral),
        "UnknownTags": np.array([(CFA_PATTERN_TAG, "BYTE", pattern)], kinds),
    }  # fmt: skip
    write_matlab(path, {"metadata": metadata})
