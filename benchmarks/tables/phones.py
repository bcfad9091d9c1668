"""Table 2 of the papers: SIDD's raw validation blocks, a network for each phone, trained on its frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from statistics import fmean

import click
from lab import standin
from lab.captures import Pair, PairSource, Shot, pair_of
from lab.compare import COLUMNS, Budget, Cell, Place, Test, by_method, compare, psnr_and_ssim
from lab.data import digest, pictures_in
from lab.methods import BM3D, METHODS, PAPERS, Bm3d, Figures, Ground, as_model
from lab.report import Page, markdown, tell
from lab.store import Lab, made_with
from lab.table import COUNT, FILE, FOLDER, WITH_BM3D, Words, budget_options, option, table
from lab.trials import Trial

from rawdenoise.capture.packing import find_clipped, pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.evaluation import sidd_blocks as blocks
from rawdenoise.evaluation import sidd_scores as sidd
from rawdenoise.evaluation.sidd_scenes import Scene, find_scenes
from rawdenoise.formats import read_raw
from rawdenoise.formats.sidd import SIDD_CAMERAS, parse_scene_name
from rawdenoise.nets import Network
from rawdenoise.noise.artefacts import sample_sound_pixels
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.iso_noise import IsoNoise

PHONES = tuple(SIDD_CAMERAS)
FRAME, AGAIN, TRUTH = "NOISY_RAW_010", "NOISY_RAW_011", "GT_RAW_010"
HELD_OUT = 8  # one frame in so many is never trained on
LEFT_OUT = {"blind2unblind", *(f"paper-{gamma}" for gamma in (0, 1, 5, 10, 20))}
# Validation PSNR in dB: Wang et al., Blind2Unblind (CVPR 2022), table 3, and the GR2R paper; theirs are one
# network for all phones, trained on all of SIDD-Medium.
PUBLISHED = {
    BM3D: 48.92, "noise2void": 48.55, "laine19": 42.87, "d-bsn": 50.13, "r2r": 47.20,
    "neighbor2neighbor": 51.06, "supervised": 51.19, "noise2noise": 51.21, "paper-2": 51.29,
    "blind2unblind": 51.36,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """The blocks to test with, and what they are; `folder` holds the frames."""

    title: str
    folder: Path
    noisy: blocks.Blocks
    clean: blocks.Blocks
    scenes: tuple[Scene, ...]
    identity: str

    def of(self, phone: str) -> list[int]:
        """Which scenes are a phone's."""
        return [at for at, scene in enumerate(self.scenes) if scene.code == phone]


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """A phone's frames to train on, and what is known of their noise."""

    pairs: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    noise: tuple[IsoNoise, ...]


@table("sidd-standin", {
    "docs/quality.md: the files of the stand-in for SIDD (then `rawdenoise evaluate sidd`)": "--out OUT",
})  # fmt: skip
@option("--out", type=FOLDER, required=True)
@option("--pictures", type=FOLDER, help="of the validation scenes  [default: srgb/kodak24 of --data]")
@option("--training", type=FOLDER, help="of the frames to train on  [default: srgb/bsds500 of --data]")
@option("--scenes", type=COUNT, default=40, help="40 as SIDD has")
@option("--blocks", type=COUNT, default=32, help="of each scene, 32 as in SIDD")
@option("--frames", type=COUNT, default=6, help="scenes to train on of each phone and ISO")
@option("--seed", default=0)
def sidd_standin(lab: Lab, out: Path, pictures: Path | None, training: Path | None, **size: int) -> Page:
    """Files of SIDD's layout, of photographs taken by five simulated phones: not SIDD."""
    pictures, training = pictures or lab.kodak, training or lab.bsds
    if training.resolve() == pictures.resolve():
        raise click.UsageError("--training must show other pictures than --pictures")
    shown, trained_on = pictures_in(pictures), pictures_in(training)
    standin.write_standin(out, lab.published, shown, trained_on, standin.Size(**size))
    return Page(f"{standin.TITLE}: {size['scenes']} scenes of {size['blocks']} blocks in {out}")


