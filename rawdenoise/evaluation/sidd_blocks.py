"""SIDD's files of blocks: the validation's noisy and clean ones, the benchmark's, and what is handed in."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rawdenoise.atomic import atomic_output, check_output
from rawdenoise.errors import NotAnImageError, NotFoundError, OutputError, SetupError
from rawdenoise.formats.sidd import write_matlab
from rawdenoise.isolation.isolated_reader import shared_reader

NOISY, CLEAN, BENCHMARK = "ValidationNoisyBlocksRaw", "ValidationGtBlocksRaw", "BenchmarkNoisyBlocksRaw"
FULL_SET = (40, 32, 256, 256)
MINIMUM_SIDE = 32  # pixels
ABOUT_FIELDS = ("MethodName", "Authors", "PaperTitle", "Venue", "MachineSpecs")
STAND_IN_PREFIX = (
    "stand-in"  # how the first line begins of the README.txt of a folder that only looks like SIDD
)

Blocks = Float32[np.ndarray, "scenes blocks h w"]


def read_validation(folder: Path) -> tuple[Blocks, Blocks]:
    """Read the noisy and the clean blocks of a folder, or of folders inside it.

    Raises:
        NotFoundError: one of the files is missing. Others as `read_blocks`.
    """
    noisy, clean = (read_blocks(find_file(folder, name)) for name in (NOISY, CLEAN))
    if noisy.shape != clean.shape:
        reason = f"holds {clean.shape}, but {NOISY}.mat {noisy.shape}: not of one set"
        raise NotAnImageError(find_file(folder, CLEAN), reason)
    return noisy, clean


def read_blocks(path: Path) -> Blocks:
    """Read one file of raw blocks, 0 to 1.

    Raises:
        UnreadableError: empty, truncated, or not ours to read.
        NotAnImageError: not SIDD's, of another shape, or with values that are no signal.
        SetupError: scipy or h5py is not installed.
    """
    blocks: Blocks = shared_reader().call("read_sidd_blocks", path)
    height, width = blocks.shape[2:]
    if not blocks.size or height % 2 or width % 2 or min(height, width) < MINIMUM_SIDE:
        raise NotAnImageError(path, f"holds {blocks.shape}, not scenes of raw blocks of even size")
    lowest, highest = float(blocks.min()), float(blocks.max())
    if not (lowest >= -0.001 and highest <= 1.001):  # also true of NaN
        raise NotAnImageError(path, f"holds values from {lowest:g} to {highest:g}, not raw blocks of 0..1")
    return blocks


def find_file(folder: Path, name: str) -> Path:
    """The file of a variable, the least deep one there is.

    Raises:
        NotFoundError: there is none.
    """
    paths = sorted(folder.rglob(f"{name}.mat"), key=lambda path: (len(path.parts), path))
    if not paths:
        raise NotFoundError(folder / f"{name}.mat", "there is no such file, nor one in a folder beside it")
    return paths[0]


def describe_blocks(folder: Path) -> str:
    """What the blocks of a folder are: SIDD's, or what a stand-in calls itself."""
    file = find_file(folder, NOISY)
    for place in (parent for parent in file.parents if parent.is_relative_to(folder)):
        readme = place / "README.txt"
        text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
        if text.lower().startswith(STAND_IN_PREFIX):
            return text.split("\n", 1)[0].strip()
    return "SIDD validation, raw-RGB"


def check_submission(output: Path) -> None:
    """Refuse what could not be written, before the work that would be lost.

    Raises:
        OutputError: the name ends with neither .mat nor .csv, or the file system refuses.
        SetupError: scipy is not installed.
    """
    if output.suffix.lower() not in (".mat", ".csv"):
        raise OutputError(output, "is neither a .mat nor a .csv file")
    check_output(output)
    if output.suffix.lower() == ".mat" and find_spec("scipy") is None:
        raise SetupError('a submission as .mat needs scipy: pip install "rawdenoise[sidd]"')


def write_submission(
    output: Path, denoised: Blocks, *, seconds_per_megapixel: float, about: Mapping[str, str]
) -> None:
    """Write denoised benchmark blocks as they are handed in: SubmitRaw.mat, or SubmitRaw.csv for Kaggle.

    Raises:
        OutputError: the file system refuses; nothing is left behind.
    """
    if output.suffix.lower() == ".csv":
        _write_csv(output, denoised)
        return
    variables = {
        "DenoisedBlocksRaw": denoised,
        "TimeMPRaw": seconds_per_megapixel,
        "OptionalData": {field: about.get(field, "") for field in ABOUT_FIELDS},
    }
    write_matlab(output, variables)


def _write_csv(output: Path, denoised: Blocks) -> None:
    """A line for each block, its little-endian float32 bytes as base64."""
    count = denoised.shape[0] * denoised.shape[1]
    with atomic_output(output) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        file.write("ID,BLOCK\n")
        for index, block in enumerate(denoised.reshape(count, -1)):
            file.write(f"{index},{base64.b64encode(block.astype('<f4').tobytes()).decode()}\n")
