"""How far a calibration is: the frames that were read in, one fraction out, which never falls."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rawdenoise.app.progress import FINISHED, OnProgress, WorkProgress, expect_seconds_left
from rawdenoise.calibration import Frame
from rawdenoise.capture.raw import RawImage
from rawdenoise.errors import RawDenoiseError, Stop, Stopped, never
from rawdenoise.inference.stages import unheard

READ, MEASURE = "read", "measure"
READS_OF_A_FRAME = 2  # in measuring: in pairs, and for defects


class CalibrationMeter:
    """Hears of frames that were read and tells `on_progress`; raises `Stopped` when `stop` says so."""

    def __init__(self, on_progress: OnProgress = unheard, stop: Stop = never) -> None:
        self._on_progress, self._stop = on_progress, stop
        self._stage, self._start, self._end, self._reads, self._count = READ, 0.0, 0.0, 0, 1
        self._cameras = self._finished = 0
        self._began = time.monotonic()

    def begin(self, stage: str, until: float, count: int) -> None:
        """Begin so many reads, with which the fraction is to rise from where it is."""
        self._stage, self._start = stage, self._fraction
        self._end, self._reads, self._count = max(self._start, until), 0, max(1, count)

    def begin_camera(self, cameras: int, frames: int) -> None:
        """Begin to measure one of the cameras, from so many frames."""
        self._cameras = cameras
        rest = (1 - self._fraction) / max(1, cameras - self._finished)
        self.begin(MEASURE, self._fraction + rest, READS_OF_A_FRAME * frames)

    def finish_camera(self) -> None:
        """Hear that a camera has its result."""
        self._finished += 1
        self._reads = self._count
        self._tell(FINISHED, None)

    def on_file(self, path: Path, error: RawDenoiseError | None = None) -> None:
        """Hear that a file was read.

        Raises:
            Stopped: it is to be the last one.
        """
        self.check()
        self._reads += 1
        self._tell(self._stage, path)

    def check(self) -> None:
        """Go on only where nobody has asked to stop.

        Raises:
            Stopped: somebody has.
        """
        if self._stop():
            raise Stopped

    def watch(self, frames: Iterable[Frame]) -> tuple[Frame, ...]:
        """Give frames whose every reading is heard of."""
        return tuple(self._watch(frame) for frame in frames)

    def _watch(self, frame: Frame) -> Frame:
        def read() -> RawImage:
            self.on_file(frame.source)
            return frame.read()

        return replace(frame, read=read)

    @property
    def _fraction(self) -> float:
        return self._start + (self._end - self._start) * min(1.0, self._reads / self._count)

    def _tell(self, stage: str, file: Path | None) -> None:
        fraction = self._fraction
        left = expect_seconds_left(time.monotonic() - self._began, fraction)
        self._on_progress(WorkProgress(stage, fraction, file, self._finished, self._cameras, left))
