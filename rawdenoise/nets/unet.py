"""Three U-Nets: one for 24 megapixels in seconds, a better one, and the noise-to-noise one of the papers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from rawdenoise.nets.stabilized import INPUTS, OUTPUTS, Backbone


class PaperUNet(Backbone):
    """The noise-to-noise U-Net with 48 features, five poolings and a 1x1 tail; 1.10 M weights.

    Lehtinen et al. 2018 (appendix, table 2) with the tail of Laine et al. 2019, as the GR2R paper has it: 3x3
    convolutions, leaky ReLU 0.1, max pooling, nearest upsampling, concatenated skips. Ours are what goes in
    and comes out.
    """

    multiple = 32
    radius = 157

    def __init__(self, features: int = 48) -> None:
        super().__init__()
        f, wide = features, 2 * features
        self.entry = _Conv(INPUTS, f)
        self.encoders = nn.ModuleList([_Conv(f, f) for _ in range(5)])
        self.bottom = _Conv(f, f)
        skips = [f, f, f, f, INPUTS]  # from the fourth pooling's output up to the input itself
        widths = [f, wide, wide, wide, wide]
        self.decoders = nn.ModuleList(
            [
                nn.Sequential(_Conv(below + skip, wide), _Conv(wide, wide))
                for below, skip in zip(widths, skips, strict=True)
            ]
        )
        self.tail = nn.Sequential(_Conv(wide, wide, 1), _Conv(wide, wide, 1))
        self.exit = _zero_weights(nn.Conv2d(wide, OUTPUTS, 1))

    def forward(self, features: Float32[Tensor, "b 9 h w"]) -> Float[Tensor, "b 16 h w"]:
        """Tell what is noise."""
        skips = [features]
        x = self.entry(features)
        for encoder in self.encoders:
            x = F.max_pool2d(encoder(x), 2)
            skips.append(x)
        x = self.bottom(skips.pop())
        for decoder in self.decoders:
            x = decoder(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()], dim=1))
        out: Float[Tensor, "b 16 h w"] = self.exit(self.tail(x))
        return out


class ResidualUNet(Backbone):
    """A residual U-Net with few features where pixels are many.

    `widths` are the features of its levels, from fine to coarse; `blocks` how many residual blocks each level
    has on the way down, at the bottom, and on the way up; `group` the sides of the groups of packed pixels
    that its finest level sees as one.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: Sequence[int],
        group: int = 1,
    ) -> None:
        super().__init__()
        depth = len(widths) - 1
        self.group, self.multiple = group, group << depth
        # Each convolution reaches one pixel of its level, and each pixel of a coarse level is one square of
        # the finest, whose first pixel thereby knows of its last.
        levels = [min(i, 2 * depth - i) for i in range(len(blocks))]
        reached = [2 * count << level for level, count in zip(levels, blocks, strict=True)]
        self.radius = group * (sum(reached) + 2) + self.multiple - 1
        self.entry = nn.Conv2d(group**2 * INPUTS, widths[0], 3, padding=1)
        down, bottom, up = blocks[:depth], blocks[depth], blocks[depth + 1 :]
        self.encoders = nn.ModuleList([_make_residuals(f, n) for f, n in zip(widths, down, strict=False)])
        self.downs = nn.ModuleList([nn.Conv2d(f, g, 2, stride=2) for f, g in pairwise(widths)])
        self.bottom = _make_residuals(widths[-1], bottom)
        self.ups = nn.ModuleList([nn.Conv2d(g, f, 1) for f, g in pairwise(widths)][::-1])
        self.decoders = nn.ModuleList(
            [_make_residuals(f, n) for f, n in zip(widths[-2::-1], up, strict=True)]
        )
        self.exit = _zero_weights(nn.Conv2d(widths[0], group**2 * OUTPUTS, 3, padding=1))

    def forward(self, features: Float32[Tensor, "b 9 h w"]) -> Float[Tensor, "b 16 h w"]:
        """Tell what is noise."""
        x = self.entry(F.pixel_unshuffle(features, self.group))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(skips.pop() + _upsample(up(x)))
        return F.pixel_shuffle(self.exit(x), self.group)


class FastUNet(ResidualUNet):
    """24 megapixels in seconds on two cores: 16 features at packed resolution; 0.45 M weights."""

    def __init__(self) -> None:
        super().__init__((16, 48, 96), (1, 1, 2, 1, 1))


class BestUNet(ResidualUNet):
    """Two to three times the time of `FastUNet`: 32 features at packed resolution, deeper; 0.80 M weights."""

    def __init__(self) -> None:
        super().__init__((32, 64, 96, 96), (1, 1, 1, 1, 1, 1, 2))


class Residual(nn.Module):
    """Two convolutions whose answer is added to what goes in (He et al. 2016), at first with no effect."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.inner = _Conv(features, features)
        self.outer = _zero_weights(nn.Conv2d(features, features, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find."""
        out: Tensor = x + self.outer(self.inner(x))
        return out


def _make_residuals(features: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(features) for _ in range(count)))


class _Conv(nn.Sequential):
    """A convolution that keeps the size, then leaky ReLU 0.1."""

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2)
        nn.init.kaiming_normal_(convolution.weight, a=0.1)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        super().__init__(convolution, nn.LeakyReLU(0.1, inplace=True))


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _zero_weights(convolution: nn.Conv2d) -> nn.Conv2d:
    """Start from nothing: the first steps cannot run away."""
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution
