"""Table 2 of the papers: SIDD's raw validation blocks, a network for each phone, trained on its frames."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from statistics import fmean

from commands import at_least
from gaussian import digest
from methods import BM3D, NOISY, Bm3d, Ground, Method, answering, as_model, base, taught
from sheets import Figures, comma_separated, markdown, tell
from simulated import Pair, PairSource, Shot, Target, pair_of
from trials import (
    ROWS,
    Kept,
    NotDoneError,
    Trained,
    Trial,
    asked_for,
    in_order,
    passes,
    seeds_of,
    train,
    versions,
)

from rawdenoise.atomic import write_bytes
from rawdenoise.capture.packing import clipped, pack
from rawdenoise.capture.raw import RawImage
from rawdenoise.evaluation import blocks, sidd
from rawdenoise.evaluation.scenes import Scene, find_scenes
from rawdenoise.formats import read_raw
from rawdenoise.formats.sidd import CAMERAS, parse_scene_name
from rawdenoise.nets import Network
from rawdenoise.noise.artefacts import sample_sound
from rawdenoise.noise.fit import fit_noise
from rawdenoise.noise.iso_noise import IsoNoise
from rawdenoise.terminal.text import counted

PHONES = tuple(CAMERAS)
FRAME, AGAIN, TRUTH = "NOISY_RAW_010", "NOISY_RAW_011", "GT_RAW_010"
HELD_OUT = 8  # one frame in so many is never trained on
LEFT_OUT = {"blind2unblind", *(f"paper-{gamma}" for gamma in (0, 1, 5, 10, 20))}
COLUMNS = (
    "method", "phone", "seed", "blocks", "psnr_db", "ssim", "published_psnr_db", "crops", "training_s",
    "rawdenoise", "torch", "python",
)  # fmt: skip

# Validation PSNR in dB: Wang et al., Blind2Unblind (CVPR 2022), table 3, and the GR2R paper; theirs are one
# network for all phones, trained on all of SIDD-Medium.
PUBLISHED = {
    BM3D: 48.92, "noise2void": 48.55, "laine19": 42.87, "d-bsn": 50.13, "r2r": 47.20,
    "neighbor2neighbor": 51.06, "supervised": 51.19, "noise2noise": 51.21, "paper-2": 51.29,
    "blind2unblind": 51.36,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """The blocks to test with, and what they are."""

    title: str
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


@dataclass(frozen=True, slots=True)
class Cell:
    """A method on a phone's blocks."""

    method: str
    phone: str
    seed: int
    figures: Figures
    trained: Trained | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """What this table has beside the others' options."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", required=True, help="validation blocks and frames"
    )
    parser.add_argument("--frames", type=Path, metavar="DIR", help="frames, if they lie elsewhere")
    parser.add_argument("--phones", nargs="+", choices=PHONES, default=list(PHONES))
    parser.add_argument(
        "--scenes", type=Path, metavar="FILE", help="names of the scenes, where they are not SIDD's 40"
    )
    parser.add_argument(
        "--limit-blocks", type=at_least(1), metavar="N", help="the first N blocks of a scene only"
    )
    parser.add_argument("--bm3d", action="store_true", help="BM3D, if its package is there (slow)")


def run(options: argparse.Namespace) -> None:
    """Do what is missing, and write the table after each phone."""
    test, cells = validation(options), {}
    phones = [phone for phone in options.phones if test.of(phone)]
    wanted = asked_for(options.only, LEFT_OUT, bm3d=options.bm3d)
    for kept, methods in passes(options.work, wanted):
        for method in methods:
            for seed, phone in product(seeds_of(method, options.seeds), phones):
                with suppress(NotDoneError):
                    for cell in carried_out(method, phone, seed, test, kept, options):
                        cells[method, phone, seed] = cell
                if not kept.frozen:
                    write(test, in_order(cells.values()), options)
    print(page(test, in_order(cells.values()), options))


def validation(options: argparse.Namespace) -> Validation:
    """Read the blocks."""
    noisy, clean = blocks.read_validation(options.data)
    scenes = find_scenes(options.data, len(noisy), options.scenes)
    noisy, clean = (each[:, : options.limit_blocks] for each in (noisy, clean))
    shape = "x".join(map(str, noisy.shape))
    identity = f"{digest([blocks.found(options.data, blocks.NOISY)])}-{shape}"
    return Validation(blocks.title(options.data), noisy, clean, scenes, identity)


def carried_out(
    method: str, phone: str, seed: int, test: Validation, kept: Kept, options: argparse.Namespace
) -> Iterator[Cell]:
    """Train if the method asks for it, and test on the phone's blocks; what is there is taken as it is."""
    row, paths = ROWS[method], frame_paths(options.frames or options.data, phone)
    teacher, trained, net = taught(method, ROWS), None, None
    name = f"{method}.{phone}"
    if ROWS[teacher].objective is not None:
        if not paths and not kept.frozen:
            raise SystemExit(f"{options.frames or options.data}: no frames of {phone} to train on")
        if row.target is Target.CAPTURE and not all(beside(path, AGAIN).is_file() for path in paths):
            if not kept.frozen:
                tell(f"{method}: no second frames ({AGAIN}) of {phone}; left out")
            return
        trial = Trial(
            f"SIDD frames of {phone}, {digest(paths)}", teacher, options.net, seed, options.crops,
            options.minutes, options.batch, options.crop,
        )  # fmt: skip
        trained = train(trial, kept, partial(ground, paths, ROWS[teacher]), device=options.device)
        net = answering(row, kept.net(trial))
        name = f"{trial.name}.{'mean' if row.mean else phone}"
    elif row.base is not None:
        if (model := base(row.base)) is None:
            return
        net, name = model.net, f"{name}.{model.card.weights_sha256[:8]}"
    elif method == BM3D:
        net = Bm3d()
    figures = tested(f"{name}.{test.identity}", phone, net, paths, test, kept, options)
    yield Cell(method, phone, seed, figures, trained)


