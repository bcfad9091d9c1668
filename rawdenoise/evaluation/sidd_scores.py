"""SIDD's raw-RGB validation, as public evaluations do it: mean PSNR and SSIM of the blocks' mosaics.

A block is brought to the RGGB phase, packed, denoised, unpacked and clamped to 0..1. Its PSNR is that of the
256x256 mosaic at a peak of 1; its SSIM has an 11x11 Gaussian window of sigma 1.5, wholly inside, on the
mosaic times 255, nothing rounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from rawdenoise.capture.packing import find_clipped
from rawdenoise.capture.raw import Area, Cfa, Exposure, Levels, RawImage
from rawdenoise.evaluation.sidd_scenes import Scene
from rawdenoise.formats.sidd import WHITE
from rawdenoise.inference.devices import pick_device
from rawdenoise.models.bundled import is_bundled, load_bundled
from rawdenoise.models.choice import find_model
from rawdenoise.models.model import Model
from rawdenoise.models.store import ModelStore
from rawdenoise.noise.artefacts import remove_artefacts, sample_sound_pixels
from rawdenoise.noise.evidence import Kind
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.profiles.store import ProfileStore
from rawdenoise.pipeline import denoise_planes, gather_evidence
from rawdenoise.quality.metrics import psnr, ssim
from rawdenoise.refinement.refine import refine
from rawdenoise.training.crops import mosaic_rggb, pack_rggb

MEGAPIXEL = 1024 * 1024  # as the benchmark's own code counts

SceneBlocks = Float32[np.ndarray, "blocks h w"]


@dataclass(frozen=True, slots=True, eq=False)
class DenoisedScene:
    """A scene's blocks, denoised and clamped; by which model, with noise from where, and in what time."""

    blocks: SceneBlocks
    model_id: str
    noise_from: Kind
    seconds: float


@dataclass(frozen=True, slots=True)
class BlockScore:
    """How close a block came to the truth, and how close it was; PSNR in dB."""

    noisy_psnr: float
    psnr: float
    noisy_ssim: float
    ssim: float


