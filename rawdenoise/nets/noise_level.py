"""The noise estimator of unpaired learning: 1x1 convolutions, from the signal at a pixel to its noise."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

from rawdenoise.nets.gaussians import BELOW, FACTOR, PLANES, diagonal_factor

FEATURES, LAYERS = 16, 5
MINIMUM_NOISE_DEVIATION = 1e-3  # standard deviation: a noise of none would be sure of everything
OUTPUT_GAIN = (
    10.0  # of what it tells against its weights: it must have the level before the covariance has it
)
UNIT_DEVIATION = 0.5413  # softplus of it is 1, the deviation that stabilised noise is meant to have


class NoiseLevel(nn.Module):
    """CNN_est (Wu et al. 2020, section 3.3): five 1x1 convolutions; the factor of the noise's covariance.

    There it looks at the noisy pixel. Here it looks at the blind-spot mean, which knows nothing of that
    pixel's noise: a level told from the pixel itself would rise where noise happens to be strong, and the
    likelihood be none. `per_image` gives one level to all of a crop (noise that depends on no signal);
    `multivariate` lets the planes' noises be correlated. Untrained, it says what stabilisation promises:
    unit variance, independent.
    """

    def __init__(self, *, per_image: bool = False, multivariate: bool = False) -> None:
        super().__init__()
        self.per_image, self.multivariate = per_image, multivariate
        widths = [2 * PLANES, *(LAYERS - 1) * [FEATURES]]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 1), nn.LeakyReLU(0.1)]
        exit = nn.Conv2d(FEATURES, FACTOR if multivariate else PLANES, 1)
        nn.init.zeros_(exit.weight)
        nn.init.zeros_(exit.bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers, exit)

    def forward(
        self, signal: Float32[Tensor, "b 4 h w"], white: Float32[Tensor, "#b 4 1 1"]
    ) -> Float32[Tensor, "b 10 h w"]:
        """Tell the noise; no gradient goes to the signal."""
        seen = torch.cat([signal.detach() / white, (10 / white).expand_as(signal)], dim=1)
        output: Tensor = OUTPUT_GAIN * self.layers(seen).float()
        if self.per_image:
            output = output.mean(dim=(2, 3), keepdim=True).expand_as(output)
        deviation = F.softplus(output[:, :PLANES] + UNIT_DEVIATION) + MINIMUM_NOISE_DEVIATION
        factor = diagonal_factor(deviation)
        if self.multivariate:
            factor[:, BELOW] = output[:, PLANES:]
        return factor
