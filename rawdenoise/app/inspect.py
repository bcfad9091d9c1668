"""What a capture is and what denoising would do with it; nothing is written."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from rawdenoise.app.stores import Stores
from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.capture.raw import PLANES, Area, Camera, Cfa, Color, Exposure, Levels, Metadata, RawImage
from rawdenoise.errors import ModelError, guard_file
from rawdenoise.formats.dng.writer import list_compromises
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.formats.output_format import Format
from rawdenoise.isolation.isolated_reader import read_alone, read_isolated
from rawdenoise.models.choice import choose_model
from rawdenoise.models.store import ModelStore
from rawdenoise.noise.estimate import sample_noise
from rawdenoise.noise.evidence import Kind, evidence_for
from rawdenoise.noise.model import FourFloats, NoiseModel
from rawdenoise.noise.model_agreement import agreement
from rawdenoise.pipeline import denoise

ORIENTATIONS = (  # EXIF's 1 to 8: what a viewer has to do
    "", "upright", "mirror", "turn by 180", "flip", "flip and turn right", "turn right",
    "mirror and turn right", "turn left",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NoiseFacts:
    """The noise a capture is taken to have, where that is from, and how it compares with the pixels.

    `gain` is in DN per electron, `read_noise` and `row_noise` are standard deviations in DN. `doubt` says why
    it is not believed, if so; `considered` why it is from no other evidence. `seen` is how many times this
    variance the pixels show, None where they show nothing.
    """

    gain: FourFloats
    read_noise: FourFloats
    row_noise: float
    kind: Kind
    why: str
    doubt: str
    considered: tuple[str, ...]
    seen: float | None

    def as_json(self) -> dict[str, object]:
        """Give it as JSON's own types."""
        planes = zip(PLANES, self.gain, self.read_noise, strict=True)
        return {
            "noise": {
                plane: {"gain_dn": round(gain, 6), "read_dn": round(read, 6)} for plane, gain, read in planes
            },
            "row_noise_dn": round(self.row_noise, 6),
            "noise_from": str(self.kind),
            "noise_why": self.why,
            "left_as_it_was": self.doubt or None,
            "noise_not_from": list(self.considered),
            "noise_seen": None if self.seen is None else round(self.seen, 4),
        }


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model that would denoise a capture, and why that; `id` is None where it cannot be read."""

    id: str | None
    why: str


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What denoising would come to: the gain in dB and its interval, None where they cannot be told.

    `left` says why the capture would be left as it is, if it would.
    """

    gain_db: float | None
    gain_interval: tuple[float, float] | None
    flags: tuple[str, ...]
    left: str

    def as_json(self) -> dict[str, object]:
        """Give it as JSON's own types."""
        interval = self.gain_interval
        return {
            "gain_db": None if self.gain_db is None else round(self.gain_db, 2),
            "gain_interval": None if interval is None else [round(bound, 2) for bound in interval],
            "flags": list(self.flags),
            "left_as_it_was": self.left or None,
        }


@dataclass(frozen=True, slots=True)
class CaptureFacts:
    """What is known of a capture and what would be done with it.

    `size` is the mosaic's width and height, `clipped` the share of saturated pixels. `outcome` is None where
    it was not asked for.
    """

    source: Path
    camera: Camera
    cfa: Cfa
    size: tuple[int, int]
    active: Area
    levels: Levels
    exposure: Exposure
    orientation: int
    color: Color
    metadata_kept: tuple[str, ...]
    clipped: float
    noise: NoiseFacts
    notes: tuple[str, ...]
    model: ModelFacts
    outcome: TrialResult | None = None

    def as_json(self) -> dict[str, object]:
        """Give it as JSON's own types; levels and noise in DN."""
        area = self.active
        return {
            "file": str(self.source),
            "camera": self.camera.name,
            "serial": self.camera.serial or None,
            "mode": self.camera.mode,
            "cfa": str(self.cfa),
            "size": list(self.size),
            "active": {"left": area.left, "top": area.top, "width": area.width, "height": area.height},
            "black": list(self.levels.black),
            "white": self.levels.white,
            **asdict(self.exposure),
            "orientation": self.orientation,
            "as_shot_neutral": self.color.as_shot_neutral,
            "daylight_neutral": self.color.daylight_neutral,
            "color_matrices": [matrix.illuminant for matrix in self.color.matrices],
            "metadata_kept": list(self.metadata_kept),
            "clipped": round(self.clipped, 6),
            **self.noise.as_json(),
            "notes": list(self.notes),
            "model": self.model.id,
            "model_why": self.model.why,
            "output": self.source.stem + Format.DNG.suffix,
            "format": str(Format.DNG),
            "error": None,
            **({} if self.outcome is None else self.outcome.as_json()),
        }

    def lines(self) -> list[str]:
        """Say it in lines of `name: value`, empty ones left out."""
        facts = self.as_json()
        facts |= {"noise_from": f"{facts['noise_from']}: {facts.pop('noise_why')}"}
        words = {
            name: _describe(name, value) for name, value in facts.items() if value not in (None, "", [], {})
        }
        words["model"] = f"{words.get('model', 'none')} ({words.pop('model_why')})"
        words["output"] = f"{words['output']} (a mosaic {words.pop('format').upper()})"
        return [
            f"{name.removesuffix('_dn').replace('_', ' ') + ':':<17} {text}" for name, text in words.items()
        ]


