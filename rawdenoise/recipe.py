"""How captures are denoised: what was asked for, and the digest by which outputs say it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rawdenoise.formats.output_format import Format
from rawdenoise.formats.output_levels import OutputLevels

if TYPE_CHECKING:
    from rawdenoise.formats.headerless import PlainLayout

METHOD_VERSION = 3
"""To be raised with every change by which the same recipe and model give other pixels."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What changes the result of a capture; where it goes, and on which device, is not among it.

    `method` names a denoiser of another package, None for our networks. `model` is the id of the model for
    all captures, None for each camera's own, or else the `bundled` one ("fast" or "best"). `strength` 0 is
    the input and 1 the full answer; `chroma_strength` is that of colour, None for the same. `format` is the
    name of a writer. `levels` says in which scale it is written: a low-bit sensor's own loses much of the
    result to rounding. `keep_hot_pixels` and `keep_row_noise` put hot and dead pixels, and row noise, back on
    the result. Results with an estimated gain below `min_gain` dB are not written. `estimate` has it said how
    much better the picture became, for about a tenth more time; without it, a picture that would lose is not
    left as it was.
    """

    method: str | None = field(default=None, kw_only=True)
    model: str | None = None
    bundled: str = "fast"
    strength: float = 1.0
    format: str = Format.DNG
    levels: OutputLevels = OutputLevels.AUTO
    keep_hot_pixels: bool = False
    keep_row_noise: bool = False
    min_gain: float | None = None
    estimate: bool = True
    chroma_strength: float | None = field(default=None, kw_only=True)

    @property
    def takes_nothing(self) -> bool:
        """Whether every pixel stays as it is, so that no model is needed."""
        return self.largest_strength == 0

    @property
    def largest_strength(self) -> float:
        """The strength for luminance or that for colour, whichever is more."""
        return max(self.strength, self.chroma_strength or 0.0)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits: others whenever a result may be, by the recipe or by our method."""
        return self.digest_for(None)

    def digest_for(self, layout: PlainLayout | None) -> str:
        """Give the digest for a plain mosaic that was read by `layout`, which changes its pixels too."""
        settings = asdict(self)
        if self.method is None:
            del settings["method"]  # which earlier versions did not have
        if self.chroma_strength is None:
            del settings["chroma_strength"]
        settings["base"] = settings.pop("bundled")  # as outputs of earlier versions have it
        facts: list[object] = [METHOD_VERSION, settings]
        if layout is not None:
            facts.append(asdict(layout))
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
