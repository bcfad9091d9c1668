"""How far the training of several cameras is: their events in, one fraction out, which never falls."""

from __future__ import annotations

from rawdenoise.app.progress import FINISHED, OnProgress, WorkProgress
from rawdenoise.app.training_events import CameraBegun, Event, FilesRead
from rawdenoise.training.progress import Progress

READ, TRAIN = "read", "train"
READING = "reading captures"  # the first stage of a training, which begins at 0 again for the next
READING_SHARE = 0.05


class TrainingMeter:
    """Hears of events and tells `on_progress`; cameras weigh alike, and reading captures next to nothing.

    What is read before it is known which cameras there are has no fraction: nobody knows how much there is.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._number, self._count, self._finished = 0, 0, 0
        self._fraction = 0.0

    def note(self, event: Event) -> None:
        """Hear what happened."""
        match event:
            case FilesRead():
                self._on_progress(WorkProgress(READ, None))
            case CameraBegun(number, count):
                self._number, self._count = number, count
                self._tell(READ, 0.0, None)
            case Progress(stage=stage, done=done) if self._count:
                is_reading = stage == READING
                share = READING_SHARE * done if is_reading else READING_SHARE + (1 - READING_SHARE) * done
                self._tell(READ if is_reading else TRAIN, share, self._estimate_seconds_left(event))

    def finish(self) -> None:
        """Hear that a camera has its result."""
        self._finished += 1
        self._tell(FINISHED, 1.0, 0.0 if self._finished == self._count else None)

    def _tell(self, stage: str, share: float, seconds_left: float | None) -> None:
        if self._count:
            self._fraction = max(self._fraction, (self._number - 1 + share) / self._count)
            self._on_progress(
                WorkProgress(stage, self._fraction, None, self._finished, self._count, seconds_left)
            )

    def _estimate_seconds_left(self, progress: Progress) -> float | None:
        """What this camera's training says is left, and as long as all of it for each that follows."""
        if progress.remaining_s is None:
            return None
        following = self._count - self._number
        return progress.remaining_s + following * (progress.elapsed_s + progress.remaining_s)
