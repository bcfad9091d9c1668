"""One capture, the whole path on one page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from rawdenoise import __version__
from rawdenoise.capture.packing import find_clipped, pack, saturation_level, unpack
from rawdenoise.capture.raw import Provenance, RawImage
from rawdenoise.errors import ModelMissingError, Stop, Stopped, never
from rawdenoise.extensions.protocols import Denoiser
from rawdenoise.formats.dng.opcodes import find_named_bad_pixels
from rawdenoise.formats.output_format import Format
from rawdenoise.formats.output_levels import find_output_scale, scale_levels
from rawdenoise.formats.writers import find_writer
from rawdenoise.inference.devices import pick_device
from rawdenoise.inference.stages import OnShare, OnStage, Stage, unheard
from rawdenoise.inference.tiling import Tiles, denoise_tiled
from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.method import Method
from rawdenoise.models.model import Model
from rawdenoise.nets import Network
from rawdenoise.noise.artefacts import remove_artefacts
from rawdenoise.noise.defects import find_named_defects, pack_defects
from rawdenoise.noise.evidence import TEXTURE_DOUBT, Evidence, evidence_for
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.noise.rows import add_rows
from rawdenoise.noise.stabilize import stabilize, stabilized_white, unstabilize
from rawdenoise.quality.divergence import LocalDenoiser
from rawdenoise.quality.gain import UNKNOWN_VARIANCE_ERROR, ClaimedNoise, assess
from rawdenoise.quality.picture_quality import PictureQuality
from rawdenoise.recipe import Recipe
from rawdenoise.refinement.refine import refine
from rawdenoise.refinement.removal import Removal, blend

log = logging.getLogger(__name__)

LEFT_METHOD = "left-as-it-was"  # instead of a method, in what an output says of itself
DEFAULT_RECIPE = Recipe()
SMALLEST_TILE = 128  # packed pixels; smaller ones are mostly halo


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


def denoise(
    raw: RawImage,
    model: Model | Method | None,
    recipe: Recipe = DEFAULT_RECIPE,
    *,
    profiles: ProfileStore | None = None,
    device: str = "auto",
    tile: int | None = None,
    stop: Stop = never,
    on_stage: OnStage = unheard,
) -> Denoised:
    """Denoise one capture with a camera's model; at strength 0 no model is needed and no signal changes.

    A picture that is estimated to lose by it, or whose noise is not known, is left as it was, unless
    no estimate is asked for. Noise and defects are looked up in `profiles`, where there are any. `device` and
    `tile` (a side in packed pixels) change nothing but time and memory. `on_stage` is told how far it is.

    Raises:
        ModelMissingError: there is no model and the strength is not 0.
        SetupError: the device is not there.
        ProfileError: the noise profile of this camera cannot be understood.
        Stopped: `stop` answered true.
    """
    scale = find_output_scale(raw, recipe.levels, strength=recipe.largest_strength)
    like = scale_levels(raw, scale)
    if recipe.takes_nothing:
        return leave_untouched(like)
    if model is None:
        raise ModelMissingError(f"{raw.source}: no model to denoise with")
    planes = pack(raw)
    evidence = gather_evidence(raw, planes, model, profiles)
    run = partial(denoise_planes, noise=evidence.noise, model=model, device=device, tile=tile, stop=stop)
    known = find_known_defects(name_camera_after(raw, model), profiles)
    clean, quality, removal, network_s = _clean_and_judge(
        raw, planes, evidence, recipe, run, find_reach(model), known, on_stage
    )
    notes = evidence.notes if recipe.estimate or not evidence.doubt else (*evidence.notes, evidence.doubt)
    if left := explain_why_left(evidence, quality) if recipe.estimate else "":
        like = scale_levels(raw, find_output_scale(raw, recipe.levels, strength=0))
        id, digest = _identify(model)
        provenance = Provenance(__version__, LEFT_METHOD, 0.0, id, digest)
        return Denoised(like, evidence.noise, provenance, network_s, quality, left, notes)
    if removal.luminance < recipe.strength:
        notes = (*notes, f"done at strength {removal.luminance:.2f}: at 1 it might have become worse")
    # Saturation is looked for in the sensor's scale: fine levels have gaps, which would look like it.
    saturation = scale * saturation_level(raw)
    # Pixels that the file's own opcodes name stay as they are, or its opcodes would no longer find them.
    named = find_named_bad_pixels(raw)
    image = unpack(clean, like, saturation=saturation, keep=named)
    provenance = _describe_provenance(model, evidence.noise, removal, quality)
    return Denoised(image, evidence.noise, provenance, network_s, quality, notes=notes)


def leave_untouched(raw: RawImage) -> Denoised:
    """Give a capture as a result to which nothing was done."""
    return Denoised(raw, None, Provenance(__version__, "none", 0.0), 0.0)


def explain_why_left(evidence: Evidence, quality: PictureQuality | None) -> str:
    """Say why a picture is to be left as it was; nothing where it is not.

    It is where it is likelier to become worse than better: an interval that reaches to gains is no reason to
    write what is expected to be a loss.
    """
    if evidence.doubt:
        return evidence.doubt
    if quality is None or (quality.told and not quality.loses):
        return ""
    if not quality.told:
        return (
            TEXTURE_DOUBT
            if evidence.error >= UNKNOWN_VARIANCE_ERROR
            else "whether it would gain cannot be told"
        )
    lost = -quality.gain_db
    return f"estimated to lose {lost:.1f} dB" if lost >= 0.05 else "estimated to gain nothing"


def _clean_and_judge(
    raw: RawImage,
    planes: Float32[np.ndarray, "4 h w"],
    evidence: Evidence,
    recipe: Recipe,
    run: Callable[..., Float32[np.ndarray, "4 h w"]],
    reach: tuple[int, int],
    known: Bool[np.ndarray, "4 h w"] | None,
    on_stage: OnStage,
) -> tuple[Float32[np.ndarray, "4 h w"], PictureQuality | None, Removal, float]:
    """Clear a capture of its artefacts, denoise it and judge the result; put back what is to be kept.

    What comes out is what is to be written, of the strengths that were asked for, or of less where the
    picture might otherwise become worse.
    """
    scale = find_output_scale(raw, recipe.levels, strength=recipe.largest_strength)
    unclipped = ~find_clipped(raw)
    sound = remove_artefacts(planes, evidence.noise, valid=unclipped, known=known)
    start = time.perf_counter()
    clean = run(sound.planes, on_share=partial(on_stage, Stage.DENOISE))
    valid, removal = unclipped & ~sound.defects, find_removal(raw, recipe)
    refinement = refine(sound.planes, clean, evidence.noise, valid=valid)
    quality = None
    if recipe.estimate:
        quality = assess(
            sound.planes,
            clean,
            ClaimedNoise(evidence.noise, evidence.error, doubted=bool(evidence.doubt)),
            LocalDenoiser(run, *reach),
            valid=valid,
            refinement=refinement,
            removal=removal,
            rounding=1 / (scale * (raw.levels.white - max(raw.levels.black))),
            safely=True,
            on_share=partial(on_stage, Stage.JUDGE),
        )
    if quality is not None:
        removal = removal.scale(quality.share)
    network_s = time.perf_counter() - start
    if recipe.keep_row_noise:
        clean = add_rows(clean, sound.offsets)
    if recipe.keep_hot_pixels:
        np.copyto(clean, planes, where=sound.defects)
    return blend(planes, clean, removal, sound=valid), quality, removal, network_s


def find_removal(raw: RawImage, recipe: Recipe) -> Removal:
    """What a recipe takes away of a capture, whose white balance says what is grey."""
    red, _, blue = raw.color.neutral
    return Removal(recipe.strength, recipe.chroma_strength, (red, blue))


def name_camera_after(raw: RawImage, model: Model | Method) -> RawImage:
    """Name a nameless capture's camera after the model: who chose the model has said whose capture it is."""
    camera = raw.camera
    if isinstance(model, Method) or camera.make.strip() or camera.model.strip():
        return raw
    own = model.card.camera
    return replace(raw, camera=replace(camera, make=own.make, model=own.model))


