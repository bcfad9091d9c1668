"""The captures a camera's model is trained on: found, grouped, cut into tiles on disk, and cropped."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float32, Shaped
from numpy.random import Generator
from torch import Tensor

from rawdenoise import __version__
from rawdenoise.atomic import write_bytes
from rawdenoise.capture.packing import clipped, pack
from rawdenoise.capture.raw import Camera, Levels
from rawdenoise.errors import (
    FileError,
    NotFoundError,
    OutputError,
    RawDenoiseError,
    TrainingError,
    UnreadableError,
    guarded_file,
)
from rawdenoise.formats import raw_suffixes
from rawdenoise.formats.records import to_record
from rawdenoise.formats.sidd import is_note, is_reference
from rawdenoise.isolation.reader import read_isolated
from rawdenoise.isolation.untouched import read_untouched, taken_by
from rawdenoise.noise.artefacts import cleared, sample_sound
from rawdenoise.noise.defects import named_defects
from rawdenoise.noise.fit import estimate_with_interval, fit_noise
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.noise.samples import NoiseSamples
from rawdenoise.noise.stabilize import stabilize, stabilized_white
from rawdenoise.training.batches import Batch

if TYPE_CHECKING:
    from rawdenoise.formats.plain import PlainLayout

log = logging.getLogger(__name__)

TILE = 512  # mosaic pixels
TILE_FORMAT = 6  # goes up whenever the same captures give other tiles or another index
INDEX = "tiles.json"
STORE_LIMIT = 4 << 30  # bytes on disk; larger collections are sampled
_SITES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of R, G1, G2, B in an RGGB mosaic
# One capture of an ISO in so many is kept from training, to choose by and for the figures of the card; none
# where there are as few as the second number, unless no ISO has more.
HELD_OUT, FEW = 8, 3
LEVELS = 4  # groups of tiles, by brightness, that have a say of their own

FileReport = Callable[[Path, RawDenoiseError | None], None]


@dataclass(frozen=True, slots=True)
class Capture:
    """A capture to train on; `digest` is the SHA-256 of its file, `named` whether that names its camera."""

    path: Path
    digest: str
    iso: int | None
    layout: PlainLayout | None = None
    levels: Levels | None = None
    named: bool = True


@dataclass(frozen=True, slots=True)
class CaptureSet:
    """The captures of one camera in one mode."""

    camera: Camera
    captures: tuple[Capture, ...]

    @property
    def digest(self) -> str:
        """Identifies the set, whatever its files are called and wherever they lie."""
        return hashlib.sha256("".join(sorted(c.digest for c in self.captures)).encode()).hexdigest()

    @property
    def iso_range(self) -> tuple[int, int] | None:
        """Lowest and highest ISO, None where no file says."""
        isos = [capture.iso for capture in self.captures if capture.iso is not None]
        return (min(isos), max(isos)) if isos else None


def scan(
    paths: Iterable[Path],
    *,
    camera_name: str | None = None,
    layout: PlainLayout | None = None,
    on_file: FileReport = lambda path, error: None,
) -> list[CaptureSet]:
    """Read every capture once and group them by make, model and mode, the largest group first.

    Folders are searched for raw files, and for plain mosaics where a `layout` is given. With `camera_name`
    the captures of other cameras are left out, and those whose files name no camera are taken to be of this
    one. Files that cannot be used are told to `on_file` and left out; so are copies of a file already seen,
    and files this program made.
    """
    groups: dict[tuple[str, str, str], list[tuple[Camera, Capture]]] = defaultdict(list)
    seen: set[str] = set()
    for path in _files(paths, layout, on_file):
        try:
            camera, capture = _look_at(path, camera_name, layout)
            if capture.digest in seen:
                raise FileError(path, "is a copy of another capture here")
            seen.add(capture.digest)
        except RawDenoiseError as error:
            on_file(path, error)
            continue
        groups[camera.make, camera.model, camera.mode].append((camera, capture))
        on_file(path, None)
    sets = [_grouped(members) for members in groups.values()]
    return sorted(sets, key=lambda group: (-len(group.captures), group.camera.name))


def _files(paths: Iterable[Path], layout: PlainLayout | None, on_file: FileReport) -> Iterator[Path]:
    suffixes = raw_suffixes(layout)
    for path in paths:
        if path.is_dir():
            found = (inner for inner in path.rglob("*") if inner.suffix.lower() in suffixes)
            found = (inner for inner in found if not (is_reference(inner) or is_note(inner)))
            yield from sorted(inner for inner in found if inner.is_file() and not _hidden(inner, path))
        elif path.exists():
            yield path
        else:
            on_file(path, NotFoundError(path, "there is no such file or folder"))


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _look_at(path: Path, camera_name: str | None, layout: PlainLayout | None) -> tuple[Camera, Capture]:
    raw = read_untouched(path, layout)
    named = bool(raw.camera.make or raw.camera.model)
    camera = raw.camera if camera_name is None else taken_by(raw, camera_name).camera
    return camera, Capture(path, _digest(path), raw.exposure.iso, layout, raw.levels, named)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableError(path, f"cannot be read ({error.strerror or error})") from error


def _grouped(members: list[tuple[Camera, Capture]]) -> CaptureSet:
    cameras = {camera for camera, _ in members}
    one_body = len({camera.serial for camera in cameras}) == 1
    camera = members[0][0] if one_body else replace(members[0][0], serial="")
    return CaptureSet(camera, tuple(sorted((c for _, c in members), key=lambda capture: capture.digest)))


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

    def whole(self, tile: Tile) -> tuple[Float32[np.ndarray, "4 h w"], Bool[np.ndarray, "4 h w"]]:
        """Read all of a tile: its packed planes, and which of their pixels are valid."""
        mosaic = np.load(self.folder / tile.file, mmap_mode="r")[tile.index]
        mask = np.load(_mask_file(self.folder / tile.file), mmap_mode="r")[tile.index]
        return pack_rggb(mosaic).astype(np.float32), pack_rggb(mask)

    def _crop(
        self, rng: Generator, tile: Tile, size: int
    ) -> tuple[Float32[Tensor, "4 h w"], Bool[Tensor, "4 h w"], Float32[Tensor, "4"]]:
        mosaics = np.load(self.folder / tile.file, mmap_mode="r")
        masks = np.load(_mask_file(self.folder / tile.file), mmap_mode="r")
        planes, valid = crop_rggb((mosaics[tile.index], masks[tile.index]), rng, size)
        planes = planes.astype(np.float32)
        noise = self.noise[tile.noise].noise
        return stabilize(torch.from_numpy(planes), noise), torch.from_numpy(valid), stabilized_white(noise)


def draw_tiles(tiles: Sequence[Tile], rng: Generator, count: int) -> list[Tile]:
    """Draw tiles, each as often as its weight says."""
    heights = np.cumsum([tile.weight for tile in tiles])
    places = np.searchsorted(heights, rng.uniform(0, heights[-1], count), side="right")
    return [tiles[min(int(at), len(tiles) - 1)] for at in places]


def crop_rggb(
    mosaics: Sequence[Shaped[np.ndarray, "h w"]], rng: Generator, size: int
) -> list[Shaped[np.ndarray, "4 {size} {size}"]]:
    """Cut the same crop of `size` packed pixels from mosaics of one size, turned or mirrored at random."""
    side = 2 * size + 2  # two more than needed: a mirrored mosaic is cut back to its phase
    top, left = (2 * int(rng.integers((length - side) // 2 + 1)) for length in mosaics[0].shape)
    window, way = (slice(top, top + side), slice(left, left + side)), int(rng.integers(8))
    return [pack_rggb(turned(mosaic[window], way)) for mosaic in mosaics]


def turned(mosaic: Shaped[np.ndarray, "h w"], way: int) -> Shaped[np.ndarray, "h2 w2"]:
    """Mirror or turn an even-sized RGGB mosaic in one of eight ways (0..7); it stays RGGB.

    The mosaic itself is transformed, then cut by two pixels along each axis, one on each side where red has
    left the first row or column: what is left is what a camera turned that way would have captured. Mirroring
    the planes would move red and blue against green.
    """
    if way & 4:
        mosaic = mosaic.T
    for axis, flip in enumerate((way & 2, way & 1)):
        length = mosaic.shape[axis]
        kept = range(length - 2, 0, -1) if flip else range(length - 2)
        mosaic = mosaic.take(kept, axis)
    return mosaic


def pack_rggb(mosaic: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "4 h2 w2"]:
    """Take the four planes of an RGGB mosaic."""
    return np.stack([mosaic[row::2, column::2] for row, column in _SITES])


def mosaic_rggb(planes: Shaped[np.ndarray, "4 h w"]) -> Shaped[np.ndarray, "h2 w2"]:
    """Put four planes back into an RGGB mosaic."""
    mosaic = np.empty((2 * planes.shape[1], 2 * planes.shape[2]), planes.dtype)
    for plane, (row, column) in zip(planes, _SITES, strict=True):
        mosaic[row::2, column::2] = plane
    return mosaic


def tiles_digest(captures: CaptureSet, profiles: ProfileStore | None = None) -> str:
    """Identifies the tiles of a set: its files, how they are read, what a profile knows of their noise.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    kinds = sorted({(c.iso, c.levels) for c in captures.captures if c.levels is not None}, key=repr)
    noise = [(kind, _profiled(profiles, captures.camera, *kind)) for kind in kinds]
    layouts = [capture.layout for capture in captures.captures]
    # All are frozen records of numbers and words, whose repr says all there is in them.
    whole = repr((__version__, TILE_FORMAT, captures.digest, layouts, noise))
    return hashlib.sha256(whole.encode()).hexdigest()


