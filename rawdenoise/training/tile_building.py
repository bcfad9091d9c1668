"""A camera's captures cut into tiles on disk, with their noise: what its model is trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from rawdenoise import __version__
from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.capture.raw import Levels
from rawdenoise.errors import FileError, TrainingError, guard_file
from rawdenoise.isolation.isolated_reader import read_isolated
from rawdenoise.noise.artefacts import remove_artefacts, sample_sound_pixels
from rawdenoise.noise.defects import find_named_defects
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.noise.samples import NoiseSamples
from rawdenoise.training.captures import Capture, CaptureSet, FileReport
from rawdenoise.training.pooled_noise import look_up_noise, pool_noise
from rawdenoise.training.tile_choice import choose_held_out, draw_lots, weigh_tiles
from rawdenoise.training.tiles import (
    TILE_SIDE,
    Tile,
    TileStore,
    guard_writing,
    make_room,
    name_tile_file,
    open_store,
    save_index,
    write_tiles,
)

TILE_FORMAT = 6  # goes up whenever the same captures give other tiles or another index
STORE_LIMIT = 4 << 30  # bytes on disk; larger collections are sampled


def digest_tiles(captures: CaptureSet, profiles: ProfileStore | None = None) -> str:
    """Identifies the tiles of a set: its files, how they are read, what a profile knows of their noise.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    kinds = sorted({(c.iso, c.levels) for c in captures.captures if c.levels is not None}, key=repr)
    noise = [(kind, look_up_noise(profiles, captures.camera, *kind)) for kind in kinds]
    layouts = [capture.layout for capture in captures.captures]
    # All are frozen records of numbers and words, whose repr says all there is in them.
    whole = repr((__version__, TILE_FORMAT, captures.digest, layouts, noise))
    return hashlib.sha256(whole.encode()).hexdigest()


def build_store(
    captures: CaptureSet,
    folder: Path,
    *,
    seed: int,
    profiles: ProfileStore | None = None,
    limit: int = STORE_LIMIT,
    on_file: FileReport = lambda path, error: None,
) -> TileStore:
    """Cut the captures into tiles under `folder` and measure their noise, pooled over captures of one ISO.

    Where a profile of the camera's knows the noise at an ISO, that is taken, as it will be to denoise.
    Hot and dead pixels are repaired, and take part in neither; row noise is taken off the tiles.
    A collection of more than `limit` bytes is sampled, as many tiles from each capture. One capture in
    `CAPTURES_PER_HELD_OUT` is kept from training. Tiles that are there already are taken as they are, if
    they are whole.

    Raises:
        TrainingError: no capture could be read, or `folder` cannot be written.
        ProfileError: the noise profile of this camera cannot be understood.
    """
    store = open_store(folder)
    if store is not None:
        return store
    make_room(folder)
    rng = np.random.default_rng(seed)

    # Each capture is read, repaired and cut, as many tiles from each.
    share = max(1, limit // (3 * TILE_SIDE**2 * len(captures.captures)))
    cuts = list(_cut_captures(captures, folder, share, rng, profiles, on_file))
    if not cuts:
        raise TrainingError(f"none of the captures of {captures.camera.name} can be read any more")

    largest_crop = min(TILE_SIDE, *(cut.side for cut in cuts)) // 2 - 1

    # Their noise is pooled by ISO; captures whose noise cannot be told from their texture are left out.
    noise = _pool(captures, cuts, profiles)
    isos = [at_iso.iso for at_iso in noise]
    cuts = [cut for cut in cuts if cut.iso in isos]

    # Tiles of rare ISOs and levels weigh more.
    tiles = weigh_tiles(
        [
            (Tile(cut.file, index, isos.index(cut.iso)), level)
            for cut in cuts
            for index, level in enumerate(cut.tile_levels)
        ]
    )

    # Whole captures are held out; the tiles of both kinds are shuffled.
    held_out = choose_held_out({cut.file: cut.iso for cut in cuts}, draw_lots(captures, seed))
    shuffled = [tiles[at] for at in rng.permutation(len(tiles))]
    store = TileStore(
        folder,
        tuple(tile for tile in shuffled if tile.file not in held_out),
        tuple(tile for tile in shuffled if tile.file in held_out),
        noise,
        largest_crop,
    )

    # The index comes last: tiles with an index are whole.
    save_index(store)
    return store


@dataclass(frozen=True, slots=True, eq=False)
class _CutCapture:
    """A capture as its tiles: their file, their mean levels, and the shorter `side` of one.

    `samples` is what tells its noise.
    """

    file: str
    iso: int | None
    levels: Levels
    samples: tuple[NoiseSamples, ...]
    tile_levels: tuple[float, ...]
    side: int


def _cut_captures(
    captures: CaptureSet,
    folder: Path,
    share: int,
    rng: Generator,
    profiles: ProfileStore | None,
    on_file: FileReport,
) -> Iterator[_CutCapture]:
    """Cut the captures that can still be read; the others are told to `on_file`."""
    for number, capture in enumerate(captures.captures):
        try:
            cut = _cut_capture(captures, capture, folder / name_tile_file(number), share, rng, profiles)
        except FileError as error:  # gone or changed since the scan
            on_file(capture.path, error)
            continue
        yield cut
        on_file(capture.path, None)


def _cut_capture(
    captures: CaptureSet,
    capture: Capture,
    file: Path,
    share: int,
    rng: Generator,
    profiles: ProfileStore | None,
) -> _CutCapture:
    """Read a capture, sample its noise, repair what is no scene, and write its tiles."""
    raw = read_isolated(capture.path, layout=capture.layout)
    with guard_file(capture.path):
        planes, valid = pack(raw), ~find_clipped(raw)
        samples = sample_sound_pixels(planes, valid=valid)
        known = look_up_noise(profiles, captures.camera, capture.iso, raw.levels)
        sound = remove_artefacts(
            planes, known or fit_noise([samples]), valid=valid, known=find_named_defects(raw)
        )
    with guard_writing(file.parent):
        tile_levels, side = write_tiles(sound.planes, valid & ~sound.defects, file, share, rng)
    return _CutCapture(file.name, capture.iso, raw.levels, samples, tuple(tile_levels), side)


def _pool(
    captures: CaptureSet, cuts: Sequence[_CutCapture], profiles: ProfileStore | None
) -> tuple[IsoNoise, ...]:
    """Pool the noise of the captures of each ISO, or take what a profile knows of it."""
    samples: dict[int | None, list[tuple[NoiseSamples, ...]]] = defaultdict(list)
    for cut in cuts:
        samples[cut.iso].append(cut.samples)
    levels = {cut.iso: cut.levels for cut in cuts}
    known = {iso: look_up_noise(profiles, captures.camera, iso, levels[iso]) for iso in samples}
    return tuple(pool_noise(captures.camera, samples, known))