def find_noise(
    raw: RawImage,
    planes: Float32[np.ndarray, "4 h w"],
    model: Model | Method,
    profiles: ProfileStore | None = None,
) -> NoiseModel:
    """The noise of a capture by the best evidence there is.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    return gather_evidence(raw, planes, model, profiles).noise


def gather_evidence(
    raw: RawImage,
    planes: Float32[np.ndarray, "4 h w"],
    model: Model | Method,
    profiles: ProfileStore | None = None,
) -> Evidence:
    """The noise of a capture that is denoised with this model, and how well it is known.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    raw = name_camera_after(raw, model)
    pooled = None
    if isinstance(model, Model) and model.card.camera.is_like(raw.camera):
        pooled = model.card.noise
    return evidence_for(raw, planes, profiles=profiles, card_noise=pooled)


def find_known_defects(
    raw: RawImage, profiles: ProfileStore | None = None
) -> Bool[np.ndarray, "4 h w"] | None:
    """The pixels known to be bad: those that the file names, and those of a calibration of this very body.

    Raises:
        ProfileError: the noise profile of this camera cannot be understood.
    """
    named = find_named_defects(raw)
    stored = None if profiles is None else profiles.find(raw.camera)
    known = stored.profile.defects if stored else None
    height, width = raw.mosaic.shape
    if known is None or (known.serial, known.size) != (raw.camera.serial, (width, height)):
        return named
    calibrated = pack_defects(raw, np.array([*known.hot, *known.dead], np.int64).reshape(-1, 2))
    return calibrated if named is None else calibrated | named