def _profiled(
    profiles: ProfileStore | None, camera: Camera, iso: int | None, levels: Levels
) -> NoiseModel | None:
    return None if profiles is None else profiles.noise_of(camera, iso, levels)


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
    `HELD_OUT` is kept from training. Tiles that are there already are taken as they are, if they are whole.

    Raises:
        TrainingError: no capture could be read, or `folder` cannot be written.
        ProfileError: the noise profile of this camera cannot be understood.
    """
    index = folder / INDEX  # written last
    if (opened := _opened(index)) is not None:
        return opened
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_tiles(folder)  # what an interruption or a power loss has left
    rng = np.random.default_rng(seed)
    share = max(1, limit // (3 * TILE**2 * len(captures.captures)))
    samples: dict[int | None, list[tuple[NoiseSamples, ...]]] = defaultdict(list)
    levels: dict[int | None, Levels] = {}
    cut: list[tuple[str, int | None, list[float]]] = []
    side = TILE
    for number, capture in enumerate(captures.captures):
        try:
            raw = read_isolated(capture.path, layout=capture.layout)
            with guarded_file(capture.path):
                planes, valid = pack(raw), ~clipped(raw)
                seen = sample_sound(planes, valid=valid)
                known = _profiled(profiles, captures.camera, capture.iso, raw.levels)
                sound = cleared(planes, known or fit_noise([seen]), valid=valid, known=named_defects(raw))
        except FileError as error:  # gone or changed since the scan
            on_file(capture.path, error)
            continue
        levels[capture.iso] = raw.levels
        samples[capture.iso].append(seen)
        valid &= ~sound.defects
        file = folder / tile_file(number)
        with _writing(folder):
            seen_levels, fits = _cut(sound.planes, valid, file, share, rng)
        cut.append((file.name, capture.iso, seen_levels))
        side = min(side, fits)
        on_file(capture.path, None)
    if not cut:
        raise TrainingError(f"none of the captures of {captures.camera.name} can be read any more")

    calibrated = {iso: _profiled(profiles, captures.camera, iso, levels[iso]) for iso in samples}
    noise = tuple(_noise_by_iso(captures.camera, samples, calibrated))
    isos = [each.iso for each in noise]
    cut = [each for each in cut if each[1] in isos]
    tiles = _balanced(
        [
            (Tile(file, index, isos.index(iso)), level)
            for file, iso, levels_seen in cut
            for index, level in enumerate(levels_seen)
        ]
    )
    aside = _held_out({file: iso for file, iso, _ in cut}, _lots(captures, seed))
    order = [tiles[i] for i in rng.permutation(len(tiles))]
    store = TileStore(
        folder,
        tuple(tile for tile in order if tile.file not in aside),
        tuple(tile for tile in order if tile.file in aside),
        noise,
        side // 2 - 1,
    )
    with _writing(folder):
        sizes = {file.name: file.stat().st_size for file in folder.glob("*.npy")}
        write_bytes(index, json.dumps({**asdict(store), "folder": "", "sizes": sizes}).encode())
    return store


def _noise_by_iso(
    camera: Camera,
    samples: Mapping[int | None, Sequence[tuple[NoiseSamples, ...]]],
    calibrated: Mapping[int | None, NoiseModel | None],
) -> Iterator[IsoNoise]:
    """The noise at each ISO, calibrated or as its captures show it; an ISO whose captures do not is left out.

    Raises:
        TrainingError: none shows it: a model would learn texture for noise.
    """
    unknown = []
    for iso in sorted(samples, key=lambda iso: -1 if iso is None else iso):
        noise = calibrated[iso]
        if noise is None:
            estimate = estimate_with_interval(samples[iso])
            if estimate.failed and estimate.samples:  # of none it is said later what is wrong
                unknown.append("unstated ISO" if iso is None else f"ISO {iso}")
                continue
            noise = estimate.noise
        yield IsoNoise(iso, noise, len(samples[iso]))
    reason = f"the noise of the captures of {', '.join(unknown)} cannot be told from their texture"
    if len(unknown) == len(samples):
        remedy = "add plainer or larger ones, or measure it with `rawdenoise calibrate`"
        raise TrainingError(f"{camera.name}: {reason}: {remedy}")
    if unknown:
        log.warning("%s: %s: they are left out", camera.name, reason)


def tile_file(number: int) -> str:
    """Name the file of the tiles of a set's capture."""
    return f"{number:05}.npy"


