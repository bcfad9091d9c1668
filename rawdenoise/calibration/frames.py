"""The frames of a calibration: looked at once, sorted by content, read again when they are measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32

from rawdenoise.capture.packing import find_clipped, pack, saturation_level
from rawdenoise.capture.raw import Camera, Exposure, RawImage
from rawdenoise.errors import FileError, NotFoundError, RawDenoiseError, guard_file
from rawdenoise.formats import raw_suffixes
from rawdenoise.isolation.isolated_reader import read_isolated
from rawdenoise.isolation.noisy_captures import read_untouched
from rawdenoise.noise.model import FourFloats

if TYPE_CHECKING:
    from rawdenoise.formats.headerless import PlainLayout

DARK_SIGNAL, DARK_DN = 0.004, 2.0  # a frame whose mean is below either shows no light
LIT_SIGNAL = 0.05  # mean signal from which a frame that was given as a dark is none
UNEVEN_STRUCTURE = 0.025  # structure that vignetting does not explain, relative to the signal
SAME_ISO = 0.02  # a third of a stop, the finest step that is meant, is 0.26
MOSTLY_SATURATED = 0.5  # share of saturated pixels from which nothing else can be said of a frame


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What one look at a frame tells; `read` reads its pixels again.

    `signal` is the mean per plane on the packed scale, `saturation` the DN from which pixels are saturated,
    `saturated` their share, `structure` how uneven the frame is beyond a smooth fall of light, relative to
    the signal.
    """

    source: Path
    camera: Camera
    exposure: Exposure
    shape: tuple[int, int]
    signal: FourFloats
    range_dn: float
    saturation: float
    saturated: float
    structure: float
    read: Callable[[], RawImage]

    @classmethod
    def of(cls, raw: RawImage, read: Callable[[], RawImage] | None = None) -> Frame:
        """Look at a capture; it is kept in memory unless `read` says where to get it again."""
        planes = pack(raw)
        a, b, c, d = (float(plane.mean(dtype=np.float64)) for plane in planes)
        brightest = planes[int(np.argmax((a, b, c, d)))]
        return cls(
            source=raw.source,
            camera=raw.camera,
            exposure=raw.exposure,
            shape=(raw.active.height, raw.active.width),
            signal=(a, b, c, d),
            range_dn=raw.levels.white - min(raw.levels.black),
            saturation=saturation_level(raw),
            saturated=float(find_clipped(raw).mean()),
            structure=measure_unevenness(brightest),
            read=(lambda: raw) if read is None else read,
        )

    @property
    def is_dark(self) -> bool:
        """Whether no light shows in it."""
        return max(self.signal) < max(DARK_SIGNAL, DARK_DN / self.range_dn)

    @property
    def is_even(self) -> bool:
        """Whether what it shows is as smooth as a lit wall out of focus."""
        return self.saturated > MOSTLY_SATURATED or self.structure < UNEVEN_STRUCTURE


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames sorted by content; `others` are those that are neither dark nor flat, each with the reason.

    `ordinary` are the sound captures among the others, with their cameras.
    """

    darks: tuple[Frame, ...] = ()
    flats: tuple[Frame, ...] = ()
    others: tuple[RawDenoiseError, ...] = ()
    ordinary: tuple[tuple[Path, Camera], ...] = ()

    def join(self, more: Frames) -> Frames:
        """The frames of both, in their order."""
        return Frames(*(getattr(self, kind.name) + getattr(more, kind.name) for kind in fields(Frames)))


FrameReport = Callable[[Path, RawDenoiseError | None], None]


def sort_frames(
    paths: Iterable[Path],
    layout: PlainLayout | None = None,
    *,
    meant_as: Literal["dark", "flat"] | None = None,
    camera_name: str | None = None,
    on_file: FrameReport = lambda path, error: None,
) -> Frames:
    """Look at every frame under the paths and tell darks from flats by what they show.

    `meant_as` says what the user takes them for, which decides where the content leaves a doubt; a frame that
    plainly is something else is put with the others, as are unreadable files and, where `camera_name` is
    given, frames of other cameras. Nothing is fatal.
    """
    darks: list[Frame] = []
    flats: list[Frame] = []
    others: list[RawDenoiseError] = []
    ordinary: list[tuple[Path, Camera]] = []
    for path in find_frame_files(paths, layout, others):
        frame = None
        try:
            raw = read_untouched(path, layout, camera_name)
            with guard_file(path):
                frame = Frame.of(raw, partial(read_isolated, path, layout=layout))
            kind = _tell_kind(frame, meant_as)
        except RawDenoiseError as error:
            others.append(error)
            on_file(path, error)
            if frame is not None:
                ordinary.append((path, frame.camera))
            continue
        (darks if kind == "dark" else flats).append(frame)
        on_file(path, None)
    return Frames(tuple(darks), tuple(flats), tuple(others), tuple(ordinary))


def label_isos(isos: Iterable[int | None]) -> dict[int | None, int | None]:
    """Give ISOs that differ by rounding alone one label, that of most frames.

    Cameras that tell their gain in fine steps write 101 here and 100 there for one setting.
    """
    counts = Counter(isos)
    labels: dict[int | None, int | None] = {}
    for iso, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0] or 0)):
        near = [known for known in labels.values() if known and iso and abs(iso / known - 1) <= SAME_ISO]
        labels[iso] = near[0] if near else iso
    return labels


def name_with_mode(camera: Camera) -> str:
    """Name a camera with its mode, which must agree too."""
    return f"{camera.name} ({camera.mode})" if camera.mode else camera.name


def find_frame_files(
    paths: Iterable[Path], layout: PlainLayout | None, others: list[RawDenoiseError]
) -> Iterator[Path]:
    """Find the files under the paths; what is no raw file by its name is put with the others."""
    suffixes = raw_suffixes(layout)
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            for inner in inside:
                if inner.suffix.lower() in suffixes:
                    yield inner
                else:
                    others.append(FileError(inner, "is no raw file by its name"))
        elif path.exists():
            yield path
        else:
            others.append(NotFoundError(path, "there is no such file or folder"))


def _tell_kind(frame: Frame, meant_as: Literal["dark", "flat"] | None) -> Literal["dark", "flat"]:
    """Decide what a frame is.

    Raises:
        FileError: neither, or not what it was meant as.
    """
    percent = f"{100 * max(frame.signal):.3g} % of the range"
    if meant_as == "dark":
        if max(frame.signal) >= LIT_SIGNAL:
            raise FileError(frame.source, f"was given as a dark but holds light ({percent}); cover the lens")
        return "dark"
    if meant_as == "flat":
        if frame.is_dark:
            raise FileError(frame.source, f"was given as a flat but is black ({percent}); expose longer")
        return "flat"
    if frame.is_dark:
        return "dark"
    if frame.is_even:
        return "flat"
    raise FileError(
        frame.source,
        f"is neither dark nor flat: {100 * frame.structure:.2g} % of structure beyond a smooth fall of light",
    )


def measure_unevenness(plane: Float32[np.ndarray, "h w"]) -> float:
    """How much a plane differs from a smooth surface, relative to its mean, noise not counted.

    The means of some 24x24 blocks are fitted with a polynomial of degree 4 in both directions, which follows
    vignetting and a light from one side; what is left beyond the noise of the means is structure.
    """
    side = max(4, min(plane.shape) // 24)
    rows, columns = (length // side for length in plane.shape)
    mean = float(plane.mean(dtype=np.float64))
    if rows < 6 or columns < 6 or mean <= 0:
        return 0.0
    blocks = plane[: rows * side, : columns * side].reshape(rows, side, columns, side)
    level = blocks.mean(axis=(1, 3), dtype=np.float64).reshape(-1)
    noise = blocks.var(axis=(1, 3), dtype=np.float64).reshape(-1)
    u, v = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    terms = [(u**i * v**j).reshape(-1) for i in range(5) for j in range(5 - i)]
    surface = np.stack(terms, axis=1)
    left = level - surface @ np.linalg.lstsq(surface, level, rcond=None)[0]
    inner = np.abs(left) <= np.quantile(np.abs(left), 0.95)  # hot pixels and dust are no texture
    surface, level = surface[inner], level[inner]
    left = level - surface @ np.linalg.lstsq(surface, level, rcond=None)[0]
    # The median of the blocks tells the noise: an edge makes a few blocks' variance large.
    expected = float(np.median(noise)) / side**2
    freedom = level.size - surface.shape[1]
    return float(np.sqrt(max(left @ left / freedom - expected, 0.0)) / mean)
