"""What every network is wrapped in: from stabilised planes to stabilised planes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

FEATURES = 9  # 4 planes of signal, 4 of detail, 1 of noise level


class Backbone(nn.Module):
    """A network from `FEATURES` planes to 4.

    `multiple`: heights and widths it takes are multiples of this. `radius`: an output pixel depends on no
    input farther away, in packed pixels, along either axis.
    """

    multiple: int
    radius: int


class StabilisedDenoiser(nn.Module):
    """Denoise stabilised planes: the backbone predicts the noise, in sigmas, and it is taken away.

    It sees each plane twice. As signal on 0..1 (black to white, whatever the camera), the scale on which
    contrasts and colours mean the same for all noise levels; and as the difference to its 5x5 neighbourhood
    in sigmas, compressed, the scale on which the noise is the same for all. A network given the first alone
    has to learn a gain of up to a thousand before it denoises at all. The noise level, one over the range, is
    the same for all pixels.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def multiple(self) -> int:
        """Heights and widths must be multiples of this, in packed pixels."""
        return self.backbone.multiple

    @property
    def halo(self) -> int:
        """Context that makes the inside of a tile independent of what is cut off, in packed pixels."""
        return -(-(self.backbone.radius + 2) // self.multiple) * self.multiple

    def forward(
        self, stabilized: Float32[Tensor, "b 4 h w"], white: Float32[Tensor, "#b 4"]
    ) -> Float32[Tensor, "b 4 h w"]:
        """Denoise; `white` is `stabilized_white` of the noise model, per plane."""
        batch, _, height, width = stabilized.shape
        white = white.to(stabilized).reshape(-1, 4, 1, 1)
        signal = stabilized / white
        around = F.avg_pool2d(stabilized, 5, stride=1, padding=2, count_include_pad=False)
        detail = torch.asinh((stabilized - around) / 2)
        level = (10 / white.mean(dim=1, keepdim=True)).expand(batch, 1, height, width)
        noise: Float32[Tensor, "b 4 h w"] = self.backbone(torch.cat([signal, detail, level], dim=1))
        return stabilized - noise