def _lots(captures: CaptureSet, seed: int) -> dict[str, str]:
    """Draw a lot for the file of each capture's tiles, the same whatever other captures there are."""
    whole = [f"{seed} {capture.digest}".encode() for capture in captures.captures]
    return {tile_file(number): hashlib.sha256(each).hexdigest() for number, each in enumerate(whole)}


def _held_out(isos: Mapping[str, int | None], lots: Mapping[str, str]) -> set[str]:
    """Choose whole captures to keep from training: who has seen half a scene knows the other half.

    Those of an ISO with the least lots: clean captures that come beside them change nothing, so models
    trained with them and without are judged by what neither has seen.
    """
    by_iso: dict[int | None, list[str]] = defaultdict(list)
    for file, iso in isos.items():
        by_iso[iso].append(file)
    enough = [files for files in by_iso.values() if len(files) > FEW]
    if not enough and len(isos) > 1:
        enough = [list(isos)]
    aside: set[str] = set()
    for files in enough:
        count = max(1, len(files) // HELD_OUT)
        aside.update(sorted(files, key=lambda file: lots[file])[:count])
    return aside


def _balanced(tiles: list[tuple[Tile, float]]) -> list[Tile]:
    """Weigh tiles so that ISOs and brightnesses that are rare are seen more often than they occur.

    A group of one ISO and one brightness (quarters of the range of the roots of levels, which is that of
    stabilised ones) is drawn as the root of its size: neither by its size alone, nor all alike, which would
    show one bright tile again and again.
    """
    roots = [math.sqrt(max(level, 0.0)) for _, level in tiles]
    lowest, span = min(roots), max(max(roots) - min(roots), 1e-9)
    groups = [
        (tile.noise, min(int(LEVELS * (root - lowest) / span), LEVELS - 1))
        for (tile, _), root in zip(tiles, roots, strict=True)
    ]
    sizes = Counter(groups)
    return [
        replace(tile, weight=1 / math.sqrt(sizes[group]))
        for (tile, _), group in zip(tiles, groups, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Index:
    """The index of a folder of tiles: the store, and the sizes of its files by their names."""

    folder: str
    tiles: tuple[Tile, ...]
    held_out: tuple[Tile, ...]
    noise: tuple[IsoNoise, ...]
    largest_crop: int
    sizes: Mapping[str, int]


def _opened(index: Path) -> TileStore | None:
    """Open what an earlier run left; None where it left nothing, or not all of it is there."""
    try:
        left = to_record(json.loads(index.read_bytes()), _Index)
        if any((index.parent / name).stat().st_size != size for name, size in left.sizes.items()):
            return None
    except (OSError, ValueError, RecursionError):
        return None
    return TileStore(index.parent, left.tiles, left.held_out, left.noise, left.largest_crop)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Name the folder that cannot be written, and make room again where the disk is full.

    Raises:
        TrainingError: the file system refuses.
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
        raise TrainingError(f"{folder}: {reason}; choose another folder with --scratch") from error


def _remove_tiles(folder: Path) -> None:
    (folder / INDEX).unlink(missing_ok=True)
    for file in folder.glob("*.npy"):
        file.unlink()


def _cut(
    planes: Float32[np.ndarray, "4 h w"],
    valid: Bool[np.ndarray, "4 h w"],
    file: Path,
    share: int,
    rng: Generator,
) -> tuple[list[float], int]:
    """Write at most `share` tiles of a capture; returns their mean levels, and the shorter side of one."""
    mosaic, mask = mosaic_rggb(planes).astype(np.float16), mosaic_rggb(valid)
    corners = list(product(*(_starts(length) for length in mosaic.shape)))
    if len(corners) > share:
        corners = [corners[i] for i in sorted(rng.choice(len(corners), share, replace=False))]
    windows = [(slice(top, top + TILE), slice(left, left + TILE)) for top, left in corners]
    _save(file, np.stack([mosaic[window] for window in windows]))
    _save(_mask_file(file), np.stack([mask[window] for window in windows]))
    levels = [float(mosaic[window].mean(dtype=np.float64)) for window in windows]
    return levels, min(mosaic[windows[0]].shape)


def _save(file: Path, array: Shaped[np.ndarray, "n h w"]) -> None:
    """Write an array as `np.save` does, but through to the disk, and telling a full one by its number."""
    with file.open("wb") as output:
        np.lib.format.write_array_header_1_0(output, np.lib.format.header_data_from_array_1_0(array))
        output.write(array.data)
        output.flush()
        os.fsync(output.fileno())


def _starts(length: int) -> list[int]:
    """Where tiles start along an axis: side by side, the last one ending with the mosaic; all even."""
    if length <= TILE:
        return [0]
    return [*range(0, length - TILE, TILE), length - TILE]


def _mask_file(file: Path) -> Path:
    return file.with_suffix(".valid.npy")
