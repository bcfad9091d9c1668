"""What `rawdenoise inspect` knows of a file, as text and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from jaxtyping import Bool, Float32

from rawdenoise.app.stores import user_stores
from rawdenoise.capture.packing import clipped, pack
from rawdenoise.capture.raw import PLANES, Camera, Metadata, RawImage
from rawdenoise.cli.text import one_line
from rawdenoise.errors import ModelError, RawDenoiseError, guarded_file
from rawdenoise.formats.dng import compromises
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.plain import PlainLayout
from rawdenoise.isolation.reader import read_alone, read_isolated
from rawdenoise.models.choice import model_for
from rawdenoise.models.store import ModelStore
from rawdenoise.noise.agreement import agreement
from rawdenoise.noise.estimate import sample_noise
from rawdenoise.noise.evidence import evidence_for
from rawdenoise.noise.model import NoiseModel
from rawdenoise.pipeline import denoise

ORIENTATIONS = (  # EXIF's 1 to 8: what a viewer has to do
    "", "upright", "mirror", "turn by 180", "flip", "flip and turn right", "turn right",
    "mirror and turn right", "turn left",
)  # fmt: skip


def show(files: Sequence[Path], layout: PlainLayout | None, *, as_json: bool, estimate: bool = False) -> int:
    """Print what is known of each file and, if asked for, how it would come out; returns the exit code."""
    refused = broken = False
    for number, file in enumerate(files):
        try:
            raw = read_isolated(file, layout=layout) if len(files) > 1 else read_alone(file, layout)
            with guarded_file(file):
                facts = facts_of(raw, user_stores().models)
                if estimate and facts["model"] is not None:
                    facts |= _outcome(raw, user_stores().models)
            broken |= facts["model"] is None
        except RawDenoiseError as error:
            refused = True
            facts = {"file": str(file), "error": str(error)}
            if not as_json:
                click.echo(f"error: {one_line(str(error))}", err=True)
                continue
        if as_json:
            click.echo(json.dumps(facts))
        else:
            click.echo(("\n" if number else "") + text_of(facts))
    return int(refused) or (ModelError.exit_code if broken else 0)


def facts_of(raw: RawImage, store: ModelStore) -> dict[str, object]:
    """Gather what is known of a capture and what would be done with it; levels and noise in DN."""
    planes, saturated = pack(raw), clipped(raw)
    height, width = raw.mosaic.shape
    area = raw.active
    noise, noise_notes = _evidence(raw, planes, store, valid=~saturated)
    return {
        "file": str(raw.source),
        "camera": raw.camera.name,
        "serial": raw.camera.serial or None,
        "mode": raw.camera.mode,
        "cfa": str(raw.cfa),
        "size": [width, height],
        "active": {"left": area.left, "top": area.top, "width": area.width, "height": area.height},
        "black": list(raw.levels.black),
        "white": raw.levels.white,
        **asdict(raw.exposure),
        "orientation": raw.orientation,
        "as_shot_neutral": raw.color.as_shot_neutral,
        "daylight_neutral": raw.color.daylight_neutral,
        "color_matrices": [matrix.illuminant for matrix in raw.color.matrices],
        "metadata_kept": _kept(raw.metadata),
        "clipped": round(float(saturated.mean()), 6),
        **noise,
        "notes": [*raw.notes, *compromises(raw), *noise_notes],
        **_model(raw.camera, store),
        "output": raw.source.stem + Format.DNG.suffix,
        "format": str(Format.DNG),
        "error": None,
    }


def _outcome(raw: RawImage, store: ModelStore) -> dict[str, object]:
    """What `denoise` would say of its result."""
    denoised = denoise(raw, model_for(raw.camera, store))
    quality = denoised.quality
    told = quality if quality is not None and quality.told else None
    return {
        "gain_db": None if told is None else round(told.gain_db, 2),
        "gain_interval": None if told is None else [round(bound, 2) for bound in told.interval],
        "flags": [] if quality is None else [str(flag) for flag in quality.flags],
        "left_as_it_was": denoised.left or None,
    }


def text_of(facts: Mapping[str, object]) -> str:
    """Say the facts in lines of `name: value`, empty ones left out."""
    facts = {**facts, "noise_from": f"{facts['noise_from']}: {facts['noise_why']}", "noise_why": None}
    said = {name: _said(name, value) for name, value in facts.items() if value not in (None, "", [], {})}
    said["model"] = f"{said.get('model', 'none')} ({said.pop('model_why')})"
    said["output"] = f"{said['output']} (a mosaic {said.pop('format').upper()})"
    return "\n".join(
        f"{name.removesuffix('_dn').replace('_', ' ') + ':':<17} {one_line(text)}"
        for name, text in said.items()
    )


def _said(name: str, value: object) -> str:
    match name, value:
        case "size", [width, height]:
            return f"{width} x {height} ({width * height / 1e6:.1f} MP)"  # type: ignore[operator]
        case "orientation", int(number):
            return f"{number} ({ORIENTATIONS[number]})" if 0 < number < len(ORIENTATIONS) else str(number)
        case "exposure_s", float(seconds):
            return f"1/{1 / seconds:.0f}" if 0 < seconds < 0.5 else f"{seconds:g}"
        case "clipped", float(share):
            return f"{share:.2%} of the pixels"
        case "noise", dict(planes):
            pairs = (
                f"{plane} {each['gain_dn']:.3g} and {each['read_dn']:.3g}" for plane, each in planes.items()
            )
            return f"{', '.join(pairs)} (DN per electron, DN of read noise)"
        case "row_noise_dn", float(sigma):
            return f"{sigma:.3g} DN" if sigma else "none known"
        case "noise_seen", float(ratio):
            return f"{ratio:.2f} times this variance, in the pixels"
        case _, dict(parts):
            return ", ".join(f"{part} {_said('', each)}" for part, each in parts.items())
        case _, list(parts) | tuple(parts):
            between = {"metadata_kept": ", ", "notes": "; ", "noise_not_from": "; "}.get(name, " ")
            return between.join(_said("", each) for each in parts)
        case _, float(number):
            return f"{number:.4g}" if number < 1000 else f"{number:g}"
    return str(value)


def _kept(metadata: Metadata) -> list[str]:
    groups = {
        "DNG tags": metadata.root if metadata.is_dng else {},
        "TIFF tags": {} if metadata.is_dng else metadata.root,
        "EXIF": metadata.exif,
        "GPS": metadata.gps,
        "camera profiles": metadata.extra,
    }
    return [f"{name} ({len(tags)})" for name, tags in groups.items() if tags]


def _evidence(
    raw: RawImage,
    planes: Float32[np.ndarray, "4 h w"],
    store: ModelStore,
    *,
    valid: Bool[np.ndarray, "4 h w"],
) -> tuple[dict[str, object], tuple[str, ...]]:
    """The noise that would be assumed, where it is from, how that compares with the pixels; and notes."""
    pooled = next((card.noise for card in store.cards() if card.camera.is_like(raw.camera)), None)
    evidence = evidence_for(raw, planes, profiles=user_stores().profiles, card_noise=pooled)
    seen = agreement(sample_noise(planes, valid=valid), evidence.noise)
    return {
        "noise": _noise(evidence.noise, raw),
        "row_noise_dn": round(evidence.noise.row_variance**0.5 * _span(raw), 6),
        "noise_from": str(evidence.kind),
        "noise_why": evidence.why,
        "left_as_it_was": evidence.doubt or None,
        "noise_not_from": list(evidence.considered),
        "noise_seen": round(seen, 4) if math.isfinite(seen) else None,
    }, evidence.notes


def _noise(noise: NoiseModel, raw: RawImage) -> dict[str, dict[str, float]]:
    """Per plane, in DN: the gain, and the noise of black."""
    facts = {}
    for plane, shot, read, black in zip(
        PLANES, noise.shot, noise.read_variance, raw.levels.black, strict=True
    ):
        span = raw.levels.white - black
        facts[plane] = {"gain_dn": round(shot * span, 6), "read_dn": round(read**0.5 * span, 6)}
    return facts


def _span(raw: RawImage) -> float:
    return raw.levels.white - sum(raw.levels.black) / 4


def _model(camera: Camera, store: ModelStore) -> dict[str, object]:
    try:
        card = model_for(camera, store).card
        own = "the newest for this camera and mode"
        why = own if card.camera.is_like(camera) else "the bundled one: this camera and mode have none"
        return {"model": card.id, "model_why": why}
    except ModelError as error:
        return {"model": None, "model_why": str(error)}
