"""What every network is wrapped in: from stabilised planes to stabilised planes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

BANDS = (1, 2, 4)  # radii of the boxes that split the planes into bands of detail, finest first
INPUTS = 9  # 4 planes of signal, 4 of detail, 1 of noise level
OUTPUTS = 4 * len(BANDS) + 4  # how much of each band is noise, and the noise that no band tells


class Backbone(nn.Module):
    """A network from `INPUTS` planes to `OUTPUTS`, zero before it is trained.

    `multiple`: heights and widths it takes are multiples of this. `radius`: an output pixel depends on no
    input farther away, in packed pixels, along either axis.
    """

    multiple: int
    radius: int


class Network(nn.Module, ABC):
    """What can be trained: it denoises stabilised planes whose white is known."""

    @property
    @abstractmethod
    def multiple(self) -> int:
        """Heights and widths must be multiples of this, in packed pixels."""

    @property
    @abstractmethod
    def radius(self) -> int:
        """An output pixel depends on no input farther away, in packed pixels, along either axis."""

    @property
    def halo(self) -> int:
        """Context that makes the inside of a tile independent of what is cut off: the radius, aligned."""
        return -(-self.radius // self.multiple) * self.multiple

    @abstractmethod
    def forward(
        self, stabilized: Float32[Tensor, "b 4 h w"], white: Float32[Tensor, "#b 4"]
    ) -> Float32[Tensor, "b 4 h w"]:
        """Denoise; `white` is `stabilized_white` of the noise model, per plane."""


class StabilizedDenoiser(Network):
    """Denoise stabilised planes: the backbone tells what is noise, in sigmas, and it is taken away.

    The backbone sees each plane twice. As signal on 0..1 (black to white, whatever the camera), the scale on
    which contrasts and colours mean the same for all noise levels; and as compressed fine detail in sigmas,
    the scale on which the noise is the same for all. The noise level, one over the range, is the same for all
    pixels.

    It answers, for each of three bands of detail and each pixel, which share is noise; and adds noise of its
    own making. With the shares alone it is a blur that knows where to stop, which takes minutes to learn; the
    latter then learns the rest. (Without the shares the same training gained 3.7 dB on textured scenes
    instead of 5.2.)
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def multiple(self) -> int:
        """Heights and widths must be multiples of this, in packed pixels."""
        return self.backbone.multiple

    @property
    def radius(self) -> int:
        """An output pixel depends on no input farther away, in packed pixels, along either axis."""
        return max(self.backbone.radius + sum(BANDS[:2]), sum(BANDS))

    def forward(
        self, stabilized: Float32[Tensor, "b 4 h w"], white: Float32[Tensor, "#b 4"]
    ) -> Float32[Tensor, "b 4 h w"]:
        """Denoise; `white` is `stabilized_white` of the noise model, per plane."""
        batch, _, height, width = stabilized.shape
        white = white.to(stabilized).reshape(-1, 4, 1, 1)
        bands = _split_bands(stabilized)
        detail = torch.asinh((bands[0] + bands[1]) / 2)
        level = (10 / white.mean(dim=1, keepdim=True)).expand(batch, 1, height, width)
        features = torch.cat([stabilized / white, detail, level], dim=1)
        # Channels last is what convolutions work in on CPUs: a fifth less time, a third less to train.
        answer: Tensor = self.backbone(features.contiguous(memory_format=torch.channels_last))
        *shares, noise = answer.chunk(len(BANDS) + 1, dim=1)
        for share, band in zip(shares, bands, strict=True):
            noise = noise + torch.sigmoid(share) * band
        return stabilized - noise


def _split_bands(planes: Float32[Tensor, "b 4 h w"]) -> list[Float32[Tensor, "b 4 h w"]]:
    """Split into what each successive, larger box takes away."""
    bands = []
    for radius in BANDS:
        smoother = _average_box(planes, radius)
        bands.append(planes - smoother)
        planes = smoother
    return bands


def _average_box(planes: Float32[Tensor, "b 4 h w"], radius: int) -> Float32[Tensor, "b 4 h w"]:
    """Mean over a square, edges repeated; shifted sums are several times faster than pooling here."""
    height, width = planes.shape[2:]
    padded = F.pad(planes, (radius,) * 4, mode="replicate")
    shifts = range(2 * radius + 1)
    rows = sum((padded[:, :, i : i + height] for i in shifts[1:]), start=padded[:, :, :height])
    both = sum((rows[..., i : i + width] for i in shifts[1:]), start=rows[..., :width])
    return both / len(shifts) ** 2
