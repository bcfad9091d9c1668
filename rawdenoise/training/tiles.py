"""Captures as tiles on disk, from which crops are drawn."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Shaped
from numpy.random import Generator
from torch import Tensor

from rawdenoise.atomic import write_bytes
from rawdenoise.errors import OutputError, ScratchError
from rawdenoise.formats.json_records import make_record
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.stabilize import stabilize, stabilized_white
from rawdenoise.training.batches import Batch
from rawdenoise.training.crops import crop_rggb, mosaic_rggb, pack_rggb

TILE_SIDE = 512  # mosaic pixels
INDEX_FILE = "tiles.json"


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of one capture: the file of the capture's tiles, its place in it, its entry in the noise.

    `weight` is how often it is drawn, against others.
    """

    file: str
    index: int
    noise: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class TileStore:
    """Captures as tiles of their mosaics on disk, in RGGB phase, 0 black and 1 white.

    Only the crops that are drawn come into memory, so a collection may be of any size. `largest_crop` is what
    the smallest tile has room for, in packed pixels.
    """

    folder: Path
    tiles: tuple[Tile, ...]
    held_out: tuple[Tile, ...]
    noise: tuple[IsoNoise, ...]
    largest_crop: int

    def draw(self, rng: Generator, count: int, size: int, *, held_out: bool = False) -> Batch:
        """Draw random crops of `size` packed pixels, each turned or mirrored in one of eight ways.

        Where there are too few tiles for some to be held out, those trained on stand in for them.
        """
        tiles = (self.held_out or self.tiles) if held_out else self.tiles
        drawn = draw_tiles(tiles, rng, count)
        noisy, valid, white = zip(*(self._crop(rng, tile, size) for tile in drawn), strict=True)
        noise = tuple(self.noise[tile.noise].noise for tile in drawn)
        return Batch(torch.stack(noisy), torch.stack(valid), torch.stack(white), noise=noise)

    def read_whole(self, tile: Tile) -> tuple[Float32[np.ndarray, "4 h w"], Bool[np.ndarray, "4 h w"]]:
        """Read all of a tile: its packed planes, and which of their pixels are valid."""
        mosaic = np.load(self.folder / tile.file, mmap_mode="r")[tile.index]
        mask = np.load(_name_mask_file(self.folder / tile.file), mmap_mode="r")[tile.index]
        return pack_rggb(mosaic).astype(np.float32), pack_rggb(mask)

    def _crop(
        self, rng: Generator, tile: Tile, size: int
    ) -> tuple[Float32[Tensor, "4 h w"], Bool[Tensor, "4 h w"], Float32[Tensor, "4"]]:
        mosaics = np.load(self.folder / tile.file, mmap_mode="r")
        masks = np.load(_name_mask_file(self.folder / tile.file), mmap_mode="r")
        planes, valid = crop_rggb((mosaics[tile.index], masks[tile.index]), rng, size)
        planes = planes.astype(np.float32)
        noise = self.noise[tile.noise].noise
        return stabilize(torch.from_numpy(planes), noise), torch.from_numpy(valid), stabilized_white(noise)


def draw_tiles(tiles: Sequence[Tile], rng: Generator, count: int) -> list[Tile]:
    """Draw tiles, each as often as its weight says."""
    heights = np.cumsum([tile.weight for tile in tiles])
    places = np.searchsorted(heights, rng.uniform(0, heights[-1], count), side="right")
    return [tiles[min(int(at), len(tiles) - 1)] for at in places]


def name_tile_file(number: int) -> str:
    """Name the file of the tiles of a set's capture."""
    return f"{number:05}.npy"


def _name_mask_file(file: Path) -> Path:
    return file.with_suffix(".valid.npy")


@dataclass(frozen=True, slots=True)
class _Index:
    """The index of a folder of tiles: the store, and the sizes of its files by their names."""

    folder: str
    tiles: tuple[Tile, ...]
    held_out: tuple[Tile, ...]
    noise: tuple[IsoNoise, ...]
    largest_crop: int
    sizes: Mapping[str, int]


def open_store(folder: Path) -> TileStore | None:
    """Open what an earlier run left; None where it left nothing, or not all of it is there."""
    try:
        index = make_record(json.loads((folder / INDEX_FILE).read_bytes()), _Index)
        if any((folder / name).stat().st_size != size for name, size in index.sizes.items()):
            return None
    except (OSError, ValueError, RecursionError):
        return None
    return TileStore(folder, index.tiles, index.held_out, index.noise, index.largest_crop)


def save_index(store: TileStore) -> None:
    """Write what `open_store` reads, once all tiles are on the disk.

    Raises:
        ScratchError: the file system refuses.
    """
    with guard_writing(store.folder):
        sizes = {file.name: file.stat().st_size for file in store.folder.glob("*.npy")}
        fields = {**asdict(store), "folder": "", "sizes": sizes}
        write_bytes(store.folder / INDEX_FILE, json.dumps(fields).encode())


@contextmanager
def guard_writing(folder: Path) -> Iterator[None]:
    """Name the folder that cannot be written, and make room again where the disk is full.

    Raises:
        ScratchError: the file system refuses.
    """
    try:
        yield
    except (OSError, OutputError) as error:
        cause = error.__cause__ if isinstance(error, OutputError) else error
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            with suppress(OSError):
                _remove_tiles(folder)
                folder.rmdir()  # unless a checkpoint lies there
            reason = "no space left for tiles on its disk; they were removed"
        else:
            reason = f"cannot be written ({getattr(cause, 'strerror', None) or error})"
        raise ScratchError(f"{folder}: {reason}") from error


def make_room(folder: Path) -> None:
    """Make the folder of a store, without what an interruption or a power loss has left there.

    Raises:
        ScratchError: the file system refuses.
    """
    with guard_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_tiles(folder)


def _remove_tiles(folder: Path) -> None:
    (folder / INDEX_FILE).unlink(missing_ok=True)
    for file in folder.glob("*.npy"):
        file.unlink()


def write_tiles(
    planes: Float32[np.ndarray, "4 h w"],
    valid: Bool[np.ndarray, "4 h w"],
    file: Path,
    share: int,
    rng: Generator,
) -> tuple[list[float], int]:
    """Write at most `share` tiles of a capture; returns their mean levels, and the shorter side of one."""
    mosaic, mask = mosaic_rggb(planes).astype(np.float16), mosaic_rggb(valid)
    corners = list(product(*(_list_starts(length) for length in mosaic.shape)))
    if len(corners) > share:
        corners = [corners[i] for i in sorted(rng.choice(len(corners), share, replace=False))]
    windows = [(slice(top, top + TILE_SIDE), slice(left, left + TILE_SIDE)) for top, left in corners]
    _save(file, np.stack([mosaic[window] for window in windows]))
    _save(_name_mask_file(file), np.stack([mask[window] for window in windows]))
    levels = [float(mosaic[window].mean(dtype=np.float64)) for window in windows]
    return levels, min(mosaic[windows[0]].shape)


def _save(file: Path, array: Shaped[np.ndarray, "n h w"]) -> None:
    """Write an array as `np.save` does, but through to the disk, and telling a full one by its number."""
    with file.open("wb") as output:
        np.lib.format.write_array_header_1_0(output, np.lib.format.header_data_from_array_1_0(array))
        output.write(array.data)
        output.flush()
        os.fsync(output.fileno())


def _list_starts(length: int) -> list[int]:
    """Where tiles start along an axis: side by side, the last one ending with the mosaic; all even."""
    if length <= TILE_SIDE:
        return [0]
    return [*range(0, length - TILE_SIDE, TILE_SIDE), length - TILE_SIDE]
