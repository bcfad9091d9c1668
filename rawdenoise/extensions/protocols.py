"""What an extension has to be, group by group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    from rawdenoise.capture.raw import Provenance, RawImage
    from rawdenoise.noise.model import NoiseModel


@runtime_checkable
class Denoiser(Protocol):
    """Takes the noise out of packed planes: R, G1, G2, B at half size, 0 is black and 1 white.

    An entry of `rawdenoise.denoisers` is called without arguments and gives one. It sees a piece of a capture
    at a time, from one thread. An output pixel may depend on inputs up to `halo` packed pixels away, and the
    sides of a piece are multiples of `multiple`. Reading, tiling, judging and writing are rawdenoise's.
    """

    halo: int
    multiple: int

    def __call__(
        self, planes: Float32[np.ndarray, "4 h w"], noise: NoiseModel
    ) -> Float32[np.ndarray, "4 h w"]:
        """Give the planes without this noise: variance = shot * signal + read_variance, plane by plane."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Reads captures whose names end in one of `suffixes` (lower case, with the dot).

    An entry of `rawdenoise.readers` is one. It is called in a process that may be ended at any time, and
    raises `rawdenoise.RawDenoiseError` of what it does not read.
    """

    suffixes: frozenset[str]

    def __call__(self, path: Path) -> RawImage:
        """Read a capture: the whole mosaic in DN, its levels and what its file says of it."""
        ...


@runtime_checkable
class Writer(Protocol):
    """Writes results as files whose names end in `suffix`.

    An entry of `rawdenoise.writers` is one; its name is the format's. Outputs appear whole or not at all: see
    `rawdenoise.atomic.atomic_output`.
    """

    suffix: str

    def __call__(self, image: RawImage, output: Path, *, provenance: Provenance, replace: bool) -> object:
        """Write a result, over what is there only where `replace` is true."""
        ...