def tested(
    name: str,
    phone: str,
    net: Network | None,
    paths: tuple[Path, ...],
    test: Validation,
    kept: Kept,
    options: argparse.Namespace,
) -> Figures:
    """Denoise a phone's blocks and score them, or take what is there."""
    found = kept.figures(name)
    if found is not None:
        return found
    known = frames(paths).noise if paths else ()
    results = []
    for at in test.of(phone):
        scene = test.scenes[at]
        noisy, clean = test.noisy[at], test.clean[at]
        if net is None:
            results += [sidd.score(each, each, truth) for each, truth in zip(noisy, clean, strict=True)]
            continue
        model = as_model(net, scene.camera, kind=options.net, noise=known)
        denoised = sidd.denoise_scene(noisy, scene, model, device=options.device)
        results += map(sidd.score, noisy, denoised.blocks, clean)
    found = Figures(tuple(each.psnr for each in results), tuple(each.ssim for each in results))
    kept.save_figures(name, found, phone=phone)
    tell(f"{name}: {found.mean_psnr:.2f} dB, {found.mean_ssim:.4f}")
    return found


# ---------------------------------------------------------------- frames


@cache
def frame_paths(folder: Path, phone: str) -> tuple[Path, ...]:
    """A phone's first noisy frames of all scenes, by name."""
    found = [path for path in folder.rglob("*.MAT") if FRAME in path.name.upper()]
    named = [(path, parse_scene_name(path)) for path in found]
    mine = [path for path, name in named if name is not None and name.camera_code == phone]
    return tuple(sorted(mine))


def ground(paths: tuple[Path, ...], method: Method) -> Ground:
    """What a method is trained on; a fifth of the scenes are known by their truth alone, where it asks so."""
    known = frames(paths)
    source = PairSource(known.pairs, known.held_out, method.target)
    if not method.distilled:
        return Ground(source)
    if len(known.pairs) < 2:
        raise SystemExit(f"{paths[0]}: too few frames of this phone for noisy and clean ones")
    return Ground(*source.unpaired())