def denoise_planes(
    planes: Float32[np.ndarray, "4 h w"],
    noise: NoiseModel,
    model: Model | Method,
    *,
    device: str = "auto",
    tile: int | None = None,
    stop: Stop = never,
    on_share: OnShare = unheard,
) -> Float32[np.ndarray, "4 h w"]:
    """Denoise packed planes in tiles: a network in the stabilised domain, and back without bias.

    Where a GPU has not the memory for it, tiles become smaller, and at last the CPU does it.

    Raises:
        SetupError: the device is not there. Stopped: `stop` answered true before a tile.
    """
    tiles = Tiles() if tile is None else Tiles(size=tile)
    halo, multiple = find_reach(model)
    if isinstance(model, Method):
        foreign = _run_on_arrays(model.denoiser, noise)
        return denoise_tiled(
            planes, _check_stop_before(stop, foreign), halo=halo, multiple=multiple, tiles=tiles,
            on_share=on_share,
        )  # fmt: skip
    place = pick_device(device)
    while True:
        try:
            return denoise_tiled(
                planes,
                _check_stop_before(stop, _stabilize_around(model.network_on(place), noise)),
                halo=halo,
                multiple=multiple,
                tiles=tiles,
                device=place,
                on_share=on_share,
            )
        except torch.cuda.OutOfMemoryError:
            if place.type == "cpu":
                raise
            place, tiles = _ask_for_less(place, tiles)


def find_reach(model: Model | Method) -> tuple[int, int]:
    """How far an output pixel depends on the input, and of what the sides of a piece are multiples."""
    network = model.denoiser if isinstance(model, Method) else model.net
    return network.halo, network.multiple


def _ask_for_less(device: torch.device, tiles: Tiles) -> tuple[torch.device, Tiles]:
    """What to try next when a GPU is out of memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if tiles.size > SMALLEST_TILE:
        return device, replace(tiles, size=tiles.size // 2)
    log.warning("the GPU has not the memory for tiles of %d: going on with the CPU", tiles.size)
    return torch.device("cpu"), Tiles()


def write(denoised: Denoised, output: Path, *, format: str = Format.DNG, replace: bool = True) -> Path:
    """Write a result whole or not at all, checked by reading it back; return where it is.

    Raises:
        OutputError: it cannot be written, or did not read back. ExtensionError: there is no such format.
    """
    find_writer(format)(denoised.image, output, provenance=denoised.provenance, replace=replace)
    return output


class NetworkDenoiser:
    """A model as any other denoiser: planes and their noise in, planes out, on the CPU."""

    def __init__(self, model: Model) -> None:
        self._net = model.net
        self.halo, self.multiple = model.net.halo, model.net.multiple

    def __call__(
        self, planes: Float32[np.ndarray, "4 h w"], noise: NoiseModel
    ) -> Float32[np.ndarray, "4 h w"]:
        """Denoise planes, of sides that are multiples of `multiple`."""
        with torch.inference_mode():
            return _stabilize_around(self._net, noise)(torch.from_numpy(planes)[None])[0].numpy()


def denoise_fast() -> NetworkDenoiser:
    """The smaller bundled model, as the entry `fast` of `rawdenoise.denoisers`."""
    return NetworkDenoiser(load_bundled("fast"))


def denoise_best() -> NetworkDenoiser:
    """The larger bundled model, as the entry `best` of `rawdenoise.denoisers`."""
    return NetworkDenoiser(load_bundled("best"))


def _stabilize_around(net: Network, noise: NoiseModel) -> Callable[[Tensor], Tensor]:
    white = stabilized_white(noise)[None]

    def run(tile: Tensor) -> Tensor:
        return unstabilize(net(stabilize(tile, noise), white), noise)

    return run


def _run_on_arrays(denoiser: Denoiser, noise: NoiseModel) -> Callable[[Tensor], Tensor]:
    def run(tile: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(denoiser(tile[0].numpy(), noise), np.float32))[None]

    return run


def _check_stop_before(stop: Stop, run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Look before every tile whether to go on."""

    def run_checked(tile: Tensor) -> Tensor:
        if stop():
            raise Stopped
        return run(tile)

    return run_checked


def _identify(model: Model | Method) -> tuple[str, str]:
    """The id of a model and the digest of its weights."""
    return (model.id, "") if isinstance(model, Method) else (model.card.id, model.card.weights_sha256)


def _describe_provenance(
    model: Model | Method, noise: NoiseModel, removal: Removal, quality: PictureQuality | None
) -> Provenance:
    id, digest = _identify(model)
    return Provenance(
        version=__version__,
        method=model.name if isinstance(model, Method) else model.card.objective,
        strength=removal.luminance,
        model_id=id,
        model_digest=digest,
        noise_left=removal.leave(noise) if removal.leaves_any else None,
        gain_db=None if quality is None or not quality.told else quality.gain_db,
        chroma_strength=removal.chroma,
    )