def inspect(
    source: Path,
    stores: Stores,
    *,
    layout: PlainLayout | None = None,
    estimate: bool = False,
    isolated: bool = False,
) -> CaptureFacts:
    """Gather what is known of a capture; with `estimate` denoise it in memory, and say what that came to.

    One of many should be `isolated`: read in a process of its own.

    Raises:
        RawDenoiseError: it cannot be read, or not be denoised.
    """
    raw = read_isolated(source, layout=layout) if isolated else read_alone(source, layout)
    with guard_file(source):
        facts = gather_facts(raw, stores)
        if estimate and facts.model.id is not None:
            facts = replace(facts, outcome=_try_out(raw, stores))
    return facts


def gather_facts(raw: RawImage, stores: Stores) -> CaptureFacts:
    """Gather what is known of a capture and what would be done with it."""
    planes, saturated = pack(raw), find_clipped(raw)
    height, width = raw.mosaic.shape
    noise, noise_notes = _find_noise(raw, planes, stores, valid=~saturated)
    return CaptureFacts(
        source=raw.source,
        camera=raw.camera,
        cfa=raw.cfa,
        size=(width, height),
        active=raw.active,
        levels=raw.levels,
        exposure=raw.exposure,
        orientation=raw.orientation,
        color=raw.color,
        metadata_kept=_count_tags(raw.metadata),
        clipped=float(saturated.mean()),
        noise=noise,
        notes=(*raw.notes, *list_compromises(raw), *noise_notes),
        model=_find_model(raw.camera, stores.models),
    )


def _try_out(raw: RawImage, stores: Stores) -> TrialResult:
    """Denoise, and let go of all but what is said of the result."""
    denoised = denoise(raw, choose_model(raw.camera, stores.models), profiles=stores.profiles)
    quality = denoised.quality
    known = quality if quality is not None and quality.told else None
    return TrialResult(
        gain_db=None if known is None else known.gain_db,
        gain_interval=None if known is None else known.interval,
        flags=() if quality is None else tuple(map(str, quality.flags)),
        left=denoised.left,
    )


def _count_tags(metadata: Metadata) -> tuple[str, ...]:
    groups = {
        "DNG tags": metadata.root if metadata.is_dng else {},
        "TIFF tags": {} if metadata.is_dng else metadata.root,
        "EXIF": metadata.exif,
        "GPS": metadata.gps,
        "camera profiles": metadata.extra,
    }
    return tuple(f"{name} ({len(tags)})" for name, tags in groups.items() if tags)


def _find_noise(
    raw: RawImage,
    planes: Float32[np.ndarray, "4 h w"],
    stores: Stores,
    *,
    valid: Bool[np.ndarray, "4 h w"],
) -> tuple[NoiseFacts, tuple[str, ...]]:
    """The noise that would be assumed, where it is from, how that compares with the pixels; and notes."""
    cards = stores.models.cards()
    pooled = next((card.noise for card in cards if card.camera.is_like(raw.camera)), None)
    evidence = evidence_for(raw, planes, profiles=stores.profiles, card_noise=pooled)
    seen = agreement(sample_noise(planes, valid=valid), evidence.noise)
    gain, read_noise = _to_dn(evidence.noise, raw.levels)
    facts = NoiseFacts(
        gain=gain,
        read_noise=read_noise,
        row_noise=evidence.noise.row_variance**0.5 * (raw.levels.white - sum(raw.levels.black) / 4),
        kind=evidence.kind,
        why=evidence.why,
        doubt=evidence.doubt,
        considered=evidence.considered,
        seen=seen if math.isfinite(seen) else None,
    )
    return facts, evidence.notes


def _to_dn(noise: NoiseModel, levels: Levels) -> tuple[FourFloats, FourFloats]:
    """Per plane the gain in DN per electron, and the noise of black in DN."""
    r, g1, g2, b = (
        (shot * (levels.white - black), variance**0.5 * (levels.white - black))
        for shot, variance, black in zip(noise.shot, noise.read_variance, levels.black, strict=True)
    )
    return (r[0], g1[0], g2[0], b[0]), (r[1], g1[1], g2[1], b[1])


def _find_model(camera: Camera, store: ModelStore) -> ModelFacts:
    try:
        card = choose_model(camera, store).card
    except ModelError as error:
        return ModelFacts(None, str(error))
    own = "the newest for this camera and mode"
    why = own if card.camera.is_like(camera) else "the bundled one: this camera and mode have none"
    return ModelFacts(card.id, why)


def _describe(name: str, value: object) -> str:
    """A value as a person would read it."""
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
                f"{plane} {noise['gain_dn']:.3g} and {noise['read_dn']:.3g}"
                for plane, noise in planes.items()
            )
            return f"{', '.join(pairs)} (DN per electron, DN of read noise)"
        case "row_noise_dn", float(sigma):
            return f"{sigma:.3g} DN" if sigma else "none known"
        case "noise_seen", float(ratio):
            return f"{ratio:.2f} times this variance, in the pixels"
        case _, dict(parts):
            return ", ".join(f"{part} {_describe('', number)}" for part, number in parts.items())
        case _, list(parts) | tuple(parts):
            between = {"metadata_kept": ", ", "notes": "; ", "noise_not_from": "; "}.get(name, " ")
            return between.join(_describe("", part) for part in parts)
        case _, float(number):
            return f"{number:.4g}" if number < 1000 else f"{number:g}"
    return str(value)
