"""Layers that came from raws, as mosaic DNGs with every tag of their source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rawdenoise.app.public import write
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import OutputError
from rawdenoise.napari.layers import KEY, LayerSource, restore_mosaic
from rawdenoise.pipeline import Denoised


def write_dng(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a capture or a result as a DNG, a stack as one a frame with its number in the name.

    napari has asked whether `path` is to be written over; of names that it does not know it has not.

    Raises:
        OutputError: the layer came from no raw, is the source itself, or cannot be written.
    """
    output = Path(path)
    frames = _gather_frames(output, np.asarray(data), attributes.get("metadata") or {})
    if len(frames) == 1:
        return [str(write(frames[0], output, overwrite=True))]
    digits = len(str(len(frames)))
    return [
        str(write(frame, output.with_stem(f"{output.stem}-{number:0{digits}}")))
        for number, frame in enumerate(frames, 1)
    ]


def _gather_frames(output: Path, pixels: Any, metadata: Mapping[str, Any]) -> list[Denoised | RawImage]:
    source = metadata.get(KEY)
    if not isinstance(source, LayerSource) or not source.captures:
        raise OutputError(
            output, "a DNG is written of a capture or its denoised layer; this layer is neither"
        )
    mosaics = [pixels] if pixels.ndim == 2 else list(pixels)
    if [mosaic.shape for mosaic in mosaics] != [capture.mosaic.shape for capture in source.captures]:
        raise OutputError(output, "the layer is no longer of the size of its capture")
    if not source.results:
        pairs = zip(source.captures, mosaics, strict=True)
        return [
            replace(capture, mosaic=restore_mosaic(mosaic, capture, capture)) for capture, mosaic in pairs
        ]
    return [
        replace(result, image=replace(result.image, mosaic=restore_mosaic(mosaic, result.image, capture)))
        for capture, result, mosaic in zip(source.captures, source.results, mosaics, strict=True)
    ]
