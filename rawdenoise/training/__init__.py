"""Training: a camera's captures in, its model out."""

from rawdenoise.training.captures import Capture, CaptureSet, scan
from rawdenoise.training.loop import Progress, TrainingOptions, TrainingStopped, forget, train

__all__ = [
    "Capture",
    "CaptureSet",
    "Progress",
    "TrainingOptions",
    "TrainingStopped",
    "forget",
    "scan",
    "train",
]
