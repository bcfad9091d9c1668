"""Captures and results as napari's layer data, and back; all layers of a capture are in its own DN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped, UInt16

from rawdenoise.capture.raw import PLANES, RawImage
from rawdenoise.errors import LayoutError, RawDenoiseError

if TYPE_CHECKING:
    from rawdenoise.pipeline import Denoised  # which brings torch: opening a raw needs none

LayerData = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: the pixels, its attributes, its kind."""

KEY = "rawdenoise"
"""Under which a layer's metadata keeps its `LayerSource`."""
_PLACE = {"scale": (1.0, 1.0), "translate": (0.0, 0.0)}  # of a layer, where it says nothing else
GAMMA = 0.5  # light is linear, and eyes are not
BRIGHT_QUANTILE = 0.998
SAMPLING = 7  # odd, so that every colour is among the pixels that are looked at
RESIDUAL_QUANTILE = 0.995


@dataclass(frozen=True, slots=True, eq=False)
class LayerSource:
    """The captures that a layer shows, frame by frame, or those that its `results` were made of."""

    captures: tuple[RawImage, ...]
    results: tuple[Denoised, ...] = ()


NO_CAPTURE = LayerSource(())
"""Of layers that were made of a capture's, and show it no longer."""


@dataclass(frozen=True, slots=True)
class MosaicFacts:
    """What a plain array does not say of itself: its pattern and levels, and whose noise it has, if known."""

    cfa: str
    black: float
    white: float
    camera: str = ""
    iso: int | None = None


def show_captures(captures: Sequence[RawImage]) -> LayerData:
    """Show a capture, or several as a stack, as the mosaic it is.

    Raises:
        LayoutError: they are not of one size and pattern.
    """
    first = captures[0]
    for other in captures[1:]:
        if (other.mosaic.shape, other.cfa) != (first.mosaic.shape, first.cfa):
            pair = f"{_describe_mosaic(other)}, and {first.source.name} is {_describe_mosaic(first)}"
            raise LayoutError(other.source, f"{pair}: no stack can be made of them, open them one by one")
    frames = tuple(captures)
    mosaic = first.mosaic
    if len(frames) > 1:
        mosaic = np.stack([capture.mosaic for capture in frames])
        frames = tuple(replace(frame, mosaic=part) for frame, part in zip(frames, mosaic, strict=True))
    attributes = {
        "name": first.source.stem if len(frames) == 1 else f"{first.source.stem} and {len(frames) - 1} more",
        "contrast_limits": find_limits(first),
        "gamma": GAMMA,
        "metadata": {**_describe_captures(frames), KEY: LayerSource(frames)},
    }
    return mosaic, attributes, "image"


def find_limits(capture: RawImage) -> tuple[float, float]:
    """Find between which DN a mosaic is shown: black, and what few pixels are brighter than."""
    black = min(capture.levels.black)
    lit = capture.mosaic[capture.active.slices][::SAMPLING, ::SAMPLING]
    bright = float(np.quantile(lit, BRIGHT_QUANTILE))
    return black, max(bright, black + 1)


def captures_of(
    pixels: Shaped[np.ndarray, "..."], metadata: Mapping[str, Any]
) -> tuple[RawImage, ...] | None:
    """Give the captures that a layer shows, with the pixels that it has now; None where it says of none."""
    source = metadata.get(KEY)
    if not isinstance(source, LayerSource) or source.results:
        return None
    frames = _split_frames(pixels)
    shapes = [capture.mosaic.shape for capture in source.captures]
    if pixels.dtype != np.uint16 or [frame.shape for frame in frames] != shapes:
        return None
    return tuple(
        capture if frame is capture.mosaic else replace(capture, mosaic=frame)
        for capture, frame in zip(source.captures, frames, strict=True)
    )


def captures_from_array(
    pixels: Shaped[np.ndarray, "..."], facts: MosaicFacts, name: str
) -> tuple[RawImage, ...]:
    """Make captures of a plain array, (height, width) or a stack of such, in whole DN.

    Raises:
        RawDenoiseError: it is no mosaic, or its levels make no sense.
    """
    if not _has_whole_dn(pixels) or pixels.ndim not in (2, 3):
        shape = " x ".join(map(str, pixels.shape))
        raise RawDenoiseError(
            f"{name} is no mosaic ({shape}, {pixels.dtype}): it has to be of whole numbers from 0 to 65535, "
            "height x width or a stack of such"
        )
    try:
        return tuple(
            RawImage.from_mosaic(
                frame.astype(np.uint16, copy=False), cfa=facts.cfa, black=facts.black, white=facts.white,
                camera=facts.camera, iso=facts.iso,
            )
            for frame in _split_frames(pixels)
        )  # fmt: skip
    except ValueError as error:
        raise RawDenoiseError(f"{name}: {error}") from error


def show_results(
    name: str, captures: Sequence[RawImage], results: Sequence[Denoised], look: Mapping[str, Any]
) -> list[LayerData]:
    """Show what was taken away, hidden at first, and what is left, in the `look` of the capture's layer."""
    clean = _join([_to_dn(result, capture) for result, capture in zip(results, captures, strict=True)])
    residual = _join([capture.mosaic for capture in captures]).astype(np.float32) - clean
    away = max(float(np.quantile(np.abs(residual[..., ::SAMPLING, ::SAMPLING]), RESIDUAL_QUANTILE)), 1.0)
    facts = _describe_captures(captures)
    residual_attributes = {
        **{key: look[key] for key in _PLACE if key in look},
        "name": f"{name} residual",
        "contrast_limits": (-away, away),
        "visible": False,
        "metadata": {**facts, KEY: NO_CAPTURE},
    }
    told = [describe_result(result) for result in results]
    clean_attributes = {
        **look,
        "name": f"{name} denoised",
        "metadata": {**facts, "results": told, KEY: LayerSource(tuple(captures), tuple(results))},
    }
    return [(residual, residual_attributes, "image"), (clean, clean_attributes, "image")]


