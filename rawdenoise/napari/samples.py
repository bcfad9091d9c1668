"""A capture to try it on, which a simulated camera takes: nothing is downloaded."""

from __future__ import annotations

import numpy as np

from rawdenoise.napari.layers import LayerData, show_captures
from rawdenoise.simulation.scenes import make_scene
from rawdenoise.simulation.simulated_camera import SIMULATED_IMX385, capture

ISO, EXPOSURE, SEED = 12800, 0.7, 16


def take_sample() -> list[LayerData]:
    """Take a noisy capture of a drawn scene."""
    rng, camera = np.random.default_rng(SEED), SIMULATED_IMX385
    scene = np.float32(EXPOSURE) * make_scene(camera.active.height, camera.active.width, rng)
    noisy, _ = capture(scene, camera, ISO, rng)
    mosaic, attributes, kind = show_captures([noisy])
    return [(mosaic, {**attributes, "name": "simulated"}, kind)]
