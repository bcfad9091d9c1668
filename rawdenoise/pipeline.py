"""One capture, the whole path on one page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from rawdenoise import __version__
from rawdenoise.capture.packing import clipped, pack, saturation_level, unpack
from rawdenoise.capture.raw import Provenance, RawImage
from rawdenoise.errors import ModelMissingError
from rawdenoise.formats.dng import write_dng
from rawdenoise.formats.opcodes import named_bad_pixels
from rawdenoise.formats.output_levels import OutputLevels, output_scale, scaled
from rawdenoise.formats.tiff import write_mosaic_tiff, write_tiff
from rawdenoise.inference.devices import pick_device
from rawdenoise.inference.tiling import Tiles, denoise_tiled
from rawdenoise.models.card import ModelCard
from rawdenoise.models.model import Model
from rawdenoise.nets import Network
from rawdenoise.noise.artefacts import cleared
from rawdenoise.noise.defects import known_defects, named_defects
from rawdenoise.noise.evidence import DOUBT, Evidence, evidence_for
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.noise.rows import add_rows
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.quality.gain import UNKNOWN, NetworkReach, PictureQuality, assess

log = logging.getLogger(__name__)

LEFT = "left-as-it-was"  # instead of a method, in what an output says of itself
SMALLEST_TILE = 128  # packed pixels; smaller ones are mostly halo


class Format(StrEnum):
    """What an output is: a mosaic for raw developers, a picture, or a mosaic for science."""

    DNG = "dng"
    TIFF = "tiff"
    MOSAIC_TIFF = "mosaic-tiff"

    @property
    def suffix(self) -> str:
        """How such a file's name ends."""
        return {"dng": ".dng", "tiff": ".tif", "mosaic-tiff": ".mosaic.tif"}[self.value]


@dataclass(frozen=True, slots=True)
class DenoiseOptions:
    """How to denoise: `strength` 0 is the input and 1 the model's full answer; `tile` is in packed pixels.

    `keep_defects` and `keep_rows` put hot and dead pixels, and row noise, back on the result. `levels`
    says in which scale it is written: a low-bit sensor's own loses much of the result to rounding.
    `estimate` has it said how much better the picture became, for about a tenth more time.
    """

    strength: float = 1.0
    device: str = "auto"
    tile: int | None = None
    keep_defects: bool = False
    keep_rows: bool = False
    levels: OutputLevels = OutputLevels.AUTO
    estimate: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Denoised:
    """A denoised capture, the noise that was assumed, what to write about it, and the network's seconds.

    `quality` is of the mosaic as written, without the artefacts that were asked to be kept; None where it was
    not asked for, at strength 0, and where there are too few sound pixels to tell. `left` says why a picture
    was left as it was, if it was: `quality` is then of the model's answer, which is nowhere. `notes` are
    what a user should be told of it.
    """

    image: RawImage
    noise: NoiseModel | None
    provenance: Provenance
    network_s: float
    quality: PictureQuality | None = None
    left: str = ""
    notes: tuple[str, ...] = ()


def denoise(raw: RawImage, model: Model | None, options: DenoiseOptions = DenoiseOptions()) -> Denoised:
    """Denoise one capture with a camera's model; at strength 0 no model is needed and no signal changes.

    A picture that is estimated to lose by it, or whose noise is not known, is left as it was, unless
    no estimate is asked for.

    Raises:
        ModelMissingError: there is no model and the strength is not 0.
        SetupError: the device is not there.
    """
    scale = output_scale(raw, options.levels, strength=options.strength)
    like = scaled(raw, scale)
    if options.strength == 0:
        return Denoised(like, None, Provenance(__version__, "none", 0.0), 0.0)
    if model is None:
        raise ModelMissingError(f"{raw.source}: no model to denoise with")
    planes = pack(raw)
    evidence = evidence_of(raw, planes, model.card)
    clean, quality, network_s = _clean(raw, planes, evidence, model, options, scale)
    notes = evidence.notes if options.estimate or not evidence.doubt else (*evidence.notes, evidence.doubt)
    if left := why_left(evidence, quality) if options.estimate else "":
        like = scaled(raw, output_scale(raw, options.levels, strength=0))
        provenance = Provenance(__version__, LEFT, 0.0, model.card.id, model.card.weights_sha256)
        return Denoised(like, evidence.noise, provenance, network_s, quality, left, notes)
    # Saturation is looked for in the sensor's scale: fine levels have gaps, which would look like it.
    saturation = scale * saturation_level(raw)
    # Pixels that the file's own opcodes name stay as they are, or its opcodes would no longer find them.
    named = named_bad_pixels(raw)
    image = unpack(blend(planes, clean, options.strength), like, saturation=saturation, keep=named)
    provenance = _provenance(model.card, evidence.noise, options.strength, quality)
    return Denoised(image, evidence.noise, provenance, network_s, quality, notes=notes)


def why_left(evidence: Evidence, quality: PictureQuality | None) -> str:
    """Say why a picture is to be left as it was; nothing where it is not.

    It is where it is likelier to become worse than better: an interval that reaches to gains is no reason to
    write what is expected to be a loss.
    """
    if evidence.doubt:
        return evidence.doubt
    if quality is None or (quality.told and not quality.loses):
        return ""
    if not quality.told:
        return DOUBT if evidence.error >= UNKNOWN else "whether it would gain cannot be told"
    lost = -quality.gain_db
    return f"estimated to lose {lost:.1f} dB" if lost >= 0.05 else "estimated to gain nothing"