def show_planes(
    name: str, pixels: Shaped[np.ndarray, "..."], capture: RawImage, look: Mapping[str, Any]
) -> list[LayerData]:
    """Show each colour of a mosaic by itself, all lying where their pixels lie, in colours that add up.

    G2 is hidden, for its light would count twice. Colours are in the balance that the file states.
    """
    area, neutral = capture.active, capture.color.neutral
    lit = pixels[(..., *area.slices)]
    row, column = capture.cfa.shift(area.top, area.left).red
    sites = (row, column), (row, 1 - column), (1 - row, column), (1 - row, 1 - column)
    scale, translate = (np.asarray(look.get(key, default), float)[-2:] for key, default in _PLACE.items())
    low, high = look["contrast_limits"]
    layers: list[LayerData] = []
    for index, (plane, (down, across)) in enumerate(zip(PLANES, sites, strict=True)):
        black = capture.levels.black[index]
        balance = (neutral[0], neutral[1], neutral[1], neutral[2])[index]
        attributes = {
            "name": f"{name} {plane}",
            "colormap": ("red", "green", "green", "blue")[index],
            "blending": "additive" if layers else "opaque",  # the first hides what lies below
            "gamma": look.get("gamma", 1.0),
            "visible": plane != "G2",
            "contrast_limits": (low, black + max((high - black) * balance, 1.0)),
            "scale": tuple(2 * scale),
            "translate": tuple(translate + scale * (area.top + down, area.left + across)),
            "metadata": {"plane": plane, **_describe_captures([capture]), KEY: NO_CAPTURE},
        }
        layers.append((lit[..., down::2, across::2], attributes, "image"))
    return layers


def describe_capture(capture: RawImage) -> str:
    """Say in a line whose capture it is."""
    iso = "" if capture.exposure.iso is None else f", ISO {capture.exposure.iso}"
    black = min(capture.levels.black)
    return (
        f"{capture.camera.name}{iso}, {_describe_mosaic(capture)}, {black:g} to {capture.levels.white:g} DN"
    )


def describe_result(result: Denoised) -> dict[str, Any]:
    """Tell of a result what a user may want to look up: by what it was made, which noise, which gain."""
    quality, noise = result.quality, result.noise
    known = quality is not None and quality.told
    return {
        "model": result.provenance.model_id,
        "strength": result.provenance.strength,
        "gain_db": quality.gain_db if quality is not None and known else None,
        "gain_interval": quality.interval if quality is not None and known else None,
        "flags": [flag.words for flag in quality.flags] if quality is not None else [],
        "shot": noise.shot if noise else None,
        "read_variance": noise.read_variance if noise else None,
        "left": result.left,
        "notes": list(result.notes),
    }


def restore_mosaic(
    frame: Shaped[np.ndarray, "h w"], like: RawImage, capture: RawImage
) -> UInt16[np.ndarray, "h w"]:
    """Give a layer's pixels, in DN of its capture, in the levels of a result again."""
    whole = np.rint(np.asarray(frame, np.float32) * np.float32(_find_scale(like, capture)))
    return np.clip(whole, 0, 65535).astype(np.uint16)


def _to_dn(result: Denoised, capture: RawImage) -> Shaped[np.ndarray, "h w"]:
    """Give a result in the DN of its capture; exactly, for finer levels are finer by a power of two."""
    scale = _find_scale(result.image, capture)
    return result.image.mosaic if scale == 1 else result.image.mosaic / np.float32(scale)


def _find_scale(image: RawImage, capture: RawImage) -> float:
    return image.levels.white / capture.levels.white


def _has_whole_dn(pixels: Shaped[np.ndarray, "..."]) -> bool:
    """Whether pixels are whole numbers that fit into 16 bits."""
    if not np.issubdtype(pixels.dtype, np.integer):
        return False
    return int(pixels.min(initial=0)) >= 0 and int(pixels.max(initial=0)) < 65536


def _join(frames: Sequence[Shaped[np.ndarray, "h w"]]) -> Shaped[np.ndarray, "..."]:
    return frames[0] if len(frames) == 1 else np.stack(frames)


def _split_frames(pixels: Shaped[np.ndarray, "..."]) -> list[Shaped[np.ndarray, "h w"]]:
    return [pixels] if pixels.ndim == 2 else list(pixels)


def _describe_mosaic(capture: RawImage) -> str:
    height, width = capture.mosaic.shape
    return f"{width} x {height} {capture.cfa}"


def _describe_captures(captures: Sequence[RawImage]) -> dict[str, Any]:
    """What a person may look up in a layer's metadata; of a stack that is a list with an entry a frame."""
    facts = [_describe_one(capture) for capture in captures]
    return facts[0] if len(facts) == 1 else {key: [fact[key] for fact in facts] for key in facts[0]}


def _describe_one(capture: RawImage) -> dict[str, Any]:
    area, exposure = capture.active, capture.exposure
    return {
        "source": str(capture.source),
        "camera": capture.camera.name,
        "iso": exposure.iso,
        "exposure_s": exposure.exposure_s,
        "f_number": exposure.f_number,
        "taken_at": exposure.taken_at,
        "cfa": str(capture.cfa),
        "black": capture.levels.black,
        "white": capture.levels.white,
        "active": {"top": area.top, "left": area.left, "bottom": area.bottom, "right": area.right},
        "notes": list(capture.notes),
    }
