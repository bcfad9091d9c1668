"""BM3D as a denoiser of rawdenoise; the package bm3d is for non-commercial use only."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rawdenoise.noise.model import NoiseModel
from rawdenoise.noise.stabilize import stabilize, unstabilize


class Bm3d:
    """BM3D (Dabov et al., IEEE TIP 2007) on each plane, its noise made one of unit variance."""

    halo = 32  # packed pixels; it searches for similar blocks in windows of 39
    multiple = 8

    def __init__(self) -> None:
        from bm3d import bm3d  # asked for now: where it is missing, that is said before any file is read

        self._bm3d = bm3d

    def __call__(self, planes: NDArray[np.float32], noise: NoiseModel) -> NDArray[np.float32]:
        """Denoise the planes R, G1, G2, B (4, height, width)."""
        stabilized = stabilize(torch.from_numpy(planes), noise).numpy()
        clean = np.stack([self._bm3d(plane, 1.0) for plane in stabilized]).astype(np.float32)
        return unstabilize(torch.from_numpy(clean), noise).numpy()