@table("table2", {
    "docs/quality.md: the stand-in, a network for each phone": "--sidd OUT --crops 3000 --threads 1 --only "
        "noisy,base-fast,base-best,supervised,gr2r,d-bsn,d-bsn-mean,unpaired,neighbor2neighbor,noise2void,"
        "noise2noise",
})  # fmt: skip
@budget_options(PAPERS)
@WITH_BM3D
@option("--sidd", "folder", type=FOLDER, required=True, help="validation blocks and frames")
@option("--frames", type=FOLDER, help="frames, if they lie elsewhere")
@option("--phones", type=Words(PHONES), default=PHONES)
@option("--scenes", type=FILE, help="names of the scenes, where they are not SIDD's 40")
@option("--limit-blocks", type=COUNT, help="the first so many blocks of a scene only")
def table2(
    lab: Lab, budget: Budget, folder: Path, frames: Path | None, phones: Sequence[str], scenes: Path | None,
    limit_blocks: int | None, bm3d: bool,
) -> Page:  # fmt: skip
    """SIDD's raw validation blocks, as in table 2 of the papers: a network for each phone.

    `rawdenoise evaluate sidd` scores alike; `sidd-standin` makes files of that layout where SIDD is not at
    hand. At the papers' scale: --net paper --crops 640000 --batch 10 --crop 128 --device cuda.
    """
    test = _validation(folder, frames, scenes, limit_blocks)
    places = [phone_place(phone, test, lab.device) for phone in phones if test.of(phone)]
    cells: list[Cell] = []
    for run in budget.runs(PAPERS, LEFT_OUT, bm3d=bm3d):
        for place in places:
            if run.method == "noise2noise" and not _all_twice(frame_paths(test.folder, place.title)):
                tell(f"{run.method}: no second frames ({AGAIN}) of {place.title}; left out")
            else:
                cells += compare(lab, place, run, budget)
    phones = [place.title for place in places]
    head = [test.title, "all, dB", "SSIM", *(f"{phone}, dB" for phone in phones), "published", "training s"]
    rows = [_row(method, mine, phones) for method, mine in by_method(cells).items()]
    notes = (
        f"{len(test.noisy)} scenes of {test.noisy.shape[1]} blocks. Network {budget.net}, {budget} a phone, "
        f"{budget.all_seeds}. "
        "Published: SIDD's validation, of the Blind2Unblind and GR2R papers."
    )
    lines = [cell.line(budget.net, (PUBLISHED.get(cell.method, ""), "")) for cell in cells]
    return Page("\n\n".join([markdown(head, rows), notes, made_with()]), [COLUMNS, *lines])


def _validation(folder: Path, frames: Path | None, names: Path | None, limit: int | None) -> Validation:
    """Read the blocks."""
    noisy, clean = blocks.read_validation(folder)
    scenes = find_scenes(folder, len(noisy), names)
    shape = "x".join(map(str, noisy[:, :limit].shape))
    identity = f"{digest([blocks.find_file(folder, blocks.NOISY)])}-{shape}"
    title = blocks.describe_blocks(folder)
    return Validation(title, frames or folder, noisy[:, :limit], clean[:, :limit], scenes, identity)


def phone_place(phone: str, test: Validation, device: str) -> Place:
    """A phone: trained on its frames, tested with its blocks."""
    paths = frame_paths(test.folder, phone)

    def run(method: str, trial: Trial, net: Network | None) -> Figures:
        net = Bm3d() if method == BM3D else net
        known, scores = _read_frames(paths).noise if paths else (), []
        for at in test.of(phone):
            scene, noisy, clean = test.scenes[at], test.noisy[at], test.clean[at]
            denoised = noisy
            if net is not None:
                model = as_model(net, scene.camera, kind=trial.net, noise=known)
                denoised = sidd.denoise_scene(noisy, scene, model, device=device).blocks
            scores += map(sidd.score, noisy, denoised, clean)
        return Figures(tuple(score.psnr for score in scores), tuple(score.ssim for score in scores))

    identity = f"SIDD frames of {phone}, {digest(paths)}"
    return Place(phone, identity, partial(_ground, paths), [Test("blocks", test.identity, run)])


