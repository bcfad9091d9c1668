"""Training: a camera's captures in, its model out."""

from rawdenoise.training.camera import Trained, forget, train
from rawdenoise.training.captures import Capture, CaptureSet, scan
from rawdenoise.training.loop import Progress, TrainingOptions, TrainingStopped
from rawdenoise.training.unpaired import Unpaired

__all__ = [
    "Capture",
    "CaptureSet",
    "Progress",
    "Trained",
    "TrainingOptions",
    "TrainingStopped",
    "Unpaired",
    "forget",
    "scan",
    "train",
]
