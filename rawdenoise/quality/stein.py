"""The probe behind Stein's unbiased risk estimate of a network, in the stabilised domain."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor

from rawdenoise.nets import Network

PROBE_STEP = 0.01  # sigmas by which a capture is moved to see how the denoiser follows
MINIMUM_RISK = 1e-4  # in units of the noise's variance: no gain is told beyond 40 dB


def probe_network(
    net: Network,
    noisy: Float32[Tensor, "b 4 h w"],
    white: Float32[Tensor, "b 4"],
    generator: torch.Generator,
) -> tuple[Float32[Tensor, "b 4 h w"], Float32[Tensor, "b 4 h w"], Float32[Tensor, "b 4 h w"]]:
    """Denoise; also give a random direction b and how the answer follows it, (f(y + eps b) - f(y)) / eps.

    Their product has the divergence of f as its mean (Ramani, Blu & Unser, IEEE TIP 2008). b is drawn on the
    CPU, so that all devices probe alike.
    """
    direction = torch.randn(noisy.shape, generator=generator).to(noisy)
    clean = net(noisy, white)
    return clean, direction, (net(noisy + PROBE_STEP * direction, white) - clean) / PROBE_STEP
