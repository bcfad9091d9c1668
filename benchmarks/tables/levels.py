"""What stays of a capture: its levels, its stars, and as much of its grain as is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from lab.captures import Mask, Planes, take
from lab.data import linear_half, pictures_in, published_cameras, true_noise
from lab.report import Page, markdown
from lab.store import Lab
from lab.table import COUNT, option, table

from rawdenoise.models.bundled import load_bundled
from rawdenoise.models.model import Model
from rawdenoise.noise.artefacts import remove_artefacts
from rawdenoise.noise.model import NoiseModel
from rawdenoise.pipeline import denoise_planes, find_reach
from rawdenoise.quality.divergence import LocalDenoiser
from rawdenoise.quality.gain import ClaimedNoise, assess
from rawdenoise.quality.metrics import psnr
from rawdenoise.refinement.refine import refine
from rawdenoise.refinement.removal import Removal
from rawdenoise.simulation.stars import scatter_stars
from rawdenoise.training.crops import mosaic_rggb, pack_rggb

SIDE = 64  # packed pixels of the blocks whose means are compared
EXPOSURE = 0.5  # of one that brings the highlights to white
STAR_CAMERAS = (
    (0.25, 2.0, 20.0),
    (1.0, 3.0, 10.0),
    (8.0, 10.0, 3.0),
    (30.0, 40.0, 1.5),
)  # K, read noise, sky
SPAN = 15871.0  # DN of a star's camera
STRENGTHS = ((1.0, 1.0), (0.8, 0.8), (0.8, 1.0), (0.5, 1.0), (0.0, 1.0))
SIGNAL_TO_NOISE = ((8, 15), (15, 30), (30, 60), (60, 1000))  # of a star's brightest pixel

Row = dict[str, Any]


@table("levels", {"docs/quality.md: what stays of a capture": "--pictures 6"})
@option("--model", default="fast", help="a bundled model")
@option("--pictures", type=COUNT, default=24, help="of kodak24, by name")
@option("--seed", default=0)
def levels(lab: Lab, model: str, pictures: int, seed: int) -> Page:
    """What stays of a capture: its levels, its stars, and as much of its grain as is asked for.

    Photographs are taken by the published cameras at every ISO and denoised with their true noise. The means
    of blocks of 64 x 64 packed pixels are compared with the capture's, before and after levels and points are
    given back: in the worst block, in standard errors of the noise. A second table is of simulated stars, by
    the signal to noise of their brightest pixel; a third of strengths for luminance and colour, and what is
    told of their gain.
    """
    settings = {"kind": "levels", "model": model, "pictures": pictures, "seed": seed}
    net = load_bundled(model)
    means, stars, strengths = (
        lab.result({**settings, "of": name}, lambda make=make: [*make(lab, net, pictures, seed)])
        for name, make in (("means", _means), ("stars", _stars), ("strengths", _strengths))
    )
    head = [
        "camera, ISO",
        "worst block before, SE",
        "after",
        "worst colour before, %",
        "after",
        "its noise",
        "dB by it",
    ]
    star_head = [
        "K, signal to noise",
        "stars",
        "peak before",
        "after",
        "spread before",
        "after",
        "noise",
        "flux before",
        "after",
    ]
    parts = [
        ("Means of blocks, against the capture", head, means),
        ("Stars: what their peaks lack (mean, spread) and their flux (mean), relative", star_head, stars),
        ("Strengths of luminance and colour", ["camera, ISO", "strengths", "true gain", "told"], strengths),
    ]  # fmt: skip
    return Page("\n\n".join(markdown(names, rows, title) for title, names, rows in parts if rows))


def _means(lab: Lab, model: Model, pictures: int, seed: int) -> Iterator[list[str]]:
    for name, noise, shots in _take(lab, pictures, seed):
        rows = []
        for planes, clean, valid in shots:
            answer = denoise_planes(planes, noise, model, device=lab.device)
            result = answer.copy()
            refine(planes, result, noise, valid=valid)
            error = np.sqrt(_block_means(noise.variance(clean), valid) / SIDE**2)
            worst = [np.nanmax(np.abs(_block_means(of - planes, valid)) / error) for of in (answer, result)]
            means = _plane_means(planes, valid)
            shift = [100 * np.abs(_plane_means(of - planes, valid) / means).max() for of in (answer, result)]
            errors = np.sqrt(_plane_means(noise.variance(clean), valid) / valid.sum(axis=(1, 2)))
            gained = psnr(result[valid], clean[valid]) - psnr(answer[valid], clean[valid])
            rows.append((*worst, *shift, 100 * (errors / means).max(), gained))
        before, after, off, off_after, error, _ = np.max(rows, axis=0)
        gain = np.mean(rows, axis=0)[-1]
        colors = (f"{of:.3f}" for of in (off, off_after, error))
        yield [name, f"{before:.1f}", f"{after:.1f}", *colors, f"{gain:+.3f}"]


def _plane_means(planes: Planes, valid: Mask) -> Float64[np.ndarray, "4"]:
    return np.array(
        [plane.mean(where=sound, dtype=np.float64) for plane, sound in zip(planes, valid, strict=True)]
    )


def _take(
    lab: Lab, pictures: int, seed: int
) -> Iterator[tuple[str, NoiseModel, Iterator[tuple[Planes, Planes, Mask]]]]:
    """Each camera and ISO with its noise, and captures without artefacts, the truth, and sound pixels."""
    scenes = [linear_half(path) for path in pictures_in(lab.data / "srgb/kodak24")[:pictures]]
    for camera in published_cameras(lab.published, 4, 4):
        for iso in camera.noise:
            noise = true_noise(camera, iso)

            def shots(camera=camera, iso=iso, noise=noise) -> Iterator[tuple[Planes, Planes, Mask]]:  # type: ignore[no-untyped-def]
                rng = np.random.default_rng([seed, iso])
                for scene in scenes:
                    shot = take((EXPOSURE * scene).astype(np.float32), camera, iso, rng)
                    sound = remove_artefacts(shot.planes, noise, valid=shot.valid)
                    yield sound.planes, shot.clean, shot.valid & ~sound.defects

            yield f"{camera.camera.model}, {iso}", noise, shots()


def _block_means(planes: Planes, valid: Mask) -> Float64[np.ndarray, "4 rows columns"]:
    height, width = (length // SIDE * SIDE for length in planes.shape[1:])
    shape = (4, height // SIDE, SIDE, width // SIDE, SIDE)
    sums, counts = (
        part[:, :height, :width].reshape(shape).sum(axis=(2, 4), dtype=np.float64)
        for part in (planes * valid, valid)
    )
    means: Float64[np.ndarray, "4 rows columns"] = sums / np.where(counts > SIDE**2 / 2, counts, np.nan)
    return means


# ---------------------------------------------------------------- stars


def _stars(lab: Lab, model: Model, pictures: int, seed: int) -> Iterator[list[str]]:
    for gain, read, sky in STAR_CAMERAS:
        rng = np.random.default_rng([seed, round(100 * gain)])
        electrons, places = scatter_stars(800, 1200, sky=sky, full=SPAN / gain, rng=rng)
        noise = NoiseModel((gain / SPAN,) * 4, ((read**2 + 1 / 12) / SPAN**2,) * 4)
        taken = gain * rng.poisson(electrons) + read * rng.standard_normal(electrons.shape)
        mosaic = np.asarray(np.minimum(np.rint(taken), SPAN) / SPAN, np.float32)
        planes = pack_rggb(mosaic)
        sound = remove_artefacts(planes, noise, valid=planes < 1)
        answer = denoise_planes(sound.planes, noise, model, device=lab.device)
        result = answer.copy()
        refine(sound.planes, result, noise, valid=(planes < 1) & ~sound.defects)
        true = (electrons * gain / SPAN).astype(np.float32)
        rows = _measure_stars(
            places, true, mosaic, [mosaic_rggb(answer), mosaic_rggb(result)], noise, sky * gain / SPAN
        )
        for low, high in SIGNAL_TO_NOISE:
            ratio, before, after, flux, flux_after = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)].T
            if not ratio.size:
                continue
            spreads = [np.sqrt(np.mean(of**2)) for of in (before, after)]
            signed = [f"{of.mean():+.3f}" for of in (before, after, flux, flux_after)]
            noisy = [f"{of:.3f}" for of in (*spreads, np.mean(1 / ratio))]
            yield [f"{gain:g}, {low} to {high}", str(ratio.size), *signed[:2], *noisy, *signed[2:]]


def _measure_stars(
    places: Any, true: Any, mosaic: Any, results: list[Any], noise: NoiseModel, sky: float
) -> Float64[np.ndarray, "n 5"]:
    """Of each star: its peak over its noise, what peaks lack against the truth, and fluxes to the capture."""
    deviation = mosaic_rggb(np.sqrt(noise.variance(pack_rggb(true))))
    rows = []
    for row, column in places:
        window = np.s_[row - 8 : row + 9, column - 8 : column + 9]
        above = true[window] - sky
        at = np.unravel_index(above.argmax(), above.shape)
        peaks = [(result[window][at] - true[window][at]) / above[at] for result in results]
        fluxes = [(result - mosaic)[window].sum() / above.sum() for result in results]
        rows.append((above[at] / deviation[window][at], *peaks, *fluxes))
    return np.array(rows, np.float64)


# ---------------------------------------------------------------- luminance and colour


def _strengths(lab: Lab, model: Model, pictures: int, seed: int) -> Iterator[list[str]]:
    for name, noise, shots in _take(lab, min(pictures, 4), seed):
        gains: Mapping[tuple[float, float], list[tuple[float, float]]] = {each: [] for each in STRENGTHS}
        for planes, clean, valid in shots:

            def run(part: Float32[np.ndarray, "4 h w"], noise: NoiseModel = noise) -> Planes:
                return denoise_planes(part, noise, model, device=lab.device)

            result = run(planes)
            refinement = refine(planes, result, noise, valid=valid)
            for strengths in STRENGTHS:
                removal = Removal(*strengths, neutral=(0.5, 0.7))
                quality = assess(
                    planes, result, ClaimedNoise(noise), LocalDenoiser(run, *find_reach(model)), valid=valid,
                    refinement=refinement, removal=removal,
                )  # fmt: skip
                assert quality is not None
                written = planes - removal.take(planes - result, sound=valid)
                true = psnr(written[valid], clean[valid]) - psnr(planes[valid], clean[valid])
                gains[strengths].append((true, quality.gain_db - true))
        for (luminance, chroma), found in gains.items():
            true, error = np.mean(found, axis=0)
            yield [name, f"{luminance:g}, {chroma:g}", f"{true:+.2f}", f"{error:+.2f}"]