@lru_cache(maxsize=1)
def frames(paths: tuple[Path, ...]) -> Frames:
    """Read a phone's frames, their truths and second frames, if there are any, in RGGB phase."""
    shots = [shot(read_raw(path), path) for path in paths]
    isos = sorted({each.iso for each in shots})
    samples = {
        iso: [sample_sound(each.planes, valid=each.valid) for each in shots if each.iso == iso]
        for iso in isos
    }
    noise = {iso: fit_noise(each) for iso, each in samples.items()}
    pairs = []
    for path, first in zip(paths, shots, strict=True):
        again = beside(path, AGAIN)
        second = shot(read_raw(again), path) if again.is_file() else first
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


def shot(raw: RawImage, path: Path) -> Shot:
    """A frame of the scene that lies at this path, and its truth."""
    return Shot(raw, pack(raw), ~clipped(raw), pack(read_raw(beside(path, TRUTH))))


def beside(path: Path, kind: str) -> Path:
    """Another file of the same scene."""
    return path.with_name(path.name.upper().replace(FRAME, kind).replace(".MAT", path.suffix))


# ---------------------------------------------------------------- on paper


def write(test: Validation, cells: Sequence[Cell], options: argparse.Namespace) -> None:
    """Write the table as far as it is."""
    write_bytes(options.work / "table2.csv", comma_separated(COLUMNS, map(line, cells)))
    write_bytes(options.work / "table2.md", page(test, cells, options).encode())


def line(cell: Cell) -> list[object]:
    """A line of the CSV."""
    made_with = cell.trained.versions if cell.trained else versions()
    took = [cell.trained.crops, f"{cell.trained.training_s:.1f}"] if cell.trained else ["", ""]
    return [
        cell.method, cell.phone, cell.seed if cell.trained else "", len(cell.figures.psnr),
        f"{cell.figures.mean_psnr:.3f}", f"{cell.figures.mean_ssim:.5f}", PUBLISHED.get(cell.method, ""),
        *took, *(made_with[name] for name in ("rawdenoise", "torch", "python")),
    ]  # fmt: skip


def page(test: Validation, cells: Sequence[Cell], options: argparse.Namespace) -> str:
    """A line per method: all blocks, then those of each phone."""
    phones = [phone for phone in options.phones if test.of(phone)]
    head = [test.title, "all, dB", "SSIM", *(f"{phone}, dB" for phone in phones), "published", "training s"]
    rows = [row(method, cells, phones) for method in dict.fromkeys(cell.method for cell in cells)]
    budget = f"{options.crops} crops" if options.crops is not None else f"{options.minutes:g} minutes"
    made_with = ", ".join(f"{name} {version}" for name, version in versions().items())
    seeds = ", ".join(map(str, options.seeds))
    size = f"{counted(len(test.noisy), 'scene')} of {counted(test.noisy.shape[1], 'block')}"
    return (
        f"{markdown(head, rows)}\n\n{size}. Network {options.net}, {budget} a phone, seeds {seeds}. "
        "Published: SIDD's validation, of the Blind2Unblind and GR2R papers.\n\n"
        f"Made with {made_with}.\n"
    )


def row(method: str, cells: Sequence[Cell], phones: Sequence[str]) -> list[str]:
    """A method's figures; those of all blocks where all phones have been done."""
    mine = [cell for cell in cells if cell.method == method]
    here: Mapping[str, list[Cell]] = {phone: [c for c in mine if c.phone == phone] for phone in phones}
    whole = all(here.values())
    psnr = [value for cell in mine for value in cell.figures.psnr]
    ssim = [value for cell in mine for value in cell.figures.ssim]
    published = PUBLISHED.get(method)
    took = [cell.trained.training_s for cell in mine if cell.trained]
    return [
        ROWS[method].title if method != NOISY else "noisy",
        f"{fmean(psnr):.2f}" if whole else "",
        f"{fmean(ssim):.4f}" if whole else "",
        *(f"{fmean(c.figures.mean_psnr for c in each):.2f}" if each else "" for each in here.values()),
        f"{published:.2f}" if published else "",
        f"{fmean(took):.0f}" if took else "",
    ]