@dataclass(frozen=True, slots=True)
class SceneResult:
    """The scores of a scene's blocks, in their order."""

    scene: Scene
    scores: tuple[BlockScore, ...]
    model_id: str
    noise_from: Kind
    megapixels: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over all blocks of a camera, or of all cameras; `models` and `noise_from` are all there were."""

    name: str
    scenes: int
    blocks: int
    noisy_psnr: float
    psnr: float
    noisy_ssim: float
    ssim: float
    seconds_per_megapixel: float
    models: tuple[str, ...]
    noise_from: tuple[str, ...]


SceneDenoiser = Callable[[SceneBlocks, Scene], DenoisedScene]


# ---------------------------------------------------------------- denoising


def make_denoiser(
    models: Callable[[Scene], Model],
    profiles: ProfileStore | None = None,
    *,
    device: str = "auto",
    limit: int | None = None,
) -> SceneDenoiser:
    """Denoise scenes, or the first blocks of each, with the models that are chosen for them."""
    return lambda blocks, scene: denoise_scene(
        blocks, scene, models(scene), profiles, device=device, limit=limit
    )


def denoise_scene(
    blocks: SceneBlocks,
    scene: Scene,
    model: Model,
    profiles: ProfileStore | None = None,
    *,
    device: str = "auto",
    limit: int | None = None,
) -> DenoisedScene:
    """Denoise the blocks of a scene as `rawdenoise denoise` does a capture, their noise judged together.

    Saturated pixels stay as they are, as they do there. `limit` is how many blocks are denoised; all tell of
    the noise.
    """
    start = time.perf_counter()
    upright = mirror(blocks, scene.cfa)
    planes = [pack_rggb(block) for block in upright]
    unclipped = np.split(~find_clipped(_to_capture(upright, scene, model)), len(blocks), axis=1)
    evidence = gather_evidence(_to_capture(upright[:1], scene, model), planes[0], model, profiles)
    noise = evidence.noise if evidence.kind is not Kind.CAPTURE else _pool_noise(planes, unclipped)
    clean = np.empty_like(blocks[:limit])
    judged = (time.perf_counter() - start) * len(clean) / len(blocks)
    start = time.perf_counter()
    for noisy, valid, out in zip(planes[:limit], unclipped[:limit], mirror(clean, scene.cfa), strict=True):
        sound = remove_artefacts(noisy, noise, valid=valid)
        signal = denoise_planes(sound.planes, noise, model, device=device)
        refine(sound.planes, signal, noise, valid=valid & ~sound.defects)
        out[:] = mosaic_rggb(np.where(valid, signal, noisy).clip(0, 1))
    return DenoisedScene(clean, model.card.id, evidence.kind, judged + time.perf_counter() - start)


def _pool_noise(
    planes: Sequence[Float32[np.ndarray, "4 h w"]], unclipped: Sequence[Bool[np.ndarray, "4 h w"]]
) -> NoiseModel:
    """What the pixels of all blocks show of their noise; block by block, as they are not one picture."""
    return fit_noise(
        sample_sound_pixels(block, valid=valid) for block, valid in zip(planes, unclipped, strict=True)
    )


def mirror(blocks: SceneBlocks, cfa: Cfa) -> SceneBlocks:
    """A view of blocks of even size that turns this phase into RGGB, and RGGB into it."""
    row, column = cfa.red
    return blocks[:, :: -1 if row else 1, :: -1 if column else 1]


def _to_capture(upright: SceneBlocks, scene: Scene, model: Model) -> RawImage:
    """Blocks of a scene, one below the other: what is looked up, and looked for, in a capture.

    They do not tell the phone's mode, which is taken to be that of a model of the same phone.
    """
    mosaic = np.rint(upright.reshape(-1, upright.shape[2]).clip(0, 1) * WHITE).astype(np.uint16)
    height, width = mosaic.shape
    return RawImage(
        mosaic=mosaic,
        cfa=Cfa.RGGB,
        active=Area(0, 0, height, width),
        levels=Levels((0.0,) * 4, float(WHITE)),
        source=Path(scene.name),
        camera=model.card.camera if scene.is_by(model.card.camera) else scene.camera,
        exposure=Exposure(iso=scene.iso),
    )


# ---------------------------------------------------------------- choosing models


def choose_models(
    ids: Sequence[str], store: ModelStore, *, bundled: str, device: str
) -> Callable[[Scene], Model]:
    """Choose a model for each scene: the only one given; of several, or of the store, that of its phone.

    Where none is of its phone it is a bundled one among those given, or else the one called `bundled`.

    Raises:
        SetupError: the device is absent.
        ModelError: a model is missing or broken.
    """
    pick_device(device)
    given = [find_model(id, store) for id in ids]
    if len(given) == 1:
        return lambda scene: given[0]
    cards = [model.card for model in given] or store.cards()
    for_all = [model for model in given if is_bundled(model.card.id)]
    load = cache(store.load)

    def choose(scene: Scene) -> Model:
        for card in cards:
            if not is_bundled(card.id) and scene.is_by(card.camera):
                return load(card.id)
        return for_all[0] if for_all else load_bundled(bundled)

    return choose


# ---------------------------------------------------------------- scoring


def evaluate(
    noisy: Float32[np.ndarray, "scenes blocks h w"],
    clean: Float32[np.ndarray, "scenes blocks h w"],
    scenes: Sequence[Scene],
    denoise: SceneDenoiser,
) -> Iterator[SceneResult]:
    """Denoise scene after scene, as many blocks as the denoiser cares to, and compare with the truth."""
    for blocks, truth, scene in zip(noisy, clean, scenes, strict=True):
        denoised = denoise(blocks, scene)
        count, megapixels = len(denoised.blocks), denoised.blocks.size / MEGAPIXEL
        scores = tuple(map(score, blocks[:count], denoised.blocks, truth[:count]))
        yield SceneResult(scene, scores, denoised.model_id, denoised.noise_from, megapixels, denoised.seconds)


def score(
    noisy: Float32[np.ndarray, "h w"], denoised: Float32[np.ndarray, "h w"], truth: Float32[np.ndarray, "h w"]
) -> BlockScore:
    """Compare a block before and after with the truth."""
    noisy_ssim, clean_ssim = (
        ssim(255 * block[None], 255 * truth[None], peak=255) for block in (noisy, denoised)
    )
    return BlockScore(psnr(noisy, truth), psnr(denoised, truth), noisy_ssim, clean_ssim)


def summarize_cameras(results: Sequence[SceneResult]) -> tuple[Figures, ...]:
    """The means of each camera, in order of code."""
    codes = sorted({result.scene.code for result in results})
    return tuple(
        summarize([result for result in results if result.scene.code == code], code) for code in codes
    )


def summarize(results: Sequence[SceneResult], name: str) -> Figures:
    """The means over all blocks of some scenes."""
    scores = [score for result in results for score in result.scores]
    return Figures(
        name=name,
        scenes=len(results),
        blocks=len(scores),
        noisy_psnr=float(np.mean([score.noisy_psnr for score in scores])),
        psnr=float(np.mean([score.psnr for score in scores])),
        noisy_ssim=float(np.mean([score.noisy_ssim for score in scores])),
        ssim=float(np.mean([score.ssim for score in scores])),
        seconds_per_megapixel=sum(result.seconds for result in results)
        / sum(result.megapixels for result in results),
        models=tuple(sorted({result.model_id for result in results})),
        noise_from=tuple(sorted({result.noise_from.value for result in results})),
    )
