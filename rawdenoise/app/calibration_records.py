"""What a calibration is asked for, the frames of each camera, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rawdenoise.calibration import CalibrationPoint, Frame, SampledCapture
from rawdenoise.calibration.frames import name_with_mode
from rawdenoise.capture.raw import Camera
from rawdenoise.errors import CalibrationError, exit_code_of, explain
from rawdenoise.formats.headerless import PlainLayout
from rawdenoise.noise.profiles.profile import find_off_scale
from rawdenoise.noise.profiles.store import CameraProfile

SOURCE = "rawdenoise calibrate"


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """Frames to calibrate cameras from, and what becomes of their profiles.

    `paths` hold frames of any kind, which are sorted by content, or taken for ordinary captures where
    `as_captures`; `darks` and `flats` hold what the user takes for such. `camera` leaves out frames of other
    cameras, and names those that do not say theirs. `layout` tells how plain mosaics are to be read. A
    profile goes into the file `output`, by default into the store, and nowhere in a `dry_run`; pictures go
    into the folder `pictures`. `source` is what the profile says of where its figures come from.
    """

    paths: tuple[Path, ...] = ()
    darks: tuple[Path, ...] = ()
    flats: tuple[Path, ...] = ()
    as_captures: bool = False
    camera: str | None = None
    layout: PlainLayout | None = None
    output: Path | None = None
    pictures: Path | None = None
    dry_run: bool = False
    source: str = SOURCE


@dataclass(frozen=True, slots=True, eq=False)
class CameraFrames:
    """What there is of one camera in one mode; `pictures` is the folder for what is drawn of it."""

    camera: Camera
    darks: tuple[Frame, ...]
    flats: tuple[Frame, ...]
    captures: tuple[SampledCapture, ...]
    pictures: Path | None = None

    @property
    def name(self) -> str:
        """The camera's name, with its mode."""
        return name_with_mode(self.camera)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What came of the frames of one camera; what an `error` kept from being reached is None.

    `refusals` are of ISOs that could not be measured. `measured` is the profile of these frames alone,
    `former` what was known before, `profile` both merged. `output` is the file that was written, `page` shows
    the pictures.
    """

    frames: CameraFrames
    points: tuple[CalibrationPoint, ...] = ()
    refusals: tuple[CalibrationError, ...] = ()
    measured: CameraProfile | None = None
    former: CameraProfile | None = None
    profile: CameraProfile | None = None
    output: Path | None = None
    page: Path | None = None
    error: Exception | None = None

    def as_json(self) -> dict[str, object]:
        """Give it as what JSON holds; `isos` are those that were measured, None where files do not say."""
        defects = None if self.measured is None else self.measured.defects
        return {
            "camera": self.frames.camera.name,
            "mode": self.frames.camera.mode,
            "profile": None if self.output is None else str(self.output),
            "isos": [] if self.measured is None else [point.iso for point in self.measured.points],
            "reason": None if self.error is None else explain(self.error),
            "exit_code": 0 if self.error is None else exit_code_of(self.error),
            "darks": len(self.frames.darks),
            "flats": len(self.frames.flats),
            "captures": len(self.frames.captures),
            "hot_pixels": None if defects is None else len(defects.hot),
            "dead_pixels": None if defects is None else len(defects.dead),
            "refused": [str(refusal) for refusal in self.refusals],
            "notes": list(self.notes),
            "page": None if self.page is None else str(self.page),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the points, and which of them went or stayed where others were known."""
        notes = [(point.iso, note) for point in self.points for note in point.notes]
        if self.measured is not None and self.profile is not None:
            if self.former is not None:
                gone = "what was known is in the scale of another bit depth, and goes"
                notes += [(point.iso, gone) for point in find_off_scale(self.measured, self.former)]
            stays = "what is known already is stronger evidence, and stays"
            kept = self.profile.points
            notes += [(point.iso, stays) for point in self.measured.points if point not in kept]
        return tuple(f"ISO {iso or 'unstated'}: {note}" for iso, note in notes)
