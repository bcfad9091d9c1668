"""How captures are denoised: what was asked for, and the digest by which outputs say it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rawdenoise.formats.plain import PlainLayout

METHOD = 2
"""To be raised with every change by which the same recipe and model give other pixels."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The options of `rawdenoise denoise` that change what is written; where that goes is not among them."""

    model: str | None = None
    base: str = "fast"
    strength: float = 1.0
    format: str = "dng"
    levels: str = "auto"
    keep_hot_pixels: bool = False
    keep_row_noise: bool = False
    min_gain: float | None = None
    estimate: bool = True  # without one a picture that would lose by it is not left as it was

    @property
    def digest(self) -> str:
        """16 hexadecimal digits: others whenever a result may be, by the recipe or by our method."""
        return self.digest_for(None)

    def digest_for(self, layout: PlainLayout | None) -> str:
        """Give the digest for a plain mosaic that was read by `layout`, which changes its pixels too."""
        told: list[object] = [METHOD, asdict(self)]
        if layout is not None:
            told.append(asdict(layout))
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