# ---------------------------------------------------------------- frames


@cache
def frame_paths(folder: Path, phone: str) -> tuple[Path, ...]:
    """A phone's first noisy frames of all scenes, by name."""
    paths = [path for path in folder.rglob("*.MAT") if FRAME in path.name.upper()]
    named = [(path, parse_scene_name(path)) for path in paths]
    mine = [path for path, name in named if name is not None and name.camera_code == phone]
    return tuple(sorted(mine))


def _all_twice(paths: Sequence[Path]) -> bool:
    return all(_beside(path, AGAIN).is_file() for path in paths)


def _ground(paths: tuple[Path, ...], method: str, seed: int) -> Ground:
    """What a method is trained on; a fifth of the scenes are known by their truth alone, where it asks so."""
    known = _read_frames(paths)
    return Ground.of(PairSource(known.pairs, known.held_out, METHODS[method].target), method)


@lru_cache(maxsize=1)
def _read_frames(paths: tuple[Path, ...]) -> Frames:
    """Read a phone's frames, their truths and second frames, if there are any, in RGGB phase."""
    if not paths:
        raise click.UsageError("no frames of this phone to train on")
    shots = [_shot(read_raw(path), path) for path in paths]
    isos = sorted({shot.iso for shot in shots})
    samples = {
        iso: [sample_sound_pixels(shot.planes, valid=shot.valid) for shot in shots if shot.iso == iso]
        for iso in isos
    }
    noise = {iso: fit_noise(shown) for iso, shown in samples.items()}
    pairs = []
    for path, first in zip(paths, shots, strict=True):
        again = _beside(path, AGAIN)
        second = _shot(read_raw(again), path) if again.is_file() else first
        pairs.append(pair_of(first, second, noise[first.iso], noise[first.iso]))
    kept = max(1, len(pairs) // HELD_OUT)
    every = tuple(IsoNoise(iso, noise[iso], len(samples[iso])) for iso in isos)
    # Frames of a phone alternate in ISO and light: those that are held out are from all over.
    held_out = set(range(0, len(pairs), -(-len(pairs) // kept)))
    return Frames(
        tuple(pair for at, pair in enumerate(pairs) if at not in held_out),
        tuple(pair for at, pair in enumerate(pairs) if at in held_out),
        every,
    )


def _shot(raw: RawImage, path: Path) -> Shot:
    """A frame of the scene that lies at this path, and its truth."""
    return Shot(raw, pack(raw), ~find_clipped(raw), pack(read_raw(_beside(path, TRUTH))))


def _beside(path: Path, kind: str) -> Path:
    """Another file of the same scene."""
    return path.with_name(path.name.upper().replace(FRAME, kind).replace(".MAT", path.suffix))


def _row(method: str, cells: Sequence[Cell], phones: Sequence[str]) -> list[str]:
    """A method's figures: all blocks, where all phones have been done, then those of each phone."""
    of_phone: Mapping[str, list[Cell]] = {phone: [c for c in cells if c.place == phone] for phone in phones}
    psnr = fmean(value for cell in cells for value in cell.figures.psnr)
    ssim = fmean(value for cell in cells for value in cell.figures.ssim)
    published, took = PUBLISHED.get(method), [cell.trained.training_s for cell in cells if cell.trained]
    return [
        METHODS[method].title,
        *([f"{psnr:.2f}", f"{ssim:.4f}"] if all(of_phone.values()) else ["", ""]),
        *(psnr_and_ssim(mine)[0] for mine in of_phone.values()),
        f"{published:.2f}" if published else "",
        f"{fmean(took):.0f}" if took else "",
    ]