def _clean(
    raw: RawImage,
    planes: Float32[np.ndarray, "4 h w"],
    evidence: Evidence,
    model: Model,
    options: DenoiseOptions,
    scale: int,
) -> tuple[Float32[np.ndarray, "4 h w"], PictureQuality | None, float]:
    """Clear a capture of its artefacts, denoise it and judge the result; put back what is to be kept."""
    known, noise = defects_for(named_after(raw, model.card)), evidence.noise
    unclipped = ~clipped(raw)
    sound = cleared(planes, noise, valid=unclipped, known=known)
    start = time.perf_counter()
    clean = denoise_planes(sound.planes, noise, model, options)
    quality = None
    if options.estimate:
        quality = assess(
            sound.planes,
            clean,
            noise,
            lambda part: denoise_planes(part, noise, model, options),
            NetworkReach(model.net.halo, model.net.multiple),
            valid=unclipped & ~sound.defects,
            strength=options.strength,
            variance_error=evidence.error,
            rounding=1 / (scale * (raw.levels.white - max(raw.levels.black))),
            doubted=bool(evidence.doubt),
        )
    network_s = time.perf_counter() - start
    if options.keep_rows:
        clean = add_rows(clean, sound.offsets)
    if options.keep_defects:
        np.copyto(clean, planes, where=sound.defects)
    return clean, quality, network_s


def named_after(raw: RawImage, card: ModelCard) -> RawImage:
    """Name a nameless capture's camera after the model: who chose the model has said whose capture it is."""
    camera = raw.camera
    if camera.make.strip() or camera.model.strip():
        return raw
    return replace(raw, camera=replace(camera, make=card.camera.make, model=card.camera.model))


def noise_for(raw: RawImage, planes: Float32[np.ndarray, "4 h w"], card: ModelCard) -> NoiseModel:
    """The noise of a capture by the best evidence there is.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    return evidence_of(raw, planes, card).noise


def evidence_of(raw: RawImage, planes: Float32[np.ndarray, "4 h w"], card: ModelCard) -> Evidence:
    """The noise of a capture that is denoised with a model of this card, and how well it is known.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    raw = named_after(raw, card)
    pooled = card.noise if card.camera.is_like(raw.camera) else None
    return evidence_for(raw, planes, profiles=ProfileStore(), card_noise=pooled)


def defects_for(raw: RawImage) -> Bool[np.ndarray, "4 h w"] | None:
    """The pixels known to be bad: those that the file names, and those of a calibration of this very body.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    named = named_defects(raw)
    stored = ProfileStore().find(raw.camera)
    known = stored.profile.defects if stored else None
    height, width = raw.mosaic.shape
    if known is None or (known.serial, known.size) != (raw.camera.serial, (width, height)):
        return named
    calibrated = known_defects(raw, np.array([*known.hot, *known.dead], np.int64).reshape(-1, 2))
    return calibrated if named is None else calibrated | named


def denoise_planes(
    planes: Float32[np.ndarray, "4 h w"],
    noise: NoiseModel,
    model: Model,
    options: DenoiseOptions = DenoiseOptions(),
) -> Float32[np.ndarray, "4 h w"]:
    """Denoise packed planes: stabilise, run the network in tiles, return to the signal without bias.

    Where a GPU has not the memory for it, tiles become smaller, and at last the CPU does it.
    """
    device = pick_device(options.device)
    tiles = Tiles() if options.tile is None else Tiles(size=options.tile)
    while True:
        net = model.net.to(device)
        try:
            return denoise_tiled(
                planes,
                _in_stabilized_domain(net, noise),
                halo=net.halo,
                multiple=net.multiple,
                tiles=tiles,
                device=device,
            )
        except torch.cuda.OutOfMemoryError:
            if device.type == "cpu":
                raise
            device, tiles = _humbler(device, tiles)


def _humbler(device: torch.device, tiles: Tiles) -> tuple[torch.device, Tiles]:
    """What to try next when a GPU is out of memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if tiles.size > SMALLEST_TILE:
        return device, replace(tiles, size=tiles.size // 2)
    log.warning("the GPU has not the memory for tiles of %d: going on with the CPU", tiles.size)
    return torch.device("cpu"), Tiles()


def blend(
    planes: Float32[np.ndarray, "4 h w"], clean: Float32[np.ndarray, "4 h w"], strength: float
) -> Float32[np.ndarray, "4 h w"]:
    """Mix the capture and its denoised version; noise left behind is `1 - strength` of what it was."""
    if strength == 1:
        return clean
    mixed = clean - planes
    mixed *= np.float32(strength)
    mixed += planes
    return mixed


def write(denoised: Denoised, output: Path, *, format: Format = Format.DNG, replace: bool = True) -> Path:
    """Write a result whole or not at all, checked by reading it back; return where it is."""
    writer = {Format.DNG: write_dng, Format.TIFF: write_tiff, Format.MOSAIC_TIFF: write_mosaic_tiff}[format]
    writer(denoised.image, output, provenance=denoised.provenance, replace=replace)
    return output


def _in_stabilized_domain(net: Network, noise: NoiseModel) -> Callable[[Tensor], Tensor]:
    white = stabilized_white(noise)[None]

    def run(tile: Tensor) -> Tensor:
        return unstabilize(net(stabilize(tile, noise), white), noise)

    return run


def _provenance(
    card: ModelCard, noise: NoiseModel, strength: float, quality: PictureQuality | None
) -> Provenance:
    left = (1 - strength) ** 2
    return Provenance(
        version=__version__,
        method=card.objective,
        strength=strength,
        model_id=card.id,
        model_digest=card.weights_sha256,
        noise_left=tuple((left * s, left * r) for s, r in zip(noise.shot, noise.read_variance, strict=True))
        if left
        else None,
        gain_db=None if quality is None or not quality.told else quality.gain_db,
    )
