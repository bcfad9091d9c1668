"""Which tiles are kept from training, and how often each of the others is drawn."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace

from rawdenoise.training.captures import CaptureSet
from rawdenoise.training.tiles import Tile, name_tile_file

# One capture of an ISO in so many is kept from training, to choose by and for the figures of the card; none
# where there are as few as the second number, unless no ISO has more.
CAPTURES_PER_HELD_OUT, FEW_CAPTURES = 8, 3
BRIGHTNESS_GROUPS = 4  # groups of tiles, by brightness, that have a say of their own


def draw_lots(captures: CaptureSet, seed: int) -> dict[str, str]:
    """Draw a lot for the file of each capture's tiles, the same whatever other captures there are."""
    whole = [f"{seed} {capture.digest}".encode() for capture in captures.captures]
    return {name_tile_file(number): hashlib.sha256(lot).hexdigest() for number, lot in enumerate(whole)}


def choose_held_out(isos: Mapping[str, int | None], lots: Mapping[str, str]) -> set[str]:
    """Choose whole captures to keep from training: who has seen half a scene knows the other half.

    Those of an ISO with the least lots: clean captures that come beside them change nothing, so models
    trained with them and without are judged by what neither has seen.
    """
    by_iso: dict[int | None, list[str]] = defaultdict(list)
    for file, iso in isos.items():
        by_iso[iso].append(file)
    enough = [files for files in by_iso.values() if len(files) > FEW_CAPTURES]
    if not enough and len(isos) > 1:
        enough = [list(isos)]
    aside: set[str] = set()
    for files in enough:
        count = max(1, len(files) // CAPTURES_PER_HELD_OUT)
        aside.update(sorted(files, key=lambda file: lots[file])[:count])
    return aside


def weigh_tiles(tiles: list[tuple[Tile, float]]) -> list[Tile]:
    """Weigh tiles so that ISOs and brightnesses that are rare are seen more often than they occur.

    A group of one ISO and one brightness (quarters of the range of the roots of levels, which is that of
    stabilised ones) is drawn as the root of its size: neither by its size alone, nor all alike, which would
    show one bright tile again and again.
    """
    roots = [math.sqrt(max(level, 0.0)) for _, level in tiles]
    lowest, span = min(roots), max(max(roots) - min(roots), 1e-9)
    groups = [
        (tile.noise, min(int(BRIGHTNESS_GROUPS * (root - lowest) / span), BRIGHTNESS_GROUPS - 1))
        for (tile, _), root in zip(tiles, roots, strict=True)
    ]
    sizes = Counter(groups)
    return [
        replace(tile, weight=1 / math.sqrt(sizes[group]))
        for (tile, _), group in zip(tiles, groups, strict=True)
    ]
