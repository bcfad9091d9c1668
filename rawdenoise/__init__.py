"""Denoise raw captures with models trained on the camera's own noisy captures."""

__version__ = "0.1.0"
