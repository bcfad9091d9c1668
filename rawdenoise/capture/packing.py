"""Mosaic to four planes and back, exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from rawdenoise.capture.black_levels import black_offsets
from rawdenoise.capture.raw import Cfa, RawImage
from rawdenoise.capture.saturation import saturation_level as saturation_level

_SITES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of R, G1, G2, B in an RGGB mosaic


def pack(raw: RawImage) -> Float32[np.ndarray, "4 h w"]:
    """Turn the active area of a mosaic into the planes R, G1, G2, B at half size.

    0 is black and 1 white; values below black stay negative. The mosaic is first mirrored to the RGGB phase,
    so that the planes lie to each other in the same way for every camera; an odd last row or column is
    completed by reflection, which keeps the colours in phase.
    """
    mosaic = _mirror_to_rggb(raw.mosaic[raw.active.slices], _active_cfa(raw))
    offsets = _mirror_offsets(raw)
    planes = np.empty((4, mosaic.shape[0] // 2, mosaic.shape[1] // 2), np.float32)
    for plane, (row, column), black in zip(planes, _SITES, raw.levels.black, strict=True):
        np.subtract(mosaic[row::2, column::2], np.float32(black), out=plane)
        if offsets is not None:
            plane -= offsets[row::2, column::2]
        plane /= np.float32(raw.levels.white - black)
    return planes


def unpack(
    planes: Float32[np.ndarray, "4 h w"],
    like: RawImage,
    *,
    saturation: float | None = None,
    keep: Bool[np.ndarray, "rows columns"] | None = None,
) -> RawImage:
    """Put planes back into the mosaic they were packed from: the exact inverse of `pack`.

    Values are rounded and clipped to uint16. Pixels outside the active area and saturated pixels keep the
    values they have in `like`: readers measure black in the former, and the latter hold no noise to remove.
    `saturation` is the DN from which pixels are saturated, by default what `like` shows. Pixels of the mosaic
    in `keep` keep their values, too.
    """
    active = like.mosaic[like.active.slices]
    cfa = _active_cfa(like)
    height, width = active.shape
    full = np.empty((height + height % 2, width + width % 2), np.uint16)
    mirrored = full[_mirror_index(cfa)]
    offsets = _mirror_offsets(like)
    for plane, (row, column), black in zip(planes, _SITES, like.levels.black, strict=True):
        signal = plane * np.float32(like.levels.white - black)
        signal += np.float32(black)
        if offsets is not None:
            signal += offsets[row::2, column::2]
        np.rint(signal, out=signal)
        np.clip(signal, 0, 65535, out=signal)
        mirrored[row::2, column::2] = signal
    new = active < (saturation_level(like) if saturation is None else saturation)
    if keep is not None:
        new &= ~keep[like.active.slices]
    mosaic = like.mosaic.copy()
    np.copyto(mosaic[like.active.slices], full[:height, :width], where=new)
    return replace(like, mosaic=mosaic)


def find_clipped(raw: RawImage) -> Bool[np.ndarray, "4 h w"]:
    """Tell which packed pixels are saturated, in the geometry of `pack`."""
    mosaic = _mirror_to_rggb(raw.mosaic[raw.active.slices] >= saturation_level(raw), _active_cfa(raw))
    return np.stack([mosaic[row::2, column::2] for row, column in _SITES])


def _active_cfa(raw: RawImage) -> Cfa:
    return raw.cfa.shift(raw.active.top, raw.active.left)


def _mirror_index(cfa: Cfa) -> tuple[slice, slice]:
    """Index that turns an even-sized mosaic of this phase into RGGB, and back."""
    row, column = cfa.red
    return slice(None, None, -1 if row else 1), slice(None, None, -1 if column else 1)


def _mirror_to_rggb(mosaic: Shaped[np.ndarray, "h w"], cfa: Cfa) -> Shaped[np.ndarray, "h2 w2"]:
    height, width = mosaic.shape
    if height % 2 or width % 2:
        mosaic = np.pad(mosaic, ((0, height % 2), (0, width % 2)), mode="reflect")
    return mosaic[_mirror_index(cfa)]


def _mirror_offsets(raw: RawImage) -> Float32[np.ndarray, "h w"] | None:
    offsets = black_offsets(raw)
    return None if offsets is None else _mirror_to_rggb(offsets, _active_cfa(raw))
