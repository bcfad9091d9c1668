"""A model as one file, to be given away: its card and its weights, not compressed."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from rawdenoise.atomic import atomic_output
from rawdenoise.errors import ModelFileError
from rawdenoise.models.card import (
    CARD,
    LARGEST_PART,
    WEIGHTS,
    encode_card,
    guard_model,
    name_after_weights,
    parse_card,
)
from rawdenoise.models.model import Model, encode_weights, parse_weights

SUFFIX = ".rawdenoise"


def export_halved(model: Model, output: Path) -> Path:
    """Write a model as one file with float16 weights: half the size, under another id and digest."""
    weights = encode_weights(model.net, torch.float16)
    card = name_after_weights(model.card, hashlib.sha256(weights).hexdigest())
    write_archive(output, {CARD: encode_card(card), WEIGHTS: weights})
    return output


def read_model(path: Path) -> Model:
    """Load a model from a file that `export` or `export_halved` made, checked whole.

    Raises:
        ModelFileError: it is not such a file, or is altered.
    """
    with guard_model(path):
        parts = read_archive(path)
        card = parse_card(parts[CARD], path)
        return Model(card, parse_weights(parts[WEIGHTS], card, path))


def write_archive(output: Path, parts: Mapping[str, bytes]) -> None:
    """Write the parts of a model as one file, the same bytes for the same model."""
    with (
        atomic_output(output) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # a fixed date: the same model gives the same file


def read_archive(path: Path) -> dict[str, bytes]:
    """Give the parts of a file that `write_archive` wrote.

    Raises:
        ModelFileError: it is no such file, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sorted(entry.filename for entry in entries) != sorted(LARGEST_PART):
                raise ModelFileError(
                    f"{path}: not a {SUFFIX} file: it must hold {CARD} and {WEIGHTS}, nothing else"
                )
            for entry in entries:
                # Stored only: what is not compressed cannot blow up.
                if (
                    entry.compress_type != zipfile.ZIP_STORED
                    or entry.file_size > LARGEST_PART[entry.filename]
                ):
                    raise ModelFileError(f"{path}: {entry.filename} is compressed or too large to be ours")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged, or not a model file"
        raise ModelFileError(f"{path}: {reason}") from error
