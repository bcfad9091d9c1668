"""Training: a camera's captures in, its model out."""

from rawdenoise.training.camera_training import CameraTraining
from rawdenoise.training.captures import Capture, CaptureSet, gather_captures
from rawdenoise.training.options import TrainingOptions
from rawdenoise.training.progress import Progress, TrainingStopped
from rawdenoise.training.train_camera import Trained, remove_training, train
from rawdenoise.training.unpaired import Unpaired

__all__ = [
    "CameraTraining",
    "Capture",
    "CaptureSet",
    "Progress",
    "Trained",
    "TrainingOptions",
    "TrainingStopped",
    "Unpaired",
    "gather_captures",
    "remove_training",
    "train",
]
